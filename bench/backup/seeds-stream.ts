// Owns the seeds' way of backing up: `pg_basebackup -Ft -z` piped into an object of the store, and
// that object piped into `tar xz`. With `-c fast`, which the source of this way leaves out: waiting
// for a checkpoint says nothing about either side.
import { execFile } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { TestS3 } from '../../test/harness/s3.ts'
import { cleanEnvironment, runAs } from '../background-process.ts'
import { POSTGRESQL_BINARIES } from '../peers/patroni-cluster.ts'
import { connectionArgs, type Source } from './source.ts'

export interface SeedsStream {
  /** Bytes of the object. */
  backUp(object: string): Promise<number>
  restore(object: string, directory: string): Promise<void>
}

const run = promisify(execFile)
const PROGRAM = join(import.meta.dirname, 'stream-program.ts')
const TIMEOUT_MS = 1_800_000

export async function openSeedsStream(
  source: Source,
  store: TestS3,
  directory: string,
): Promise<SeedsStream> {
  const { endpoint, port, bucket, key, secret, caPem } = store
  const { uid, gid } = source.user
  const settings = join(directory, 'stream.json')
  const told = { endpoint, port, bucket, key, secret, caPem, uid, gid }
  await writeFile(settings, JSON.stringify(told), { mode: 0o600 })
  // A session of its own: it must not share the weight of the store, which is this process.
  const stream = (...args: string[]) =>
    run('/usr/bin/setsid', ['--wait', process.execPath, PROGRAM, settings, ...args], {
      timeout: TIMEOUT_MS,
      env: cleanEnvironment(directory),
    })
  const copy = ['-Ft', '-z', '--wal-method=fetch', '--pgdata=-', '-c', 'fast']
  return {
    async backUp(object) {
      const program = join(POSTGRESQL_BINARIES, 'pg_basebackup')
      const args = [...connectionArgs(source), ...copy]
      return Number((await stream('upload', object, program, ...args)).stdout)
    },
    async restore(object, target) {
      await rm(dirname(target), { recursive: true, force: true })
      await runAs(source.user, '/', '/usr/bin/mkdir', ['-p', target])
      await stream('download', object, '/usr/bin/tar', '-xzf', '-', '-C', target)
    },
  }
}
