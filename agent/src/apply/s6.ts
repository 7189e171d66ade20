// Owns what the agent says to s6 and reads from it: one scan directory per host, one supervised
// directory per service. Status is read from s6's own file, so that observing costs no process.
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { constants as osConstants } from 'node:os'
import { join } from 'node:path'
import { hasCode } from '../atomic-file.ts'
import { runProgram } from '../run-program.ts'

const COMMAND_TIMEOUT_MS = 10_000

/** TAI64 labels start at 2^62, and TAI was 10 s ahead of UTC at the Unix epoch. */
const TAI_EPOCH = 2n ** 62n + 10n

export interface ProcessState {
  up: boolean
  pid: number | null
  /** When it came up or went down. */
  sinceEpoch: number | null
  /** Whether s6 restarts it when it ends. */
  wantUp: boolean
  /** How the last process ended; empty while it is up. */
  ended: string
}

const ABSENT: ProcessState = { up: false, pid: null, sinceEpoch: null, wantUp: false, ended: '' }

/** `directory` is the service's. A service that s6 does not know yet counts as down. */
export async function readProcessState(directory: string): Promise<ProcessState> {
  try {
    return parseStatus(await readFile(join(directory, 'supervise', 'status')))
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return ABSENT
    throw error
  }
}

/**
 * s6's `supervise/status`: two TAI64N stamps of 12 bytes, the pid as 64 bits, from s6 2.12 on a
 * process group of 64 bits too, the wait status as 16 bits, and a byte of flags; all big-endian.
 */
export function parseStatus(status: Buffer): ProcessState {
  if (status.length !== 35 && status.length !== 43) {
    throw new Error(`s6 status files of ${status.length} bytes are unknown to this agent`)
  }
  const pid = Number(status.readBigUInt64BE(24))
  const waitStatus = status.readUInt16BE(status.length - 3)
  const flags = status.readUInt8(status.length - 1)
  const finishing = (flags & 2) !== 0
  const up = pid !== 0 && !finishing
  return {
    up,
    pid: up ? pid : null,
    sinceEpoch: Number(status.readBigUInt64BE(0) - TAI_EPOCH),
    wantUp: (flags & 4) !== 0,
    ended: up ? '' : describeWaitStatus(waitStatus),
  }
}

function describeWaitStatus(status: number): string {
  const signal = status & 0x7f
  if (signal === 0) return `it exited with code ${status >> 8}`
  const name = Object.entries(osConstants.signals).find(([, number]) => number === signal)?.[0]
  return `it was killed by ${name ?? `signal ${signal}`}`
}

/** Whether an s6-supervise listens in this directory: only then does somebody read its fifo. */
export async function isSupervised(directory: string): Promise<boolean> {
  try {
    const flags = constants.O_WRONLY | constants.O_NONBLOCK
    const fifo = await open(join(directory, 'supervise', 'control'), flags)
    await fifo.close()
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ENXIO')) return false
    throw error
  }
}

export type ServiceCommand = 'up' | 'down' | 'SIGHUP' | 'SIGUSR2'

const COMMAND_FLAGS: Readonly<Record<ServiceCommand, string>> = {
  up: '-u',
  down: '-d',
  SIGHUP: '-h',
  SIGUSR2: '-2',
}

export async function commandService(directory: string, command: ServiceCommand): Promise<void> {
  const argv = ['s6-svc', COMMAND_FLAGS[command], directory] as const
  await runProgram({ argv: [...argv], timeoutMs: COMMAND_TIMEOUT_MS })
}

/** Makes s6-svscan start supervising new directories and end the supervision of vanished ones. */
export async function rescan(scanDirectory: string): Promise<void> {
  const argv = ['s6-svscanctl', '-an', scanDirectory] as const
  await runProgram({ argv: [...argv], timeoutMs: COMMAND_TIMEOUT_MS })
}
