// Owns the rules about who may import what: the boundaries between workspaces, which are also the
// boundaries between what gets installed where.
import { posix } from 'node:path'
import { isProduct, isTest, type Rule, type Tree, WORKSPACES } from './rule.ts'
import { findImports, type SourceFile } from './source.ts'

interface Import {
  from: string
  line: number
  specifier: string
  /** Path from the root, for our own files; undefined for packages and built-ins. */
  to: string | undefined
}

function resolve(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(from), specifier)
  const ours = /^@howdah\/([a-z-]+)\/(.+)$/.exec(specifier)
  return ours === null ? undefined : `${ours[1]}/src/${ours[2]}`
}

function importsOf(file: SourceFile): Import[] {
  return findImports(file).map(({ specifier, line }) => {
    return { from: file.path, line, specifier, to: resolve(file.path, specifier) }
  })
}

function allImports(tree: Tree): Import[] {
  return [...tree.sources.values()].flatMap(importsOf)
}

function workspaceOf(path: string): string | undefined {
  return WORKSPACES.find((workspace) => path.startsWith(`${workspace}/`))
}

const say = (found: Import, what: string) =>
  `${found.from}:${found.line}: ${what} ${found.specifier}`

// What computes and nothing else: no file, no socket, no process, no clock that waits.
const PURE = /^(?:typebox(?:\/.+)?|yaml|node:(?:buffer|crypto|util|url|assert)(?:\/.+)?)$/

const corePure: Rule = {
  name: 'core imports nothing of ours and nothing that does I/O',
  fix: 'move the I/O to the workspace that needs it and pass its result into core as an argument',
  find: (tree) =>
    allImports(tree)
      .filter(({ from }) => from.startsWith('core/src/') && !isTest(from))
      .filter(({ specifier, to }) =>
        to === undefined ? !PURE.test(specifier) : !to.startsWith('core/'),
      )
      .map((found) => say(found, 'core imports')),
  bad: [
    { 'core/src/a.ts': "import { readFile } from 'node:fs/promises'" },
    { 'core/src/a.ts': "import type { Pool } from 'pg'" },
    { 'core/src/a.ts': "import { b } from '@howdah/agent/b.ts'" },
    { 'core/src/a.ts': "const net = await import('node:net')" },
  ],
  good: {
    'core/src/a.ts': "import { Type } from 'typebox'\nimport { b } from './b.ts'",
    'core/src/a.test.ts': "import { readFileSync } from 'node:fs'",
  },
}

const CAN_IMPORT: Record<string, string[]> = {
  core: ['core'],
  'control-plane': ['control-plane', 'core'],
  agent: ['agent', 'core'],
  cli: ['cli', 'core'],
}

const meetInCore: Rule = {
  name: 'control plane, agent and cli meet only in core',
  fix: 'put what both need into core, or make it part of the API or the agents’ protocol',
  find: (tree) =>
    allImports(tree).flatMap((found) => {
      const from = workspaceOf(found.from)
      const to = found.to === undefined ? undefined : workspaceOf(found.to)
      if (from === undefined || to === undefined || CAN_IMPORT[from]?.includes(to)) return []
      return [say(found, `${from} imports`)]
    }),
  bad: [
    { 'agent/src/a.ts': "import { b } from '@howdah/control-plane/b.ts'" },
    { 'control-plane/src/db/a.ts': "import { b } from '../../../agent/src/b.ts'" },
    { 'cli/src/a.ts': "import type { b } from '@howdah/agent/b.ts'" },
  ],
  good: { 'agent/src/a.ts': "import { b } from '@howdah/core/protocol.ts'" },
}

const CLI_CORE = /^core\/src\/(?:contract\/[a-z-]+|errors|names|ids)\.ts$/
const CLI_PLATFORM_CORE = /^core\/src\/(?:execline|host-spec)\.ts$/

const cliContract: Rule = {
  name: 'cli imports only the contract of core',
  fix: 'ask the API; only cli/src/platform also has execline.ts and host-spec.ts (decision 005)',
  find: (tree) =>
    allImports(tree)
      .filter(({ from, to }) => from.startsWith('cli/src/') && to?.startsWith('core/'))
      .filter(({ from, to }) => {
        const platform =
          from.startsWith('cli/src/platform/') && CLI_PLATFORM_CORE.test(to as string)
        return !platform && !CLI_CORE.test(to as string)
      })
      .map((found) => say(found, 'cli imports')),
  bad: [
    { 'cli/src/a.ts': "import { Task } from '@howdah/core/protocol.ts'" },
    { 'cli/src/commands/a.ts': "import { HostSpec } from '@howdah/core/host-spec.ts'" },
    { 'cli/src/platform/a.ts': "import { render } from '@howdah/core/render/patroni.ts'" },
  ],
  good: {
    'cli/src/a.ts': "import type { Host } from '@howdah/core/contract/hosts.ts'",
    'cli/src/platform/a.ts': "import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'",
  },
}

const staysInside: Rule = {
  name: 'no relative import leaves its workspace',
  fix: 'import another workspace by its name, @howdah/core/…, as an installed copy would',
  find: (tree) =>
    allImports(tree)
      .filter(({ from, specifier }) => workspaceOf(from) !== undefined && specifier.startsWith('.'))
      .filter(({ from, to }) => workspaceOf(from) !== workspaceOf(to as string))
      .map((found) => say(found, 'leaves its workspace by')),
  bad: [
    { 'agent/src/a.ts': "import { b } from '../../core/src/b.ts'" },
    { 'cli/src/a.ts': "export { b } from '../../test/harness/b.ts'" },
  ],
  good: {
    'agent/src/apply/a.ts': "import { b } from '../b.ts'",
    'test/e2e/a.test.ts': "import { b } from '../../core/src/b.ts'",
  },
}

const productWithoutTests: Rule = {
  name: 'the product imports no test and nothing of src/testing',
  fix: 'move what the product needs out of src/testing, or pass it as an argument',
  find: (tree) =>
    allImports(tree)
      .filter(({ from, to }) => isProduct(from) && to !== undefined && isTest(to))
      .map((found) => say(found, 'the product imports')),
  bad: [
    { 'agent/src/a.ts': "import { until } from './testing/until.ts'" },
    { 'cli/src/a.ts': "import { b } from './b.test.ts'" },
  ],
  good: {
    'agent/src/a.test.ts': "import { until } from './testing/until.ts'",
    'agent/src/testing/a.ts': "import { b } from '../b.ts'",
  },
}

/** Each cycle once, as the paths along it. */
function findCycles(edges: Map<string, string[]>): string[][] {
  const cycles: string[][] = []
  const finished = new Set<string>()
  const visit = (path: string, trail: string[]) => {
    const at = trail.indexOf(path)
    if (at !== -1) cycles.push([...trail.slice(at), path])
    if (at !== -1 || finished.has(path)) return
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path])
    finished.add(path)
  }
  for (const path of edges.keys()) visit(path, [])
  return cycles
}

const noCycles: Rule = {
  name: 'no import cycles, type-only imports included',
  fix: 'move what both files need into a third one, or pass it as an argument',
  find: (tree) => {
    const edges = new Map<string, string[]>()
    for (const { from, to } of allImports(tree)) {
      if (to !== undefined) edges.set(from, [...(edges.get(from) ?? []), to])
    }
    return findCycles(edges).map((cycle) => cycle.join(' -> '))
  },
  bad: [
    {
      'core/src/a.ts': "import { b } from './b.ts'",
      'core/src/b.ts': "import type { C } from './c.ts'",
      'core/src/c.ts': "import type { A } from './a.ts'",
    },
    { 'core/src/a.ts': "import { a } from './a.ts'" },
  ],
  good: {
    'core/src/a.ts': "import { b } from './b.ts'\nimport { c } from './c.ts'",
    'core/src/b.ts': "import { c } from './c.ts'",
    'core/src/c.ts': 'export const c = 1',
  },
}

const IMPORT_STATEMENT = /\bimport\b[^;'"`]*?(?:\bfrom\s*)?(['"])[^'"]*\1/g
const REEXPORT =
  /\bexport\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})(?:\s*from\s*(['"])[^'"]*\1)?/g

const noBarrels: Rule = {
  name: 'no barrels: no file that only re-exports',
  fix: 'delete the file and import from where the thing is',
  find: (tree) =>
    [...tree.sources.values()]
      .filter(({ code }) => {
        const rest = code.replaceAll(REEXPORT, '').replaceAll(IMPORT_STATEMENT, '')
        return rest.replaceAll(';', '').trim() === '' && code.search(REEXPORT) !== -1
      })
      .map(({ path }) => `${path}:1: only re-exports`),
  bad: [
    { 'core/src/index.ts': "// All.\nexport * from './a.ts'\nexport type { B } from './b.ts'" },
    { 'core/src/all.ts': "import { a } from './a.ts'\nexport { a }" },
  ],
  good: { 'core/src/a.ts': "export { b } from './b.ts'\nexport const a = 1" },
}

export const importRules: Rule[] = [
  corePure,
  meetInCore,
  cliContract,
  staysInside,
  productWithoutTests,
  noCycles,
  noBarrels,
]
