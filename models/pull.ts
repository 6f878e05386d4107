import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { download, type Fetch, sha256OfFile } from '../lib/download.ts'
import { failure, systemCode } from '../lib/errors.ts'
import { keepFile } from '../lib/keep-file.ts'
import type { CatalogEntry } from './catalog.ts'

/** What a model may have where its entry does not say. */
const BYTES_MAX = 512 * 1024 * 1024
/** Files of an offline folder that are looked at. */
const OFFLINE_FILES_MAX = 10_000

export type Presence = 'built in' | 'here' | 'damaged' | 'absent'

/** Whether the model of an entry lies in `folder`, and is what the catalogue means. */
export async function presenceOf(entry: CatalogEntry, folder: string): Promise<Presence> {
  if (entry.file === undefined) return 'built in'
  const file = join(folder, entry.file)
  try {
    if (!(await stat(file)).isFile()) return 'damaged'
    return entry.sha256 === undefined || (await sha256OfFile(file)) === entry.sha256 ? 'here' : 'damaged'
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 'absent'
    return 'damaged'
  }
}

export interface PullOptions {
  /** Where it goes. */
  readonly folder: string
  /** A folder in which it lies, instead of the network. */
  readonly from?: string
  readonly onProgress?: (done: number, total: number | undefined) => void
  /** What it may have where its entry does not say. */
  readonly bytesMax?: number
  /** Who asks its sources; the runtime's own where absent. */
  readonly fetch?: Fetch
}

/**
 * Brings a model into the folder. Errors: those of `download`; MODEL_NOT_FOUND, where an entry has no sources or the
 * offline folder does not have it.
 */
export async function pull(
  entry: CatalogEntry,
  { folder, from, onProgress, bytesMax = BYTES_MAX, fetch }: PullOptions,
  signal: AbortSignal,
): Promise<'pulled' | 'was here'> {
  const presence = await presenceOf(entry, folder)
  if (presence === 'built in' || presence === 'here') return 'was here'
  const { name, file = '', sha256, sources } = entry
  const target = join(folder, file)
  if (from !== undefined) {
    keepFile(await findOffline(entry, from), target)
    return 'pulled'
  }
  if (sources.length === 0 || sha256 === undefined)
    throw failure(
      'MODEL_NOT_FOUND',
      `The entry of ${name} has no sources. Put the model at ${target} yourself.`,
    )
  try {
    await download(
      { name, sources, file: target, sha256, bytes: entry.bytes, bytesMax, onProgress, fetch },
      signal,
    )
  } catch (error) {
    const fault = error as { code?: string; message?: string }
    if (fault.code !== 'DOWNLOAD_FAILED') throw error
    throw failure(
      'DOWNLOAD_FAILED',
      `${fault.message} Without a network: download ${sources[0]} elsewhere, put it into a folder here, and run "sightline models pull ${name} --from FOLDER".`,
      error,
    )
  }
  return 'pulled'
}

/** The file of an offline folder that is this model: by its checksum, whatever its name. */
async function findOffline({ name, file, sha256, bytes }: CatalogEntry, folder: string): Promise<Buffer> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw failure('MODEL_NOT_FOUND', `The folder ${folder} cannot be read. Check its path.`, error)
  })
  const files = entries.filter((it) => it.isFile()).map((it) => it.name)
  // The one with its own name first.
  files.sort((a, b) => Number(b === file) - Number(a === file))
  let named = false
  for (const candidate of files.slice(0, OFFLINE_FILES_MAX)) {
    const path = join(folder, candidate)
    const { size } = await stat(path)
    named ||= candidate === file
    if (size > BYTES_MAX || (bytes !== undefined && size !== bytes)) continue
    if (sha256 === undefined && candidate !== file) continue
    const content = await readFile(path)
    if (sha256 === undefined || createHash('sha256').update(content).digest('hex') === sha256) return content
  }
  throw named
    ? failure(
        'CHECKSUM_WRONG',
        `Checksum mismatch: ${join(folder, file ?? '')} is not the model ${name} of the catalogue. Copy it again.`,
      )
    : failure('MODEL_NOT_FOUND', `Model ${name} (sha256 ${sha256}) not found in the folder ${folder}.`)
}
