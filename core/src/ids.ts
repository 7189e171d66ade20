// Owns identifiers: prefixed, sortable by creation time, safe in URLs, file names, etcd keys
// and configuration files (lower-case letters, digits and one underscore, nothing else).
import { randomBytes } from 'node:crypto'

const ID_PREFIXES = {
  user: 'usr',
  token: 'tok',
  host: 'hst',
  cluster: 'clu',
  instance: 'ins',
  gateway: 'gwy',
  operation: 'op',
  task: 'tsk',
  drill: 'drl',
  repository: 'rep',
  backup: 'bkp',
  request: 'req',
} as const

export type IdKind = keyof typeof ID_PREFIXES

// Crockford's base32: no i, l, o or u, so that a person can read an id aloud.
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** A new id such as `clu_01jd…`: 48 bits of milliseconds, then 80 random bits. */
export function newId(kind: IdKind, nowMs: number = Date.now()): string {
  const random = BigInt(`0x${randomBytes(10).toString('hex')}`)
  let value = (BigInt(nowMs) << 80n) | random
  let text = ''
  for (let digit = 0; digit < 26; digit += 1) {
    text = ALPHABET[Number(value & 31n)] + text
    value >>= 5n
  }
  return `${ID_PREFIXES[kind]}_${text}`
}

export function isId(kind: IdKind, text: string): boolean {
  return new RegExp(`^${ID_PREFIXES[kind]}_[${ALPHABET}]{26}$`).test(text)
}
