// Owns the faults of a game day. Only what this host runs can be broken, and all of it heals by
// itself: s6 starts what was killed, and a detached process continues what was frozen, whether or
// not the agent still lives.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { readProcessState } from '../apply/s6.ts'
import { serviceDirectory } from '../apply/service-directory.ts'
import type { HostRoot } from '../host-root.ts'
import { findPostmaster, findProcesses } from '../sentinel/postmaster.ts'
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
  }
}

function kill(pids: number[]): { pids: number[] } {
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  return { pids }
}

/** The thaw is a process of its own: the agent may be among the frozen. */
function freeze(pids: number[], durationMs: number): { pids: number[] } {
  const script = `setTimeout(() => {
    for (const pid of process.argv.slice(1)) try { process.kill(Number(pid), 'SIGCONT') } catch {}
  }, ${durationMs})`
  const thaw = spawn(process.execPath, ['--eval', script, ...pids.map(String)], {
    detached: true,
    stdio: 'ignore',
    env: {},
  })
  thaw.unref()
  setTimeout(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGSTOP')
      } catch {
        // It ended by itself meanwhile.
      }
    }
  }, 200)
  return { pids }
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
