// Runs a bench: `npm run bench -- <name> [--rounds N] [--out FILE]`. Every bench starts what it
// needs, writes raw rows as JSON lines, prints medians, and leaves no process and no directory
// behind.
import { parseArgs } from 'node:util'
import { benchDataPath } from './data-path/data-path.ts'
import { benchFailures, FAILURE_TRIALS } from './failures/failures.ts'
import { benchProvision } from './provision/provision.ts'
import { openResults, type Results } from './results.ts'

/** Peers have 127.68.0.10 and up, whatever ours has. */
const SUBNET = '127.67.0'

interface BenchOptions {
  subnet: string
  rounds: number
  peerRounds: number
  freshStarts: number
}

interface Bench {
  describe: string
  defaults: Partial<BenchOptions>
  run(results: Results, options: BenchOptions): Promise<void>
}

function failureBench(name: string, describe: string): Bench {
  const trials = FAILURE_TRIALS[name] ?? []
  const defaults = { rounds: 30, peerRounds: 10 }
  return { describe, defaults, run: (results, options) => benchFailures(results, options, trials) }
}

const BENCHES: Readonly<Record<string, Bench>> = {
  provision: {
    describe: 'cluster create against initdb + two base backups, and against scripted Patroni',
    defaults: { rounds: 10, freshStarts: 5 },
    run: benchProvision,
  },
  switchover: failureBench(
    'switchover',
    'a planned change of leader under 16 clients: failed transactions, longest stall',
  ),
  crash: failureBench('crash', 'SIGKILL to the leader: the gap that a client sees'),
  reroute: failureBench('reroute', 'from a new leader that writes to a client that is with it'),
  failures: failureBench('failures', 'switchover, crash and reroute in one run'),
  'data-path': {
    describe: 'processor time per transaction between client and PostgreSQL',
    defaults: { rounds: 10 },
    run: benchDataPath,
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

// A run that is interrupted ends with its next row, so that everything it started is stopped in
// good order.
const interruption = new AbortController()
process.once('SIGINT', () => interruption.abort(new Error('interrupted')))
process.once('SIGTERM', () => interruption.abort(new Error('terminated')))

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    'peer-rounds': { type: 'string' },
    'fresh-starts': { type: 'string' },
    subnet: { type: 'string' },
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
  const results = openResults(name, interruption.signal, values.out)
  console.log(`rows go to ${results.path}; other work on this machine shows as its load average`)
  const rounds = count(values.rounds, defaults.rounds ?? 10)
  await bench.run(results, {
    subnet: values.subnet ?? SUBNET,
    rounds,
    peerRounds: count(values['peer-rounds'], defaults.peerRounds ?? rounds),
    freshStarts: count(values['fresh-starts'], defaults.freshStarts ?? 0),
  })
}
