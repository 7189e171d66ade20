// Owns the bench of the way in: processor time per transaction of everything between client and
// PostgreSQL, ours against HAProxy in front of PgBouncer. Throughput on a shared machine says
// little; time used per transaction does.
import { findBenchUser } from '../background-process.ts'
import { startOurStack } from '../our-stack.ts'
import { SEEDS_PEER } from '../peers/peer-settings.ts'
import { startPeerStack } from '../peers/peer-stack.ts'
import type { Results } from '../results.ts'
import type { Stack } from '../stack.ts'
import { median, pairedRatio } from '../statistics.ts'
import { makeWorkDirectory } from '../work-directory.ts'
import { runPgbench } from './pgbench.ts'
import { readProcessorTimeUs } from './processor-time.ts'

export interface DataPathOptions {
  subnet: string
  rounds: number
}

interface Workload {
  name: string
  args: readonly string[]
}

const SECONDS = 3
const CLIENTS = 8
const WORKLOADS: readonly Workload[] = [
  { name: 'read', args: ['-S'] },
  { name: 'write', args: ['-N'] },
]
/** Ours speaks TLS on every hop; the peer as its source has it, and again with TLS. */
const PLAIN = { ...SEEDS_PEER, firstAddress: 60 }
const WITH_TLS = { ...SEEDS_PEER, name: 'seeds-tls', firstAddress: 50 }

export async function benchDataPath(results: Results, options: DataPathOptions): Promise<void> {
  await using stacks = new AsyncDisposableStack()
  const user = await findBenchUser()
  const ours = stacks.use(await startOurStack({ subnet: options.subnet }))
  const plain = stacks.use(await startPeerStack({ settings: PLAIN, user }))
  const encrypted = stacks.use(await startPeerStack({ settings: WITH_TLS, user, tls: true }))
  const work = stacks.use(await makeWorkDirectory(user, 'data-path'))
  const all = [ours, plain, encrypted]
  for (const stack of all) {
    results.note(`configuration of ${stack.name}`, stack.configuration())
    await runPgbench(stack.write, work.path, ['-i', '-q', '-s', '5'], 120_000)
  }
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const stack of round % 2 === 1 ? all : all.toReversed()) {
      for (const workload of WORKLOADS) {
        results.row({ ...(await measure(stack, workload, work.path)), round })
      }
    }
  }
  summarize(results)
}

async function measure(stack: Stack, workload: Workload, directory: string) {
  const pids = stack.gatewayPids()
  if (pids.length === 0) throw new Error(`BUG: ${stack.name} has no gateway`)
  const beforeUs = readProcessorTimeUs(pids)
  const args = [...workload.args, '-n', '-c', String(CLIENTS), '-T', String(SECONDS)]
  const result = await runPgbench(stack.write, directory, args, 60_000)
  const usedUs = readProcessorTimeUs(pids) - beforeUs
  return {
    subject: `${stack.name}/${workload.name}`,
    ...result,
    processorUs: Math.round((usedUs / Math.max(1, result.transactions)) * 100) / 100,
  }
}

function summarize(results: Results): void {
  const of = (stack: string, workload: string) =>
    results.numbers(`${stack}/${workload}`, 'processorUs')
  const summary = WORKLOADS.map(({ name }) => ({
    workload: name,
    rounds: of('ours', name).length,
    oursUs: median(of('ours', name)),
    seedsUs: median(of('seeds', name)),
    seedsTlsUs: median(of('seeds-tls', name)),
    oursOverSeeds: pairedRatio(of('ours', name), of('seeds', name)),
    oursOverSeedsTls: pairedRatio(of('ours', name), of('seeds-tls', name)),
  }))
  results.summary(summary)
}
