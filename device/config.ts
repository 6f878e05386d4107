import { isIP } from 'node:net'
import { z } from 'zod'
import {
  address,
  commonShape,
  duration,
  httpShape,
  longDuration,
  port,
  size,
  tlsShape,
} from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { isLoopback, refuseOpenHttp } from '../lib/http/server.ts'
import { isAllowable } from '../lib/networks.ts'
import type { CatalogEntry } from '../models/catalog.ts'
import { PROVIDERS } from '../models/onnx.ts'
import { EFFECTS, RECORD_MODES } from '../wire/commands.ts'
import { PROCESSORS_MAX } from '../wire/desired.ts'
import { NAME_PATTERN, NAME_RULE } from '../wire/names.ts'
import { DISCOVERY_PREFIX_DEFAULT, TOPIC_PREFIX_DEFAULT, TOPIC_PREFIX_PATTERN } from '../wire/topics.ts'
import { zonesSchema } from '../wire/zones.ts'
import { HEADS, type HeadName, REMOTE_RUNTIMES, RUNTIMES } from './detect/open.ts'
import { isRemote } from './detect/options.ts'
import {
  CAMERAS_MAX,
  CHUNK_MS_LEAST,
  CHUNK_MS_MOST,
  INFERENCE_SERVERS_MAX,
  MASK_CORNERS_MAX,
  MASKS_MAX,
  PUBLISHERS_MAX,
  PUBLISHERS_PER_ADDRESS_MAX,
} from './limits.ts'
import { hasCredentials, kindOf, PUSHED } from './sources/address.ts'

/** The agent's settings. `conf/device.yaml` explains each one and parses to exactly these defaults. */

const name = () => z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`)
const rate = () => z.union([z.number().positive(), z.literal('unlimited')])

const SCHEMES = ['rtsp', 'rtsps', 'rtmp', 'rtmps', 'http', 'https', 'file']

/** A part of the picture, as fractions of it once it is turned. */
const fraction = () => z.number().min(0).max(1)
const rectangle = () =>
  z
    .strictObject({
      left: fraction(),
      top: fraction(),
      width: fraction().positive(),
      height: fraction().positive(),
    })
    .refine((it) => it.left + it.width <= 1 + 1e-9, {
      path: ['width'],
      error: 'must end inside the picture: left + width is more than 1',
    })
    .refine((it) => it.top + it.height <= 1 + 1e-9, {
      path: ['height'],
      error: 'must end inside the picture: top + height is more than 1',
    })
const polygon = () =>
  z.strictObject({
    points: z
      .array(z.tuple([fraction(), fraction()]))
      .min(3, 'must list at least three corners, each [x, y]')
      .max(MASK_CORNERS_MAX),
  })

/** One camera, by itself; what does not fit together says `cameraFaults`. */
export const cameraObject = z.strictObject({
  name: name(),
  source: z
    .string()
    .min(1)
    .refine(
      (text) => {
        const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
        return scheme === undefined || SCHEMES.includes(scheme)
      },
      {
        error: `must be "testcard", the path of a video, a photo or a folder of photos, /dev/video0, still:/dev/video0, or an address that starts with ${SCHEMES.map((scheme) => `${scheme}://`).join(', ')}`,
      },
    )
    // Of the address no more is looked at: FFmpeg takes passwords that are not escaped.
    .refine(
      (text) => Number(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/i.exec(text)?.[1] ?? 0) <= 65_535,
      {
        error: 'must have a port of at most 65535',
      },
    )
    .refine(
      (text) =>
        !text.startsWith('still:') || /^still:(TEST|\/dev\/(video\d{1,4}|v4l\/[\w.:/-]+))$/.test(text),
      {
        error: 'must be still: and a camera, such as still:/dev/video0 (or still:TEST for a test picture)',
      },
    ),
  username: z.string().min(1).optional(),
  password: z.string().optional(),
  passwordFile: z.string().min(1).optional(),
  pace: z.enum(['realtime', 'asfast']).default('realtime'),
  loop: z.boolean().default(false),
  rateMax: rate().default('unlimited'),
  watch: z.boolean().default(false),
  interval: duration().prefault('10s'),
  timeout: duration().prefault('10s'),
  rtspTransport: z.enum(['tcp', 'udp']).default('tcp'),
  width: z.number().int().positive().max(16_384).optional(),
  height: z.number().int().positive().max(16_384).optional(),
  framerate: z.number().positive().max(1000).optional(),
  inputFormat: z
    .string()
    .regex(/^[a-z0-9_]+$/, 'must be a name that FFmpeg knows, such as mjpeg, yuyv422 or h264')
    .optional(),
  rotate: z.literal([0, 90, 180, 270]).default(0),
  mirror: z.enum(['none', 'horizontal', 'vertical']).default('none'),
  aspect: z
    .string()
    .regex(
      /^auto$|^[1-9]\d{0,4}(\.\d{1,4})?:[1-9]\d{0,4}(\.\d{1,4})?$/,
      'must be auto, or width and height, such as "16:9"',
    )
    .default('auto'),
  region: rectangle().optional(),
  masks: z
    .array(
      z.union([rectangle(), polygon()], {
        error:
          'must be a rectangle (left, top, width, height) or points: [[x, y], ...], in fractions of the picture: 0 to 1',
      }),
    )
    .max(MASKS_MAX)
    .default([]),
  zones: zonesSchema.default([]),
  view: z
    .strictObject({ effect: z.enum(EFFECTS).default('none'), watch: z.boolean().default(true) })
    .prefault({}),
  paused: z.boolean().default(false),
  /** Which processors look at its faces; absent: all. */
  process: z.array(name()).max(PROCESSORS_MAX).optional(),
  /** What holds for this camera alone; absent: as `detect`, `emit` and `crop` say. */
  scoreMin: z.union([z.number().min(0).max(1), z.literal('auto')]).optional(),
  sizeMin: z.number().min(0).optional(),
  emit: z
    .strictObject({
      mode: z.enum(['every', 'best', 'interval']).optional(),
      first: z.boolean().optional(),
      bestAfter: duration().optional(),
      interval: duration().optional(),
      rateMax: rate().optional(),
    })
    .optional(),
  crop: z
    .strictObject({
      margin: z.number().min(0).max(4).optional(),
      quality: z.number().int().min(1).max(100).optional(),
      sizeMax: z.number().int().min(16).max(8192).optional(),
    })
    .optional(),
  motion: z
    .strictObject({
      enabled: z.boolean().default(false),
      threshold: z.number().positive().max(1).default(0.005),
      checkEvery: duration().prefault('5s'),
    })
    .prefault({}),
  record: z
    .strictObject({
      mode: z.enum(RECORD_MODES).default('off'),
      before: duration().prefault('5s'),
      after: duration().prefault('5s'),
      chunk: duration()
        .refine((ms) => ms >= CHUNK_MS_LEAST && ms <= CHUNK_MS_MOST, {
          error: `must be from ${CHUNK_MS_LEAST / 1000} to ${CHUNK_MS_MOST / 1000} seconds`,
        })
        .prefault('3s'),
      audio: z.boolean().default(false),
      encode: z.enum(['auto', 'always']).default('auto'),
      bitrateMax: z.number().int().min(50_000).max(200_000_000).default(4_000_000),
      quality: z.number().int().min(1).max(51).default(23),
      waitingMax: size().prefault('32MB'),
    })
    .prefault({}),
})

/** What of a camera does not fit together: where, and what must be. */
export function cameraFaults(
  it: z.output<typeof cameraObject>,
): readonly { readonly path: readonly string[]; readonly message: string }[] {
  const faults: { path: string[]; message: string }[] = []
  const refuse = (isWrong: boolean, key: string, message: string) => {
    if (isWrong) faults.push({ path: [key], message })
  }
  const isStream = kindOf(it.source) === 'stream'
  refuse(
    it.source.startsWith(PUSHED),
    'source',
    'must not be a stream that comes to the device: those stand in the file of "listen.streamsFile"',
  )
  refuse(
    (it.width === undefined) !== (it.height === undefined),
    'width',
    'must be given together with height',
  )
  refuse(
    it.password !== undefined && it.passwordFile !== undefined,
    'passwordFile',
    'must not be given together with password',
  )
  refuse(
    it.username === undefined && (it.password ?? it.passwordFile) !== undefined,
    'username',
    'must be given together with a password',
  )
  refuse(
    it.username !== undefined && !isStream,
    'username',
    'must be left out: only a source that is an address has users',
  )
  refuse(
    it.username !== undefined && hasCredentials(it.source),
    'username',
    'must be left out, or the user in the address of the source: keep one',
  )
  refuse(
    it.aspect !== 'auto' && kindOf(it.source) === 'testcard',
    'aspect',
    'must be left out: the test card has square pixels',
  )
  refuse(it.watch && it.loop, 'loop', 'must not be given together with watch: a watched folder has no end')
  return faults
}

const camera = cameraObject.superRefine((it, context) => {
  for (const { path, message } of cameraFaults(it))
    context.addIssue({ code: 'custom', path: [...path], message })
})

/**
 * What a stream may say of its camera: how its picture is mounted, what of it is looked at and kept. What belongs to fetching
 * a source stays out.
 */
export const pushedCameraShape = cameraObject.omit({
  name: true,
  source: true,
  username: true,
  password: true,
  passwordFile: true,
  pace: true,
  loop: true,
  watch: true,
  interval: true,
  rtspTransport: true,
  width: true,
  height: true,
  framerate: true,
  inputFormat: true,
}).shape

/** @param settings as `pushedCameraShape` gives them */
export function pushedCamera(name: string, settings: Readonly<Record<string, unknown>>): CameraConfig {
  const { timeout, ...rest } = settings // a duration by now, and no text
  return {
    ...cameraObject.parse({ name, source: `${PUSHED}${name}` }),
    ...rest,
    ...(typeof timeout === 'number' && { timeout }),
  }
}

/** A port that publishers come to. */
const listener = (portDefault: number, connectionsMax: number) => ({
  host: z.string().min(1).default('127.0.0.1'),
  port: port().default(portDefault),
  tls: tlsShape().optional(),
  plaintext: z.boolean().default(false),
  connectionsMax: z.number().int().positive().default(connectionsMax),
  connectionsPerAddressMax: z.number().int().positive().default(PUBLISHERS_PER_ADDRESS_MAX),
})

/** Cameras that come to the device. Nothing listens but what is named. */
const listenShape = z
  .strictObject({
    streamsFile: z.string().min(1).optional(),
    grace: duration().prefault('10s'),
    remote: z.boolean().default(true),
    rtmp: z.strictObject(listener(1935, PUBLISHERS_MAX)).optional(),
    whip: z
      .strictObject({
        ...listener(8889, PUBLISHERS_MAX),
        /** By which a router lets publishers in. Names are not looked up: an answer holds addresses. */
        publicAddresses: z
          .array(z.string().refine((it) => isIP(it) !== 0, 'must be an IP address'))
          .max(8)
          .default([]),
        /** UDP, both included; every publisher takes one for each address of this machine. Absent: any. */
        udpPorts: z
          .strictObject({
            from: z.number().int().min(1024).max(65_535),
            to: z.number().int().min(1024).max(65_535),
          })
          .refine(({ from, to }) => to > from, { path: ['to'], error: 'must be above "from"' })
          .optional(),
      })
      .optional(),
    http: z
      .strictObject({ ...listener(8890, PUBLISHERS_MAX), pictureMax: size().prefault('10MB') })
      .optional(),
  })
  .prefault({})

/** A second look at each face: a classifier (`model`), or a plugin (`module`). */
export const processorSchema = z
  .strictObject({
    name: name(),
    model: z.string().min(1).optional(),
    module: z.string().min(1).optional(),
    /** A classifier's: labels that score less are not said. */
    scoreMin: fraction().optional(),
    timeout: duration().prefault('2s'),
    waitingMax: z.number().int().min(1).max(1000).default(16),
    /** A plugin's own. */
    settings: z.record(z.string(), z.json()).optional(),
  })
  .refine((it) => (it.model === undefined) !== (it.module === undefined), {
    path: ['model'],
    error: 'must be given, or "module" instead: a classifier has the one, a plugin the other',
  })
  .refine((it) => it.module !== undefined || it.settings === undefined, {
    path: ['settings'],
    error: 'must be left out: they are for plugins ("module")',
  })
export type ProcessorConfig = z.output<typeof processorSchema> & {
  /** Of a model that the console named by address; none of the file has it. */
  readonly entry?: CatalogEntry
}

/** Inference servers (`runtime: remote`), or those of CompreFace or CodeProject.AI. */
const serversSchema = z
  .strictObject({
    addresses: z
      .array(address('http://192.168.1.20:8500', ['http', 'https', 'grpc', 'grpcs']))
      .min(1, 'must list at least one address')
      .max(INFERENCE_SERVERS_MAX),
    model: z.string().min(1).max(200).optional(),
    deadline: duration().prefault('1s'),
    inFlight: z.number().int().min(1).max(64).default(2),
    /** Who takes over: the model of `detect.model` where it is here, none, or another. */
    local: z.string().min(1).default('auto'),
    token: z.string().optional(),
    tokenFile: z.string().min(1).optional(),
    caFile: z.string().min(1).optional(),
    certFile: z.string().min(1).optional(),
    keyFile: z.string().min(1).optional(),
    /** Whether a token may cross the network unencrypted. */
    plaintext: z.boolean().default(false),
  })
  .refine((it) => it.token === undefined || it.tokenFile === undefined, {
    path: ['tokenFile'],
    error: 'must not be given together with token',
  })
  .refine((it) => (it.certFile === undefined) === (it.keyFile === undefined), {
    path: ['keyFile'],
    error: 'must be given together with certFile',
  })
export type InferenceServers = z.output<typeof serversSchema>

const deviceObject = z.strictObject({
  site: name().default('home'),
  device: name().default('laptop'),
  topicPrefix: z
    .string()
    .regex(TOPIC_PREFIX_PATTERN, 'must be topic levels without +, # and spaces')
    .max(200)
    .default(TOPIC_PREFIX_DEFAULT),
  cameras: z
    .array(camera)
    .max(CAMERAS_MAX)
    .refine((list) => new Set(list.map((it) => it.name)).size === list.length, {
      error: 'must give each camera its own name',
    })
    .prefault([{ name: 'testcard', source: 'testcard' }]),
  listen: listenShape,
  detect: z
    .strictObject({
      model: z.string().min(1).default('blazeface'),
      modelFolder: z.string().min(1).default('data/models'),
      catalog: z.string().min(1).optional(),
      head: z.enum(['auto', ...(Object.keys(HEADS) as HeadName[])]).default('auto'),
      scoreMin: z.union([z.number().min(0).max(1), z.literal('auto')]).default('auto'),
      runtime: z.enum(['auto', ...RUNTIMES, ...REMOTE_RUNTIMES]).default('auto'),
      provider: z.enum(['auto', ...PROVIDERS]).default('auto'),
      threads: z.union([z.number().int().min(1).max(64), z.literal('auto')]).default('auto'),
      inputSize: z
        .strictObject({ width: z.number().int().positive(), height: z.number().int().positive() })
        .optional(),
      sizeMin: z.number().min(0).default(0),
      servers: serversSchema.optional(),
    })
    .prefault({}),
  process: z
    .array(processorSchema)
    .max(PROCESSORS_MAX)
    .refine((list) => new Set(list.map((it) => it.name)).size === list.length, {
      error: 'must give each processor its own name',
    })
    .default([]),
  crop: z
    .strictObject({
      margin: z.number().min(0).max(4).default(0.25),
      quality: z.number().int().min(1).max(100).default(85),
      sizeMax: z.number().int().min(16).max(8192).default(1024),
    })
    .prefault({}),
  emit: z
    .strictObject({
      mode: z.enum(['every', 'best', 'interval']).default('best'),
      first: z.boolean().default(false),
      bestAfter: duration().prefault('30s'),
      interval: duration().prefault('5s'),
      trackLostMax: duration().prefault('2s'),
      rateMax: rate().default(30),
    })
    .prefault({}),
  events: z
    .strictObject({
      enabled: z.boolean().default(true),
      qos: z.union([z.literal(0), z.literal(1)]).default(0),
    })
    .prefault({}),
  broker: z
    .strictObject({
      url: address('mqtt://127.0.0.1:1883', ['mqtt', 'mqtts', 'ws', 'wss']).default('mqtt://127.0.0.1:1883'),
      username: z.string().optional(),
      password: z.string().optional(),
      passwordFile: z.string().optional(),
      caFile: z.string().optional(),
      certFile: z.string().optional(),
      keyFile: z.string().optional(),
      clientId: z.string().min(1).max(200).optional(),
      keepalive: duration().prefault('15s'),
      window: z.number().int().min(1).max(10_000).default(64),
      payloadMax: size().prefault('2MB'),
      backoff: z
        .strictObject({ min: duration().prefault('500ms'), max: duration().prefault('15s') })
        .prefault({}),
    })
    .refine((it) => it.password === undefined || it.passwordFile === undefined, {
      path: ['passwordFile'],
      error: 'must not be given together with password',
    })
    .prefault({}),
  pending: z
    .strictObject({
      bytesMax: size().prefault('64MB'),
      entriesMax: z.number().int().min(1).max(1_000_000).default(5000),
    })
    .prefault({}),
  signing: z
    .strictObject({
      keyFile: z.string().min(1),
      certFile: z.string().min(1),
      folder: z.string().min(1).default('data/device'),
    })
    .optional(),
  outbox: z
    .strictObject({
      enabled: z.boolean().default(true),
      folder: z.string().min(1).default('data/device/outbox'),
      bytesMax: size().prefault('2GB'),
      entriesMax: z.number().int().min(1).max(10_000_000).default(100_000),
      ageMax: longDuration().prefault('7d'),
    })
    .prefault({}),
  // On by default: the broker decides who may publish commands, the device's user has the right to read its own, and
  // where it has not the agent says so and goes on with its crops. Off, a camera cannot be stopped from afar.
  remote: z
    .strictObject({
      enabled: z.boolean().default(true),
      folder: z.string().min(1).default('data/device'),
      /** What this device shall be, as its console says it; and what it may never be told. */
      desired: z
        .strictObject({
          enabled: z.boolean().default(true),
          cameras: z.boolean().default(false),
          networks: z
            .array(
              z
                .string()
                .refine(
                  isAllowable,
                  'must be an address, a block of addresses such as 192.168.1.0/24, or the name of a host',
                ),
            )
            .max(100)
            .default([]),
          signers: z.string().min(1).optional(),
          models: z.boolean().default(false),
        })
        .prefault({}),
    })
    .prefault({}),
  homeAssistant: z
    .strictObject({
      enabled: z.boolean().default(false),
      prefix: z
        .string()
        .regex(TOPIC_PREFIX_PATTERN, 'must be topic levels without +, # and spaces')
        .max(200)
        .default(DISCOVERY_PREFIX_DEFAULT),
    })
    .prefault({}),
  preview: z
    .strictObject({
      enabled: z.boolean().default(false),
      rateMax: z.number().positive().max(30).default(10),
      viewersMax: z.number().int().min(1).max(64).default(8),
    })
    .prefault({}),
  http: httpShape(9101),
  ...commonShape,
})

export const deviceSchema = deviceObject.refine(
  (it) => it.cameras.length > 0 || it.listen.streamsFile !== undefined || it.remote.desired.cameras,
  {
    path: ['cameras'],
    error:
      'must list at least one camera, unless "listen.streamsFile" names a file of streams that come to this device, or "remote.desired.cameras" is true',
  },
)

export type DeviceConfig = z.output<typeof deviceSchema>
export type CameraConfig = DeviceConfig['cameras'][number]
export type DetectConfig = DeviceConfig['detect'] & {
  /** Of a model that the console named by address; none of the file has it. */
  readonly entry?: CatalogEntry
}

/** What the schema alone cannot see. Errors: CONFIG_UNSAFE_LISTENER, CONFIG_INVALID. */
export function checkDeviceConfig(config: DeviceConfig): void {
  const { runtime, servers } = config.detect
  if (isRemote(runtime) && !servers)
    throw failure(
      'CONFIG_INVALID',
      `"detect.runtime" is ${runtime}, but "detect.servers" is missing. Say where they are: servers: { addresses: [http://...] }.`,
    )
  const byGrpc = servers?.addresses.find((address) => /^grpcs?:/i.test(address))
  if (runtime !== 'remote' && isRemote(runtime) && byGrpc !== undefined)
    throw failure(
      'CONFIG_INVALID',
      `"detect.servers.addresses" has an address of gRPC, which ${runtime} does not speak. Use its http or https address.`,
    )
  if (!isRemote(runtime) && servers)
    throw failure(
      'CONFIG_INVALID',
      `"detect.servers" needs "detect.runtime": one of ${REMOTE_RUNTIMES.join(', ')}.`,
    )
  const known = new Set(config.process.map(({ name }) => name))
  for (const [at, { process = [] }] of config.cameras.entries())
    for (const name of process)
      if (!known.has(name))
        throw failure(
          'CONFIG_INVALID',
          `"cameras[${at}].process" names "${name}", which "process" does not have.`,
        )
  refuseOpenHttp(config.http)
  const { streamsFile, rtmp, whip, http } = config.listen
  for (const [name, listener] of Object.entries({ rtmp, whip, http })) {
    if (!listener) continue
    const { host, port, tls, plaintext } = listener
    if (streamsFile === undefined)
      throw failure(
        'CONFIG_INVALID',
        `"listen.${name}" needs "listen.streamsFile": the file with the streams and their keys. Make one with: sightline streams add streams.yaml CAMERA`,
      )
    if (!isLoopback(host) && !tls && !plaintext)
      throw failure(
        'CONFIG_UNSAFE_LISTENER',
        `"listen.${name}" opens ${host}:${port} without TLS: stream keys and video would cross the network unencrypted. Set "tls" (sightline certs makes the files), or "plaintext: true" if you accept that.`,
      )
    if (tls && plaintext)
      throw failure('CONFIG_INVALID', `"listen.${name}" has "tls" and "plaintext: true". Keep one.`)
  }
}
