// Takes a cluster back to a moment, in place: clients are refused meanwhile, and what there was is
// set aside on each host until the undo window ends. What could fail for reasons outside is tried
// before anything is stopped.
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { DataMeasure, RecoveryReport, TaskAction } from '@howdah/core/protocol.ts'
import { gapWithin } from '@howdah/core/recovery-gaps.ts'
import { planSetAside, timelinesOf } from '@howdah/core/set-aside.ts'
import { describeRange, type WalRange } from '@howdah/core/wal.ts'
import { archiveInventory } from '../backups/archive-inventory.ts'
import { hostsById, leaderOf, refuseAway, refuseInMaintenance } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import {
  type ClusterRow,
  findCluster,
  type InstanceRow,
  listGateways,
  listInstances,
  setActive,
  setClusterState,
} from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import {
  ensureUndo,
  findUndo,
  insertTakenBack,
  storeSetAside,
  type UndoRow,
} from '../db/restore-undo.ts'
import { askAgent } from './agent-task.ts'
import { BRING_UP_STEPS, bringUp } from './bring-up.ts'
import { chooseFirst, ownPasswords, placeOfInstance, startFirst } from './first-instance.ts'
import type { OperationDefinition, StepContext } from './operation.ts'
import {
  fetchBackup,
  type MustReach,
  type RecoveryInput,
  reachOfArchive,
  replay,
} from './recover-steps.ts'
import { clearDcs, stopAll } from './tear-down.ts'
import { changeConfiguration } from './update-cluster.ts'

const DATA_TIMEOUT_MS = 300_000
/** One that is broken may be restored just as well: that is what restores are for. */
const RESTORABLE: readonly string[] = ['available', 'degraded', 'updating', 'failed']

export interface RestoreInput extends RecoveryInput {
  /** The cluster's state before: it is what it was when nothing was stopped. */
  was: ClusterRow['state']
  /** The moment that is restored, where somebody knows it. */
  at: string | null
}

export const restoreCluster: OperationDefinition<RestoreInput> = {
  kind: 'restore-cluster',
  steps: [
    { name: 'archive-present', title: 'archives what was written last' },
    { name: 'choose', title: 'chooses the instance that is restored first' },
    { name: 'stop', title: 'keeps what an undo needs, and stops gateways and instances' },
    { name: 'set-aside', title: 'sets the present data aside' },
    { name: 'fetch', title: 'fetches the backup' },
    { name: 'replay', title: 'replays WAL up to the moment' },
    { name: 'clear-dcs', title: 'lets the dcs forget who led' },
    { name: 'start-leader', title: 'starts the instance that has the data' },
    ...BRING_UP_STEPS,
  ],
  async run(operation) {
    const { step, input } = operation
    const unharmed = <T>(body: (context: StepContext) => Promise<T>) => orAsBefore(input.was, body)
    const must = await step('archive-present', unharmed(archiveIfActive(input)))
    const first = await step(
      'choose',
      unharmed((context) => chooseWithRoom(context, input)),
    )
    await step('stop', unharmed(rememberAndStop))
    await step('set-aside', own(setAside))
    await step(
      'fetch',
      own(async (context) => fetchBackup(context, input, await placeOfInstance(context, first))),
    )
    await step(
      'replay',
      own((context) => replayOwn(context, input, first, must)),
    )
    await step('clear-dcs', own(clearDcs))
    await step(
      'start-leader',
      own((context) => startFirst(context, first)),
    )
    await bringUp(operation, changeConfiguration)
  },
  async beforeRetry(tx, { operationId, clusterId, done }) {
    if (done.has('stop')) refuseForeign(await findUndo(tx, clusterId), operationId)
    requireRestorable(await findCluster(tx, clusterId))
    await setRestoreState(tx, clusterId, 'restoring', 'the restore is tried again')
  },
  async failed({ database }, clusterId, reason) {
    // Any other state: nothing was stopped, and the step has said so.
    if ((await findCluster(database, clusterId))?.state !== 'restoring') return
    const said = `the restore failed: ${reason}; howdah restore undo brings back what was there`
    await database.transaction((tx) => setRestoreState(tx, clusterId, 'failed', said))
  },
}

/** Told to its hosts, too: what clients hear at closed gateways follows from the state. */
export async function setRestoreState(
  tx: Queryable,
  clusterId: string,
  state: ClusterRow['state'],
  message: string,
): Promise<void> {
  await setClusterState(tx, clusterId, state, message)
  const parts = [...(await listInstances(tx, clusterId)), ...(await listGateways(tx, clusterId))]
  await touchHosts(
    tx,
    parts.map(({ host_id }) => host_id),
  )
}

/** Before it begins, and when it is tried again: in a pause nobody would lead in the end. */
export function requireRestorable(
  cluster: Pick<ClusterRow, 'name' | 'state' | 'spec'> | undefined,
): asserts cluster {
  if (cluster === undefined) throw new HowdahError('not-found', 'the cluster is gone')
  if (!RESTORABLE.includes(cluster.state)) {
    throw new HowdahError('wrong-state', `cluster ${cluster.name} is ${cluster.state}`)
  }
  refuseInMaintenance(cluster)
}

/** What may fail while the cluster serves, or could serve again: then it does. */
function orAsBefore<T>(was: ClusterRow['state'], body: (step: StepContext) => Promise<T>) {
  return async (step: StepContext): Promise<T> => {
    try {
      return await body(step)
    } catch (error) {
      await step.database.transaction(async (tx) => {
        if (was !== 'failed') {
          await setActive(tx, 'instance', step.clusterId, true)
          await setActive(tx, 'gateway', step.clusterId, true)
        }
        const said = `the restore failed, nothing was changed: ${describeError(error)}`
        await setRestoreState(tx, step.clusterId, was, said)
      })
      throw error
    }
  }
}

/** From there on data is moved: only by whoever has the undo now. */
function own<T>(body: (step: StepContext) => Promise<T>) {
  return async (step: StepContext): Promise<T> => {
    refuseForeign(await findUndo(step.database, step.clusterId), step.operationId)
    return await body(step)
  }
}

/** A restore or an undo that came later works on the same data, or has put it back. */
export function refuseForeign(
  undo: Pick<UndoRow, 'operation_id'> | undefined,
  operationId: string,
): void {
  if (undo?.operation_id === operationId) return
  const said = undo === undefined ? 'it was undone' : `${undo.operation_id} has taken its place`
  throw new HowdahError('wrong-state', `the restore cannot go on: ${said}`)
}

/** One that was stopped by a restore before this one has archived what it could. */
function archiveIfActive(input: RestoreInput) {
  return async (step: StepContext): Promise<MustReach> => {
    await refuseAwayNow(step)
    const rows = await listInstances(step.database, step.clusterId)
    const isActive = rows.some(({ active }) => active)
    const { gaps, ...must } = await reachOfArchive(step, input, isActive ? step.clusterId : null)
    refuseMissing(input, gaps)
    return must
  }
}

/** What was not missing when it was planned, and is now. */
export function refuseMissing(
  { label, reads }: Pick<RestoreInput, 'label' | 'reads'>,
  gaps: readonly WalRange[],
): void {
  const gap = gapWithin(gaps, reads)
  if (gap === undefined) return
  const said = `WAL is missing after backup ${label}, and nobody has it: ${describeRange(gap)}`
  throw new HowdahError('outside-window', said)
}

/** A host that is away can be neither stopped nor given the data. */
async function refuseAwayNow({ database, clusterId }: StepContext): Promise<void> {
  const parts = [
    ...(await listInstances(database, clusterId)),
    ...(await listGateways(database, clusterId)),
  ]
  refuseAway(await hostsById(database), parts)
}

/** What an earlier restore has made is removed before: its room is free then. */
async function chooseWithRoom(step: StepContext, input: RestoreInput): Promise<string> {
  const undo = await findUndo(step.database, step.clusterId)
  return await chooseFirst(step, input, undo === undefined ? input.sizeBytes : 0)
}

/** Where the data goes, who led, and what the archive holds: an undo forgets what came after. */
async function remember(step: StepContext): Promise<void> {
  const { database, clusterId, operationId } = step
  const rows = await listInstances(database, clusterId)
  const leader = leaderOf(await hostsById(database), rows)
  const inventory = await archiveInventory(step).catch(async (error) => {
    await step.say(`an undo will leave the repository as it is: ${describeError(error)}`)
    return undefined
  })
  const undo = {
    clusterId,
    operationId,
    leaderId: leader?.id ?? null,
    timelines: inventory === undefined ? null : timelinesOf(inventory),
    keepDays: Number(step.config.undoDays),
  }
  await database.transaction((tx) => ensureUndo(tx, undo))
}

/** One step: tried again after the cluster went on for a while, it remembers what is so then. */
async function rememberAndStop(step: StepContext): Promise<void> {
  await remember(step)
  // An earlier run that failed, and died before that was recorded, has set it back.
  await setClusterState(step.database, step.clusterId, 'restoring', 'it is being restored')
  await stopAll(step, 'gateway')
  await stopAll(step, 'instance')
}

export const asidePath = (row: InstanceRow, directory: string) =>
  `${HOST_LAYOUT.data}/${row.id}/${directory}`
export const dataPath = (row: InstanceRow) => `${HOST_LAYOUT.data}/${row.id}/pgdata`

async function requireUndo(step: StepContext): Promise<UndoRow> {
  const undo = await findUndo(step.database, step.clusterId)
  if (undo === undefined) throw new Error('BUG: the undo is remembered before the data moves')
  return undo
}

async function setAside(step: StepContext): Promise<void> {
  const undo = await requireUndo(step)
  const rows = await listInstances(step.database, step.clusterId)
  const kept: string[] = []
  for (const row of rows) {
    const data = await lookAtData(step, row, undo.directory)
    const plan = planSetAside(data, undo.instances)
    const [from, to] = [dataPath(row), asidePath(row, undo.directory)]
    if (plan === 'move') await changeData(step, row, { kind: 'move-data', from, to })
    if (plan === 'remove') await changeData(step, row, { kind: 'remove-data', path: from })
    if (plan === 'move' || data.aside) kept.push(row.id)
  }
  await storeSetAside(step.database, step.clusterId, kept)
}

export async function lookAtData(step: StepContext, row: InstanceRow, directory: string) {
  const present = await isThere(step, row, dataPath(row))
  const aside = await isThere(step, row, asidePath(row, directory))
  return { id: row.id, present, aside }
}

async function isThere(step: StepContext, row: InstanceRow, path: string): Promise<boolean> {
  const result = await askAgent(step, {
    hostId: row.host_id,
    operationId: step.operationId,
    timeoutMs: DATA_TIMEOUT_MS,
    action: { kind: 'measure-data', path },
  })
  if (!result.ok) throw new HowdahError('agent-refused', result.error)
  const { exists, bytes } = result.value as DataMeasure
  return exists ?? (bytes ?? 0) > 0
}

/** The agent changes nothing while it applies a spec: then it is asked again. */
export async function changeData(
  step: StepContext,
  row: InstanceRow,
  action: TaskAction,
): Promise<void> {
  await step.until([`report:${row.host_id}`], DATA_TIMEOUT_MS, async () => {
    const result = await askAgent(step, {
      hostId: row.host_id,
      operationId: step.operationId,
      timeoutMs: DATA_TIMEOUT_MS,
      action,
    })
    if (result.ok) return true
    if (result.errorCode !== 'in-use') throw new HowdahError('agent-refused', result.error)
    await step.say(result.error)
    return undefined
  })
}

async function replayOwn(
  step: StepContext,
  input: RestoreInput,
  first: string,
  must: MustReach,
): Promise<void> {
  const { database, clusterId, operationId } = step
  const statements = await ownPasswords(step)
  const at = await placeOfInstance(step, first)
  const report = await replay(step, input, at, { statements, amcheck: false, ...must })
  const takenBack = whatWasTakenBack(input, report)
  if (takenBack !== undefined) await insertTakenBack(database, clusterId, operationId, takenBack)
}

/** The last that is still on the history; undefined where nothing was left behind. */
export function whatWasTakenBack(
  { at, target }: Pick<RestoreInput, 'at' | 'target'>,
  report: Pick<RecoveryReport, 'reachedEnd' | 'lastCommitAt' | 'lsn'>,
): { from: Date; lsn: string } | undefined {
  if (report.reachedEnd) return undefined
  // PostgreSQL writes `+00` where JavaScript wants `+00:00`.
  const text = (at ?? report.lastCommitAt ?? '').replace(/([+-]\d{2})$/, '$1:00')
  const fromMs = Date.parse(text)
  if (Number.isNaN(fromMs)) return undefined
  return { from: new Date(fromMs), lsn: target.kind === 'lsn' ? target.value : report.lsn }
}
