// Owns users and permissions in the dcs. Each function first looks, then changes only what is
// missing: every change of etcd's auth store makes the tokens of all its clients stale at once.
import {
  connectEtcd,
  type EtcdAccess,
  EtcdError,
  isAuthOff,
  prefixEnd,
  toBase64,
} from './etcd-client.ts'

const READWRITE = 2

type Call = (path: string, body: Record<string, unknown>) => Promise<Record<string, unknown>>

/** Turns authentication on with `root`. Success when it is on with this password already. */
export async function enableAuth(
  access: EtcdAccess,
  rootPassword: string,
  signal: AbortSignal,
): Promise<void> {
  // Without credentials: before authentication is on, etcd knows no users to log in as.
  const { endpoints, caPem } = access
  await withEtcd({ endpoints, caPem }, signal, async (call) => {
    if (await canLogIn(call, 'root', rootPassword)) return
    if (!(await tolerate(call('auth/user/add', user('root', rootPassword)), /already exists/))) {
      await call('auth/user/changepw', user('root', rootPassword))
    }
    await tolerate(call('auth/role/add', { name: 'root' }), /already exists/)
    await tolerate(call('auth/user/grant', { user: 'root', role: 'root' }), /already/)
    await call('auth/enable', {})
  })
}

/** A user whose role, of the same name, covers the keys below `prefix` and nothing else. */
export async function ensureUser(
  access: EtcdAccess,
  wanted: { user: string; password: string; prefix: string },
  signal: AbortSignal,
): Promise<void> {
  const { user: name, password, prefix } = wanted
  await withEtcd(access, signal, async (call) => {
    const key = toBase64(prefix)
    const rangeEnd = prefixEnd(prefix)
    const role = await lookUp(call('auth/role/get', { role: name }))
    if (role === undefined) await tolerate(call('auth/role/add', { name }), /already exists/)
    const perm = { permType: 'READWRITE', key, range_end: rangeEnd }
    const held = (role?.['perm'] ?? []) as {
      permType?: unknown
      key?: string
      range_end?: string
    }[]
    for (const other of held.filter((item) => !isSame(item, perm))) {
      await call('auth/role/revoke', { role: name, key: other.key, range_end: other.range_end })
    }
    if (!held.some((item) => isSame(item, perm))) await call('auth/role/grant', { name, perm })

    const found = await lookUp(call('auth/user/get', { name }))
    if (found === undefined) {
      await tolerate(call('auth/user/add', user(name, password)), /already exists/)
    }
    if (found !== undefined && !(await canLogIn(call, name, password))) {
      await call('auth/user/changepw', user(name, password))
    }
    const roles = (found?.['roles'] ?? []) as string[]
    if (!roles.includes(name)) {
      await tolerate(call('auth/user/grant', { user: name, role: name }), /already/)
    }
  })
}

/** The user first: from then on nobody writes below the prefix that is being emptied. */
export async function removeUser(
  access: EtcdAccess,
  unwanted: { user: string; prefix: string },
  signal: AbortSignal,
): Promise<void> {
  const { user: name, prefix } = unwanted
  await withEtcd(access, signal, async (call) => {
    await tolerate(call('auth/user/delete', { name }), /not found/)
    await tolerate(call('auth/role/delete', { role: name }), /not found/)
    await call('kv/deleterange', { key: toBase64(prefix), range_end: prefixEnd(prefix) })
  })
}

async function withEtcd(
  access: EtcdAccess,
  signal: AbortSignal,
  act: (call: Call) => Promise<void>,
): Promise<void> {
  const client = connectEtcd(access, signal)
  try {
    await act(client.call)
  } finally {
    client.close()
  }
}

function user(name: string, password: string): Record<string, unknown> {
  return { name, password }
}

function isSame(
  held: { permType?: unknown; key?: string; range_end?: string },
  wanted: { key: string; range_end: string },
): boolean {
  const readWrite = held.permType === 'READWRITE' || held.permType === READWRITE
  return readWrite && held.key === wanted.key && held.range_end === wanted.range_end
}

/** False when authentication is off or the password is another one; other failures throw. */
async function canLogIn(call: Call, name: string, password: string): Promise<boolean> {
  try {
    await call('auth/authenticate', { name, password })
    return true
  } catch (error) {
    if (error instanceof EtcdError && isAuthOff(error)) return false
    if (error instanceof EtcdError && /authentication failed/.test(error.message)) return false
    throw error
  }
}

/** Whether the call did something; an error that says that it was done before is false. */
async function tolerate(call: Promise<unknown>, done: RegExp): Promise<boolean> {
  try {
    await call
    return true
  } catch (error) {
    if (error instanceof EtcdError && done.test(error.message)) return false
    throw error
  }
}

async function lookUp(
  call: Promise<Record<string, unknown>>,
): Promise<Record<string, unknown> | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof EtcdError && /not found/.test(error.message)) return undefined
    throw error
  }
}
