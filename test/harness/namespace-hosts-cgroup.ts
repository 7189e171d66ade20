// Owns the cgroups of a namespace host: all of it can be frozen at one instant, and given a share
// of a processor. Where the kernel has no freezer, signals take its place.
import { existsSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from './until.ts'

export interface HostGroup {
  /** Also all its children, born and unborn. */
  add(pids: readonly number[]): Promise<void>
  freeze: (() => Promise<void>) | undefined
  thaw: (() => Promise<void>) | undefined
  limitCpu: ((share: number | undefined) => Promise<void>) | undefined
  remove(): Promise<void>
}

const ROOT = '/sys/fs/cgroup'
const FREEZE_TIMEOUT_MS = 10_000
const CPU_PERIOD_US = 20_000

export async function makeHostGroup(name: string): Promise<HostGroup> {
  const groups: Record<'freezer' | 'cpu', string | undefined> = {
    freezer: await makeGroup('freezer', 'freezer.state', name),
    cpu: await makeGroup('cpu', 'cpu.cfs_quota_us', name),
  }
  const setState = async (directory: string, state: 'FROZEN' | 'THAWED') => {
    const file = join(directory, 'freezer.state')
    await writeFile(file, state)
    await until(`${directory} to be ${state}`, FREEZE_TIMEOUT_MS, async () => {
      const now = (await readFile(file, 'utf8')).trim()
      return now === state ? { value: true } : { seen: now }
    })
  }
  const { freezer, cpu } = groups
  return {
    async add(pids) {
      for (const directory of Object.values(groups)) {
        if (directory === undefined) continue
        for (const pid of pids) await addProcess(directory, pid)
      }
    },
    freeze: freezer === undefined ? undefined : () => setState(freezer, 'FROZEN'),
    thaw: freezer === undefined ? undefined : () => setState(freezer, 'THAWED'),
    limitCpu:
      cpu === undefined
        ? undefined
        : async (share) => {
            const quota = share === undefined ? -1 : Math.max(1000, share * CPU_PERIOD_US)
            await writeFile(join(cpu, 'cpu.cfs_period_us'), String(CPU_PERIOD_US))
            await writeFile(join(cpu, 'cpu.cfs_quota_us'), String(Math.round(quota)))
          },
    async remove() {
      for (const directory of Object.values(groups)) {
        if (directory === undefined) continue
        await until(`${directory} to be empty`, FREEZE_TIMEOUT_MS, async () => {
          await rmdir(directory)
          return { value: true }
        })
      }
    },
  }
}

async function makeGroup(
  controller: string,
  file: string,
  name: string,
): Promise<string | undefined> {
  const directory = join(ROOT, controller, name)
  if (!existsSync(join(ROOT, controller, 'cgroup.procs'))) return undefined
  await mkdir(directory, { recursive: true })
  return existsSync(join(directory, file)) ? directory : undefined
}

async function addProcess(directory: string, pid: number): Promise<void> {
  await writeFile(join(directory, 'cgroup.procs'), String(pid)).catch((error: unknown) => {
    // It ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  })
}
