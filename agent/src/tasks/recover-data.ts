// Owns what turns a backup into a database: the copy, and the replay by a PostgreSQL of its own
// that listens nowhere, archives nothing and knows nothing of its cluster. Whoever is killed on
// the way leaves a directory from which the same task goes on, or that it knows to copy again.
import { spawn } from 'node:child_process'
import { lstat, readdir, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { HOST_LAYOUT, type HostSpec } from '@howdah/core/host-spec.ts'
import type { RecoveryReport, TaskAction } from '@howdah/core/protocol.ts'
import { leftAt, parseLsn, reasonOf, unarchivedFiles } from '@howdah/core/wal.ts'
import { writeFileAtomic } from '../atomic-file.ts'
import { below, type HostRoot, makeServiceDirectories } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { findPostmaster } from '../sentinel/postmaster.ts'
import { pause } from '../wake.ts'
import { refuseInUse, removeData } from './remove-data.ts'
import { type OpenRepository, withRepository } from './repository.ts'
import { endStrayPrograms } from './stray-programs.ts'
import { TaskError } from './task-error.ts'
import { isUnsynced, markUnsynced, removeMark, syncData } from './unsynced-data.ts'

type RestoreAction = Extract<TaskAction, { kind: 'restore-data' }>
type RecoverAction = Extract<TaskAction, { kind: 'recover-data' }>
/** `end`: up to that record and with it, the last that an earlier replay found. */
type Target = RecoverAction['target'] | { kind: 'end'; value: string }

export interface DataContext {
  root: HostRoot
  spec: HostSpec | undefined
  appliedRevision: number
  timeoutMs: number
  signal: AbortSignal
}

/** Patroni's copy of what the dcs held. */
const PATRONI_SETTINGS = 'patroni.dynamic.json'
const LOOK_MS = 100
/** One decompresses while the other waits for the disk. */
const PROCESSES_MIN = 2
/** A store that is far away, and the other instances of the host, have to bear it. */
const PROCESSES_MAX = 8
const STOP_TIMEOUT_MS = 60_000
const LOG_CHARACTERS_MAX = 65_536
const SHOWN_CHARACTERS_MAX = 1500
const END_CHARACTERS_MAX = 1000
/** What PostgreSQL says of WAL that it cannot read. */
const NO_WAL = [
  'invalid',
  'incorrect',
  'unexpected',
  'record with',
  'WAL file is from',
  'there is no contrecord',
]
/** Or what the program says of a segment that it cannot fetch. */
const END_OF_WAL = new RegExp(`ERROR: \\[\\d{3}\\]|LOG: {2}(?:${NO_WAL.join('|')})`, 'g')
/** What a history says of a timeline that was begun where the archive ended. */
const AT_END = 'no recovery target specified'
const AT_LSN = 'after LSN '
const AT_TARGET = 'recovery stopping at restore point'
const NOT_REACHED = 'recovery ended before configured recovery target was reached'

export async function restoreData(action: RestoreAction, context: DataContext): Promise<void> {
  const { root } = context
  const directory = below(root, action.dataDirectory)
  // Before anything is ended there: it may be the instance itself, which was brought back
  // meanwhile.
  refuseInUse(action.dataDirectory, context)
  await stopStray(root, directory)
  await removeData(action.dataDirectory, context)
  await makeServiceDirectories(root, [action.dataDirectory])
  await withRepository(action.repository, context, async ({ run }) => {
    // No recovery settings in files: replicas would inherit them, and stop where this one stopped.
    const options = [`--set=${action.label}`, '--type=none', `--pg1-path=${directory}`]
    await run([...options, `--process-max=${restoreProcesses()}`, 'restore'])
  })
  // The source's settings as they were then, paused or strict perhaps: with an empty dcs Patroni
  // would take them for its own.
  await runAsService(root, ['/usr/bin/rm', '-f', '--', join(directory, PATRONI_SETTINGS)])
  // Last: without it the directory counts as one that was never restored.
  await touch(root, join(directory, 'recovery.signal'))
  await removeMark(root, directory)
}

/** Nothing else is to be done here before it has ended: as many as there are processors. */
function restoreProcesses(): number {
  return Math.min(Math.max(availableParallelism(), PROCESSES_MIN), PROCESSES_MAX)
}

async function touch(root: HostRoot, ...paths: string[]): Promise<void> {
  await runAsService(root, ['/usr/bin/touch', '--', ...paths])
}

async function runAsService(root: HostRoot, argv: [string, ...string[]]): Promise<string> {
  return await runProgram({ argv, timeoutMs: 10_000, user: root.dropTo })
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  )
}

/** One that an earlier agent started and did not live to stop. */
async function stopStray(root: HostRoot, directory: string): Promise<void> {
  const postmaster = findPostmaster(directory)
  if (postmaster === undefined) return
  process.kill(postmaster.pid, 'SIGQUIT')
  const deadlineMs = performance.now() + STOP_TIMEOUT_MS
  while (findPostmaster(directory) !== undefined) {
    if (performance.now() > deadlineMs) {
      throw new TaskError('in-use', `a PostgreSQL runs in ${directory} of ${root.path}`)
    }
    await pause(LOOK_MS, new AbortController().signal)
  }
}

export async function recoverData(
  action: RecoverAction,
  context: DataContext,
): Promise<RecoveryReport | null> {
  const directory = below(context.root, action.dataDirectory)
  refuseInUse(action.dataDirectory, context)
  await stopStray(context.root, directory)
  await endStrayPrograms(directory)
  // An earlier run did not come to its end, perhaps because the host lost power.
  if (await isUnsynced(directory)) await restoreAgain(action, context)
  return await withRepository(action.repository, context, async (repository) => {
    const needs = { action, context, directory, repository }
    if (action.replica === true) return await replayAsReplica(needs)
    await markUnsynced(context.root, directory)
    const report = await recoverAndInspect(needs)
    await markUnarchived(needs, report.timeline)
    const syncMs = await syncData(context.root, directory, { ...context, ...action })
    return { ...report, replayMs: report.replayMs + syncMs }
  })
}

async function restoreAgain(action: RecoverAction, context: DataContext): Promise<void> {
  const { repository, dataDirectory, label } = action
  // Of a control plane from before there were labels.
  if (label === undefined) throw new TaskError('recovery-failed', `${dataDirectory} is not whole`)
  await restoreData({ kind: 'restore-data', repository, dataDirectory, label }, context)
}

async function recoverAndInspect(recovery: Recovery): Promise<RecoveryReport> {
  const startedMs = performance.now()
  let server = await startServer(recovery, recovery.action.target)
  try {
    if ((await server.ready()) === 'not-reached') {
      // Nothing was committed after that time: all there is was before it. All there was just now:
      // WAL that was late may arrive at any moment, and lie beyond that time.
      server = await startServer(recovery, { kind: 'end', value: server.redoneTo() })
      if ((await server.ready()) === 'not-reached') throw new TaskError('', server.log())
    }
    const replayMs = Math.round(performance.now() - startedMs)
    return { ...(await inspect(recovery, server)), replayMs }
  } finally {
    await server.stop()
  }
}

/**
 * The instance archives them when it leads. Without the history nobody would find this timeline in
 * the archive: a later recovery would follow the one that was left here, to its end.
 */
async function markUnarchived(recovery: Recovery, timeline: number): Promise<void> {
  const { context, directory } = recovery
  const control = await controlData(recovery)
  const lsn = parseLsn(/^Latest checkpoint location:\s+(\S+)$/m.exec(control)?.[1] ?? '') ?? 0n
  const names = unarchivedFiles(await readdir(join(directory, 'pg_wal')), timeline, lsn)
  const status = join(directory, 'pg_wal', 'archive_status')
  if (names.length === 0) return
  await touch(context.root, ...names.map((name) => join(status, `${name}.ready`)))
}

async function controlData({ action, context, directory }: Recovery): Promise<string> {
  const argv = [`${action.binDirectory}/pg_controldata`, '-D', directory] as [string, ...string[]]
  return await runAsService(context.root, argv)
}

/** It ends by itself at the target; what it has is then a replica's that was shut down. */
async function replayAsReplica(recovery: Recovery): Promise<null> {
  const { action, context, directory } = recovery
  const [before, after] = ['recovery', 'standby'].map((name) => join(directory, `${name}.signal`))
  // Done by an earlier run: started again, it would go past its target and wait there.
  if (await isThere(after as string)) return null
  await markUnsynced(context.root, directory)
  const server = await startServer(recovery, action.target)
  try {
    await server.reached()
  } finally {
    await server.stop()
  }
  await runAsService(context.root, ['/usr/bin/mv', '--', before as string, after as string])
  await syncData(context.root, directory, { ...context, ...action })
  return null
}

interface Recovery {
  action: RecoverAction
  context: DataContext
  directory: string
  repository: OpenRepository
}

function targetSettings({ kind, value }: Target): [string, string][] {
  switch (kind) {
    case 'latest':
      return []
    case 'immediate':
      // Its own end, also where the cluster has left the timeline that it was taken on.
      return [
        ['recovery_target', 'immediate'],
        ['recovery_target_timeline', 'current'],
      ]
    case 'end':
      return [['recovery_target_lsn', value]]
    case 'lsn':
      // An LSN that somebody read is where the next record begins: that one is not meant.
      return [
        ['recovery_target_lsn', value],
        ['recovery_target_inclusive', 'off'],
      ]
    default:
      return [[`recovery_target_${kind}`, value]]
  }
}

/** Everything that the restored settings would say differently; they are not read at all. */
async function settings(recovery: Recovery, target: Target, base: string): Promise<string> {
  const { action, context, directory, repository } = recovery
  const control = await controlData(recovery)
  const prepared = /max_prepared_xacts setting:\s+(\d+)/.exec(control)?.[1] ?? '0'
  const fetch = [...repository.argv, '--archive-async', `--pg1-path=${directory}`, 'archive-get']
  const rows: [string, string][] = [
    ['data_directory', directory],
    ['hba_file', `${base}.hba`],
    ['ident_file', `${base}.ident`],
    ['listen_addresses', ''],
    ['unix_socket_directories', join(context.root.path, HOST_LAYOUT.run)],
    ['port', String(action.port)],
    ['archive_mode', 'off'],
    // Off: it would refuse to start with smaller limits than the instance that was backed up had.
    ['hot_standby', 'off'],
    ['max_prepared_transactions', prepared],
    ['track_commit_timestamp', 'on'],
    ['wal_log_hints', 'on'],
    ['autovacuum', 'off'],
    // As a whole, when it has ended: unsynced-data.ts.
    ['fsync', 'off'],
    ['shared_buffers', '64MB'],
    ['max_wal_size', '1GB'],
    // Nothing is archived here: what it writes itself must be there for the instance to archive.
    ['wal_keep_size', '256MB'],
    ['max_connections', '20'],
    ['timezone', 'UTC'],
    ['log_line_prefix', '%m '],
    ['restore_command', `${fetch.join(' ')} %f "%p"`],
    ['recovery_target_action', action.replica === true ? 'shutdown' : 'promote'],
    ...targetSettings(target),
  ]
  return rows.map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`).join('')
}

async function startServer(recovery: Recovery, target: Target) {
  const { action, context, directory, repository } = recovery
  const { root, signal } = context
  // Beside the configuration of the repository, and removed with the server.
  const base = (repository.argv[1] as string).slice('--config='.length, -'.conf'.length)
  const { uid, gid } = root.serviceUser
  const write = (suffix: string, text: string) =>
    writeFileAtomic(base + suffix, text, { mode: 0o600, owner: { uid, gid } })
  const users = [...new Set([root.serviceUser.name, root.agentUser.name])]
  await write('.postgresql', await settings(recovery, target, base))
  await write('.hba', `local all ${action.superuser} peer map=howdah\n`)
  await write('.ident', users.map((user) => `howdah ${user} ${action.superuser}\n`).join(''))
  const child = spawn(
    `${action.binDirectory}/postgres`,
    ['-D', directory, '-c', `config_file=${base}.postgresql`],
    {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', HOME: directory },
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(root.dropTo === undefined ? {} : { uid: root.dropTo.uid, gid: root.dropTo.gid }),
    },
  )
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-LOG_CHARACTERS_MAX)
  })
  let ended = false
  const exited = new Promise<void>((resolve) => {
    child.once('error', resolve).once('exit', resolve)
  }).then(() => {
    ended = true
  })
  return {
    log: () => log.slice(-SHOWN_CHARACTERS_MAX),
    whyEnded: () => whyEnded(log),
    /** Where the last record begins that was replayed; its server has ended. */
    redoneTo: () => lastRedone(log),
    /** Accepts sessions only once the target is reached and the new timeline begun. */
    async ready(): Promise<'ready' | 'not-reached'> {
      while (!ended) {
        if (signal.aborted) throw new TaskError('timeout', 'the recovery was cut short')
        if (await answers(recovery)) return 'ready'
        await pause(LOOK_MS, signal)
      }
      if (log.includes(NOT_REACHED) && target.kind === 'time') return 'not-reached'
      throw new TaskError('recovery-failed', log.slice(-SHOWN_CHARACTERS_MAX))
    },
    /** For a target at which it shuts down. */
    async reached(): Promise<void> {
      while (!ended) {
        if (signal.aborted) throw new TaskError('timeout', 'the recovery was cut short')
        await pause(LOOK_MS, signal)
      }
      if (log.includes(AT_TARGET)) return
      throw new TaskError('recovery-failed', log.slice(-SHOWN_CHARACTERS_MAX))
    },
    async stop(): Promise<void> {
      if (!ended) child.kill('SIGINT')
      const timer = setTimeout(() => child.kill('SIGQUIT'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(timer)
      for (const suffix of ['.postgresql', '.hba', '.ident']) {
        await rm(base + suffix, { force: true })
      }
    },
  }
}

function lastRedone(log: string): string {
  const lsn = [...log.matchAll(/redo done at ([0-9A-F]+\/[0-9A-F]+)/g)].at(-1)?.[1]
  if (lsn === undefined) throw new TaskError('recovery-failed', log.slice(-SHOWN_CHARACTERS_MAX))
  return lsn
}

/**
 * Why there was no more to replay; empty where the archive just had no more. What is logged once
 * replay is done is about the new timeline.
 */
export function whyEnded(log: string): string {
  const until = log.slice(0, Math.max(0, log.lastIndexOf('redo done at ')))
  const last = [...until.matchAll(END_OF_WAL)].at(-1)
  if (last === undefined) return ''
  const [said = ''] = until.slice(last.index).split(/\n(?=\d{4}-\d\d-\d\d )/)
  return said.replace(/\s+/g, ' ').trim().slice(0, END_CHARACTERS_MAX)
}

function connectionOf({ action, context }: Recovery) {
  const host = join(context.root.path, HOST_LAYOUT.run)
  return { host, port: action.port, user: action.superuser, database: 'postgres' }
}

async function query(recovery: Recovery, statements: RecoverAction['statements']) {
  const { runSql } = await import('./run-sql.ts')
  const { timeoutMs, signal, root } = recovery.context
  return await runSql(
    { kind: 'sql', connection: connectionOf(recovery), requireLeader: true, statements },
    { rootPath: root.path, timeoutMs, signal },
  )
}

async function answers(recovery: Recovery): Promise<boolean> {
  return await query(recovery, [{ text: 'select 1', params: [] }]).then(
    () => true,
    () => false,
  )
}

async function inspect(recovery: Recovery, server: { log(): string; whyEnded(): string }) {
  const { action } = recovery
  const reached = (await query(recovery, [
    {
      text: `select timeline_id as timeline, pg_current_wal_lsn()::text as lsn,
               coalesce(pg_read_file('pg_wal/' || lpad(upper(to_hex(timeline_id)), 8, '0')
                 || '.history', 0, 65536, true), '') as history
             from pg_control_checkpoint()`,
      params: [],
    },
  ])) as { rows: { timeline: number; lsn: string; history: string }[] }[]
  const { timeline = 1, lsn = '0/0', history = '' } = reached[0]?.rows[0] ?? {}
  const left = leftAt(history)
  const rows =
    action.statements.length === 0
      ? []
      : (await query(recovery, action.statements)).flatMap((result) => result.rows)
  const startedMs = performance.now()
  const damage = action.amcheck ? await lookForDamage(recovery) : null
  return {
    timeline,
    lsn,
    // Not from how this run went: an earlier one may have come to the end, and died.
    reachedEnd: isAtEnd(action.target, reasonOf(history)),
    lastCommitAt:
      /last completed transaction was at log time ([^\n]+)/.exec(server.log())?.[1] ?? null,
    ...(left === undefined ? {} : { end: { ...left, error: server.whyEnded() } }),
    rows,
    damage,
    amcheckMs: Math.round(performance.now() - startedMs),
  }
}

/** Of a time that was not reached the history says where WAL ended. */
function isAtEnd(target: RecoverAction['target'], reason: string): boolean {
  return reason === AT_END || (target.kind === 'time' && reason.startsWith(AT_LSN))
}

/** Empty when nothing is wrong. The program ends with code 2 when it found damage. */
async function lookForDamage(recovery: Recovery): Promise<string> {
  const { action, context } = recovery
  const { host, port, user } = connectionOf(recovery)
  const argv = [
    `${action.binDirectory}/pg_amcheck`,
    '--all',
    '--install-missing',
    `--host=${host}`,
    `--port=${port}`,
    `--username=${user}`,
    '--no-password',
  ] as [string, ...string[]]
  const { timeoutMs, signal, root } = context
  try {
    return (await runProgram({ argv, timeoutMs, signal, user: root.dropTo })).slice(0, 4000)
  } catch (error) {
    const said = String((error as Error).message)
    // Any other end says nothing about what it was to look at.
    if (!said.includes(' ended with code 2: ')) throw new TaskError('amcheck-failed', said)
    return said.slice(-4000)
  }
}
