// Goal: the hand-made request is one that everybody reads. Method: two independent parsers.
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { runProgram } from './run-program.ts'
import { createSigningRequest } from './signing-request.ts'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'

test('openssl and x509 accept the request, its signature, name and key', async () => {
  const directory = await mkdtemp('/tmp/hwd-csr-')
  try {
    // 200 characters: a length that takes a second byte.
    for (const name of ['howdah-agent', 'x'.repeat(200), 'é"\\/,=']) {
      const { csrPem, privateKeyPem } = createSigningRequest(name)
      const parsed = new x509.Pkcs10CertificateRequest(csrPem)
      assert.equal(await parsed.verify(), true)
      assert.deepEqual(parsed.subjectName.getField('CN'), [name])
      const path = join(directory, 'csr.pem')
      await writeFile(path, csrPem)
      const argv = ['openssl', 'req', '-in', path, '-verify', '-noout', '-pubkey'] as const
      const said = await runProgram({ argv: [...argv], timeoutMs: 5000 })
      const spki = { format: 'pem', type: 'spki' } as const
      const own = createPublicKey(createPrivateKey(privateKeyPem)).export(spki).toString()
      assert.ok(said.includes(own.trim()))
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
