// Owns the directory tree of the host and who owns what in it. Two worlds: `agent`, `services`,
// `config`, `tasks` and `agent-run` belong to the agent, so that no service can plant a link that
// the agent would follow as root; `data`, `run` and `log` belong to the service user, and the agent
// changes things below them only through child processes that have dropped to that user.
import { chmod, lchown, lstat, mkdir, realpath } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join, sep } from 'node:path'
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { HostFacts } from '@howdah/core/protocol.ts'
import { Value } from 'typebox/value'
import { hasCode } from './atomic-file.ts'
import { runProgram } from './run-program.ts'

export interface OsUser {
  name: string
  uid: number
  gid: number
}

export interface HostRoot {
  path: string
  serviceUser: OsUser
  agentUser: OsUser
  /** The service user when the agent has to drop to it, undefined when it already is that user. */
  dropTo: OsUser | undefined
}

const MKDIR_TIMEOUT_MS = 10_000
const LOOKUP_TIMEOUT_MS = 5000

/** Tops that hold what services write; everything below them is theirs. */
const SERVICE_TOPS: readonly string[] = [HOST_LAYOUT.data, HOST_LAYOUT.run, HOST_LAYOUT.log]

/**
 * Makes the tree, or corrects owner and mode of what is there. Safe to repeat. The root's path is
 * without links, wherever `configured` leads: processes are told by their working directory, which
 * the kernel shows so.
 */
export async function openHostRoot(configured: string, serviceUserName: string): Promise<HostRoot> {
  const { username, uid, gid } = userInfo()
  const agentUser = { name: username, uid, gid }
  const serviceUser = serviceUserName === username ? agentUser : await findUser(serviceUserName)
  if (uid !== 0 && serviceUser.uid !== uid) {
    throw new HowdahError('preflight-failed', `only root can run services as ${serviceUserName}`)
  }
  await mkdir(configured, { recursive: true, mode: 0o755 })
  const path = await realpath(configured)
  if (!Value.Check(HostFacts.properties.root, path)) {
    const said = `${configured} is ${path}: expected at most 80 plain characters`
    throw new HowdahError('preflight-failed', said)
  }
  const root: HostRoot = {
    path,
    serviceUser,
    agentUser,
    dropTo: serviceUser.uid === uid ? undefined : serviceUser,
  }
  await makeTop(path, agentUser, 0o755)
  await makeTop(join(path, HOST_LAYOUT.agent), agentUser, 0o700)
  await makeTop(join(path, HOST_LAYOUT.services), agentUser, 0o755)
  await makeTop(join(path, HOST_LAYOUT.config), agentUser, 0o755)
  await makeTop(join(path, HOST_LAYOUT.tasks), agentUser, 0o755)
  await makeTop(join(path, HOST_LAYOUT.agentRun), agentUser, 0o755)
  for (const top of SERVICE_TOPS) await makeTop(join(path, top), serviceUser, 0o700)
  return root
}

async function findUser(name: string): Promise<OsUser> {
  const argv = ['getent', 'passwd', name] as const
  const line = await runProgram({ argv: [...argv], timeoutMs: LOOKUP_TIMEOUT_MS }).catch(
    (error: unknown) => {
      const said = `there is no operating system user ${JSON.stringify(name)}`
      throw new HowdahError('preflight-failed', said, { cause: error })
    },
  )
  const fields = line.trim().split(':')
  return { name, uid: Number(fields[2]), gid: Number(fields[3]) }
}

// The parent of each top belongs to the agent, so nobody can swap the path between the calls.
async function makeTop(path: string, owner: OsUser, mode: number): Promise<void> {
  await mkdir(path, { mode }).catch((error: unknown) => {
    if (!hasCode(error, 'EEXIST')) throw error
  })
  const found = await lstat(path)
  if (!found.isDirectory()) {
    throw new HowdahError('preflight-failed', `${path} is not a directory`)
  }
  if (found.uid !== owner.uid || found.gid !== owner.gid) await lchown(path, owner.uid, owner.gid)
  if ((found.mode & 0o7777) !== mode) await chmod(path, mode)
}

/** The first component of a path of the spec. */
export function topOf(relative: string): string {
  return relative.split('/')[0] ?? ''
}

export function isServiceTop(top: string): boolean {
  return SERVICE_TOPS.includes(top)
}

/** The absolute path; throws when it would leave the root. Says nothing about links. */
export function below(root: HostRoot, relative: string): string {
  const path = join(root.path, relative)
  const canonical = path.startsWith(`${root.path}${sep}`) && path === `${root.path}/${relative}`
  if (!canonical || relative.includes('\0')) {
    const said = `the path ${JSON.stringify(relative)} is not one below the host's root`
    throw new HowdahError('agent-refused', said)
  }
  return path
}

/** Directories of services, made by the service user: a link that it planted gains nothing. */
export async function makeServiceDirectories(
  root: HostRoot,
  paths: readonly string[],
): Promise<void> {
  const wanted = paths.flatMap((path) => {
    const parts = path.split('/')
    return parts.slice(1).map((_, index) => below(root, parts.slice(0, index + 2).join('/')))
  })
  const missing: string[] = []
  for (const path of new Set(wanted)) if (!(await isDirectory(path))) missing.push(path)
  if (missing.length === 0) return
  await runProgram({
    argv: ['/usr/bin/mkdir', '-p', '-m', '0700', '--', ...missing],
    timeoutMs: MKDIR_TIMEOUT_MS,
    user: root.dropTo,
  })
}

/** A directory below `config`, made by the agent; passes through nothing but directories. */
export async function makeAgentDirectory(root: HostRoot, relative: string): Promise<string> {
  const path = below(root, relative)
  if (path !== join(root.path, topOf(relative))) await makeAgentDirectory(root, dirname(relative))
  await makeTop(path, root.agentUser, 0o755)
  return path
}

async function isDirectory(path: string): Promise<boolean> {
  return await lstat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
