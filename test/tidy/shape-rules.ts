// Owns the rules about the size, the name and the opening of files and functions.
import { basename } from 'node:path'
import { type Rule, type Tree, WORKSPACES } from './rule.ts'
import { findFunctions } from './source.ts'

const FUNCTION_LINES_MAX = 70
const FILE_LINES_MAX = 600
const LINE_LENGTH_MAX = 100

const sourcesOf = (tree: Tree) => [...tree.sources.values()]
const linesOf = (text: string) => text.replace(/\n$/, '').split('\n')

const functionLength: Rule = {
  name: `functions have at most ${FUNCTION_LINES_MAX} lines`,
  fix: 'keep the decisions in the parent and move the branch-free parts into named functions',
  find: (tree) =>
    sourcesOf(tree).flatMap((file) =>
      findFunctions(file)
        .filter(({ lineCount }) => lineCount > FUNCTION_LINES_MAX)
        .map((found) => `${file.path}:${found.line}: ${found.name} has ${found.lineCount} lines`),
    ),
  bad: [
    { 'core/src/a.ts': `export function a(b: { c: string }): Promise<void> {${'\n'.repeat(71)}}` },
    { 'core/src/a.ts': `const a = async (b = '}') => {${'\n// }'.repeat(70)}\n}` },
    { 'core/src/a.ts': `class A {\n  get(b: number): { c: string } {${'\n'.repeat(71)}}\n}` },
    { 'core/src/a.ts': `f(\`\${g(() => {\nh('{')\n})}}\`, function () {${'\n'.repeat(71)}})` },
  ],
  good: {
    'core/src/a.ts': `function a() {${'\n'.repeat(69)}}\nif (a()) {${'\n'.repeat(90)}}`,
    'core/src/b.ts': `const b = c ? d(1) : e\nconst p = '{'${'\n'.repeat(90)}const q = /[{]/`,
    'core/src/a.test.ts': `describe('a', () => {${'\n'.repeat(200)}})`,
  },
}

const fileLength: Rule = {
  name: `files have at most ${FILE_LINES_MAX} lines`,
  fix: 'split the file by noun: one owner, one sentence in its header',
  find: (tree) =>
    sourcesOf(tree)
      .map(({ path, text }) => ({ path, count: linesOf(text).length }))
      .filter(({ count }) => count > FILE_LINES_MAX)
      .map(({ path, count }) => `${path}:1: has ${count} lines`),
  bad: [{ 'core/src/a.ts': 'a()\n'.repeat(601) }],
  good: { 'core/src/a.ts': 'a()\n'.repeat(600) },
}

const lineLength: Rule = {
  name: `lines have at most ${LINE_LENGTH_MAX} characters`,
  fix: 'run npm run format; wrap comments and long strings by hand',
  find: (tree) =>
    sourcesOf(tree).flatMap(({ path, text }) =>
      linesOf(text).flatMap((line, index) => {
        return line.length > LINE_LENGTH_MAX
          ? [`${path}:${index + 1}: ${line.length} characters`]
          : []
      }),
    ),
  bad: [{ 'core/src/a.ts': `// ${'a'.repeat(98)}` }],
  good: { 'core/src/a.ts': `// ${'a'.repeat(97)}` },
}

const headerComment: Rule = {
  name: 'each file opens with a comment that says what it owns',
  fix: 'write 1 to 5 sentences at the top: what the file owns, what it must not do, who calls it',
  find: (tree) =>
    sourcesOf(tree)
      .filter(({ text }) => !/^(?:#![^\n]*\n)?(?:\/\/ \S|\/\*\*?\s+\S)/.test(text))
      .map(({ path }) => `${path}:1: opens without a comment`),
  bad: [{ 'core/src/a.ts': "import { b } from './b.ts'\n// Too late." }],
  good: {
    'core/src/a.ts': '// Owns a.\nexport const a = 1',
    'cli/src/main.ts': '#!/usr/bin/env node\n// The command line.\nrun()',
  },
}

const DRAWERS = /^(?:utils?|helpers?|common|misc|types|interfaces|shared|index)\.(?:test\.)?ts$/

const noDrawers: Rule = {
  name: 'no file is a drawer: utils, helpers, common, misc, types, interfaces, index',
  fix: 'name the noun that the file owns; a type lives beside the function that makes it',
  find: (tree) =>
    sourcesOf(tree)
      .filter(({ path }) => DRAWERS.test(basename(path)))
      .map(({ path }) => `${path}:1: is named like a drawer`),
  bad: [{ 'agent/src/utils.ts': '' }, { 'core/src/contract/common.ts': '' }],
  good: { 'core/src/connection-string.ts': '' },
}

const OURS = [...WORKSPACES.map((name) => `${name}/`), 'test/', 'bench/', 'scripts/']
const KEBAB_FILE = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?\.(?:ts|sql|sh)$/
const KEBAB_FOLDER = /^[a-z0-9]+(?:-[a-z0-9]+)*$/

const kebabCase: Rule = {
  name: 'files and folders are named in kebab-case',
  fix: 'rename it: lower-case words with "-", named for the main export',
  find: (tree) =>
    [...tree.texts.keys()]
      .filter((path) => OURS.some((folder) => path.startsWith(folder)))
      .filter((path) => {
        const file = basename(path)
        const folders = path.split('/').slice(0, -1)
        const badFile = /\.(?:ts|sql|sh)$/.test(file) && !KEBAB_FILE.test(file)
        return badFile || !folders.every((folder) => KEBAB_FOLDER.test(folder))
      })
      .map((path) => `${path}:1: is not kebab-case`),
  bad: [{ 'core/src/hostSpec.ts': '' }, { 'core/src/Render/a.ts': '' }, { 'agent/src/a_b.ts': '' }],
  good: { 'core/src/host-spec.test.ts': '', 'control-plane/src/db/migrations/0001-users.sql': '' },
}

export const shapeRules: Rule[] = [
  functionLength,
  fileLength,
  lineLength,
  headerComment,
  noDrawers,
  kebabCase,
]
