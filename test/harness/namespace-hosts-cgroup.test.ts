// Proves that a group of a namespace host freezes and slows what is in it, with whatever cgroups
// this machine has; and of those that it has not, which files would be written.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { findPlace, makeHostGroup } from './namespace-hosts-cgroup.ts'
import { until } from './until.ts'

const ROOT = '/sys/fs/cgroup'
const NAME = `howdah-test-${process.pid}`
const TIMEOUT_MS = 30_000
/** Of the kernel's clock, in which it counts what a process ran: 0.2 s. */
const SOME_TICKS = 20

async function makeTree(t: TestContext, files: Record<string, string>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'howdah-test-'))
  t.after(() => rm(root, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return root
}

/** False, or why no group can be made there. */
function whyNot(controller: 'freezer' | 'cpu', root: string): string | false {
  const directory = findPlace(controller, root)?.directory
  if (directory === undefined) return `no ${controller} below ${root}`
  try {
    accessSync(directory, constants.W_OK)
    return false
  } catch {
    return `${directory} is not ours`
  }
}

/** With one process in it, and another one beside it. */
async function makeTestGroup(t: TestContext, root: string) {
  const group = await makeHostGroup(NAME, root)
  const busy = spawnBusy()
  const other = spawnBusy()
  t.after(async () => {
    await group.freezer?.thaw()
    for (const { child } of [busy, other]) child.kill('SIGKILL')
    await group.remove()
  })
  await group.add([busy.pid])
  return { group, busy, other }
}

/** A process that never rests, and how long it ran so far. */
function spawnBusy() {
  const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' })
  const pid = child.pid ?? 0
  const ticks = async () => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(fields[11]) + Number(fields[12])
  }
  const goesOn = async () => {
    const wanted = (await ticks()) + SOME_TICKS
    await until('it to run', TIMEOUT_MS, async () => {
      const now = await ticks()
      return now >= wanted ? { value: true } : { seen: `${now} of ${wanted} ticks` }
    })
  }
  return { child, pid, ticks, goesOn }
}

for (const root of [ROOT, join(ROOT, 'unified')]) {
  const skip = whyNot('freezer', root)
  test(`what is frozen stands still and goes on: groups of ${root}`, { skip }, async (t) => {
    const { group, busy, other } = await makeTestGroup(t, root)
    await busy.goesOn()
    await group.freezer?.freeze()
    const before = await busy.ticks()
    await other.goesOn()
    assert.equal(await busy.ticks(), before)
    await group.freezer?.thaw()
    await busy.goesOn()
  })
}

test('what is slowed gets its share, and all of it again', async (t) => {
  const why = whyNot('cpu', ROOT)
  if (why !== false) return t.skip(why)
  const { group, busy } = await makeTestGroup(t, ROOT)
  const { cpu } = group
  if (cpu === undefined) return t.skip('the controller is not given to groups here')
  await cpu.limit(0.1)
  const beganMs = performance.now()
  const ticksBefore = await busy.ticks()
  await busy.goesOn()
  const tookMs = performance.now() - beganMs
  const share = (((await busy.ticks()) - ticksBefore) * 10) / tookMs
  assert.ok(share < 0.2, `it had ${share} of a processor`)
  const starvedMs = await cpu.starvedMs()
  assert.ok(starvedMs > tookMs / 2, `starved for ${starvedMs} of ${tookMs} ms`)
  await cpu.limit(undefined)
  const after = await cpu.starvedMs()
  await busy.goesOn()
  assert.equal(await cpu.starvedMs(), after)
})

test('a group that was left frozen and slowed is neither when it is made again', async (t) => {
  const root = await makeTree(t, {
    [`freezer/cgroup.procs`]: '',
    [`freezer/${NAME}/freezer.state`]: 'FROZEN',
    [`cpu/cgroup.procs`]: '',
    [`cpu/${NAME}/cpu.cfs_quota_us`]: '2000',
  })
  await makeHostGroup(NAME, root)
  const read = (path: string) => readFile(join(root, path), 'utf8')
  assert.equal(await read(`freezer/${NAME}/freezer.state`), 'THAWED')
  assert.equal(await read(`cpu/${NAME}/cpu.cfs_quota_us`), '-1')
})

test('each controller is looked for where either version has it', async (t) => {
  const first = await makeTree(t, { 'freezer/cgroup.procs': '', 'cpu/cgroup.procs': '' })
  const second = await makeTree(t, { 'cgroup.controllers': 'cpuset cpu io memory\n' })
  const both = await makeTree(t, { 'cpu/cgroup.procs': '', 'unified/cgroup.controllers': '\n' })
  const bare = await makeTree(t, { 'cgroup.controllers': 'memory\n' })
  const none = await makeTree(t, {})
  const places = (root: string) => [findPlace('freezer', root), findPlace('cpu', root)]
  const at = (version: 1 | 2, directory: string) => ({ version, directory })
  assert.deepEqual(places(first), [at(1, join(first, 'freezer')), at(1, join(first, 'cpu'))])
  assert.deepEqual(places(second), [at(2, second), at(2, second)])
  assert.deepEqual(places(both), [at(2, join(both, 'unified')), at(1, join(both, 'cpu'))])
  assert.deepEqual(places(bare), [at(2, bare), undefined])
  assert.deepEqual(places(none), [undefined, undefined])
})

// A kernel that has the controller in the second version is not everywhere: its files are.
test('the second version is given a quota and a period in one file', async (t) => {
  const root = await makeTree(t, {
    'cgroup.controllers': 'cpu memory\n',
    [`${NAME}/cgroup.freeze`]: '0\n',
    [`${NAME}/cgroup.events`]: 'populated 1\nfrozen 0\n',
    [`${NAME}/cpu.max`]: 'max 100000\n',
    [`${NAME}/cpu.stat`]: 'usage_usec 12\nnr_periods 9\nnr_throttled 7\nthrottled_usec 5\n',
  })
  const { cpu } = await makeHostGroup(NAME, root)
  const limit = () => readFile(join(root, NAME, 'cpu.max'), 'utf8')
  await cpu?.limit(0.1)
  assert.equal(await limit(), '2000 20000')
  await cpu?.limit(undefined)
  assert.equal(await limit(), 'max 20000')
  assert.equal(await cpu?.starvedMs(), 140)
  assert.equal(await readFile(join(root, 'cgroup.subtree_control'), 'utf8'), '+cpu')
})
