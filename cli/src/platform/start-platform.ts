// Owns bringing a home's platform up to a control plane that answers: home, platform database,
// services. Idempotent at every point, as any earlier start may have died there.
import { join, resolve } from 'node:path'
import { HowdahError } from '@howdah/core/errors.ts'
import { type ApiClient, makeApiClient } from '../api-client.ts'
import type { PlatformConfig } from './config.ts'
import { controlPlaneLogTail, observeControlPlane } from './control-plane-health.ts'
import { writeDurable } from './durable-file.ts'
import { findHomeProcesses, type HomeProcess } from './home-processes.ts'
import { choosePostgresql, findPostgresql } from './installed-postgresql.ts'
import type { PlatformLayout } from './layout.ts'
import { ensurePlatformDb, isPlatformDbReady, platformDbMajor } from './platform-db.ts'
import { isScanning } from './s6.ts'
import type { ServiceUser } from './service-user.ts'
import { type ServicesContext, startServices } from './start-services.ts'
import { stopPlatform } from './stop-platform.ts'
import { waitFor } from './wait-for.ts'

export interface StartContext {
  layout: PlatformLayout
  user: ServiceUser
  config: PlatformConfig
  userAgent: string
  say(line: string): void
  signal: AbortSignal
}

export interface StartedPlatform {
  client: ApiClient
  services: ServicesContext
}

const DB_TIMEOUT_MS = 60_000
const CONTROL_PLANE_TIMEOUT_MS = 60_000

export async function startPlatform(context: StartContext): Promise<StartedPlatform> {
  const { layout, user, say, signal } = context
  await endLeftOvers(context)
  const major = await platformDbMajor(layout)
  const binaries = choosePostgresql(findPostgresql(), major)
  const program = resolve(import.meta.dirname, '../../..')
  const services: ServicesContext = { layout, user, config: context.config, program, binaries }
  if (!(await isScanning(layout.services))) {
    if (major === undefined) say('making the platform database')
    await ensurePlatformDb(services)
  }
  signal.throwIfAborted()
  await startServices(services)
  await waitFor(
    { what: `the platform database (see ${layout.log})`, timeoutMs: DB_TIMEOUT_MS, signal },
    async () =>
      (await isPlatformDbReady(services)) ? { value: true } : { seen: 'no answer on its socket' },
  )
  say('platform database ready')
  const { token, caPem } = await waitControlPlane(context)
  const connection = { api: layout.apiUrl, token, ca: caPem }
  await writeDurable(layout.cliFile, `${JSON.stringify(connection, null, 2)}\n`, 0o600)
  say(`control plane ready at ${layout.apiUrl}`)
  const client = makeApiClient({
    api: layout.apiUrl,
    token,
    caPem,
    userAgent: context.userAgent,
  })
  return { client, services }
}

async function waitControlPlane(context: StartContext): Promise<{ token: string; caPem: string }> {
  const { layout, signal } = context
  const wanted = { what: 'the control plane', timeoutMs: CONTROL_PLANE_TIMEOUT_MS, signal }
  try {
    return await waitFor(wanted, () => observeControlPlane(layout))
  } catch (error) {
    if (!(error instanceof HowdahError)) throw error
    const tail = await controlPlaneLogTail(layout)
    throw new HowdahError(error.code, `${error.message}\n${tail}`, {
      cause: error,
      extra: { hint: `its log is in ${join(layout.log, 'control-plane')}` },
    })
  }
}

// Without the scan process at the top nothing watches over what is left: it ends first. Below a
// living one, a process that lost its supervisor would keep the place of the one that s6 starts
// anew.
async function endLeftOvers(context: StartContext): Promise<void> {
  const { layout, say } = context
  const processes = findHomeProcesses(layout.home)
  if (processes.length === 0) return
  if (!(await isScanning(layout.services))) {
    say(`ending ${processes.length} processes of an earlier start`)
    await stopPlatform(layout, { say: () => {} })
    return
  }
  for (const orphan of findOrphans(layout, processes)) {
    say(`ending ${orphan.program} (pid ${orphan.pid}), which lost its supervisor`)
    process.kill(orphan.pid, orphan.program === 'postgres' ? 'SIGINT' : 'SIGTERM')
  }
}

function findOrphans(layout: PlatformLayout, processes: HomeProcess[]): HomeProcess[] {
  const pids = new Set(processes.map((process) => process.pid))
  return processes.filter((process) => {
    const isOwn = process.program === 'control-plane' || process.program === 'agent'
    const isDb = process.program === 'postgres' && process.directory === layout.dbDirectory
    return (isOwn || isDb) && !pids.has(process.parentPid)
  })
}
