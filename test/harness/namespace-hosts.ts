// Owns a platform whose hosts are as separate as one machine allows: each has its own network, its
// own processes and its own disk, and can lose them. Control plane and platform database are
// outside, on the bridge, as are the clients. It uses the embedded platform's own parts; only the
// hosts are started here. Root only.
import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeApiClient } from '../../cli/src/api-client.ts'
import {
  ensureDcs,
  joinHosts,
  waitDcs,
  waitHostsOnline,
} from '../../cli/src/platform/join-hosts.ts'
import {
  type HostPlace,
  type PlatformLayout,
  platformLayout,
} from '../../cli/src/platform/layout.ts'
import { makeHome, prepareHome } from '../../cli/src/platform/prepare-home.ts'
import { findServiceUser } from '../../cli/src/platform/service-user.ts'
import { startPlatform } from '../../cli/src/platform/start-platform.ts'
import { startAgent } from '../../cli/src/platform/start-services.ts'
import { stopPlatform } from '../../cli/src/platform/stop-platform.ts'
import { type Stage, type StageHost, signalAll, signalProcess } from './faults-stage.ts'
import { findHomeProcesses } from './home-processes.ts'
import { type HostGroup, makeHostGroup } from './namespace-hosts-cgroup.ts'
import { type Disk, makeDisk, shareMounts } from './namespace-hosts-disk.ts'
import { makeNetwork, type Network, type NetworkPort } from './namespace-hosts-network.ts'
import { makePlatform, type TestPlatform } from './platform.ts'
import { until } from './until.ts'

const HOST_COUNT = 4
const START_TIMEOUT_MS = 180_000
const GONE_TIMEOUT_MS = 20_000
const BOOT_TIMEOUT_MS = 10_000
/**
 * A host also sees the disks of the others: it must let go of one that is unmounted, or that stays
 * in use.
 */
const FOLLOW_MOUNTS = ['--propagation', 'slave']

interface HostParts {
  place: HostPlace
  port: NetworkPort
  disk: Disk
  group: HostGroup
  logFile: string
}

export async function startNamespaceStage(): Promise<Stage> {
  const home = await mkdtemp(join(tmpdir(), 'howdah-test-'))
  await chmod(home, 0o755)
  // In the reverse order of making, whatever fails on the way.
  const undo: (() => Promise<void>)[] = [() => rm(home, { recursive: true })]
  const stop = async () => {
    for (const step of undo.splice(0).reverse()) {
      await step().catch((error: unknown) => console.error(String(error)))
    }
  }
  try {
    return await build(home, undo, stop)
  } catch (error) {
    const log = join(home, 'platform/log/control-plane/current')
    const said = await readFile(log, 'utf8').catch(() => 'no log of the control plane')
    await stop()
    throw new Error(`start hosts in namespaces; ${said.slice(-3000)}`, { cause: error })
  }
}

async function build(
  home: string,
  undo: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<Stage> {
  const network = await makeNetwork()
  undo.push(() => network.remove())
  const layout = layoutOn(network, home)
  await makeHome(layout)
  await mkdir(join(home, 'images'), { mode: 0o700 })
  const disks = join(home, 'hosts')
  await mkdir(disks, { mode: 0o755 })
  undo.push(await shareMounts(disks))
  const hosts: StageHost[] = []
  for (const [index, place] of layout.hosts.entries()) {
    const disk = await makeDisk(join(home, 'images', place.name), place.root)
    undo.push(() => disk.remove())
    const group = await makeHostGroup(`${network.subnet}-${place.name}`)
    undo.push(() => group.remove())
    const port = await network.addHost(index + 1)
    const logFile = join(home, 'images', `${place.name}.log`)
    hosts.push(namespaceHost({ place, port, disk, group, logFile }))
  }
  undo.push(async () => {
    for (const host of hosts) await host.kill()
  })
  const platform = await startParts(layout, hosts, undo, stop)
  return { kind: 'namespaces', platform, hosts, [Symbol.asyncDispose]: stop }
}

/** The embedded layout, with addresses of the bridge instead of loopback ones. */
function layoutOn(network: Network, home: string): PlatformLayout {
  const layout = platformLayout(home, network.subnet, HOST_COUNT)
  const address = network.controlPlaneAddress
  if (layout.controlPlaneAddress !== address) throw new Error('BUG: the layout moved')
  return layout
}

async function startParts(
  layout: PlatformLayout,
  hosts: readonly StageHost[],
  undo: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<TestPlatform> {
  const user = findServiceUser()
  const signal = AbortSignal.timeout(START_TIMEOUT_MS)
  const sinceMs = Date.now()
  await prepareHome(layout, user)
  // Its hosts are not services of the platform here: it would start them outside.
  const outside = { ...layout, hosts: [] }
  const config = {
    subnet: undefined,
    logLevel: 'info',
    faultFile: join(layout.home, 'fault'),
    archiveCheckSeconds: undefined,
    undoDays: undefined,
    spares: 'off',
  }
  undo.push(async () => void (await stopPlatform(outside, { say: () => undefined })))
  const say = () => undefined
  const userAgent = 'howdah-test'
  const { services } = await startPlatform({
    layout: outside,
    user,
    config,
    userAgent,
    say,
    signal,
  })
  const connection = JSON.parse(await readFile(layout.cliFile, 'utf8'))
  const client = makeApiClient({
    api: connection.api,
    token: connection.token,
    caPem: connection.ca,
    userAgent,
  })
  const joining = { client, layout, sinceMs, signal }
  await joinHosts(joining, async (place) => {
    await startAgent({ ...services, layout }, place)
    await hosts.find(({ name }) => name === place.name)?.boot()
  })
  await waitHostsOnline(joining)
  await ensureDcs(joining)
  await waitDcs(joining)
  const parts = {
    home: layout.home,
    subnet: layout.controlPlaneAddress.split('.').slice(0, 3).join('.'),
    environment: {},
    faultFile: config.faultFile,
    connection,
  }
  return makePlatform(parts, stop)
}

function namespaceHost(parts: HostParts): StageHost {
  const { place, port, disk, group, logFile } = parts
  const { name, address, root } = place
  let init: ChildProcess | undefined
  const processes = () => findHomeProcesses(root)

  async function end(): Promise<void> {
    await group.freezer?.thaw()
    await group.cpu?.limit(undefined)
    const pid = init?.pid === undefined ? undefined : await childOf(init.pid)
    // The first process of a PID namespace takes all others with it, at once.
    if (pid !== undefined) signalProcess(pid, 'SIGKILL')
    await until(`the processes of ${name} to be gone`, GONE_TIMEOUT_MS, () => {
      const left = processes()
      return left.length === 0 ? { value: true } : { seen: left.map((one) => one.argv[0]).join() }
    })
    init = undefined
  }

  return {
    name,
    address,
    root,
    processes,
    kill: end,
    async boot() {
      init = await startInit(parts, logFile)
    },
    async freeze() {
      if (group.freezer === undefined) signalAll(processes, 'SIGSTOP')
      else await group.freezer.freeze()
    },
    async thaw() {
      if (group.freezer === undefined) signalAll(processes, 'SIGCONT')
      else await group.freezer.thaw()
    },
    async powerOff() {
      await disk.losePower()
      await end()
      await disk.unmount()
      await disk.mount()
    },
    unplug: port.unplug,
    plug: port.plug,
    cut: port.cut,
    mend: port.mend,
    ...(group.cpu === undefined ? {} : { cpu: group.cpu }),
  }
}

async function startInit(parts: HostParts, logFile: string): Promise<ChildProcess> {
  const { place, port, group } = parts
  const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', ...FOLLOW_MOUNTS]
  const [program = '', ...args] = [...port.enter, ...unshare, 's6-svscan', place.services]
  const log = await open(logFile, 'a', 0o600)
  const child = spawn(program, args, {
    cwd: place.services,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/nonexistent', LANG: 'C.UTF-8' },
    stdio: ['ignore', log.fd, log.fd],
  })
  await log.close()
  const { pid } = child
  if (pid === undefined) throw new Error(`start ${program} for ${place.name}`)
  await group.add([pid])
  await until(`${place.name} to boot`, BOOT_TIMEOUT_MS, async () => {
    if ((await childOf(pid)) !== undefined) return { value: true }
    const said = await readFile(logFile, 'utf8')
    return { seen: `exit code ${child.exitCode}: ${said.slice(-300)}` }
  })
  // What was forked before the group was joined: nothing is forked outside it after this.
  await group.add(findHomeProcesses(place.root).map((one) => one.pid))
  return child
}

async function childOf(pid: number): Promise<number | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const first = Number(children.trim().split(' ')[0])
  return first > 0 ? first : undefined
}
