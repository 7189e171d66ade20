// Owns `bench -- restore`: a backup copied out of the store into an empty directory against the
// seeds' `download | tar xz` of theirs, in turn.
import { join } from 'node:path'
import { runAs } from '../background-process.ts'
import type { Results } from '../results.ts'
import { median, pairedRatio } from '../statistics.ts'
import {
  archiveTo,
  type BackupBenchOptions,
  type Field,
  inTurn,
  measured,
  openField,
} from './field.ts'

const OBJECT = 'seeds/restore.tar.gz'

export async function benchRestore(results: Results, options: BackupBenchOptions): Promise<void> {
  await using field = await openField(results, options)
  const { ours, directory, seeds } = field
  await archiveTo(field, [ours, directory])
  const labels = new Map<unknown, string>()
  for (const one of [ours, directory]) labels.set(one, (await one.backUp('full')).label)
  await seeds.backUp(OBJECT)
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const subject of inTurn(['seeds', ours, directory] as const, round)) {
      const [name, work] =
        subject === 'seeds'
          ? ['seeds', () => seeds.restore(OBJECT, join(field.rootPath, 'data/restored/pgdata'))]
          : [subject.name, () => subject.restore(labels.get(subject) ?? '', 'restored')]
      const { ms, storeShare } = await measured<unknown>(work)
      const syncMs = await syncRestored(field)
      const bytes = await sizeOf(field)
      results.row({ subject: name, round, ms, syncMs, durableMs: ms + syncMs, storeShare, bytes })
    }
  }
  summarize(results)
}

/** What is only in memory is lost with the power: ours has synced each file by then. */
async function syncRestored({ user, rootPath }: Field): Promise<number> {
  const startedMs = performance.now()
  await runAs(user, '/', '/usr/bin/sync', ['-f', join(rootPath, 'data/restored')])
  return Math.round(performance.now() - startedMs)
}

/** That all of it is there: both sides must come to the same. */
async function sizeOf({ user, rootPath }: Field): Promise<number> {
  const path = join(rootPath, 'data/restored/pgdata/base')
  const said = await runAs(user, '/', '/usr/bin/du', ['-s', '--apparent-size', '-B1', path])
  return Number.parseInt(said, 10)
}

function summarize(results: Results): void {
  const of = (subject: string, field: string) => results.numbers(subject, field)
  const summary = {
    rounds: of('ours', 'ms').length,
    oursMs: median(of('ours', 'ms')),
    oursDirectoryMs: median(of('ours-directory', 'ms')),
    seedsMs: median(of('seeds', 'ms')),
    oursStoreShare: median(of('ours', 'storeShare')),
    seedsOverOurs: pairedRatio(of('seeds', 'ms'), of('ours', 'ms')),
    seedsOverOursDirectory: pairedRatio(of('seeds', 'ms'), of('ours-directory', 'ms')),
    seedsOverOursDurable: pairedRatio(of('seeds', 'durableMs'), of('ours', 'durableMs')),
    seedsOverOursDirectoryDurable: pairedRatio(
      of('seeds', 'durableMs'),
      of('ours-directory', 'durableMs'),
    ),
  }
  results.summary(summary)
}
