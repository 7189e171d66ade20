// Which platform a home holds: settings, addresses and the environment together.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { HowdahError } from '@howdah/core/errors.ts'
import { readPlatformConfig } from './config.ts'
import { dcsHosts } from './layout.ts'
import { openHome } from './open-home.ts'
import { writeSettings } from './settings.ts'

let directory = ''
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'ho-')))
})
afterEach(() => rm(directory, { recursive: true }))

const config = readPlatformConfig({})

test('a new home has four hosts on the default addresses, the fourth for gateways', async () => {
  const { layout, settings } = await openHome(join(directory, 'new', 'home'), config)
  assert.equal(settings, undefined)
  assert.deepEqual(
    layout.hosts.map((host) => [host.name, host.address, host.role]),
    [
      ['host-1', '127.42.0.1', 'data'],
      ['host-2', '127.42.0.2', 'data'],
      ['host-3', '127.42.0.3', 'data'],
      ['host-4', '127.42.0.4', 'gateway'],
    ],
  )
  assert.deepEqual(dcsHosts(layout), ['host-1', 'host-2', 'host-3'])
})

test('a platform with one host still has a dcs', async () => {
  const { layout } = await openHome(directory, config, 1)
  assert.deepEqual(dcsHosts(layout), ['host-1'])
  assert.equal(layout.hosts[0]?.role, 'data')
})

test('a home keeps its addresses, and never loses hosts', async () => {
  await mkdir(join(directory, 'platform'))
  const path = join(directory, 'platform', 'settings.json')
  await writeSettings(path, { subnet: '127.9.9', hosts: 5, demo: 'created' })
  const { layout } = await openHome(directory, config, 2)
  assert.equal(layout.hosts.length, 5)
  assert.equal(layout.controlPlaneAddress, '127.9.9.100')
  const other = readPlatformConfig({ HOWDAH_SUBNET: '127.8.8' })
  await assert.rejects(openHome(directory, other), HowdahError)
})

test('a home behind a link is known by its real path', async () => {
  const link = join(directory, 'link')
  await mkdir(join(directory, 'real'))
  await symlink(join(directory, 'real'), link)
  const { layout } = await openHome(join(link, 'home'), config)
  assert.equal(layout.home, join(directory, 'real', 'home'))
})

test('damaged settings are refused, not overwritten', async () => {
  await mkdir(join(directory, 'platform'))
  for (const text of ['', 'null', '{}', '{"subnet":"10.0.0","hosts":4,"demo":"created"}']) {
    await writeFile(join(directory, 'platform', 'settings.json'), text)
    await assert.rejects(openHome(directory, config), HowdahError)
  }
})

test('variables that cannot be used are named', () => {
  const environment = { HOWDAH_SUBNET: '10.0.0', HOWDAH_LOG_LEVEL: 'loud' }
  assert.throws(() => readPlatformConfig(environment), /HOWDAH_SUBNET[\s\S]*HOWDAH_LOG_LEVEL/)
  for (const subnet of ['127.0', '127.1.256', '127.01.1', '127.1.1.1', '127.1.x', '']) {
    assert.throws(() => readPlatformConfig({ HOWDAH_SUBNET: subnet }), HowdahError)
  }
})
