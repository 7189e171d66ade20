// Proves what agents refuse to touch, and what they clear away that a killed agent has left. No
// PostgreSQL: with one, these are part of the tests of backups.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type HostSpec, UNFINISHED_MARK } from '@howdah/core/host-spec.ts'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { type HostRoot, openHostRoot } from '../host-root.ts'
import { measureData, moveData } from './move-data.ts'
import { recoverData, restoreData, whyEnded } from './recover-data.ts'
import { removeData } from './remove-data.ts'
import { removeTaskFiles, worksOn } from './stray-programs.ts'

let base: string
let root: HostRoot

before(async () => {
  base = await mkdtemp(join(tmpdir(), 'howdah-test-'))
  root = await openHostRoot(join(base, 'h'), userInfo().username)
})

after(() => rm(base, { recursive: true, force: true }))

const DIRECTORY = 'data/ins_1/pgdata'
const context = (spec: HostSpec | undefined) => ({
  root,
  spec,
  appliedRevision: 1,
  timeoutMs: 5000,
  signal: AbortSignal.timeout(5000),
})

/** As Patroni's configuration names the directory; its services name only what is above. */
function specOf(revision: number): HostSpec {
  const content = `data_dir: "${root.path}/${DIRECTORY}"\n`
  const file = { path: 'config/ins_1/patroni.yml', content }
  return { revision, services: [], files: [file] } as unknown as HostSpec
}

test('data that the applied spec uses is neither replaced nor replayed into', async () => {
  const path = join(root.path, DIRECTORY)
  await mkdir(path, { recursive: true })
  // Whoever looks for a stray PostgreSQL reads this, and would end the process.
  const living = spawn('/usr/bin/sleep', ['60'], { cwd: path })
  await writeFile(join(path, 'postmaster.pid'), `${living.pid}\n`)
  try {
    const action = { dataDirectory: DIRECTORY } as Extract<TaskAction, { kind: 'recover-data' }>
    const restore = action as unknown as Extract<TaskAction, { kind: 'restore-data' }>
    for (const revision of [1, 2]) {
      const inUse = { code: 'in-use' }
      await assert.rejects(restoreData(restore, context(specOf(revision))), inUse)
      await assert.rejects(recoverData(action, context(specOf(revision))), inUse)
    }
    assert.equal(living.signalCode, null)
    assert.equal(living.exitCode, null)
  } finally {
    living.kill('SIGKILL')
    await once(living, 'exit')
  }
})

test('that data is there is known also when nobody can count it', async () => {
  await mkdir(join(root.path, 'data/ins_2/pgdata'), { recursive: true })
  const cut = { ...context(undefined), signal: AbortSignal.abort() }
  assert.deepEqual(await measureData('data/ins_2/pgdata', cut), { exists: true, bytes: null })
  assert.deepEqual(await measureData('data/ins_3/pgdata', cut), { exists: false, bytes: 0 })
})

test('a program counts as at work on a directory by its argument, and only below it', () => {
  const argv = (path: string) => ['/usr/bin/pgbackrest', `--pg1-path=${path}`, 'restore']
  assert.equal(worksOn(argv('/h/data/ins_1/pgdata'), '/h/data/ins_1/pgdata'), true)
  assert.equal(worksOn(argv('/h/data/ins_1/pgdata'), '/h/data/ins_1'), true)
  assert.equal(worksOn(argv('/h/data/ins_10/pgdata'), '/h/data/ins_1'), false)
  assert.equal(worksOn(['/usr/bin/rm', '--pg1-path=/h/data/ins_1'], '/h/data/ins_1'), false)
})

test('files of tasks that nobody runs any more are removed', async () => {
  const [dead, living] = [
    '11111111-1111-4111-8111-111111111111',
    '22222222-2222-4222-8222-222222222222',
  ]
  const tasks = join(root.path, 'tasks')
  for (const name of [`${dead}.conf`, `${dead}.hba`, `${living}.conf`, 'else']) {
    await writeFile(join(tasks, name), 'secret')
  }
  const program = spawn('/usr/bin/tail', ['-f', join(tasks, `${living}.conf`)])
  await once(program, 'spawn')
  try {
    await removeTaskFiles(root.path)
    assert.deepEqual((await readdir(tasks)).sort(), [`${living}.conf`, 'else'])
  } finally {
    program.kill('SIGKILL')
    await once(program, 'exit')
  }
})

test('the mark of what is not whole goes where its directory goes, and with it', async () => {
  const [from, to] = ['data/ins_4/pgdata', 'data/ins_4/before_1']
  const marks = async () =>
    (await readdir(join(root.path, 'data/ins_4'))).filter((name) => name.endsWith(UNFINISHED_MARK))
  await mkdir(join(root.path, from), { recursive: true })
  await writeFile(join(root.path, `${from}${UNFINISHED_MARK}`), 'a mark')
  await moveData({ from, to }, context(undefined))
  assert.deepEqual(await marks(), ['before_1.unfinished'])
  // As after an agent that died before the last of it.
  await writeFile(join(root.path, `${from}${UNFINISHED_MARK}`), 'a mark')
  await moveData({ from, to }, context(undefined))
  assert.deepEqual(await marks(), ['before_1.unfinished'])
  await removeData(to, context(undefined))
  assert.deepEqual(await readdir(join(root.path, 'data/ins_4')), [])
})

test('why WAL ended is what the log says last before replay was done', () => {
  const done = '2026-11-22 10:00:01.000 UTC LOG:  redo done at 0/3FFFFD8 system usage: CPU\n'
  const after = 'ERROR: [049]: unable to get 00000002.history\n'
  const start = '2026-11-22 10:00:00.000 UTC LOG:  redo starts at 0/2000028\n'
  assert.equal(whyEnded(start + done + after), '')
  assert.equal(whyEnded(start), '')
  const fetched =
    'ERROR: [042]: raised from local-1 protocol: unable to get 000000010000000000000004:\n' +
    '       repo1: 15-1/x.zst [CryptoError] unable to flush\n'
  const said =
    'ERROR: [042]: raised from local-1 protocol: unable to get 000000010000000000000004: ' +
    'repo1: 15-1/x.zst [CryptoError] unable to flush'
  assert.equal(whyEnded(start + fetched + fetched + done + after), said)
  const record = '2026-11-22 10:00:00.500 UTC LOG:  record with incorrect prev-link 0/5 at 0/6\n'
  assert.match(
    whyEnded(start + record + done),
    /^LOG: record with incorrect prev-link 0\/5 at 0\/6$/,
  )
})
