// Owns SCRAM-SHA-256 verifiers (RFC 5803 form, as PostgreSQL stores them) and passwords. A verifier
// is computed before the role statement is written, so a clear password never reaches a PostgreSQL
// log.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { HowdahError } from './errors.ts'

const ITERATIONS = 4096 // PostgreSQL's own default
const PASSWORD_LENGTH_MIN = 12
const PASSWORD_LENGTH_MAX = 128

/** 192 random bits as 32 URL-safe characters: no quoting anywhere, no SASLprep questions. */
export function generatePassword(): string {
  return randomBytes(24).toString('base64url')
}

/**
 * Accepts printable ASCII only: for anything else drivers disagree about SASLprep, and a password
 * that works with one and not with the next is worse than a refusal.
 */
export function parsePassword(password: string): string {
  if (password.length < PASSWORD_LENGTH_MIN || password.length > PASSWORD_LENGTH_MAX) {
    const said = `a password has ${PASSWORD_LENGTH_MIN} to ${PASSWORD_LENGTH_MAX} characters`
    throw new HowdahError('invalid-password', said)
  }
  if (!/^[\x20-\x7e]+$/.test(password)) {
    throw new HowdahError('invalid-password', 'a password holds printable ASCII characters only')
  }
  return password
}

export function scramVerifier(password: string, salt: Buffer = randomBytes(16)): string {
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
