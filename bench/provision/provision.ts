// Owns the bench of creation: ours on a running platform, with the spare data directories that its
// agents make and without, the bare sum of what PostgreSQL alone needs, and a plain scripted
// Patroni, in turn; then first starts, and the memory of an idle platform.
import { startPlatform, type TestPlatform } from '../../test/harness/platform.ts'
import { type BenchUser, findBenchUser } from '../background-process.ts'
import { type PeerDcs, type PeerPlace, startPeerDcs } from '../peers/patroni-cluster.ts'
import { SEEDS_PEER } from '../peers/peer-settings.ts'
import type { Results } from '../results.ts'
import { median, pairedRatio, percentile } from '../statistics.ts'
import { makeWorkDirectory, type WorkDirectory } from '../work-directory.ts'
import { runBareSum } from './bare-sum.ts'
import { runCreateCluster } from './create-cluster.ts'
import { runFreshStart } from './fresh-start.ts'
import { readIdleMemory } from './idle-memory.ts'
import { runScriptedPatroni } from './scripted-patroni.ts'
import { removeSpares, waitSpares } from './spares.ts'

export interface ProvisionOptions {
  subnet: string
  rounds: number
  freshStarts: number
}

interface Field {
  platform: TestPlatform
  user: BenchUser
  work: WorkDirectory
  place: PeerPlace
  dcs: PeerDcs
  results: Results
}

type Subject = 'ours' | 'ours-no-spare' | 'bare' | 'patroni'

/** A-B-C-D and D-C-B-A in turn: what drifts over the run meets each subject alike. */
const ORDERS: readonly (readonly Subject[])[] = [
  ['ours', 'bare', 'ours-no-spare', 'patroni'],
  ['patroni', 'ours-no-spare', 'bare', 'ours'],
]

export async function benchProvision(results: Results, options: ProvisionOptions): Promise<void> {
  if (options.rounds > 0) await benchCreation(results, options)
  for (let round = 1; round <= options.freshStarts; round += 1) {
    results.row({ subject: 'fresh-start', round, ...(await runFreshStart(options.subnet)) })
  }
  summarize(results)
}

async function benchCreation(results: Results, options: ProvisionOptions): Promise<void> {
  await using platform = await startPlatform({
    subnet: options.subnet,
    environment: { HOWDAH_SPARES: 'on' },
  })
  results.note('idle-memory', readIdleMemory(platform.home))
  const user = await findBenchUser()
  await using work = await makeWorkDirectory(user, 'provision')
  const place = { user, directory: work.path, firstAddress: 40 }
  const dcs = await startPeerDcs(place)
  const field = { platform, user, work, place, dcs, results }
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const subject of ORDERS[(round - 1) % ORDERS.length] ?? []) {
      await runTrial(field, subject, round)
    }
  }
}

async function runTrial(field: Field, subject: Subject, round: number): Promise<void> {
  const { platform, user, work, place, dcs, results } = field
  await waitSpares(platform.home)
  if (subject === 'ours' || subject === 'ours-no-spare') {
    if (subject === 'ours-no-spare') await removeSpares(platform.home)
    results.row({ subject, round, ...(await runCreateCluster(platform, `${subject}-${round}`)) })
  } else if (subject === 'bare') {
    results.row({ subject, round, ...(await runBareSum(user, work.path)) })
  } else {
    const { dynamic } = SEEDS_PEER
    const result = await runScriptedPatroni(place, dcs, `round${round}`, dynamic)
    const { exampleFile, ...times } = result
    if (round === 1) results.note('peer-patroni.yml', exampleFile)
    results.row({ subject, round, ...times })
  }
}

function summarize(results: Results): void {
  const of = (subject: string) => results.numbers(subject, 'totalMs')
  const spread = (subject: string) => ({
    rounds: of(subject).length,
    medianMs: Math.round(median(of(subject))),
    p95Ms: Math.round(percentile(of(subject), 0.95)),
  })
  const summary = {
    ours: spread('ours'),
    oursWithoutSpare: spread('ours-no-spare'),
    oursFirstWriteMedianMs: Math.round(median(results.numbers('ours', 'firstWriteMs'))),
    bare: spread('bare'),
    patroni: spread('patroni'),
    freshStart: spread('fresh-start'),
    oursOverBare: pairedRatio(of('ours'), of('bare')),
    oursWithoutSpareOverBare: pairedRatio(of('ours-no-spare'), of('bare')),
    patroniOverOurs: pairedRatio(of('patroni'), of('ours')),
  }
  results.summary(summary)
}
