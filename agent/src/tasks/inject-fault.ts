// Owns the faults of a game day. Only what this host runs can be broken, and all of it heals by
// itself: s6 starts what was killed, and a detached process continues what was frozen or stopped,
// whether or not the agent still lives.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { readProcessState } from '../apply/s6.ts'
import { serviceDirectory } from '../apply/service-directory.ts'
import type { HostRoot } from '../host-root.ts'
import { findPostmaster, findProcesses } from '../sentinel/postmaster.ts'
import { cutNetwork } from './network-cut.ts'
import { TaskError } from './task-error.ts'

type FaultAction = Extract<TaskAction, { kind: 'inject-fault' }>

interface FaultContext {
  root: HostRoot
  spec: () => HostSpec | undefined
}

export async function injectFault(
  action: FaultAction,
  context: FaultContext,
): Promise<{ pids: number[] }> {
  switch (action.fault) {
    case 'kill-agent':
      // Answered first: a task that is never answered would be run again by the next agent.
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 200)
      return { pids: [process.pid] }
    case 'kill-service':
      return kill([await servicePid(context, action.service)])
    case 'kill-postmaster':
      return kill([postmasterPid(context, action.service)])
    case 'freeze-postmaster':
      return freeze([postmasterPid(context, action.service)], action.durationMs)
    case 'silence-host':
      return freeze(await allPids(context), action.durationMs)
    case 'stop-host':
      return stop(await allPids(context), serviceDirectories(context), action.durationMs)
    case 'cut-network':
      await cutNetwork(context.spec()?.clusters ?? [], ownAddress(context), action.durationMs)
      return { pids: [] }
  }
}

function kill(pids: number[]): { pids: number[] } {
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  return { pids }
}

/** So that the agent can answer first: it may be among what is frozen. */
const ANSWER_MS = 200

/** The thaw is a process of its own, and comes after the freeze whatever the times are. */
function freeze(pids: number[], durationMs: number): { pids: number[] } {
  const script = `const [pids] = process.argv.slice(1).map((word) => JSON.parse(word))
    const each = (name) => pids.forEach((pid) => { try { process.kill(pid, name) } catch {} })
    setTimeout(() => {
      each('SIGSTOP')
      setTimeout(() => each('SIGCONT'), ${durationMs})
    }, ${ANSWER_MS})`
  startApart(script, [JSON.stringify(pids)])
  return { pids }
}

/**
 * Nothing of this host is there any more, and its ports refuse. The agent, which would start all of
 * it again, is frozen.
 */
function stop(pids: number[], directories: string[], durationMs: number): { pids: number[] } {
  const script = `const { spawnSync } = require('node:child_process')
    const [pids, directories, agent] = process.argv.slice(1).map((word) => JSON.parse(word))
    const signal = (pid, name) => { try { process.kill(pid, name) } catch {} }
    const command = (flags) => directories.forEach((one) => spawnSync('s6-svc', [flags, one]))
    setTimeout(() => {
      signal(agent, 'SIGSTOP')
      command('-dk')
      for (const pid of pids) if (pid !== agent) signal(pid, 'SIGKILL')
      setTimeout(() => {
        command('-u')
        signal(agent, 'SIGCONT')
      }, ${durationMs})
    }, ${ANSWER_MS})`
  startApart(script, [JSON.stringify(pids), JSON.stringify(directories), String(process.pid)])
  return { pids }
}

function startApart(script: string, args: string[]): void {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }
  const options = { detached: true, stdio: 'ignore', env } as const
  const child = spawn(process.execPath, ['--eval', script, ...args], options)
  // One that cannot be started broke nothing: the round shows no gap.
  child.once('error', () => undefined).unref()
}

function serviceDirectories({ root, spec }: FaultContext): string[] {
  return (spec()?.services ?? []).map(({ name }) => serviceDirectory(root, name))
}

/** Of this host, as the others know it. */
function ownAddress({ spec }: FaultContext): string {
  const clusters = spec()?.clusters ?? []
  const gateway = clusters.flatMap(({ localGateways }) => localGateways)[0]?.address
  const local = clusters.flatMap((cluster) =>
    cluster.instances.filter(({ name }) =>
      cluster.localInstances.some((instance) => instance.name === name),
    ),
  )
  const address = local[0]?.address ?? gateway
  if (address === undefined) throw new TaskError('refused', 'this host has no part of a cluster')
  return address
}

async function servicePid({ root, spec }: FaultContext, name: string): Promise<number> {
  if (spec()?.services.some((service) => service.name === name) !== true) {
    throw new TaskError('refused', `there is no service ${name} on this host`)
  }
  const { pid } = await readProcessState(serviceDirectory(root, name))
  if (pid === null) throw new TaskError('refused', `service ${name} is not running`)
  return pid
}

function dataDirectories({ root, spec }: FaultContext, service?: string): string[] {
  return (spec()?.clusters ?? [])
    .flatMap((cluster) => cluster.localInstances)
    .filter((instance) => service === undefined || instance.service === service)
    .map((instance) => join(root.path, instance.dataDirectory))
}

function postmasterPid(context: FaultContext, service: string): number {
  const postmaster = dataDirectories(context, service).map(findPostmaster)[0]
  if (postmaster === undefined) throw new TaskError('refused', `no postmaster of ${service} runs`)
  return postmaster.pid
}

/** Every service with all its processes, and the agent last: to the others the host is gone. */
async function allPids(context: FaultContext): Promise<number[]> {
  const services = context.spec()?.services ?? []
  const states = await Promise.all(
    services.map((service) => readProcessState(serviceDirectory(context.root, service.name))),
  )
  const main = states.flatMap(({ pid }) => (pid === null ? [] : [pid]))
  const databases = dataDirectories(context).flatMap(findProcesses)
  return [...new Set([...databases, ...main]), process.pid]
}
