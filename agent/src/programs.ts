// Owns the allow-list: a HostSpec names a program, this file alone says which file that is. A spec
// can therefore never make the agent start anything else.
import { access, constants } from 'node:fs/promises'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Program } from '@howdah/core/host-spec.ts'

/** Where distributions put each program, in order of preference. */
const PROGRAM_PATHS: Readonly<Record<Program, readonly string[]>> = {
  etcd: ['/usr/bin/etcd', '/usr/local/bin/etcd'],
  patroni: ['/usr/bin/patroni', '/usr/local/bin/patroni'],
  haproxy: ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'],
  pgbouncer: ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'],
  pgbackrest: ['/usr/bin/pgbackrest', '/usr/local/bin/pgbackrest'],
}

/** Absolute path, or undefined when the program is not installed. */
export async function findProgram(program: Program): Promise<string | undefined> {
  for (const path of PROGRAM_PATHS[program]) {
    const usable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (usable) return path
  }
  return undefined
}

export async function resolveProgram(program: Program): Promise<string> {
  // A spec is parsed before it comes here; Object.hasOwn keeps `constructor` and friends out
  // should that ever be forgotten.
  if (!Object.hasOwn(PROGRAM_PATHS, program)) {
    throw new HowdahError('agent-refused', `the program ${JSON.stringify(program)} is not allowed`)
  }
  const path = await findProgram(program)
  if (path === undefined) {
    throw new HowdahError('agent-refused', `${program} is not installed on this host`)
  }
  return path
}
