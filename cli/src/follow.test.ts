// An operation is followed to its end: as a list that redraws on a terminal, as lines elsewhere,
// through dropped and silent connections.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { Event, Operation } from '@howdah/core/contract/operations.ts'
import { makeApiClient } from './api-client.ts'
import type { Progress } from './context.ts'
import { type FollowOptions, followOperation, StoppedWatching } from './follow.ts'
import { makePaint } from './output.ts'
import { renderStepList } from './step-list.ts'
import { type FakeApi, type RouteReply, startFakeApi } from './testing/fake-api.ts'
import { sampleEvent, sampleOperation, sampleStep } from './testing/samples.ts'

interface Screen {
  progress: Progress
  text(): string
}

function makeScreen(isLive: boolean): Screen {
  let text = ''
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      text += chunk
      done()
    },
  }) as unknown as NodeJS.WriteStream
  Object.assign(stream, { columns: 60, rows: 20, isTTY: isLive })
  return { progress: { stream, isLive, paint: makePaint(false) }, text: () => text }
}

function optionsFor(api: FakeApi, screen: Screen, signal?: AbortSignal): FollowOptions {
  const connection = { api: api.url, token: 'test-token', caPem: api.caPem, userAgent: 'test' }
  return {
    client: makeApiClient(connection),
    operationId: 'op_1',
    progress: screen.progress,
    signal: signal ?? new AbortController().signal,
  }
}

function openStream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(': hello\n\n')
}

/** What the platform knows: what has happened, and how the operation stands because of it. */
interface PlatformState {
  operation: Operation
  events: Event[]
}

function makeState(operation = sampleOperation()): PlatformState {
  return { operation, events: [] }
}

/** Kept first and sent then, as the platform does: what a client misses, it can list. */
function sendEvent(state: PlatformState, response: ServerResponse, event: Event): void {
  if (!state.events.some(({ id }) => id === event.id)) state.events.push(event)
  response.write(`id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`)
}

function listAfter(state: PlatformState, path: string): RouteReply {
  const after = Number(new URL(path, 'https://platform').searchParams.get('after'))
  const data = state.events.filter(({ id }) => Number(id) > after)
  return { body: { data, next_cursor: null } }
}

/**
 * Serves the operation, its events, and a stream whose n-th connection is handled by the n-th
 * function.
 */
function serveOperation(
  api: FakeApi,
  state: PlatformState,
  connections: ((response: ServerResponse) => void)[],
): void {
  api.routes.set('GET /v1/operations/op_1', () => ({ body: state.operation }))
  let count = 0
  api.routes.set('GET /v1/events', ({ path }) => listAfter(state, path))
  api.routes.set('GET /v1/events/stream', (_request, response) => {
    openStream(response)
    connections[Math.min(count, connections.length - 1)]?.(response)
    count += 1
    return undefined
  })
}

const SUCCEEDED = sampleOperation({ state: 'succeeded', ended_at: '2026-01-02T03:04:09.000Z' })

test('off a terminal each event is one line, and nothing moves the cursor', async () => {
  await using api = await startFakeApi()
  const state = makeState()
  serveOperation(api, state, [
    (response) => {
      sendEvent(state, response, sampleEvent('1', 'step.running', 'starts \x1b[2J the leader'))
      setTimeout(() => {
        state.operation = SUCCEEDED
        sendEvent(state, response, sampleEvent('2', 'operation.succeeded', 'done'))
      }, 100)
    },
  ])
  const screen = makeScreen(false)
  const operation = await followOperation(optionsFor(api, screen))
  assert.equal(operation.state, 'succeeded')
  const lines = screen.text().trimEnd().split('\n')
  assert.equal(lines.length, 2)
  assert.match(lines[0] ?? '', /^\d\d:\d\d:\d\d {2}step\.running {9}starts \\e\[2J the leader$/)
  assert.ok(!screen.text().includes('\x1b'))
})

test('a dropped stream goes on after the last event, without telling any twice', async () => {
  await using api = await startFakeApi()
  const state = makeState()
  serveOperation(api, state, [
    (response) => {
      sendEvent(state, response, sampleEvent('1', 'step.running', 'first'))
      response.end()
    },
    (response) => {
      response.socket?.destroy()
    },
    (response) => {
      sendEvent(state, response, sampleEvent('1', 'step.running', 'first'))
      sendEvent(state, response, sampleEvent('2', 'step.succeeded', 'second'))
      setTimeout(() => {
        state.operation = SUCCEEDED
        sendEvent(state, response, sampleEvent('3', 'operation.succeeded', 'third'))
      }, 100)
    },
  ])
  const screen = makeScreen(false)
  await followOperation(optionsFor(api, screen))
  const streams = api.seen.filter((request) => request.path.startsWith('/v1/events/stream'))
  assert.equal(streams[0]?.path, '/v1/events/stream?operation=op_1&after=0')
  assert.equal(streams[1]?.headers['last-event-id'], '1')
  assert.equal(screen.text().match(/first/g)?.length, 1)
  assert.match(screen.text(), /connection lost[\s\S]*second[\s\S]*third/)
})

test('a silent stream is given up and opened again', async () => {
  await using api = await startFakeApi()
  const state = makeState()
  serveOperation(api, state, [
    () => undefined,
    () => {
      state.operation = SUCCEEDED
    },
  ])
  // Ends by reading the operation again after the reconnection: its last event was missed.
  api.routes.set('GET /v1/operations/op_1', () => ({ body: state.operation }))
  const screen = makeScreen(false)
  const operation = await followOperation({ ...optionsFor(api, screen), silenceMsMax: 150 })
  assert.equal(operation.state, 'succeeded')
})

test("a retried operation is not over because the first attempt's end is replayed", async () => {
  await using api = await startFakeApi()
  const state = makeState(sampleOperation({ attempt: 2 }))
  serveOperation(api, state, [
    (response) => {
      sendEvent(state, response, sampleEvent('1', 'operation.failed', 'attempt one'))
      setTimeout(() => {
        state.operation = SUCCEEDED
        sendEvent(state, response, sampleEvent('2', 'operation.succeeded', 'attempt two'))
      }, 50)
    },
  ])
  const screen = makeScreen(false)
  const operation = await followOperation(optionsFor(api, screen))
  assert.equal(operation.state, 'succeeded')
  assert.match(screen.text(), /attempt one[\s\S]*attempt two/)
})

test('an operation that has ended is told without a stream', async () => {
  await using api = await startFakeApi()
  serveOperation(api, makeState(SUCCEEDED), [])
  const screen = makeScreen(false)
  await followOperation(optionsFor(api, screen))
  assert.ok(api.seen.every((request) => !request.path.includes('stream')))
  assert.match(screen.text(), /succeeded {2}does plan/)
})

test('events that the stream had not sent when the operation ended are told too', async () => {
  await using api = await startFakeApi()
  const events = [sampleEvent('1', 'step.running', 'one'), sampleEvent('2', 'step.running', 'two')]
  serveOperation(api, { operation: SUCCEEDED, events }, [])
  const screen = makeScreen(false)
  await followOperation(optionsFor(api, screen))
  assert.match(screen.text(), /one\n.*two\n$/)
})

test('on a terminal the list redraws in place, and the cursor comes back', async () => {
  await using api = await startFakeApi()
  const state = makeState()
  serveOperation(api, state, [
    (response) => {
      sendEvent(state, response, sampleEvent('1', 'step.running', 'x'))
      setTimeout(() => {
        const steps = [sampleStep('plan', 'succeeded'), sampleStep('start-leader', 'succeeded')]
        state.operation = { ...SUCCEEDED, steps }
        sendEvent(state, response, sampleEvent('2', 'operation.succeeded', 'done'))
      }, 250)
    },
  ])
  const screen = makeScreen(true)
  await followOperation(optionsFor(api, screen))
  const text = screen.text()
  assert.ok(text.startsWith('\x1b[?25l') && text.endsWith('\x1b[?25h'))
  assert.ok(text.split('\x1b[3A\r\x1b[J').length >= 3, 'three lines are redrawn')
  const last = stripVTControlCharacters(text.slice(text.lastIndexOf('\x1b[J')))
  assert.match(last, /create cluster demo[\s\S]*✓ does plan 2\.5s\n {2}✓ does start-leader/)
})

test('stopping says so, and leaves the operation alone', async () => {
  await using api = await startFakeApi()
  serveOperation(api, makeState(), [() => undefined])
  const stopped = new AbortController()
  setTimeout(() => stopped.abort(), 100)
  const screen = makeScreen(true)
  await assert.rejects(followOperation(optionsFor(api, screen, stopped.signal)), StoppedWatching)
  assert.ok(api.seen.every((request) => request.method === 'GET'))
  assert.ok(screen.text().endsWith('\x1b[?25h'))
})

test('a small terminal shows the steps around the running one, cut to its width', () => {
  const names = Array.from({ length: 30 }, (_, index) => `step-${index}`)
  const steps = names.map((name, index) => sampleStep(name, index < 20 ? 'succeeded' : 'pending'))
  steps[20] = { ...sampleStep('step-20', 'running'), message: 'm'.repeat(200) }
  const view = { nowMs: 0, columns: 40, rows: 10, frame: 0, paint: makePaint(false), notice: '' }
  const lines = renderStepList(sampleOperation({ steps }), view)
  assert.ok(lines.length < 10)
  assert.ok(lines.some((line) => line.includes('does step-20')))
  for (const line of lines) assert.ok(line.length < 40, line)
})
