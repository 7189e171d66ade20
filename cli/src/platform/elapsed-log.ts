// Owns progress lines with the seconds since the command began.
import type { Output } from '../output.ts'

export function makeElapsedLog(output: Output): (line: string) => void {
  const beginMs = performance.now()
  return (line) => {
    const seconds = ((performance.now() - beginMs) / 1000).toFixed(1)
    output.note(`${seconds.padStart(6)}s  ${line}`)
  }
}
