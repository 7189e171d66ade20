// Goal: a host whose root is behind a link is guarded like any other. Method: a root on a real
// file system, and a process that stands where a postmaster would.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { openHostRoot } from './host-root.ts'
import { findPostmaster, findProcesses } from './sentinel/postmaster.ts'
import { SERVICE_USER } from './testing/test-host.ts'

let base: string

before(async () => {
  base = await realpath(await mkdtemp('/tmp/hwd-'))
  await chmod(base, 0o755)
  await mkdir(join(base, 'disk'))
  await symlink('disk', join(base, 'link'))
})

after(() => rm(base, { recursive: true, force: true }))

test('a postmaster is found where the root is behind a link', async () => {
  const root = await openHostRoot(join(base, 'link/h'), SERVICE_USER)
  assert.equal(root.path, join(base, 'disk/h'))
  const dataDirectory = join(root.path, 'data/pgdata')
  await mkdir(dataDirectory)
  const postmaster = spawn('cat', { cwd: join(base, 'link/h/data/pgdata') })
  try {
    await once(postmaster, 'spawn')
    await writeFile(join(dataDirectory, 'postmaster.pid'), `${postmaster.pid}\n`)
    assert.equal(findPostmaster(dataDirectory)?.pid, postmaster.pid)
    assert.deepEqual(findProcesses(dataDirectory), [postmaster.pid])
  } finally {
    postmaster.kill('SIGKILL')
  }
})

test('a link to where no rendered path may be is refused', async () => {
  await mkdir(join(base, 'with space'))
  await symlink('with space', join(base, 'plain'))
  await assert.rejects(openHostRoot(join(base, 'plain/h'), SERVICE_USER), HowdahError)
})
