// Owns the check of transactions over lists: an item's place in its list tells the order of
// versions, so the dependencies between transactions are known, and a cycle among them is an
// anomaly that SERIALIZABLE forbids.
import { describeAnomaly, type Holding } from './checker-anomaly.ts'
import type { Entry, Move } from './history.ts'

interface Transaction {
  index: number
  client: string
  outcome: Entry['outcome']
  moves: readonly Move[]
}

/** ww: overwrote it; wr: read what it wrote; rw: read before it overwrote that. */
type EdgeKind = 'ww' | 'wr' | 'rw'
type Edges = Map<number, Map<number, Set<EdgeKind>>>

export function checkLists(entries: readonly Entry[], holdings: readonly Holding[]) {
  const transactions = entries
    .flatMap(({ client, outcome, detail }) =>
      detail.kind === 'lists' ? [{ client, outcome, moves: detail.moves }] : [],
    )
    .map((transaction, index): Transaction => ({ index, ...transaction }))
  const order = holdings[0]?.lists ?? new Map<number, readonly number[]>()
  const lost = findLostAppends(transactions, holdings)
  const writers = writersOf(transactions)
  const problems = [
    ...describeAnomaly('an acknowledged append is gone (lost append)', lost),
    ...describeAnomaly('an item is in a list twice', findTwice(order)),
    ...checkReads(transactions, writers, order),
    ...describeCycles(transactions, buildEdges(transactions, writers, order)),
  ]
  return { lost: new Set(lost.map(({ append }) => append)).size, problems }
}

function appendsOf({ moves }: Transaction): { key: number; append: number }[] {
  return moves.filter((move): move is { key: number; append: number } => 'append' in move)
}

function readsOf({ moves }: Transaction): { key: number; read: readonly number[] }[] {
  return moves.filter((move): move is { key: number; read: number[] } => 'read' in move)
}

function writersOf(transactions: readonly Transaction[]): Map<number, Transaction> {
  return new Map(
    transactions.flatMap((one) => appendsOf(one).map(({ append }) => [append, one] as const)),
  )
}

function findLostAppends(
  transactions: readonly Transaction[],
  holdings: readonly Holding[],
): { instance: string; key: number; append: number }[] {
  const promised = transactions.filter(({ outcome }) => outcome === 'ok').flatMap(appendsOf)
  return holdings.flatMap(({ instance, lists }) => {
    const there = new Map([...lists].map(([key, items]) => [key, new Set(items)]))
    return promised
      .filter(({ key, append }) => there.get(key)?.has(append) !== true)
      .map((append) => ({ instance, ...append }))
  })
}

function findTwice(order: ReadonlyMap<number, readonly number[]>): number[] {
  return [...order.values()].flatMap((items) =>
    items.filter((item, index) => items.indexOf(item) !== index),
  )
}

/**
 * Every read is a beginning of the list as it ended, but for what the reader itself had appended.
 */
function checkReads(
  transactions: readonly Transaction[],
  writers: ReadonlyMap<number, Transaction>,
  order: ReadonlyMap<number, readonly number[]>,
): string[] {
  const strange: unknown[] = []
  const aborted: unknown[] = []
  const intermediate: unknown[] = []
  for (const reader of transactions.filter(({ outcome }) => outcome === 'ok')) {
    for (const { key, read } of readsOf(reader)) {
      const items = order.get(key) ?? []
      if (read.some((item, at) => items[at] !== item)) strange.push({ key, read: read.slice(-3) })
      for (const item of read) {
        if (writers.get(item)?.outcome === 'fail') aborted.push({ key, item })
      }
      const last = read.at(-1)
      const writer = last === undefined ? undefined : writers.get(last)
      if (writer === undefined || writer === reader) continue
      const ofKey = appendsOf(writer).filter((append) => append.key === key)
      if (ofKey.at(-1)?.append !== last) intermediate.push({ key, item: last })
    }
  }
  return [
    ...describeAnomaly('a read is no beginning of the final list', strange),
    ...describeAnomaly('a read saw what was rolled back (G1a)', aborted),
    ...describeAnomaly('a read saw half a transaction (G1b)', intermediate),
  ]
}

function buildEdges(
  transactions: readonly Transaction[],
  writers: ReadonlyMap<number, Transaction>,
  order: ReadonlyMap<number, readonly number[]>,
): Edges {
  const edges: Edges = new Map()
  const add = (from: Transaction | undefined, to: Transaction | undefined, kind: EdgeKind) => {
    if (from === undefined || to === undefined || from === to) return
    const targets = edges.get(from.index) ?? new Map<number, Set<EdgeKind>>()
    edges.set(from.index, targets)
    targets.set(to.index, (targets.get(to.index) ?? new Set()).add(kind))
  }
  for (const items of order.values()) {
    items.forEach((item, at) => {
      const next = items[at + 1]
      if (next !== undefined) add(writers.get(item), writers.get(next), 'ww')
    })
  }
  for (const reader of transactions.filter(({ outcome }) => outcome === 'ok')) {
    for (const { key, read } of readsOf(reader)) {
      const last = read.at(-1)
      if (last !== undefined) add(writers.get(last), reader, 'wr')
      const next = (order.get(key) ?? [])[read.length]
      if (next !== undefined) add(reader, writers.get(next), 'rw')
    }
  }
  return edges
}

/**
 * The narrowest name for each cycle: with writes only G0, without anti-dependencies G1c, with one
 * G-single.
 */
function describeCycles(transactions: readonly Transaction[], edges: Edges): string[] {
  const kinds: [string, (kind: EdgeKind) => boolean][] = [
    ['a cycle of writes (G0)', (kind) => kind === 'ww'],
    ['a cycle of writes and reads (G1c)', (kind) => kind !== 'rw'],
  ]
  for (const [name, keeps] of kinds) {
    const cycle = findComponents(transactions.length, edges, keeps)[0]
    if (cycle !== undefined) return [describeCycle(name, cycle, transactions)]
  }
  const component = findComponents(transactions.length, edges, () => true)[0]
  if (component === undefined) return []
  const name = hasSingle(edges, new Set(component))
    ? 'a cycle with one anti-dependency (G-single)'
    : 'a cycle with several anti-dependencies (G2)'
  return [describeCycle(name, component, transactions)]
}

function describeCycle(
  name: string,
  cycle: readonly number[],
  transactions: readonly Transaction[],
): string {
  const shown = cycle.slice(0, 4).map((index) => JSON.stringify(transactions[index]?.moves))
  return `${name} among ${cycle.length} transactions: ${shown.join(' | ').slice(0, 600)}`
}

/** Whether a reader's overwriter leads back to the reader without another anti-dependency. */
function hasSingle(edges: Edges, inside: ReadonlySet<number>): boolean {
  for (const from of inside) {
    for (const [to, kinds] of edges.get(from) ?? []) {
      if (!kinds.has('rw') || !inside.has(to)) continue
      const seen = new Set<number>([to])
      const open = [to]
      for (let at = open.pop(); at !== undefined; at = open.pop()) {
        if (at === from) return true
        for (const [next, kindsThere] of edges.get(at) ?? []) {
          const plain = kindsThere.has('ww') || kindsThere.has('wr')
          if (plain && inside.has(next) && !seen.has(next)) {
            seen.add(next)
            open.push(next)
          }
        }
      }
    }
  }
  return false
}

/**
 * Tarjan's strongly connected components with more than one transaction; a stack of our own, as
 * chains are long.
 */
function findComponents(
  count: number,
  edges: Edges,
  keeps: (kind: EdgeKind) => boolean,
): number[][] {
  const nextOf = (at: number) =>
    [...(edges.get(at) ?? [])].filter(([, kinds]) => [...kinds].some(keeps)).map(([to]) => to)
  const order = new Map<number, number>()
  const low = new Map<number, number>()
  const stack: number[] = []
  const onStack = new Set<number>()
  const components: number[][] = []
  const enter = (at: number) => {
    order.set(at, order.size)
    low.set(at, order.size - 1)
    stack.push(at)
    onStack.add(at)
    return { at, next: nextOf(at) }
  }
  const leave = (at: number) => {
    if (low.get(at) !== order.get(at)) return
    const component = stack.splice(stack.indexOf(at))
    for (const one of component) onStack.delete(one)
    if (component.length > 1) components.push(component)
  }
  for (let root = 0; root < count; root += 1) {
    if (order.has(root)) continue
    const frames = [enter(root)]
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      const { at } = frame
      const to = frame.next.pop()
      const lower = (value: number | undefined) =>
        low.set(at, Math.min(low.get(at) ?? 0, value ?? 0))
      if (to === undefined) {
        leave(at)
        frames.pop()
        const parent = frames.at(-1)?.at
        if (parent !== undefined) {
          low.set(parent, Math.min(low.get(parent) ?? 0, low.get(at) ?? 0))
        }
      } else if (!order.has(to)) frames.push(enter(to))
      else if (onStack.has(to)) lower(order.get(to))
    }
  }
  return components
}
