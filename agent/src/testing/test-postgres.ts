// Owns a PostgreSQL of a test's own that agents can reach: over TLS at its address, and at the
// socket of the host's root.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chown, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import type { TestAuthority } from './test-authority.ts'

const BINARIES = '/usr/lib/postgresql/15/bin'

/** Not waited for: it may take a moment until it answers. The superuser is `howdah`. */
export async function startTestPostgres(
  { root, authority }: { root: HostRoot; authority: TestAuthority },
  { name, address, port, standby }: TestPostgresPlan,
): Promise<{ stop(): Promise<void> }> {
  const data = join(root.path, 'data', name)
  const user = root.dropTo
  const initdb = [`${BINARIES}/initdb`, '-D', data, '-U', 'howdah', '-A', 'trust', '-N'] as const
  await runProgram({ argv: [...initdb], timeoutMs: 60_000, user })
  const server = await authority.issueServer(address)
  const { uid, gid } = root.serviceUser
  for (const [file, text] of [
    ['server.crt', server.certificatePem],
    ['server.key', server.privateKeyPem],
    ...(standby ? [['standby.signal', '']] : []),
  ] as [string, string][]) {
    await writeFile(join(data, file), text, { mode: 0o600 })
    await chown(join(data, file), uid, gid)
  }
  const settings = [
    `port = ${port}`,
    `listen_addresses = '${address}'`,
    `unix_socket_directories = '${join(root.path, 'run')}'`,
    'ssl = on',
    'fsync = off',
  ]
  await appendFile(join(data, 'postgresql.conf'), `${settings.join('\n')}\n`)
  await appendFile(join(data, 'pg_hba.conf'), 'hostssl all all 127.0.0.0/8 trust\n')
  const drop = user === undefined ? {} : { uid: user.uid, gid: user.gid }
  const env = { PATH: '/usr/bin', HOME: data }
  const options = { stdio: 'ignore' as const, env, ...drop }
  const child = spawn(`${BINARIES}/postgres`, ['-D', data], options)
  return { stop: () => stop(child) }
}

interface TestPostgresPlan {
  name: string
  address: string
  port: number
  standby: boolean
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill('SIGQUIT')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}
