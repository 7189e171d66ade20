// Owns the summary of a bench of failures: each subject's median and p95 of one field, and each
// peer's as a multiple of ours with its bootstrap interval.
import { PEERS } from '../peers/peer-settings.ts'
import type { Results } from '../results.ts'
import { median, percentile, ratioOfMedians } from '../statistics.ts'

export function summarizeFailures(results: Results, kind: string, field: string): void {
  const sum = (name: string, what: string) =>
    results.numbers(`${name}/${kind}`, what).reduce((total, value) => total + value, 0)
  const ours = results.numbers(`ours/${kind}`, field)
  const subjects = ['ours', ...PEERS.map(({ name }) => name)]
  const summary = subjects.flatMap((name) => {
    const values = results.numbers(`${name}/${kind}`, field)
    if (values.length === 0) return []
    return [
      {
        kind,
        subject: name,
        trials: values.length,
        // Broken ones and those that did not see it: a percentile of the rest is too kind.
        without: results.numbers(`${name}/${kind}`, 'round').length - values.length,
        field,
        median: Math.round(median(values)),
        p95: Math.round(percentile(values, 0.95)),
        worst: Math.round(Math.max(...values)),
        committed: sum(name, 'committed') + sum(name, 'acknowledged'),
        failed: sum(name, 'failed'),
        lost: sum(name, 'lost'),
        ...(name === 'ours' || median(ours) === 0
          ? {}
          : { timesOurs: ratioOfMedians(values, ours) }),
      },
    ]
  })
  results.summary(summary)
}
