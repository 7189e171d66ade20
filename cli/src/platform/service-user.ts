// Owns which operating system user databases run as: `postgres` under root, the caller otherwise.

import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { HowdahError } from '@howdah/core/errors.ts'

export interface ServiceUser {
  name: string
  uid: number
  gid: number
  /** The user that runs the platform's control plane and agents. */
  caller: string
  /** Given to run scripts: undefined where there is no user to change to. */
  dropTo: string | undefined
}

/** Throws `preflight-failed` if root has no unprivileged user to drop to. */
export function findServiceUser(): ServiceUser {
  const me = userInfo()
  if (me.uid !== 0) {
    return { name: me.username, uid: me.uid, gid: me.gid, caller: me.username, dropTo: undefined }
  }
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith('postgres:'))
  const [name, , uid, gid] = line?.split(':') ?? []
  if (name === undefined || uid === undefined || gid === undefined || uid === '0') {
    const said = 'there is no user "postgres" to run databases as: install the package postgresql'
    throw new HowdahError('preflight-failed', said)
  }
  return { name, uid: Number(uid), gid: Number(gid), caller: me.username, dropTo: name }
}

/** `argv` as run by the service user. */
export function asServiceUser(user: ServiceUser, argv: string[]): string[] {
  return user.dropTo === undefined ? argv : ['s6-setuidgid', user.dropTo, ...argv]
}
