// Goal: whoever connects to a closed gateway is told why in words that its client shows, and
// nothing that it sends does harm. Method: the real psql in each way of TLS, and raw sockets for
// what no client sends.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import type { Refusal } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { makeRefusals, type Refusals } from './refusals.ts'

const PSQL = '/usr/lib/postgresql/15/bin/psql'
const ADDRESS = '127.61.7.1'
const PORT = 5000
const SAID = /FATAL: {2}cluster "demo" is being restored\nHINT: {2}howdah op watch op_1\n/
const ERROR_BODY =
  'SFATAL\0VFATAL\0C57P03\0Mcluster "demo" is being restored\0Hhowdah op watch op_1\0\0'

let authority: TestAuthority
let refusal: Refusal
let refusals: Refusals
let directory: string

before(async () => {
  authority = await makeTestAuthority()
  const { certificatePem, privateKeyPem } = await authority.issueServer(ADDRESS)
  refusal = {
    address: ADDRESS,
    ports: [PORT],
    certificatePem,
    keyPem: privateKeyPem,
    message: 'cluster "demo" is being restored',
    hint: 'howdah op watch op_1',
  }
  refusals = makeRefusals(pino({ level: 'silent' }))
  directory = await mkdtemp('/tmp/hwd-refusals-')
  await writeFile(join(directory, 'ca.crt'), authority.caPem)
})

after(async () => {
  await refusals.keep([])
  await rm(directory, { recursive: true, force: true })
})

beforeEach(async () => {
  await refusals.keep([refusal])
  await opened()
})

/** Until somebody listens: it is tried until the test's deadline. Leaves no connection behind. */
async function opened(): Promise<void> {
  for (let isOpen = false; !isOpen; ) {
    const socket = connect(PORT, ADDRESS, () => {
      isOpen = true
      socket.write(CANCEL)
    })
    await untilClosed(socket)
  }
}

function message(code: number, rest = ''): Buffer {
  const body = Buffer.from(`....${rest}`)
  body.writeInt32BE(code)
  const head = Buffer.alloc(4)
  head.writeInt32BE(body.length + 4)
  return Buffer.concat([head, body])
}

const STARTUP = message(196_608, 'user\0app\0database\0app\0\0')
const CANCEL = message(80_877_102, '12345678')
const TLS_REQUEST = message(80_877_103)
const ENCRYPTION_REQUEST = message(80_877_104)

async function open(...sent: (Buffer | string)[]): Promise<Socket> {
  const socket = connect({ port: PORT, host: ADDRESS, noDelay: true })
  await once(socket, 'connect')
  for (const each of sent) socket.write(each)
  return socket
}

/** The next bytes; the socket hands them out as they come. */
async function next(socket: Socket): Promise<string> {
  const [bytes] = (await once(socket.resume(), 'data')) as [Buffer]
  socket.pause()
  return bytes.toString()
}

/** What comes until the connection ends, or is reset because not all of it was read. */
async function untilClosed(socket: Socket): Promise<string> {
  let answer = ''
  socket.on('data', (bytes: Buffer) => {
    answer += bytes.toString('latin1')
  })
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('close', resolve))
  return answer
}

function assertRefused(answer: string): void {
  assert.equal(answer[0], 'E')
  assert.equal(answer.slice(5), ERROR_BODY)
  assert.equal(Buffer.from(answer).readInt32BE(1), ERROR_BODY.length + 4)
}

for (const mode of ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']) {
  test(`psql with sslmode=${mode} shows why, and what to run`, { timeout: 20_000 }, async () => {
    const where = `host=${ADDRESS} port=${PORT} user=app dbname=app sslmode=${mode}`
    const root = `sslrootcert=${join(directory, 'ca.crt')}`
    const child = spawn(PSQL, ['-Xc', 'select 1', `${where} ${root} connect_timeout=10`], {
      env: { LANG: 'C.UTF-8', HOME: directory },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const [said] = await Promise.all([text(child.stderr), once(child, 'exit')])
    assert.equal(child.exitCode, 2)
    assert.match(`${said}\n`, SAID)
  })
}

test('a message that comes in pieces is answered as a server that starts does', async () => {
  const socket = await open()
  for (const byte of STARTUP) socket.write(Buffer.from([byte]))
  assertRefused(await text(socket))
})

test('a client that does not wait for the answer gets it all the same', async () => {
  assertRefused(await text(await open(STARTUP, Buffer.alloc(1_000_000))))
})

test('who asks for GSSAPI is told no, and may go on with TLS or without', async () => {
  const socket = await open(ENCRYPTION_REQUEST)
  assert.equal(await next(socket), 'N')
  socket.write(TLS_REQUEST)
  assert.equal(await next(socket), 'S')
  const session = connectTls({ socket, ca: authority.caPem, host: ADDRESS })
  session.write(STARTUP)
  assertRefused(await text(session))

  const plain = await open(ENCRYPTION_REQUEST)
  assert.equal(await next(plain), 'N')
  plain.write(STARTUP)
  assertRefused(await text(plain))
})

test('a client may begin TLS without asking', async () => {
  const session = connectTls({
    port: PORT,
    host: ADDRESS,
    ca: authority.caPem,
    ALPNProtocols: ['postgresql'],
  })
  session.write(STARTUP)
  assertRefused(await text(session))
  assert.equal(session.alpnProtocol, 'postgresql')
})

const HARMLESS: readonly [string, readonly (Buffer | string)[]][] = [
  ['a request to cancel', [CANCEL]],
  ['a GET of HTTP', ['GET / HTTP/1.1\r\nHost: x\r\n\r\n']],
  ['garbage', [Buffer.alloc(70_000, 0xff)]],
  ['zeroes', [Buffer.alloc(100)]],
  ['a message that is too short to be one', [Buffer.from([0, 0, 0, 4])]],
  ['a message that is too long', [Buffer.from([0, 0, 0x27, 0x11])]],
  ['more than a request for TLS', [Buffer.concat([TLS_REQUEST, STARTUP])]],
  ['what only looks like TLS', [Buffer.from('\x16 but no TLS')]],
]
for (const [what, sent] of HARMLESS) {
  // Sooner than a client's time is up: it is seen for what it is.
  const name = `${what} is answered with nothing in the clear, and the next is served`
  test(name, { timeout: 4000 }, async () => {
    assert.doesNotMatch(await untilClosed(await open(...sent)), /^[ENS]|demo/)
    assertRefused(await text(await open(STARTUP)))
  })
}

test('a request is granted once', async () => {
  for (const request of [ENCRYPTION_REQUEST, TLS_REQUEST]) {
    const socket = await open(ENCRYPTION_REQUEST)
    assert.equal(await next(socket), 'N')
    socket.write(request)
    if (request === ENCRYPTION_REQUEST) {
      assert.equal(await text(socket), '')
      continue
    }
    assert.equal(await next(socket), 'S')
    const session = connectTls({ socket, ca: authority.caPem, host: ADDRESS })
    session.write(request)
    assert.equal(await text(session), '')
  }
})

test('a client that says nothing, or half of it, has five seconds', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  for (const half of [Buffer.alloc(0), STARTUP.subarray(0, 20)]) {
    const socket = await open(ENCRYPTION_REQUEST)
    // It is attended to: its time runs.
    assert.equal(await next(socket), 'N')
    socket.write(half)
    t.mock.timers.tick(4999)
    assert.equal(socket.readyState, 'open')
    t.mock.timers.tick(1)
    assert.equal(await untilClosed(socket.resume()), '')
  }
})

test('more clients than a hundred at once are closed without a word', async () => {
  const held: Socket[] = []
  for (let count = 0; count < 100; count += 1) {
    const socket = await open(ENCRYPTION_REQUEST)
    assert.equal(await next(socket), 'N')
    held.push(socket)
  }
  assert.equal(await untilClosed(await open()), '')
  for (const socket of held) socket.destroy()
})

test('a port is free once it is not refused any more, whoever was connected', async () => {
  const plain = await open(ENCRYPTION_REQUEST)
  assert.equal(await next(plain), 'N')
  const secure = await open(TLS_REQUEST)
  assert.equal(await next(secure), 'S')
  const session = connectTls({ socket: secure, ca: authority.caPem, host: ADDRESS })
  session.on('error', () => undefined)
  await once(session, 'secureConnect')
  await refusals.keep([])
  const service = await listen()
  await close(service)
})

test('a port that a service still has is refused as soon as it is free', async () => {
  await refusals.keep([])
  const service = await listen()
  await refusals.keep([refusal])
  await close(service)
  await opened()
  assertRefused(await text(await open(STARTUP)))
})

test('a port of a service that stays can be given up', async () => {
  await refusals.keep([])
  const service = await listen()
  await refusals.keep([refusal])
  await refusals.keep([])
  await close(service)
})

test('a key that is none keeps nobody else from being refused', async () => {
  await refusals.keep([{ ...refusal, ports: [PORT + 1], keyPem: 'x' }, refusal])
  await opened()
  assertRefused(await text(await open(STARTUP)))
})

test('other words take the place of those before', async () => {
  await refusals.keep([{ ...refusal, message: 'it failed' }])
  await opened()
  assert.match(await text(await open(STARTUP)), /\0Mit failed\0/)
})

/** As a service would: the port must be free now. */
async function listen(): Promise<Server> {
  const server = createServer((socket) => socket.destroy()).listen(PORT, ADDRESS)
  await once(server, 'listening')
  return server
}

async function close(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}
