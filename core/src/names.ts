// Owns the rules for names and how a name becomes SQL text. PostgreSQL identifiers may hold any
// character except NUL; quoting, never filtering, is what makes them safe.
import { HowdahError } from './errors.ts'

/** Names of clusters and hosts: they appear in DNS names, file names and URLs. */
export const RESOURCE_NAME_PATTERN = '^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$'
export const RESOURCE_NAME_RULE =
  'lower-case letters, digits and "-", starting with a letter, not ending with "-", at most 32'

/** Bytes of a PostgreSQL identifier; a longer one would be cut silently (NAMEDATALEN 64). */
const IDENTIFIER_BYTES_MAX = 63

// Roles and databases that belong to PostgreSQL or to the platform.
const RESERVED_ROLES =
  /^(postgres|public|none|current_user|session_user|current_role)$|^(howdah_|pg_)/i
const RESERVED_DATABASES = /^(postgres|template0|template1|howdah|pgbouncer)$/i

export function parseResourceName(name: string): string {
  if (!new RegExp(RESOURCE_NAME_PATTERN).test(name)) {
    throw new HowdahError('invalid-name', `${JSON.stringify(name)}: use ${RESOURCE_NAME_RULE}`)
  }
  return name
}

function parseIdentifier(kind: string, name: string): string {
  const bytes = Buffer.byteLength(name, 'utf8')
  if (name === '') throw new HowdahError('invalid-name', `a ${kind} name cannot be empty`)
  if (name.includes('\0')) {
    throw new HowdahError('invalid-name', `a ${kind} name cannot hold a NUL character`)
  }
  if (!name.isWellFormed()) {
    throw new HowdahError('invalid-name', `a ${kind} name must be well-formed Unicode`)
  }
  if (bytes > IDENTIFIER_BYTES_MAX) {
    const said = `a ${kind} name has at most ${IDENTIFIER_BYTES_MAX} bytes, this one has ${bytes}`
    throw new HowdahError('invalid-name', said)
  }
  return name
}

export function parseRoleName(name: string): string {
  if (RESERVED_ROLES.test(name)) {
    throw new HowdahError('invalid-name', `the role name ${JSON.stringify(name)} is reserved`)
  }
  return parseIdentifier('role', name)
}

export function parseDatabaseName(name: string): string {
  if (RESERVED_DATABASES.test(name)) {
    throw new HowdahError('invalid-name', `the database name ${JSON.stringify(name)} is reserved`)
  }
  return parseIdentifier('database', name)
}

/** `name` as an SQL identifier: always quoted, so case and every character are kept. */
export function quoteIdentifier(name: string): string {
  if (name.includes('\0')) throw new Error('BUG: an identifier with NUL reached SQL')
  return `"${name.replaceAll('"', '""')}"`
}

/** `text` as an SQL literal that reads the same with standard_conforming_strings on or off. */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new Error('BUG: a literal with NUL reached SQL')
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? `E${quoted}` : quoted
}
