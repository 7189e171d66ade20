// Owns what the CLI keeps about a cluster: credentials that the platform shows once, and the
// cluster's certificate authority, below <home>/clusters. Both for libpq (pgpass, CA file) and for
// `howdah uri`.
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Credentials } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import { readOptional, writeDurable } from './platform/durable-file.ts'

export interface ClusterIdentity {
  id: string
  name: string
}

interface CredentialsFile {
  cluster_id: string
  cluster: string
  credentials: Credentials[]
}

/**
 * Every file that belongs to the cluster. The name is checked first: it comes from the platform.
 */
function pathOf(home: string, name: string, suffix: 'json' | 'ca.pem' | 'pgpass'): string {
  return join(home, 'clusters', `${parseResourceName(name)}.${suffix}`)
}

export function credentialsPath(home: string, name: string): string {
  return pathOf(home, name, 'json')
}

/** Empty when nothing is kept, or when what is kept belongs to an earlier cluster of that name. */
export async function readCredentials(
  home: string,
  cluster: ClusterIdentity,
): Promise<Credentials[]> {
  const path = credentialsPath(home, cluster.name)
  const text = await readOptional(path)
  if (text === undefined) return []
  const file = parseCredentialsFile(text)
  if (file === undefined) {
    throw new HowdahError('bad-request', `${path} cannot be understood`, {
      extra: { hint: 'move it away; howdah role rotate-password makes new credentials' },
    })
  }
  return file.cluster_id === cluster.id ? file.credentials : []
}

/** Replaces what is kept for the same role. Returns the path. */
export async function saveCredentials(
  home: string,
  cluster: ClusterIdentity,
  credentials: Credentials,
): Promise<string> {
  const kept = await readCredentials(home, cluster)
  const before = kept.find((entry) => entry.role === credentials.role)
  const entry = { ...credentials, database: credentials.database ?? before?.database ?? null }
  // In place, because the first entry is the one that `howdah uri` takes by default.
  const all =
    before === undefined ? [...kept, entry] : kept.map((old) => (old === before ? entry : old))
  return writeCredentials(home, cluster, all)
}

export async function forgetRole(
  home: string,
  cluster: ClusterIdentity,
  role: string,
): Promise<void> {
  const kept = await readCredentials(home, cluster)
  const rest = kept.filter((entry) => entry.role !== role)
  if (rest.length !== kept.length) await writeCredentials(home, cluster, rest)
}

/** Removes everything that is kept of a cluster that is gone for good. */
export async function forgetCluster(home: string, name: string): Promise<void> {
  for (const suffix of ['pgpass', 'ca.pem', 'json'] as const) {
    await rm(pathOf(home, name, suffix), { force: true })
  }
}

/** Returns the path of the authority's certificate, written when it changed. */
export async function saveClusterCa(home: string, name: string, pem: string): Promise<string> {
  const path = pathOf(home, name, 'ca.pem')
  if (!/^\s*-----BEGIN CERTIFICATE-----/.test(pem)) {
    throw new HowdahError('internal', `the platform sent no certificate for cluster ${name}`)
  }
  if ((await readOptional(path)) === pem) return path
  await makeDirectory(home)
  await writeDurable(path, pem, 0o600)
  return path
}

/** A pgpass file with every kept role, or undefined when none can be written in its format. */
export async function savePgpass(
  home: string,
  name: string,
  credentials: Credentials[],
): Promise<string | undefined> {
  // The format is one line per entry: a role with a line end in its name has no way in.
  const entries = credentials.filter(({ role, password }) => !/[\r\n\0]/.test(role + password))
  if (entries.length === 0) return undefined
  const path = pathOf(home, name, 'pgpass')
  const escapeField = (text: string) => text.replace(/[\\:]/g, '\\$&')
  const lines = entries.map(
    ({ role, password }) => `*:*:*:${escapeField(role)}:${escapeField(password)}\n`,
  )
  await makeDirectory(home)
  await writeDurable(path, lines.join(''), 0o600)
  return path
}

async function writeCredentials(
  home: string,
  cluster: ClusterIdentity,
  credentials: Credentials[],
): Promise<string> {
  const path = credentialsPath(home, cluster.name)
  const file: CredentialsFile = { cluster_id: cluster.id, cluster: cluster.name, credentials }
  await makeDirectory(home)
  await writeDurable(path, `${JSON.stringify(file, null, 2)}\n`, 0o600)
  return path
}

async function makeDirectory(home: string): Promise<void> {
  // The home itself stays passable: the platform's service user works below it.
  await mkdir(home, { recursive: true })
  await mkdir(join(home, 'clusters'), { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
}

function parseCredentialsFile(text: string): CredentialsFile | undefined {
  try {
    const file = JSON.parse(text) as Partial<CredentialsFile> | null
    const isWhole =
      typeof file?.cluster_id === 'string' &&
      Array.isArray(file.credentials) &&
      file.credentials.every(
        (entry) => typeof entry?.role === 'string' && typeof entry.password === 'string',
      )
    return isWhole ? (file as CredentialsFile) : undefined
  } catch {
    return undefined
  }
}
