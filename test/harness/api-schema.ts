// Owns what a test learns from /openapi.json: the routes, what each takes and answers, and values
// that are drawn from those schemas. It reads the document as a stranger would, and imports nothing
// of the API.
import fc from 'fast-check'
import { Compile } from 'typebox/schema'

export interface JsonSchema {
  type?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: JsonSchema[]
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: boolean | JsonSchema
  items?: JsonSchema
  pattern?: string
  format?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  maxItems?: number
}

export interface ApiRoute {
  /** `GET /v1/users/{user}` */
  name: string
  method: string
  path: string
  pathParameters: string[]
  query: Record<string, JsonSchema>
  body: JsonSchema | undefined
  /** What is wrong with a reply of this status; undefined: nothing. */
  problemWith: (status: number, body: unknown) => string | undefined
}

interface DocumentedOperation {
  parameters?: { name: string; in: string; schema: JsonSchema }[]
  requestBody?: { content: Record<string, { schema: JsonSchema }> }
  responses: Record<string, { content?: Record<string, { schema: JsonSchema }> }>
}

export interface ApiDocument {
  paths: Record<string, Record<string, DocumentedOperation>>
}

export function routesOf(document: ApiDocument): ApiRoute[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => toRoute(path, method, operation)),
  )
}

function toRoute(path: string, method: string, operation: DocumentedOperation): ApiRoute {
  const parameters = operation.parameters ?? []
  const query = parameters.filter((parameter) => parameter.in === 'query')
  const name = `${method.toUpperCase()} ${path}`
  return {
    name,
    method: method.toUpperCase(),
    path,
    pathParameters: parameters.filter(({ in: where }) => where === 'path').map((one) => one.name),
    query: Object.fromEntries(query.map((parameter) => [parameter.name, parameter.schema])),
    body: operation.requestBody?.content['application/json']?.schema,
    problemWith: makeCheck(name, operation.responses),
  }
}

function makeCheck(name: string, responses: DocumentedOperation['responses']) {
  const checks = new Map(
    Object.entries(responses).map(([status, response]) => {
      const schema = response.content?.['application/json']?.schema
      return [Number(status), schema === undefined ? undefined : Compile(schema as never)] as const
    }),
  )
  return (status: number, body: unknown): string | undefined => {
    if (!checks.has(status)) return `${name} answers ${status}, which is not in the document`
    const check = checks.get(status)
    if (check === undefined || check.Check(body)) return undefined
    const [, errors] = check.Errors(body) as [boolean, { instancePath: string; message: string }[]]
    return `${name} ${status}: ${JSON.stringify(errors.slice(0, 3))}`
  }
}

/** Values that fit the schema, as far as a request needs it. */
export function fitting(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  if (schema.anyOf !== undefined && schema.type === undefined) {
    return fc.oneof(...schema.anyOf.map(fitting))
  }
  switch (schema.type) {
    case 'string':
      return fittingText(schema)
    case 'integer':
    case 'number':
      return fc.integer({
        min: schema.minimum ?? -5,
        max: Math.min(schema.maximum ?? 500, 2 ** 31),
      })
    case 'boolean':
      return fc.boolean()
    case 'array':
      return fc.array(fitting(schema.items ?? {}), { minLength: 1, maxLength: 3 })
    case 'object':
      return fittingObject(schema)
    default:
      return fc.constant(null)
  }
}

const LOOKAHEAD = /\(\?!(?:[^()]|\([^()]*\))*\)/g

function fittingText(schema: JsonSchema): fc.Arbitrary<string> {
  const formats = (schema.anyOf ?? [schema]).map(({ format }) => format)
  if (formats.includes('ipv4')) return fc.ipV4()
  // Lookaheads are beyond the generator; the rest of the pattern is what matters.
  if (schema.pattern !== undefined)
    return fc.stringMatching(new RegExp(schema.pattern.replace(LOOKAHEAD, '')))
  return fc.string({
    minLength: schema.minLength ?? 0,
    maxLength: Math.min(schema.maxLength ?? 20, 40),
  })
}

function fittingObject(schema: JsonSchema): fc.Arbitrary<unknown> {
  const { properties, additionalProperties } = schema
  if (properties === undefined && typeof additionalProperties === 'object') {
    return fc.dictionary(fc.stringMatching(/^[a-z_]{1,12}$/), fitting(additionalProperties), {
      maxKeys: 3,
    })
  }
  const shape = Object.entries(properties ?? {}).map(
    ([key, value]) => [key, fitting(value)] as const,
  )
  const requiredKeys = (schema.required ?? []) as never[]
  return fc.record(Object.fromEntries(shape), { requiredKeys })
}
