// Owns which code runs a task's action. What an action returns is the task's value.
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { EtcdError } from '../dcs/etcd-client.ts'
import { enableAuth, ensureUser, removeUser } from '../dcs/etcd-users.ts'
import type { LeaderSwitch } from '../gateway/leader-switch.ts'
import type { HostRoot } from '../host-root.ts'
import { callPatroni } from './call-patroni.ts'
import type { Exclusive } from './exclusive.ts'
import { injectFault } from './inject-fault.ts'
import { leaveSegment } from './leave-segment.ts'
import { measureData, moveData } from './move-data.ts'
import { recoverData, restoreData } from './recover-data.ts'
import { removeData } from './remove-data.ts'
import { listArchive, probeRepository, pushSegments, runPgbackrest } from './repository.ts'
import type { Switchovers } from './switch-over.ts'
import { TaskError } from './task-error.ts'

export interface ActionContext {
  root: HostRoot
  spec: () => HostSpec | undefined
  appliedRevision: () => number
  findSwitch: (gatewayId: string) => LeaderSwitch | undefined
  exclusive: Exclusive
  switchovers: Switchovers
}

export interface ActionLimits {
  timeoutMs: number
  /** Aborts at the task's deadline and when the agent stops. */
  signal: AbortSignal
}

/** Throws TaskError. */
export async function runTaskAction(
  action: TaskAction,
  context: ActionContext,
  limits: ActionLimits,
): Promise<unknown> {
  switch (action.kind) {
    case 'sql': {
      // Gateway hosts never run SQL: the driver is loaded with the first task that needs it.
      const { runSql } = await import('./run-sql.ts')
      return await runSql(action, { rootPath: context.root.path, ...limits })
    }
    case 'dcs-enable-auth':
      return await inDcs(() => enableAuth(action.dcs, action.rootPassword, limits.signal))
    case 'dcs-ensure-user':
      return await inDcs(() => ensureUser(action.dcs, action, limits.signal))
    case 'dcs-remove-user':
      return await inDcs(() => removeUser(action.dcs, action, limits.signal))
    case 'patroni':
      return await callPatroni(action, limits)
    case 'begin-switchover':
      return await context.switchovers.begin(action, limits.signal)
    case 'end-switchover':
      return await context.switchovers.end(action.instance, action.goes)
    case 'remove-data':
      return await context.exclusive.run(ownerOf(action.path), limits.signal, (signal) =>
        removeData(action.path, {
          ...limits,
          root: context.root,
          spec: context.spec(),
          appliedRevision: context.appliedRevision(),
          signal,
        }),
      )
    case 'gateway-hold': {
      const found = requireSwitch(context, action.gatewayId)
      return await found.hold(action.pauseTimeoutMs, action.holdMsMax, action.operationId)
    }
    case 'inject-fault':
      return await injectFault(action, context)
    case 'run-ledger': {
      const { runLedger } = await import('./run-ledger.ts')
      return await runLedger(action, limits.signal)
    }
    case 'gateway-drain':
      return await requireSwitch(context, action.gatewayId).drain(action)
    case 'gateway-release':
      return await requireSwitch(context, action.gatewayId).release(action.operationId)
    default:
      return await runBackupAction(action, context, limits)
  }
}

type BackupAction = Extract<
  TaskAction,
  {
    kind:
      | 'pgbackrest'
      | 'probe-repository'
      | 'list-archive'
      | 'push-segments'
      | 'leave-segment'
      | 'restore-data'
      | 'recover-data'
      | 'measure-data'
      | 'move-data'
  }
>

async function runBackupAction(
  action: BackupAction,
  context: ActionContext,
  limits: ActionLimits,
): Promise<unknown> {
  const { root } = context
  // Read when the task's turn has come: while it waited for another, the spec may have changed.
  const state = () => ({
    root,
    spec: context.spec(),
    appliedRevision: context.appliedRevision(),
  })
  switch (action.kind) {
    case 'pgbackrest':
      return await runPgbackrest(action, { root, ...limits })
    case 'probe-repository':
      return await probeRepository(action, { root, ...limits })
    case 'list-archive':
      return await listArchive(action, { root, ...limits })
    case 'push-segments':
      return await pushSegments(action, { root, ...limits })
    case 'leave-segment':
      return await leaveSegment(action, { root })
    case 'restore-data':
      return await context.exclusive.run(ownerOf(action.dataDirectory), limits.signal, (signal) =>
        restoreData(action, { ...limits, ...state(), signal }),
      )
    case 'recover-data':
      return await context.exclusive.run(ownerOf(action.dataDirectory), limits.signal, (signal) =>
        recoverData(action, { ...limits, ...state(), signal }),
      )
    case 'measure-data':
      return await measureData(action.path, { ...state(), ...limits })
    case 'move-data':
      return await context.exclusive.run(ownerOf(action.from), limits.signal, (signal) =>
        moveData(action, { ...limits, ...state(), signal }),
      )
    default:
      throw new Error(`BUG: unknown action ${JSON.stringify(action satisfies never)}`)
  }
}

/** `data/<instance>`: whatever changes something there goes one after the other. */
function ownerOf(path: string): string {
  return path.split('/').slice(0, 2).join('/')
}

function requireSwitch(context: ActionContext, gatewayId: string): LeaderSwitch {
  const found = context.findSwitch(gatewayId)
  if (found === undefined) throw new TaskError('refused', `there is no gateway ${gatewayId} here`)
  return found
}

async function inDcs(act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error
    const code = error.code === -1 ? 'unreachable' : `etcd-${error.code}`
    throw new TaskError(code, error.message, { cause: error })
  }
}
