// Owns one trial of the floor under `provision`: initdb, a start, and two base backups, one after
// the other and with nothing around them. The flags are those that the platform gives.
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type BenchUser, runAs } from '../background-process.ts'
import { POSTGRESQL_BINARIES } from '../peers/patroni-cluster.ts'

export interface BareResult {
  initdbMs: number
  startMs: number
  firstCopyMs: number
  secondCopyMs: number
  totalMs: number
}

export async function runBareSum(user: BenchUser, workPath: string): Promise<BareResult> {
  const data = join(workPath, 'bare')
  const copies = [join(workPath, 'copy-1'), join(workPath, 'copy-2')]
  const program = (name: string, args: string[]) => async () => {
    await runAs(user, workPath, join(POSTGRESQL_BINARIES, name), args)
  }
  const settings = `-c listen_addresses= -c unix_socket_directories=${workPath}`
  const copy = (target: string) =>
    program('pg_basebackup', ['-h', workPath, '-D', target, '-c', 'fast', '-X', 'stream', '-R'])
  try {
    const initdb = ['-D', data, '--data-checksums', '-E', 'UTF8', '--locale=C.UTF-8', '-A', 'trust']
    const initdbMs = await timed(program('initdb', [...initdb, '-U', user.name]))
    const start = ['-D', data, '-w', '-l', join(workPath, 'bare.log'), '-o', settings, 'start']
    const startMs = await timed(program('pg_ctl', start))
    const firstCopyMs = await timed(copy(copies[0] as string))
    const secondCopyMs = await timed(copy(copies[1] as string))
    const totalMs = initdbMs + startMs + firstCopyMs + secondCopyMs
    return { initdbMs, startMs, firstCopyMs, secondCopyMs, totalMs }
  } finally {
    await program('pg_ctl', ['-D', data, '-m', 'immediate', '-w', 'stop'])().catch(() => undefined)
    for (const path of [data, ...copies]) await rm(path, { recursive: true, force: true })
    await mkdir(workPath, { recursive: true })
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return Math.round(performance.now() - startedMs)
}
