import { readFileSync } from 'node:fs'
import { type Document, isMap, isNode, LineCounter, type Node, parseDocument, parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { failure, systemCode } from './errors.ts'

/**
 * Configuration: defaults from the schema, then the YAML file, then the environment, then validated.
 * An error names the file, the line and the key. Relative paths in a file stay relative to the working directory.
 */

const ENV_PREFIX = 'SIGHTLINE_'
/** Variables with this prefix steer the tests and are no configuration. */
const ENV_PREFIX_TESTS = 'SIGHTLINE_TEST_'

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

function unitType(
  kind: string,
  units: Readonly<Record<string, number>>,
  example: string,
  words: Readonly<Record<string, number>> = {},
) {
  const pattern = new RegExp(`^(\\d+(?:\\.\\d+)?)\\s*(${Object.keys(units).join('|')})$`)
  const wrong = (value: unknown) => `must be a ${kind} such as ${example}, not ${JSON.stringify(value)}`
  return z.string({ error: ({ input }) => wrong(input) }).transform((text, context) => {
    const word = words[text.trim()]
    if (word !== undefined) return word
    const match = pattern.exec(text.trim())
    const unit = match?.[2] === undefined ? undefined : units[match[2]]
    if (!match || unit === undefined) {
      context.addIssue({ code: 'custom', message: wrong(text) })
      return z.NEVER
    }
    return Math.round(Number(match[1]) * unit)
  })
}

/** A duration with its unit (`500ms`, `10s`, `5m`, `12h`, `7d`); parses to milliseconds. */
export const duration = () => unitType('duration', DURATION_MS, '10s, 5m or 7d')
/** A duration, or `forever`, which parses to Infinity. */
export const durationOrForever = () =>
  unitType('duration', DURATION_MS, '12h or 30d, or forever', { forever: Number.POSITIVE_INFINITY })
/** A size with its unit (`64KB`, `200MB`, `2GB`, `1GiB`); parses to bytes. */
export const size = () => unitType('size', SIZE_BYTES, '64KB, 200MB or 2GB')
/** A TCP port; 0 takes any free one. */
export const port = () => z.number().int().min(0).max(65_535)

/** The part that every program's configuration has. */
export const commonShape = {
  log: z
    .strictObject({
      level: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
    })
    .prefault({}),
  drain: z.strictObject({ deadline: duration().prefault('10s') }).prefault({}),
}

/** `/healthz` and `/metrics`. */
export const httpShape = (portDefault: number) =>
  z
    .strictObject({ host: z.string().min(1).default('127.0.0.1'), port: port().default(portDefault) })
    .prefault({})

export interface LoadOptions {
  /** Where the YAML comes from; none: defaults and environment alone. */
  readonly file?: string
  readonly env?: NodeJS.ProcessEnv
  /** Settings given on the command line, by path; they win over everything. */
  readonly overrides?: Readonly<Record<string, unknown>>
}

/**
 * Reads a program's configuration. Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID.
 * Environment: `SIGHTLINE_BUCKET__REGION=eu-west-1` sets `bucket.region` (two underscores go one level down;
 * `bytesMax` is `BYTES_MAX`); the value is read as YAML. A variable that matches no key is an error.
 */
export function loadConfig<S extends z.ZodType>(schema: S, options: LoadOptions): z.output<S> {
  const lines = new LineCounter()
  const document =
    options.file === undefined
      ? undefined
      : parseDocument(readText(options.file), { lineCounter: lines, prettyErrors: true })
  const syntax = document?.errors[0]
  if (syntax) {
    const [sentence] = syntax.message.split(/ at line \d+, column \d+/)
    throw failure(
      'CONFIG_SYNTAX',
      `${options.file}:${lines.linePos(syntax.pos[0]).line}: ${sentence}.`,
      syntax,
    )
  }
  const tree = toTree(document, options.file)
  if (!isPlainObject(tree)) {
    throw failure(
      'CONFIG_SYNTAX',
      `${options.file}:1: a configuration is a list of "key: value" lines; see conf/ for one with every key explained.`,
    )
  }
  const origins = new Map<string, string>()
  for (const [name, text] of Object.entries(options.env ?? {})) {
    if (!name.startsWith(ENV_PREFIX) || name.startsWith(ENV_PREFIX_TESTS) || text === undefined) continue
    const path = name.slice(ENV_PREFIX.length).split('__').map(camelCase)
    setAt(tree, path, readVariable(name, text), name)
    origins.set(path.join('.'), `environment variable ${name}`)
  }
  for (const [key, value] of Object.entries(options.overrides ?? {})) {
    setAt(tree, key.split('.'), value, key)
    origins.set(key, 'command line')
  }
  const result = schema.safeParse(tree, { reportInput: true })
  if (result.success) return result.data
  const problems = result.error.issues.flatMap((issue) => {
    const keys =
      issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]
    return keys.map((path) => {
      const key = path.map(String).join('.')
      const origin =
        origins.get(key) ??
        [...origins].find(([prefix]) => key.startsWith(`${prefix}.`) || prefix.startsWith(`${key}.`))?.[1]
      const where = origin ?? `${options.file ?? 'configuration'}${lineOf(document?.contents, path, lines)}`
      return `${where}: ${describe(issue, key)}`
    })
  })
  throw failure('CONFIG_INVALID', problems.join('\n'))
}

function toTree(document: Document | undefined, file: string | undefined): unknown {
  try {
    return document?.toJS() ?? {}
  } catch (error) {
    throw failure('CONFIG_SYNTAX', `${file}: ${asMessage(error)}`, error) // an alias that leads nowhere, or too far
  }
}

function readVariable(name: string, text: string): unknown {
  try {
    return parseYaml(text)
  } catch (error) {
    throw failure(
      'CONFIG_SYNTAX',
      `environment variable ${name}: its value is read as YAML, and this is none. Put it in quotes inside the variable: ${name}='"..."'.`,
      error,
    )
  }
}

const asMessage = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Settings whose value is not repeated in an error. */
const SECRET = /password|secret|token/i

function describe(issue: z.core.$ZodIssue, key: string): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      return `"${key}" is no setting of this program. Check the spelling against the commented file in conf/.`
    case 'invalid_type':
      if (issue.input === undefined) return `"${key}" is missing.`
      if (issue.message.startsWith('must be ')) return `"${key}" ${issue.message}.`
      if (SECRET.test(key)) return `"${key}" must be ${article(issue.expected)}. Put it in quotes.`
      return `"${key}" must be ${article(issue.expected)}, not ${JSON.stringify(issue.input)}.`
    default:
      return `"${key}" ${lowerFirst(issue.message)}.`
  }
}

const article = (type: string) => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)

const lowerFirst = (text: string) => text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '')

const camelCase = (part: string) =>
  part.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
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
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function setAt(tree: Record<string, unknown>, path: readonly string[], value: unknown, origin: string): void {
  let here: Record<string, unknown> = tree
  for (const part of path.slice(0, -1)) {
    const next = here[part] ?? {}
    // A list's entries are reached by their number: SIGHTLINE_BRIDGES__0__URL.
    if (!isPlainObject(next) && !Array.isArray(next))
      throw failure('CONFIG_INVALID', `${origin}: "${part}" has no keys below it.`)
    here[part] = next
    here = next as Record<string, unknown>
  }
  here[path.at(-1) as string] = value
}

function lineOf(node: unknown, path: readonly PropertyKey[], lines: LineCounter): string {
  let here: unknown = node
  let offset: number | undefined
  for (const part of path) {
    if (isMap(here)) {
      const pair = here.items.find((item) => String((item.key as { value?: unknown }).value) === String(part))
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
      `The password file ${passwordFile} of ${owner} cannot be read. Create it, readable by this user alone.`,
      error,
    )
  }
}
