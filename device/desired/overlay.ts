import { isDeepStrictEqual } from 'node:util'
import { asFailure } from '../../lib/errors.ts'
import type { CatalogEntry } from '../../models/catalog.ts'
import {
  type CameraSettingsFromAfar,
  type DesiredCamera,
  type DesiredContent,
  type DesiredProcessor,
  mayLookAgain,
  PROCESSORS_MAX,
} from '../../wire/desired.ts'
import {
  type CameraConfig,
  cameraFaults,
  cameraObject,
  type DetectConfig,
  type DeviceConfig,
  type ProcessorConfig,
  processorSchema,
  pushedCamera,
} from '../config.ts'
import { CAMERAS_MAX } from '../limits.ts'
import { kindOf } from '../sources/address.ts'
import { entriesOf } from './models.ts'
import type { Networks } from './networks.ts'
import { refusalOf } from './read.ts'
import { type Path, Refused } from './refused.ts'

/**
 * What a device is told to be, laid over its own file. Pure, but for the streams that it is given: what cannot be is refused,
 * whole, with the setting that it is over. With models by address, the catalogue is read.
 */
export interface Effective {
  /** Those that the device fetches: of its own file, and those that were added. */
  readonly cameras: readonly CameraConfig[]
  /** Of these: their source was said from afar. */
  readonly fromAfar: ReadonlySet<string>
  readonly detect: DetectConfig
  /** Those that look at faces: of its own file, and what was laid over. */
  readonly process: readonly ProcessorConfig[]
  /** Of these, those that were said from afar. */
  readonly processFromAfar: ReadonlySet<string>
  /** By address. */
  readonly models: readonly CatalogEntry[]
  /** Settings of cameras that come to the device. */
  readonly ofStreams: ReadonlyMap<string, CameraSettingsFromAfar>
  readonly sizeMin: number | undefined
}

export interface OverlayContext {
  readonly local: DeviceConfig
  readonly networks: Networks
  /** Names of streams that there are, or will be, beside those of the content. */
  readonly streams: ReadonlySet<string>
}

/** The device's own file alone. */
export const effectiveOf = ({ cameras, detect, process }: DeviceConfig): Effective => ({
  cameras,
  fromAfar: new Set(),
  detect,
  process,
  processFromAfar: new Set(),
  models: [],
  ofStreams: new Map(),
  sizeMin: undefined,
})

/** Errors: Refused, with CONFIG_INVALID, SETTING_UNKNOWN, NOT_ALLOWED, ADDRESS_NOT_ALLOWED, NAME_TAKEN, TOO_MANY. */
export function overlay(content: DesiredContent, { local, networks, streams }: OverlayContext): Effective {
  const allowed = local.remote.desired.cameras
  const removed = new Set(content.removed)
  const own = new Map(local.cameras.map((camera) => [camera.name, camera]))
  const pushed = new Set([...streams, ...Object.keys(content.streams ?? {})])
  if (!local.listen.remote || local.listen.streamsFile === undefined) {
    const [name] = Object.keys(content.streams ?? {})
    if (name !== undefined)
      throw new Refused(
        'NOT_ALLOWED',
        local.listen.remote
          ? 'No streams come to this device: its own file names no "listen.streamsFile".'
          : 'Streams may not be changed from afar here: "listen.remote" is off in the file of the device.',
        ['streams', name],
      )
  }
  if (content.removed?.some((name) => own.has(name)) && !allowed)
    throw mayNot(
      ['removed', content.removed.findIndex((name) => own.has(name))],
      'Cameras may not be removed',
    )
  const models = entriesOf(content.models ?? [], { local, networks })
  const process = processOf(local.process, content.process ?? [], models)
  const sizeMin = content.detect?.sizeMin
  const fromAfar = new Set<string>()
  const ofStreams = new Map<string, CameraSettingsFromAfar>()
  const cameras = new Map(
    local.cameras.filter(({ name }) => !removed.has(name)).map((it) => [it.name, withSize(it, sizeMin)]),
  )
  for (const [name, settings] of Object.entries(content.cameras ?? {})) {
    const at = ['cameras', name]
    refuseUnknown(settings, process, at)
    if (removed.has(name))
      throw new Refused('CONFIG_INVALID', `"${name}" is both removed and set. Keep one.`, at)
    if (!own.has(name) && pushed.has(name)) {
      refuseSource(settings, at)
      layCamera(pushedCamera(name, {}), settings, at)
      ofStreams.set(name, settings)
      continue
    }
    const changes = SOURCE_KEYS.find((key) => settings[key] !== undefined)
    if (changes !== undefined && !allowed)
      throw mayNot(
        [...at, changes],
        own.has(name) ? 'Sources may not be changed' : 'Cameras may not be added',
      )
    const base = own.get(name)
    if (!base && settings.source === undefined)
      throw new Refused(
        'CONFIG_INVALID',
        `This device has no camera "${name}"; to be added, it must have a source.`,
        at,
      )
    if (settings.source !== undefined) {
      try {
        networks.judge(settings.source)
      } catch (error) {
        throw Refused.at([...at, 'source'], asFailure(error))
      }
    }
    if (changes !== undefined) fromAfar.add(name)
    cameras.set(name, withSize(layCamera(base, settings, at, name), sizeMin))
  }
  for (const name of Object.keys(content.streams ?? {}))
    if (cameras.has(name) || own.has(name))
      throw new Refused('NAME_TAKEN', `This device already has a camera "${name}".`, ['streams', name])
  if (cameras.size > CAMERAS_MAX)
    throw new Refused('TOO_MANY', `A device has ${CAMERAS_MAX} cameras at most, not ${cameras.size}.`, [
      'cameras',
    ])
  return {
    cameras: [...cameras.values()],
    fromAfar,
    detect: detectOf(local.detect, content.detect ?? {}, models),
    process,
    processFromAfar: new Set(content.process?.map(({ name }) => name)),
    models,
    ofStreams,
    sizeMin,
  }
}

/** A camera that comes to the device. */
export function overlayStream(camera: CameraConfig, { ofStreams, sizeMin }: Effective): CameraConfig {
  const settings = ofStreams.get(camera.name)
  const laid = settings ? layCamera(camera, settings, ['cameras', camera.name]) : camera
  return withSize(laid, sizeMin)
}

const SOURCE_KEYS = [
  'source',
  'username',
  'password',
  'rtspTransport',
] as const satisfies (keyof DesiredCamera)[]

const mayNot = (path: Path, what: string) =>
  new Refused(
    'NOT_ALLOWED',
    `${what} from afar here: "remote.desired.cameras" is off in the file of the device.`,
    path,
  )

function refuseSource(settings: DesiredCamera, at: Path): void {
  const key = SOURCE_KEYS.find((it) => settings[it] !== undefined)
  if (key === undefined) return
  throw new Refused(
    'NOT_ALLOWED',
    'This camera is a stream that comes to the device: it has no source to be set.',
    [...at, key],
  )
}

/** What is not said of a camera is as said for all. */
const withSize = (camera: CameraConfig, sizeMin: number | undefined): CameraConfig =>
  sizeMin === undefined || camera.sizeMin !== undefined ? camera : { ...camera, sizeMin }

/** By its name in the catalogue, another model is not of the family and the size that the file says of its own. */
function detectOf(
  local: DeviceConfig['detect'],
  { model, scoreMin }: NonNullable<DesiredContent['detect']>,
  models: readonly CatalogEntry[],
): DetectConfig {
  const entry = models.find(({ name }) => name === model)
  return {
    ...local,
    ...(model !== undefined &&
      (model !== local.model || entry) && { model, head: 'auto' as const, inputSize: undefined }),
    ...(entry && { entry }),
    ...(scoreMin !== undefined && { scoreMin }),
  }
}

/** Classifiers over those of the device's own file. Errors: Refused, with CONFIG_INVALID, NOT_ALLOWED, TOO_MANY. */
function processOf(
  local: readonly ProcessorConfig[],
  wanted: readonly DesiredProcessor[],
  models: readonly CatalogEntry[],
): readonly ProcessorConfig[] {
  const all = new Map(local.map((it) => [it.name, it]))
  const seen = new Set<string>()
  for (const [n, { name, model, scoreMin }] of wanted.entries()) {
    const own = all.get(name)
    const at = ['process', n]
    if (seen.has(name))
      throw new Refused('CONFIG_INVALID', `There are two processors "${name}". Keep one.`, [...at, 'name'])
    seen.add(name)
    if (own?.module !== undefined)
      throw new Refused(
        'NOT_ALLOWED',
        `"${name}" is a plugin of the device's own file; no classifier takes its place from afar. Choose another name.`,
        [...at, 'name'],
      )
    const entry = models.find((it) => it.name === model)
    if (entry && !mayLookAgain(entry))
      throw new Refused(
        'CONFIG_INVALID',
        `The model "${model}" finds faces, and tells nothing of them: it has no labels ("classify"), and is not of the family "ultraface", of which some tell masked faces.`,
        [...at, 'model'],
      )
    const { timeout, waitingMax } = own ?? processorSchema.parse({ name, model })
    all.set(name, {
      ...{ name, model, timeout, waitingMax },
      ...(scoreMin !== undefined && { scoreMin }),
      ...(entry && { entry }),
    })
  }
  if (all.size > PROCESSORS_MAX)
    throw new Refused(
      'TOO_MANY',
      `A device has ${PROCESSORS_MAX} processors at most, not ${all.size}: those of its own file count.`,
      ['process'],
    )
  return [...all.values()]
}

function refuseUnknown(
  { process: names = [] }: DesiredCamera,
  process: readonly ProcessorConfig[],
  at: Path,
): void {
  const known = new Set(process.map(({ name }) => name))
  const n = names.findIndex((name) => !known.has(name))
  if (n < 0) return
  throw new Refused(
    'CONFIG_INVALID',
    `This device has no processor "${names[n]}". It has: ${[...known].join(', ') || 'none'}.`,
    [...at, 'process', n],
  )
}

/** @param base undefined: it is added */
function layCamera(
  base: CameraConfig | undefined,
  settings: DesiredCamera,
  at: Path,
  name = base?.name ?? '',
): CameraConfig {
  const { region, ...said } = settings
  const read = cameraObject.safeParse({
    source: base?.source ?? '',
    ...said,
    ...(region && { region }),
    name,
  })
  if (!read.success) throw refusalOf(read.error, at)
  const laid = base
    ? lay(withoutSource(base, settings), { ...said, ...(region && { region }) }, read.data)
    : read.data
  const camera = region === null ? withoutRegion(laid) : laid
  // A stream that comes to the device is none that it could fetch.
  const [fault] = cameraFaults(camera).filter(({ path }) => base === undefined || path[0] !== 'source')
  if (fault)
    throw new Refused('CONFIG_INVALID', `"${[...at, ...fault.path].join('.')}" ${fault.message}.`, [
      ...at,
      ...fault.path,
    ])
  return base && isDeepStrictEqual(base, camera) ? base : camera
}

function withoutRegion({ region, ...rest }: CameraConfig): CameraConfig {
  return rest
}

/** At another address nobody is to be told the password of this one. */
function withoutSource(base: CameraConfig, { source, username, password }: DesiredCamera): CameraConfig {
  if (source === undefined && username === undefined && password === undefined) return base
  const { username: _user, password: _password, passwordFile: _file, ...rest } = base
  if (source === undefined) return { ...rest, username: username ?? base.username }
  const { width, height, framerate, inputFormat, ...others } = rest
  return { ...others, pace: 'realtime', loop: false, watch: false }
}

/** What is said, in the form that was read, over what there is. */
function lay<T extends object>(base: T, said: object, read: object): T {
  const laid = { ...base } as Record<string, unknown>
  for (const [key, value] of Object.entries(said)) {
    if (value === undefined) continue
    const now = (read as Record<string, unknown>)[key]
    const before = laid[key]
    laid[key] = isSection(value) && isSection(now) ? lay(isSection(before) ? before : {}, value, now) : now
  }
  return laid as T
}

const isSection = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Whether its source has to be tried before it is kept. */
export function isToBeTried(before: CameraConfig | undefined, after: CameraConfig): boolean {
  if (kindOf(after.source) !== 'stream') return false
  return (
    !before ||
    ['source', 'username', 'password', 'passwordFile', 'rtspTransport'].some((key) => {
      const at = key as keyof CameraConfig
      return before[at] !== after[at]
    })
  )
}
