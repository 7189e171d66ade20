// Owns the rules about the project as a whole: dependencies, the error catalogue and its page, and
// what must never be committed.
import { basename } from 'node:path'
import { ERRORS } from '../../core/src/errors.ts'
import { ERRORS_PAGE, renderErrorsPage } from '../../scripts/gen-errors.ts'
import { isProduct, type Rule, type Tree, WORKSPACES } from './rule.ts'
import { findAll, findImports } from './source.ts'

interface Dependency {
  from: string
  name: string
  version: string
}

function dependenciesOf(tree: Tree, field: 'dependencies' | 'devDependencies'): Dependency[] {
  const manifests = ['package.json', ...WORKSPACES.map((name) => `${name}/package.json`)]
  return manifests.flatMap((from) => {
    const parsed = JSON.parse(tree.texts.get(from) ?? '{}') as Record<
      string,
      Record<string, string>
    >
    return Object.entries(parsed[field] ?? {}).map(([name, version]) => ({ from, name, version }))
  })
}

const pinned: Rule = {
  name: 'every dependency is pinned to one version',
  fix: 'write the exact version (npm install --save-exact), so that two machines run the same code',
  find: (tree) =>
    [...dependenciesOf(tree, 'dependencies'), ...dependenciesOf(tree, 'devDependencies')]
      .filter(({ version }) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))
      .map(({ from, name, version }) => `${from}:1: ${name} is ${version}`),
  bad: [
    { 'core/package.json': '{"dependencies": {"yaml": "^2.0.0"}}' },
    { 'package.json': '{"devDependencies": {"yaml": "latest"}}' },
  ],
  good: { 'core/package.json': '{"dependencies": {"yaml": "2.9.1"}}' },
}

const listed: Rule = {
  name: 'every runtime dependency has a row in STYLE.md, and every row a dependency',
  fix: 'add the row (what, why, what dropping it would cost), or remove the stale one',
  find: (tree) => {
    const style = tree.texts.get('STYLE.md') ?? ''
    const table = style.slice(style.indexOf('## Runtime dependencies'))
    const rows = new Set(findAll(table, /^\| `([^`]+)` \|/m).map(({ match }) => match[1] as string))
    const used = dependenciesOf(tree, 'dependencies').filter(
      ({ name }) => !name.startsWith('@howdah/'),
    )
    const missing = used.filter(({ name }) => !rows.has(name))
    const stale = [...rows].filter((name) => !used.some((dependency) => dependency.name === name))
    return [
      ...missing.map(({ from, name }) => `${from}:1: ${name} has no row in STYLE.md`),
      ...stale.map((name) => `STYLE.md:1: ${name} is no dependency any more`),
    ]
  },
  bad: [
    { 'cli/package.json': '{"dependencies": {"left-pad": "1.0.0"}}' },
    { 'STYLE.md': '## Runtime dependencies\n| `left-pad` | a | b |' },
  ],
  good: {
    'cli/package.json': '{"dependencies": {"yaml": "1.0.0", "@howdah/core": "0.1.0"}}',
    'STYLE.md': '## Runtime dependencies\n| `yaml` | a | b |',
  },
}

const packageOf = (specifier: string) =>
  specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')

/** Packages that a workspace's product code imports, with the first file that does. */
function importedBy(tree: Tree, workspace: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const file of tree.sources.values()) {
    if (!file.path.startsWith(`${workspace}/src/`) || !isProduct(file.path)) continue
    for (const { specifier, line } of findImports(file)) {
      if (/^(?:\.|node:)/.test(specifier)) continue
      const name = packageOf(specifier)
      if (!found.has(name)) found.set(name, `${file.path}:${line}`)
    }
  }
  return found
}

const declared: Rule = {
  name: 'a workspace declares what it imports, and imports what it declares',
  fix: 'add it to (or remove it from) the dependencies of that workspace’s package.json',
  find: (tree) =>
    WORKSPACES.flatMap((workspace) => {
      const manifest = `${workspace}/package.json`
      const imported = importedBy(tree, workspace)
      const declared = dependenciesOf(tree, 'dependencies').filter(({ from }) => from === manifest)
      const names = new Set(declared.map(({ name }) => name))
      const missing = [...imported].filter(([name]) => name !== `@howdah/${workspace}`)
      return [
        ...missing
          .filter(([name]) => !names.has(name))
          .map(([name, where]) => `${where}: ${name} is not declared`),
        ...[...names]
          .filter((name) => !imported.has(name))
          .map((name) => `${manifest}:1: ${name} is imported nowhere`),
      ]
    }),
  bad: [
    { 'cli/package.json': '{"dependencies": {"yaml": "1.0.0"}}' },
    { 'cli/src/a.ts': "import { Pool } from 'pg'", 'cli/package.json': '{}' },
  ],
  good: {
    'cli/package.json': '{"dependencies": {"@peculiar/x509": "1.0.0", "@howdah/core": "0.1.0"}}',
    'cli/src/a.ts': "import '@peculiar/x509/a'\nimport { b } from '@howdah/core/b.ts'",
    'cli/src/a.test.ts': "import { fc } from 'fast-check'",
  },
}

const CATALOGUE = 'core/src/errors.ts'
/** Codes of the catalogue as it stands in the tree, so that a sample can bring its own. */
const codesOf = (tree: Tree) =>
  findAll(tree.texts.get(CATALOGUE) ?? '', /^ {2}'?([a-z-]+)'?: \{$/m).map(({ match, line }) => {
    return { code: match[1] as string, line }
  })

const codesUsed: Rule = {
  name: 'every error code is used somewhere',
  fix: 'throw it where it happens, or remove it from the catalogue before anybody relies on it',
  find: (tree) => {
    const texts = [...tree.sources.values()]
      .filter(({ path }) => isProduct(path) && path !== CATALOGUE)
      .map(({ text }) => text)
    return codesOf(tree)
      .filter(({ code }) => !texts.some((text) => text.includes(`'${code}'`)))
      .map(({ code, line }) => `${CATALOGUE}:${line}: ${code} is used nowhere`)
  },
  bad: [{ [CATALOGUE]: "export const ERRORS = {\n  'not-found': {\n  },\n}" }],
  good: {
    [CATALOGUE]: "export const ERRORS = {\n  'not-found': {\n  },\n}",
    'cli/src/a.ts': "throw new HowdahError('not-found', '')",
  },
}

const codesDocumented: Rule = {
  name: 'docs/reference/errors.md is what the catalogue says',
  fix: 'run npm run gen and commit the page',
  find: (tree) => {
    if (!tree.texts.has(CATALOGUE)) return []
    const page = tree.texts.get(ERRORS_PAGE) ?? ''
    const missing = Object.keys(ERRORS).filter((code) => !page.includes(`\n## ${code}\n`))
    if (missing.length > 0) return missing.map((code) => `${ERRORS_PAGE}:1: ${code} is missing`)
    return page === renderErrorsPage() ? [] : [`${ERRORS_PAGE}:1: is stale`]
  },
  bad: [
    { [CATALOGUE]: '', [ERRORS_PAGE]: '# Errors\n' },
    { [CATALOGUE]: '', [ERRORS_PAGE]: `${renderErrorsPage()}more` },
  ],
  good: { [CATALOGUE]: '', [ERRORS_PAGE]: renderErrorsPage() },
}

// In halves, or this file would name what it bans.
const WORKPLACE = new RegExp(
  ['(?<![\\w.*-])/wo', 'rk/|/tmp/', 'hw(?![a-z])|/home/', '[a-z]+/|\\bissues ', 'show \\d'].join(
    '',
  ),
)

const noWorkplace: Rule = {
  name: 'no path of a developer’s machine and no tool of the workplace',
  fix: 'write a path from the root of the clone, or make one with mkdtemp',
  find: (tree) =>
    [...tree.texts].flatMap(([path, text]) =>
      findAll(text, WORKPLACE).map(({ match, line }) => `${path}:${line}: names ${match[0]}`),
    ),
  bad: [{ 'docs/a.md': `see /wo${'rk'}/main` }, { 'test/a.ts': `'/tmp/${'hw'}-1'` }],
  good: { 'docs/a.md': 'see docs/work/a.md and /tmp/howdah-test-x' },
}

const PUBLIC_REGISTRY = 'https://registry.npmjs.org/'

const publicRegistry: Rule = {
  name: 'the lock file names no registry but the public one',
  fix: 'remove the other "resolved" entries, so that npm uses whatever registry is configured',
  find: (tree) =>
    findAll(tree.texts.get('package-lock.json') ?? '', /"resolved": "(http[^"]+)"/)
      .filter(({ match }) => !match[1]?.startsWith(PUBLIC_REGISTRY))
      .map(({ line }) => `package-lock.json:${line}: another registry`),
  bad: [{ 'package-lock.json': '"resolved": "https://mirror.example/a.tgz"' }],
  good: { 'package-lock.json': `"resolved": "${PUBLIC_REGISTRY}a.tgz"` },
}

const FILE_BYTES_MAX = 300_000
const MAY_BE_BIG = /^package-lock\.json$|^bench\/results\//

const noBigFiles: Rule = {
  name: `no committed file over ${FILE_BYTES_MAX / 1000} kB`,
  fix: 'generate it, or keep it outside the repository: history keeps every byte for ever',
  find: (tree) =>
    [...tree.sizesBytes]
      .filter(([path, sizeBytes]) => sizeBytes > FILE_BYTES_MAX && !MAY_BE_BIG.test(path))
      .map(([path, sizeBytes]) => `${path}:1: has ${sizeBytes} bytes`),
  bad: [{ 'docs/film.txt': 'a'.repeat(300_001) }],
  good: { 'docs/a.txt': 'a'.repeat(300_000), 'package-lock.json': 'a'.repeat(300_001) },
}

const DEBRIS_NAME = /^(?:\.env(?:\..+)?|\.DS_Store|core|nohup\.out|cli\.json|admin-token)$/
const DEBRIS_ENDING = /\.(?:pid|orig|rej|swp|sock|key|p12|tgz|log|bak)$/
const PRIVATE_KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}/

const noDebris: Rule = {
  name: 'no debris and no secret is committed',
  fix: 'git rm --cached it and add it to .gitignore; replace a key that was pushed',
  find: (tree) =>
    [...tree.texts].flatMap(([path, text]) => {
      const debris = DEBRIS_NAME.test(basename(path)) || DEBRIS_ENDING.test(path)
      if (debris || path.includes('node_modules/')) return [`${path}:1: does not belong here`]
      return PRIVATE_KEY.test(text) ? [`${path}:1: holds a private key`] : []
    }),
  bad: [
    { 'agent/a.log': '' },
    { 'node_modules/a/a.js': '' },
    { 'test/a.ts': `-----BEGIN ${'PRIVATE'} KEY-----\n${'A'.repeat(64)}` },
  ],
  good: { 'docs/env.md': '', 'agent/src/a.ts': `const head = '-----BEGIN ${'PRIVATE'} KEY-----'` },
}

const STYLE_LINES_MAX = 200

const styleIsShort: Rule = {
  name: `STYLE.md has at most ${STYLE_LINES_MAX} lines`,
  fix: 'a rule that nobody reads enforces nothing: merge or drop one',
  find: (tree) => {
    const count = (tree.texts.get('STYLE.md') ?? '').trimEnd().split('\n').length
    return count > STYLE_LINES_MAX ? [`STYLE.md:1: has ${count} lines`] : []
  },
  bad: [{ 'STYLE.md': 'a\n'.repeat(201) }],
  good: { 'STYLE.md': 'a\n'.repeat(200) },
}

export const projectRules: Rule[] = [
  pinned,
  listed,
  declared,
  codesUsed,
  codesDocumented,
  noWorkplace,
  publicRegistry,
  noBigFiles,
  noDebris,
  styleIsShort,
]
