// Goal: an agent brings a host to its spec and keeps its hands off what runs. Method: the agent as
// a process, real s6, real HAProxy and etcd as services, a control plane of our own over mTLS.
import assert from 'node:assert/strict'
import { access, lstat, readdir, readFile, stat, symlink } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import type { HostService, HostSpec } from '@howdah/core/host-spec.ts'
import type { ServiceStatus } from '@howdah/core/protocol.ts'
import { type FakeControlPlane, startFakeControlPlane } from './testing/fake-control-plane.ts'
import { makeTestAuthority, type TestAuthority } from './testing/test-authority.ts'
import { startTestHost, type TestAgent, type TestHost, writeToken } from './testing/test-host.ts'
import { until } from './testing/until.ts'

const ADDRESS = '127.61.1.1'
const HOST_ID = 'hst_test'
const SECRET = 'A'.repeat(43)

let authority: TestAuthority
let plane: FakeControlPlane
let host: TestHost
let agent: TestAgent
let tokenFile: string

before(async () => {
  authority = await makeTestAuthority()
  plane = await startFakeControlPlane({
    authority,
    address: ADDRESS,
    hostId: HOST_ID,
    secret: SECRET,
  })
  host = await startTestHost()
  tokenFile = await writeToken(host, `hwd1.${SECRET}.${authority.caDigest}\n`)
  agent = startAgent()
})

after(async () => {
  await host.close()
  await plane.close()
})

function startAgent(): TestAgent {
  return host.startAgent({
    // The first one refuses: an agent goes on to the next.
    HOWDAH_CONTROL_PLANES: `https://${ADDRESS}:1,${plane.url}`,
    HOWDAH_ENROLMENT_TOKEN_FILE: tokenFile,
  })
}

function haproxy(name: string, port: number, change: Partial<HostService> = {}): HostService {
  return {
    name,
    owner: 'clu_test',
    program: 'haproxy',
    args: ['-W', '-db', '-f', `${host.root}/config/${name}/haproxy.cfg`],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    restartOn: [],
    reloadOn: [`config/${name}/haproxy.cfg`],
    reloadSignal: 'SIGUSR2',
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 5000,
    probe: { kind: 'tcp', address: ADDRESS, port },
    ...change,
  }
}

function haproxyFile(name: string, port: number, said: string) {
  const lines = [
    'defaults',
    '  mode http',
    '  timeout client 2s',
    '  timeout connect 2s',
    '  timeout server 2s',
    `frontend ${name}`,
    `  bind ${ADDRESS}:${port}`,
    `  http-request return status 200 content-type text/plain string "${said}"`,
  ]
  return { path: `config/${name}/haproxy.cfg`, content: `${lines.join('\n')}\n` }
}

function makeSpec(revision: number, change: Partial<HostSpec> = {}): HostSpec {
  return {
    revision,
    hostId: HOST_ID,
    directories: [],
    files: [],
    services: [],
    clusters: [],
    ...change,
  }
}

async function apply(spec: HostSpec): Promise<void> {
  plane.spec = spec
  await until(
    `spec ${spec.revision} to be applied`,
    () => ({ report: plane.reports.at(-1), log: agent.log.slice(-10) }),
    ({ report }) => report?.appliedRevision === spec.revision,
  )
}

async function status(name: string, holds: (status: ServiceStatus) => boolean) {
  return await until(
    `a status of ${name}`,
    () => plane.reports.at(-1)?.services.find((service) => service.name === name),
    (found) => found !== undefined && holds(found),
  )
}

async function ask(port: number): Promise<string> {
  return await fetch(`http://${ADDRESS}:${port}/`, { headers: { connection: 'close' } }).then(
    (response) => response.text(),
    (error: Error) => String(error.cause),
  )
}

test('an agent enrols with its token, once, and keeps key and certificate to itself', async () => {
  await until(
    'the first report',
    () => plane.reports.length,
    (count) => count > 0,
  )
  assert.equal(plane.enrolments, 1)
  await assert.rejects(access(tokenFile))
  const directory = await stat(join(host.root, 'agent'))
  const identity = await stat(join(host.root, 'agent', 'identity.json'))
  assert.equal(directory.mode & 0o777, 0o700)
  assert.equal(identity.mode & 0o777, 0o600)
  const facts = (
    await until(
      'a sync',
      () => plane.syncs.at(-1),
      (sync) => sync !== undefined,
    )
  )?.facts
  assert.match(facts?.programs.haproxy ?? '', /^\d+\.\d+/)
  assert.equal(facts?.root, host.root)
})

test('a spec is applied: directories, files, a supervised service that answers', async () => {
  await apply(
    makeSpec(1, {
      directories: ['data/one', 'data/one/deep/er'],
      files: [haproxyFile('web', 7001, 'first')],
      services: [haproxy('web', 7001)],
    }),
  )
  await status('web', (found) => found.ready && found.state === 'up' && (found.pid ?? 0) > 1)
  assert.equal(await ask(7001), 'first')
  const file = await stat(join(host.root, 'config/web/haproxy.cfg'))
  assert.equal(file.mode & 0o777, 0o600)
  const deep = await stat(join(host.root, 'data/one/deep/er'))
  assert.equal(deep.mode & 0o777, 0o700)
  const top = await stat(join(host.root, 'config/web'))
  assert.equal(top.uid, process.getuid?.())
  if (process.getuid?.() === 0) assert.notEqual(file.uid, 0)
})

test('a reload file reloads, a restart file restarts, and then a new argument', async () => {
  const first = await status('web', (found) => found.ready)
  await apply(
    makeSpec(2, { files: [haproxyFile('web', 7001, 'second')], services: [haproxy('web', 7001)] }),
  )
  await until(
    'the new file in force',
    () => ask(7001),
    (said) => said === 'second',
  )
  const reloaded = await status('web', (found) => found.ready)
  assert.equal(reloaded?.pid, first?.pid)

  const restarting = haproxy('web', 7001, { reloadOn: [], restartOn: ['config/web/haproxy.cfg'] })
  await apply(makeSpec(3, { files: [haproxyFile('web', 7001, 'third')], services: [restarting] }))
  await until(
    'the new file in force',
    () => ask(7001),
    (said) => said === 'third',
  )
  const restarted = await status('web', (found) => found.ready && found.pid !== first?.pid)

  const quiet = { ...restarting, args: [...restarting.args, '-q'] }
  await apply(makeSpec(4, { files: [haproxyFile('web', 7001, 'third')], services: [quiet] }))
  await status('web', (found) => found.ready && found.pid !== restarted?.pid)
})

test('a service that is killed is back, and both is reported', async () => {
  const before = await status('web', (found) => found.ready)
  process.kill(before?.pid as number, 'SIGKILL')
  await status('web', (found) => found.ready && found.pid !== before?.pid)
  assert.equal(await ask(7001), 'third')
})

test('kill -9 of the agent leaves services alone, and the next agent adopts them', async () => {
  const before = await status('web', (found) => found.ready)
  await agent.end('SIGKILL')
  assert.equal(await ask(7001), 'third')
  plane.reports.length = 0
  agent = startAgent()
  const after = await status('web', (found) => found.ready)
  assert.deepEqual(
    [after?.pid, after?.sinceEpoch],
    [before?.pid, before?.sinceEpoch],
    'the same process goes on',
  )
  await until(
    'the spec from disk',
    () => plane.reports.at(-1),
    (r) => r?.appliedRevision === 4,
  )
  assert.equal(plane.enrolments, 1)
  assert.ok(!agent.log.some((line) => line.includes('service changed')), agent.log.join('\n'))
})

test('SIGTERM ends the agent with code 0 and no service', async () => {
  const before = await status('web', (found) => found.ready)
  assert.equal(await agent.end('SIGTERM'), 0)
  process.kill(before?.pid as number, 0)
  agent = startAgent()
})

test('without a control plane an agent brings its host up from disk', async () => {
  await agent.end('SIGTERM')
  const lone = host.startAgent({ HOWDAH_CONTROL_PLANES: `https://${ADDRESS}:1` })
  await until(
    'the spec from disk',
    () => lone.log,
    (log) => log.some((l) => /spec applied/.test(l)),
  )
  await lone.end('SIGKILL')
  agent = startAgent()
})

test('hostile and older specs are refused as a whole, and the reason is reported', async () => {
  const file = { path: 'config/../agent/spec.json', content: '' }
  for (const change of [{ files: [file] }, { hostId: 'hst_other' }]) {
    plane.spec = { ...makeSpec(100), ...change }
    const seen = plane.syncs.length
    await until(
      'the spec to be refused',
      () => plane.syncs.length,
      (count) => count > seen + 1,
    )
    assert.equal(plane.syncs.at(-1)?.heldRevision, 4)
  }
  await until(
    'a reason',
    () => plane.reports.at(-1)?.applyError ?? '',
    (said) => said !== '',
  )
  plane.spec = makeSpec(3)
  await until(
    'a reason',
    () => plane.reports.at(-1)?.applyError ?? '',
    (s) => /is older/.test(s),
  )
  assert.equal(await ask(7001), 'third')
})

test('a reply that is no JSON, or not the schema, changes nothing and ends', async () => {
  for (const reply of ['{', '[]', '{"tasks":[{"id":"x"}]}']) {
    plane.syncOverride = reply
    const seen = plane.syncs.length
    await until(
      'the agent to come back',
      () => plane.syncs.length,
      (count) => count > seen + 1,
    )
  }
  plane.syncOverride = undefined
})

test('clients are refused while the service is away, which gets its port back', async () => {
  const before = await status('web', (found) => found.ready)
  const { certificatePem, privateKeyPem } = await authority.issueServer(ADDRESS)
  const refusal = {
    address: ADDRESS,
    ports: [7001],
    certificatePem,
    keyPem: privateKeyPem,
    message: 'it is being restored',
    hint: 'wait',
  }
  await apply(makeSpec(110, { refusals: [refusal] }))
  const told = () =>
    until('to be told why', startUp, (answer) =>
      answer.includes('\0C57P03\0Mit is being restored\0'),
    )
  await told()
  await agent.end('SIGKILL')
  agent = startAgent()
  await told()

  await apply(
    makeSpec(111, { files: [haproxyFile('web', 7001, 'third')], services: [haproxy('web', 7001)] }),
  )
  await status('web', (found) => found.ready && found.pid !== before?.pid)
  assert.equal(await ask(7001), 'third')
})

/** The first message of a client at the port of the service, and what comes back. */
async function startUp(): Promise<string> {
  const socket = connect(7001, ADDRESS)
  socket.end(Buffer.from('\0\0\0\x11\0\x03\0\0user\0app\0\0'))
  return await text(socket).catch((error: unknown) => String(error))
}

test('what is never restarted runs on with a new command line', async () => {
  const file = haproxyFile('web', 7001, 'third')
  const lasting = haproxy('web', 7001, { restartOn: [] })
  await apply(makeSpec(150, { files: [file], services: [lasting] }))
  const before = await status('web', (found) => found.ready)
  const record = () => readFile(join(host.root, 'services/web/applied.json'), 'utf8')
  const recorded = await record()
  const changed = { ...lasting, args: [...lasting.args, '-q'] }
  await apply(makeSpec(151, { files: [file], services: [changed] }))
  // Written last; a service that is restarted is down then.
  await until('the new run script to be in place', record, (text) => text !== recorded)
  process.kill(before?.pid as number, 0)
  assert.match(await readFile(join(host.root, 'services/web/run'), 'utf8'), /-q/)
})

test('a symlink that a service planted is not followed', async () => {
  await symlink('/tmp', join(host.root, 'data', 'planted'))
  const revision = 200
  plane.spec = makeSpec(revision, {
    directories: ['data/ok'],
    files: [haproxyFile('web', 7001, 'third')],
    services: [haproxy('web', 7001, { restartOn: [], args: haproxy('web', 7001).args })],
  })
  await apply(plane.spec as HostSpec)
  plane.tasks = [
    {
      id: `tsk_${'p'.repeat(26)}`,
      timeoutMs: 5000,
      action: { kind: 'remove-data', path: 'data/planted/hwd-nothing' },
    },
    {
      id: `tsk_${'q'.repeat(26)}`,
      timeoutMs: 5000,
      action: { kind: 'remove-data', path: 'data/ok' },
    },
    {
      id: `tsk_${'r'.repeat(26)}`,
      timeoutMs: 5000,
      action: { kind: 'remove-data', path: 'config/web' },
    },
    {
      id: `tsk_${'s'.repeat(26)}`,
      timeoutMs: 5000,
      action: { kind: 'remove-data', path: 'data/planted' },
    },
  ]
  await until(
    'the results',
    () => plane.results.size,
    (size) => size === 4,
  )
  const verdicts = plane.tasks.map((task) => plane.results.get(task.id))
  assert.deepEqual(
    verdicts.map((result) => result?.errorCode),
    ['', '', 'refused', ''],
    JSON.stringify(verdicts),
  )
  await assert.rejects(access(join(host.root, 'data/ok')))
  assert.ok((await lstat('/tmp')).isDirectory())
})

test('a result that is not stored yet outlives the agent, and its task runs once', async () => {
  plane.storeNothing = true
  const id = `tsk_${'t'.repeat(26)}`
  plane.tasks = [{ id, timeoutMs: 5000, action: { kind: 'remove-data', path: 'data/nothing' } }]
  await until(
    'the result',
    () => plane.results.has(id),
    (has) => has,
  )
  await agent.end('SIGKILL')
  plane.results.clear()
  plane.storeNothing = false
  agent = startAgent()
  await until(
    'the result once more',
    () => plane.results.has(id),
    (has) => has,
  )
  assert.ok(!agent.log.some((line) => line.includes('task ended')), agent.log.join('\n'))
})

test('services start and stop side by side, and nothing of a removed one is left', async () => {
  const names = ['a', 'b', 'c', 'd']
  const files = names.map((name, index) => haproxyFile(name, 7010 + index, name))
  const services = names.map((name, index) => haproxy(name, 7010 + index))
  await apply(makeSpec(300, { files, services }))
  for (const name of names) await status(name, (found) => found.ready)
  assert.match(await ask(7001), /ECONNREFUSED/)
  await apply(makeSpec(301))
  const left = await host.processes()
  const ours = left.filter((line) => !line.includes('s6-svscan') && !line.includes('main.ts'))
  assert.deepEqual(ours, [])
  const directory = await readdir(join(host.root, 'services'))
  assert.deepEqual(
    directory.filter((name) => !name.startsWith('.')),
    [],
  )
  assert.deepEqual(await readdir(join(host.root, 'config')), [])
  assert.deepEqual(await readdir(join(host.root, 'agent', 'work')), [])
})

test('a service that ignores its stop signal is killed after its limit', async () => {
  // HAProxy ends softly on SIGUSR1: it waits for the connection that this test holds.
  const stubborn = haproxy('slow', 7020, { stopSignal: 'SIGUSR1', stopTimeoutMs: 700 })
  const file = haproxyFile('slow', 7020, 'slow')
  const held = { ...file, content: file.content.replaceAll('2s', '60s') }
  await apply(makeSpec(400, { files: [held], services: [stubborn] }))
  await status('slow', (found) => found.ready)
  const socket = connect(7020, ADDRESS)
  socket.on('error', () => undefined)
  socket.write('GET / HT')
  const startedMs = performance.now()
  await apply(makeSpec(401))
  socket.destroy()
  assert.ok(performance.now() - startedMs >= 600)
})

test('a service that was being removed when the agent died is removed by the next', async () => {
  const slow = haproxy('slow', 7021, { stopSignal: 'SIGUSR1', stopTimeoutMs: 1500 })
  const file = haproxyFile('slow', 7021, 'slow')
  const held = { ...file, content: file.content.replaceAll('2s', '60s') }
  await apply(makeSpec(500, { files: [held], services: [slow] }))
  await status('slow', (found) => found.ready)
  const socket = connect(7021, ADDRESS)
  socket.on('error', () => undefined)
  socket.write('GET / HT')
  plane.spec = makeSpec(501)
  const path = join(host.root, 'agent', 'spec.json')
  await until(
    'the spec on disk',
    () => readFile(path, 'utf8'),
    (text) => text.includes('501'),
  )
  await agent.end('SIGKILL')
  plane.reports.length = 0
  agent = startAgent()
  await apply(makeSpec(501))
  socket.destroy()
  assert.deepEqual(await readdir(join(host.root, 'config')), [])
})

test('a certificate is renewed in time, and the agent goes on with the new one', async () => {
  await agent.end('SIGTERM')
  const renewals = plane.renewals
  // Renewed at two thirds: what is left must be enough on a machine that stalls for seconds.
  plane.certificateLifeMs = 8000
  tokenFile = await writeToken(host, `hwd1.${SECRET}.${authority.caDigest}\n`)
  agent = startAgent()
  await until(
    'two renewals',
    () => plane.renewals,
    (count) => count >= renewals + 2,
    40_000,
  )
  const seen = plane.reports.length
  await until(
    'reports after that',
    () => plane.reports.length,
    (count) => count > seen,
    15_000,
  )
  plane.certificateLifeMs = 3_600_000
})

test('an agent in rest costs little', async () => {
  // Proportional: the pages of Node itself are shared by all agents of a machine. Without Node's
  // compile cache the compiler of TypeScript stays in memory, which is a third of this.
  const text = await readFile(`/proc/${agent.process.pid}/smaps_rollup`, 'utf8')
  const megabytes = Number(/Pss:\s+(\d+)/.exec(text)?.[1]) / 1024
  assert.ok(megabytes < 80, `${megabytes} MB`)
})
