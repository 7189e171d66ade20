// Owns the second question before a host is taken for dead: does its PostgreSQL answer? An agent
// may be away for a moment while the database goes on, and nobody should lose a leader for that. A
// postmaster that is frozen or gone answers nothing, although the kernel of its host still accepts
// connections for it.
import { createConnection } from 'node:net'

const TIMEOUT_MS = 500
/** An SSLRequest: any PostgreSQL replies with one byte, before it knows who asks. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

export function answersAsPostgres(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: address, port })
    const end = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.setTimeout(TIMEOUT_MS, () => end(false))
    socket.on('connect', () => socket.write(SSL_REQUEST))
    socket.on('data', () => end(true))
    socket.on('error', () => end(false))
    socket.on('close', () => end(false))
  })
}
