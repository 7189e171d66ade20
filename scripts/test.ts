// Owns `npm test`: the rings in order, each with a heading, its time and its counts. It stops after
// the first red ring, and a ring that leaves a process behind is red. `--ring fast` leaves the real
// ring out; `--only text` takes the test files whose path holds the text. What fails on a machine
// that is there is a failure. What fails while the machine is taken away from us is run again; what
// then fails while most of it is gone is not judged, nor are whole platforms tried there: the run
// says both, last, and is no proof of them.
import { type ChildProcess, spawn } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Starvation, type Watch, watchStarvation } from './starvation.ts'

const ROOT = join(import.meta.dirname, '..')
const BIN = join(ROOT, 'node_modules', '.bin')
/** Every home that a test makes starts so: what a test leaves behind is found by it. */
const TEST_HOME = join(tmpdir(), 'howdah-test-')
const KILL_AFTER_MS = 10_000
const LEFTOVER_WAIT_MS = 5_000
/** With less than this left of a deadline nothing is begun again. */
const WORTH_AGAIN_MS = 60_000
const AGAIN_MAX = 2
const LOOK_MS = 1000
/** However slow the machine: continuous integration ends the run five minutes later. */
const WHOLE_RUN_MS = 3_300_000

/** What is said of a failure, and of a process that was left: the rest is further up. */
const SAID_MAX = 400
const LEFT_SHOWN_MAX = 8

interface Counts {
  passed: number
  failed: number
  skipped: number
  /** A line per test that failed, with its error. */
  failures: string[]
  /** Those that failed on a starved machine at first, and were run again. */
  again: string[]
  /** What failed or was not tried where most of the machine was gone. */
  unjudged: string[]
}

interface RunOptions {
  concurrency: number
  testTimeoutMs: number
  /** Of time that is ours, as all deadlines here. */
  deadlineMs: number
}

interface Ring {
  name: string
  says: string
  deadlineMs: number
  run: (deadlineMs: number) => Promise<Counts>
}

const sum = (a: Counts, b: Counts): Counts => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
  failures: [...a.failures, ...b.failures],
  again: [...a.again, ...b.again],
  unjudged: [...a.unjudged, ...b.unjudged],
})

const NONE: Counts = { passed: 0, failed: 0, skipped: 0, failures: [], again: [], unjudged: [] }

/** Asks a program to end when its time is over, then ends it; returns how to stop that. */
function limitTime(child: ChildProcess, watch: Watch, deadlineMs: number): () => void {
  let killTimer: NodeJS.Timeout | undefined
  const timer = setInterval(() => {
    if (watch.readOwnMs() < deadlineMs && performance.now() < WHOLE_RUN_MS) return
    clearInterval(timer)
    console.log(`\n${child.spawnfile} did not end within ${Math.round(deadlineMs / 1000)} s`)
    child.kill('SIGTERM')
    killTimer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
  }, LOOK_MS)
  return () => {
    clearInterval(timer)
    clearTimeout(killTimer)
  }
}

/** Runs a program to its end with our output: whether it ended with 0 in time, on which machine. */
function runProgram(
  argv: readonly [string, ...string[]],
  deadlineMs: number,
): Promise<{ passed: boolean; starvation: Starvation }> {
  const [program, ...args] = argv
  return new Promise((resolve, reject) => {
    const watch = watchStarvation()
    const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
    const stopLimit = limitTime(child, watch, deadlineMs)
    const done = () => {
      stopLimit()
      return watch.end()
    }
    child.once('error', (error) => {
      done()
      reject(new Error(`run ${program}`, { cause: error }))
    })
    child.once('close', (code) => resolve({ passed: code === 0, starvation: done() }))
  })
}

async function runCheck(argv: readonly [string, ...string[]], deadlineMs: number): Promise<Counts> {
  console.log(`\n$ ${[argv[0].replace(`${BIN}/`, ''), ...argv.slice(1)].join(' ')}`)
  const { passed } = await runProgram(argv, deadlineMs)
  return passed ? { ...NONE, passed: 1 } : { ...NONE, failed: 1, failures: [argv.join(' ')] }
}

const FAILURE = /^( *)not ok \d+ - (.*)\n([\s\S]*?)^\1 {2}\.\.\.$/gm
const ERROR = /^ *error: (?:\|-\n)?([\s\S]*?)\n *(?:code|name|stack|\.\.\.)/m

function listFailures(report: string): string[] {
  const failures = [...report.matchAll(FAILURE)].map(([, , name, detail]) => {
    const error = ERROR.exec(`${detail}...`)?.[1] ?? ''
    return `${name}: ${error.replace(/\s+/g, ' ').trim().slice(0, SAID_MAX)}`
  })
  const running = [...report.matchAll(/^# (Interrupted while running: .*)$/gm)]
  return [...failures, ...running.map(([, text]) => text ?? '')]
}

/** The files of what failed; none when that is not known of each, or the run was cut short. */
function listFailedFiles(report: string): string[] {
  if (/^# Interrupted/m.test(report)) return []
  const files = [...report.matchAll(FAILURE)].map(
    ([, , , detail]) => /^ *location: '(.*?)(?::\d+)*'$/m.exec(detail ?? '')?.[1],
  )
  return files.includes(undefined) ? [] : [...new Set(files as string[])]
}

/** Counts of a TAP report; a report that was cut short or counts nothing is a failure. */
function countTap(report: string, passed: boolean): Counts {
  const count = (word: string) => {
    const found = [...report.matchAll(new RegExp(`^# ${word} (\\d+)$`, 'gm'))].at(-1)?.[1]
    return Number(found ?? 0)
  }
  const failed = count('fail') + count('cancelled')
  const failures = listFailures(report)
  const isCut = !passed && failures.length === 0
  return {
    passed: count('pass'),
    failed: isCut ? Math.max(1, failed) : failed,
    skipped: count('skipped') + count('todo'),
    failures: isCut ? ['the run was cut short'] : failures,
    again: [],
    unjudged: [],
  }
}

interface Try {
  counts: Counts
  failedFiles: string[]
  starvation: Starvation
}

/** What fails on a starved machine is tried again, while there is time, and at most twice. */
async function runTests(files: string[], options: RunOptions): Promise<Counts> {
  if (files.length === 0) return NONE
  const watch = watchStarvation()
  try {
    const first = await runTestsOnce(files, options)
    let last = first
    for (let again = 1; again <= AGAIN_MAX && last.starvation.isStarved; again += 1) {
      const deadlineMs = options.deadlineMs - watch.readOwnMs()
      if (last.failedFiles.length === 0 || deadlineMs < WORTH_AGAIN_MS) break
      console.log(`run again, one after the other:\n  ${last.failedFiles.join('\n  ')}\n`)
      last = await runTestsOnce(last.failedFiles, { ...options, concurrency: 1, deadlineMs })
    }
    return judge(first, last)
  } finally {
    watch.end()
  }
}

/** The first try ran everything, the last one what failed before it. */
function judge(first: Try, last: Try): Counts {
  const { failed, failures } = last.counts
  const passed =
    last === first ? first.counts.passed : first.counts.passed + first.counts.failed - failed
  const counts = { ...first.counts, passed, again: last === first ? [] : first.counts.failures }
  return last.starvation.isGone
    ? { ...counts, failed: 0, failures: [], unjudged: failures }
    : { ...counts, failed, failures }
}

/** Says what the machine did where something failed. */
async function runTestsOnce(files: string[], options: RunOptions): Promise<Try> {
  const directory = mkdtempSync(join(tmpdir(), 'howdah-report-'))
  const reportFile = join(directory, 'report.tap')
  try {
    const { passed, starvation } = await runProgram(
      [
        process.execPath,
        '--test',
        `--test-concurrency=${options.concurrency}`,
        `--test-timeout=${options.testTimeoutMs}`,
        '--test-reporter=spec',
        '--test-reporter-destination=stdout',
        '--test-reporter=tap',
        `--test-reporter-destination=${reportFile}`,
        ...files,
      ],
      options.deadlineMs,
    )
    const report = readFileSync(reportFile, 'utf8')
    const counts = countTap(report, passed)
    if (!passed) console.log(`\n${counts.failures.join('\n')}\n\n${starvation.says}`)
    return { counts, failedFiles: listFailedFiles(report), starvation }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Homes of tests: whose were there before a ring are another run's. */
function findHomes(): string[] {
  return readdirSync(tmpdir())
    .map((name) => join(tmpdir(), name))
    .filter((path) => path.startsWith(TEST_HOME))
}

interface Leftover {
  pid: number
  says: string
}

/** The processes that work in a test's home or name one in their arguments. */
function findLeftovers(foreign: readonly string[]): Leftover[] {
  const found: Leftover[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim()
      const directory = readlinkSync(`/proc/${pid}/cwd`)
      const text = `${argv} ${directory}`
      if (!text.includes(TEST_HOME) || foreign.some((home) => text.includes(home))) continue
      found.push({ pid: Number(pid), says: `${pid} in ${directory}: ${argv}` })
    } catch {
      // The process ended while we read, or it is not ours to see.
    }
  }
  return found
}

/** What a ring left behind, once what was about to end had the time to. */
async function awaitLeftovers(foreign: readonly string[]): Promise<Leftover[]> {
  const deadlineMs = Date.now() + LEFTOVER_WAIT_MS
  for (;;) {
    const left = findLeftovers(foreign)
    if (left.length === 0 || Date.now() > deadlineMs) return left
    await delay(100)
  }
}

/** Ends what a run left that was cut short; supervisors start again what is ended before them. */
async function endLeftovers(foreign: readonly string[]): Promise<void> {
  const deadlineMs = Date.now() + KILL_AFTER_MS
  for (;;) {
    const left = findLeftovers(foreign)
    if (left.length === 0 || Date.now() > deadlineMs) return
    for (const { pid } of left) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It ended by itself.
      }
    }
    await delay(100)
  }
}

function pickFiles(pattern: string | string[], only: string | undefined): string[] {
  const files = globSync(pattern, { cwd: ROOT, exclude: (path) => path.includes('node_modules') })
  return files.filter((path) => only === undefined || path.includes(only)).sort()
}

async function runShape(only: string | undefined, deadlineMs: number): Promise<Counts> {
  const tidy = pickFiles('test/tidy.test.ts', only)
  const tidyOptions = { concurrency: 1, testTimeoutMs: 60_000, deadlineMs }
  if (only !== undefined) return runTests(tidy, tidyOptions)
  const types = await runCheck([join(BIN, 'tsc'), '--noEmit'], deadlineMs)
  const style = await runCheck([process.execPath, 'scripts/biome.ts', 'check', '.'], deadlineMs)
  return [types, style, await runTests(tidy, tidyOptions)].reduce(sum)
}

// A whole run takes less than 20 minutes on two quiet cores. The deadlines are for what hangs; on a
// machine that is shared they come up to three times as late (starvation.ts).
function ringsFor(only: string | undefined): Ring[] {
  return [
    {
      name: 'shape',
      says: 'types, format, layout',
      deadlineMs: 180_000,
      run: (deadlineMs) => runShape(only, deadlineMs),
    },
    {
      name: 'unit',
      says: 'one workspace at a time, with real programs',
      deadlineMs: 540_000,
      run: (deadlineMs) =>
        runTests(
          pickFiles(
            ['{core,agent,control-plane,cli}/src/**/*.test.ts', 'test/harness/*.test.ts'],
            only,
          ),
          {
            concurrency: 2,
            testTimeoutMs: 180_000,
            deadlineMs,
          },
        ),
    },
    {
      name: 'real',
      says: 'whole platforms, one after the other',
      deadlineMs: 1_800_000,
      run: (deadlineMs) =>
        runTests(pickFiles('test/e2e/*.test.ts', only), {
          concurrency: 1,
          testTimeoutMs: 900_000,
          deadlineMs,
        }),
    },
  ]
}

async function runRing(ring: Ring): Promise<{ counts: Counts; isTaken: boolean }> {
  console.log(`\n== ${ring.name}: ${ring.says}`)
  const foreign = findHomes()
  const startedMs = performance.now()
  const watch = watchStarvation()
  const counts = await ring.run(ring.deadlineMs)
  const { isTaken } = watch.end()
  const left = await awaitLeftovers(foreign)
  const shown = left.slice(0, LEFT_SHOWN_MAX).map(({ says }) => says.slice(0, SAID_MAX))
  if (left.length > 0) console.log(`left behind by ${ring.name}:\n  ${shown.join('\n  ')}`)
  const isExcused = counts.unjudged.length > 0
  if (isExcused) await endLeftovers(foreign)
  const failures = left.length > 0 && !isExcused ? [`left behind: ${left.length} processes`] : []
  const total = sum(counts, { ...NONE, failed: failures.length, failures })
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  console.log(`-- ${ring.name}: ${say(total)} in ${seconds} s`)
  return { counts: total, isTaken }
}

const say = ({ passed, failed, skipped }: Counts) =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { ring: { type: 'string' }, only: { type: 'string' } } })
  const names = values.ring === 'fast' ? ['shape', 'unit'] : values.ring?.split(',')
  const rings = ringsFor(values.only).filter(({ name }) => names?.includes(name) ?? true)
  if (rings.length === 0) {
    console.log('--ring is fast, shape, unit or real')
    return 2
  }
  let total = NONE
  let isMachineTaken = false
  for (const ring of rings) {
    if (isMachineTaken && ring.name === 'real') {
      total = sum(total, { ...NONE, unjudged: [`${ring.says}: not tried at all`] })
      break
    }
    const { counts, isTaken } = await runRing(ring)
    isMachineTaken = isTaken
    total = sum(total, counts)
    if (total.failed > 0) break
  }
  const nothing = total.passed + total.failed === 0
  if (nothing) console.log(`\nno test file has "${values.only}" in its path`)
  if (total.again.length > 0) {
    console.log(`\nfailed at first, on a starved machine:\n  ${total.again.join('\n  ')}`)
  }
  if (total.unjudged.length > 0) {
    console.log(`\nnot judged, as most of the machine was gone:\n  ${total.unjudged.join('\n  ')}`)
  }
  if (total.failures.length > 0) console.log(`\nfailed:\n  ${total.failures.join('\n  ')}`)
  console.log(`\n${say(total)}`)
  return total.failed > 0 || nothing ? 1 : 0
}

process.exitCode = await main()
