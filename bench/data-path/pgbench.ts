// Owns running pgbench against an address: its password and authority come from files that only the
// user may read.
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cleanEnvironment } from '../background-process.ts'
import type { SqlAddress } from '../sql.ts'

export interface PgbenchResult {
  transactions: number
  failed: number
  latencyMs: number
}

const run = promisify(execFile)
const PROGRAM = '/usr/lib/postgresql/15/bin/pgbench'

/** `directory` is private: libpq's password file is written there. */
export async function runPgbench(
  address: SqlAddress,
  directory: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<PgbenchResult> {
  const { host, port, user, database, password, caPem } = address
  const passwords = join(directory, `pgpass-${host}-${port}`)
  await writeFile(passwords, `*:*:*:*:${password}\n`, { mode: 0o600 })
  const env: Record<string, string> = { ...cleanEnvironment(directory), PGPASSFILE: passwords }
  if (caPem !== undefined) {
    const authority = join(directory, `ca-${host}-${port}`)
    await writeFile(authority, caPem)
    Object.assign(env, { PGSSLMODE: 'verify-full', PGSSLROOTCERT: authority })
  } else env['PGSSLMODE'] = 'disable'
  const target = ['-h', host, '-p', String(port), '-U', user]
  const { stdout } = await run(PROGRAM, [...target, ...args, database], {
    env,
    timeout: timeoutMs,
  })
  const read = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0)
  return {
    transactions: read(/transactions actually processed: (\d+)/),
    failed: read(/number of failed transactions: (\d+)/),
    latencyMs: read(/latency average = ([\d.]+) ms/),
  }
}
