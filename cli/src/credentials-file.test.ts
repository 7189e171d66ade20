// Passwords are kept for the owner's eyes only, for the right cluster, at a path inside the home.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  forgetCluster,
  forgetRole,
  readCredentials,
  saveClusterCa,
  saveCredentials,
  savePgpass,
} from './credentials-file.ts'

const DEMO = { id: 'clu_1', name: 'demo' }

async function makeHome() {
  const home = await mkdtemp('/tmp/howdah-test-')
  return { home, [Symbol.asyncDispose]: () => rm(home, { recursive: true }) }
}

function entry(role: string, password: string, database: string | null = null) {
  return { role, password, database }
}

test('a new password replaces the old one in its place, and keeps the database', async () => {
  await using made = await makeHome()
  await saveCredentials(made.home, DEMO, entry('owner', 'one', 'demo'))
  await saveCredentials(made.home, DEMO, entry('app', 'two'))
  const path = await saveCredentials(made.home, DEMO, entry('owner', 'three'))
  const kept = await readCredentials(made.home, DEMO)
  assert.deepEqual(kept, [entry('owner', 'three', 'demo'), entry('app', 'two')])
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.equal((await stat(join(made.home, 'clusters'))).mode & 0o777, 0o700)
  assert.deepEqual(await readdir(join(made.home, 'clusters')), ['demo.json'])
  await forgetRole(made.home, DEMO, 'owner')
  assert.deepEqual(await readCredentials(made.home, DEMO), [entry('app', 'two')])
})

test('credentials of an earlier cluster of the same name are not offered', async () => {
  await using made = await makeHome()
  await saveCredentials(made.home, DEMO, entry('owner', 'one'))
  const successor = { id: 'clu_2', name: 'demo' }
  assert.deepEqual(await readCredentials(made.home, successor), [])
  await saveCredentials(made.home, successor, entry('owner', 'two'))
  assert.deepEqual(await readCredentials(made.home, DEMO), [])
})

test('a name from a hostile platform does not become a path', async () => {
  await using made = await makeHome()
  for (const name of ['../../etc/passwd', '', '.', 'a/b', 'a\0', 'A']) {
    const cluster = { id: 'clu_1', name }
    await assert.rejects(saveCredentials(made.home, cluster, entry('a', 'b')), {
      code: 'invalid-name',
    })
    await assert.rejects(saveClusterCa(made.home, name, 'x'), { code: 'invalid-name' })
  }
  assert.deepEqual(await readdir(made.home), [])
})

test('the pgpass file escapes what its format gives a meaning', async () => {
  await using made = await makeHome()
  const kept = [entry('a:b\\c', 'p:\\'), entry('line\nend', 'x')]
  const path = (await savePgpass(made.home, 'demo', kept)) ?? ''
  assert.equal(await readFile(path, 'utf8'), '*:*:*:a\\:b\\\\c:p\\:\\\\\n')
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.equal(await savePgpass(made.home, 'demo', []), undefined)
})

test('a purged cluster leaves nothing', async () => {
  await using made = await makeHome()
  await saveCredentials(made.home, DEMO, entry('a', 'b'))
  await savePgpass(made.home, 'demo', [entry('a', 'b')])
  await saveClusterCa(made.home, 'demo', '-----BEGIN CERTIFICATE-----\n')
  await forgetCluster(made.home, 'demo')
  assert.deepEqual(await readdir(join(made.home, 'clusters')), [])
})
