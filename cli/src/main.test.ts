// What a shell sees of the CLI: exit codes, data on stdout, everything else on stderr.
import assert from 'node:assert/strict'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type FakeApi, problem, startFakeApi } from './testing/fake-api.ts'
import { runCliProcess } from './testing/run-cli.ts'
import { sampleCluster, sampleEvent, sampleOperation } from './testing/samples.ts'

const DONE = sampleOperation({ state: 'succeeded', ended_at: '2026-01-02T03:04:09.000Z' })

function serveEvents(api: FakeApi): void {
  const events = [sampleEvent('1', 'operation.succeeded', 'all is done')]
  api.routes.set('GET /v1/events', () => ({ body: { data: events, next_cursor: null } }))
}

test('help names every command group, the exit codes and examples', async () => {
  const { exitCode, stdout } = await runCliProcess(['--help'])
  assert.equal(exitCode, 0)
  for (const word of [
    'up',
    'doctor',
    'cluster',
    'psql',
    'uri',
    'op',
    'host',
    'token',
    'Examples',
    'Exit codes',
  ]) {
    assert.ok(stdout.includes(word), word)
  }
  const bare = await runCliProcess([])
  assert.deepEqual([bare.exitCode, bare.stdout], [0, stdout])
})

test('wrong usage ends with 2 and says what was meant', async () => {
  const verb = await runCliProcess(['cluster', 'lst'])
  assert.deepEqual([verb.exitCode, verb.stdout], [2, ''])
  assert.equal(verb.stderr, "error: unknown command 'lst'\nhint: Did you mean list?\n")
  const cases = [['clutser'], ['cluster', 'create'], ['op', 'list', '--state', 'x'], ['cluster']]
  for (const argv of [...cases, ['cluster', 'create', 'a', '--instances', '9']]) {
    const { exitCode, stderr } = await runCliProcess(argv)
    assert.equal(exitCode, 2, `${argv.join(' ')}: ${stderr}`)
  }
})

test('as JSON an error is one object on stderr', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/clusters/x', () => problem(404, 'not-found', 'no cluster "x\x1b[2J"'))
  const result = await runCliProcess(['cluster', 'show', 'x', '-o', 'json'], { home: api.home })
  assert.deepEqual([result.exitCode, result.stdout], [4, ''])
  assert.deepEqual(JSON.parse(result.stderr), {
    error: {
      code: 'not-found',
      detail: 'no cluster "x\x1b[2J"',
      hint: 'a hint',
      request_id: 'req_1',
      exit_code: 4,
    },
  })
})

test('an error for people has a hint and a request id, and no control characters', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/whoami', () => problem(401, 'not-authenticated', 'no\x1b[2J'))
  const { exitCode, stderr } = await runCliProcess(['whoami'], { home: api.home })
  assert.equal(exitCode, 3)
  assert.equal(stderr, 'error: no\\e[2J\nhint: a hint\nrequest id: req_1\n')
})

test('no platform ends with 6 and says how to get one', async () => {
  const { exitCode, stderr } = await runCliProcess(['cluster', 'list'])
  assert.equal(exitCode, 6)
  assert.match(stderr, /howdah up/)
})

test('the environment wins over cli.json, and takes its own authority', async () => {
  await using api = await startFakeApi()
  await using other = await startFakeApi()
  api.routes.set('GET /v1/clusters', () => ({ body: { data: [], next_cursor: null } }))
  const env = { HOWDAH_API: api.url, HOWDAH_TOKEN: 'from-env' }
  const caFile = join(api.home, 'ca.crt')
  const good = await runCliProcess(['cluster', 'list', '-o', 'json'], {
    home: other.home,
    env: { ...env, HOWDAH_CA_FILE: caFile },
  })
  assert.deepEqual([good.exitCode, good.stdout], [0, '[]\n'])
  assert.equal(api.seen[0]?.headers.authorization, 'Bearer from-env')
  const bad = await runCliProcess(['cluster', 'list'], { home: other.home, env })
  assert.equal(bad.exitCode, 6)
})

test('cluster create follows, keeps the credentials 0600 and shows them once', async () => {
  await using api = await startFakeApi()
  const credentials = { role: 'demo', password: 'only-shown-once', database: 'demo' }
  const cluster = sampleCluster()
  api.routes.set('POST /v1/clusters', () => ({
    status: 202,
    body: { cluster: { ...cluster, endpoints: [] }, operation: sampleOperation(), credentials },
  }))
  api.routes.set('GET /v1/operations/op_1', () => ({ body: DONE }))
  api.routes.set('GET /v1/clusters/clu_1', () => ({ body: cluster }))
  serveEvents(api)
  const argv = ['cluster', 'create', 'demo', '--instances', '2', '--parameter', 'work_mem=8MB']
  const result = await runCliProcess([...argv, '--label', '__proto__=a=b'], { home: api.home })
  assert.equal(result.exitCode, 0, result.stderr)
  const sent = JSON.parse(api.seen[0]?.body ?? '')
  assert.deepEqual([sent.name, sent.instances, sent.parameters], ['demo', 2, { work_mem: '8MB' }])
  assert.match(api.seen[0]?.body ?? '', /"labels":\{"__proto__":"a=b"\}/)
  assert.equal(result.stdout.match(/only-shown-once/g)?.length, 1)
  assert.match(result.stdout, /127\.42\.0\.4:5000/)
  assert.match(result.stderr, /all is done/)
  assert.ok(!(result.stdout + result.stderr).includes('\x1b'))
  const path = join(api.home, 'clusters/demo.json')
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.deepEqual(JSON.parse(await readFile(path, 'utf8')).credentials, [credentials])
})

test('a failed operation ends with 7', async () => {
  await using api = await startFakeApi()
  const error = { code: 'step-timeout', detail: 'no leader', hint: 'look', step: 'start-leader' }
  api.routes.set('GET /v1/operations/op_1', () => ({
    body: { ...DONE, state: 'failed', error },
  }))
  serveEvents(api)
  const { exitCode, stderr } = await runCliProcess(['op', 'watch', 'op_1'], { home: api.home })
  assert.equal(exitCode, 7)
  assert.match(stderr, /error: create cluster demo: failed: start-leader: no leader/)
})

test('a game day that failed prints its report all the same', async () => {
  await using api = await startFakeApi()
  const error = { code: 'drill-failed', detail: '2 writes were lost', hint: 'look', step: 'judge' }
  const operation = { ...DONE, state: 'failed' as const, error }
  const report = { rounds: [], acknowledged: 9, failed: 0, lost: 2, leaders_at_once_max: 1 }
  const drill = { operation_id: 'op_1', report: { ...report, availability: 0.5 } }
  api.routes.set('POST /v1/clusters/demo/game-days', () => ({ status: 202, body: { operation } }))
  api.routes.set('GET /v1/operations/op_1', () => ({ body: operation }))
  api.routes.set('GET /v1/clusters/demo/drills', () => ({ body: { data: [drill] } }))
  serveEvents(api)
  const result = await runCliProcess(['drill', 'game-day', 'demo'], { home: api.home })
  assert.equal(result.exitCode, 7)
  assert.match(result.stderr, /2 writes were lost/)
  assert.match(result.stdout, /lost +2/)
})

test('Ctrl-C stops watching and says that the operation goes on', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/operations/op_1', () => ({ body: sampleOperation() }))
  api.routes.set('GET /v1/events/stream', (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const event = sampleEvent('1', 'step.running', 'begins')
    response.write(`data: ${JSON.stringify(event)}\n\n`)
    return undefined
  })
  const { exitCode, stderr } = await runCliProcess(['op', 'watch', 'op_1'], {
    home: api.home,
    onStderr: (text, kill) => {
      if (text.includes('begins') && !text.includes('goes on')) kill('SIGINT')
    },
  })
  assert.equal(exitCode, 130)
  assert.match(stderr, /the operation goes on: howdah op watch op_1/)
})

test('delete needs a confirmation where nobody can be asked', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/clusters/demo', () => ({
    body: sampleCluster(),
    headers: { etag: '"3"' },
  }))
  api.routes.set('DELETE /v1/clusters/demo', () => ({ status: 202, body: { operation: DONE } }))
  api.routes.set('GET /v1/operations/op_1', () => ({ body: DONE }))
  serveEvents(api)
  const remove = (...flags: string[]) =>
    runCliProcess(['cluster', 'delete', 'demo', ...flags], { home: api.home })
  assert.equal((await remove()).exitCode, 2)
  assert.equal((await remove('--confirm', 'other')).exitCode, 2)
  assert.ok(api.seen.every((request) => request.method === 'GET'))
  const confirmed = await remove('--confirm', 'demo')
  assert.equal(confirmed.exitCode, 0, confirmed.stderr)
  const sent = api.seen.find((request) => request.method === 'DELETE')
  assert.deepEqual([sent?.headers['if-match'], sent?.body], ['"3"', '{"confirm":"demo"}'])
  assert.equal((await remove('--yes', '--purge')).exitCode, 0)
})

test('cluster update keeps the parameters that it does not name', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/clusters/demo', () => ({ body: sampleCluster() }))
  api.routes.set('PATCH /v1/clusters/demo', () => ({ status: 202, body: { operation: DONE } }))
  const argv = ['cluster', 'update', 'demo', '--parameter', 'max_wal_size=2GB', '--no-wait']
  const result = await runCliProcess(argv, { home: api.home })
  assert.equal(result.exitCode, 0, result.stderr)
  const sent = api.seen.at(-1)
  assert.equal(sent?.body, '{"parameters":{"work_mem":"8MB","max_wal_size":"2GB"}}')
  assert.equal(sent?.headers['if-match'], '"3"')
})

test('a password comes from standard input, and is not shown back', async () => {
  await using api = await startFakeApi()
  api.routes.set('GET /v1/clusters/demo', () => ({ body: sampleCluster() }))
  api.routes.set('POST /v1/clusters/demo/roles', () => ({ status: 202, body: { operation: DONE } }))
  api.routes.set('GET /v1/operations/op_1', () => ({ body: DONE }))
  serveEvents(api)
  const argv = ['role', 'create', 'demo', 'app', '--access', 'read', '--password-stdin']
  const result = await runCliProcess(argv, { home: api.home, stdin: ' a secret phrase \n' })
  assert.equal(result.exitCode, 0, result.stderr)
  const sent = JSON.parse(api.seen.find((request) => request.method === 'POST')?.body ?? '')
  assert.deepEqual(sent, { name: 'app', access: 'read', password: ' a secret phrase ' })
  assert.ok(!(result.stdout + result.stderr).includes('secret phrase'))
})

test('api sends what it is told and prints the reply', async () => {
  await using api = await startFakeApi()
  api.routes.set('POST /v1/dcs', ({ body }) => ({ status: 202, body: { got: JSON.parse(body) } }))
  const argv = ['api', 'post', '/v1/dcs', '--body', '-']
  const result = await runCliProcess(argv, { home: api.home, stdin: '{"hosts":["host-1"]}' })
  assert.deepEqual(JSON.parse(result.stdout), { got: { hosts: ['host-1'] } })
  for (const path of ['v1/dcs', 'https://example.org/', '/v1/a b']) {
    assert.equal((await runCliProcess(['api', 'GET', path], { home: api.home })).exitCode, 2)
  }
})
