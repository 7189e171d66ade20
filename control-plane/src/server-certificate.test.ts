// Proves that a listener shows a renewed certificate to those who come later, and keeps those who
// are there; that a failed renewal changes nothing.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { apiTls } from './api/app.ts'
import { createAuthority, type IssuedCertificate } from './certificates.ts'
import { issueServerCertificate, renewDaily } from './server-certificate.ts'

const NAMES = { apiAddress: '127.0.0.1', agentAddress: '0.0.0.0', publicNames: 'db.example, ' }

const authority = await createAuthority('howdah test')
const issue = () => issueServerCertificate(NAMES, authority)
const server = createServer(apiTls(await issue()), (_, response) => response.end('here'))

before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})

after(() => {
  server.close()
  server.closeAllConnections()
})

async function come(): Promise<TLSSocket> {
  const { port } = server.address() as AddressInfo
  const socket = connect({
    host: '127.0.0.1',
    port,
    servername: 'db.example',
    ca: authority.certificatePem,
  })
  await once(socket, 'secureConnect')
  return socket
}

const serialOf = (socket: TLSSocket) => socket.getPeerCertificate().serialNumber

test('who comes later sees the renewed certificate, and who is there is served', async () => {
  const early = await come()
  const { promise: shown, resolve } = Promise.withResolvers<void>()
  const show = (issued: IssuedCertificate) => {
    server.setSecureContext(apiTls(issued))
    resolve()
  }
  const renewal = renewDaily({ issue, show, log: { warn: () => assert.fail() } }, 1)
  await shown
  renewal.stop()
  const late = await come()
  assert.notEqual(serialOf(late), serialOf(early))
  for (const socket of [early, late]) {
    socket.write('GET / HTTP/1.1\r\nhost: db.example\r\nconnection: close\r\n\r\n')
    const chunks: string[] = []
    for await (const chunk of socket.setEncoding('utf8')) chunks.push(String(chunk))
    assert.match(chunks.join(''), /here$/)
  }
})

test('a renewal that fails is told, and tried again', async () => {
  const said: unknown[] = []
  const { promise: shown, resolve } = Promise.withResolvers<void>()
  const failing = async () => {
    if (said.length < 2) throw new Error('no entropy')
    return issue()
  }
  const log = { warn: (...words: unknown[]) => void said.push(words) }
  const renewal = renewDaily({ issue: failing, show: () => resolve(), log: log as never }, 1)
  await shown
  renewal.stop()
  assert.match(JSON.stringify(said), /no entropy.*not renewed/)
})
