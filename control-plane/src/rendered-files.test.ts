// Proves rendered files with the programs that will read them: HAProxy, Patroni, PgBouncer and etcd
// accept them, and Patroni's parser finds the intended tree whatever text stands in it.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { HostSpec } from '@howdah/core/host-spec.ts'
import { renderHostSpec } from '@howdah/core/render/host-spec.ts'
import type { TlsMaterial } from '@howdah/core/render/model.ts'
import { renderPatroni } from '@howdah/core/render/patroni.ts'
import { SAMPLE_OPTIONS, type SampleFleet, sampleFleet } from '@howdah/core/testing/sample-fleet.ts'
import fc from 'fast-check'
import { createAuthority, issueCertificate } from './certificates.ts'
import { HOSTILE_PIECES, hostileText } from './testing/hostile-text.ts'

const SEED = 20_250_705
const SUBNET = '127.64.1'
const LISTEN_TIMEOUT_MS = 20_000
const run = promisify(execFile)
const asRoot = process.getuid?.() === 0
const SERVICE_USER = 'postgres'
const DROP = ['setpriv', `--reuid=${SERVICE_USER}`, `--regid=${SERVICE_USER}`, '--init-groups']

let root: string
let fleet: SampleFleet
let specs: HostSpec[]

before(async () => {
  root = await mkdtemp('/tmp/howdah-test-')
  await chmod(root, 0o755)
  const authority = await createAuthority('test')
  const { keyPem, certificatePem } = await issueCertificate(
    authority,
    'test',
    [1, 2, 3, 4].map((number) => `${SUBNET}.${number}`),
    1,
  )
  const tls = (): TlsMaterial => ({ caPem: authority.certificatePem, keyPem, certificatePem })
  fleet = sampleFleet({ root, subnet: SUBNET, tls })
  specs = fleet.hosts.map((host) => renderHostSpec(host, 1, fleet.dcs, [fleet.cluster]))
  for (const [index, spec] of specs.entries())
    await writeSpec(join(root, `host-${index + 1}`), spec)
  if (asRoot) await run('chown', ['-R', `${SERVICE_USER}:`, root])
})
after(() => rm(root, { recursive: true, force: true }))

async function writeSpec(hostRoot: string, spec: HostSpec): Promise<void> {
  for (const directory of [...spec.directories, 'run', 'data']) {
    await mkdir(join(hostRoot, directory), { recursive: true, mode: 0o700 })
  }
  for (const { path, content } of spec.files) {
    await mkdir(dirname(join(hostRoot, path)), { recursive: true })
    await writeFile(join(hostRoot, path), content, { mode: 0o600 })
  }
}

function filePath(hostNumber: number, name: string): string {
  const spec = specs[hostNumber - 1] as HostSpec
  const found = spec.files.find(({ path }) => path.endsWith(`/${name}`))
  assert.ok(found, `host ${hostNumber} has no ${name}`)
  return join(root, `host-${hostNumber}`, found.path)
}

const asService = (argv: string[]): [string, string[]] => {
  const [program, ...args] = asRoot ? [...DROP, ...argv] : argv
  return [program as string, args]
}

test('HAProxy accepts haproxy.cfg without a warning', async () => {
  const { stdout, stderr } = await run('/usr/sbin/haproxy', [
    '-c',
    '-f',
    filePath(4, 'haproxy.cfg'),
  ])
  assert.match(stdout + stderr, /Configuration file is valid/)
  assert.doesNotMatch(stdout + stderr, /WARNING|ALERT/)
})

test('HAProxy refuses the same file with one word wrong: the oracle can say no', async () => {
  const wrong = join(root, 'wrong.cfg')
  await writeFile(wrong, 'global\n  no-such-keyword\n')
  await assert.rejects(run('/usr/sbin/haproxy', ['-c', '-f', wrong]), /unknown keyword/)
})

// The dcs of the sample does not run; and pg_hba is in `postgresql`, where Patroni also looks.
const EXPECTED_COMPLAINT =
  /^etcd3\.hosts\.\d \S+ didn't pass.*not reachable|^bootstrap\.pg_hba +is not/

async function validate(path: string): Promise<string[]> {
  const [program, args] = asService(['/usr/bin/patroni', '--validate-config', path])
  const options = { env: { PATH: '/usr/bin:/bin' }, cwd: '/' }
  const said = await run(program, args, options).catch(
    (error: { stdout: string; stderr: string }) => error,
  )
  const lines = `${said.stdout}${said.stderr}`.split('\n').filter((line) => line !== '')
  return lines.filter((line) => !EXPECTED_COMPLAINT.test(line))
}

test('Patroni accepts patroni.yml', async () => {
  assert.deepEqual(await validate(filePath(1, 'patroni.yml')), [])
})

test('Patroni refuses a file without a name: the oracle can say no', async () => {
  const wrong = join(root, 'wrong.yml')
  await writeFile(wrong, patroniYaml('x').replace('name: "x"\n', ''))
  if (asRoot) await run('chown', [SERVICE_USER, wrong])
  assert.match((await validate(wrong)).join(), /name +is not defined/)
})

/**
 * Starts the program until something listens at each address; fails with what it said when it ends
 * before.
 */
async function assertListens(argv: string[], addresses: readonly [string, number][]) {
  const [program, args] = asService(argv)
  const child = spawn(program, args, { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let ended = false
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      said = (said + chunk).slice(-4000)
    })
  }
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => {
      ended = true
      resolve()
    })
  })
  try {
    for (const [address, port] of addresses) {
      const deadline = performance.now() + LISTEN_TIMEOUT_MS
      while (!(await accepts(address, port))) {
        assert.ok(!ended && performance.now() < deadline, `${address}:${port}: ${said}`)
        await new Promise((resolve) => setTimeout(resolve, 25))
      }
    }
  } finally {
    child.kill('SIGKILL')
    await closed
  }
  return said
}

function accepts(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, address)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

for (const [purpose, port] of [
  ['write', 5000],
  ['read', 5001],
] as const) {
  test(`PgBouncer starts with pgbouncer-${purpose}.ini and warns of nothing`, async () => {
    const path = filePath(4, `pgbouncer-${purpose}.ini`)
    const said = await assertListens(['/usr/sbin/pgbouncer', path], [[`${SUBNET}.4`, port]])
    assert.doesNotMatch(said, /WARNING|ERROR|FATAL|unrecognized/)
  })
}

test('etcd starts with etcd.yml', async () => {
  const argv = ['/usr/bin/etcd', '--config-file', filePath(1, 'etcd.yml')]
  await assertListens(argv, [[`${SUBNET}.1`, 2380]])
})

const PARSE_ALL =
  'import sys, json, yaml; json.dump([yaml.safe_load(d) for d in json.load(sys.stdin)], sys.stdout)'

/** The documents as Patroni's own parser reads them. */
async function parseYaml(documents: readonly string[]): Promise<unknown[]> {
  const child = run('/usr/bin/python3', ['-c', PARSE_ALL], { maxBuffer: 256 * 1024 * 1024 })
  child.child.stdin?.end(JSON.stringify(documents))
  return JSON.parse((await child).stdout) as unknown[]
}

/** patroni.yml with `text` wherever text from outside could ever stand. */
function patroniYaml(text: string): string {
  const { cluster, dcs } = fleet
  const hostile = {
    ...cluster,
    secrets: { ...cluster.secrets, superuser: text, dcs: text, rest: text },
    parameters: [
      ...cluster.parameters,
      { name: 'custom', value: text, source: 'user', reason: '' },
    ],
  } as typeof cluster
  const instance = { ...(cluster.instances[0] as (typeof cluster.instances)[0]), name: text }
  const rendered = renderPatroni(hostile, instance, dcs)
  return rendered.files.find(({ path }) => path.endsWith('patroni.yml'))?.content ?? ''
}

function replaced(tree: unknown, from: string, to: string): unknown {
  if (tree === from) return to
  if (Array.isArray(tree)) return tree.map((inner) => replaced(inner, from, to))
  if (typeof tree !== 'object' || tree === null) return tree
  return Object.fromEntries(
    Object.entries(tree).map(([key, inner]) => [key, replaced(inner, from, to)]),
  )
}

test('Patroni reads the intended tree, whatever a password, a value or a name holds', async () => {
  const PLAIN = 'plain-text'
  const drawn = fc.sample(hostileText(1000), { seed: SEED, numRuns: 300 })
  const texts = [...HOSTILE_PIECES, ...drawn]
  const [plain, ...trees] = await parseYaml([PLAIN, ...texts].map(patroniYaml))
  for (const [index, text] of texts.entries()) {
    assert.deepEqual(trees[index], replaced(plain, PLAIN, text), JSON.stringify(text))
  }
})

test('every value of every parameter is text to Patroni', async () => {
  const spec = { ...SAMPLE_OPTIONS.spec, parameters: { jit: true, max_connections: 100 } }
  const changed = sampleFleet({ spec })
  const instance = changed.cluster.instances[0] as (typeof changed.cluster.instances)[0]
  const { files } = renderPatroni(changed.cluster, instance, changed.dcs)
  const [tree] = (await parseYaml([files[0]?.content ?? ''])) as {
    bootstrap: { dcs: { postgresql: { parameters: Record<string, unknown> } } }
  }[]
  const { parameters } = tree?.bootstrap.dcs.postgresql ?? { parameters: {} }
  const expected = changed.cluster.parameters.map(({ name, value }) => [name, value])
  assert.deepEqual(parameters, Object.fromEntries(expected))
})
