// Owns how a segment is left out of the archive: PostgreSQL is told that it was archived. As
// whoever owns the directory, so that nothing in it can lead a root agent elsewhere.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TaskAction } from '@howdah/core/protocol.ts'
import { below, type HostRoot } from '../host-root.ts'
import { runProgram } from '../run-program.ts'

type LeaveAction = Extract<TaskAction, { kind: 'leave-segment' }>

const TIMEOUT_MS = 10_000

/** False when it does not wait to be archived any more. */
export async function leaveSegment(
  { dataDirectory, segment }: LeaveAction,
  { root }: { root: HostRoot },
): Promise<{ left: boolean }> {
  const status = join(below(root, dataDirectory), 'pg_wal', 'archive_status')
  const [ready, done] = [`${segment}.ready`, `${segment}.done`]
  if (!(await readdir(status)).includes(ready)) return { left: false }
  const argv = ['/usr/bin/mv', '-f', '-T', '--', join(status, ready), join(status, done)] as const
  await runProgram({ argv, timeoutMs: TIMEOUT_MS, user: root.dropTo })
  return { left: true }
}
