// Owns fault points: named places at which a test makes the process kill itself. Off unless a fault
// file is configured. The file names one point; it is removed before the kill, so a restart does
// not die again.
import { readFileSync, unlinkSync } from 'node:fs'

export interface Faults {
  at(point: string): void
}

export const noFaults: Faults = { at() {} }

export function faultsFrom(faultFile: string): Faults {
  if (faultFile === '') return noFaults
  return {
    at(point) {
      let wanted: string
      try {
        wanted = readFileSync(faultFile, 'utf8').trim()
      } catch {
        return
      }
      if (wanted !== point) return
      unlinkSync(faultFile)
      process.kill(process.pid, 'SIGKILL')
    },
  }
}
