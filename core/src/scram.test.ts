// Proves passwords and verifiers against a published vector; that PostgreSQL lets a verifier's
// password in is proven in control-plane/src/scram-login.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HowdahError } from './errors.ts'
import { generatePassword, parsePassword, scramVerifier } from './scram.ts'

test('the verifier of RFC 7677 comes out of its password and salt', () => {
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
  assert.equal(
    scramVerifier('pencil', salt),
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$' +
      'WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  )
})

test('each verifier has a salt of its own', () => {
  assert.notEqual(scramVerifier('pencil'), scramVerifier('pencil'))
})

test('a generated password is accepted, and needs quoting nowhere', () => {
  for (let count = 0; count < 100; count += 1) {
    assert.match(parsePassword(generatePassword()), /^[A-Za-z0-9_-]{32}$/)
  }
})

test('a password is 12 to 128 printable ASCII characters', () => {
  for (const password of ['a'.repeat(12), 'a'.repeat(128), ` "';$\\\`{}%#:@/ ~`]) {
    assert.equal(parsePassword(password), password)
  }
  const long = 'a'.repeat(12)
  for (const password of [
    '',
    'a'.repeat(11),
    'a'.repeat(129),
    `${long}\n`,
    `${long}é`,
    `${long}\0`,
  ]) {
    assert.throws(
      () => parsePassword(password),
      (error) => error instanceof HowdahError && error.code === 'invalid-password',
    )
  }
})

test('a refusal does not repeat the password', () => {
  const secret = 'correct horse battery staplé'
  assert.throws(
    () => parsePassword(secret),
    (error) => error instanceof Error && !error.message.includes('horse'),
  )
})
