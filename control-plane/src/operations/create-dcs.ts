// Creates the dcs: an etcd member on each chosen host, TLS everywhere, authentication on.
import { generatePassword } from '@howdah/core/scram.ts'
import { issueCertificate, SERVICE_DAYS } from '../certificates.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { markDcsAvailable, readDcs, touchHosts } from '../db/hosts.ts'
import { ensureSecret } from '../db/secrets.ts'
import { dcsMemberOwner, SECRET } from '../hosts/render-input.ts'
import { runTask } from './agent-task.ts'
import { dcsAccess, requireAuthority } from './dcs-access.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const HEALTHY_TIMEOUT_MS = 60_000

export const createDcs: OperationDefinition<Record<string, never>> = {
  kind: 'create-dcs',
  steps: [
    { name: 'issue-certificates', title: 'issues certificates for the members' },
    { name: 'start-members', title: 'starts etcd on the hosts' },
    { name: 'wait-members', title: 'waits until the members agree' },
    { name: 'enable-authentication', title: 'turns authentication on' },
  ],
  async run({ step }) {
    await step('issue-certificates', issueCertificates)
    await step('start-members', async ({ database }) => {
      const { members } = await readDcs(database)
      await database.transaction((tx) =>
        touchHosts(
          tx,
          members.map((member) => member.host_id),
        ),
      )
    })
    await step('wait-members', waitMembers)
    await step('enable-authentication', enableAuthentication)
  },
}

async function issueCertificates({ database, sealer }: StepContext): Promise<void> {
  const authorityOfPlatform = await requireAuthority(database, sealer, 'platform')
  const hosts = await hostsById(database)
  for (const member of (await readDcs(database)).members) {
    const owner = dcsMemberOwner(member.host_id)
    const address = hosts.get(member.host_id)?.address ?? ''
    const names = [address, 'localhost']
    const issued = await issueCertificate(authorityOfPlatform, member.name, names, SERVICE_DAYS)
    await database.transaction(async (tx) => {
      await ensureSecret(tx, sealer, owner, SECRET.key, () => issued.keyPem)
      await ensureSecret(tx, sealer, owner, SECRET.certificate, () => issued.certificatePem)
    })
  }
}

async function waitMembers(step: StepContext): Promise<void> {
  const { members } = await readDcs(step.database)
  const topics = members.map((member) => `report:${member.host_id}`)
  await step.until(topics, HEALTHY_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const ready = members.filter((member) =>
      hosts
        .get(member.host_id)
        ?.services.some((service) => service.name === 'etcd' && service.ready),
    )
    await step.say(`${ready.length} of ${members.length} members are healthy`)
    return ready.length === members.length ? true : undefined
  })
}

async function enableAuthentication(step: StepContext): Promise<void> {
  const rootPassword = await ensureSecret(
    step.database,
    step.sealer,
    'dcs',
    'root-password',
    generatePassword,
  )
  const { members } = await readDcs(step.database)
  const access = await dcsAccess(step)
  await runTask(step, {
    hostId: members[0]?.host_id ?? '',
    operationId: step.operationId,
    timeoutMs: 30_000,
    action: { kind: 'dcs-enable-auth', dcs: access, rootPassword },
  })
  await markDcsAvailable(step.database)
  await step.say(`etcd answers on ${access.endpoints.join(', ')}`)
}
