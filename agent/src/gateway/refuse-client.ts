// Owns one connection of a client to a gateway that is closed: it is told why in PostgreSQL's own
// protocol, over TLS when it asks for that, and sent away. What it sends is bounded in bytes and in
// time, and nothing of it is used but the kind of its first messages.
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type SecureContext, TLSSocket } from 'node:tls'

/** From the first byte to the last; a client that is no slower than a person gets its answer. */
const CLIENT_MS_MAX = 5000
/** PostgreSQL's own limit of a first message (MAX_STARTUP_PACKET_LENGTH). */
const MESSAGE_BYTES_MAX = 10_000
const MESSAGE_BYTES_MIN = 8
const CANNOT_CONNECT_NOW = '57P03'
/** First byte of a TLS record; no message begins with it, as none is that long. */
const TLS_HANDSHAKE = 0x16

const REQUESTS = { cancel: 80_877_102, tls: 80_877_103, encryption: 80_877_104 } as const

/** `tls` asks whether to begin it, `tls-now` is TLS without asking, as libpq can from 17 on. */
type Opening = 'incomplete' | 'nonsense' | 'startup' | 'tls-now' | keyof typeof REQUESTS

export interface ClientRefusal {
  context: SecureContext
  /** `renderError` made it. */
  error: Buffer
}

/** The ErrorResponse of a server that is starting or stopping, with words of our own. */
export function renderError({ message, hint }: { message: string; hint: string }): Buffer {
  const fields = ['SFATAL', 'VFATAL', `C${CANNOT_CONNECT_NOW}`, `M${message}`, `H${hint}`]
  const body = Buffer.from(`${fields.join('\0')}\0\0`)
  const head = Buffer.from('E....')
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

export function readOpening(bytes: Buffer): Opening {
  if (bytes[0] === TLS_HANDSHAKE) return 'tls-now'
  if (bytes.length < 4) return 'incomplete'
  const length = bytes.readUInt32BE(0)
  if (length < MESSAGE_BYTES_MIN || length > MESSAGE_BYTES_MAX) return 'nonsense'
  if (bytes.length < length) return 'incomplete'
  const code = bytes.readUInt32BE(4)
  for (const name of ['cancel', 'tls', 'encryption'] as const) {
    if (code !== REQUESTS[name]) continue
    // What came before the answer was not sent by who asked: somebody is in between.
    return bytes.length === length ? name : 'nonsense'
  }
  return 'startup'
}

/** Never throws; the connection is closed in the end, whatever it brings. */
export function refuseClient(socket: Socket, refusal: ClientRefusal): void {
  const timer = setTimeout(() => socket.destroy(), CLIENT_MS_MAX)
  socket.once('close', () => clearTimeout(timer))
  attend(socket, socket, refusal, ['tls', 'tls-now', 'encryption'])
}

/** `stream` is the connection or the TLS session in it. Each request is granted once. */
function attend(
  socket: Socket,
  stream: Duplex,
  refusal: ClientRefusal,
  requests: readonly Opening[],
): void {
  let bytes = Buffer.alloc(0)
  const onData = (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    const opening = readOpening(bytes)
    if (opening === 'incomplete') return
    stream.off('data', onData)
    if (opening === 'startup') {
      // Closed with something unread, the connection would be reset, and the client not read on.
      stream.resume().end(refusal.error)
    } else if (!requests.includes(opening)) {
      socket.destroy()
    } else if (opening === 'encryption') {
      stream.write('N')
      attend(socket, stream, refusal, ['tls'])
    } else {
      beginTls(socket, refusal, opening === 'tls' ? undefined : bytes)
    }
  }
  stream.on('data', onData)
  // Clients leave as they like.
  stream.on('error', () => socket.destroy())
}

function beginTls(socket: Socket, refusal: ClientRefusal, begun: Buffer | undefined): void {
  socket.pause()
  if (begun === undefined) socket.write('S')
  else socket.unshift(begun)
  const session = new TLSSocket(socket, {
    isServer: true,
    secureContext: refusal.context,
    // A client that begins TLS without asking goes on only with who says that it is PostgreSQL.
    ALPNProtocols: ['postgresql'],
  })
  attend(socket, session, refusal, [])
}
