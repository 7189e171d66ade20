// Owns the picture of a whole platform: its parts from s6, the rest from the API where it answers.
// Each part is asked on its own, so that one that does not answer hides nothing else.
import { join } from 'node:path'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import type { Dcs, Host } from '@howdah/core/contract/hosts.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import { describeError } from '@howdah/core/errors.ts'
import { type ApiClient, makeApiClient } from '../api-client.ts'
import { observeControlPlane } from './control-plane-health.ts'
import { findHomeProcesses } from './home-processes.ts'
import { dcsHosts, type PlatformLayout, SERVICE_CONTROL_PLANE, SERVICE_DB } from './layout.ts'
import { isScanning, serviceState } from './s6.ts'

export interface PartStatus {
  part: string
  state: string
  healthy: boolean
  detail: string
}

export interface PlatformStatus {
  home: string
  running: boolean
  /** Processes of an earlier start that nothing watches over. */
  left: number
  healthy: boolean
  parts: PartStatus[]
}

const API_DEADLINE_MS = 5_000

export async function readPlatformStatus(
  layout: PlatformLayout,
  userAgent: string,
): Promise<PlatformStatus> {
  const home = layout.home
  if (!(await isScanning(layout.services))) {
    const left = findHomeProcesses(home).length
    return { home, running: false, left, healthy: false, parts: [] }
  }
  const db = await readService(layout, SERVICE_DB, 'platform database')
  const health = await observeControlPlane(layout)
  const service = await readService(layout, SERVICE_CONTROL_PLANE, 'control plane')
  if ('seen' in health) {
    const controlPlane = { ...service, healthy: false, detail: `${service.detail}; ${health.seen}` }
    const parts = [db, controlPlane, ...(await readHostScans(layout))]
    return { home, running: true, left: 0, healthy: false, parts }
  }
  const client = makeApiClient({
    api: layout.apiUrl,
    token: health.value.token,
    caPem: health.value.caPem,
    userAgent,
    deadlineMs: API_DEADLINE_MS,
  })
  const known = [db, { ...service, detail: `${layout.apiUrl}, ${service.detail}` }]
  const asked = await Promise.all([
    guard('hosts', () => readHosts(client)),
    guard('dcs', () => readDcs(client, layout)),
    guard('clusters', () => readClusters(client)),
    guard('operations', () => readOperations(client)),
  ])
  const parts = [...known, ...asked.flat()]
  return { home, running: true, left: 0, healthy: parts.every((part) => part.healthy), parts }
}

async function readService(
  layout: PlatformLayout,
  name: string,
  part: string,
): Promise<PartStatus> {
  const state = await serviceState(join(layout.services, name))
  if (state === undefined) {
    return { part, state: 'down', healthy: false, detail: 'nothing supervises it' }
  }
  const detail = state.up ? `pid ${state.pid}, for ${state.sinceS} s` : `for ${state.sinceS} s`
  return { part, state: state.up ? 'up' : 'down', healthy: state.up, detail }
}

function readHostScans(layout: PlatformLayout): Promise<PartStatus[]> {
  return Promise.all(layout.hosts.map((host) => readService(layout, host.name, host.name)))
}

async function readHosts(client: ApiClient): Promise<PartStatus[]> {
  const hosts = await client.list<Host>('/v1/hosts')
  return hosts.map((host) => {
    const services = host.services ?? []
    const ready = services.filter((service) => service.ready).length
    const detail = `${host.address}, ${host.role}, ${ready} of ${services.length} services ready`
    const healthy = host.state === 'online' && ready === services.length
    return { part: host.name, state: host.state, healthy, detail }
  })
}

async function readDcs(client: ApiClient, layout: PlatformLayout): Promise<PartStatus[]> {
  const dcs = await client.get<Dcs>('/v1/dcs')
  const ready = dcs.members.filter((member) => member.ready).length
  const wanted = dcs.members.length || dcsHosts(layout).length
  const healthy = dcs.state === 'available' && ready === wanted
  return [{ part: 'dcs', state: dcs.state, healthy, detail: `${ready} of ${wanted} members ready` }]
}

async function readClusters(client: ApiClient): Promise<PartStatus[]> {
  const clusters = await client.list<Cluster>('/v1/clusters')
  return clusters.map((cluster) => ({
    part: `cluster ${cluster.name}`,
    state: cluster.state,
    // A change that a person asked for is no fault.
    healthy: !['degraded', 'failed'].includes(cluster.state),
    detail: cluster.message,
  }))
}

async function readOperations(client: ApiClient): Promise<PartStatus[]> {
  const operations = await client.list<Operation>('/v1/operations', { state: 'running' })
  return operations.map((operation) => {
    const step = operation.steps.find((one) => one.state === 'running')
    const detail = step === undefined ? operation.title : `${operation.title}: ${step.title}`
    return { part: operation.id, state: operation.state, healthy: true, detail }
  })
}

async function guard(part: string, read: () => Promise<PartStatus[]>): Promise<PartStatus[]> {
  try {
    return await read()
  } catch (error) {
    return [{ part, state: 'unknown', healthy: false, detail: describeError(error) }]
  }
}
