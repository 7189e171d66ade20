// Goal: a service finds its port free. Method: the reconciler on a real root, with refusals that
// keep their ports for as long as the test wants.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import { pino } from 'pino'
import { openHostRoot } from '../host-root.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { until } from '../testing/until.ts'
import { makeReconciler } from './reconciler.ts'

const LATE_MS = 1000

const SPEC: HostSpec = {
  revision: 1,
  hostId: 'hst_a',
  directories: [],
  files: [],
  services: [
    {
      name: 'web',
      owner: 'clu_test',
      program: 'haproxy',
      args: ['-db'],
      env: {},
      restartOn: [],
      reloadOn: [],
      reloadSignal: 'SIGHUP',
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 1000,
      probe: { kind: 'none' },
    },
  ],
}

test('no service is there before the ports that were refused are free', async () => {
  const base = await mkdtemp('/tmp/hwd-reconciler-')
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  const services = () => readdir(join(root.path, 'services'))
  const stop = new AbortController()
  const found: string[][] = []
  // Frees them late: a service that does not wait is there long before.
  const keep = async () => {
    await until('a service', services, (names) => names.length > 0, LATE_MS).catch(() => undefined)
    found.push(await services())
  }
  const log = pino({ level: 'silent' })
  const needs = { root, refusals: { keep }, log, signal: stop.signal, onChange: () => undefined }
  const reconciler = makeReconciler(needs)
  reconciler.offer(SPEC)
  const running = reconciler.run()
  try {
    await until('the service to be set up', services, (names) => names.includes('web'))
    assert.deepEqual(found[0], [])
  } finally {
    stop.abort()
    await running
    await rm(base, { recursive: true, force: true })
  }
})
