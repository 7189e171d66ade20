// Owns looking into a test platform's etcd as root, whose password only the control plane knows: it
// is opened with the home's master key.
import https from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type pg from 'pg'
import { readSecret } from '../../control-plane/src/db/secrets.ts'
import { readSealer } from '../../control-plane/src/sealing.ts'
import type { TestPlatform } from './platform.ts'

const TIMEOUT_MS = 5000

interface Etcd {
  origin: string
  ca: string
  token: string
}

/** Users, roles and keys, one line each; values of keys are left out. */
export async function readDcs(platform: TestPlatform, db: pg.Client): Promise<string[]> {
  const sealer = await readSealer(join(platform.home, 'platform/master.key'))
  const password = await readSecret(db, sealer, 'dcs', 'root-password')
  const { rows: members } = await db.query<{ address: string; port: number }>(
    `select h.address, m.client_port as port from dcs_member m join host h on h.id = m.host_id
     order by m.name`,
  )
  const errors: string[] = []
  for (const { address, port } of members) {
    const etcd = { origin: `https://${address}:${port}`, ca: platform.connection.ca, token: '' }
    try {
      return await readMember(etcd, password ?? '')
    } catch (error) {
      errors.push(`${address}: ${(error as Error).message}`)
    }
  }
  throw new Error(`no member of the dcs answers: ${errors.join('; ')}`)
}

async function readMember(etcd: Etcd, password: string): Promise<string[]> {
  const { token } = await call<{ token: string }>(etcd, 'auth/authenticate', {
    name: 'root',
    password,
  })
  const root = { ...etcd, token }
  const { users = [] } = await call<{ users?: string[] }>(root, 'auth/user/list', {})
  const { roles = [] } = await call<{ roles?: string[] }>(root, 'auth/role/list', {})
  // `\0` to `\0`: every key.
  const every = { key: 'AA==', range_end: 'AA==', keys_only: true }
  const { kvs = [] } = await call<{ kvs?: { key: string }[] }>(root, 'kv/range', every)
  return [
    ...users.map((name) => `user ${name}`),
    ...roles.map((name) => `role ${name}`),
    ...kvs.map(({ key }) => `key ${Buffer.from(key, 'base64').toString('utf8')}`),
  ].sort()
}

async function call<T>(etcd: Etcd, path: string, body: unknown): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (etcd.token !== '') headers['authorization'] = etcd.token
  https
    .request(
      new URL(`/v3/${path}`, etcd.origin),
      { method: 'POST', headers, ca: etcd.ca, agent: false, timeout: TIMEOUT_MS },
      (response) => {
        text(response)
          .then((answer) => {
            if (response.statusCode !== 200) throw new Error(`etcd ${path}: ${answer}`)
            resolve(JSON.parse(answer) as T)
          })
          .catch(reject)
      },
    )
    .on('timeout', function onTimeout(this: { destroy(error: Error): void }) {
      this.destroy(new Error(`etcd ${path}: no answer in ${TIMEOUT_MS} ms`))
    })
    .on('error', reject)
    .end(JSON.stringify(body))
  return promise
}
