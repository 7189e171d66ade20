// A program of its own: what another program prints becomes one object of an S3 store, or one
// object becomes what another program reads, as a stream, with nothing on disk in between. It
// stands for the client that people pipe `pg_basebackup` into. `node stream-program.ts <file with
// the settings> upload|download <object> <program> <arguments…>`; ends with the program's code.
import { spawn } from 'node:child_process'
import { createHash, createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'

export interface StreamSettings {
  endpoint: string
  port: number
  bucket: string
  key: string
  secret: string
  caPem: string
  uid: number
  gid: number
}

interface Request {
  method: string
  object: string
  query?: Record<string, string>
  body?: Buffer
}

/** What the usual client takes when it cannot know the length. */
const PART_BYTES = 16 * 1024 * 1024
const REGION = 'us-east-1'
const UNSIGNED = 'UNSIGNED-PAYLOAD'

const [, , settingsFile = '', direction, object = '', program = '', ...args] = process.argv
const settings = JSON.parse(readFileSync(settingsFile, 'utf8')) as StreamSettings
const agent = new https.Agent({ keepAlive: true, ca: settings.caPem })

const hmac = (key: string | Buffer, value: string) =>
  createHmac('sha256', key).update(value).digest()

/** Signature version 4 with an unsigned body: TLS keeps it whole. */
function sign({ method, object, query = {} }: Request, host: string): Record<string, string> {
  const now = `${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`
  const day = now.slice(0, 8)
  const headers = { host, 'x-amz-content-sha256': UNSIGNED, 'x-amz-date': now }
  const names = Object.keys(headers).join(';')
  const canonical = [
    method,
    `/${settings.bucket}/${object}`,
    formatQuery(query),
    ...Object.entries(headers).map(([name, value]) => `${name}:${value}`),
    '',
    names,
    UNSIGNED,
  ].join('\n')
  const scope = `${day}/${REGION}/s3/aws4_request`
  const digest = createHash('sha256').update(canonical).digest('hex')
  const toSign = ['AWS4-HMAC-SHA256', now, scope, digest].join('\n')
  const dayKey = hmac(`AWS4${settings.secret}`, day)
  const key = hmac(hmac(hmac(dayKey, REGION), 's3'), 'aws4_request')
  const signature = hmac(key, toSign).toString('hex')
  const parts = [
    `Credential=${settings.key}/${scope}`,
    `SignedHeaders=${names}`,
    `Signature=${signature}`,
  ]
  return { ...headers, authorization: `AWS4-HMAC-SHA256 ${parts.join(', ')}` }
}

const formatQuery = (query: Record<string, string>) =>
  Object.entries(query)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&')

async function send(request: Request): Promise<IncomingMessage> {
  const { method, object, query = {}, body } = request
  const host = `${settings.endpoint}:${settings.port}`
  const length = { 'content-length': String(body?.length ?? 0) }
  const call = https.request({
    host: settings.endpoint,
    port: settings.port,
    agent,
    method,
    path: `/${settings.bucket}/${object}?${formatQuery(query)}`,
    headers: { ...sign(request, host), ...(method === 'GET' ? {} : length) },
  })
  call.end(body)
  const [reply] = (await once(call, 'response')) as [IncomingMessage]
  if (reply.statusCode === 200) return reply
  throw new Error(`${method} ${object}: ${reply.statusCode} ${await text(reply)}`)
}

async function* parts(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of input) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes < PART_BYTES) continue
    const whole = Buffer.concat(chunks)
    yield whole.subarray(0, PART_BYTES)
    chunks = [whole.subarray(PART_BYTES)]
    bytes = whole.length - PART_BYTES
  }
  if (bytes > 0) yield Buffer.concat(chunks)
}

/** One part is on its way while the next one is read, as the usual client does. */
async function upload(input: AsyncIterable<Buffer>): Promise<number> {
  const begun = await text(await send({ method: 'POST', object, query: { uploads: '' } }))
  const uploadId = /<UploadId>([^<]+)</.exec(begun)?.[1] ?? ''
  const tags: string[] = []
  let bytes = 0
  let sending: Promise<void> = Promise.resolve()
  const put = async (body: Buffer, number: number) => {
    const query = { partNumber: String(number), uploadId }
    const reply = await send({ method: 'PUT', object, query, body })
    reply.resume()
    tags.push(String(reply.headers.etag))
  }
  for await (const part of parts(input)) {
    await sending
    bytes += part.length
    sending = put(part, tags.length + 1)
    // Awaited with the next part: until then a failure must not count as unhandled.
    sending.catch(() => undefined)
  }
  await sending
  const listed = tags.map(
    (tag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${tag}</ETag></Part>`,
  )
  const body = Buffer.from(`<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`)
  const ended = await text(await send({ method: 'POST', object, query: { uploadId }, body }))
  if (ended.includes('<Error>')) throw new Error(ended)
  return bytes
}

const { uid, gid } = settings
const isUpload = direction === 'upload'
const child = spawn(program, args, {
  cwd: '/',
  env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
  stdio: [isUpload ? 'ignore' : 'pipe', isUpload ? 'pipe' : 'ignore', 'inherit'],
  uid,
  gid,
})
const ended = once(child, 'exit')
if (isUpload && child.stdout !== null) {
  process.stdout.write(`${await upload(child.stdout)}\n`)
} else if (child.stdin !== null) {
  await pipeline(await send({ method: 'GET', object }), child.stdin)
}
const [code] = (await ended) as [number | null]
agent.destroy()
process.exitCode = code ?? 1
