import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { z } from 'zod'
import { DIGEST_PATTERN } from './clip.ts'
import { EFFECTS, RECORD_MODES } from './commands.ts'
import { NAME_PATTERN, NAME_RULE } from './names.ts'
import { STREAM_KEY_HASH_PATTERN } from './stream.ts'
import type { CameraAddress } from './topics.ts'
import { zonesSchema } from './zones.ts'

/**
 * What a device shall be, as its console says it (`<prefix>/<site>/<device>/desired`, retained), and what the device answers
 * (`.../reported`, retained). Settings are those of conf/device.yaml, in its words and units, laid over the device's own file;
 * what is left out is as the file says. Which of them are known, and what they may be, the device has the last word on. Pure.
 */
export const DESIRED_VERSION = 1
export const DESIRED_BYTES_MAX = 256 * 1024
/** A version that is so far ahead of the clock is none that a console gives: it would keep those that follow out, ms. */
export const DESIRED_AHEAD_MS_MAX = 86_400_000
/** With the pictures of cameras that were opened. */
export const REPORTED_BYTES_MAX = 512 * 1024
/** Of one of these pictures, before base64. */
export const OPENED_PICTURE_BYTES_MAX = 24 * 1024

/** Classifiers and plugins of one device. */
export const PROCESSORS_MAX = 16
/** Models by address in one document. */
export const DESIRED_MODELS_MAX = 8

const name = z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)
const fraction = z.number().min(0).max(1)
/** As in configuration files: `500ms`, `5s`, `2m`. */
const duration = z.string().regex(/^\d+(\.\d+)?(ms|s|m|h|d)$/, 'must be a duration, such as 500ms, 5s or 2m')
const rate = z.union([z.number().positive(), z.literal('unlimited')])
const rectangle = z.strictObject({ left: fraction, top: fraction, width: fraction, height: fraction })
const polygon = z.strictObject({
  points: z
    .array(z.tuple([fraction, fraction]))
    .min(3)
    .max(64),
})

/** What may be set of any camera, however it came to the device. */
export const cameraSettingsSchema = z.strictObject({
  paused: z.boolean().optional(),
  /** What scores less is no face; `auto`: what suits the model. */
  scoreMin: z.union([fraction, z.literal('auto')]).optional(),
  /** Faces whose shorter side has fewer pixels are passed over. */
  sizeMin: z.number().min(0).max(65_535).optional(),
  /** Frames a second that are looked at. */
  rateMax: rate.optional(),
  timeout: duration.optional(),
  rotate: z.literal([0, 90, 180, 270]).optional(),
  mirror: z.enum(['none', 'horizontal', 'vertical']).optional(),
  aspect: z.string().max(20).optional(),
  region: rectangle.nullable().optional(),
  masks: z
    .array(z.union([rectangle, polygon]))
    .max(32)
    .optional(),
  zones: zonesSchema.optional(),
  motion: z
    .strictObject({
      enabled: z.boolean().optional(),
      threshold: z.number().positive().max(1).optional(),
      checkEvery: duration.optional(),
    })
    .optional(),
  record: z
    .strictObject({
      mode: z.enum(RECORD_MODES).optional(),
      before: duration.optional(),
      after: duration.optional(),
      chunk: duration.optional(),
      audio: z.boolean().optional(),
      encode: z.enum(['auto', 'always']).optional(),
      bitrateMax: z.number().int().positive().optional(),
      quality: z.number().int().min(1).max(51).optional(),
    })
    .optional(),
  /** Which of the device's processors look at its faces, by name; absent: all. */
  process: z.array(name).max(PROCESSORS_MAX).optional(),
  view: z.strictObject({ effect: z.enum(EFFECTS).optional(), watch: z.boolean().optional() }).optional(),
  emit: z
    .strictObject({
      mode: z.enum(['every', 'best', 'interval']).optional(),
      first: z.boolean().optional(),
      bestAfter: duration.optional(),
      interval: duration.optional(),
      rateMax: rate.optional(),
    })
    .optional(),
  crop: z
    .strictObject({
      margin: z.number().min(0).max(4).optional(),
      quality: z.number().int().min(1).max(100).optional(),
      sizeMax: z.number().int().min(16).max(8192).optional(),
    })
    .optional(),
})
export type CameraSettingsFromAfar = z.infer<typeof cameraSettingsSchema>

/** A camera; with a `source` it is one that the device's own file does not have. */
export const desiredCameraSchema = z.strictObject({
  ...cameraSettingsSchema.shape,
  source: z
    .string()
    .max(2000)
    .regex(
      /^(rtsps?|rtmps?|https?):\/\//i,
      'must be an address: rtsp://, rtsps://, rtmp://, rtmps://, http:// or https://',
    )
    .optional(),
  username: z.string().min(1).max(200).optional(),
  password: z.string().max(1000).optional(),
  rtspTransport: z.enum(['tcp', 'udp']).optional(),
})
export type DesiredCamera = z.infer<typeof desiredCameraSchema>

/** A stream that comes to the device; its key is known by its hash alone. */
export const desiredStreamSchema = z.strictObject({
  keyHash: z.string().regex(STREAM_KEY_HASH_PATTERN),
  owner: z
    .string()
    .min(1)
    .max(200)
    .refine((text) => /^[^\p{C}:]+$/u.test(text), 'must be printable characters without a colon')
    .optional(),
  active: z.boolean().optional(),
  takeOver: z.boolean().optional(),
})
export type DesiredStream = z.infer<typeof desiredStreamSchema>

/** By its name in the catalogue, or of `models`; never a file. */
const modelName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,99}$/i, 'must be the name of a model in the catalogue')

/** A tensor that a model must have. A dimension that is a name is free. */
const tensorSchema = z.strictObject({
  name: z.string().min(1).max(200),
  type: z.string().regex(/^[a-z]+\d*$/),
  shape: z.array(z.union([z.number().int().positive(), z.string().min(1).max(100)])).max(8),
})

/** A model by address: an entry of a catalogue (models/catalog.yaml), for this device. */
export const desiredModelSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/),
  about: z.string().max(500).optional(),
  sources: z
    .array(z.url({ protocol: /^https?$/ }).max(2000))
    .min(1)
    .max(8),
  sha256: z.string().regex(DIGEST_PATTERN),
  bytes: z
    .number()
    .int()
    .positive()
    .max(2 ** 31)
    .optional(),
  /** A detector's family; or how a classifier is asked (`classify` of the catalogue). */
  head: z.string().max(64).optional(),
  classify: z.record(z.string(), z.unknown()).optional(),
  input: z
    .strictObject({ width: z.number().int().positive(), height: z.number().int().positive() })
    .optional(),
  scoreMin: fraction.optional(),
  /** What it must be like: held against the file before it is used. */
  inputs: z.array(tensorSchema).max(16).optional(),
  outputs: z.array(tensorSchema).max(64).optional(),
})
export type DesiredModel = z.infer<typeof desiredModelSchema>

/**
 * Whether it may take second looks: a classifier, or a detector of the family of which some tell masked faces from others. Which
 * does, the device finds out.
 */
export const mayLookAgain = ({
  classify,
  head,
}: {
  readonly classify?: unknown
  readonly head?: string
}): boolean => classify !== undefined || head === 'ultraface'

/** A classifier for faces (`process` of conf/device.yaml). Plugins are the device's own file's alone. */
export const desiredProcessorSchema = z.strictObject({
  name,
  model: modelName,
  scoreMin: fraction.optional(),
})
export type DesiredProcessor = z.infer<typeof desiredProcessorSchema>

export const desiredContentSchema = z.strictObject({
  detect: z
    .strictObject({
      model: modelName.optional(),
      scoreMin: z.union([fraction, z.literal('auto')]).optional(),
      sizeMin: z.number().min(0).max(65_535).optional(),
    })
    .optional(),
  /** Models that may be named here beside those of the device's catalogue; where the device's own file allows it. */
  models: z.array(desiredModelSchema).max(DESIRED_MODELS_MAX).optional(),
  /** Classifiers beside those of the device's own file; one of the same name takes its place. */
  process: z.array(desiredProcessorSchema).max(PROCESSORS_MAX).optional(),
  /** By name: settings of those that there are, and those that are added. */
  cameras: z.record(name, desiredCameraSchema).optional(),
  /** Of the device's own file, those that do not run. */
  removed: z.array(name).max(64).optional(),
  streams: z.record(name, desiredStreamSchema).optional(),
})
export type DesiredContent = z.infer<typeof desiredContentSchema>

export const desiredSchema = z.strictObject({
  v: z.literal(DESIRED_VERSION),
  /** Whose it is: one that is delivered to another device is not taken. */
  site: name,
  device: name,
  /** Grows with each change: milliseconds since 1970, or one more than the last where that is later. */
  version: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  atMs: timeMs,
  /** Who caused it, for people. */
  by: z.string().max(200),
  /** SHA-256 of the content (digestOf), hex. */
  digest: z.string().regex(DIGEST_PATTERN),
  /** Read strictly by the device (desiredContentSchema), so that it can say which setting it does not know. */
  content: z.unknown(),
  /** Ed25519 over signedText, base64, and the certificate of who signed, PEM; for devices that ask for it. */
  signature: z.strictObject({ value: z.string().max(200), certificate: z.string().max(10_000) }).optional(),
})
export type Desired = z.infer<typeof desiredSchema>

/** Of content as it travels; the order of its keys does not matter (RFC 8785). */
export const digestOf = (content: unknown): string =>
  createHash('sha256')
    .update(canonicalize(content) ?? '')
    .digest('hex')

/** What a signature covers: whose it is, which one, and what. */
export const signedText = ({
  site,
  device,
  version,
  digest,
}: Pick<Desired, 'site' | 'device' | 'version' | 'digest'>): string =>
  `sightline desired 1\n${site}/${device}\n${version}\n${digest}\n`

const fault = z.object({ code: z.string().max(64), message: z.string().max(2000) })

/** Settings as they hold, without secrets: those of conf/device.yaml. */
const effectiveCameraSchema = z.looseObject({
  /** Where it comes from: the device's own file, this document, or a stream that comes to the device. */
  from: z.enum(['file', 'desired', 'stream']),
  /** Without user and password; of the device's own files only its kind. */
  source: z.string().max(2000),
})

export const reportedSchema = z.object({
  v: z.literal(DESIRED_VERSION),
  site: name,
  device: name,
  atMs: timeMs,
  /** The program's version, and which documents it reads. */
  program: z.string().max(64),
  understands: z.number().int().positive(),
  /** What runs; null: the device's own file alone. */
  applied: z
    .object({ version: z.number().int().positive(), digest: z.string().regex(DIGEST_PATTERN), atMs: timeMs })
    .nullable(),
  /** Of the last document that came. `applying`: it is being tried. */
  state: z.enum(['none', 'applying', 'applied', 'refused']),
  /** Which one is tried or was refused; why, and at which setting. */
  version: z.number().int().nonnegative().optional(),
  refused: z
    .object({ ...fault.shape, path: z.array(z.union([z.string().max(200), z.number()])).max(20) })
    .nullable(),
  /** Of each camera that was tried: a picture (JPEG, base64) and its frame, or why there is none. */
  opened: z
    .record(
      name,
      z.object({
        picture: z
          .string()
          .max(Math.ceil(OPENED_PICTURE_BYTES_MAX / 3) * 4 + 4)
          .optional(),
        frame: z.tuple([z.number().int().positive(), z.number().int().positive()]).optional(),
        error: fault.optional(),
      }),
    )
    .optional(),
  /** What of a device may be changed from afar, by its own file. */
  allows: z.object({
    cameras: z.boolean(),
    streams: z.boolean(),
    /** Where cameras that are added may be: networks and hosts, as in its file. */
    networks: z.array(z.string().max(200)).max(100),
    /** Whether documents have to be signed. */
    signed: z.boolean(),
    /** Whether models may be brought by address. Absent from earlier versions. */
    models: z.boolean().optional(),
  }),
  effective: z.looseObject({
    detect: z.looseObject({ model: z.string().max(200) }),
    /** By name: a classifier's model; of a plugin no more than that it is one. Absent from earlier versions. */
    process: z
      .array(
        z.looseObject({ name, kind: z.enum(['classifier', 'plugin']), from: z.enum(['file', 'desired']) }),
      )
      .max(PROCESSORS_MAX)
      .optional(),
    cameras: z.record(name, effectiveCameraSchema),
  }),
  /** Names of models that the device could load. */
  models: z.array(z.string().max(200)).max(200).optional(),
  /** Of these, classifiers. Absent from earlier versions. */
  classifiers: z.array(z.string().max(200)).max(200).optional(),
})
export type Reported = z.infer<typeof reportedSchema>

/** Clocks before have not been set, and say nothing of what is ahead. */
const CLOCK_MS_MIN = Date.UTC(2024)

/** Whether a version is too far ahead to be taken. @param nowMs since 1970 */
export const isFarAhead = (version: number, nowMs: number): boolean =>
  nowMs >= CLOCK_MS_MIN && version > nowMs + DESIRED_AHEAD_MS_MAX

export const desiredTopic = (prefix: string, { site, device }: Omit<CameraAddress, 'camera'>) =>
  `${prefix}/${site}/${device}/desired`
export const reportedTopic = (prefix: string, { site, device }: Omit<CameraAddress, 'camera'>) =>
  `${prefix}/${site}/${device}/reported`
