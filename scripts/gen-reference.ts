// Writes the generated pages of docs/reference. Each is rendered by a script of its own; the tidy
// test renders them too and compares, so a page that lags behind the code cannot be merged.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { renderCliPage } from './gen-cli.ts'
import { renderConfigPage } from './gen-config.ts'
import { ERRORS_PAGE, renderErrorsPage } from './gen-errors.ts'
import { renderApiPages } from './gen-openapi.ts'
import { renderParametersPage } from './gen-parameters.ts'

/** The text of each generated page by its path from the root. */
export async function renderReference(): Promise<Map<string, string>> {
  const api = await renderApiPages()
  return new Map([
    [ERRORS_PAGE, renderErrorsPage()],
    ['docs/reference/cli.md', await renderCliPage()],
    ['docs/reference/config.md', await renderConfigPage()],
    ['docs/reference/parameters.md', await renderParametersPage()],
    ['docs/reference/api.md', api.page],
    ['docs/reference/openapi.json', api.json],
  ])
}

if (import.meta.main) {
  for (const [path, text] of await renderReference()) {
    writeFileSync(join(import.meta.dirname, '..', path), text)
  }
}
