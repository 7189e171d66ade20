// Owns `howdah up`: preflight, start, join, first cluster, and staying in the foreground until
// Ctrl-C.
import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { type Command, InvalidArgumentError } from 'commander'
import type { ApiClient } from '../api-client.ts'
import { HELP_GROUPS } from '../command-group.ts'
import type { Context } from '../context.ts'
import { followOperation } from '../follow.ts'
import { type PlatformConfig, readPlatformConfig } from '../platform/config.ts'
import { makeElapsedLog } from '../platform/elapsed-log.ts'
import { createFirstCluster, waitClusters } from '../platform/first-cluster.ts'
import { acquireHomeLock } from '../platform/home-lock.ts'
import { type Interrupt, listenForInterrupt } from '../platform/interrupt.ts'
import { ensureDcs, joinHosts, waitDcs, waitHostsOnline } from '../platform/join-hosts.ts'
import { HOSTS_MAX, type PlatformLayout } from '../platform/layout.ts'
import { openHome } from '../platform/open-home.ts'
import { refuseFailures, runPreflight } from '../platform/preflight.ts'
import { makeHome, prepareHome } from '../platform/prepare-home.ts'
import { isScanning } from '../platform/s6.ts'
import { findServiceUser } from '../platform/service-user.ts'
import { type Settings, writeSettings } from '../platform/settings.ts'
import { startPlatform } from '../platform/start-platform.ts'
import { startAgent } from '../platform/start-services.ts'
import { stopPlatform } from '../platform/stop-platform.ts'
import { describeStop } from '../platform/stop-report.ts'
import { formatUpSummary, summarizeUp } from '../platform/up-summary.ts'

interface UpOptions {
  detach?: boolean
  hosts?: number
  demo: boolean
}

interface UpSession {
  context: Context
  config: PlatformConfig
  layout: PlatformLayout
  settings: Settings
  wasRunning: boolean
  say(line: string): void
  signal: AbortSignal
}

export function register(program: Command, context: Context): void {
  program
    .command('up')
    .helpGroup(HELP_GROUPS.platform)
    .description('start the platform on this machine, and stay until Ctrl-C stops it')
    .option('-d, --detach', 'return when it runs; howdah down stops it')
    .option('--hosts <count>', `simulated hosts, 1 to ${HOSTS_MAX} (default: 4)`, parseHostCount)
    .option('--no-demo', 'do not create the cluster "demo" at the first start')
    .action((options: UpOptions) => up(context, options))
}

async function up(context: Context, options: UpOptions): Promise<void> {
  const say = makeElapsedLog(context.output())
  const config = readPlatformConfig()
  const { layout, settings: before } = await openHome(context.home(), config, options.hosts)
  const wasRunning = await isScanning(layout.services)
  if (wasRunning) say(`the platform at ${layout.home} runs already`)
  await preflight(layout, wasRunning, say)

  using interrupt = listenForInterrupt()
  const session = { context, config, layout, wasRunning, say, signal: interrupt.signal }
  let isReached = wasRunning
  try {
    const settings = chooseSettings(layout, before, options)
    await bringUp({ ...session, settings }, () => {
      isReached = true
    })
  } catch (error) {
    // Half a platform is of no use; one whose control plane answers can say what went wrong.
    const isInterrupted = interrupt.signal.aborted
    if (!wasRunning && (isInterrupted || !isReached)) await stop(session, interrupt)
    if (!isInterrupted) throw error
    process.exitCode = 130
    return
  }
  if (options.detach === true) return
  say('running: Ctrl-C stops everything')
  await untilEnded(layout, interrupt.signal)
  if (interrupt.signal.aborted) await stop(session, interrupt)
  else say('the platform was stopped')
}

async function preflight(
  layout: PlatformLayout,
  isRunning: boolean,
  say: (line: string) => void,
): Promise<void> {
  const results = await runPreflight(layout, { isRunning })
  refuseFailures(results)
  for (const result of results.filter((one) => one.state === 'warn')) {
    say(`warning: ${result.name}: ${result.found}`)
  }
  say(`${results.length} checks of this machine passed`)
}

async function bringUp(session: UpSession, onReached: () => void): Promise<void> {
  const { context, layout, settings, say, signal } = session
  const beginMs = Date.now()
  await makeHome(layout)
  await using _lock = await acquireHomeLock(layout.lockFile)
  const user = findServiceUser()
  await prepareHome(layout, user)
  await writeSettings(layout.settingsFile, settings)
  const userAgent = `howdah-cli/${context.version}`
  const { client, services } = await startPlatform({ ...session, user, userAgent })
  onReached()

  const join = { client, layout, signal, sinceMs: session.wasRunning ? 0 : beginMs }
  await joinHosts(join, (host) => startAgent(services, host))
  await waitHostsOnline(join)
  say(`${layout.hosts.length} hosts online`)
  const dcs = await ensureDcs(join)
  if (dcs !== undefined) await follow(session, client, dcs)
  await waitDcs(join)
  say('dcs available')
  const first = await createFirstCluster(client, layout, settings)
  if (first !== undefined) await follow(session, client, first)
  for (const late of await waitClusters(join)) {
    say(`warning: cluster ${late.name} is ${late.state}: ${late.message}`)
  }
  const summary = summarizeUp(layout, await client.list<Cluster>('/v1/clusters'))
  say('the platform is up')
  await context.output().print(summary, () => formatUpSummary(summary, process.cwd()))
}

async function follow(session: UpSession, client: ApiClient, operation: Operation): Promise<void> {
  const { context, say, signal } = session
  const progress = context.progress()
  const ended = await followOperation({ client, operationId: operation.id, progress, signal })
  if (ended.state === 'succeeded') return say(`${ended.title}: done`)
  const said = `${ended.title}: ${ended.state}: ${ended.error?.detail ?? 'no detail'}`
  throw new HowdahError('operation-failed', said, {
    extra: {
      operation_id: ended.id,
      hint: `howdah op logs ${ended.id}; howdah op retry ${ended.id}`,
    },
  })
}

async function stop(session: Omit<UpSession, 'settings'>, interrupt: Interrupt): Promise<void> {
  const { layout, say } = session
  let stopping = 'the platform'
  interrupt.onRepeat(() => say(`still stopping ${stopping}`))
  say('stopping')
  await using _lock = await acquireHomeLock(layout.lockFile)
  const report = await stopPlatform(layout, {
    say: (what) => {
      stopping = what
      say(`stopping ${what}`)
    },
  })
  for (const line of describeStop(report)) say(line)
  if (report.left.length > 0) process.exitCode = 1
}

/** Until a signal, or until somebody else stopped the platform. */
async function untilEnded(layout: PlatformLayout, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isScanning(layout.services))) {
    await delay(500, undefined, { signal }).catch(() => {})
  }
}

function chooseSettings(
  layout: PlatformLayout,
  before: Settings | undefined,
  options: UpOptions,
): Settings {
  const subnet = layout.controlPlaneAddress.split('.').slice(0, 3).join('.')
  const hosts = layout.hosts.length
  return before === undefined
    ? { subnet, hosts, demo: options.demo ? 'wanted' : 'declined' }
    : { ...before, hosts }
}

function parseHostCount(text: string): number {
  const count = Number(text)
  if (/^[0-9]+$/.test(text) && count >= 1 && count <= HOSTS_MAX) return count
  throw new InvalidArgumentError(`use a number from 1 to ${HOSTS_MAX}`)
}
