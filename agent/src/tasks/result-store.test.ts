// Proves that a result is reported once it is on disk and not sooner, and also if it cannot be.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { HostRoot } from '../host-root.ts'
import { openResultStore } from './result-store.ts'

const result = { id: `tsk_${'a'.repeat(26)}`, ok: true, value: null, error: '', errorCode: '' }

test('a result waits for the disk before it is reported', async (t) => {
  const path = await mkdtemp('/tmp/hwd-results-')
  t.after(() => rm(path, { recursive: true }))
  await mkdir(join(path, 'agent'))
  const store = await openResultStore({ path } as HostRoot)
  const added = store.add(result)
  assert.deepEqual(store.pending(), [])
  await added
  assert.deepEqual(store.pending(), [result])
  const next = await openResultStore({ path } as HostRoot)
  assert.deepEqual(next.pending(), [result])
})

test('a disk that takes nothing keeps no result from being reported', async () => {
  const store = await openResultStore({ path: '/proc/no-such-place' } as HostRoot)
  await assert.rejects(store.add(result))
  assert.deepEqual(store.pending(), [result])
})
