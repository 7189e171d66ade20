// Owns the bench of a crash: SIGKILL to the leader's postmaster, and the gap that a client at the
// write endpoint sees.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../test/harness/until.ts'
import type { Stack } from '../stack.ts'
import { settle, type Trial } from './trials.ts'
import { startWriteProbe } from './write-probe.ts'

const WARM_UP_MS = 1000
const WARM_UP_TIMEOUT_MS = 60_000
/** A row sent this long after the fault can only be acknowledged by what came after it. */
const AFTERMATH_MS = 500
const RECOVERY_TIMEOUT_MS = 180_000

export const crashTrial: Trial = { kind: 'crash', run: runCrash }

async function runCrash(stack: Stack, round: number): Promise<Record<string, unknown>> {
  const leader = await stack.waitWhole()
  const instance = (await stack.instances()).find(({ name }) => name === leader)
  if (instance === undefined) throw new Error(`BUG: ${leader} is no instance`)
  const probe = await startWriteProbe(stack.write, round)
  const begunMs = performance.now()
  await until('the probe to write', WARM_UP_TIMEOUT_MS, () =>
    probe.hasWrittenSince(begunMs + WARM_UP_MS) ? { value: true } : { seen: 'nothing' },
  )
  const pidFile = readFileSync(join(instance.dataDirectory, 'postmaster.pid'), 'utf8')
  const faultMs = performance.now()
  process.kill(Number(pidFile.split('\n')[0]), 'SIGKILL')
  await until(`${stack.name} to write again`, RECOVERY_TIMEOUT_MS, () => {
    const recovered = probe.hasWrittenSince(faultMs + AFTERMATH_MS)
    return recovered ? { value: true } : { seen: 'no acknowledgement' }
  })
  const next = await settle(stack)
  const wholeMs = Math.round(performance.now() - faultMs)
  const { gapStartMs, ...report } = await probe.stop()
  const lost = await probe.countLost()
  const noticedMs = Math.round(gapStartMs - faultMs)
  return { ...report, lost, noticedMs, wholeMs, from: leader, to: next }
}
