// Owns how far the WAL of a dead instance goes, read from its disk, or from what its Patroni kept
// of it: the far end of a loss receipt.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { KEPT_END } from '@howdah/core/host-spec.ts'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { runProgram } from '../run-program.ts'

const TIMEOUT_MS = 30_000

export interface WalEnd {
  timeline: number
  /** Bytes, decimal. */
  lsn: string
}

type User = { uid: number; gid: number } | undefined

/** As the patch keep_end writes it; `said` are pg_waldump's last words. */
const keptParser = Compile(
  Type.Object({
    timeline: Type.Integer({ minimum: 1 }),
    segmentBytes: Type.Integer({ minimum: 1 }),
    said: Type.String(),
  }),
)

export function parseLsn(text: string): bigint | undefined {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text)
  if (match === null) return undefined
  return (BigInt(`0x${match[1]}`) << 32n) + BigInt(`0x${match[2]}`)
}

/** Undefined when it cannot be told. Reads only; safe beside a Patroni that starts. */
export async function readWalEnd(
  dataDirectory: string,
  binDirectory: string,
  user: User,
): Promise<WalEnd | undefined> {
  const run = (program: string, ...args: string[]) =>
    runProgram({ argv: [join(binDirectory, program), ...args], timeoutMs: TIMEOUT_MS, user })
  const readControl = () => run('pg_controldata', '-D', dataDirectory).catch(() => '')
  const control = await readControl()
  const timeline = timelineOf(control)
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
  // It was rewound or replaced meanwhile: what was read may be of either.
  if (timelineOf(await readControl()) !== timeline) return undefined
  return end === undefined ? undefined : { timeline: Number(timeline), lsn: String(end) }
}

/** What its Patroni kept, before it wrote there; undefined when there is none that says it. */
export async function readKeptEnd(dataDirectory: string, user: User): Promise<WalEnd | undefined> {
  const path = `${dataDirectory}${KEPT_END}`
  if (!existsSync(path)) return undefined
  // With the rights of whoever wrote it, and not more of it than a program may say.
  const argv = ['/usr/bin/cat', '--', path] as const
  const text = await runProgram({ argv, timeoutMs: TIMEOUT_MS, user })
  let kept: unknown
  try {
    kept = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!keptParser.Check(kept)) return undefined
  const end = parseWalEnd(kept.said, kept.segmentBytes)
  return end === undefined ? undefined : { timeline: kept.timeline, lsn: String(end) }
}

export async function forgetKeptEnd(dataDirectory: string, user: User): Promise<void> {
  const argv = ['/usr/bin/rm', '--force', '--', `${dataDirectory}${KEPT_END}`] as const
  await runProgram({ argv, timeoutMs: TIMEOUT_MS, user })
}

function timelineOf(control: string): string | undefined {
  return /^Latest checkpoint's TimeLineID:\s+(\d+)$/m.exec(control)?.[1]
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
