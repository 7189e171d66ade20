// The layout of the repository as a test: one test per rule over the whole tree, and one that
// proves that the rule can fail. The rules are in tidy/, by what they are about; STYLE.md has the
// reasons.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { wrapComments } from '../scripts/wrap-comments.ts'
import { importRules } from './tidy/import-rules.ts'
import { projectRules } from './tidy/project-rules.ts'
import { type Rule, readTree, treeOf } from './tidy/rule.ts'
import { shapeRules } from './tidy/shape-rules.ts'
import { textRules } from './tidy/text-rules.ts'

const FINDINGS_MAX = 40
const tree = readTree(join(import.meta.dirname, '..'))

function report(rule: Rule, findings: string[]): string {
  const shown = findings.slice(0, FINDINGS_MAX)
  const more = findings.length - shown.length
  const rest = more > 0 ? [`… and ${more} more`] : []
  return [`${rule.name}: ${findings.length} found`, ...shown, ...rest, `fix: ${rule.fix}`].join(
    '\n  ',
  )
}

function proveRule(rule: Rule) {
  rule.bad.forEach((files, index) => {
    const findings = rule.find(treeOf(files))
    assert.notDeepEqual(findings, [], `bad sample ${index} (${Object.keys(files)}) was let through`)
  })
  assert.deepEqual(rule.find(treeOf(rule.good)), [], 'the good sample was refused')
}

test('the tree was read', () => {
  assert.ok(tree.sources.has('core/src/errors.ts'))
  assert.ok(tree.sources.has('test/tidy.test.ts'))
})

for (const rule of [...importRules, ...shapeRules, ...textRules, ...projectRules]) {
  test(rule.name, () => {
    const findings = rule.find(tree)
    if (findings.length > 0) assert.fail(report(rule, findings))
  })
  test(`can fail: ${rule.name}`, () => proveRule(rule))
}

// Imported here: code that does not load must not keep the rules from being checked.
test('the reference pages are what the code says', async () => {
  const { renderReference } = await import('../scripts/gen-reference.ts')
  const stale = [...(await renderReference())].filter(
    ([path, text]) => tree.texts.get(path) !== text,
  )
  const paths = stale.map(([path]) => path)
  assert.deepEqual(paths, [], 'fix: run npm run gen and commit the pages')
})

test('npm run format wraps comments and changes nothing else', () => {
  const word = 'word '.repeat(30).trim()
  const code = ['const a = `', `// ${word}`, '`', `// - ${word}`, `f('${word}') // ${word}`]
  assert.equal(wrapComments('a.ts', code.join('\n')), code.join('\n'))
  const wrapped = wrapComments('a.ts', `// One.\n// ${word}\n  /** ${word} */\nconst a = 1`)
  assert.ok(wrapped.split('\n').every((line) => line.length <= 100))
  assert.equal(wrapped.replaceAll(/[\s/*]+/g, ' ').trim(), `One. ${word} ${word} const a = 1`)
  assert.equal(wrapComments('a.ts', wrapped), wrapped)
})
