// Proves who may stop leading, and when: over the real socket, with a Patroni that is a few lines.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { HOST_LAYOUT, LEAVING_SOCKET } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import type { HostRoot } from './host-root.ts'
import { openLeaving } from './leaving.ts'
import { until } from './testing/until.ts'

const never = new AbortController().signal

async function start(t: TestContext) {
  const path = await mkdtemp('/tmp/hwd-')
  await mkdir(join(path, HOST_LAYOUT.agentRun))
  const root = { path, dropTo: undefined } as HostRoot
  const leaving = await openLeaving(root, pino({ level: 'silent' }))
  t.after(async () => {
    await leaving.close()
    await rm(path, { recursive: true })
  })
  const connect = async (name: string) => {
    const socket = createConnection(join(path, LEAVING_SOCKET))
    await once(socket, 'connect')
    socket.write(`${name}\n`)
    assert.equal(await leaving.asks(name, never), true)
    const lines = createInterface({ input: socket })
    return {
      ask: async () => {
        socket.write('leaving\n')
        const [answer] = (await once(lines, 'line')) as [string]
        return answer
      },
      socket,
    }
  }
  return { leaving, connect }
}

test('one that nobody expects goes, but not soon after an agent has died', async (t) => {
  const { leaving, connect } = await start(t)
  assert.equal(await leaving.asks('demo-1', AbortSignal.abort()), false)
  const patroni = await connect('demo-1')
  assert.equal(await patroni.ask(), 'no')
  t.mock.method(performance, 'now', () => Number.MAX_SAFE_INTEGER)
  assert.equal(await patroni.ask(), 'go')
  assert.equal(leaving.answer('demo-1', true), false)
})

test('one that is expected waits for its answer, and hears no other', async (t) => {
  const { leaving, connect } = await start(t)
  const [patroni, other] = [await connect('demo-1'), await connect('demo-2')]
  const asked = leaving.expect('demo-1', never)
  assert.equal(leaving.answer('demo-1', true), false)
  const answer = patroni.ask()
  await asked
  assert.equal(await other.ask(), 'no')
  assert.equal(leaving.answer('demo-1', true), true)
  assert.equal(await answer, 'go')
  assert.equal(leaving.answer('demo-1', true), false)
})

test('one that was told to stay stays, though it asks again, until it is expected', async (t) => {
  const { leaving, connect } = await start(t)
  const patroni = await connect('demo-1')
  const asked = leaving.expect('demo-1', never)
  const answer = patroni.ask()
  await asked
  leaving.answer('demo-1', false)
  assert.equal(await answer, 'no')
  assert.equal(await patroni.ask(), 'no')
  const again = leaving.expect('demo-1', never)
  const second = patroni.ask()
  await again
  leaving.answer('demo-1', true)
  assert.equal(await second, 'go')
})

test('one that asks after nobody waits for its question any more stays', async (t) => {
  const { leaving, connect } = await start(t)
  const patroni = await connect('demo-1')
  const abort = new AbortController()
  const asked = leaving.expect('demo-1', abort.signal)
  abort.abort(new Error('the task is over'))
  await assert.rejects(asked, /the task is over/)
  assert.equal(await patroni.ask(), 'no')
})

test('one whose session ended is not expected to ask', async (t) => {
  const { leaving, connect } = await start(t)
  const { socket } = await connect('demo-1')
  socket.destroy()
  await until(
    'no session',
    () => leaving.asks('demo-1', AbortSignal.abort()),
    (asks) => !asks,
  )
})

test('what is no line is not kept', async (t) => {
  const { leaving, connect } = await start(t)
  const { socket } = await connect('demo-1')
  socket.write('x'.repeat(10_000))
  await once(socket, 'close')
  assert.equal(await leaving.asks('demo-1', AbortSignal.abort()), false)
})

test('one that gets no answer stays', async (t) => {
  const { leaving, connect } = await start(t)
  const patroni = await connect('demo-1')
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const asked = leaving.expect('demo-1', never)
  const answer = patroni.ask()
  await asked
  t.mock.timers.tick(8000)
  assert.equal(await answer, 'no')
  assert.equal(leaving.answer('demo-1', true), false)
})
