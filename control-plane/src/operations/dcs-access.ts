// Owns how steps reach the dcs (through an agent, as root) and the authorities that sign for it.
import type { TaskAction } from '@howdah/core/protocol.ts'
import { authority } from '@howdah/core/render/model.ts'
import type { Authority } from '../certificates.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Queryable } from '../database.ts'
import { hostState, readDcs } from '../db/hosts.ts'
import { readSecret } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import type { Sealer } from '../sealing.ts'
import { runTask } from './agent-task.ts'
import type { StepContext } from './operation.ts'

const DCS_TIMEOUT_MS = 60_000
const DCS_TASK_TIMEOUT_MS = 30_000

/** The authority of an owner, `platform` or a cluster. */
export async function requireAuthority(
  db: Queryable,
  sealer: Sealer,
  owner: string,
): Promise<Authority> {
  const certificatePem = await readSecret(db, sealer, owner, SECRET.caCertificate)
  const keyPem = await readSecret(db, sealer, owner, SECRET.caKey)
  if (certificatePem === undefined || keyPem === undefined) {
    throw new Error(`BUG: ${owner} has no certificate authority yet`)
  }
  return { certificatePem, keyPem }
}

export async function dcsAccess({ database, sealer }: Pick<StepContext, 'database' | 'sealer'>) {
  const hosts = await hostsById(database)
  const { members } = await readDcs(database)
  const caPem = await readSecret(database, sealer, 'platform', SECRET.caCertificate)
  const password = await readSecret(database, sealer, 'dcs', 'root-password')
  return {
    endpoints: members.map(
      (member) =>
        `https://${authority(hosts.get(member.host_id)?.address ?? '', member.client_port)}`,
    ),
    caPem: caPem ?? '',
    ...(password === undefined ? {} : { user: 'root', password }),
  }
}

type DcsUserAction = Extract<TaskAction, { kind: 'dcs-ensure-user' | 'dcs-remove-user' }>

/** Has the agent that was heard last, of those on the members' hosts, change the dcs. */
export async function runDcsTask(
  step: StepContext,
  action: (dcs: DcsUserAction['dcs']) => DcsUserAction,
): Promise<void> {
  const { members } = await readDcs(step.database)
  const topics = members.map((member) => `report:${member.host_id}`)
  // All of them away is normal for a moment: the whole platform may be starting.
  await step.until(topics, DCS_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const host = members
      .map((member) => hosts.get(member.host_id))
      .filter((candidate) => candidate !== undefined && hostState(candidate) === 'online')
      .sort((a, b) => Number(b?.seen_at ?? 0) - Number(a?.seen_at ?? 0))[0]
    if (host === undefined) {
      await step.say('waits for a host with a dcs member')
      return undefined
    }
    await runTask(step, {
      hostId: host.id,
      operationId: step.operationId,
      timeoutMs: DCS_TASK_TIMEOUT_MS,
      action: action(await dcsAccess(step)),
    })
    return true
  })
}
