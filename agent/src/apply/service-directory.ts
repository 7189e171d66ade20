// Owns the s6 directory of one service: rendering it, putting it in place whole, taking it away.
// What the running process was started with is recorded inside the directory, so record and
// service appear and vanish together, and an agent that restarts can tell what is still to do.
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { renderLogScript, renderRunScript } from '@howdah/core/execline.ts'
import { HOST_LAYOUT, type HostService, type HostSpec } from '@howdah/core/host-spec.ts'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { readFileIfPresent, syncDirectory, writeFileAtomic } from '../atomic-file.ts'
import type { HostRoot } from '../host-root.ts'
import { resolveProgram } from '../programs.ts'

/** Digests of what the running process has seen. */
const AppliedRecord = Type.Object({
  start: Type.String(),
  reload: Type.String(),
  stop: Type.String(),
})
export type AppliedRecord = Static<typeof AppliedRecord>

export interface RenderedService {
  service: HostService
  /** File name below the service's directory → content and mode. */
  files: ReadonlyMap<string, { content: string; mode: number }>
  record: AppliedRecord
}

/** As `start`: a new run script counts from the next start of the process, whenever that is. */
export const NEVER_RESTARTED = ''

/** Its presence marks a directory as the agent's own to change and remove. */
const RECORD_FILE = 'applied.json'

/** In the environment of every process of a service, to find those that outlive a kill. */
export const SERVICE_MARK = 'HOWDAH_SERVICE'

export function serviceDirectory(root: HostRoot, name: string): string {
  return join(root.path, HOST_LAYOUT.services, name)
}

export async function renderService(
  root: HostRoot,
  spec: HostSpec,
  service: HostService,
): Promise<RenderedService> {
  const program = await resolveProgram(service.program)
  const user = root.dropTo?.name
  const run = renderRunScript({
    argv: [program, ...service.args],
    env: { ...service.env, [SERVICE_MARK]: serviceDirectory(root, service.name) },
    directory: root.path,
    user,
  })
  const logRun = renderLogScript(join(root.path, HOST_LAYOUT.log, service.name), user)
  const isRestarted = service.restartOn.length > 0
  const stop = { signal: `${service.stopSignal}\n`, timeout: `${service.stopTimeoutMs}\n` }
  return {
    service,
    files: new Map([
      // The run script holds the environment, which may hold a secret.
      ['run', { content: run, mode: 0o700 }],
      ['log/run', { content: logRun, mode: 0o700 }],
      ['down-signal', { content: stop.signal, mode: 0o600 }],
      ['timeout-kill', { content: stop.timeout, mode: 0o600 }],
    ]),
    record: {
      start: isRestarted ? digest([run, ...contents(spec, service.restartOn)]) : NEVER_RESTARTED,
      reload: digest([service.reloadSignal, ...contents(spec, service.reloadOn)]),
      stop: digest([stop.signal, stop.timeout, ...(isRestarted ? [] : [run])]),
    },
  }
}

function contents(spec: HostSpec, paths: readonly string[]): string[] {
  return paths.toSorted().flatMap((path) => {
    const file = spec.files.find((candidate) => candidate.path === path)
    return [path, file?.content ?? '']
  })
}

function digest(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}

/** Undefined when the directory is absent; a damaged record reads as one that matches nothing. */
export async function readRecord(root: HostRoot, name: string): Promise<AppliedRecord | undefined> {
  const text = await readFileIfPresent(join(serviceDirectory(root, name), RECORD_FILE))
  if (text === undefined) return undefined
  try {
    const parsed: unknown = JSON.parse(text)
    if (Value.Check(AppliedRecord, parsed)) return parsed
  } catch {
    // Falls through: what may be restarted is, once; the rest reads its files again.
  }
  return { start: '', reload: '', stop: '' }
}

export async function writeRecord(root: HostRoot, rendered: RenderedService): Promise<void> {
  const path = join(serviceDirectory(root, rendered.service.name), RECORD_FILE)
  await writeFileAtomic(path, JSON.stringify(rendered.record), { mode: 0o600 })
}

/** Names of the services that the agent made; its own and foreign directories are left out. */
export async function listServices(root: HostRoot): Promise<string[]> {
  const entries = await readdir(join(root.path, HOST_LAYOUT.services), { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
  const owned = await Promise.all(
    names.map(async ({ name }) => ((await readRecord(root, name)) === undefined ? [] : [name])),
  )
  return owned.flat()
}

/** Builds the directory elsewhere and renames it: s6 sees it complete or not at all. */
export async function installService(root: HostRoot, rendered: RenderedService): Promise<void> {
  const staged = await makeWorkDirectory(root, rendered.service.name)
  await mkdir(join(staged, 'log'), { mode: 0o700 })
  for (const [name, file] of rendered.files) {
    await writeFileAtomic(join(staged, name), file.content, { mode: file.mode })
  }
  const record = JSON.stringify(rendered.record)
  await writeFileAtomic(join(staged, RECORD_FILE), record, { mode: 0o600 })
  await rename(staged, serviceDirectory(root, rendered.service.name))
  await syncDirectory(join(root.path, HOST_LAYOUT.services))
}

/** New scripts for a service that is there; the running process notices nothing. */
export async function rewriteService(root: HostRoot, rendered: RenderedService): Promise<void> {
  const directory = serviceDirectory(root, rendered.service.name)
  for (const [name, file] of rendered.files) {
    const path = join(directory, name)
    if ((await readFileIfPresent(path)) === file.content) continue
    await writeFileAtomic(path, file.content, { mode: file.mode })
  }
}

/** Takes the directory out of s6's sight; returns where it is now, for `discardWork`. */
export async function retireService(root: HostRoot, name: string): Promise<string> {
  const retired = join(await makeWorkDirectory(root, name), 'retired')
  await rename(serviceDirectory(root, name), retired)
  await syncDirectory(join(root.path, HOST_LAYOUT.services))
  return retired
}

function workDirectory(root: HostRoot): string {
  return join(root.path, HOST_LAYOUT.agent, 'work')
}

async function makeWorkDirectory(root: HostRoot, name: string): Promise<string> {
  const path = join(workDirectory(root), `${name}-${randomBytes(6).toString('hex')}`)
  await mkdir(path, { recursive: true, mode: 0o700 })
  return path
}

/** Directories that a crash left between being staged and being in place, or being retired. */
export async function listRetired(root: HostRoot): Promise<string[]> {
  const entries: string[] = await readdir(workDirectory(root)).catch(() => [])
  return entries.map((name) => join(workDirectory(root), name, 'retired'))
}

export async function discardWork(retired: string): Promise<void> {
  await rm(join(retired, '..'), { recursive: true, force: true })
}
