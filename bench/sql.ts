// Owns connections of the benches to PostgreSQL, whoever provides it: an address with or without
// TLS.
import pg from 'pg'

export interface SqlAddress {
  host: string
  port: number
  user: string
  password: string
  database: string
  /** With an authority the connection is TLS, and checked against it. */
  caPem?: string
}

export interface ConnectLimits {
  connectTimeoutMs: number
  queryTimeoutMs: number
}

const LIMITS: ConnectLimits = { connectTimeoutMs: 2000, queryTimeoutMs: 60_000 }

/** A connected client; the caller ends it. */
export async function connectSql(
  address: SqlAddress,
  limits: ConnectLimits = LIMITS,
): Promise<pg.Client> {
  const { caPem, ...target } = address
  const client = new pg.Client({
    ...target,
    // pg names a host to TLS only when it is no address; without a name it would be `localhost`.
    ...(caPem === undefined
      ? {}
      : { ssl: { ca: caPem, host: address.host } as pg.ClientConfig['ssl'] & object }),
    connectionTimeoutMillis: limits.connectTimeoutMs,
    query_timeout: limits.queryTimeoutMs,
  })
  // A connection that breaks while idle would end the bench; its next query tells anyway.
  client.on('error', () => undefined)
  await client.connect()
  return client
}

export async function querySql<Row extends pg.QueryResultRow = Record<string, unknown>>(
  address: SqlAddress,
  text: string,
  limits?: ConnectLimits,
): Promise<Row[]> {
  const client = await connectSql(address, limits)
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end().catch(() => undefined)
  }
}
