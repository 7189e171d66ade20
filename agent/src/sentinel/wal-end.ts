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
  const segmentBytes = Number(/^Bytes per WAL segment:\s+(\d+)$/m.exec(control)?.[1])
  const end = parseWalEnd(said, segmentBytes)
  return end === undefined ? undefined : { timeline: Number(timeline), lsn: String(end) }
}

/**
 * From pg_waldump's last words, which name the last record and then why the next one is none.
 * Undefined without them: it was killed, or failed otherwise, and the arguments that an error
 * repeats hold where it began. The start of the last record would be too little to count.
 */
export function parseWalEnd(said: string, segmentBytes: number): bigint | undefined {
  const why = /error in WAL record at [0-9A-F]+\/[0-9A-F]+: (.*)$/im.exec(said)?.[1] ?? ''
  const lsn = [...why.matchAll(/\b(?:at|LSN) ([0-9A-F]+\/[0-9A-F]+)/gi)].at(-1)?.[1]
  if (lsn !== undefined) return parseLsn(lsn)
  // A page that is none; the other position in such a line is of the segment's former life.
  const page = /segment [0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8}), offset ([0-9]+)/i.exec(why)
  if (page === null || !Number.isSafeInteger(segmentBytes)) return undefined
  const [log, segment] = [BigInt(`0x${page[1]}`), BigInt(`0x${page[2]}`)]
  return (log << 32n) + segment * BigInt(segmentBytes) + BigInt(page[3] ?? '')
}
