// Runs a bench: `npm run bench -- <name> [options]`; `--help` lists both. Every bench starts what
// it needs, writes raw rows as JSON lines, prints medians, and leaves no process and no directory
// behind.
import { parseArgs } from 'node:util'
import { SENSITIVITIES, type Sensitivity } from '@howdah/core/host-spec.ts'
import { benchBackup } from './backup/backup.ts'
import { benchPitr } from './backup/pitr.ts'
import { benchRestore } from './backup/restore.ts'
import { benchDataPath } from './data-path/data-path.ts'
import { benchFailures, FAILURE_TRIALS } from './failures/failures.ts'
import { benchProvision } from './provision/provision.ts'
import { openResults, type Results } from './results.ts'

/** Peers have 127.68.0.10 and up, whatever ours has. */
const SUBNET = '127.67.0'
const SIZE_MB = 2048

interface BenchOptions {
  subnet: string
  rounds: number
  peerRounds: number
  freshStarts: number
  size: number
  sensitivity: Sensitivity | undefined
  kinds: readonly string[] | undefined
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
  restart: failureBench(
    'restart',
    'a rolling restart of three instances under 16 clients: failed transactions, stalls',
  ),
  crash: failureBench('crash', 'SIGKILL to the leader: the gap that a client sees'),
  reroute: failureBench('reroute', 'from a new leader that writes to a client that is with it'),
  failures: failureBench('failures', 'switchover, restart, crash and reroute in one run'),
  'host-loss': failureBench(
    'host-loss',
    "the leader's host goes, refusing or black-holed (root): gap, lost rows, overlap of leaders",
  ),
  'data-path': {
    describe: 'processor time per transaction between client and PostgreSQL',
    defaults: { rounds: 10 },
    run: benchDataPath,
  },
  backup: {
    describe: 'full to S3 against `pg_basebackup | upload`, incremental, the rate of the source',
    defaults: { rounds: 3 },
    run: benchBackup,
  },
  restore: {
    describe: 'out of S3 against `download | tar xz`',
    defaults: { rounds: 5 },
    run: benchRestore,
  },
  pitr: {
    describe: 'replay with WAL fetched ahead, one after the other, and from pg_wal',
    defaults: { rounds: 5 },
    run: benchPitr,
  },
}

const OPTIONS = [
  ['--rounds N', 'trials of ours, of each kind'],
  ['--peer-rounds N', 'trials of each peer, of each kind; 0 starts no peer'],
  ['--kinds A,B', 'only these kinds of trials, e.g. refusing,black-holed'],
  ['--sensitivity S', `of our cluster in benches of failures: ${SENSITIVITIES.join(', ')}`],
  ['--fresh-starts N', 'of provision: first starts of a whole platform'],
  ['--size MB', `of backup, restore and pitr: how much data; ${SIZE_MB} unless given`],
  ['--subnet A.B.C', `of our hosts; ${SUBNET} unless given`],
  ['--out FILE', 'where rows go; bench/results/<name>-<today>.jsonl unless given'],
] as const

function usage(): string {
  const benches = Object.entries(BENCHES).map(([name, { describe, defaults }]) => {
    const rounds = [defaults.rounds, defaults.peerRounds].filter((value) => value !== undefined)
    return `  ${name.padEnd(16)} ${describe}; rounds: ${rounds.join(', of a peer ')}`
  })
  const options = OPTIONS.map(([option, says]) => `  ${option.padEnd(16)} ${says}`)
  return ['usage: npm run bench -- <name> [options]', '', ...benches, '', ...options].join('\n')
}

function parseSensitivity(text: string | undefined): Sensitivity | undefined {
  const found = SENSITIVITIES.find((sensitivity) => sensitivity === text)
  if (text === undefined || found !== undefined) return found
  throw new Error(`${text} is no sensitivity; there are ${SENSITIVITIES.join(', ')}`)
}

function count(text: string | undefined, otherwise: number, max = 1000): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new Error(`${text} is not a count from 0 to ${max}`)
  }
  return value
}

// A run that is interrupted ends with its next row, so that everything it started is stopped in
// good order.
const interruption = new AbortController()
process.once('SIGINT', () => interruption.abort(new Error('interrupted')))
process.once('SIGTERM', () => interruption.abort(new Error('terminated')))
process.once('SIGHUP', () => interruption.abort(new Error('hung up')))

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    'peer-rounds': { type: 'string' },
    'fresh-starts': { type: 'string' },
    size: { type: 'string' },
    subnet: { type: 'string' },
    sensitivity: { type: 'string' },
    kinds: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
    out: { type: 'string' },
  },
})
const name = positionals[0] ?? ''
const bench = BENCHES[name]
if (values.help === true) {
  console.log(usage())
} else if (bench === undefined) {
  console.error(usage())
  process.exitCode = 2
} else {
  const { defaults } = bench
  const sensitivity = parseSensitivity(values.sensitivity)
  const results = openResults(name, interruption.signal, values.out)
  console.log(`rows go to ${results.path}; other work on this machine shows as its load average`)
  const rounds = count(values.rounds, defaults.rounds ?? 10)
  await bench.run(results, {
    subnet: values.subnet ?? SUBNET,
    rounds,
    peerRounds: count(values['peer-rounds'], defaults.peerRounds ?? rounds),
    freshStarts: count(values['fresh-starts'], defaults.freshStarts ?? 0),
    size: count(values.size, SIZE_MB, 1_000_000),
    sensitivity,
    kinds: values.kinds?.split(','),
  })
}
