// Owns the renewal of the host's certificate: at two thirds of its life, with a new key, retried
// until it works. The identity in use is replaced only by one that is checked and on disk.
import { describeError } from '@howdah/core/errors.ts'
import type { Logger } from 'pino'
import { makeBackoff } from './backoff.ts'
import type { ControlPlane } from './control-plane.ts'
import type { HostRoot } from './host-root.ts'
import { checkIdentity, type Identity, renewalTimeMs, saveIdentity } from './identity.ts'
import { createSigningRequest } from './signing-request.ts'
import { pause } from './wake.ts'

/** Timers overflow above 24.8 days; looking at the clock now and then also survives jumps. */
const SLEEP_MS_MAX = 600_000

export interface RenewalNeeds {
  root: HostRoot
  controlPlane: ControlPlane
  identity: Identity
  log: Logger
  signal: AbortSignal
}

export async function keepIdentityValid(needs: RenewalNeeds): Promise<void> {
  const { controlPlane, log, signal } = needs
  const backoff = makeBackoff({ minMs: 1000, maxMs: 300_000 })
  let identity = needs.identity
  while (!signal.aborted) {
    const waitMs = renewalTimeMs(identity) - Date.now()
    if (waitMs > 0) {
      await pause(Math.min(waitMs, SLEEP_MS_MAX), signal)
      continue
    }
    try {
      const { csrPem, privateKeyPem } = createSigningRequest(identity.hostId)
      const reply = await controlPlane.renew({ csrPem }, signal)
      const next = { hostId: identity.hostId, privateKeyPem, ...reply }
      checkIdentity(next)
      await saveIdentity(needs.root, next)
      controlPlane.useIdentity(next)
      identity = next
      backoff.reset()
      log.info({ renewAt: new Date(renewalTimeMs(next)).toISOString() }, 'certificate renewed')
    } catch (error) {
      if (signal.aborted) return
      log.warn({ error: describeError(error) }, 'certificate not renewed')
    }
    // Also after a success: a control plane with a wrong clock must not make this loop spin.
    await pause(backoff.nextMs(), signal)
  }
}
