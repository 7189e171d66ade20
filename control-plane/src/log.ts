// Owns the control plane's log: JSON lines on standard output, a constant sentence plus fields.
import { type Logger, pino } from 'pino'

export type Log = Logger

export function makeLog(level: string): Log {
  return pino({
    level,
    base: { part: 'control-plane' },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: ['req.headers.authorization', 'headers.authorization'],
  })
}
