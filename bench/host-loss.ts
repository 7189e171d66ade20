// Owns how the host of an instance is lost and comes back, whoever's it is. Refusing: every process
// of it dies at once. Black-holed: they stop where they are, and no packet to or from its address
// arrives; what was frozen never runs again.
import type { StageHost } from '../test/harness/faults-stage.ts'
import { openBlackHole } from './black-hole.ts'

export const LOSS_KINDS = ['refusing', 'black-holed'] as const
export type LossKind = (typeof LOSS_KINDS)[number]

export type LosableHost = Pick<StageHost, 'address' | 'kill' | 'freeze' | 'boot'>

export interface HostLoss {
  /** The host starts again; returns before anything of it is up. Call it whatever happened. */
  restore(): Promise<void>
}

export async function loseHost(host: LosableHost, kind: LossKind): Promise<HostLoss> {
  if (kind === 'refusing') {
    await host.kill()
    return { restore: () => host.boot() }
  }
  const hole = await openBlackHole(host.address)
  const restore = async () => {
    try {
      hole.close()
    } finally {
      await host.kill()
      await host.boot()
    }
  }
  try {
    await host.freeze()
  } catch (error) {
    await restore()
    throw error
  }
  return { restore }
}
