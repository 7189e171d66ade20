// Owns the damage that a disk does without telling: one bit of a file, and the way back.
import { readFile, writeFile } from 'node:fs/promises'

/** In its middle. Returns what makes the file sound again. */
export async function flipBit(path: string): Promise<() => Promise<void>> {
  const sound = await readFile(path)
  const broken = Buffer.from(sound)
  const at = Math.floor(broken.length / 2)
  broken[at] = (broken[at] ?? 0) ^ 1
  await writeFile(path, broken)
  return () => writeFile(path, sound)
}
