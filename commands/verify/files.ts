import { glob, opendir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { failure, systemCode } from '../../lib/errors.ts'
import { CLIP } from '../../wire/kinds.ts'
import type { Read } from './report.ts'

/** What the command line names: files, folders and patterns, in their order. */

const EXTENSIONS = /\.(jpe?g|mp4)$/i
/** Folders in folders: a link that leads back would have no end. */
const DEPTH_MAX = 64

/** How many there are, as far as is needed to show progress. Errors: SOURCE_NOT_FOUND */
export async function countFiles(names: readonly string[]): Promise<{ count: number; bytes: number }> {
  let [count, bytes] = [0, 0]
  for await (const { size } of filesOf(names)) {
    count += 1
    bytes += size
  }
  return { count, bytes }
}

/** One file at a time. Errors: SOURCE_NOT_FOUND, SOURCE_UNREADABLE */
export async function* readFiles(names: readonly string[]): AsyncGenerator<Read> {
  for await (const { path, size } of filesOf(names)) {
    if (size > CLIP.payloadBytesMax) {
      yield { at: path, bytes: size, payload: undefined }
      continue
    }
    yield { at: path, bytes: size, payload: await read(path) }
  }
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw failure('SOURCE_UNREADABLE', `${path} cannot be read.`, error)
  }
}

interface Found {
  readonly path: string
  readonly size: number
}

async function* filesOf(names: readonly string[]): AsyncGenerator<Found> {
  for (const name of names) {
    const found = await facts(name)
    if (found) {
      yield* below(name, found)
      continue
    }
    const matching = /[*?[\]{}]/.test(name) ? (await Array.fromAsync(glob(name))).sort() : []
    if (matching.length === 0)
      throw failure('SOURCE_NOT_FOUND', `There is no file ${name}, and nothing matches it.`)
    for (const path of matching) {
      const facts_ = await facts(path)
      if (facts_) yield* below(path, facts_)
    }
  }
}

interface Facts {
  readonly isFolder: boolean
  readonly size: number
}

async function facts(path: string): Promise<Facts | undefined> {
  try {
    const found = await stat(path)
    return { isFolder: found.isDirectory(), size: found.size }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw failure('SOURCE_UNREADABLE', `${path} cannot be read.`, error)
  }
}

/** A file whatever its name; of a folder those that may be crops and clips, by name. */
async function* below(path: string, { isFolder, size }: Facts, depth = 0): AsyncGenerator<Found> {
  if (!isFolder) {
    yield { path, size }
    return
  }
  if (depth > DEPTH_MAX) return
  const names: string[] = []
  for await (const { name } of await opendir(path)) if (!name.startsWith('.')) names.push(name)
  for (const name of names.sort()) {
    const inner = join(path, name)
    const found = await facts(inner)
    if (found && (found.isFolder || EXTENSIONS.test(name))) yield* below(inner, found, depth + 1)
  }
}
