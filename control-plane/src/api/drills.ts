// Owns drills: POST /v1/clusters/{cluster}/game-days, and the reports that stay.
import { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { Drill, GameDayRequest, RestoreDrillRequest } from '@howdah/core/contract/drills.ts'
import { ResourceRef } from '@howdah/core/contract/resource.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { GAME_DAY_FAULTS, type GameDayFault } from '@howdah/core/game-day.ts'
import { Type } from 'typebox'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { findBackup, listBackups } from '../db/backups.ts'
import { type ClusterRow, listInstances } from '../db/clusters.ts'
import { insertDrill, listDrills } from '../db/drills.ts'
import { gameDay } from '../operations/game-day.ts'
import { refuseUnlessToldTwice } from '../operations/game-day-consent.ts'
import { restoreDrill } from '../operations/restore-drill.ts'
import type { Api } from './app.ts'
import { requireRepository } from './backups.ts'
import { requireAvailable } from './cluster-contents.ts'
import { requireCluster, startOperation } from './clusters.ts'
import { mutate } from './mutation.ts'

const Params = Type.Object({ cluster: ResourceRef })
const tags = ['drills']

/** Those that were asked for, or all that the hosts of its instances can do. */
async function chooseFaults(
  tx: Queryable,
  cluster: ClusterRow,
  asked: GameDayFault[] | undefined,
): Promise<GameDayFault[]> {
  const hosts = await hostsById(tx)
  const instances = await listInstances(tx, cluster.id)
  const unable = instances
    .map(({ host_id }) => hosts.get(host_id))
    .filter((host) => host?.facts?.cutsNetwork !== true || host.address.startsWith('127.'))
  if (unable.length === 0) return asked ?? [...GAME_DAY_FAULTS]
  if (asked === undefined) return GAME_DAY_FAULTS.filter((fault) => fault !== 'network-cut')
  if (!asked.includes('network-cut')) return asked
  const names = unable.map((host) => host?.name).join(', ')
  throw new HowdahError(
    'wrong-state',
    `network-cut needs nftables, an agent that runs as root and a network of its own: ${names}`,
  )
}

export function registerDrills(api: Api): void {
  registerGameDay(api)
  registerRestoreDrill(api)
  registerReports(api)
}

function registerGameDay({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/game-days',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Rehearse failures: break one thing after the other, and report',
        params: Params,
        body: GameDayRequest,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        const { confirm, accept_outage: accepted } = request.body
        const toldTwice = confirm === cluster.name && accepted === true
        const faults = await chooseFaults(tx, cluster, request.body.faults)
        await refuseUnlessToldTwice(tx, cluster.id, faults, toldTwice)
        const rounds = request.body.rounds ?? faults.length
        const title = `game day on ${cluster.name}: ${rounds} rounds`
        const input = { faults, rounds, toldTwice }
        const started = await startOperation(tx, request, gameDay, cluster, title, input)
        const drill = { kind: gameDay.kind, clusterId: cluster.id }
        await insertDrill(tx, { ...drill, operationId: started.operation.id })
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}

function registerRestoreDrill({ app, platform }: Api): void {
  app.post(
    '/v1/clusters/:cluster/restore-drills',
    {
      config: { access: 'operate' },
      schema: {
        tags,
        summary: 'Prove a backup: restore it beside the cluster, and look whether all is there',
        params: Params,
        body: RestoreDrillRequest,
        response: { 202: OperationAccepted },
      },
    },
    (request, reply) =>
      mutate(platform, request, reply, async (tx) => {
        const cluster = await requireAvailable(tx, request.params.cluster)
        await requireRepository(tx, cluster)
        const { backup } = request.body
        if (backup !== undefined && (await findBackup(tx, cluster.id, backup)) === undefined) {
          throw new HowdahError('not-found', `${cluster.name} has no backup ${backup}`)
        }
        if ((await listBackups(tx, cluster.id)).length === 0) {
          throw new HowdahError('outside-window', `${cluster.name} has no backup yet`)
        }
        const title = `prove ${backup ?? 'the newest backup'} of ${cluster.name}`
        const input = backup === undefined ? {} : { backup }
        const started = await startOperation(tx, request, restoreDrill, cluster, title, input)
        return { status: 202, headers: started.headers, body: { operation: started.operation } }
      }),
  )
}

function registerReports({ app, platform }: Api): void {
  app.get(
    '/v1/clusters/:cluster/drills',
    {
      config: { access: 'read' },
      schema: {
        tags,
        summary: 'Drills with their reports, the newest first',
        params: Params,
        response: { 200: Type.Object({ data: Type.Array(Drill) }) },
      },
    },
    async (request) => {
      const cluster = await requireCluster(platform.database, request.params.cluster)
      return { data: await listDrills(platform.database, cluster.id) }
    },
  )
}
