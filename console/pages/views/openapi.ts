/** What the pages read of an OpenAPI 3.1 document. Pure. */

export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly prefixItems?: readonly Schema[]
  readonly additionalProperties?: Schema | boolean
  readonly description?: string
  readonly default?: unknown
  readonly examples?: readonly unknown[]
}

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'cookie'
  readonly required?: boolean
  readonly description?: string
  readonly schema?: Schema
}

interface RawOperation {
  readonly operationId?: string
  readonly tags?: readonly string[]
  readonly summary?: string
  readonly description?: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }
  readonly responses?: Readonly<
    Record<
      string,
      {
        readonly description?: string
        readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>
      }
    >
  >
}

export interface Document {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly tags?: readonly { readonly name: string; readonly description?: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, RawOperation>>>>
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> }
}

export interface Operation {
  readonly method: string
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description: string
  readonly parameters: readonly Parameter[]
  readonly body: Schema | undefined
  readonly answers: readonly {
    readonly status: string
    readonly description: string
    readonly type: string | undefined
    readonly schema: Schema | undefined
  }[]
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
/** A schema within a schema, so deep, is shown by its name. */
const DEPTH_MAX = 4

/** In the order of the document's tags. */
export function operationsOf(document: Document): readonly Operation[] {
  const order = document.tags?.map(({ name }) => name) ?? []
  const place = (tag: string) => (order.indexOf(tag) === -1 ? order.length : order.indexOf(tag))
  return Object.entries(document.paths)
    .flatMap(([path, item]) =>
      METHODS.flatMap((method) => {
        const raw = item[method]
        return raw ? [operationOf(method, path, raw)] : []
      }),
    )
    .sort((a, b) => place(a.tag) - place(b.tag))
}

function operationOf(method: string, path: string, raw: RawOperation): Operation {
  return {
    method: method.toUpperCase(),
    path,
    tag: raw.tags?.[0] ?? 'others',
    summary: raw.summary ?? raw.operationId ?? '',
    description: raw.description ?? '',
    parameters: raw.parameters ?? [],
    body: raw.requestBody?.content?.['application/json']?.schema,
    answers: Object.entries(raw.responses ?? {}).map(([status, { description, content }]) => {
      const [first] = Object.entries(content ?? {})
      return {
        status,
        description: description === 'Default Response' ? '' : (description ?? ''),
        type: first?.[0],
        schema: first?.[1].schema,
      }
    }),
  }
}

export function resolve(schema: Schema, { components }: Document): Schema {
  const name = nameOf(schema)
  return (name === undefined ? undefined : components?.schemas?.[name]) ?? schema
}

const nameOf = ({ $ref }: Schema) => $ref?.replace(/^#\/components\/schemas\//, '')

/** A schema as a person reads it: its name, and its shape in the manner of TypeScript. */
export function schemaWords(
  schema: Schema,
  document: Document,
): { readonly title: string; readonly text: string } {
  const inner = schema.items ? nameOf(schema.items) : undefined
  return {
    title: nameOf(schema) ?? (inner ? `${inner}[]` : 'Shape'),
    text: shapeOf(resolve(schema, document), document, 0),
  }
}

function shapeOf(schema: Schema, document: Document, depth: number): string {
  const name = nameOf(schema)
  if (name !== undefined)
    return depth >= DEPTH_MAX ? name : shapeOf(resolve(schema, document), document, depth)
  const several = schema.anyOf ?? schema.oneOf
  if (several) return [...new Set(several.map((one) => shapeOf(one, document, depth + 1)))].join(' | ')
  if (schema.allOf) return schema.allOf.map((one) => shapeOf(one, document, depth + 1)).join(' & ')
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.prefixItems)
    return `[${schema.prefixItems.map((one) => shapeOf(one, document, depth + 1)).join(', ')}]`
  if (schema.items) return `${bracketed(shapeOf(schema.items, document, depth + 1))}[]`
  if (schema.properties) {
    if (depth >= DEPTH_MAX) return '{ … }'
    const pad = '  '.repeat(depth + 1)
    const lines = Object.entries(schema.properties).flatMap(([key, value]) => {
      const about = value.description ?? resolve(value, document).description
      return [
        ...(about ? [`${pad}// ${about}`] : []),
        `${pad}${key}${schema.required?.includes(key) ? '' : '?'}: ${shapeOf(value, document, depth + 1)}`,
      ]
    })
    return `{\n${lines.join('\n')}\n${'  '.repeat(depth)}}`
  }
  if (typeof schema.additionalProperties === 'object')
    return `{ [name]: ${shapeOf(schema.additionalProperties, document, depth + 1)} }`
  const type = schema.type ?? 'anything'
  return typeof type === 'string' ? type : type.join(' | ')
}

const bracketed = (shape: string) => (shape.includes(' | ') ? `(${shape})` : shape)

/** A body to begin with: what is required, with an example of each kind. */
export function exampleOf(schema: Schema, document: Document): unknown {
  const found = resolve(schema, document)
  const [example] = found.examples ?? []
  if (example !== undefined) return example
  if (found.default !== undefined) return found.default
  if (found.enum) return found.enum[0]
  if (found.const !== undefined) return found.const
  const [one] = found.anyOf ?? found.oneOf ?? []
  if (one) return exampleOf(one, document)
  if (found.properties)
    return Object.fromEntries(
      Object.entries(found.properties)
        .filter(([name]) => found.required?.includes(name))
        .map(([name, value]) => [name, exampleOf(value, document)]),
    )
  if (found.items) return [exampleOf(found.items, document)]
  const type = typeof found.type === 'string' ? found.type : found.type?.[0]
  return type === 'number' || type === 'integer' ? 0 : type === 'boolean' ? true : ''
}
