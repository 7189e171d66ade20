// Owns `npm run chaos`: rounds of random faults under load, each checked; ends with a summary and,
// where anything was lost, doubled or did not come back, with exit code 1. The same seed chooses
// the same faults.
import { cp, rename, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Durability } from '@howdah/core/contract/clusters.ts'
import type { Sensitivity } from '@howdah/core/host-spec.ts'
import type { TestCluster } from '../harness/cluster.ts'
import type { Fault } from '../harness/faults.ts'
import { FAULTS, faultsOf, findFault } from '../harness/faults.ts'
import type { Stage } from '../harness/faults-stage.ts'
import { makeRandom } from '../harness/workload.ts'
import { runBlips } from './blips.ts'
import { formatRound, type RoundReport, runRound } from './round.ts'
import { openStage } from './stage.ts'
import { formatSummary } from './summary.ts'

const USAGE = `npm run chaos -- [--rounds N] [--seed S] [--faults a,b] [--report FILE]
  [--blips MINUTES] [--logs DIRECTORY] [--stage namespaces|loopback]
  [--durability strict|sync|async] [--sensitivity fast|balanced|patient]
`

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '10' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      faults: { type: 'string' },
      report: { type: 'string' },
      logs: { type: 'string' },
      blips: { type: 'string' },
      stage: { type: 'string' },
      durability: { type: 'string', default: 'sync' },
      sensitivity: { type: 'string', default: 'balanced' },
      help: { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  const seed = Number(values.seed)
  if (values.help || !Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed)) {
    say(USAGE)
    process.exit(values.help ? 0 : 2)
  }
  const blips = values.blips === undefined ? undefined : Number(values.blips)
  return { ...values, rounds, seed, blips }
}

type Options = ReturnType<typeof readOptions>

/** Every fault comes before one comes again: chance orders them. */
function* chooseFaults(faults: readonly Fault[], random: () => number): Generator<Fault> {
  for (;;) {
    const left = [...faults]
    while (left.length > 0) {
      const [fault] = left.splice(Math.floor(random() * left.length), 1)
      if (fault !== undefined) yield fault
    }
  }
}

interface Run {
  stage: Stage
  cluster: TestCluster
  options: Options
  isStopping: () => boolean
}

/** One that is asked for and cannot be had here would be a round without a fault. */
function faultsFor(stage: Stage, asked: string | undefined): Fault[] {
  const able = faultsOf(stage)
  const wanted = asked?.split(',').map(findFault) ?? FAULTS
  const unable = wanted.filter((fault) => !able.includes(fault)).map(({ name }) => name)
  if (unable.length > 0) {
    const said = `the hosts of this stage cannot have ${unable.join(', ')}`
    if (asked !== undefined) throw new Error(said)
    say(said)
  }
  return wanted.filter((fault) => able.includes(fault))
}

/** A cluster that does not come back ends the run: the rounds before it still count. */
async function runRounds({ stage, cluster, options, isStopping }: Run): Promise<boolean> {
  const choices = chooseFaults(faultsFor(stage, options.faults), makeRandom(options.seed))
  const reports: RoundReport[] = []
  let finished = true
  for (const fault of choices) {
    if (reports.length >= options.rounds || isStopping()) break
    const number = reports.length + 1
    const seed = options.seed * 10_000 + number
    try {
      const report = await runRound({ stage, cluster, fault, number, seed })
      reports.push(report)
      say(`${formatRound(report)} · load ${(loadavg()[0] ?? 0).toFixed(0)}`)
    } catch (error) {
      say(`${number}  ${fault.name} (seed ${seed}) could not be finished: ${String(error)}`)
      say(await stage.platform.explain())
      finished = false
      break
    }
    if (options.report !== undefined) await writeReport(options.report, reports)
  }
  say(formatSummary(reports))
  return finished && reports.every(({ problems }) => problems.length === 0)
}

async function disturb(run: Run, wantedMinutes: number): Promise<boolean> {
  const { stage, cluster, options, isStopping } = run
  const told = { minutes: wantedMinutes, seed: options.seed, say, isStopping }
  const report = await runBlips(stage, cluster, told)
  const { minutes, blips, failovers, lost, overlapMs, problems } = report
  say(`${blips} blips in ${minutes} minutes: ${failovers} failovers, ${lost} lost, ${overlapMs} ms`)
  if (options.report !== undefined) await writeReport(options.report, [report])
  for (const problem of problems) say(`    PROBLEM: ${problem}`)
  return failovers === 0 && problems.length === 0
}

/** After every round: a run that is cut short leaves what it had. */
async function writeReport(path: string, reports: readonly object[]): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(reports, null, 2)}\n`)
  await rename(`${path}.new`, path)
}

/**
 * Of every host, and of the control plane: the stage and all that is in it are removed at the end.
 */
async function keepLogs(stage: Stage, directory: string): Promise<void> {
  for (const { name, root } of stage.hosts) {
    for (const part of ['log', 'agent/log']) {
      await cp(join(root, part), join(directory, name, part), { recursive: true })
    }
  }
  const log = join(stage.platform.home, 'platform/log')
  await cp(log, join(directory, 'platform'), { recursive: true })
}

async function main(): Promise<number> {
  const options = readOptions()
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      say(stopping ? 'ending already' : 'ending after what is under way')
      stopping = true
    })
  }
  say(`seed ${options.seed}, durability ${options.durability}, ${options.sensitivity}`)
  await using stage = await openStage(options.stage, say)
  const cluster = await stage.platform.createCluster('chaos', {
    instances: 3,
    durability: options.durability as Durability,
    sensitivity: options.sensitivity as Sensitivity,
  })
  const run = { stage, cluster, options, isStopping: () => stopping }
  try {
    const minutes = options.blips
    return (await (minutes === undefined ? runRounds(run) : disturb(run, minutes))) ? 0 : 1
  } finally {
    if (options.logs !== undefined) await keepLogs(stage, options.logs)
  }
}

process.exitCode = await main()
