// Owns how far the WAL of a dead instance goes, read from its disk: the far end of a loss receipt.
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { runProgram } from '../run-program.ts'

const TIMEOUT_MS = 30_000

export interface WalEnd {
  timeline: number
  /** Bytes, decimal. */
  lsn: string
}

export function parseLsn(text: string): bigint | undefined {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text)
  if (match === null) return undefined
  return (BigInt(`0x${match[1]}`) << 32n) + BigInt(`0x${match[2]}`)
}

/** Undefined when it cannot be told. Reads only; safe beside a Patroni that starts. */
export async function readWalEnd(
  dataDirectory: string,
  binDirectory: string,
  user: { uid: number; gid: number } | undefined,
): Promise<WalEnd | undefined> {
  const run = (program: string, ...args: string[]) =>
    runProgram({ argv: [join(binDirectory, program), ...args], timeoutMs: TIMEOUT_MS, user })
  const control = await run('pg_controldata', '-D', dataDirectory).catch(() => '')
  const timeline = /^Latest checkpoint's TimeLineID:\s+(\d+)$/m.exec(control)?.[1]
  const redo = /^Latest checkpoint's REDO location:\s+(\S+)$/m.exec(control)?.[1]
  if (timeline === undefined || redo === undefined) return undefined
  // pg_waldump ends with an error that says where the first record is that is none: the end of the
  // WAL.
  const said = await run(
    'pg_waldump',
    '--quiet',
    '--path',
    join(dataDirectory, 'pg_wal'),
    '--timeline',
    timeline,
    '--start',
    redo,
  ).catch((error: unknown) => describeError(error))
  const last = [...said.matchAll(/\b([0-9A-F]{1,8}\/[0-9A-F]{1,8})\b/gi)].at(-1)?.[1]
  const end = parseLsn(last ?? '')
  return end === undefined ? undefined : { timeline: Number(timeline), lsn: String(end) }
}
