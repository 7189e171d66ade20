// Owns secrets at rest: AES-256-GCM with a key that is a file outside the database. What a secret
// is for is authenticated with it, so a row copied to another owner or name does not open.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'

const NONCE_BYTES = 12
const TAG_BYTES = 16
const FORMAT = 1

export interface Sealer {
  seal(purpose: string, clear: string): Buffer
  /** Throws when the purpose, the key or a bit of the sealed bytes is not what it was. */
  open(purpose: string, sealed: Buffer): string
}

export function makeSealer(key: Buffer): Sealer {
  if (key.length !== 32) throw new Error('BUG: a master key has 32 bytes')
  return {
    seal(purpose, clear) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(purpose))
      const body = Buffer.concat([cipher.update(clear, 'utf8'), cipher.final()])
      return Buffer.concat([Buffer.from([FORMAT]), nonce, cipher.getAuthTag(), body])
    },
    open(purpose, sealed) {
      if (sealed[0] !== FORMAT) throw new Error('the sealed secret has an unknown format')
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES)
      const tag = sealed.subarray(1 + NONCE_BYTES, 1 + NONCE_BYTES + TAG_BYTES)
      const body = sealed.subarray(1 + NONCE_BYTES + TAG_BYTES)
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(purpose))
        .setAuthTag(tag)
      return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8')
    },
  }
}

export async function readSealer(masterKeyFile: string): Promise<Sealer> {
  const text = (await readFile(masterKeyFile, 'utf8')).trim()
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new Error(`${masterKeyFile}: expected 64 hex digits, the key that seals secrets`)
  }
  return makeSealer(Buffer.from(text, 'hex'))
}

export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
