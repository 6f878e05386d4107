import { existsSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { download } from '../../lib/download.ts'
import { asFailure, failure, SightlineError, systemCode } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { type CatalogEntry, catalogEntrySchema, findEntry, readCatalog } from '../../models/catalog.ts'
import { presenceOf, pull } from '../../models/pull.ts'
import type { DesiredModel } from '../../wire/desired.ts'
import type { DetectConfig, DeviceConfig, ProcessorConfig } from '../config.ts'
import { HEADS } from '../detect/open.ts'
import { detectorOptions } from '../detect/options.ts'
import { openDetectorThread } from '../detect/thread.ts'
import { MODEL_BY_ADDRESS_BYTES_MAX, MODEL_FETCH_MS_MAX, MODEL_TRY_MS_MAX } from '../limits.ts'
import { openClassifierThread } from '../process/classifier-thread.ts'
import { guardedFetch, judgeModelAddress } from './guarded-fetch.ts'
import type { Networks } from './networks.ts'
import { refusalOf } from './read.ts'
import { Refused } from './refused.ts'

/**
 * Models that the console names: those of the catalogue, which are fetched where they can be, and those by address. These lie in
 * a folder of their own below that of the models, by their checksum, so that none takes the place of another file.
 */
const FOLDER = 'desired'
const SUFFIX = '.onnx'
const PART = '.part'

/** Below the folder of the models, which several devices may share. */
const folderOf = ({ site, device }: Pick<DeviceConfig, 'site' | 'device'>) => join(FOLDER, site, device)

export interface ModelsContext {
  readonly local: DeviceConfig
  readonly networks: Networks
}

/**
 * The catalogue's entries of what was named by address, in that order.
 * Errors: Refused, with NOT_ALLOWED, CONFIG_INVALID, NAME_TAKEN, ADDRESS_NOT_ALLOWED, TOO_MANY (bytes); those of the user's catalogue.
 */
export function entriesOf(
  models: readonly DesiredModel[],
  { local, networks }: ModelsContext,
): CatalogEntry[] {
  if (models.length === 0) return []
  if (!local.remote.desired.models)
    throw new Refused(
      'NOT_ALLOWED',
      'Models may not be brought by address here: "remote.desired.models" is off in the file of the device.',
      ['models'],
    )
  const { entries } = readCatalog(local.detect.modelFolder, local.detect.catalog)
  const seen = new Set<string>()
  return models.map((model, at) => {
    const { name, head, sources, bytes = 0 } = model
    const path = ['models', at]
    if (entries.has(name))
      throw new Refused(
        'NAME_TAKEN',
        `The catalogue of this device has a model "${name}". Choose another name.`,
        [...path, 'name'],
      )
    if (seen.has(name))
      throw new Refused('CONFIG_INVALID', `There are two models "${name}". Keep one.`, [...path, 'name'])
    seen.add(name)
    if (head !== undefined && head !== 'auto' && !Object.hasOwn(HEADS, head))
      throw new Refused(
        'CONFIG_INVALID',
        `Unknown head "${head}". Use one of: auto, ${Object.keys(HEADS).join(', ')}.`,
        [...path, 'head'],
      )
    if (bytes > MODEL_BY_ADDRESS_BYTES_MAX)
      throw new Refused(
        'TOO_MANY',
        `The model "${name}" has ${bytes} bytes; by address the limit is ${MODEL_BY_ADDRESS_BYTES_MAX}.`,
        [...path, 'bytes'],
      )
    for (const [n, source] of sources.entries())
      try {
        judgeModelAddress(source, networks)
      } catch (error) {
        throw Refused.at([...path, 'sources', n], asFailure(error))
      }
    const file = `${model.sha256}${SUFFIX}`
    const read = catalogEntrySchema.safeParse({ ...model, file })
    if (!read.success) throw refusalOf(read.error, path)
    return { ...read.data, file: join(folderOf(local), file) }
  })
}

/**
 * Brings one by address, unless it is there.
 * Errors: DOWNLOAD_FAILED, CHECKSUM_WRONG, FOLDER_UNWRITABLE, DISK_FULL.
 */
export async function fetchByAddress(
  entry: CatalogEntry,
  { local, networks }: ModelsContext,
  signal: AbortSignal,
): Promise<void> {
  const { name, sources, bytes, sha256 = '', file = '' } = entry
  const { modelFolder } = local.detect
  if ((await presenceOf(entry, modelFolder)) === 'here') return
  await inTime(signal, (until) =>
    download(
      {
        ...{ name: `the model "${name}"`, sources, file: join(modelFolder, file), sha256, bytes },
        bytesMax: MODEL_BY_ADDRESS_BYTES_MAX,
        fetch: guardedFetch(networks),
      },
      until,
    ),
  )
}

/**
 * A model that was named from afar is one of the catalogue, and is there; where it can be downloaded, it is.
 * Errors: MODEL_NOT_FOUND, DOWNLOAD_FAILED, and those of the catalogue.
 */
export async function fetchModel(
  name: string,
  { modelFolder, catalog }: DeviceConfig['detect'],
  signal: AbortSignal,
): Promise<void> {
  const entry = findEntry(readCatalog(modelFolder, catalog), name)
  if (existsSync(name))
    throw failure(
      'MODEL_NOT_FOUND',
      `Where the device runs, "${name}" is a file, too. Only models of the catalogue can be set from afar.`,
    )
  if ((await presenceOf(entry, modelFolder)) === 'here') return
  await inTime(signal, (until) => pull(entry, { folder: modelFolder }, until))
}

async function inTime(signal: AbortSignal, work: (until: AbortSignal) => Promise<unknown>): Promise<void> {
  const late = AbortSignal.timeout(MODEL_FETCH_MS_MAX)
  try {
    await work(AbortSignal.any([signal, late]))
  } catch (error) {
    if (!late.aborted || signal.aborted || error instanceof SightlineError) throw error
    throw failure('DOWNLOAD_FAILED', `The model was not here within ${MODEL_FETCH_MS_MAX / 1000} s.`, error)
  }
}

/** Opens one by address, as what it is, and lets it go. Errors: those of opening it. */
export async function tryModel(
  entry: CatalogEntry,
  detect: DetectConfig,
  signal: AbortSignal,
): Promise<void> {
  const { name } = entry
  if (entry.classify) {
    await tryProcessor(
      { name: 'trial', model: name, entry, timeout: MODEL_TRY_MS_MAX, waitingMax: 1 },
      detect,
      signal,
    )
    return
  }
  const tried = { ...detect, model: name, entry, head: 'auto' as const, inputSize: undefined }
  await opened(openDetectorThread({ ...detectorOptions(tried), provider: 'cpu', threads: 1 }), name, signal)
}

/** Opens a classifier, and lets it go. Errors: those of opening it. */
export const tryProcessor = (
  config: ProcessorConfig,
  detect: DetectConfig,
  signal: AbortSignal,
): Promise<void> =>
  opened(
    openClassifierThread({ ...config, model: config.model ?? '' }, detect),
    config.model ?? config.name,
    signal,
  )

/** One that is late is let go of once it is open. */
async function opened(opening: Promise<AsyncDisposable>, name: string, signal: AbortSignal): Promise<void> {
  const done = opening.then((it) => it[Symbol.asyncDispose]())
  done.catch(() => {}) // it may fail after nobody waits for it
  const late = AbortSignal.timeout(MODEL_TRY_MS_MAX)
  const either = AbortSignal.any([signal, late])
  await Promise.race([
    done,
    new Promise<never>((_, reject) => {
      const end = () =>
        reject(
          signal.aborted
            ? signal.reason
            : failure(
                'MODEL_UNUSABLE',
                `The model "${name}" was not open within ${MODEL_TRY_MS_MAX / 1000} s.`,
              ),
        )
      either.addEventListener('abort', end, { once: true })
      if (either.aborted) end()
    }),
  ])
}

/** Files of models by address that are none of these: nothing names them any more. Never throws. */
export function removeOthers(kept: readonly CatalogEntry[], local: DeviceConfig, log: Log): void {
  const folder = join(local.detect.modelFolder, folderOf(local))
  const files = new Set(kept.map(({ file = '' }) => basename(file)))
  try {
    for (const name of readdirSync(folder)) {
      if (files.has(name) || !(name.endsWith(SUFFIX) || name.endsWith(`${SUFFIX}${PART}`))) continue
      rmSync(join(folder, name), { force: true })
      log.info({ file: name }, 'a model that nothing names any more is removed')
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return // no model ever came by address
    log.warn({ code: asFailure(error).code }, asFailure(error).message)
  }
}

export interface Loadable {
  /** Names of the models that this device could load. */
  readonly models: readonly string[]
  /** Of these, those that tell something of a face. */
  readonly classifiers: readonly string[]
}

const NAMES_MAX = 200

/** @param byAddress those that hold */
export function loadable(
  { modelFolder, catalog }: DeviceConfig['detect'],
  byAddress: readonly CatalogEntry[],
): Loadable {
  const { entries } = readCatalog(modelFolder, catalog)
  const there = [...entries.values()].filter(
    ({ file, sources, sha256 }) =>
      file === undefined ||
      (sources.length > 0 && sha256 !== undefined) ||
      existsSync(`${modelFolder}/${file}`),
  )
  const all = [...byAddress, ...there].slice(0, NAMES_MAX)
  return {
    models: all.map(({ name }) => name),
    classifiers: all.filter(({ classify }) => classify !== undefined).map(({ name }) => name),
  }
}
