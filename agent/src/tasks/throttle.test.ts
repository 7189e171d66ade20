// Proves whom the slowing down of a backup stops, with processes that do as its readers do.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { until } from '../testing/until.ts'
import { startThrottle } from './throttle.ts'

const TIMEOUT_MS = 30_000
/** More than a pipe takes. */
const LONG_ANSWER = 1_000_000

const directory = mkdtempSync(join(tmpdir(), 'howdah-test-throttle-'))
const copied = join(directory, 'a relation')
writeFileSync(copied, 'rows')
after(() => rmSync(directory, { recursive: true }))

/** Reads 10 MB, and goes on: with the file open or not, and answers or not. */
const READER = `
  const { openSync, readSync, writeSync } = require('node:fs')
  const [path, answer] = process.argv.slice(1)
  if (path) openSync(path)
  const zero = openSync('/dev/zero')
  const read = () => readSync(zero, Buffer.alloc(1_000_000))
  for (let n = 0; n < 10; n += 1) read()
  if (Number(answer) > 0) writeSync(1, Buffer.alloc(Number(answer)))
  setInterval(read, 10)
`

interface Program extends Disposable {
  leader: ChildProcess & { pid: number }
  reader: number
}

/** A leader with one reader, in whose pipe nobody reads. */
async function run(path: string, answer: number): Promise<Program> {
  const argv = [process.execPath, '-e', READER, path, String(answer)]
  const leader = spawn('/bin/sh', ['-c', '"$@" & wait', 'sh', ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  }) as Program['leader']
  const reader = await until('a reader', () => childOf(leader.pid), Boolean, TIMEOUT_MS)
  return {
    leader,
    reader,
    [Symbol.dispose]: () => void process.kill(-leader.pid, 'SIGKILL'),
  }
}

const childOf = (pid: number) =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
const stateOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0]
const readBy = (pid: number) =>
  Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1])

test('one that copies is stopped while it is ahead, and let go at the end', async () => {
  using program = await run(copied, 0)
  const { leader, reader } = program
  const throttle = startThrottle(leader.pid, { bytesPerSecondMax: 1, copied: [directory] })
  await until(
    'a stop',
    () => stateOf(reader),
    (state) => state === 'T',
    TIMEOUT_MS,
  )
  assert.notEqual(stateOf(leader.pid), 'T')
  throttle.end()
  await until(
    'it to go on',
    () => stateOf(reader),
    (state) => state !== 'T',
    TIMEOUT_MS,
  )
})

test('one that is not ahead is let go on', async () => {
  using program = await run(copied, 0)
  const { leader, reader } = program
  const throttle = startThrottle(leader.pid, { bytesPerSecondMax: 5e6, copied: [directory] })
  await until(
    'a stop',
    () => stateOf(reader),
    (state) => state === 'T',
    TIMEOUT_MS,
  )
  const read = readBy(reader)
  await until(
    'it to read on',
    () => readBy(reader),
    (now) => now > read + 5e6,
    TIMEOUT_MS,
  )
  throttle.end()
})

test('one that does not copy is never stopped, however much it has read', async () => {
  using program = await run('', 0)
  const { leader, reader } = program
  const throttle = startThrottle(leader.pid, { bytesPerSecondMax: 1, copied: [directory] })
  const read = readBy(reader)
  const states = new Set<string | undefined>()
  const look = () => {
    states.add(stateOf(reader))
    return readBy(reader)
  }
  await until('it to read on', look, (now) => now > read + 50e6, TIMEOUT_MS)
  throttle.end()
  assert.equal(states.has('T'), false)
})

test('where an answer may have been cut, the leader ends', async () => {
  using program = await run(copied, LONG_ANSWER)
  const { leader } = program
  const ended = new Promise((resolve) => leader.once('exit', (_code, signal) => resolve(signal)))
  const throttle = startThrottle(leader.pid, { bytesPerSecondMax: 1, copied: [directory] })
  assert.equal(await ended, 'SIGTERM')
  throttle.end()
})
