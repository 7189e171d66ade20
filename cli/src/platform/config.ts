// Owns what the environment says to the embedded platform; the only reader of process.env here.
import { HowdahError } from '@howdah/core/errors.ts'

export interface PlatformConfig {
  /** First three parts of the loopback addresses; undefined: the home's own, or the default. */
  subnet: string | undefined
  logLevel: string
  /** Handed to the control plane; only tests set it. */
  faultFile: string | undefined
  /** Handed on as it is: the control plane says what is wrong with it. */
  archiveCheckSeconds: string | undefined
  /** The same. */
  undoDays: string | undefined
  /** `on` or `off`, handed to the agents; undefined: as they like. */
  spares: string | undefined
}

export const DEFAULT_SUBNET = '127.42.0'

const LOG_LEVELS = ['debug', 'info', 'warn', 'error']

/** Throws `preflight-failed` that names every variable with a value that cannot be used. */
export function readPlatformConfig(env: NodeJS.ProcessEnv = process.env): PlatformConfig {
  const problems: string[] = []
  const subnet = env['HOWDAH_SUBNET']
  if (subnet !== undefined && !isLoopbackSubnet(subnet)) {
    problems.push(`HOWDAH_SUBNET=${subnet}: use three parts of a loopback address, as 127.42.0`)
  }
  const logLevel = env['HOWDAH_LOG_LEVEL'] ?? 'info'
  if (!LOG_LEVELS.includes(logLevel)) {
    problems.push(`HOWDAH_LOG_LEVEL=${logLevel}: use one of ${LOG_LEVELS.join(', ')}`)
  }
  const spares = env['HOWDAH_SPARES']
  if (spares !== undefined && spares !== 'on' && spares !== 'off') {
    problems.push(`HOWDAH_SPARES=${spares}: use on or off`)
  }
  if (problems.length > 0) throw new HowdahError('preflight-failed', problems.join('\n'))
  return {
    subnet,
    logLevel,
    faultFile: env['HOWDAH_FAULT_FILE'],
    archiveCheckSeconds: env['HOWDAH_ARCHIVE_CHECK_SECONDS'],
    undoDays: env['HOWDAH_UNDO_DAYS'],
    spares,
  }
}

function isLoopbackSubnet(text: string): boolean {
  const parts = text.split('.')
  const decimal = /^(0|[1-9][0-9]{0,2})$/
  return (
    parts.length === 3 &&
    parts[0] === '127' &&
    parts.every((part) => decimal.test(part) && Number(part) <= 255)
  )
}
