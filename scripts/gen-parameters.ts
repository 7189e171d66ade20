// Renders docs/reference/parameters.md from the allow-list of parameters in core.
import { PARAMETER_RULES, type ParameterRule } from '../core/src/parameters.ts'

const HEAD = `# Parameters

<!-- Written by scripts/gen-parameters.ts from core/src/parameters.ts: change that, then npm run
gen. -->

These are the parameters of PostgreSQL that a cluster may set:

    ./howdah cluster update demo --parameter work_mem=16MB --parameter jit=off
    ./howdah cluster update demo --reset-parameter jit

The list is closed: what names a command, a library or a path would run code as the user of the
database, and what replication, TLS and recovery depend on belongs to the platform. Sizes and
durations carry a unit (\`kB\`, \`MB\`, \`GB\`, \`TB\`; \`ms\`, \`s\`, \`min\`, \`h\`, \`d\`);
\`0\` and \`-1\` need none. A value that fits no rule is refused with the range that does. What
each means is in PostgreSQL's manual.

A parameter marked *restart* makes the change restart the instances, one after the other. See
[the guide](../guides/parameters-and-durability.md).

| parameter | type | accepts | needs |
|---|---|---|---|
`

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const
const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const

function formatSize(bytes: number): string {
  let amount = bytes
  let unit = 0
  while (amount >= 1024 && amount % 1024 === 0 && unit < SIZE_UNITS.length - 1) {
    amount /= 1024
    unit += 1
  }
  return bytes === 0 ? '0' : `${amount} ${SIZE_UNITS[unit]}`
}

function formatDuration(ms: number): string {
  if (ms <= 0) return String(ms)
  for (const [unit, factor] of DURATION_UNITS)
    if (ms % factor === 0) return `${ms / factor} ${unit}`
  return `${ms} ms`
}

function accepts(rule: ParameterRule): string {
  switch (rule.type) {
    case 'boolean':
      return 'on, off'
    case 'integer':
    case 'number':
      return `${rule.minimum} to ${rule.maximum}`
    case 'size':
      return `${formatSize(rule.minimumBytes)} to ${formatSize(rule.maximumBytes)}`
    case 'duration':
      return `${formatDuration(rule.minimumMs)} to ${formatDuration(rule.maximumMs)}`
    case 'enum':
      return rule.values.join(', ')
    default:
      return rule.says
  }
}

function row([name, rule]: [string, ParameterRule]): string {
  const type = rule.type === 'pattern' || rule.type === 'timezone' ? 'text' : rule.type
  const needs = rule.restart === true ? 'restart' : ''
  return `| \`${name}\` | ${type} | ${accepts(rule)} | ${needs} |\n`
}

export async function renderParametersPage(): Promise<string> {
  return HEAD + Object.entries(PARAMETER_RULES).map(row).join('')
}
