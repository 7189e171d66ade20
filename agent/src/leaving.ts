// Owns the question that the Patronis of this host ask before they stop PostgreSQL for a planned
// change of leader (the patch ask_before_leaving): may I go? Whoever has begun the change holds the
// clients meanwhile, so that they wait for the change and not for Patroni's checks before it. A
// Patroni that nobody expects goes at once: somebody else began its change. No answer is a no.
import { chmod, chown, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { LEAVING_SOCKET } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { hasCode } from './atomic-file.ts'
import type { HostRoot } from './host-root.ts'
import { pause } from './wake.ts'

/** Clients are held within 5 s, or not at all. Patroni waits for 10 s. */
const ANSWER_MS_MAX = 8000
/** A Patroni that was told to stay asks again if its request is still there: still no. */
const STAYS_MS = 30_000
/** Patronis look for their agent once a second. */
const SESSION_MS_MAX = 2000
const LOOK_MS = 50
/** An instance's name and a newline, or a question. */
const LINE_BYTES_MAX = 200
const SESSIONS_MAX = 100

export interface Leaving {
  /** Whether the Patroni of the instance would ask; waits a moment for one that comes back. */
  asks(instance: string, signal: AbortSignal): Promise<boolean>
  /**
   * The next question of the instance is whoever calls' to answer: resolves when it has come. Until
   * then, and for as long as an answer may take, nobody else's change of it goes through unasked.
   * Rejects when `signal` aborts.
   */
  expect(instance: string, signal: AbortSignal): Promise<void>
  /** False when nothing waits for it any more. */
  answer(instance: string, goes: boolean): boolean
  close(): Promise<void>
}

interface Expected {
  asked: () => void
  /** Set once it has asked. */
  reply?: (goes: boolean) => void
}

/** Listens in a directory that is the agent's, for the service user only. */
export async function openLeaving(root: HostRoot, log: Logger): Promise<Leaving> {
  const path = join(root.path, LEAVING_SOCKET)
  const sessions = new Map<string, Socket>()
  const expected = new Map<string, Expected>()
  const stays = new Map<string, number>()
  // An agent before us may have begun a change, and died.
  const beganMs = performance.now()
  const staysUntil = (instance: string) => stays.get(instance) ?? beganMs + STAYS_MS

  function question(instance: string, socket: Socket): void {
    const say = (goes: boolean) => socket.write(goes ? 'go\n' : 'no\n')
    const mine = expected.get(instance)
    if (mine === undefined) return void say(performance.now() > staysUntil(instance))
    const timer = setTimeout(() => reply(false), ANSWER_MS_MAX)
    const reply = (goes: boolean) => {
      clearTimeout(timer)
      if (expected.get(instance) === mine) expected.delete(instance)
      if (!goes) stays.set(instance, performance.now() + STAYS_MS)
      log.info({ instance, goes }, 'answered who wants to stop leading')
      say(goes)
    }
    mine.reply = reply
    mine.asked()
  }

  const server = createServer((socket) => readLines(socket, sessions, question))
  await listen(server, path, root)
  server.on('error', (error) => log.error({ error: describeError(error) }, 'nobody can ask'))

  return {
    async asks(instance, signal) {
      const deadlineMs = performance.now() + SESSION_MS_MAX
      while (!sessions.has(instance) && performance.now() < deadlineMs && !signal.aborted) {
        await pause(LOOK_MS, signal)
      }
      return sessions.has(instance)
    },
    expect(instance, signal) {
      signal.throwIfAborted()
      stays.delete(instance)
      return new Promise((resolve, reject) => {
        const mine: Expected = { asked: resolve }
        expected.set(instance, mine)
        signal.addEventListener('abort', () => {
          if (expected.get(instance) === mine && mine.reply === undefined) {
            expected.delete(instance)
            stays.set(instance, performance.now() + STAYS_MS)
          }
          reject(signal.reason)
        })
      })
    },
    answer(instance, goes) {
      const reply = expected.get(instance)?.reply
      reply?.(goes)
      return reply !== undefined
    },
    async close() {
      for (const socket of sessions.values()) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await rm(path, { force: true }).catch((error: unknown) => {
        if (!hasCode(error, 'ENOENT')) throw error
      })
    },
  }
}

async function listen(server: Server, path: string, root: HostRoot): Promise<void> {
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  if (root.dropTo !== undefined) await chown(path, root.dropTo.uid, root.dropTo.gid)
}

/** The first line says whose session it is, and each other one is a question. */
function readLines(
  socket: Socket,
  sessions: Map<string, Socket>,
  question: (instance: string, socket: Socket) => void,
): void {
  if (sessions.size >= SESSIONS_MAX) return void socket.destroy()
  let name: string | undefined
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (data: string) => {
    text += data
    if (text.length > LINE_BYTES_MAX) return void socket.destroy()
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) {
      if (name !== undefined) question(name, socket)
      else {
        name = line
        sessions.get(name)?.destroy()
        sessions.set(name, socket)
      }
    }
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    if (name !== undefined && sessions.get(name) === socket) sessions.delete(name)
  })
}
