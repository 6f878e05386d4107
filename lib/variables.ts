import { z } from 'zod'

/**
 * Settings in environment variables: `SIGHTLINE_BUCKET__REGION` is `bucket.region`. Two underscores go one level down, one
 * stands before a capital (`bytesMax` is `BYTES_MAX`), and an entry of a list has its number (`BRIDGES__0__URL`).
 *
 * Others set variables that begin like ours. So a variable counts where the schema has its setting, and else it is left
 * alone; one that looks like a misspelt setting is said.
 */

const PREFIX = 'SIGHTLINE_'
/** Variables with this prefix steer the tests. */
const PREFIX_TESTS = 'SIGHTLINE_TEST_'
/** Of the Compose files and docker/secrets.sh, for the shell that they are started from. */
export const COMPOSE_VARIABLES: ReadonlySet<string> = new Set(
  [
    'VERSION',
    'IMAGE',
    'SECRETS',
    'CAMERA',
    'BROKER_PORT',
    'GALLERY_PORT',
    'CONSOLE_PORT',
    'INFERENCE_PORT',
  ].map((name) => PREFIX + name),
)
/** Letters that are wrong, missing, or too many in a name that was meant for another; of a short one, one. */
const MISSPELT_LETTERS_MAX = 2
const SHORT_NAME_LENGTH_MAX = 4
const NAME_LENGTH_MAX = 200

type Schema = z.core.$ZodType
/** What is looked at here, of any type of schema. */
interface Definition {
  readonly type: string
  readonly innerType?: Schema
  readonly in?: Schema
  readonly out?: Schema
  readonly options?: readonly Schema[]
  readonly shape?: Readonly<Record<string, Schema>>
  readonly element?: Schema
  readonly items?: readonly Schema[]
  readonly defaultValue?: unknown
}

const definition = (schema: Schema) => schema._zod.def as unknown as Definition

/** What may stand at a place: each of several kinds, without what makes it optional or works on it afterwards. */
function kindsOf(schema: Schema): Schema[] {
  const { type, innerType, in: from, out, options } = definition(schema)
  if (innerType) return kindsOf(innerType)
  if (type === 'pipe' && from && out) return kindsOf(definition(from).type === 'transform' ? out : from)
  return options ? options.flatMap(kindsOf) : [schema]
}

function belowKind(kind: Schema, part: string): Schema[] {
  const { shape, element, items } = definition(kind)
  const found =
    shape && Object.hasOwn(shape, part)
      ? shape[part]
      : /^\d+$/.test(part)
        ? (element ?? items?.[Number(part)])
        : undefined
  return found ? [found] : []
}

/** The schemas of what a path leads to; none where there is no such setting. */
export function schemasAt(schemas: readonly Schema[], path: readonly string[]): readonly Schema[] {
  return path.reduce((here, part) => here.flatMap(kindsOf).flatMap((kind) => belowKind(kind, part)), schemas)
}

/** Whether nothing but a section, an object, may stand there. */
export function isSection(schemas: readonly Schema[]): boolean {
  const kinds = schemas.flatMap(kindsOf)
  return kinds.length > 0 && kinds.every((kind) => definition(kind).type === 'object')
}

/** What a list or a section is where nobody says: a list's default, since its entries are reached one by one. */
export function beginningOf(schemas: readonly Schema[]): unknown[] | Record<string, unknown> {
  if (!schemas.flatMap(kindsOf).some((kind) => ['array', 'tuple'].includes(definition(kind).type))) return {}
  const found = schemas.map(defaultOf).find(Array.isArray)
  return structuredClone(found ?? [])
}

function defaultOf(schema: Schema): unknown {
  const { defaultValue, innerType } = definition(schema)
  return defaultValue ?? (innerType && defaultOf(innerType))
}

export interface Variable {
  readonly name: string
  readonly path: readonly string[]
  readonly text: string
  /** What may stand at its path. */
  readonly schemas: readonly Schema[]
}

/** Those that are settings, a section before what is in it, and a list's entries in their order. */
export function settingsIn(schema: Schema, env: NodeJS.ProcessEnv): Variable[] {
  return ours(env)
    .map(({ name, text }) => ({ name, text, path: pathOf(name) }))
    .map((variable) => ({ ...variable, schemas: schemasAt([schema], variable.path) }))
    .filter(
      ({ name, text, schemas }) => schemas.length > 0 && (name.includes('__') || !isForeign(name, text)),
    )
    .sort((a, b) => byPath(a.path, b.path))
}

/** A sentence for each variable that is no setting and was probably meant to be one. */
export function misspeltIn(schema: Schema, env: NodeJS.ProcessEnv): string[] {
  const settings = new Set(settingsIn(schema, env).map(({ name }) => name))
  const names = namesBelow([schema])
  return ours(env).flatMap(({ name, text }) => {
    if (settings.has(name) || COMPOSE_VARIABLES.has(name) || isForeign(name, text)) return []
    const meant = nearest(name, names)
    const [first = '', ...rest] = pathOf(name)
    const isBelowOurs = rest.length > 0 && schemasAt([schema], [first]).length > 0
    if (meant === undefined && !isBelowOurs) return []
    const what = meant === undefined ? 'Check its spelling.' : `Did you mean ${meant}?`
    return [`Unknown setting in environment variable ${name}; it is ignored. ${what}`]
  })
}

/** The variable that sets what is at a path. */
export function variableOf(path: readonly PropertyKey[]): string {
  return PREFIX + path.map((part) => String(part).replace(/[A-Z]/g, '_$&').toUpperCase()).join('__')
}

function ours(env: NodeJS.ProcessEnv): { name: string; text: string }[] {
  return Object.entries(env).flatMap(([name, text]) =>
    text !== undefined && name.startsWith(PREFIX) && !name.startsWith(PREFIX_TESTS) ? [{ name, text }] : [],
  )
}

const pathOf = (name: string) => name.slice(PREFIX.length).split('__').map(camelCase)

const camelCase = (part: string) =>
  part.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

function byPath(a: readonly string[], b: readonly string[]): number {
  for (const [at, part] of a.entries()) {
    const other = b[at]
    if (other === undefined) return 1
    const order = part.localeCompare(other, 'en', { numeric: true })
    if (order !== 0) return order
  }
  return a.length - b.length
}

/**
 * What Kubernetes sets for a Service that is called sightline or sightline-..., and Docker for a link:
 * SIGHTLINE_BROKER_SERVICE_HOST, SIGHTLINE_BROKER_PORT=tcp://10.0.0.1:1883, SIGHTLINE_BROKER_PORT_1883_TCP_ADDR.
 */
function isForeign(name: string, text: string): boolean {
  return (
    /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))*$/.test(name) ||
    (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(text)) ||
    (name.endsWith('_NAME') && /^\/[^/]+\/[^/]+$/.test(text))
  )
}

/** Of all settings; the first entry of a list stands for all of them. */
function namesBelow(schemas: readonly Schema[], path: readonly string[] = []): string[] {
  return schemas.flatMap(kindsOf).flatMap((kind) => {
    const { shape = {}, element } = definition(kind)
    return Object.entries(element ? { 0: element } : shape).flatMap(([key, schema]) => {
      const here = [...path, key]
      return [variableOf(here), ...namesBelow([schema], here)]
    })
  })
}

function nearest(name: string, names: readonly string[]): string | undefined {
  if (name.length > NAME_LENGTH_MAX) return undefined
  const isShort = name.length - PREFIX.length <= SHORT_NAME_LENGTH_MAX
  const numbers = [...name.matchAll(/__(\d+)(?=__|$)/g)].map(([, number]) => number)
  const plain = name.replace(/__\d+(?=__|$)/g, '__0')
  let least = isShort ? 1 : MISSPELT_LETTERS_MAX
  let found: string | undefined
  for (const candidate of names) {
    if (Math.abs(candidate.length - plain.length) > least) continue
    const letters = distance(plain, candidate)
    if (letters > least || (letters === least && found !== undefined)) continue
    least = letters
    found = candidate
  }
  let at = 0
  return found?.replace(/__0(?=__|$)/g, () => `__${numbers[at++] ?? 0}`)
}

/** Letters to change, add, take away, or swap with their neighbour, to make one of the other. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const change = (last[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min(change, (last[j] as number) + 1, (row[j - 1] as number) + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (before[j - 2] as number) + 1)
      row.push(least)
    }
    before = last
    last = row
  }
  return last[b.length] as number
}

/** Whether a text alone may stand there, as it is. */
export function isText(schemas: readonly Schema[]): boolean {
  return schemas.flatMap(kindsOf).every((kind) => definition(kind).type === 'string')
}

/** Whether a value may stand there, apart from what is looked at in a larger context. */
export function isAccepted(schemas: readonly Schema[], value: unknown): boolean {
  return schemas.some((schema) => z.core.safeParse(schema, value).success)
}
