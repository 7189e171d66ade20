// Owns the cgroups of a namespace host: all of it can be frozen at one instant, and given a share
// of a processor. Both versions of cgroups will do, each controller in the one that has it; what
// the kernel offers in neither is left out, and signals take the place of a freezer.
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CpuLimit } from './faults-stage.ts'
import { until } from './until.ts'

export interface HostGroup {
  /** Also all its children, born and unborn. */
  add(pids: readonly number[]): Promise<void>
  freezer: Freezer | undefined
  cpu: CpuLimit | undefined
  remove(): Promise<void>
}

interface Freezer {
  freeze(): Promise<void>
  thaw(): Promise<void>
}

type Controller = 'freezer' | 'cpu'

/** A group, or where groups are made. */
export interface Place {
  version: 1 | 2
  directory: string
}

const ROOT = '/sys/fs/cgroup'
const FREEZE_TIMEOUT_MS = 10_000
const CPU_PERIOD_US = 20_000
const CPU_QUOTA_US_MIN = 1000

/**
 * The first version has a directory per controller; the second has one for all, at the root, or
 * beside those of the first. Its freezer needs no controller.
 */
export function findPlace(controller: Controller, root: string): Place | undefined {
  const first = join(root, controller)
  if (existsSync(join(first, 'cgroup.procs'))) return { version: 1, directory: first }
  for (const directory of [root, join(root, 'unified')]) {
    const file = join(directory, 'cgroup.controllers')
    if (!existsSync(file)) continue
    const offers = readFileSync(file, 'utf8').trim().split(' ')
    if (controller === 'freezer' || offers.includes(controller)) return { version: 2, directory }
  }
  return undefined
}

export async function makeHostGroup(name: string, root = ROOT): Promise<HostGroup> {
  const freezerGroup = await makeGroup('freezer', name, root)
  const cpuGroup = await makeGroup('cpu', name, root)
  const freezer = has(freezerGroup, 'freezer') ? freezerOf(freezerGroup) : undefined
  const cpu = has(cpuGroup, 'cpu') ? cpuLimitOf(cpuGroup) : undefined
  const groups = [freezerGroup, cpuGroup].filter((group) => group !== undefined)
  const directories = [...new Set(groups.map(({ directory }) => directory))]
  // One of a run that was killed may be left, frozen or slowed as it was then.
  await freezer?.thaw()
  await cpu?.limit(undefined)
  return {
    freezer,
    cpu,
    async add(pids) {
      for (const directory of directories) {
        for (const pid of pids) await addProcess(directory, pid)
      }
    },
    async remove() {
      for (const directory of directories) {
        await until(`${directory} to be empty`, FREEZE_TIMEOUT_MS, async () => {
          await rmdir(directory)
          return { value: true }
        })
      }
    },
  }
}

async function makeGroup(
  controller: Controller,
  name: string,
  root: string,
): Promise<Place | undefined> {
  const place = findPlace(controller, root)
  if (place === undefined) return undefined
  const directory = join(place.directory, name)
  await mkdir(directory, { recursive: true })
  if (place.version === 2 && controller === 'cpu') {
    // Refused at the root of a container, which has processes of its own: then nothing is slowed.
    const file = join(place.directory, 'cgroup.subtree_control')
    await writeFile(file, '+cpu').catch(() => undefined)
  }
  return { ...place, directory }
}

const FILES = {
  1: { freezer: 'freezer.state', cpu: 'cpu.cfs_quota_us' },
  2: { freezer: 'cgroup.freeze', cpu: 'cpu.max' },
} as const

function has(group: Place | undefined, controller: Controller): group is Place {
  return group !== undefined && existsSync(join(group.directory, FILES[group.version][controller]))
}

function freezerOf({ version, directory }: Place): Freezer {
  const state = version === 1 ? 'freezer.state' : 'cgroup.events'
  const set = async (word: string, seen: string) => {
    await writeFile(join(directory, FILES[version].freezer), word)
    await until(`${directory} to be ${seen}`, FREEZE_TIMEOUT_MS, async () => {
      const now = (await readFile(join(directory, state), 'utf8')).trim()
      return now.split('\n').includes(seen) ? { value: true } : { seen: now }
    })
  }
  return version === 1
    ? { freeze: () => set('FROZEN', 'FROZEN'), thaw: () => set('THAWED', 'THAWED') }
    : { freeze: () => set('1', 'frozen 1'), thaw: () => set('0', 'frozen 0') }
}

function cpuLimitOf({ version, directory }: Place): CpuLimit {
  const write = (file: string, value: string) => writeFile(join(directory, file), value)
  return {
    async limit(share) {
      const quotaUs =
        share === undefined
          ? undefined
          : Math.max(CPU_QUOTA_US_MIN, Math.round(share * CPU_PERIOD_US))
      if (version === 2) return write('cpu.max', `${quotaUs ?? 'max'} ${CPU_PERIOD_US}`)
      await write('cpu.cfs_period_us', String(CPU_PERIOD_US))
      await write('cpu.cfs_quota_us', String(quotaUs ?? -1))
    },
    async starvedMs() {
      const text = await readFile(join(directory, 'cpu.stat'), 'utf8')
      const periods = Number(/^nr_throttled (\d+)$/m.exec(text)?.[1])
      return (periods * CPU_PERIOD_US) / 1000
    },
  }
}

async function addProcess(directory: string, pid: number): Promise<void> {
  await writeFile(join(directory, 'cgroup.procs'), String(pid)).catch((error: unknown) => {
    // It ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  })
}
