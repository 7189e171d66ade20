// The end of a platform, on a real s6 tree with stand-ins for what its hosts run: order, deadlines,
// and nothing left behind, whatever was killed before.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { renderLogScript, renderRunScript } from '@howdah/core/execline.ts'
import { findHomeProcesses, type HomeProcess } from './home-processes.ts'
import { type PlatformLayout, platformLayout, SERVICE_CONTROL_PLANE, SERVICE_DB } from './layout.ts'
import { makeHome, prepareHome } from './prepare-home.ts'
import { CLEAN_ENV } from './run-program.ts'
import { isScanning, startScan, writeService } from './s6.ts'
import { findServiceUser } from './service-user.ts'
import { stopPlatform } from './stop-platform.ts'
import { waitFor } from './wait-for.ts'

let directory = ''
let layout: PlatformLayout
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'hs-')))
  await chmod(directory, 0o755)
  layout = platformLayout(join(directory, 'h'), '127.62.3', 2)
  await makeHome(layout)
  await prepareHome(layout, findServiceUser())
})
afterEach(async () => {
  for (const left of findHomeProcesses(layout.home)) process.kill(left.pid, 'SIGKILL')
  await rm(directory, { recursive: true })
})

/** A program that notes its name when it is asked to end, and then ends. */
async function standIn(name: string): Promise<string> {
  const path = join(directory, name)
  const script = `trap 'echo ${name} >>${join(directory, 'order')}; exit 0' TERM INT`
  await writeFile(path, `#!/bin/sh\n${script}\nwhile :; do sleep 0.02; done\n`, { mode: 0o755 })
  return path
}

async function addService(scanDirectory: string, name: string, argv: string[]): Promise<void> {
  const log = join(directory, 'log', name)
  await mkdir(log, { recursive: true })
  await writeService(join(scanDirectory, name), {
    run: renderRunScript({ argv, env: { ...CLEAN_ENV }, directory: layout.platform }),
    log: renderLogScript(log, undefined),
    downSignal: 'SIGTERM',
    killTimeoutMs: 0,
  })
}

async function startTree(): Promise<void> {
  await addService(layout.services, SERVICE_DB, [await standIn('postgres')])
  await addService(layout.services, SERVICE_CONTROL_PLANE, [await standIn('control-plane')])
  for (const host of layout.hosts) {
    await addService(layout.services, host.name, ['s6-svscan', host.services])
    await addService(host.services, 'etcd', [await standIn('etcd')])
    await addService(host.services, 'patroni-1', [await standIn('patroni')])
    await addService(host.services, 'haproxy-1', [await standIn('haproxy')])
    await addService(host.services, 'agent', [await standIn('agent')])
  }
  await startScan(layout.services, join(layout.log, 's6-svscan'))
  await waitTree(10)
}

/** A stand-in that is about to sleep looks like two of it for a moment. */
async function waitTree(count: number): Promise<HomeProcess[]> {
  return waitFor({ what: `${count} stand-ins`, timeoutMs: 10_000 }, async () => {
    const tree = treeProcesses()
    return tree.length === count ? { value: tree } : { seen: `${tree.length} of them` }
  })
}

const pidsOf = (processes: readonly HomeProcess[]) => processes.map(({ pid }) => pid).sort()

// The stand-ins are shell scripts: their own name, and not the shell's, is in their arguments.
function treeProcesses(): HomeProcess[] {
  return findHomeProcesses(layout.home).filter((one) => !one.program.startsWith('s6-'))
}

async function endings(): Promise<string[]> {
  return (await readFile(join(directory, 'order'), 'utf8')).trim().split('\n')
}

test('everything ends in order, nothing is left, and the next scan starts it again', async () => {
  await startTree()
  const report = await stopPlatform(layout, { say: () => {} })
  assert.deepEqual([report.forced, report.left], [[], []])
  assert.deepEqual(findHomeProcesses(layout.home), [])
  const order = await endings()
  const rank = (name: string) => [order.indexOf(name), order.lastIndexOf(name)] as const
  assert.ok(rank('control-plane')[1] < rank('haproxy')[0], order.join())
  assert.ok(rank('agent')[1] < rank('patroni')[0], order.join())
  assert.ok(rank('patroni')[1] < rank('etcd')[0], order.join())
  assert.equal(order.at(-1), 'postgres')

  await startScan(layout.services, join(layout.log, 's6-svscan'))
  await waitTree(10)
  await stopPlatform(layout, { say: () => {} })
})

test('a platform whose supervisors were killed ends all the same', async () => {
  await startTree()
  for (const one of findHomeProcesses(layout.home)) {
    if (/^s6-(svscan|supervise)$/.test(one.program)) process.kill(one.pid, 'SIGKILL')
  }
  const report = await stopPlatform(layout, { say: () => {} })
  assert.deepEqual(report.left, [])
  assert.deepEqual(findHomeProcesses(layout.home), [])
})

test('a scan process that was killed is followed by another without ending a service', async () => {
  await startTree()
  const before = pidsOf(await waitTree(10))
  const top = findHomeProcesses(layout.home).find((one) => one.directory === layout.services)
  assert.ok(top)
  process.kill(top.pid, 'SIGKILL')
  await waitFor({ what: 'its end', timeoutMs: 5_000 }, async () =>
    (await isScanning(layout.services)) ? { seen: 'scanning' } : { value: true },
  )
  await startScan(layout.services, join(layout.log, 's6-svscan'))
  assert.deepEqual(pidsOf(await waitTree(10)), before)
  const report = await stopPlatform(layout, { say: () => {} })
  assert.deepEqual(report.left, [])
})

test('what a person runs in the home is not ended', async () => {
  await startTree()
  const person = spawn('sleep', ['60'], { cwd: layout.platform, stdio: 'ignore' })
  try {
    await stopPlatform(layout, { say: () => {} })
    assert.equal(person.exitCode, null)
    assert.equal(person.signalCode, null)
  } finally {
    person.kill()
    await once(person, 'exit')
  }
})

test('stopping what does not run finds nothing', async () => {
  const report = await stopPlatform(layout, { say: () => {} })
  assert.deepEqual(report, { found: 0, forced: [], left: [] })
})
