// Owns what the clients of the source notice of a backup: transactions per second and their time,
// before it and while it runs, with as many as the machine can do and with half of that.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { until } from '../../test/harness/until.ts'
import { cleanEnvironment } from '../background-process.ts'
import { POSTGRESQL_BINARIES } from '../peers/patroni-cluster.ts'
import type { Results } from '../results.ts'
import { median, pairedRatio } from '../statistics.ts'
import { type Field, inTurn } from './field.ts'
import { connectionArgs, type Source } from './source.ts'

interface Second {
  atMs: number
  tps: number
  latencyMs: number
}

const CLIENTS = 8
const BEFORE_SECONDS = 10
const RAMP_SECONDS = 2
const SECONDS_MAX = 1800
const LOOK_TIMEOUT_MS = 60_000

/** Its progress each second, until it is stopped. */
function startLoad(source: Source, perSecond: number | undefined) {
  const seconds: Second[] = []
  const paced = perSecond === undefined ? [] : ['-R', String(perSecond)]
  const load = ['-n', '-N', '-c', String(CLIENTS), '-T', String(SECONDS_MAX), '-P', '1', ...paced]
  const child = spawn(
    join(POSTGRESQL_BINARIES, 'pgbench'),
    [...connectionArgs(source), ...load, 'postgres'],
    {
      cwd: '/',
      env: cleanEnvironment('/'),
      stdio: ['ignore', 'ignore', 'pipe'],
      // A session of its own, as Linux shares processors between sessions.
      detached: true,
      uid: source.user.uid,
      gid: source.user.gid,
    },
  )
  const ended = once(child, 'exit')
  createInterface({ input: child.stderr }).on('line', (line) => {
    const match = /progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms/.exec(line)
    if (match === null) return
    const [tps, latencyMs] = [Number(match[1]), Number(match[2])]
    seconds.push({ atMs: performance.now(), tps, latencyMs })
  })
  return {
    seconds,
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

async function during(source: Source, perSecond: number | undefined, work: () => Promise<unknown>) {
  const load = startLoad(source, perSecond)
  try {
    await until('the load to be even', LOOK_TIMEOUT_MS, () => {
      const { length } = load.seconds
      return length >= RAMP_SECONDS + BEFORE_SECONDS ? { value: true } : { seen: `${length} s` }
    })
    const before = load.seconds.slice(RAMP_SECONDS)
    const startedMs = performance.now()
    await work()
    const ms = Math.round(performance.now() - startedMs)
    // A second that began before the work did is not one of it.
    const meanwhile = load.seconds.filter(({ atMs }) => atMs >= startedMs + 1000)
    return { ms, before: describe(before), meanwhile: describe(meanwhile) }
  } finally {
    await load.stop()
  }
}

function describe(seconds: readonly Second[]) {
  return {
    seconds: seconds.length,
    tps: Math.round(median(seconds.map(({ tps }) => tps))),
    latencyMs: Math.round(median(seconds.map(({ latencyMs }) => latencyMs)) * 100) / 100,
  }
}

/**
 * The store runs in this process, and is another machine for a platform: here it takes what is left
 * of the processors. Without the kernel's groups of processes it is a full rival of the source.
 */
async function withLowWeight(results: Results, work: () => Promise<void>): Promise<void> {
  const weigh = (nice: number) =>
    writeFile('/proc/self/autogroup', String(nice)).then(
      () => true,
      () => false,
    )
  results.note('store', { hasLowWeight: await weigh(19) })
  try {
    await work()
  } finally {
    await weigh(0)
  }
}

export async function measureRates(field: Field, round: number): Promise<void> {
  await withLowWeight(field.results, () => measureRound(field, round))
}

async function measureRound(field: Field, round: number): Promise<void> {
  const { ours, seeds, source, results } = field
  const works = [
    ['ours', () => ours.backUp('full')],
    ['seeds', () => seeds.backUp(`seeds/rate-${round}.tar.gz`)],
  ] as const
  let most = 0
  for (const load of ['most', 'half'] as const) {
    const perSecond = load === 'half' ? Math.round(most / 2) : undefined
    for (const [name, work] of inTurn(works, round)) {
      const { ms, before, meanwhile } = await during(source, perSecond, work)
      if (load === 'most') most = Math.max(most, before.tps)
      const told = {
        ms,
        beforeTps: before.tps,
        meanwhileTps: meanwhile.tps,
        beforeLatencyMs: before.latencyMs,
        meanwhileLatencyMs: meanwhile.latencyMs,
        seconds: meanwhile.seconds,
      }
      results.row({ subject: `rate-${load}-${name}`, round, ...told })
    }
  }
}

export function summarizeRates(results: Results): void {
  const subjects = ['most', 'half'].flatMap((load) => [`rate-${load}-ours`, `rate-${load}-seeds`])
  const summary = subjects.map((subject) => {
    const of = (name: string) => results.numbers(subject, name)
    return {
      subject,
      rounds: of('ms').length,
      beforeTps: median(of('beforeTps')),
      meanwhileTps: median(of('meanwhileTps')),
      share: pairedRatio(of('meanwhileTps'), of('beforeTps')),
      latencyRatio: pairedRatio(of('meanwhileLatencyMs'), of('beforeLatencyMs')),
    }
  })
  results.summary(summary, 'rate')
}
