// Owns one trial of a first start: `howdah up` with an empty home, packages present, until a row is
// committed in the demo cluster. Everything is made anew: authority, platform database, dcs, four
// hosts, the cluster.
import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Cluster, Credentials } from '@howdah/core/contract/clusters.ts'
import { type Connection, requestApi } from '../../test/harness/api.ts'
import { endpointOf } from '../../test/harness/cluster.ts'
import { cleanEnvironment } from '../background-process.ts'
import { querySql } from '../sql.ts'
import { killLeftovers } from '../work-directory.ts'

const run = promisify(execFile)
const PROGRAM = join(import.meta.dirname, '../../howdah')
const UP_TIMEOUT_MS = 300_000

/** Milliseconds from the command to the commit. */
export async function runFreshStart(subnet: string): Promise<{ upMs: number; totalMs: number }> {
  const home = await mkdtemp('/tmp/hb-up-')
  await chmod(home, 0o755)
  const env = { ...cleanEnvironment(home), HOWDAH_HOME: home, HOWDAH_SUBNET: subnet }
  const howdah = (...args: string[]) => run(PROGRAM, args, { env, timeout: UP_TIMEOUT_MS })
  try {
    const startedMs = performance.now()
    await howdah('up', '--detach')
    const upMs = Math.round(performance.now() - startedMs)
    await writeRow(home)
    return { upMs, totalMs: Math.round(performance.now() - startedMs) }
  } finally {
    await howdah('down').catch((error: Error) => console.error(error.message))
    await killLeftovers(home)
    await rm(home, { recursive: true, force: true })
  }
}

async function writeRow(home: string): Promise<void> {
  const connection = await readJson<Connection>(join(home, 'cli.json'))
  const file = join(home, 'clusters/demo.json')
  const [kept] = (await readJson<{ credentials: Credentials[] }>(file)).credentials
  const clusters = await requestApi<{ data: Cluster[] }>(connection, 'GET', '/v1/clusters')
  const cluster = clusters.body.data[0]
  if (cluster === undefined || kept === undefined) throw new Error('there is no demo')
  const ca = await requestApi<{ pem: string }>(connection, 'GET', `/v1/clusters/${cluster.id}/ca`)
  const { role: user, password, database } = kept
  const { address: host, port } = endpointOf(cluster, 'write')
  await querySql(
    { host, port, user, password, database: database ?? 'app', caPem: ca.body.pem },
    'create table first_write (number integer)',
  )
}

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T
}
