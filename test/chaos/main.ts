// Owns `npm run chaos`: rounds of random faults under load, each checked; ends with a summary and, where anything
// was lost, doubled or did not come back, with exit code 1. The same seed chooses the same faults.
import { cp, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Durability } from '@howdah/core/contract/clusters.ts'
import { faultsOf, findFault } from '../harness/faults.ts'
import type { Fault } from '../harness/faults.ts'
import type { Stage } from '../harness/faults-stage.ts'
import { makeRandom } from '../harness/workload.ts'
import { formatRound, type RoundReport, runRound } from './round.ts'
import { openStage } from './stage.ts'
import { formatSummary } from './summary.ts'

const USAGE = `npm run chaos -- [--rounds N] [--seed S] [--faults a,b] [--report FILE]
  [--logs DIRECTORY] [--stage namespaces|loopback] [--durability strict|sync|async] [--sensitivity fast|balanced|patient]
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
  return { ...values, rounds, seed }
}

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

async function runRounds(
  stage: Stage,
  options: ReturnType<typeof readOptions>,
  isStopping: () => boolean,
): Promise<RoundReport[]> {
  const cluster = await stage.platform.createCluster('chaos', {
    instances: 3,
    durability: options.durability as Durability,
    sensitivity: options.sensitivity as 'balanced',
  })
  const named = options.faults?.split(',').map(findFault)
  const choices = chooseFaults(named ?? faultsOf(stage), makeRandom(options.seed))
  const reports: RoundReport[] = []
  for (const fault of choices) {
    if (reports.length >= options.rounds || isStopping()) break
    const number = reports.length + 1
    const seed = options.seed * 10_000 + number
    const report = await runRound({ stage, cluster, fault, number, seed }).catch((error: Error) => {
      say(`${String(number).padStart(4)}  ${fault.name} (seed ${seed}) could not be finished`)
      throw error
    })
    reports.push(report)
    say(formatRound(report))
    if (options.report !== undefined) await writeReport(options.report, reports)
  }
  return reports
}

/** After every round: a run that is cut short leaves what it had. */
async function writeReport(path: string, reports: readonly RoundReport[]): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(reports, null, 2)}\n`)
  await rename(`${path}.new`, path)
}

/** Of every host, and of the control plane: the stage and all that is in it are removed at the end. */
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
      say(stopping ? 'ending already' : 'ending after this round')
      stopping = true
    })
  }
  say(`seed ${options.seed}, ${options.rounds} rounds, durability ${options.durability}`)
  await using stage = await openStage(options.stage, say)
  const reports = await runRounds(stage, options, () => stopping).catch(async (error: Error) => {
    say(`${error.stack}\n${await stage.platform.explain()}`)
    return undefined
  })
  if (options.logs !== undefined) await keepLogs(stage, options.logs)
  if (reports === undefined) return 1
  say(formatSummary(reports))
  return reports.some(({ problems }) => problems.length > 0) ? 1 : 0
}

process.exitCode = await main()
