// Proves backup-info without anything else running.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRepositoryAnswer } from './backup-info.ts'

// As pgBackRest 2.45 printed it.
const ANSWER = `[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"2","min":"1"}],
"backup":[{"annotation":{"operation":"op_1"},"archive":{"start":"000000020000000000000002",
"stop":"000000020000000000000002"},"backrest":{"format":5,"version":"2.45"},"database":{"id":1,
"repo-key":1},"error":false,"info":{"delta":23213841,"repository":{"delta":2855936,"size":2855936},
"size":23213841},"label":"20261121-030930F","lsn":{"start":"0/2000028","stop":"0/2000100"},
"prior":null,"reference":null,"timestamp":{"start":1795230570,"stop":1795230572},"type":"full"}],
"cipher":"aes-256-cbc","db":[{"id":1,"repo-key":1,"system-id":7710456579436903345,"version":"15"}],
"name":"clu_x","repo":[{"cipher":"aes-256-cbc","key":1,"status":{"code":0,"message":"ok"}}],
"status":{"code":0,"lock":{"backup":{"held":false}},"message":"ok"}}]`

test('what the program prints becomes backups with their operation and timeline', () => {
  const { backups, isThere, running } = parseRepositoryAnswer(ANSWER, 'clu_x')
  assert.equal(isThere, true)
  assert.equal(running, undefined)
  assert.equal(backups[0]?.operationId, 'op_1')
  assert.equal(backups[0]?.info.timeline, 2)
  assert.equal(backups[0]?.stoppedAt.toISOString(), '2026-11-21T03:09:32.000Z')
})

test('a backup that runs is seen with its progress', () => {
  const held = ANSWER.replace('"held":false', '"held":true,"size":100,"size-cplt":40')
  assert.deepEqual(parseRepositoryAnswer(held, 'clu_x').running, { doneBytes: 40, totalBytes: 100 })
})

test('a stanza that is not there has no backups', () => {
  assert.deepEqual(parseRepositoryAnswer('[]', 'clu_x').backups, [])
  for (const code of [1, 3]) {
    const { isThere, backups } = parseRepositoryAnswer(unread(code), 'clu_x')
    assert.deepEqual({ isThere, backups }, { isThere: false, backups: [] })
  }
})

// What it prints, ending well, when a store answers 403 or not at all.
const unread = (code: number) => `[{"archive":[],"backup":[],"cipher":"aes-256-cbc","db":[],
"name":"clu_x","repo":[{"cipher":"aes-256-cbc","key":1,"status":{"code":${code},"message":"x"}}],
"status":{"code":${code},"lock":{"backup":{"held":false}},"message":"x"}}]`

test('a repository that cannot be read is none without backups', () => {
  for (const code of [4, 5, 6, 99]) {
    assert.throws(() => parseRepositoryAnswer(unread(code), 'clu_x'), { code: 'repository-failed' })
  }
  assert.deepEqual(parseRepositoryAnswer(unread(2), 'clu_x').backups, [])
})

test('anything else is refused', () => {
  for (const text of ['', '{}', '[{"name":1}]', ANSWER.replace('20261121-030930F', '../../etc')]) {
    assert.throws(() => parseRepositoryAnswer(text, 'clu_x'), { code: 'repository-failed' })
  }
})
