import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { basename, join } from 'node:path'
import { parse } from 'yaml'
import type { z } from 'zod'
import { brokerSchema, checkBrokerConfig } from '../broker/config.ts'
import { checkSubscriberConfig, subscriberSchema } from '../cloud-subscriber/config.ts'
import { programOf } from '../configurations.ts'
import { checkConsoleConfig, consoleSchema } from '../console/config.ts'
import { checkDeviceConfig, deviceSchema } from '../device/config.ts'
import { checkInferenceConfig, inferenceSchema } from '../inference/config.ts'
import { readUsers, type UsersList, usersOfText } from '../lib/access/users.ts'
import { loadConfig } from '../lib/config.ts'
import { failure, SightlineError } from '../lib/errors.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import type { Uplink } from './join-file.ts'
import { NAMED_FILE_BYTES_MAX } from './limits.ts'
import type { Looking } from './looking-file.ts'
import { type Kind, PARTS, type ProgramName } from './names.ts'

/**
 * What somebody wants deployed, whole: configurations with the files they name, and how the programs meet. It is kept
 * on the engine, so that an upgrade needs nothing of it said again.
 */
export interface Settings {
  readonly kind: Kind
  readonly gpu: boolean
  /** Folders of the engine's machine that the agent may read, each under the same path. */
  readonly mounts: readonly string[]
  /** Names and addresses under which edges reach the cloud. */
  readonly addresses: readonly string[]
  readonly mqttPort: number
  readonly gallery: Opened
  /** Absent in what a version without it has kept. */
  readonly console?: Opened
  readonly configs: Readonly<Partial<Record<ProgramName, Configuration>>>
  readonly uplink?: Uplink
  /** Of an edge: the inference servers that look at its frames. */
  readonly looking?: Looking
  /** Of an inference server, for edges. */
  readonly inferencePort?: number
  /** An AWS shared credentials file. */
  readonly s3Credentials?: string
}

/** A port of the engine's machine, at one of its addresses. */
export interface Opened {
  readonly address: string
  readonly port: number
}

export const CONSOLE_PORT = 8444

/** Open to whom the gallery is, unless somebody said otherwise. */
export const consoleOf = ({ console, gallery }: Settings): Opened =>
  console ?? { address: gallery.address, port: CONSOLE_PORT }

export interface Configuration {
  /** As it was written, but for the paths of files. */
  readonly tree: Readonly<Record<string, unknown>>
  /** What it names, base64, by its name in CONFIG_FOLDER. */
  readonly files: Readonly<Record<string, string>>
}

/** In a container: configuration and secrets, read only. */
export const CONFIG_FOLDER = '/etc/sightline'
/** What must survive. */
export const DATA_FOLDER = '/var/lib/sightline'

const PROGRAMS = {
  device: { schema: deviceSchema, check: checkDeviceConfig },
  broker: { schema: brokerSchema, check: checkBrokerConfig },
  subscriber: { schema: subscriberSchema, check: checkSubscriberConfig },
  console: { schema: consoleSchema, check: checkConsoleConfig },
  inference: { schema: inferenceSchema, check: checkInferenceConfig },
} as const satisfies Record<ProgramName, { schema: z.ZodType; check: (config: never) => void }>

/**
 * Reads configuration files, each of one program (`broker=FILE` says whose it is, where its keys do not).
 * Errors: USAGE, and those of loadConfig
 */
export function readConfigurations(
  kind: Kind,
  given: readonly string[],
  mounts: readonly string[],
): Partial<Record<ProgramName, Configuration>> {
  const configs: Partial<Record<ProgramName, Configuration>> = {}
  const possible = [...new Set(PARTS[kind].map(({ program }) => program))]
  for (const argument of given) {
    const [, named, file = argument] =
      /^(device|broker|subscriber|console|inference)=(.+)$/.exec(argument) ?? []
    const program = (named ?? whose(file)) as ProgramName
    if (!possible.includes(program))
      throw failure(
        'USAGE',
        `${file} configures the ${program}, which "deploy ${kind}" does not have. It has: ${possible.join(', ')}.`,
      )
    if (kind === 'demo' && program === 'broker')
      throw failure(
        'USAGE',
        `${file}: a demo has two brokers, which deploy configures. Give the files of device, subscriber and console, or deploy edge and cloud.`,
      )
    if (configs[program]) throw failure('USAGE', `Two configurations for the ${program}. Keep one.`)
    loadConfig(PROGRAMS[program].schema as z.ZodType, { file }) // says what is wrong, with its line
    const tree = (parse(readFileSync(file, 'utf8'), { merge: true }) ?? {}) as Record<string, unknown>
    if (program === 'broker' && kind === 'cloud' && typeof tree.usersFile === 'string')
      readUsers(tree.usersFile)
    configs[program] = withFiles(tree, file, program === 'device' || program === 'inference' ? mounts : [])
    if (tree.topicPrefix !== undefined && tree.topicPrefix !== TOPIC_PREFIX_DEFAULT)
      throw failure(
        'CONFIG_INVALID',
        `${file}: deploy gives users rights below ${TOPIC_PREFIX_DEFAULT} only. Remove "topicPrefix".`,
      )
  }
  return configs
}

function whose(file: string): string {
  try {
    return programOf(file)
  } catch (error) {
    if (!(error instanceof SightlineError)) throw error
    throw failure(
      'USAGE',
      `${file} could belong to several programs. Name one, e.g. --config broker=${file}.`,
      error,
    )
  }
}

/** Takes along what a configuration names: certificates, passwords, users, a model. */
function withFiles(tree: Record<string, unknown>, owner: string, mounts: readonly string[]): Configuration {
  const files: Record<string, string> = {}
  const take = (file: string, key: string): string => {
    const name = `${key}${basename(file).match(/\.[a-z0-9]{1,8}$/i)?.[0] ?? ''}`
    try {
      const { size } = statSync(file)
      if (size > NAMED_FILE_BYTES_MAX)
        throw failure(
          'PAYLOAD_TOO_LARGE',
          `${file}, named by ${key} in ${owner}, has ${size} bytes; deploy copies at most ${NAMED_FILE_BYTES_MAX}. Put it on the engine's machine, and give its folder with --mount.`,
        )
      files[name] = readFileSync(file).toString('base64')
    } catch (error) {
      if (error instanceof SightlineError) throw error
      throw failure(
        'CONFIG_INVALID',
        `The file ${file}, named by ${key} in ${owner}, cannot be read here.`,
        error,
      )
    }
    return `${CONFIG_FOLDER}/${name}`
  }
  const visit = (node: unknown, path: readonly string[]): unknown => {
    if (Array.isArray(node)) return node.map((it, at) => visit(it, [...path, String(at)]))
    if (typeof node === 'object' && node !== null)
      return Object.fromEntries(Object.entries(node).map(([key, it]) => [key, visit(it, [...path, key])]))
    const key = path.join('.')
    if (typeof node !== 'string') return node
    if (/File$/.test(key)) return take(node, key)
    const isModel = key === 'detect.model' || /^models\.\d+\.model$/.test(key)
    if (isModel && /[/\\]|\.[a-z]+$/i.test(node) && !isBelow(node, mounts)) return take(node, key)
    if (key === 'remote.desired.signers' && !isBelow(node, mounts)) {
      // One file is enough: the authority's certificate, and those of who may sign, one behind the other.
      if (isFolder(node))
        throw failure(
          'CONFIG_INVALID',
          `${key} in ${owner} is a folder; deploy copies a file. Write its certificates into one: cat ${join(node, '*.pem')} > signers.pem`,
        )
      return take(node, key)
    }
    return node
  }
  return { tree: visit(tree, []) as Record<string, unknown>, files }
}

/** The users of the users file that a broker's configuration names. */
export const givenUsers = ({ tree, files }: Configuration) => usersIn(tree.usersFile, files)

/** Those who may look, as the configuration of the console or, where that names none, of the subscriber says. */
export function givenPeople({ console, subscriber }: Settings['configs']): UsersList | undefined {
  return (
    usersIn(usersFileOf(console?.tree.access), console?.files) ??
    usersIn(usersFileOf(subscriber?.tree.http), subscriber?.files)
  )
}

/** Whether console and gallery have a users file of their own each, so that deploy makes none. */
export const hasOwnPeople = ({ console, subscriber }: Settings['configs']): boolean =>
  usersFileOf(console?.tree.access) !== undefined && usersFileOf(subscriber?.tree.http) !== undefined

const usersFileOf = (node: unknown) => (node as { readonly usersFile?: unknown } | undefined)?.usersFile

function usersIn(path: unknown, files: Configuration['files'] = {}): UsersList | undefined {
  if (typeof path !== 'string') return undefined
  const content = files[basename(path)]
  return content === undefined ? undefined : usersOfText(Buffer.from(content, 'base64').toString('utf8'))
}

const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false

/** Whether a path of the engine's machine is in one of these folders. */
export function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path === folder || path.startsWith(`${folder.replace(/\/$/, '')}/`))
}

/** Errors: CONFIG_INVALID, CONFIG_UNSAFE_LISTENER: of what deploy and a user's file make together. */
export function checkTree(program: ProgramName, tree: unknown): void {
  const { schema, check } = PROGRAMS[program]
  const result = (schema as z.ZodType).safeParse(tree, { reportInput: true })
  if (!result.success)
    throw failure(
      'CONFIG_INVALID',
      result.error.issues
        .map(
          ({ path, message }) =>
            `The ${program}'s "${path.join('.')}", as deploy sets it, is invalid: ${message}.`,
        )
        .join('\n'),
    )
  check(result.data as never)
}

/** The cameras of an agent's configuration, its defaults included. */
export function camerasOf(tree: unknown): { readonly name: string; readonly source: string }[] {
  return deviceSchema.parse(tree).cameras
}

/** Errors: USAGE */
export function checkAddress(address: string): string {
  if (isIP(address) !== 0 || /^(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(address)) return address
  throw failure('USAGE', `Invalid host name or address "${address}". Use e.g. --address broker.example.org.`)
}
