// Owns a small HTTPS server that stands for the control plane in tests of the CLI: a certificate
// authority of its own, routes given as functions, and every request kept for the test to look at.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface SeenRequest {
  method: string
  path: string
  headers: IncomingHttpHeaders
  body: string
}

/** Answers by itself, or returns what to send as JSON. */
export type Route = (request: SeenRequest, response: ServerResponse) => RouteReply | undefined

export interface RouteReply {
  status?: number
  body?: unknown
  headers?: Record<string, string>
}

export interface FakeApi {
  url: string
  caPem: string
  seen: SeenRequest[]
  /** A home directory whose cli.json points here. */
  home: string
  /** `GET /v1/x` -> route; the query is not part of the key. */
  routes: Map<string, Route>
  /** Ends all connections, as a restart would. */
  dropConnections(): void
  [Symbol.asyncDispose](): Promise<void>
}

export async function startFakeApi(address = '127.0.0.1'): Promise<FakeApi> {
  const home = await mkdtemp('/tmp/howdah-test-')
  const tls = await makeCertificate(home, address)
  const seen: SeenRequest[] = []
  const routes = new Map<string, Route>()
  const sockets = new Set<Socket>()
  const server = https.createServer(
    { key: tls.key, cert: tls.certificate },
    (request, response) => {
      void answer(request, response, { seen, routes })
    },
  )
  server.on('secureConnection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const url = `https://${address}:${(server.address() as AddressInfo).port}`
  const config = { api: url, token: 'test-token', ca: tls.ca }
  await writeFile(join(home, 'cli.json'), JSON.stringify(config), { mode: 0o600 })
  const dropConnections = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url,
    caPem: tls.ca,
    seen,
    home,
    routes,
    dropConnections,
    [Symbol.asyncDispose]: async () => {
      dropConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(home, { recursive: true })
    },
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  api: { seen: SeenRequest[]; routes: Map<string, Route> },
): Promise<void> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  const { method = '', url: path = '', headers } = request
  const one = { method, path, headers, body }
  api.seen.push(one)
  const route = api.routes.get(`${method} ${path.split('?')[0]}`)
  const reply = route === undefined ? notFound(path) : route(one, response)
  if (reply === undefined) return
  response.writeHead(reply.status ?? 200, {
    'content-type': 'application/json',
    ...reply.headers,
  })
  response.end(reply.body === undefined ? '' : JSON.stringify(reply.body))
}

function notFound(path: string): RouteReply {
  return problem(404, 'not-found', `there is nothing at ${path}`)
}

export function problem(
  status: number,
  code: string,
  detail: string,
): RouteReply & { body: object } {
  const body = { type: 'about:blank', title: code, status, detail, code, hint: 'a hint' }
  return { status, body: { ...body, retryable: false, request_id: 'req_1' } }
}

/** An authority and a certificate for the address that it signed. */
export async function makeCertificate(
  directory: string,
  address: string,
): Promise<{ ca: string; key: string; certificate: string }> {
  const at = (name: string) => join(directory, name)
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const days = ['-days', '2']
  await run('openssl', [
    'req',
    '-x509',
    ...curve,
    ...days,
    '-subj',
    '/CN=test authority',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
  ])
  await run('openssl', [
    'req',
    '-x509',
    ...curve,
    ...days,
    '-subj',
    '/CN=test',
    '-CA',
    at('ca.crt'),
    '-CAkey',
    at('ca.key'),
    '-addext',
    `subjectAltName=IP:${address}`,
    '-addext',
    'basicConstraints=critical,CA:FALSE',
    '-keyout',
    at('tls.key'),
    '-out',
    at('tls.crt'),
  ])
  const read = (name: string) => readFile(at(name), 'utf8')
  return {
    ca: await read('ca.crt'),
    key: await read('tls.key'),
    certificate: await read('tls.crt'),
  }
}
