// Owns the platform's own services: which there are, what each runs, and bringing them up. The
// order of starting does not matter, as each waits for what it needs.
import { chown, mkdir } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { AGENT_PORT, API_PORT } from '@howdah/core/contract/resource.ts'
import { renderLogScript, renderRunScript } from '@howdah/core/execline.ts'
import type { PlatformConfig } from './config.ts'
import {
  type HostPlace,
  type PlatformLayout,
  SERVICE_AGENT,
  SERVICE_CONTROL_PLANE,
  SERVICE_DB,
} from './layout.ts'
import { type PlatformDbContext, platformDbArgv } from './platform-db.ts'
import { CLEAN_ENV } from './run-program.ts'
import { isScanning, isSupervised, rescan, startScan, startService, writeService } from './s6.ts'
import type { ServiceUser } from './service-user.ts'

export interface ServicesContext extends PlatformDbContext {
  layout: PlatformLayout
  user: ServiceUser
  config: PlatformConfig
  /** The repository that the CLI runs from. */
  program: string
}

/**
 * Writes all services and makes sure that they run; on a running platform only what changed
 * restarts.
 */
export async function startServices(context: ServicesContext): Promise<void> {
  const { layout } = context
  const changed = new Map<string, boolean>()
  changed.set(SERVICE_DB, await writeDbService(context))
  changed.set(SERVICE_CONTROL_PLANE, await writeControlPlaneService(context))
  for (const host of layout.hosts) changed.set(host.name, await writeHostService(context, host))

  if (await isScanning(layout.services)) await rescan(layout.services)
  else await startScan(layout.services, join(layout.log, 's6-svscan'))
  for (const [name, isChanged] of changed) {
    const directory = join(layout.services, name)
    // A host's scan process is never restarted: its databases would go down with it.
    const mayRestart = isChanged && !layout.hosts.some((host) => host.name === name)
    if (await isSupervised(directory)) await startService(directory, mayRestart)
  }
}

/** Writes the agent's service on a host and makes sure that it runs. */
export async function startAgent(context: ServicesContext, host: HostPlace): Promise<void> {
  const { layout, user, config } = context
  await makeLogDirectory(host.agentLog, undefined)
  const directory = join(host.services, SERVICE_AGENT)
  const memoryBytes = Math.floor(totalmem() / 2 / layout.hosts.length)
  const isChanged = await writeService(directory, {
    run: renderRunScript({
      argv: [process.execPath, join(context.program, 'agent/src/main.ts')],
      env: {
        ...CLEAN_ENV,
        NODE_COMPILE_CACHE: layout.compileCache,
        HOWDAH_HOST_ROOT: host.root,
        HOWDAH_CONTROL_PLANES: layout.agentsUrl,
        HOWDAH_ENROLMENT_TOKEN_FILE: host.enrolmentTokenFile,
        HOWDAH_SERVICE_USER: user.name,
        HOWDAH_MEMORY_BYTES: String(memoryBytes),
        ...(config.spares === undefined ? {} : { HOWDAH_SPARES: config.spares }),
        HOWDAH_LOG_LEVEL: config.logLevel,
      },
      directory: host.root,
    }),
    log: renderLogScript(host.agentLog, undefined),
    downSignal: 'SIGTERM',
    killTimeoutMs: 10_000,
  })
  const isKnown = await isSupervised(directory)
  if (await isScanning(host.services)) await rescan(host.services)
  if (isKnown) await startService(directory, isChanged)
}

async function writeDbService(context: ServicesContext): Promise<boolean> {
  const { layout, user } = context
  const log = join(layout.log, SERVICE_DB)
  await makeLogDirectory(log, user)
  return writeService(join(layout.services, SERVICE_DB), {
    run: renderRunScript({
      argv: platformDbArgv(context),
      env: { ...CLEAN_ENV },
      directory: layout.dbDirectory,
      user: user.dropTo,
    }),
    log: renderLogScript(log, user.dropTo),
    downSignal: 'SIGINT', // fast shutdown: SIGTERM would wait for the control plane to hang up
    killTimeoutMs: 60_000,
  })
}

async function writeControlPlaneService(context: ServicesContext): Promise<boolean> {
  const { layout, config } = context
  const log = join(layout.log, SERVICE_CONTROL_PLANE)
  await makeLogDirectory(log, undefined)
  return writeService(join(layout.services, SERVICE_CONTROL_PLANE), {
    run: renderRunScript({
      argv: [process.execPath, join(context.program, 'control-plane/src/main.ts')],
      env: {
        ...CLEAN_ENV,
        NODE_COMPILE_CACHE: layout.compileCache,
        HOWDAH_ROLE: 'all',
        HOWDAH_DATABASE_URL: layout.databaseUrl,
        HOWDAH_MASTER_KEY_FILE: layout.masterKeyFile,
        HOWDAH_API_ADDRESS: layout.controlPlaneAddress,
        HOWDAH_API_PORT: String(API_PORT),
        HOWDAH_AGENT_ADDRESS: layout.controlPlaneAddress,
        HOWDAH_AGENT_PORT: String(AGENT_PORT),
        HOWDAH_WORKER_ID: 'embedded',
        HOWDAH_ADMIN_TOKEN_FILE: layout.adminTokenFile,
        HOWDAH_CA_FILE: layout.caFile,
        HOWDAH_BACKUP_DIRECTORY: layout.backups,
        ...(config.faultFile === undefined ? {} : { HOWDAH_FAULT_FILE: config.faultFile }),
        ...(config.archiveCheckSeconds === undefined
          ? {}
          : { HOWDAH_ARCHIVE_CHECK_SECONDS: config.archiveCheckSeconds }),
        ...(config.undoDays === undefined ? {} : { HOWDAH_UNDO_DAYS: config.undoDays }),
        HOWDAH_LOG_LEVEL: config.logLevel,
      },
      directory: layout.platform,
    }),
    log: renderLogScript(log, undefined),
    downSignal: 'SIGTERM',
    killTimeoutMs: 15_000,
  })
}

async function writeHostService(context: ServicesContext, host: HostPlace): Promise<boolean> {
  const { layout } = context
  const log = join(layout.log, host.name)
  await makeLogDirectory(log, undefined)
  return writeService(join(layout.services, host.name), {
    run: renderRunScript({
      argv: ['s6-svscan', host.services],
      env: { ...CLEAN_ENV },
      directory: host.services,
    }),
    log: renderLogScript(log, undefined),
    downSignal: 'SIGTERM',
    killTimeoutMs: 0, // its databases end in their own time; `howdah down` has the deadlines
  })
}

async function makeLogDirectory(path: string, user: ServiceUser | undefined): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (user?.dropTo !== undefined) await chown(path, user.uid, user.gid)
}
