// Owns an S3 server for tests: real HTTPS with a certificate of an authority of its own, buckets as
// directories. It listens on loopback and lives as long as the test.
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Authority,
  createAuthority,
  issueCertificate,
} from '../../control-plane/src/certificates.ts'

interface Server {
  run(): Promise<{ port: number }>
  close(): Promise<void>
}

export interface TestS3 extends AsyncDisposable {
  endpoint: string
  port: number
  bucket: string
  key: string
  secret: string
  caPem: string
  authority: Authority
  /** Another bucket, for who puts its name before the endpoint's. */
  named: { bucket: string; endpoint: string; directory: string }
  /** Objects as files, below the bucket. */
  directory: string
  /** As a store that is away: connections are refused until `start`. */
  stop(): Promise<void>
  start(): Promise<void>
  /** From the next request on, for every store of this process. */
  addKey(key: string, secret: string): void
  revokeKey(key: string): void
}

interface Account {
  createKeyPair(key: string, secret: string): void
  revokeAccessKey(key: string): void
}

/** The only account that the server knows, and its first key. */
const ACCOUNT = 'S3RVER'
const BUCKET = 'backups'
const ADDRESS = '127.0.0.1'
/** Together a name that needs no DNS: the address above, as C reads it. */
const NAMED = { bucket: '0177', endpoint: '0.0.1' }
const NAMED_HOST = `${NAMED.bucket}.${NAMED.endpoint}`
/** By which the store is called. */
export const STORE_NAMES: readonly string[] = ['localhost', NAMED_HOST]

/** `parent`: where objects are kept; with other temporary files unless given. */
export async function startS3(parent = tmpdir()): Promise<TestS3> {
  const S3rver = createRequire(import.meta.url)('s3rver') as new (options: object) => Server
  const { DUMMY_ACCOUNT: account } = createRequire(import.meta.url)(
    's3rver/lib/models/account',
  ) as { DUMMY_ACCOUNT: Account }
  const directory = await mkdtemp(join(parent, 'howdah-test-s3-'))
  const authority = await createAuthority('test s3')
  const tls = await issueCertificate(authority, 'localhost', STORE_NAMES, 1)
  let port = 0
  let server: Server | undefined
  const start = async () => {
    server = new S3rver({
      address: ADDRESS,
      port,
      silent: true,
      directory,
      // The name of a bucket is all that it is called, unless that is `localhost`.
      vhostBuckets: true,
      configureBuckets: [BUCKET, NAMED_HOST].map((name) => ({ name, configs: [] })),
      cert: tls.certificatePem,
      key: tls.keyPem,
    })
    port = (await server.run()).port
  }
  const stop = async () => {
    await server?.close()
    server = undefined
  }
  await start()
  return {
    endpoint: 'localhost',
    port,
    bucket: BUCKET,
    key: ACCOUNT,
    secret: ACCOUNT,
    caPem: authority.certificatePem,
    authority,
    named: { ...NAMED, directory: join(directory, NAMED_HOST) },
    directory: join(directory, BUCKET),
    start,
    stop,
    addKey: (key, secret) => account.createKeyPair(key, secret),
    revokeKey: (key) => account.revokeAccessKey(key),
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
