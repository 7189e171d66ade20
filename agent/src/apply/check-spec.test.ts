// Goal: a spec from a control plane in wrong hands is refused before anything is touched. Method:
// one change per test case to a spec that is accepted.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostService, Refusal } from '@howdah/core/host-spec.ts'
import { checkSpec } from './check-spec.ts'

const FILE = { path: 'config/web/x.cfg', content: 'x' }

const SERVICE: HostService = {
  name: 'web',
  owner: 'clu_test',
  program: 'haproxy',
  args: ['-db'],
  env: { PATH: '/usr/bin' },
  restartOn: ['config/web/x.cfg'],
  reloadOn: [],
  reloadSignal: 'SIGHUP',
  stopSignal: 'SIGTERM',
  stopTimeoutMs: 1000,
  probe: { kind: 'none' },
}

const REFUSAL: Refusal = {
  address: '127.0.0.1',
  ports: [5000, 5001],
  certificatePem: 'x',
  keyPem: 'x',
  message: 'cluster "demo" is being restored',
  hint: 'howdah op watch op_1',
}

function makeSpec(change: object = {}): unknown {
  const directories = ['data/one', 'run', 'config/web/deep']
  return {
    revision: 1,
    hostId: 'hst_a',
    directories,
    files: [FILE],
    services: [SERVICE],
    refusals: [REFUSAL],
    ...change,
  }
}

test('a good spec is accepted as it is', () => {
  assert.deepEqual(checkSpec(makeSpec(), 'hst_a'), makeSpec())
})

const withService = (change: object) => ({ services: [{ ...SERVICE, ...change }] })
const withFile = (change: object) => ({ files: [FILE, { ...FILE, ...change }] })
const withRefusal = (change: object) => ({ refusals: [{ ...REFUSAL, ...change }] })

const HOSTILE: readonly [string, object][] = [
  ['another host', { hostId: 'hst_b' }],
  ['a negative revision', { revision: -1 }],
  ['a fraction as revision', { revision: 1.5 }],
  ['an unknown property', { command: 'rm -rf /' }],
  ['a file that climbs', withFile({ path: 'config/../agent/identity.json' })],
  ['a file that climbs at the end', withFile({ path: 'config/..' })],
  ['a file of this directory', withFile({ path: 'config/./x' })],
  ['an absolute file', withFile({ path: '/etc/passwd' })],
  ['a file with NUL', withFile({ path: 'config/a\0b' })],
  ['a file with a newline', withFile({ path: 'config/a\nb' })],
  ['a file with an empty part', withFile({ path: 'config//b' })],
  ['the agent’s files', withFile({ path: 'agent/spec.json' })],
  ['a run script', withFile({ path: 'services/web/run' })],
  ['a file among data', withFile({ path: 'data/one/pg_hba.conf' })],
  ['config itself as a file', withFile({ path: 'config' })],
  ['a file twice', withFile({})],
  ['a file below a file', withFile({ path: 'config/web/x.cfg/y' })],
  ['a file that is a directory', withFile({ path: 'config/web/deep' })],
  ['a directory of the agent', { directories: ['agent/x'] }],
  ['a directory among services', { directories: ['services/evil'] }],
  ['a directory that climbs', { directories: ['data/../../x'] }],
  ['an unknown program', withService({ program: 'bash' })],
  ['a path as program', withService({ program: '/bin/sh' })],
  ['a program of the prototype', withService({ program: 'constructor' })],
  ['the agent’s own service', withService({ name: 'agent' })],
  ['a hidden service', withService({ name: '.s6-svscan' })],
  ['a service elsewhere', withService({ name: '../evil' })],
  ['a service twice', { services: [SERVICE, SERVICE] }],
  ['NUL in an argument', withService({ args: ['a\0b'] })],
  ['NUL in a variable', withService({ env: { A: 'x\0y' } })],
  ['a variable name with =', withService({ env: { 'A=B': 'x' } })],
  ['a variable name with a newline', withService({ env: { 'A\nB': 'x' } })],
  ['a file that is not in the spec', withService({ reloadOn: ['config/other'] })],
  ['a signal of its own', withService({ stopSignal: 'SIGSTOP' })],
  ['no end of stopping', withService({ stopTimeoutMs: 10 ** 9 })],
  ['a refusal at any address', withRefusal({ address: '0.0.0.0' })],
  ['a refusal at any address, in other words', withRefusal({ address: '0:0:0::0' })],
  ['a refusal at any address, in IPv6’s words', withRefusal({ address: '::ffff:0.0.0.0' })],
  ['a refusal at a name', withRefusal({ address: 'localhost' })],
  ['a refusal at a path', withRefusal({ address: '/run/evil.sock' })],
  ['a refusal at a port of root', withRefusal({ ports: [443] })],
  ['a refusal at no port', withRefusal({ ports: [] })],
  ['a refusal at a port beyond the last', withRefusal({ ports: [65_536] })],
  ['a refusal at a port twice', withRefusal({ ports: [5000, 5000] })],
  ['two refusals at a port', { refusals: [REFUSAL, { ...REFUSAL, message: 'other' }] }],
  ['NUL in what clients are told', withRefusal({ message: 'a\0b' })],
  ['a second line in what clients are told', withRefusal({ hint: 'a\nb' })],
  ['a control character in what clients are told', withRefusal({ message: '\u009b31m' })],
  ['too much to tell', withRefusal({ message: 'a'.repeat(301) })],
  [
    'too many files',
    { files: Array.from({ length: 501 }, (_, n) => ({ ...FILE, path: `config/${n}` })) },
  ],
]

for (const [what, change] of HOSTILE) {
  test(`a spec with ${what} is refused`, () => {
    assert.throws(() => checkSpec(makeSpec(change), 'hst_a'), { code: 'agent-refused' })
  })
}

test('what is no spec at all is refused', () => {
  for (const value of [null, 1, 'x', [], {}]) {
    assert.throws(() => checkSpec(value, 'hst_a'), { code: 'agent-refused' })
  }
})
