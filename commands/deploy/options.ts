import { readFileSync } from 'node:fs'
import { type EngineAddress, parseEngineAddress } from '../../deploy/engine.ts'
import type { ImageSource } from '../../deploy/images.ts'
import { readJoin, readUplink } from '../../deploy/join-file.ts'
import { HEALTHY_MS_MAX } from '../../deploy/limits.ts'
import { readLooking } from '../../deploy/looking-file.ts'
import { INFERENCE_PORT, type Kind } from '../../deploy/names.ts'
import { CONSOLE_PORT, checkAddress, readConfigurations, type Settings } from '../../deploy/settings.ts'
import { duration } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'

/** What the command line of `sightline deploy` says, checked. */

export const ENGINE_HOST_DEFAULT = 'unix:///var/run/docker.sock'

export interface Values {
  readonly config?: string[]
  readonly join?: string
  readonly inference?: string[]
  readonly 'inference-port'?: string
  readonly cloud?: string
  readonly ca?: string
  readonly 'user-file'?: string
  readonly camera?: string[]
  readonly mount?: string[]
  readonly gpu?: boolean
  readonly address?: string[]
  readonly 'mqtt-port'?: string
  readonly 'gallery-port'?: string
  readonly 'console-port'?: string
  readonly 's3-credentials'?: string
  readonly images?: string
  readonly tag?: string
  readonly 'build-arg'?: string[]
  readonly 'build-network'?: string
}

export const readAddress = (host: string): EngineAddress => parseEngineAddress(host)

/** It becomes part of the names of containers and volumes. Errors: USAGE */
export function checkName(name: string): string {
  if (/^[a-z0-9][a-z0-9-]{0,30}$/.test(name)) return name
  throw failure(
    'USAGE',
    `Invalid deployment name "${name}": use lowercase letters, digits and dashes, at most 31.`,
  )
}

/** Errors: USAGE, and those of the files that are named */
export function readSettings(kind: Kind, values: Values, engine: EngineAddress): Settings {
  const mounts = (values.mount ?? []).map((folder) => {
    if (folder.startsWith('/') && !folder.includes('/../') && !folder.endsWith('/..')) return folder
    throw failure('USAGE', `--mount ${folder}: give the full path on the engine's machine.`)
  })
  const configs = withCameras(readConfigurations(kind, values.config ?? [], mounts), values.camera)
  const credentials = values['s3-credentials']
  // They ask for a login and speak TLS; a demo at hand is for this machine all the same.
  const webAddress = kind === 'demo' && engine.kind === 'unix' ? '127.0.0.1' : '0.0.0.0'
  const ports = {
    gallery: wholeNumber('--gallery-port', values['gallery-port'], 8080, 65_535),
    console: wholeNumber('--console-port', values['console-port'], CONSOLE_PORT, 65_535),
  }
  if (hasWeb(kind) && ports.gallery === ports.console)
    throw failure(
      'USAGE',
      `Gallery and console cannot both have the port ${ports.gallery}. Choose another with --console-port.`,
    )
  if (
    hasWeb(kind) &&
    credentials === undefined &&
    (isS3(configs.subscriber?.tree) || isS3(configs.console?.tree))
  )
    throw failure(
      'USAGE',
      'The bucket is in S3, but credentials are missing. Give an AWS shared credentials file: --s3-credentials FILE',
    )
  return {
    kind,
    gpu: values.gpu === true,
    mounts,
    addresses: kind === 'cloud' || kind === 'inference' ? addresses(values.address, engine) : [],
    mqttPort: wholeNumber('--mqtt-port', values['mqtt-port'], 8883, 65_535),
    gallery: { address: webAddress, port: ports.gallery },
    ...(!hasWeb(kind) ? {} : { console: { address: webAddress, port: ports.console } }),
    configs,
    uplink: uplink(values),
    ...(values.inference === undefined ? {} : { looking: readLooking(values.inference) }),
    ...(kind === 'inference' && {
      inferencePort: wholeNumber('--inference-port', values['inference-port'], INFERENCE_PORT, 65_535),
    }),
    s3Credentials: credentials === undefined ? undefined : readText(credentials, '--s3-credentials'),
  }
}

const hasWeb = (kind: Kind) => kind === 'cloud' || kind === 'demo'

function addresses(given: readonly string[] | undefined, engine: EngineAddress): string[] {
  if (given !== undefined) return given.map(checkAddress)
  if (engine.kind === 'ssh') return [engine.host]
  throw failure(
    'USAGE',
    'Missing: the name or address that edges connect to, e.g. --address 192.168.1.5. The certificate is made for it.',
  )
}

function uplink({ join, cloud, ca, 'user-file': userFile }: Values): Settings['uplink'] {
  if (join !== undefined && cloud !== undefined)
    throw failure('USAGE', 'Give --join or --cloud, not both: each names the cloud.')
  if (cloud === undefined && (ca !== undefined || userFile !== undefined))
    throw failure('USAGE', '--ca and --user-file need --cloud.')
  if (join !== undefined) return readJoin(join)
  return cloud === undefined ? undefined : readUplink(cloud, ca, userFile)
}

function withCameras(
  configs: Settings['configs'],
  cameras: readonly string[] | undefined,
): Settings['configs'] {
  if (cameras === undefined) return configs
  const { device } = configs
  if (device?.tree.cameras !== undefined)
    throw failure('USAGE', 'Duplicate cameras: --camera, and in the configuration of the device. Keep one.')
  return {
    ...configs,
    device: {
      files: device?.files ?? {},
      tree: {
        ...device?.tree,
        cameras: cameras.map((source, at) => ({
          name: cameras.length === 1 ? 'camera' : `camera-${at + 1}`,
          source,
        })),
      },
    },
  }
}

const isS3 = (tree: Readonly<Record<string, unknown>> | undefined) =>
  (tree?.bucket as { type?: unknown } | undefined)?.type === 's3'

/** Errors: USAGE */
export function readSource(values: Values): ImageSource {
  const { images, tag } = values
  if (images !== undefined && tag !== undefined)
    throw failure('USAGE', 'Give --images or --tag, not both: each names the images.')
  const builds = values['build-arg'] !== undefined || values['build-network'] !== undefined
  if (builds && (images ?? tag) !== undefined)
    throw failure(
      'USAGE',
      '--build-arg and --build-network apply only when images are built: remove them, or --images or --tag.',
    )
  if (images !== undefined) return { kind: 'file', file: images }
  if (tag !== undefined) {
    if (!tag.includes('{program}'))
      throw failure(
        'USAGE',
        `--tag ${tag} names one image, but each program has its own. Write {program} in the name: registry.example.org/sightline-{program}:1.0`,
      )
    return { kind: 'tag', reference: tag }
  }
  const args = (values['build-arg'] ?? []).map((text) => {
    const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? []
    if (name === undefined || value === undefined)
      throw failure('USAGE', `--build-arg ${text}: write NAME=VALUE.`)
    return [name, value] as const
  })
  return { kind: 'build', args: Object.fromEntries(args), network: values['build-network'] }
}

/** Errors: USAGE */
export function readWait(text: string | undefined): number {
  if (text === undefined) return HEALTHY_MS_MAX
  const { data } = duration().safeParse(text)
  if (data === undefined) throw failure('USAGE', `--wait needs a duration, e.g. 90s or 5m, not "${text}".`)
  return data
}

/** Errors: USAGE */
export function wholeNumber(option: string, text: string | undefined, fallback: number, max: number): number {
  if (text === undefined) return fallback
  const number = /^[1-9]\d{0,6}$/.test(text) ? Number(text) : Number.NaN
  if (number <= max) return number
  throw failure('USAGE', `${option} needs a whole number from 1 to ${max}, not "${text}".`)
}

function readText(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure('CONFIG_NOT_FOUND', `The file ${file} (${option}) cannot be read.`, error)
  }
}
