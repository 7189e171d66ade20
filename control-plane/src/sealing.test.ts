// Proves that a sealed secret opens only for what it was sealed for, with its key, and unchanged to
// the last bit.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { makeSealer, readSealer } from './sealing.ts'
import { hostileText } from './testing/hostile-text.ts'

const SEED = 20_250_709
const sealer = makeSealer(randomBytes(32))

test('what was sealed is opened again, whatever it is', () => {
  const text = fc.oneof(fc.constant(''), hostileText(4000))
  fc.assert(
    fc.property(text, text, (purpose, secret) => {
      assert.equal(sealer.open(purpose, sealer.seal(purpose, secret)), secret)
    }),
    { seed: SEED, numRuns: 200 },
  )
})

test('the same secret is sealed differently each time', () => {
  assert.notDeepEqual(sealer.seal('a', 'secret'), sealer.seal('a', 'secret'))
})

test('a secret that is moved to another purpose does not open', () => {
  const sealed = sealer.seal('secret:clu_1:dcs', 'secret')
  assert.throws(() => sealer.open('secret:clu_2:dcs', sealed))
  assert.throws(() => sealer.open('', sealed))
})

test('another key opens nothing', () => {
  const sealed = sealer.seal('a', 'secret')
  assert.throws(() => makeSealer(randomBytes(32)).open('a', sealed))
})

test('no bit of it can be changed, and nothing cut off', () => {
  const sealed = sealer.seal('a', 'secret')
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const changed = Buffer.from(sealed)
    const index = Math.floor(bit / 8)
    changed[index] = (changed[index] as number) ^ (1 << (bit % 8))
    assert.throws(() => sealer.open('a', changed), `bit ${bit}`)
  }
  for (let length = 0; length < sealed.length; length += 1) {
    assert.throws(() => sealer.open('a', sealed.subarray(0, length)), `${length} bytes`)
  }
})

test('a key file holds 64 hex digits and nothing else; what it holds is not repeated', async () => {
  const directory = await mkdtemp('/tmp/howdah-test-')
  const path = join(directory, 'master.key')
  try {
    const key = randomBytes(32)
    await writeFile(path, `${key.toString('hex')}\n`)
    const sealed = makeSealer(key).seal('a', 'secret')
    assert.equal((await readSealer(path)).open('a', sealed), 'secret')
    for (const wrong of ['', 'abc', `${key.toString('hex')}00`, key.toString('base64')]) {
      await writeFile(path, wrong)
      await assert.rejects(readSealer(path), (error) => {
        const { message } = error as Error
        return message.includes('64 hex digits') && (wrong === '' || !message.includes(wrong))
      })
    }
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('a key of another length is a bug of ours', () => {
  assert.throws(() => makeSealer(randomBytes(16)), /^Error: BUG/)
})
