// Renders docs/reference/openapi.json and the list of routes in api.md from the routes themselves.
// The API is built and never listens: no platform has to run, and no handler is called.

import { makeApi } from '../control-plane/src/api/server.ts'
import { createAuthority, issueCertificate } from '../control-plane/src/certificates.ts'
import { makeLog } from '../control-plane/src/log.ts'

interface Route {
  summary?: string
  tags?: string[]
  security?: unknown[]
}

interface Document {
  paths: Record<string, Record<string, Route>>
}

async function readDocument(): Promise<Document> {
  const authority = await createAuthority('howdah reference')
  const tls = await issueCertificate(authority, 'reference', ['localhost'], 1)
  // Only handlers use these, and none is called.
  const platform = { log: makeLog('fatal'), database: undefined }
  const app = await makeApi({ platform, operations: new Map(), caFingerprint: '', tls } as never)
  try {
    await app.ready()
    return app.swagger() as unknown as Document
  } finally {
    await app.close()
  }
}

const HEAD = `# The API

<!-- Written by scripts/gen-openapi.ts from control-plane/src/api: change those, then npm run gen.
-->

Everything that the command line does goes through this API; [the guide](../guides/api.md) shows
how to call it. The whole description, OpenAPI 3.1, is [openapi.json](openapi.json) and on a
running platform \`GET /openapi.json\`; \`GET /docs\` is the same as a page, served locally.
[Errors](errors.md) are RFC 9457 problems.

A cluster, host, user or repository in a path is an id or a name, a backup an id or a label, a
database or a role a name; all are percent-encoded.

| | route | what it does |
|---|---|---|
`

const METHODS = ['get', 'post', 'put', 'patch', 'delete']

export async function renderApiPages(): Promise<{ json: string; page: string }> {
  const document = await readDocument()
  const rows = Object.entries(document.paths).flatMap(([path, methods]) =>
    METHODS.flatMap((method) => {
      const route = methods[method]
      if (route === undefined) return []
      const open = route.security?.length === 0 ? ' (no token)' : ''
      return [`| ${method.toUpperCase()} | \`${path}\` | ${route.summary ?? ''}${open} |\n`]
    }),
  )
  return { json: formatDocument(document), page: HEAD + rows.join('') }
}

/** A path per line: a change shows where it is, and the file stays small. */
function formatDocument(document: { paths?: Record<string, unknown> }): string {
  const lines = Object.entries(document.paths ?? {}).map(
    ([path, item]) => `  ${JSON.stringify(path)}: ${JSON.stringify(item)}`,
  )
  const rest = JSON.stringify({ ...document, paths: {} }, null, 1)
  return `${rest.replace('"paths": {}', () => `"paths": {\n${lines.join(',\n')}\n }`)}\n`
}
