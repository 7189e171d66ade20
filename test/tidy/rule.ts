// Owns what a layout rule is: a name, what to do about a finding, and samples that prove that it
// can fail and that it lets good code pass. Rules see a tree of files and nothing else.
import { execFileSync } from 'node:child_process'
import { lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSource, type SourceFile } from './source.ts'

export interface Tree {
  /** TypeScript files by path from the root. */
  sources: Map<string, SourceFile>
  /** Every file's text by path; empty for binary ones. */
  texts: Map<string, string>
  sizesBytes: Map<string, number>
}

export interface Rule {
  /** Reads as a sentence: the name of the test. */
  name: string
  /** What to do about a finding. */
  fix: string
  /** `path:line: what is wrong`, one per finding. */
  find: (tree: Tree) => string[]
  /** Trees that must each give a finding. */
  bad: Record<string, string>[]
  /** A tree that must give none. */
  good: Record<string, string>
}

export const WORKSPACES = ['core', 'control-plane', 'agent', 'cli'] as const

/** Tests, and what only tests use: a workspace keeps its own stages and samples in src/testing/. */
export const isTest = (path: string) =>
  path.endsWith('.test.ts') || path.startsWith('test/') || path.includes('/src/testing/')
/** Code of the product: what runs at a user's, without its tests. */
export const isProduct = (path: string) =>
  WORKSPACES.some((workspace) => path.startsWith(`${workspace}/src/`)) && !isTest(path)

export function treeOf(files: Record<string, string>): Tree {
  const texts = new Map(Object.entries(files))
  const sources = [...texts]
    .filter(([path]) => path.endsWith('.ts'))
    .map(([path, text]) => [path, parseSource(path, text)] as const)
  const sizesBytes = [...texts].map(([path, text]) => [path, Buffer.byteLength(text)] as const)
  return { texts, sources: new Map(sources), sizesBytes: new Map(sizesBytes) }
}

const TEXT_BYTES_MAX = 1_048_576

/** Everything in the clone that git tracks or would: a new file is checked before it is added. */
export function readTree(root: string): Tree {
  const argv = ['ls-files', '--cached', '--others', '--exclude-standard', '-z']
  const listed = execFileSync('git', argv, { cwd: root, encoding: 'utf8', maxBuffer: 67_108_864 })
  const files: Record<string, string> = {}
  const sizesBytes = new Map<string, number>()
  for (const path of listed.split('\0')) {
    // A file may be listed and gone: deleted without `git rm`, or while we read.
    const stat = path === '' ? undefined : lstatSync(join(root, path), { throwIfNoEntry: false })
    if (!stat?.isFile()) continue
    sizesBytes.set(path, stat.size)
    if (stat.size > TEXT_BYTES_MAX) continue
    const bytes = readFileSync(join(root, path))
    files[path] = bytes.includes(0) ? '' : bytes.toString('utf8')
  }
  return { ...treeOf(files), sizesBytes }
}
