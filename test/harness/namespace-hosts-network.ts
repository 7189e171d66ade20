// Owns the network between namespace hosts: one bridge, a veth pair for each, and the packet filter
// inside a namespace. Traffic stays on the bridge; everything made here has the bridge's name in
// its own and is removed.
import { execFile, spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import type { Cut } from './faults-stage.ts'

export interface Network {
  /** First three parts of its addresses. */
  subnet: string
  /** Of the clients: the first address of the bridge. */
  clientAddress: string
  controlPlaneAddress: string
  addHost(number: number): Promise<NetworkPort>
  remove(): Promise<void>
}

export interface NetworkPort {
  address: string
  /** Argv that runs what follows it inside. */
  enter: readonly string[]
  unplug(): Promise<void>
  plug(): Promise<void>
  cut(cut: Cut): Promise<void>
  mend(): Promise<void>
}

const COMMAND_TIMEOUT_MS = 10_000
const NETWORKS_MAX = 20
const CLIENT = 200
const CONTROL_PLANE = 100
const DCS_PORTS = '{ 2379, 2380 }'

const execute = promisify(execFile)

export async function run(argv: readonly string[]): Promise<string> {
  const [program = '', ...args] = argv
  const { stdout } = await execute(program, args, { timeout: COMMAND_TIMEOUT_MS })
  return stdout
}

/** The first free one of 10.77.1 … 10.77.20: two runs may share a machine. */
export async function makeNetwork(): Promise<Network> {
  for (let number = 1; number <= NETWORKS_MAX; number += 1) {
    const bridge = `howdah${number}`
    try {
      await run(['ip', 'link', 'add', bridge, 'type', 'bridge', 'forward_delay', '0'])
    } catch (error) {
      if (/exists/.test((error as Error).message)) continue
      throw error
    }
    const subnet = `10.77.${number}`
    await run(['ip', 'address', 'add', `${subnet}.${CLIENT}/24`, 'dev', bridge])
    await run(['ip', 'address', 'add', `${subnet}.${CONTROL_PLANE}/24`, 'dev', bridge])
    await run(['ip', 'link', 'set', bridge, 'up'])
    return makeBridge(bridge, subnet)
  }
  throw new Error(`bridges howdah1 to howdah${NETWORKS_MAX} exist: remove those that nobody uses`)
}

function makeBridge(bridge: string, subnet: string): Network {
  const namespaces: string[] = []
  const ports: string[] = []
  return {
    subnet,
    clientAddress: `${subnet}.${CLIENT}`,
    controlPlaneAddress: `${subnet}.${CONTROL_PLANE}`,
    async addHost(number) {
      const namespace = `${bridge}-${number}`
      const port = `${bridge}p${number}`
      const address = `${subnet}.${number}`
      await run(['ip', 'netns', 'add', namespace])
      namespaces.push(namespace)
      const inside = ['ip', '-netns', namespace]
      const pair = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace]
      await run(['ip', 'link', 'add', port, ...pair])
      ports.push(port)
      await run(['ip', 'link', 'set', port, 'master', bridge, 'up'])
      await run([...inside, 'address', 'add', `${address}/24`, 'dev', 'eth0'])
      await run([...inside, 'link', 'set', 'lo', 'up'])
      await run([...inside, 'link', 'set', 'eth0', 'up'])
      return makePort({ namespace, port, address, clientAddress: `${subnet}.${CLIENT}` })
    },
    async remove() {
      // With its pair, at once: the kernel takes a namespace apart later, and not at all while
      // anything in it lives on, and the next network has the same names.
      for (const port of ports) await run(['ip', 'link', 'delete', port])
      for (const namespace of namespaces) await run(['ip', 'netns', 'delete', namespace])
      await run(['ip', 'link', 'delete', bridge])
    },
  }
}

function makePort(parts: {
  namespace: string
  port: string
  address: string
  clientAddress: string
}): NetworkPort {
  const { namespace, port, address, clientAddress } = parts
  const enter = ['nsenter', `--net=/run/netns/${namespace}`]
  return {
    address,
    enter,
    unplug: async () => void (await run(['ip', 'link', 'set', port, 'down'])),
    plug: async () => void (await run(['ip', 'link', 'set', port, 'up'])),
    cut: (cut) => applyRules(enter, renderRules(cut, clientAddress)),
    mend: () => applyRules(enter, 'flush ruleset\n'),
  }
}

/** What goes to itself and to the clients passes; of the rest, what the cut says does not. */
export function renderRules(cut: Cut, clientAddress: string): string {
  const verdict = cut.how === 'drop' ? ['drop'] : ['meta l4proto tcp reject with tcp reset', 'drop']
  const ports = {
    all: [''],
    dcs: [`tcp dport ${DCS_PORTS} `, `tcp sport ${DCS_PORTS} `],
    peers: [`tcp dport != ${DCS_PORTS} tcp sport != ${DCS_PORTS} `, 'meta l4proto != tcp '],
  }[cut.what]
  const chain = (name: 'input' | 'output') => {
    const [device, side] = name === 'input' ? ['iif', 'saddr'] : ['oif', 'daddr']
    return [
      `  chain ${name} {`,
      `    type filter hook ${name} priority 0; policy accept;`,
      `    ${device} lo accept`,
      `    ip ${side} ${clientAddress} accept`,
      ...ports.flatMap((match) =>
        verdict.map((word) => `    ip ${side} 0.0.0.0/0 ${match}${word}`),
      ),
      '  }',
    ]
  }
  const chains = [
    ...(cut.direction === 'out' ? [] : chain('input')),
    ...(cut.direction === 'in' ? [] : chain('output')),
  ]
  return ['flush ruleset', 'table inet howdah {', ...chains, '}', ''].join('\n')
}

/** A file of nft, applied inside of what `enter` names; without it, to this machine itself. */
export async function applyRules(enter: readonly string[], rules: string): Promise<void> {
  const [program = '', ...args] = [...enter, 'nft', '--file', '-']
  const child = spawn(program, args, { stdio: 'pipe', timeout: COMMAND_TIMEOUT_MS })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  child.stdin.on('error', () => undefined).end(rules)
  const said = await text(child.stderr)
  const code = await ended
  if (code !== 0) throw new Error(`nft ended with exit code ${code}: ${said}\n${rules}`)
}
