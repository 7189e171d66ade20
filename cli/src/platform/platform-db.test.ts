// The platform database with real PostgreSQL: an interrupted initdb, access, and a kill.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { choosePostgresql, findPostgresql } from './installed-postgresql.ts'
import { platformLayout } from './layout.ts'
import {
  ensurePlatformDb,
  isPlatformDbReady,
  type PlatformDbContext,
  platformDbArgv,
  platformDbMajor,
} from './platform-db.ts'
import { makeHome, prepareHome } from './prepare-home.ts'
import { CLEAN_ENV, runProgram, tryProgram } from './run-program.ts'
import { asServiceUser, findServiceUser } from './service-user.ts'
import { waitFor } from './wait-for.ts'

let directory = ''
let context: PlatformDbContext
before(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'hp-')))
  await chmod(directory, 0o755)
  const layout = platformLayout(join(directory, 'h'), '127.62.2', 1)
  const user = findServiceUser()
  const binaries = choosePostgresql(findPostgresql(), undefined)
  context = { layout, user, binaries }
  await makeHome(layout)
  await prepareHome(layout, user)
})
after(() => rm(directory, { recursive: true }))

const psql = (sql: string) => {
  const where = ['-h', context.layout.runDirectory, '-U', 'howdah', '-d', 'howdah']
  return [join(context.binaries, 'psql'), ...where, '-XAtqc', sql]
}

test('an initdb that died half-way is made anew, and only once', async () => {
  await mkdir(join(context.layout.platform, 'new-pg-1', 'pg', 'base'), { recursive: true })
  assert.equal(await platformDbMajor(context.layout), undefined)
  await ensurePlatformDb(context)
  const names = await readdir(context.layout.platform)
  assert.deepEqual(
    names.filter((name) => name.startsWith('new-pg-')),
    [],
  )
  assert.ok(Number(await platformDbMajor(context.layout)) >= 15)
  const made = await stat(join(context.layout.dbDirectory, 'PG_VERSION'))
  await ensurePlatformDb(context)
  const again = await stat(join(context.layout.dbDirectory, 'PG_VERSION'))
  assert.equal(again.ino, made.ino)
  assert.equal((await stat(context.layout.dbDirectory)).mode & 0o777, 0o700)
})

test('the caller and the service user get in by the socket, others and TCP do not', async () => {
  const [program = '', ...argv] = asServiceUser(context.user, platformDbArgv(context))
  const child = spawn(program, argv, { env: CLEAN_ENV, stdio: 'ignore' })
  try {
    await waitFor({ what: 'the database', timeoutMs: 20_000 }, async () =>
      (await isPlatformDbReady(context)) ? { value: true } : { seen: 'not ready' },
    )
    const who = psql("select current_user, current_setting('synchronous_commit')")
    assert.equal((await runProgram(who, { timeoutMs: 10_000 })).trim(), 'howdah|on')
    const service = asServiceUser(context.user, who)
    assert.equal((await runProgram(service, { timeoutMs: 10_000 })).trim(), 'howdah|on')
    const addresses = await runProgram(psql('show listen_addresses'), { timeoutMs: 10_000 })
    assert.equal(addresses.trim(), '')
    if (process.geteuid?.() === 0) {
      const nobody = ['s6-setuidgid', 'nobody', ...psql('select 1')]
      const refused = await tryProgram(nobody, { timeoutMs: 10_000 })
      assert.match(refused.error, /[Pp]eer authentication failed/)
    }
  } finally {
    child.kill('SIGINT')
    await once(child, 'exit')
  }
})
