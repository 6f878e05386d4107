import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { loadConfig } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'

/**
 * The models that can be had by name: those of `catalog.yaml` beside this file, and those of the user's own catalogue,
 * which go first. A model of a family that Sightline knows needs one entry and no code.
 */
const SHIPPED = fileURLToPath(new URL('catalog.yaml', import.meta.url))
/** The user's own catalogue, in the folder of the models, where the configuration names no other. */
export const OWN_CATALOG_FILE = 'catalog.yaml'
export const MODEL_FOLDER_DEFAULT = 'data/models'

export const MODEL_NAME_PATTERN = /^[a-z0-9][a-z0-9._-]{0,63}$/

const share = z.number().min(0).max(1)
const entrySchema = z
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
    /** As `sightline detect eval` measured it. */
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

const catalogSchema = z.strictObject({ models: z.array(entrySchema).max(1000).default([]) })

export type CatalogEntry = z.output<typeof entrySchema>

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
