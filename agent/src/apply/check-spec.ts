// Owns what a HostSpec must hold beyond its schema before anything on the host is touched. The
// control plane may be in wrong hands: a spec can ask for services as the service user and for
// clients to be refused in one line, and for nothing else. A spec is accepted or refused as a
// whole.
import { isIP, isIPv6, SocketAddress } from 'node:net'
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT, HostSpec, type Refusal } from '@howdah/core/host-spec.ts'
import { Value } from 'typebox/value'
import { isServiceTop, topOf } from '../host-root.ts'

/** The agent's own service in the same scan directory. */
const RESERVED_SERVICES: readonly string[] = ['agent', 'log']
const ENVIRONMENT_NAME = /^[A-Z_][A-Z0-9_]*$/
const COUNT_MAX = 500
/** One address of this host is wanted; of another host's, listening there fails by itself. */
const WILDCARDS: readonly string[] = ['0.0.0.0', '::', '::ffff:0.0.0.0']

/** The spec as typed, or an error `agent-refused` that lists every problem. */
export function checkSpec(value: unknown, hostId: string): HostSpec {
  if (!Value.Check(HostSpec, value)) {
    const said = Value.Errors(HostSpec, value)
      .slice(0, 5)
      .map((error) => `${error.instancePath || '/'} ${error.message}`)
    throw new HowdahError('agent-refused', `the spec does not fit the schema: ${said.join('; ')}`)
  }
  const problems = [
    ...(value.hostId === hostId ? [] : [`it is for the host ${JSON.stringify(value.hostId)}`]),
    ...countProblems(value),
    ...pathProblems(value),
    ...refusalProblems(value.refusals ?? []),
    ...value.services.flatMap((service) => serviceProblems(service, value)),
  ]
  if (problems.length > 0) {
    const said = `the spec ${value.revision} is refused: ${problems.slice(0, 10).join('; ')}`
    throw new HowdahError('agent-refused', said.slice(0, 3500))
  }
  return value
}

function countProblems(spec: HostSpec): string[] {
  const lists = { directories: spec.directories, files: spec.files, services: spec.services }
  return Object.entries(lists)
    .filter(([, list]) => list.length > COUNT_MAX)
    .map(([name, list]) => `it has ${list.length} ${name}, more than ${COUNT_MAX}`)
}

function pathProblems(spec: HostSpec): string[] {
  const problems: string[] = []
  for (const path of spec.directories) {
    const top = topOf(path)
    if (!isServiceTop(top) && top !== HOST_LAYOUT.config) {
      problems.push(`the directory ${path} is not below data, run, log or config`)
    }
  }
  const files = new Set<string>()
  for (const { path } of spec.files) {
    if (topOf(path) !== HOST_LAYOUT.config || !path.includes('/')) {
      problems.push(`the file ${path} is not below config`)
    }
    if (files.has(path)) problems.push(`the file ${path} is there twice`)
    files.add(path)
  }
  // A file where another path needs a directory would fail half-way through.
  for (const path of [...files, ...spec.directories]) {
    for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1)) {
      const parent = path.slice(0, cut)
      if (files.has(parent)) problems.push(`${parent} is both a file and a directory`)
    }
  }
  for (const path of spec.directories) {
    if (files.has(path)) problems.push(`${path} is both a file and a directory`)
  }
  return problems
}

function serviceProblems(service: HostSpec['services'][number], spec: HostSpec): string[] {
  const { name } = service
  const problems: string[] = []
  if (RESERVED_SERVICES.includes(name)) problems.push(`the service name ${name} is reserved`)
  if (spec.services.filter((other) => other.name === name).length > 1) {
    problems.push(`the service ${name} is there twice`)
  }
  for (const path of [...service.restartOn, ...service.reloadOn]) {
    if (!spec.files.some((file) => file.path === path)) {
      problems.push(`the service ${name} depends on ${path}, which is not a file of the spec`)
    }
  }
  const words = [...service.args, ...Object.values(service.env)]
  if (words.some((word) => word.includes('\0'))) {
    problems.push(`the service ${name} has an argument or variable with NUL`)
  }
  if (!Object.keys(service.env).every((key) => ENVIRONMENT_NAME.test(key))) {
    problems.push(`the service ${name} has a variable whose name cannot be one`)
  }
  return problems
}

function refusalProblems(refusals: readonly Refusal[]): string[] {
  const problems: string[] = []
  const seen = new Set<string>()
  for (const { address, ports } of refusals) {
    // A name would have the agent ask a resolver.
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (isIP(address) === 0 || WILDCARDS.includes(new SocketAddress({ address, family }).address)) {
      problems.push(`${JSON.stringify(address)} is no address of one host to refuse clients at`)
    }
    for (const port of ports) {
      const place = `${address} ${port}`
      if (seen.has(place)) problems.push(`clients are refused twice at ${place}`)
      seen.add(place)
    }
  }
  return problems
}
