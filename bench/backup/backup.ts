// Owns `bench -- backup`: a full backup to a store against the seeds' stream into the same store,
// in turn; an incremental one after one row in a hundred has changed; and what the clients of the
// source notice of a backup.
import type { Results } from '../results.ts'
import { median, pairedRatio } from '../statistics.ts'
import {
  archiveTo,
  type BackupBenchOptions,
  type Field,
  inTurn,
  measured,
  openField,
  perSecond,
} from './field.ts'
import type { OurRepository } from './ours.ts'
import { measureRates, summarizeRates } from './rate.ts'
import { changeOnePercent } from './source.ts'

const KINDS = ['full', 'incremental', 'rate'] as const
const MORE_PROCESSES = 4

export async function benchBackup(results: Results, options: BackupBenchOptions): Promise<void> {
  const kinds = options.kinds ?? KINDS
  const unknown = kinds.find((kind) => !KINDS.some((known) => known === kind))
  if (unknown !== undefined) throw new Error(`no kind ${unknown}; there are ${KINDS.join(', ')}`)
  await using field = await openField(results, options)
  const { ours, directory } = field
  if (kinds.includes('full')) {
    await archiveTo(field, [ours, directory])
    for (let round = 1; round <= options.rounds; round += 1) await fullRound(field, round)
    summarizeFull(results)
  }
  await archiveTo(field, [ours])
  if (kinds.includes('incremental')) {
    for (let round = 1; round <= options.rounds; round += 1) await incrementalRound(field, round)
    summarizeIncremental(results)
  }
  if (kinds.includes('rate')) {
    for (let round = 1; round <= options.rounds; round += 1) await measureRates(field, round)
    summarizeRates(results)
  }
}

async function fullRound(field: Field, round: number): Promise<void> {
  const { ours, directory, seeds, results } = field
  const subjects: [string, () => Promise<object>][] = [
    [
      'seeds',
      async () => {
        const name = `seeds/${round}.tar.gz`
        const { value, ms, storeShare } = await measured(() => seeds.backUp(name))
        return { ms, storedBytes: value, storeShare }
      },
    ],
    ['ours', () => backUpOurs(ours, 'full')],
    // Whether it is the way to the store that it waits for.
    ['ours-more', () => backUpOurs(ours, 'full', MORE_PROCESSES)],
    ['ours-directory', () => backUpOurs(directory, 'full')],
  ]
  for (const [subject, work] of inTurn(subjects, round)) {
    results.row({ subject, round, ...(await work()) })
  }
}

async function backUpOurs(repository: OurRepository, type: 'full' | 'incr', processes?: number) {
  const { value, ms, storeShare } = await measured(() => repository.backUp(type, processes))
  const { read_bytes: readBytes, repository_bytes: storedBytes } = value.info
  return { ms, storedBytes, readBytes, mbPerSecond: perSecond(readBytes, ms), storeShare }
}

async function incrementalRound({ source, ours, results }: Field, round: number): Promise<void> {
  for (const which of ['newest', 'scattered'] as const) {
    const full = await backUpOurs(ours, 'full')
    results.row({ subject: `full-before-${which}`, round, ...full })
    await changeOnePercent(source, which)
    results.row({ subject: which, round, ...(await backUpOurs(ours, 'incr')) })
  }
}

function summarizeFull(results: Results): void {
  const of = (subject: string, field: string) => results.numbers(subject, field)
  const summary = {
    rounds: of('ours', 'ms').length,
    oursMs: median(of('ours', 'ms')),
    oursMoreMs: median(of('ours-more', 'ms')),
    oursDirectoryMs: median(of('ours-directory', 'ms')),
    seedsMs: median(of('seeds', 'ms')),
    oursBytes: median(of('ours', 'storedBytes')),
    seedsBytes: median(of('seeds', 'storedBytes')),
    oursStoreShare: median(of('ours', 'storeShare')),
    seedsOverOurs: pairedRatio(of('seeds', 'ms'), of('ours', 'ms')),
    seedsOverOursMore: pairedRatio(of('seeds', 'ms'), of('ours-more', 'ms')),
    seedsOverOursDirectory: pairedRatio(of('seeds', 'ms'), of('ours-directory', 'ms')),
    seedsOverOursBytes: pairedRatio(of('seeds', 'storedBytes'), of('ours', 'storedBytes')),
  }
  results.summary(summary, 'full')
}

function summarizeIncremental(results: Results): void {
  const summary = (['newest', 'scattered'] as const).map((which) => {
    const of = (subject: string, field: string) => results.numbers(subject, field)
    return {
      which,
      rounds: of(which, 'ms').length,
      ms: median(of(which, 'ms')),
      bytes: median(of(which, 'storedBytes')),
      ofFullMs: pairedRatio(of(which, 'ms'), of(`full-before-${which}`, 'ms')),
      ofFullBytes: pairedRatio(of(which, 'storedBytes'), of(`full-before-${which}`, 'storedBytes')),
    }
  })
  results.summary(summary, 'incremental')
}
