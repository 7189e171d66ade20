// Owns the choice of the stage: hosts as network namespaces where the machine allows it, loopback
// addresses otherwise, and it says which and why.
import { type Stage, startLoopbackStage, whyNoNamespaces } from '../harness/faults-stage.ts'
import { startNamespaceStage } from '../harness/namespace-hosts.ts'

const LOOPBACK_SUBNET = '127.69.0'

export async function openStage(
  wanted: string | undefined,
  say: (line: string) => void,
): Promise<Stage> {
  if (wanted !== undefined && wanted !== 'namespaces' && wanted !== 'loopback') {
    throw new Error(`the stage is namespaces or loopback, not ${wanted}`)
  }
  const why = wanted === 'loopback' ? 'as asked' : await whyNoNamespaces()
  if (why === undefined) {
    say('hosts are namespaces: own network, processes and disk each')
    return startNamespaceStage()
  }
  if (wanted === 'namespaces') throw new Error(`hosts cannot be namespaces: ${why}`)
  say(`hosts are loopback addresses (${why}): only faults of processes`)
  return startLoopbackStage(LOOPBACK_SUBNET)
}
