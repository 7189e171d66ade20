// The lock of a home, between real processes.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { acquireHomeLock } from './home-lock.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hl-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('a held lock is refused, and the refusal names its holder', async () => {
  const path = join(directory, 'lock')
  const lock = await acquireHomeLock(path)
  await assert.rejects(
    acquireHomeLock(path),
    (error) => error instanceof HowdahError && error.message.includes(`pid ${process.pid}`),
  )
  await lock.release()
  await (await acquireHomeLock(path)).release()
  assert.deepEqual(await readdir(directory), [])
})

test('the lock of a process that was killed is taken over', async () => {
  const path = join(directory, 'lock')
  const module = JSON.stringify(join(import.meta.dirname, 'home-lock.ts'))
  const script = `import { acquireHomeLock } from ${module}
    await acquireHomeLock(${JSON.stringify(path)})
    console.log('held'); setInterval(() => {}, 1000)`
  const argv = ['--input-type=module', '--eval', script]
  const holder = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  await assert.rejects(acquireHomeLock(path), HowdahError)
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  await (await acquireHomeLock(path)).release()
})

test('a pid that another process has by now does not hold the lock', async () => {
  const path = join(directory, 'lock')
  await writeFile(path, `${process.pid} 1`)
  await (await acquireHomeLock(path)).release()
})

test('a damaged lock file does not lock for ever', async () => {
  const path = join(directory, 'lock')
  await writeFile(path, '')
  await (await acquireHomeLock(path)).release()
})
