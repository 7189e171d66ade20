// Owns the rules about what code may say: dangerous calls, leftovers, fixed sleeps, and the words
// of the glossary. Patterns that would match themselves are written in two halves.
import { isProduct, isTest, type Rule, type Tree } from './rule.ts'
import { findAll, type SourceFile } from './source.ts'

type Part = 'code' | 'comments' | 'text'

/** `path:line: what` for each match of `pattern` in a part of the files that `concerns` picks. */
function scan(
  tree: Tree,
  options: { part: Part; pattern: RegExp; concerns?: (path: string) => boolean; say: string },
): string[] {
  const concerns = options.concerns ?? (() => true)
  return [...tree.sources.values()]
    .filter(({ path }) => concerns(path))
    .flatMap((file) =>
      findAll(file[options.part], options.pattern).map(({ match, line }) => {
        return `${file.path}:${line}: ${options.say} ${match[0].trim()}`
      }),
    )
}

const noShell: Rule = {
  name: 'child processes get an argv array, never a shell string',
  fix: 'use spawn or execFile with an array of arguments and without the shell option',
  find: (tree) => [
    ...scan(tree, {
      part: 'code',
      pattern: /(?<![.\w#])(?:exec|execSync)\s*\(|\b(?:child_?[pP]rocess|cp)\.exec(?:Sync)?\s*\(/,
      say: 'starts a shell by',
    }),
    ...scan(tree, { part: 'code', pattern: /\bshell\s*:\s*(?!false\b)\S+/, say: 'asks for' }),
  ],
  bad: [
    { 'agent/src/a.ts': "exec('ls ' + path)" },
    { 'agent/src/a.ts': "spawn('ls', [path], { shell: true })" },
    { 'scripts/a.ts': 'childProcess.execSync(`ls $' + '{path}`)' },
  ],
  good: { 'agent/src/a.ts': "execFile('ls', [path])\n/x/.exec('y')\n// exec(…) is banned" },
}

const isConfig = (path: string) => /(?:^|\/)config(?:-file)?\.ts$/.test(path)

const environmentInConfig: Rule = {
  name: 'process.env only in config.ts',
  fix: 'read it in the workspace’s config.ts and pass the value on as an argument',
  find: (tree) =>
    scan(tree, {
      part: 'code',
      pattern: /\bprocess\s*\.\s*env\b|\bprocess\s*\[|\{[^{}]*\benv\b[^{}]*\}\s*=\s*process\b/,
      concerns: (path) => isProduct(path) && !isConfig(path),
      say: 'reads',
    }),
  bad: [
    { 'cli/src/a.ts': 'const home = process.env.HOME' },
    { 'cli/src/a.ts': 'const { env } = process' },
  ],
  good: { 'cli/src/config.ts': 'const home = process.env.HOME', 'test/a.ts': 'process.env.A' },
}

const noConsole: Rule = {
  name: 'no console output outside cli, scripts, bench and test',
  fix: 'use the logger that the function is given; throw to report a failure',
  find: (tree) =>
    scan(tree, {
      part: 'code',
      pattern: /\bconsole\s*\.\s*\w+/,
      concerns: (path) => isProduct(path) && !path.startsWith('cli/'),
      say: 'prints with',
    }),
  bad: [{ 'agent/src/a.ts': "console.log('x')" }],
  good: { 'cli/src/a.ts': "console.log('x')", 'agent/src/a.ts': '// not console.log' },
}

const LEFTOVERS: { part: Part; pattern: RegExp }[] = [
  { part: 'comments', pattern: /\bFIXME\b|\bXXX\b/ },
  { part: 'comments', pattern: /\bTODO\b(?!\(#\d+\))/ },
  { part: 'code', pattern: /\bdebugger\b/ },
  { part: 'code', pattern: /\b(?:test|it|describe|suite)\.only\s*\(|\bonly\s*:\s*true\b/ },
  { part: 'comments', pattern: /@ts-(?:ignore|nocheck)\b/ },
]

const noLeftovers: Rule = {
  name: 'no FIXME, debugger or .only; a TODO names its issue',
  fix: 'finish it, or open an issue and write TODO(#n)',
  find: (tree) => LEFTOVERS.flatMap((left) => scan(tree, { ...left, say: 'left over:' })),
  bad: [
    { 'core/src/a.ts': '// FIXME later' },
    { 'core/src/a.ts': '// TODO: later' },
    { 'core/src/a.ts': 'debugger' },
    { 'core/src/a.test.ts': "test.only('a', () => {})" },
    { 'core/src/a.ts': '// @ts-ignore' },
  ],
  good: { 'core/src/a.ts': "// TODO(#12) later\nconst a = 'debugger'" },
}

// Others' words for a leader and a replica. `master key` is cryptography's and stays; so does
// PostgreSQL's `postmaster`, which is a process and no role.
const OLD_ROLES = /(?:(?<!post)mas[t]er(?![-_. ]?key)|sl[a]ve)\w*/i
// Code that speaks Patroni's two vocabularies has to say them.
const speaksPatroni = (path: string) => /patroni/.test(path) || path === 'core/src/protocol.ts'

const noOldRoles: Rule = {
  name: 'leader and replica, never the older words',
  fix: 'say leader or replica; only files named for patroni translate its vocabulary',
  find: (tree) =>
    scan(tree, {
      part: 'text',
      pattern: OLD_ROLES,
      concerns: (path) => isProduct(path) && !speaksPatroni(path),
      say: 'says',
    }),
  bad: [
    { 'core/src/a.ts': `const ${'mas'}terHost = 1` },
    { 'agent/src/a.ts': `// The ${'sl'}ave follows.` },
  ],
  good: {
    'core/src/a.ts': `const ${'mas'}terKey = readKey('${'mas'}ter.key')`,
    'agent/src/sentinel/fence.ts': `const post${'mas'}terId = post${'mas'}ter.id`,
    'agent/src/observe/patroni-status.ts': `const old = '${'mas'}ter'`,
  },
}

// An identifier with the word in it: `node`, `nodeName`, `dataNodes`, `node_id`. Node.js itself is
// named by these few, and an import of a built-in is a literal, so it is not seen here.
const NODE_WORD = /\b(?:nodes?|nodes?[A-Z_]\w*|\w*(?:Nodes?|_nodes?)(?:[A-Z_]\w*)?)\b/
const NODE_JS = /^NodeJS$|(?:^n|[a-z]N)ode(?:Path|Binary|Version|Modules|Program|Executable)$/
// Prose that cannot mean Node.js or a node of a tree.
const NODE_PROSE =
  /\b(?:database|data|cluster|replica|leader|gateway|worker|etcd|all|each|three)\s+nodes?\b/i

const noNodes: Rule = {
  name: 'a machine is a host, an etcd process a dcs member, never a node',
  fix: 'say host, instance, gateway or dcs member: docs/glossary.md has the word',
  find: (tree) => {
    const words = (file: SourceFile) =>
      findAll(file.code, NODE_WORD)
        .filter(({ match }) => !NODE_JS.test(match[0]))
        .map(({ match, line }) => `${file.path}:${line}: is named ${match[0]}`)
    const named = [...tree.sources.values()].filter(({ path }) => isProduct(path)).flatMap(words)
    const told = scan(tree, { part: 'text', pattern: NODE_PROSE, concerns: isProduct, say: 'says' })
    return [...named, ...told]
  },
  bad: [
    { 'core/src/a.ts': 'const dataNodes = 3' },
    { 'core/src/a.ts': 'interface Node { id: string }' },
    { 'core/src/a.ts': 'select(node_id)' },
    { 'core/src/a.ts': '// Starts all nodes.' },
  ],
  good: {
    'core/src/a.ts': "import { isIP } from 'node:net'\n// Node 24 runs it.\nconst nodePath = 1",
  },
}

const NOT_LOOPING = 12
const SLEEPS = /\b(?:setTimeout|sleep|delay)\s*\(/
const isLoop = (line: string) => /\b(?:while|for)\s*\(|\bdo\s*\{/.test(line)

function fixedSleeps(file: SourceFile): string[] {
  const lines = file.code.split('\n')
  return lines.flatMap((line, index) => {
    const statement = lines.slice(Math.max(0, index - 2), index + 1).join('\n')
    const awaited = SLEEPS.test(line) && /\bawait\b|\bnew Promise\b/.test(statement)
    const looped = lines.slice(Math.max(0, index - NOT_LOOPING), index + 1).some(isLoop)
    return awaited && !looped ? [`${file.path}:${index + 1}: waits for a fixed time`] : []
  })
}

const noFixedSleep: Rule = {
  name: 'no fixed sleep in a test',
  fix: 'wait for the condition with a deadline and print the last observation (test/harness)',
  find: (tree) =>
    [...tree.sources.values()]
      .filter(({ path }) => isTest(path) && !path.startsWith('test/harness/'))
      .flatMap(fixedSleeps),
  bad: [
    { 'test/e2e/a.test.ts': 'await new Promise((resolve) => setTimeout(resolve, 500))' },
    { 'agent/src/a.test.ts': 'await sleep(500)' },
    { 'agent/src/a.test.ts': 'await new Promise((resolve) => {\n  setTimeout(resolve, 5)\n})' },
  ],
  good: {
    'test/e2e/a.test.ts': 'while (!(await ready())) {\n  await sleep(50)\n}',
    'agent/src/a.test.ts': 'const timer = setTimeout(() => child.kill(), 500)',
  },
}

export const textRules: Rule[] = [
  noShell,
  environmentInConfig,
  noConsole,
  noLeftovers,
  noOldRoles,
  noNodes,
  noFixedSleep,
]
