// The only composition root: reads the configuration, builds what there is and wires it together.
import { describeError } from '@howdah/core/errors.ts'
import { apiTls } from './api/app.ts'
import { makeApi } from './api/server.ts'
import { startRemovals } from './backups/remove-stanza.ts'
import { type Authority, fingerprint } from './certificates.ts'
import { listenForChanges } from './changes.ts'
import { type Config, readConfig } from './config.ts'
import { openDatabase } from './database.ts'
import { listHostIds, touchHosts } from './db/hosts.ts'
import { migrate } from './db/migrate.ts'
import { faultsFrom } from './faults.ts'
import {
  ensureAdministrator,
  ensureAuthority,
  ensureDefaultRepository,
  writeFileAtomically,
} from './first-start.ts'
import { agentTls, makeAgentListener } from './hosts/agent-listener.ts'
import { startHousekeeping } from './housekeeping.ts'
import { type Log, makeLog } from './log.ts'
import { operations } from './operations/catalogue.ts'
import type { Platform } from './operations/operation.ts'
import { startWorker } from './operations/worker.ts'
import { startArchiveChecks } from './schedules/check-archives.ts'
import { startSchedules } from './schedules/run-schedules.ts'
import { readSealer } from './sealing.ts'
import { issueServerCertificate, renewDaily } from './server-certificate.ts'

type Stop = () => Promise<void> | void

async function startListeners(platform: Platform, authority: Authority): Promise<Stop[]> {
  const { config, log } = platform
  const issue = () => issueServerCertificate(config, authority)
  const issued = await issue()
  const caFingerprint = fingerprint(authority.certificatePem)
  const api = await makeApi({ platform, operations, caFingerprint, tls: apiTls(issued) })
  const agents = makeAgentListener({ platform, authority, tls: agentTls(issued, authority) })
  await agents.listen({ host: config.agentAddress, port: Number(config.agentPort) })
  await api.listen({ host: config.apiAddress, port: Number(config.apiPort) })
  log.info({ api: api.addresses(), agents: agents.addresses() }, 'listens')
  const renewal = renewDaily({
    issue,
    show(renewed) {
      api.server.setSecureContext(apiTls(renewed))
      agents.server.setSecureContext(agentTls(renewed, authority))
    },
    log,
  })
  return [() => renewal.stop(), () => api.close(), () => agents.close()]
}

async function start(config: Config, log: Log): Promise<Stop[]> {
  const sealer = await readSealer(config.masterKeyFile)
  const database = openDatabase(config.databaseUrl, log)
  const applied = await migrate(database)
  if (applied.length > 0) log.info({ migrations: applied }, 'migrated the platform database')
  const changes = await listenForChanges(config.databaseUrl, log)
  const faults = faultsFrom(config.faultFile)
  const platform: Platform = { database, sealer, changes, faults, log, config }
  const authority = await ensureAuthority(database, sealer)
  if (config.caFile !== '') {
    await writeFileAtomically(config.caFile, authority.certificatePem, 0o644)
  }
  await ensureAdministrator(database, config.adminTokenFile)
  await ensureDefaultRepository(database, config.backupDirectory)
  const stops: Stop[] = []
  if (config.role !== 'api') {
    // A new version may render differently. Agents compare files, so where nothing differs nothing
    // happens.
    await database.transaction(async (tx) => touchHosts(tx, await listHostIds(tx)))
    const worker = await startWorker(platform, operations)
    const housekeeping = startHousekeeping(platform)
    const schedules = startSchedules(platform)
    const archiveChecks = startArchiveChecks(platform)
    const removals = startRemovals(platform)
    stops.push(
      () => housekeeping.stop(),
      () => schedules.stop(),
      () => archiveChecks.stop(),
      () => removals.stop(),
      () => worker.stop(),
    )
  }
  if (config.role !== 'worker') stops.unshift(...(await startListeners(platform, authority)))
  return [...stops, () => changes.close(), () => database.close()]
}

function stopOnSignal(stops: readonly Stop[], log: Log): void {
  let stopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, async () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'stops')
      // Operations are resumed by the next start: waiting for them would only make it later.
      setTimeout(() => process.exit(0), 5000).unref()
      for (const stop of stops) {
        await Promise.resolve(stop()).catch((error) =>
          log.warn({ error: describeError(error) }, 'a part did not stop cleanly'),
        )
      }
      process.exit(0)
    })
  }
}

async function main(): Promise<void> {
  const config = readConfig()
  const log = makeLog(config.logLevel)
  try {
    stopOnSignal(await start(config, log), log)
  } catch (error) {
    log.fatal({ error: describeError(error) }, 'cannot start')
    process.exit(1)
  }
}

await main()
