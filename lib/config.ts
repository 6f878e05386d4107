import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml'
import { z } from 'zod'
import { failure, systemCode } from './errors.ts'
import {
  beginningOf,
  isAccepted,
  isSection,
  isText,
  schemasAt,
  settingsIn,
  type Variable,
  variableOf,
} from './variables.ts'

/**
 * Configuration: defaults from the schema, then the YAML file, then the environment, then validated.
 * An error names the file, the line and the key. Relative paths in a file stay relative to the working directory.
 */

/** Of a file, and of a variable: two thousand users fit, and what is no configuration is not read for minutes. */
const FILE_CHARACTERS_MAX = 256 * 1024
const VARIABLE_CHARACTERS_MAX = 16 * 1024
/** More is not told at once. */
const PROBLEMS_MAX = 20
/** Of a key or a value that an error repeats. */
const QUOTED_CHARACTERS_MAX = 200

/** `setTimeout` takes a longer one for none at all. */
const TIMER_MS_MAX = 24 * 86_400_000
const DURATION_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZE_BYTES = {
  B: 1,
  KB: 1000,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
} as const
/** Slower, a clip takes longer than it lasts by far, and connections time out. */
const RATE_BYTES_MIN = 1000
const BYTES_A_SECOND = {
  'bit/s': 1 / 8,
  'kbit/s': 125,
  'Mbit/s': 125_000,
  'Gbit/s': 125_000_000,
  'B/s': 1,
  'KB/s': 1000,
  'MB/s': 1e6,
} as const

function unitType(
  kind: string,
  units: Readonly<Record<string, number>>,
  example: string,
  words: Readonly<Record<string, number>> = {},
) {
  const pattern = new RegExp(`^(\\d+(?:\\.\\d+)?)\\s*(${Object.keys(units).join('|')})$`)
  const wrong = (value: unknown) => `must be a ${kind} such as ${example}, not ${quoted(value)}`
  return z.string({ error: ({ input }) => wrong(input) }).transform((text, context) => {
    const word = words[text.trim()]
    if (word !== undefined) return word
    const match = pattern.exec(text.trim())
    const unit = match?.[2] === undefined ? undefined : units[match[2]]
    const number = Math.round(Number(match?.[1]) * (unit ?? 0))
    if (unit === undefined || !Number.isSafeInteger(number)) {
      context.addIssue({ code: 'custom', message: wrong(text) })
      return z.NEVER
    }
    return number
  })
}

/** How long to wait, with its unit (`500ms`, `10s`, `5m`, `12h`, `7d`); parses to milliseconds. */
export const duration = () =>
  longDuration().refine((ms) => ms <= TIMER_MS_MAX, {
    error: 'must be at most 24d, the limit of a timer',
  })
/** How old something may become: a duration of any length. */
export const longDuration = () => unitType('duration', DURATION_MS, '10s, 5m or 7d')
/** A duration, or `forever`, which parses to Infinity. */
export const durationOrForever = () =>
  unitType('duration', DURATION_MS, '12h or 30d, or forever', { forever: Number.POSITIVE_INFINITY })
/** A size with its unit (`64KB`, `200MB`, `2GB`, `1GiB`); parses to bytes. */
export const size = () => unitType('size', SIZE_BYTES, '64KB, 200MB or 2GB')
/** How much a second (`2Mbit/s`, `250KB/s`), or `unlimited`, or `paused`: bytes, Infinity, 0. */
export const byteRate = () =>
  unitType('rate', BYTES_A_SECOND, '2Mbit/s or 250KB/s, or unlimited, or paused', {
    unlimited: Number.POSITIVE_INFINITY,
    paused: 0,
  }).refine((rate) => rate === 0 || rate >= RATE_BYTES_MIN, {
    error: 'must be at least 8kbit/s, or paused',
  })
/** A time of day of this machine (`22:00`); parses to minutes since midnight. */
export const timeOfDay = () =>
  z
    .string()
    .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day such as "22:00"')
    .transform((text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3)))
/**
 * An address with one of these schemes, whole: with a host, and a port that there is. An error does not repeat it, since it
 * may hold a password.
 */
export const address = (example: string, schemes: readonly string[]) =>
  z.string().refine((text) => isAddress(text, schemes), {
    error: `must be an address such as ${example}; a port is at most 65535`,
  })

function isAddress(text: string, schemes: readonly string[]): boolean {
  if (/\s/.test(text) || !URL.canParse(text)) return false
  const { protocol, hostname } = new URL(text)
  return schemes.includes(protocol.slice(0, -1)) && hostname !== ''
}

/** A TCP port; 0 takes any free one. */
export const port = () => z.number().int().min(0).max(65_535)

/** A report is kept by every broker that it passes. */
const REPORT_MS_MIN = 1000

/** How a program of the cloud reaches its broker: the part of its configuration that is the same in each. */
export const brokerClientShape = (clientId: string) => ({
  url: address('mqtt://127.0.0.1:1884', ['mqtt', 'mqtts']).default('mqtt://127.0.0.1:1884'),
  clientId: z.string().min(1).max(200).default(clientId),
  username: z.string().min(1).optional(),
  password: z.string().min(1).optional(),
  passwordFile: z.string().min(1).optional(),
  caFile: z.string().min(1).optional(),
  certFile: z.string().min(1).optional(),
  keyFile: z.string().min(1).optional(),
  keepalive: duration().prefault('30s'),
  connectTimeout: duration().prefault('10s'),
  reconnectMin: duration().prefault('200ms'),
  reconnectMax: duration().prefault('30s'),
})

/** The part that every program's configuration has. */
export const commonShape = {
  log: z
    .strictObject({
      level: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
    })
    .prefault({}),
  drain: z.strictObject({ deadline: duration().prefault('10s') }).prefault({}),
  report: z
    .strictObject({
      enabled: z.boolean().default(true),
      every: duration()
        .prefault('10s')
        .refine((ms) => ms >= REPORT_MS_MIN, `must be ${REPORT_MS_MIN} ms or more`),
    })
    .prefault({}),
}

const certificateShape = { certFile: z.string().min(1), keyFile: z.string().min(1) }

/** A listener's certificate and key, PEM files. */
export const tlsShape = () => z.strictObject(certificateShape)
/** The same for one that can ask clients for a certificate of theirs. */
export const mutualTlsShape = () =>
  z.strictObject({ ...certificateShape, clientCaFile: z.string().min(1).optional() })

export const HTTP_CONNECTIONS_MAX = 512
/** All who come through a reverse proxy share its address. A browser has six at once. */
export const HTTP_CONNECTIONS_PER_ADDRESS_MAX = 256

/** An address, or a block of them such as 10.0.0.0/8; one of everybody is none. */
function isAddressBlock(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0 || bits === undefined) return version !== 0
  return Number(bits) >= 1 && Number(bits) <= (version === 4 ? 32 : 128)
}

/** `/healthz` and `/metrics`. */
export const httpShape = (portDefault: number) =>
  z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      port: port().default(portDefault),
      usersFile: z.string().min(1).optional(),
      tls: tlsShape().optional(),
      trustedProxies: z
        .array(
          z.string().refine(isAddressBlock, 'must be an address, or a block of addresses such as 10.0.0.0/8'),
        )
        .max(100)
        .default([]),
      connectionsMax: z.number().int().positive().default(HTTP_CONNECTIONS_MAX),
      connectionsPerAddressMax: z.number().int().positive().default(HTTP_CONNECTIONS_PER_ADDRESS_MAX),
    })
    .prefault({})

export interface LoadOptions {
  /** Where the YAML comes from; none: defaults and environment alone. */
  readonly file?: string
  /** Looks at the text of the file before anybody reads it; throws where something is wrong with it. */
  readonly check?: (text: string, file: string) => void
  readonly env?: NodeJS.ProcessEnv
  /** Settings given on the command line, by path; they win over everything. */
  readonly overrides?: Readonly<Record<string, unknown>>
}

/**
 * Reads a program's configuration. Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID.
 * Environment (lib/variables.ts): `SIGHTLINE_BUCKET__REGION=eu-west-1` sets `bucket.region`. Where the schema wants a
 * string, the value is taken as it is; any other is read as YAML. Variables that are no settings are left alone.
 */
export function loadConfig<S extends z.ZodType>(schema: S, options: LoadOptions): z.output<S> {
  const lines = new LineCounter()
  const { file, check } = options
  const text = file === undefined ? undefined : readText(file)
  if (file !== undefined && text !== undefined) check?.(text, file)
  const document = text === undefined ? undefined : parse(text, lines)
  const syntax = document?.errors[0]
  if (syntax?.code === 'MULTIPLE_DOCS')
    throw failure(
      'CONFIG_SYNTAX',
      `${file}:${lines.linePos(syntax.pos[0]).line}: a second YAML document starts here ("---"). Use one per file: remove this line, or move the rest to another file.`,
      syntax,
    )
  if (syntax)
    throw failure(
      'CONFIG_SYNTAX',
      `${file}:${lines.linePos(syntax.pos[0]).line}: invalid YAML (${lowerFirst(syntax.message)}). Check the indentation of this line, that brackets are closed, and that values with a colon or # are in quotes.`,
      syntax,
    )
  const twice = document && keyThatStandsTwice(document)
  if (twice)
    throw failure(
      'CONFIG_SYNTAX',
      `${file}:${lines.linePos(twice.offset).line}: duplicate key ${quoted(twice.key)}. Keep one of them.`,
    )
  const tree = toTree(document, file)
  if (!isPlainObject(tree)) {
    throw failure(
      'CONFIG_SYNTAX',
      `${file}:1: a configuration must consist of "key: value" lines; see conf/ for examples with every key explained.`,
    )
  }
  const origins = new Map<string, string>()
  for (const variable of settingsIn(schema, options.env ?? {})) {
    const { name, path } = variable
    setAt([schema], tree, path, readVariable(variable), name)
    origins.set(path.join('.'), `environment variable ${name}`)
  }
  for (const [key, value] of Object.entries(options.overrides ?? {})) {
    setAt([schema], tree, key.split('.'), value, key)
    origins.set(key, 'command line')
  }
  openSections([schema], tree)
  const result = schema.safeParse(tree, { reportInput: true })
  if (result.success) return result.data
  const problems = result.error.issues.flatMap((issue) => {
    const paths =
      issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]
    return paths.map((path) => ({ issue, path }))
  })
  const sentences = problems.slice(0, PROBLEMS_MAX).map(({ issue, path }) => {
    const key = path.map(String).join('.')
    const origin =
      origins.get(key) ??
      [...origins].find(([prefix]) => key.startsWith(`${prefix}.`) || prefix.startsWith(`${key}.`))?.[1]
    const where = origin ?? `${file ?? 'configuration'}${lineOf(document?.contents, path, lines)}`
    const isMissing = issue.input === undefined && issue.code === 'invalid_type'
    const remedy =
      isMissing && options.env
        ? ` Add it there, or set the environment variable ${variableOf(path)} (in Compose: its env_file).`
        : ''
    return `${where}: ${describe(issue, key)}${remedy}`
  })
  const more = problems.length - sentences.length
  if (more > 0) sentences.push(`and ${more} more errors.`)
  throw failure('CONFIG_INVALID', sentences.join('\n'))
}

/** Its errors without their excerpts of the text: making those took longer with each error than reading all of it. */
function parse(text: string, lineCounter?: LineCounter): Document {
  return parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
    merge: true,
    logLevel: 'error',
  })
}

/** yaml looks for them by comparing each key with each: twelve seconds for 20,000 of them. */
function keyThatStandsTwice(document: Document): { key: string; offset: number } | undefined {
  let twice: { key: string; offset: number } | undefined
  visit(document, {
    Map(_at, map) {
      const keys = new Set<string>()
      for (const { key: node } of map.items) {
        if (!isScalar(node)) continue
        const key = typeof node.value === 'symbol' ? '<<' : String(node.value)
        if (keys.has(key)) {
          twice = { key, offset: node.range?.[0] ?? 0 }
          return visit.BREAK
        }
        keys.add(key)
      }
      return undefined
    },
  })
  return twice
}

function toTree(document: Document | undefined, file: string | undefined): unknown {
  try {
    return (document && toJs(document)) ?? {}
  } catch (error) {
    throw failure('CONFIG_SYNTAX', `${file}: ${asMessage(error)}`, error) // an alias that leads nowhere, or too far
  }
}

/** yaml makes text of each key that is a list or a section, and of all within it again: for ever, where they are nested. */
function toJs(document: Document): unknown {
  let isText = true
  visit(document, {
    Pair(_at, { key }) {
      isText = !isCollection(key)
      return isText ? undefined : visit.BREAK
    },
  })
  if (!isText) throw new Error('a key is a list or a section; write it as text')
  return document.toJS()
}

/** A section with nothing below it, as where each of its lines is a comment, is one that is left out. */
function openSections(schemas: Variable['schemas'], value: unknown): void {
  if (Array.isArray(value)) value.forEach((_, at) => void openAt(schemas, value, at))
  else if (isPlainObject(value)) for (const key of Object.keys(value)) openAt(schemas, value, key)
}

function openAt<Key extends PropertyKey>(
  schemas: Variable['schemas'],
  tree: Record<Key, unknown>,
  key: Key,
): void {
  const below = schemasAt(schemas, [String(key)])
  if (below.length === 0) return
  if (tree[key] === null && isSection(below)) tree[key] = {}
  else openSections(below, tree[key])
}

function readVariable({ name, text, path, schemas }: Variable): unknown {
  if (text.length > VARIABLE_CHARACTERS_MAX)
    throw failure(
      'CONFIG_SYNTAX',
      `environment variable ${name}: too long (${text.length} characters; the limit is ${VARIABLE_CHARACTERS_MAX}).`,
    )
  // An empty one is no null: what it must be is said.
  if (isText(schemas) || text.trim() === '') return text
  let value: unknown
  let fault: unknown
  try {
    const document = parse(text.trim()) // a line end of Windows, say
    fault = document.errors[0]
    if (fault === undefined) value = toJs(document)
  } catch (error) {
    fault = error
  }
  if (fault === undefined && isAccepted(schemas, value)) return value
  if (isAccepted(schemas, text)) return text
  if (fault === undefined) return value
  throw failure(
    'CONFIG_SYNTAX',
    `environment variable ${name}: invalid YAML for "${path.join('.')}". Write a list as ["a", "b"], a section as {"key": "value"}.`,
    fault,
  )
}

const asMessage = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Settings whose value is not repeated in an error. */
const SECRET = /password|secret|token/i

function describe(issue: z.core.$ZodIssue, path: string): string {
  const key = quoted(path)
  if (issue.code === 'unrecognized_keys')
    return `unknown setting ${key}. Check the spelling against the commented file in conf/.`
  if (issue.message.startsWith('must ')) return `${key} ${issue.message}.`
  // Of a union that its key "type" decides, the input is the whole, and not what stands at that key.
  const isWhole = issue.code === 'invalid_union' && issue.discriminator !== undefined
  const input = isWhole ? (issue.input as Record<string, unknown>)[String(issue.discriminator)] : issue.input
  if (input === undefined && issue.code.startsWith('invalid_'))
    return issue.code === 'invalid_type' ? `${key} is missing.` : `${key} is missing: it ${demand(issue)}.`
  if (SECRET.test(path))
    return `${key} ${demand(issue)}.${issue.code === 'invalid_type' ? ' Put it in quotes.' : ''}`
  return `${key} ${demand(issue)}${issue.code === 'custom' ? '' : `, not ${quoted(input)}`}.`
}

/** What a value must be. */
function demand(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${issue.expected === 'boolean' ? 'true or false' : article(issue.expected)}`
    case 'invalid_value':
      return `must be ${oneOf(issue.values)}`
    case 'invalid_union': {
      const { options } = issue as { readonly options?: readonly unknown[] }
      if (options) return `must be ${oneOf(options.filter((it) => it !== undefined))}` // undefined: it has a default
      const demands = issue.errors.flatMap(([first]) => (first ? [demand(first)] : []))
      return [...new Set(demands)].join(', or ').replaceAll(', or must be ', ' or ')
    }
    case 'too_small':
    case 'too_big': {
      const [least, bound] =
        issue.code === 'too_small' ? [true, issue.minimum] : ([false, issue.maximum] as const)
      if (issue.origin === 'string' && least && bound === 1) return 'must not be empty'
      const words =
        issue.inclusive === false ? (least ? 'more than' : 'less than') : least ? 'at least' : 'at most'
      if (issue.origin === 'string') return `must have ${words} ${bound} characters`
      if (issue.origin === 'array') return `must list ${words} ${bound}`
      return `must be ${words} ${bound}`
    }
    default:
      return lowerFirst(issue.message)
  }
}

const oneOf = (values: readonly unknown[]) => values.map(quoted).join(' or ')

/** As it may stand in an error: on one line, short, and without what a terminal would take for an order. */
function quoted(value: unknown): string {
  let text: string
  try {
    text = JSON.stringify(value) ?? String(value)
  } catch {
    return 'a circular value'
  }
  return text.length > QUOTED_CHARACTERS_MAX ? `${text.slice(0, QUOTED_CHARACTERS_MAX)}...` : text
}

const article = (type: string) => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)

const lowerFirst = (text: string) => text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '')

function readText(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const why =
      systemCode(error) === 'ENOENT'
        ? 'does not exist'
        : systemCode(error) === 'EISDIR'
          ? 'is a folder'
          : 'cannot be read'
    throw failure(
      'CONFIG_NOT_FOUND',
      `The configuration file ${file} ${why}. Give its path with --config.`,
      error,
    )
  }
  if (text.length > FILE_CHARACTERS_MAX)
    throw failure(
      'CONFIG_SYNTAX',
      `${file}:1: too long for a configuration (${text.length} characters; the limit is ${FILE_CHARACTERS_MAX}). Give the path of a configuration file with --config.`,
    )
  return text
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function setAt(
  schemas: Variable['schemas'],
  tree: Record<string, unknown>,
  path: readonly string[],
  value: unknown,
  origin: string,
): void {
  let here: Record<string, unknown> = tree
  path.forEach((part, at) => {
    // A list's entries are reached by their number: SIGHTLINE_BRIDGES__0__URL.
    if (Array.isArray(here) && !(/^\d{1,9}$/.test(part) && Number(part) <= here.length))
      throw failure(
        'CONFIG_INVALID',
        `${origin}: invalid index ${quoted(part)} in the list "${path.slice(0, at).join('.')}": use 0 to ${here.length}.`,
      )
    if (at === path.length - 1) {
      here[part] = value
      return
    }
    const next =
      (Object.hasOwn(here, part) ? here[part] : undefined) ??
      beginningOf(schemasAt(schemas, path.slice(0, at + 1)))
    if (!isPlainObject(next) && !Array.isArray(next))
      throw failure('CONFIG_INVALID', `${origin}: ${quoted(part)} has no keys below it.`)
    here[part] = next
    here = next as Record<string, unknown>
  })
}

function lineOf(node: unknown, path: readonly PropertyKey[], lines: LineCounter): string {
  let here: unknown = node
  let offset: number | undefined
  for (const part of path) {
    if (isMap(here)) {
      const pair = here.items.find(({ key }) => isScalar(key) && String(key.value) === String(part))
      if (!pair) break
      offset = (pair.key as Node).range?.[0] ?? offset
      here = pair.value
    } else if (isNode(here) && 'items' in here && Array.isArray(here.items)) {
      here = here.items[Number(part)]
      if (isNode(here)) offset = here.range?.[0] ?? offset
    } else break
  }
  return offset === undefined ? '' : `:${lines.linePos(offset).line}`
}

/** A file that a configuration names under this key, such as a certificate. Errors: CONFIG_INVALID. */
export function readNamedFile(file: string, key: string): Buffer
export function readNamedFile(file: string | undefined, key: string): Buffer | undefined
export function readNamedFile(file: string | undefined, key: string): Buffer | undefined {
  if (file === undefined) return undefined
  try {
    return readFileSync(file)
  } catch (error) {
    throw failure('CONFIG_INVALID', `The file ${file}, named by ${key}, cannot be read.`, error)
  }
}

/** A secret from the configuration or from its file (without the final newline). Errors: CONFIG_NOT_FOUND, CONFIG_INVALID. */
export function readSecret(
  owner: string,
  { password, passwordFile }: { password?: string; passwordFile?: string },
): string | undefined {
  if (passwordFile === undefined) return password
  if (password !== undefined)
    throw failure('CONFIG_INVALID', `${owner} has both "password" and "passwordFile". Keep one.`)
  try {
    return readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw failure(
      'CONFIG_NOT_FOUND',
      `The password file ${passwordFile} of ${owner} cannot be read. Create it, readable only by this user.`,
      error,
    )
  }
}
