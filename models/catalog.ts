import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { loadConfig } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { attributeSchema } from '../wire/attributes.ts'

/**
 * The models that can be had by name: those of `catalog.yaml` beside this file, and those of the user's own catalogue,
 * which go first. A model of a family that Sightline knows needs one entry and no code.
 */
const SHIPPED = fileURLToPath(new URL('catalog.yaml', import.meta.url))
/** The user's own catalogue, in the folder of the models, where the configuration names no other. */
export const OWN_CATALOG_FILE = 'catalog.yaml'
export const MODEL_FOLDER_DEFAULT = 'data/models'

export const MODEL_NAME_PATTERN = /^[a-z0-9][a-z0-9._-]{0,63}$/

/** Of one classifier. */
export const LABELS_MAX = 1000

const share = z.number().min(0).max(1)
const channels = z.union([z.number(), z.tuple([z.number(), z.number(), z.number()])])

/** A tensor that a model must have. A dimension that is a name is free. */
const tensorSchema = z.strictObject({
  name: z.string().min(1).max(200),
  /** As ONNX Runtime calls it: `float32`. */
  type: z.string().regex(/^[a-z]+\d*$/, 'must be a type of tensor, such as float32'),
  shape: z.array(z.union([z.number().int().positive(), z.string().min(1).max(100)])).max(8),
})

/** How a classifier is asked, and what its numbers mean. */
export const classifySchema = z.strictObject({
  /** In the order of the model's output. Of a model with one number: what 0 means, and what 1 means. */
  labels: z
    .array(attributeSchema.shape.label)
    .min(2, 'must list at least two labels')
    .max(LABELS_MAX)
    .refine((labels) => new Set(labels).size === labels.length, { error: 'must not list a label twice' }),
  /** What makes probabilities of the output's numbers; none: they are. */
  activation: z.enum(['softmax', 'sigmoid', 'none']).default('softmax'),
  /** Which output has them, where the model has several. */
  output: z.string().min(1).max(200).optional(),
  /** The model's own where absent. */
  layout: z.enum(['nchw', 'nhwc']).optional(),
  channels: z.enum(['rgb', 'bgr']).default('rgb'),
  /** A byte becomes `(byte - mean) * scale`; for all colours, or for red, green and blue. */
  mean: channels.default(0),
  scale: channels.default(1 / 255),
  /** What scores less is not said. */
  threshold: share.default(0.5),
  /** How a crop of another shape is fitted: squeezed, with black bars, or cut. */
  fit: z.enum(['stretch', 'letterbox', 'cover']).default('stretch'),
  /**
   * How much beside the face's box the model sees on each side, as a fraction of its width and height, as far as the crop goes.
   * Absent: the whole crop.
   */
  margin: z.number().min(0).max(4).optional(),
})
export type Classify = z.output<typeof classifySchema>

export const catalogEntrySchema = z
  .strictObject({
    name: z
      .string()
      .regex(MODEL_NAME_PATTERN, 'must be lowercase letters, digits, dots, dashes and underscores'),
    about: z.string().max(500).optional(),
    /** The family; `auto` recognises it. */
    head: z.string().default('auto'),
    /** What the file is called in the folder of the models; none: it comes with Sightline. */
    file: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be the name of a file, without folders')
      .optional(),
    /** Where it can be fetched from, tried in this order. */
    sources: z
      .array(
        z.url({ protocol: /^https?$/, error: 'must be an address that starts with https:// or http://' }),
      )
      .max(16)
      .default([]),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 digits, as sha256sum writes them')
      .optional(),
    bytes: z
      .number()
      .int()
      .positive()
      .max(2 ** 31)
      .optional(),
    licence: z.string().max(500).optional(),
    /** The input's sides, pixels; `free`: the model takes others too. */
    input: z
      .strictObject({
        width: z.number().int().positive(),
        height: z.number().int().positive(),
        free: z.boolean().default(false),
      })
      .optional(),
    scoreMin: share.optional(),
    /** Of a classifier. Without it the entry is a detector's. */
    classify: classifySchema.optional(),
    /** What the file must be like: it is held against them when it is opened. */
    inputs: z.array(tensorSchema).max(16).optional(),
    outputs: z.array(tensorSchema).max(64).optional(),
    /** A detector's. As `sightline detect eval` measured it. */
    measured: z
      .strictObject({
        recall: share,
        precision: share,
        averagePrecision: share,
        /** On what. */
        on: z.string().max(200).optional(),
      })
      .optional(),
  })
  .refine((it) => it.sources.length === 0 || (it.sha256 !== undefined && it.file !== undefined), {
    path: ['sha256'],
    error: 'must be given, and "file", if there are sources: downloads are checked',
  })
  .refine((it) => it.classify === undefined || it.head === 'auto', {
    path: ['head'],
    error: 'must be left out: a classifier ("classify") has none',
  })
  .refine((it) => it.classify === undefined || it.measured === undefined, {
    path: ['measured'],
    error: 'must be left out: it is for detectors, not for a classifier ("classify")',
  })
  .refine((it) => it.classify === undefined || it.scoreMin === undefined, {
    path: ['scoreMin'],
    error: 'must be left out: a classifier has "classify.threshold"',
  })

const catalogSchema = z.strictObject({ models: z.array(catalogEntrySchema).max(1000).default([]) })

export type CatalogEntry = z.output<typeof catalogEntrySchema>

export interface Catalog {
  readonly entries: ReadonlyMap<string, CatalogEntry>
  /** The user's own catalogue: where it is, or would be. */
  readonly ownFile: string
}

/**
 * Reads both catalogues. `ownFile` is the one that the configuration names; it must exist then.
 * Errors: CONFIG_NOT_FOUND, CONFIG_SYNTAX, CONFIG_INVALID.
 */
export function readCatalog(folder: string = MODEL_FOLDER_DEFAULT, ownFile?: string): Catalog {
  const file = ownFile ?? join(folder, OWN_CATALOG_FILE)
  const shipped = loadConfig(catalogSchema, { file: SHIPPED }).models
  const own = ownFile !== undefined || existsSync(file) ? loadConfig(catalogSchema, { file }).models : []
  const twice = own.find(({ name }, at) => own.findIndex((it) => it.name === name) !== at)
  if (twice) throw failure('CONFIG_INVALID', `${file}: duplicate model ${twice.name}. Keep one.`)
  return { entries: new Map([...shipped, ...own].map((entry) => [entry.name, entry])), ownFile: file }
}

/** The entry of this name. Errors: MODEL_NOT_FOUND. */
export function findEntry({ entries, ownFile }: Catalog, name: string): CatalogEntry {
  const entry = entries.get(name)
  if (entry) return entry
  throw failure(
    'MODEL_NOT_FOUND',
    `Unknown model "${name}". The catalogue has: ${[...entries.keys()].join(', ')}. Add your own to ${ownFile} with "sightline models import FILE", or give the path of its file.`,
  )
}
