// Renders docs/reference/errors.md from the one catalogue of errors. The tidy test compares the
// page with this, so a code without documentation cannot be merged.
import { ERRORS, type ErrorEntry } from '../core/src/errors.ts'

export const ERRORS_PAGE = 'docs/reference/errors.md'

const HEAD = `# Errors

<!-- Written by scripts/gen-errors.ts from core/src/errors.ts: change that, then npm run gen. -->

Each expected failure has a code. A code is part of the API: it never changes its meaning. The API
answers with \`application/problem+json\` (RFC 9457), in which \`code\` is one of these, \`detail\`
says what happened this time and \`hint\` what to do next. The command line prints the same and
ends with the exit code of the table.

*Retry* says whether the same request may succeed later without a change.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failure |
| 2 | usage: the request cannot work as it is |
| 3 | no valid token, or not allowed |
| 4 | not found |
| 5 | conflict with the present state |
| 6 | no answer in time |
| 7 | the operation started and failed |

| code | HTTP | exit | retry |
|---|---|---|---|
`

function row([code, entry]: [string, ErrorEntry]): string {
  const retry = entry.retryable ? 'yes' : 'no'
  return `| [\`${code}\`](#${code}) | ${entry.http} | ${entry.exit} | ${retry} |\n`
}

function section([code, entry]: [string, ErrorEntry]): string {
  const title = `${entry.title.charAt(0).toUpperCase()}${entry.title.slice(1)}`
  return `\n## ${code}\n\n${title}.\n\nHint: ${entry.hint}.\n`
}

export function renderErrorsPage(): string {
  const entries: [string, ErrorEntry][] = Object.entries(ERRORS)
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return HEAD + entries.map(row).join('') + entries.map(section).join('')
}
