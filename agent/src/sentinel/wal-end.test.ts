// Goal: a loss receipt never says less than was lost. Method: what pg_waldump says, in its own
// words, and a data directory as initdb leaves it.
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openHostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { parseLsn, parseWalEnd, readWalEnd } from './wal-end.ts'

const SEGMENT_BYTES = 16 * 2 ** 20
const BIN = '/usr/lib/postgresql/15/bin'
const ARGV = `${BIN}/pg_waldump --quiet --path /d/pg_wal --timeline 1 --start 0/1547E98`
const ENDED = `${ARGV} ended with code 1: pg_waldump: error: error in WAL record at 0/1547F10: `

test('the end is where the first record is that is none', () => {
  for (const why of [
    'invalid record length at 0/1547F48: wanted 24, got 0',
    'record with incorrect prev-link 7F/1 at 0/1547F48',
    'unexpected pageaddr 0/3 in WAL segment 000000010000000000000001, LSN 0/1547F48, offset 9',
  ]) {
    assert.equal(parseWalEnd(ENDED + why, SEGMENT_BYTES), parseLsn('0/1547F48'), why)
  }
})

test('a page of the former life of a segment ends the WAL where it stands', () => {
  const why = 'unexpected pageaddr 0/3C000 in log segment 0000000A00000002000000FE, offset 8192'
  assert.equal(parseWalEnd(ENDED + why, SEGMENT_BYTES), parseLsn('2/FE002000'))
})

test('a pg_waldump that was killed says nothing, and where it began is not the end', () => {
  for (const said of [
    `${ARGV} ended with signal SIGKILL: `,
    `${ARGV} ended with code 1: pg_waldump: error: could not find file "0000": No such file`,
    `${ENDED}invalid magic number 0000`,
    '',
  ]) {
    assert.equal(parseWalEnd(said, SEGMENT_BYTES), undefined, said)
  }
})

test('the end of a real WAL is behind its last checkpoint', async (t) => {
  const base = await mkdtemp('/tmp/hwd-')
  t.after(() => rm(base, { recursive: true, force: true }))
  await chmod(base, 0o755)
  const root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  const [directory, user] = [join(root.path, 'data/pgdata'), root.dropTo]
  const run = (program: string, ...args: string[]) =>
    runProgram({ argv: [join(BIN, program), ...args], timeoutMs: 60_000, user })
  await run('initdb', '--no-sync', '-D', directory)
  const control = await run('pg_controldata', '-D', directory)
  const checkpoint = parseLsn(/^Latest checkpoint location:\s+(\S+)$/m.exec(control)?.[1] ?? '')
  const end = await readWalEnd(directory, BIN, user)
  assert.ok(end !== undefined && checkpoint !== undefined)
  assert.equal(end.timeline, 1)
  const bytes = Number(BigInt(end.lsn) - checkpoint)
  assert.ok(bytes > 0 && bytes < 8192, `${bytes} bytes behind the checkpoint`)
})
