import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { failure, SightlineError, systemCode } from '../lib/errors.ts'
import { type CatalogEntry, findEntry, MODEL_FOLDER_DEFAULT, readCatalog } from './catalog.ts'
import {
  BLAZEFACE,
  blazefaceTfjsFile,
  convertBlazeface,
  convertModel,
  isMade,
  keptBlazeface,
  keptModel,
} from './convert.ts'
import { MODEL_BYTES_MAX } from './limits.ts'
import type { Sides } from './tensor.ts'

export const MODEL_DEFAULT = BLAZEFACE

export interface LocateOptions {
  /**
   * A name of the catalogue (`blazeface` comes with Sightline), or the path of an ONNX file or of a graph model of
   * TensorFlow.js (model.json).
   */
  readonly model?: string
  /**
   * Where models lie that were pulled, the one that comes with Sightline is kept once it is made (made anew each time
   * where absent), and what was measured is remembered (nothing is, where absent).
   */
  readonly modelFolder?: string
  /** The user's own catalogue; `catalog.yaml` in the folder of the models where absent. */
  readonly catalog?: string
  /** The model's entry, where it is none of the catalogue: it came by address. */
  readonly entry?: CatalogEntry
  /** `auto`: TensorFlow.js for its own files, ONNX Runtime for all others. */
  readonly runtime?: 'auto' | 'onnx' | 'tfjs'
}

/** Where a model was found, and what its catalogue entry says of it. One of `bytes` (ONNX) and `tfjsFile` is there. */
export interface Located {
  /** In crops' metadata. */
  readonly name: string
  /** What to call it in errors. */
  readonly label: string
  readonly bytes?: Uint8Array
  readonly tfjsFile?: string
  readonly head?: string
  readonly scoreMin?: number
  readonly inputSize?: Sides
  /** Of the catalogue, where it is a model by name. */
  readonly entry?: CatalogEntry
}

/**
 * The model of this name or path, whole and checked.
 * Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE, CHECKSUM_WRONG, FOLDER_UNWRITABLE; those of the user's catalogue (CONFIG_*).
 */
export async function locate(options: LocateOptions): Promise<Located> {
  const wanted = options.model ?? MODEL_DEFAULT
  if (wanted === MODEL_DEFAULT && !options.entry) {
    const own = { name: BLAZEFACE, label: BLAZEFACE }
    if (options.runtime === 'tfjs') return { ...own, tfjsFile: blazefaceTfjsFile() }
    return {
      ...own,
      bytes: await (options.modelFolder ? keptBlazeface(options.modelFolder) : convertBlazeface()),
    }
  }
  if (options.entry || !isPath(wanted)) return await locateByName(wanted, options)
  const found = { name: basename(wanted, extname(wanted)), label: wanted }
  const tfjs = extname(wanted).toLowerCase() === '.json'
  if (options.runtime !== undefined && options.runtime !== 'auto' && tfjs !== (options.runtime === 'tfjs'))
    throw failure(
      'MODEL_UNUSABLE',
      tfjs
        ? `${wanted} is a TensorFlow.js file, but "detect.runtime" is onnx. Set it to auto or tfjs, or name an ONNX file.`
        : `${wanted} is not a TensorFlow.js model.json, but "detect.runtime" is tfjs. Set it to auto or onnx, or name a model.json.`,
    )
  return tfjs ? { ...found, tfjsFile: wanted } : { ...found, bytes: await readModel(wanted) }
}

/** What names a file: it has a folder or an extension in it, or is there. */
function isPath(model: string): boolean {
  return /[/\\]|\.(onnx|json|ort)$/i.test(model) || existsSync(model)
}

async function locateByName(name: string, options: LocateOptions): Promise<Located> {
  const folder = options.modelFolder ?? MODEL_FOLDER_DEFAULT
  const entry = options.entry ?? findEntry(readCatalog(folder, options.catalog), name)
  if (entry.file === undefined) {
    if (!isMade(name)) throw failure('CONFIG_INVALID', `The catalogue's entry ${name} has no file. Add one.`)
    const bytes = await (options.modelFolder ? keptModel(name, options.modelFolder) : convertModel(name))
    return described(entry, bytes)
  }
  if (/\.json$/i.test(entry.file))
    throw failure(
      'MODEL_UNUSABLE',
      `The catalogue's entry ${name} names a file of TensorFlow.js (${entry.file}), but entries are for ONNX files. Convert it to ONNX, or, if it is a detector, set "detect.model" to its path.`,
    )
  const file = join(folder, entry.file)
  if (!existsSync(file))
    throw failure(
      'MODEL_NOT_FOUND',
      options.entry
        ? `The model ${name}, which came by address, is not here any more: ${file} is missing.`
        : entry.sources.length > 0
          ? `Model ${name} not found: ${file} is missing. Run "sightline models pull ${name}".`
          : `Model ${name} not found: ${file} is missing. Put it there.`,
    )
  if (options.runtime === 'tfjs')
    throw failure(
      'MODEL_UNUSABLE',
      `The model ${name} is an ONNX file, but "detect.runtime" is tfjs. Set it to auto or onnx.`,
    )
  const bytes = await readModel(file)
  if (entry.sha256 !== undefined && createHash('sha256').update(bytes).digest('hex') !== entry.sha256)
    throw failure(
      'CHECKSUM_WRONG',
      `Checksum mismatch: ${file} is not the model ${name} of the catalogue. ${entry.sources.length > 0 ? `Run "sightline models pull ${name}", which downloads it again.` : 'Copy it again, or correct "sha256" in its entry.'}`,
    )
  return described(entry, bytes)
}

const described = (entry: CatalogEntry, bytes: Uint8Array): Located => ({
  name: entry.name,
  label: `the model ${entry.name}`,
  bytes,
  head: entry.head,
  scoreMin: entry.scoreMin,
  inputSize: entry.input && { width: entry.input.width, height: entry.input.height },
  entry,
})

/** The bytes of a model's file. Errors: MODEL_NOT_FOUND, MODEL_UNUSABLE. */
export async function readModel(file: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(file)
    if (size > MODEL_BYTES_MAX)
      throw failure('MODEL_UNUSABLE', `${file} has ${size} bytes; the limit is ${MODEL_BYTES_MAX}.`)
    const bytes = await readFile(file)
    if (bytes.length === 0) throw failure('MODEL_UNUSABLE', `The model ${file} is empty. Copy it again.`)
    return bytes
  } catch (error) {
    if (systemCode(error) === undefined || error instanceof SightlineError) throw error
    const why =
      { ENOENT: 'does not exist', EISDIR: 'is a folder' }[systemCode(error) ?? ''] ?? 'cannot be read'
    throw failure(
      'MODEL_NOT_FOUND',
      `The model ${file} ${why}. Give the path of an ONNX file, or "${MODEL_DEFAULT}" for the model that comes with Sightline; "sightline models list" names others.`,
      error,
    )
  }
}
