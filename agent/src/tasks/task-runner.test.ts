// Proves which task is begun next, and what becomes of one that is taken back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Task, TaskResult } from '@howdah/core/protocol.ts'
import { pino } from 'pino'
import type { ResultStore } from './result-store.ts'
import type { ActionContext } from './run-task-action.ts'
import { makeTaskRunner, nextStartable } from './task-runner.ts'

const DAY_MS = 86_400_000
const task = (id: string, timeoutMs: number, action: object = { kind: 'gateway-release' }): Task =>
  ({ id, timeoutMs, action }) as Task
const inDirectory = (path: string) => ({
  endpoint: null,
  config: `[global]\nrepo1-type=posix\nrepo1-path=${path}\nrepo1-bundle=y\n`,
})
const long = (id: string) =>
  task(id, DAY_MS, { kind: 'restore-data', repository: inDirectory('/srv/one/clu_1') })
const short = (id: string) => task(id, 5000)
const look = (id: string, path = `/srv/one/${id}`) =>
  task(id, 30_000, { kind: 'list-archive', repository: inDirectory(path) })
const ask = (id: string, host: string) =>
  task(id, 30_000, { kind: 'list-archive', repository: { config: '', endpoint: { host } } })
const many = (make: (id: string) => Task, count: number) =>
  Array.from({ length: count }, (_, index) => make(`${make.name}-${index}`))

test('a gateway is held at once, however many backups run on its host', () => {
  const hold = short('hold')
  assert.equal(nextStartable([...many(long, 20), hold], many(long, 4)), hold)
})

test('a store that does not answer delays no other task, nor do backups its own', () => {
  const hold = short('hold')
  assert.equal(nextStartable([look('next'), hold], many(look, 3)), hold)
  const next = look('next')
  assert.equal(nextStartable([next], many(long, 4)), next)
})

test('a store that does not answer leaves places of its host to other stores', () => {
  const silent = [...many((id) => ask(id, 'silent'), 3), ...many(look, 3)]
  const other = ask('other', 'well')
  const next = look('next', '/srv/two/clu_1')
  assert.equal(nextStartable([ask('late', 'silent'), look('late'), other], silent), other)
  assert.equal(nextStartable([ask('late', 'silent'), next], silent), next)
})

test('what runs at once is bounded in each lane', () => {
  assert.equal(nextStartable([short('next')], many(short, 8)), undefined)
  assert.equal(nextStartable([look('next')], many(look, 3)), undefined)
  const looks = many((id) => look(id, `/srv/${id}/clu_1`), 8)
  assert.equal(nextStartable([look('next')], looks), undefined)
  assert.equal(nextStartable([long('next')], many(long, 4)), undefined)
})

function storeIn(results: Map<string, TaskResult>): ResultStore {
  return {
    has: (id) => results.has(id),
    ids: () => [...results.keys()],
    add: async (result) => void results.set(result.id, result),
    pending: () => [...results.values()],
    markStored: async () => undefined,
    markWanted: () => undefined,
    full: () => false,
  }
}

test('a task that is taken back ends, and is answered whether it ran or not', async () => {
  const results = new Map<string, TaskResult>()
  let begun: () => void = () => undefined
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve
  })
  const found = {
    release: () => {
      begun()
      return new Promise(() => undefined)
    },
  }
  const runner = makeTaskRunner({
    results: storeIn(results),
    context: { findSwitch: () => found } as unknown as ActionContext,
    log: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    onResult: () => undefined,
  })
  runner.offer([short('runs')])
  await isBegun
  await runner.withdraw(['runs', 'never-came'])
  await runner.drain()
  for (const id of ['runs', 'never-came']) {
    assert.equal(results.get(id)?.errorCode, 'withdrawn', id)
  }
})
