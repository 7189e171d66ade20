// Runs a bench: `npm run bench -- <name> [--rounds N] [--out FILE]`. Every bench starts what it
// needs, writes raw rows as JSON lines, prints medians, and leaves no process and no directory
// behind.
import { parseArgs } from 'node:util'
import { benchProvision } from './provision/provision.ts'
import { openResults, type Results } from './results.ts'

interface BenchOptions {
  rounds: number
  peerRounds: number
  freshStarts: number
}

interface Bench {
  describe: string
  defaults: Partial<BenchOptions>
  run(results: Results, options: BenchOptions): Promise<void>
}

const BENCHES: Readonly<Record<string, Bench>> = {
  provision: {
    describe: 'cluster create against initdb + two base backups, and against scripted Patroni',
    defaults: { rounds: 10, freshStarts: 5 },
    run: benchProvision,
  },
}

function usage(): string {
  const benches = Object.entries(BENCHES).map(
    ([name, bench]) => `  ${name.padEnd(12)} ${bench.describe}`,
  )
  return ['usage: npm run bench -- <name> [--rounds N] [--out FILE]', ...benches].join('\n')
}

function count(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > 1000) {
    throw new Error(`${text} is not a count from 0 to 1000`)
  }
  return value
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    'peer-rounds': { type: 'string' },
    'fresh-starts': { type: 'string' },
    out: { type: 'string' },
  },
})
const name = positionals[0] ?? ''
const bench = BENCHES[name]
if (bench === undefined) {
  console.error(usage())
  process.exitCode = 2
} else {
  const { defaults } = bench
  const results = openResults(name, values.out)
  console.log(`rows go to ${results.path}; other work on this machine shows as its load average`)
  const rounds = count(values.rounds, defaults.rounds ?? 10)
  await bench.run(results, {
    rounds,
    peerRounds: count(values['peer-rounds'], defaults.peerRounds ?? rounds),
    freshStarts: count(values['fresh-starts'], defaults.freshStarts ?? 0),
  })
}
