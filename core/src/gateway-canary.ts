// Owns what becomes of the canary of a gateway: after how long a silence its cluster is said not to
// be ready, and after how long that is an event. Whether a canary is due at all is the agent's to
// know: one that nobody expects is not reported.
import type { GatewayCanary } from './protocol.ts'

/** One that is lost or late by itself is not told: this takes two in a row. */
const LATE_MS = 12_000
/** No failover on working hosts and no planned change takes so long with somebody who leads. */
const BROKEN_MS = 20_000

/** What a gateway last said of it, where it said something. */
export type Canary = Pick<GatewayCanary, 'silentMs' | 'error'>

export const isLate = (canary: Canary | undefined): canary is Canary =>
  canary !== undefined && canary.silentMs >= LATE_MS

export function sayLate({ silentMs, error }: Canary): string {
  return `has not carried a write for ${Math.round(silentMs / 1000)} s: ${error}`
}

export const GATEWAY_NEWS = ['gateway.broken', 'gateway.works'] as const

export interface GatewayNews {
  kind: (typeof GATEWAY_NEWS)[number]
  message: string
}

const isBroken = ({ silentMs }: Canary) => silentMs >= BROKEN_MS
const works = ({ error }: Canary) => error === ''

/** Whether there may be something to tell: most canaries come back as the one before. */
export function mayBeNews(before: Canary | undefined, now: Canary): boolean {
  return isBroken(now) || (works(now) && (before === undefined || !works(before)))
}

/** What is new, given whether it was told last that the gateway is broken. */
export function gatewayNews(
  toldBroken: boolean,
  name: string,
  now: Canary,
): GatewayNews | undefined {
  if (!toldBroken && isBroken(now)) {
    return { kind: 'gateway.broken', message: `${name} ${sayLate(now)}` }
  }
  if (toldBroken && works(now)) {
    return { kind: 'gateway.works', message: `${name} carries writes again` }
  }
  return undefined
}
