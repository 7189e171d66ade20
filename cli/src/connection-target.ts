// Owns how an application reaches a cluster: which endpoint, as which role, and the connection URI
// that says so. libpq and drivers decode %XX everywhere, so everything but unreserved characters is
// encoded.
import type { Cluster, Credentials, Endpoint } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'

export interface EndpointFlags {
  read?: boolean
  direct?: boolean
  readDirect?: boolean
}

export interface ConnectionTarget {
  /** One per gateway: libpq tries them in turn. */
  addresses: { host: string; port: number }[]
  role: string | undefined
  password: string | undefined
  database: string | undefined
  caFile: string
}

export function choosePurpose(flags: EndpointFlags): Endpoint['purpose'] {
  const isRead = flags.read === true || flags.readDirect === true
  const isDirect = flags.direct === true || flags.readDirect === true
  if (isRead) return isDirect ? 'read-direct' : 'read'
  return isDirect ? 'write-direct' : 'write'
}

/** Throws `wrong-state` when the cluster has no such endpoint, e.g. while it is made. */
export function endpointAddresses(
  cluster: Cluster,
  purpose: Endpoint['purpose'],
): { host: string; port: number }[] {
  const addresses = cluster.endpoints
    .filter((endpoint) => endpoint.purpose === purpose)
    .map((endpoint) => ({ host: endpoint.address, port: endpoint.port }))
  if (addresses.length === 0) {
    const detail = `cluster ${cluster.name} is ${cluster.state} and has no ${purpose} endpoint`
    throw new HowdahError('wrong-state', detail)
  }
  return addresses
}

/** The kept credentials of `role`; without a role, the ones that came with the cluster. */
export function chooseCredentials(
  kept: Credentials[],
  role: string | undefined,
): Credentials | undefined {
  return role === undefined ? kept[0] : kept.find((entry) => entry.role === role)
}

export function formatConnectionUri(target: ConnectionTarget): string {
  const password = target.password === undefined ? '' : `:${encode(target.password)}`
  const user = target.role === undefined ? '' : `${encode(target.role)}${password}@`
  const hosts = target.addresses.map(({ host, port }) => `${encodeHost(host)}:${port}`).join(',')
  const database = target.database === undefined ? '' : encode(target.database)
  // A slash needs no encoding in a query, and a path is easier to read with it.
  const caFile = encode(target.caFile).replaceAll('%2F', '/')
  return `postgresql://${user}${hosts}/${database}?sslmode=verify-full&sslrootcert=${caFile}`
}

function encode(text: string): string {
  if (!text.isWellFormed() || text.includes('\0')) {
    throw new HowdahError('invalid-name', `${JSON.stringify(text)} cannot be part of a URI`)
  }
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

function encodeHost(host: string): string {
  return host.includes(':') ? `[${encode(host).replaceAll('%3A', ':')}]` : encode(host)
}
