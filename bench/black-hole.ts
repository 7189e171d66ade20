// Owns the packet filter of the benches: one nftables table that drops everything to and from one
// address of this machine, so that nothing answers there, not even with a reset. Only root can have
// it. It must never outlive the bench: it goes with a signal and at the exit, too, and what a
// former run left goes before the next one.
import { spawnSync } from 'node:child_process'
import { applyRules } from '../test/harness/namespace-hosts-network.ts'

export interface BlackHole {
  /** Throws when a signal removed it before: then what was measured since means nothing. */
  close(): void
}

const TABLE = 'ip howdah_bench'
const COMMAND_TIMEOUT_MS = 10_000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Undefined, or why there can be none here. */
export function whyNoBlackHole(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can drop packets'
  const tried = runNft('list', 'tables')
  return tried.status === 0 ? undefined : `nft does not work: ${tried.said}`
}

/** What a run that was killed left; without it there is nothing to do. */
export function removeStaleBlackHole(): void {
  if (whyNoBlackHole() === undefined) removeTable()
}

export async function openBlackHole(address: string): Promise<BlackHole> {
  let isThere = true
  const remove = () => {
    if (isThere) removeTable()
    isThere = false
  }
  for (const signal of SIGNALS) process.on(signal, remove)
  process.on('exit', remove)
  const forget = () => {
    for (const signal of SIGNALS) process.off(signal, remove)
    process.off('exit', remove)
  }
  try {
    await applyRules([], renderBlackHole(address))
  } catch (error) {
    forget()
    throw error
  }
  return {
    close() {
      const wasThere = isThere
      remove()
      forget()
      if (!wasThere) throw new Error('the black hole was closed by a signal')
    },
  }
}

/**
 * Only on the way in: what is dropped on the way out is an error for the program that sends it, and
 * nobody is told of a lost packet. On loopback every packet comes in.
 */
function renderBlackHole(address: string): string {
  return [
    `table ${TABLE} {`,
    '  chain input {',
    '    type filter hook input priority 0; policy accept;',
    `    ip daddr ${address} drop`,
    `    ip saddr ${address} drop`,
    '  }',
    '}',
    '',
  ].join('\n')
}

function removeTable(): void {
  const removed = runNft('delete', 'table', ...TABLE.split(' '))
  if (removed.status === 0 || removed.said.includes('No such file')) return
  console.error(`nft delete table ${TABLE}: ${removed.said}`)
}

function runNft(...args: string[]): { status: number | null; said: string } {
  const ended = spawnSync('nft', args, { timeout: COMMAND_TIMEOUT_MS, encoding: 'utf8' })
  return { status: ended.status, said: ended.error?.message ?? ended.stderr.trim() }
}
