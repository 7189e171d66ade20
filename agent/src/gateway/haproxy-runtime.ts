// Owns what the agent says to HAProxy over its runtime socket. A command takes well under a
// millisecond, where a reload takes 70 and health checks seconds.
import { createConnection } from 'node:net'

const COMMAND_TIMEOUT_MS = 2000
const ANSWER_BYTES_MAX = 1024 * 1024

/** Answers that are not complaints: most commands succeed with an empty line. */
const COMPLAINT = /unknown|no such|invalid|require|failed|denied|error|unsupported/i

/** Sends commands in one go and returns everything that was answered. Throws on a complaint. */
export function commandHaproxy(socketPath: string, commands: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath)
    let answer = ''
    socket.setTimeout(COMMAND_TIMEOUT_MS, () => socket.destroy(new Error('HAProxy is silent')))
    socket.setEncoding('utf8')
    socket.on('connect', () => socket.end(`${commands.join(';')}\n`))
    socket.on('data', (text: string) => {
      answer += text
      if (answer.length > ANSWER_BYTES_MAX) socket.destroy(new Error('HAProxy answers too much'))
    })
    socket.on('error', reject)
    // After an answer it changes nothing; without one nobody else would tell.
    socket.on('close', () => reject(new Error('HAProxy hung up')))
    socket.on('end', () => {
      const complaint = answer.split('\n').find((line) => COMPLAINT.test(line))
      const isDump = commands.every((command) => command.startsWith('show '))
      if (complaint !== undefined && !isDump) return reject(new Error(`HAProxy: ${complaint}`))
      resolve(answer)
    })
  })
}

/** Where sessions of an instance may be. */
const BACKENDS = ['write', 'leader', 'replicas'] as const

/**
 * Sends everything to `leader`, or to nobody when there is none; the backend `leader` follows
 * `write`, and `replicas` is left to HAProxy's own checks. `health` and not `maint`: the
 * checks stay the net under the switch, so a server that Patroni calls the leader comes back by
 * itself if no agent says so.
 */
export function switchCommands(servers: readonly string[], leader: string | undefined): string[] {
  const others = servers.filter((name) => name !== leader)
  return [
    // Away first: for no moment may two servers be up.
    ...others.map((name) => `set server write/${name} health down`),
    ...(leader === undefined ? [] : [`set server write/${leader} health up`]),
  ]
}

/** Sessions of their own wait while it is closed; the pooler does not. */
export function gateCommand(gate: 'open' | 'closed'): string {
  return `set server gate/open state ${gate === 'open' ? 'ready' : 'maint'}`
}

/**
 * Readers leave the instance that leads, before the pooler is told to connect anew: HAProxy's
 * checks would still take it for a replica for a while, and a session that stays dies with the next
 * hand-over. A replica that an operation has drained stays drained, also in a HAProxy that forgot.
 */
export function readerCommands(
  servers: readonly string[],
  leader: string,
  drained: ReadonlySet<string>,
): string[] {
  const leaves = (name: string) => name === leader || drained.has(name)
  return servers.map(
    (name) => `set server replicas/${name} state ${leaves(name) ? 'drain' : 'ready'}`,
  )
}

export function cutCommands(server: string): string[] {
  return BACKENDS.map((backend) => `shutdown sessions server ${backend}/${server}`)
}
