import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, rmdirSync, statfsSync } from 'node:fs'
import { open, unlink } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { systemCode } from '../../lib/errors.ts'
import { size } from '../../lib/table.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** Folders that programs write to: whether they can, and how much room there is. */

const FREE_SHARE_MIN = 0.1
const PROBE_BYTES = 4096

/** Writes, flushes, reads and deletes a file, for real. A folder that is missing is made for that, and taken away. */
export async function checkFolder(what: string, folder: string, key: string): Promise<Finding[]> {
  const path = resolve(folder)
  const isNew = !existsSync(path)
  const orphan = isNew && isAbsolute(folder) && !existsSync(dirname(path))
  try {
    using _made = makeFolder(path)
    const file = join(path, `.doctor-${randomBytes(6).toString('hex')}`)
    const startMs = performance.now()
    await writeAndRead(file)
    const ms = Math.round(performance.now() - startMs)
    const found = isNew ? 'is not there yet, and can be made' : 'is there'
    if (orphan)
      return [
        warn(
          what,
          `neither it nor the folder above it is there; both can be made`,
          `Does a disk or a share belong at ${dirname(path)}? Then mount it first. Otherwise correct "${key}", or leave it: it is made at the start.`,
        ),
      ]
    return [ok(what, `${found}; a write, flushed to the disk, takes ${ms} ms`)]
  } catch (error) {
    return [fail(what, reason(error), advice(error, key, path))]
  }
}

async function writeAndRead(file: string): Promise<void> {
  const bytes = randomBytes(PROBE_BYTES)
  const handle = await open(file, 'wx+', 0o600)
  try {
    await handle.write(bytes, 0, bytes.length, 0)
    await handle.sync()
    const { buffer } = await handle.read(Buffer.alloc(bytes.length), 0, bytes.length, 0)
    if (!buffer.equals(bytes)) throw new Error('what was written reads back differently')
  } finally {
    await handle.close()
    await unlink(file)
  }
}

/** Folders that are there because of us. Checks run side by side, and may share one. */
const made = new Set<string>()

/** Makes a folder where there is none; disposing of it takes away what was made, as far as it is empty. */
export function makeFolder(path: string): Disposable {
  const missing: string[] = []
  for (let here = path; !existsSync(here); here = dirname(here)) missing.push(here)
  mkdirSync(path, { recursive: true })
  for (const folder of missing) made.add(folder)
  return {
    [Symbol.dispose]() {
      try {
        for (let here = path; made.has(here); here = dirname(here)) rmdirSync(here)
      } catch {
        // something came into it meanwhile: then it stays
      }
    },
  }
}

function reason(error: unknown): string {
  switch (systemCode(error)) {
    case 'EEXIST':
    case 'ENOTDIR':
      return 'is, or lies below, a file and no folder'
    case 'EACCES':
    case 'EPERM':
      return 'may not be written by this user'
    case 'EROFS':
      return 'is on a disk that can only be read'
    case 'ENOSPC':
    case 'EDQUOT':
      return 'its disk is full'
    default:
      return `cannot be written: ${error instanceof Error ? error.message : String(error)}`
  }
}

function advice(error: unknown, key: string, path: string): string {
  switch (systemCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return `Give this user the right to write there (sudo chown ${process.getuid?.() ?? 'USER'} ${path}), run this as the program's user, or name another folder under "${key}".`
    case 'ENOSPC':
    case 'EDQUOT':
      return 'Make room on it, or move the folder to a larger one.'
    default:
      return `Name a folder under "${key}" that can be written.`
  }
}

/** @param bytesMax what may come to lie there */
export function freeSpace(what: string, folder: string, bytesMax: number): Finding {
  let here = resolve(folder)
  while (!existsSync(here)) here = dirname(here)
  const { bavail, blocks, bsize } = statfsSync(here)
  const free = bavail * bsize
  const share = blocks === 0 ? 1 : bavail / blocks
  const found = `${size(free)} free of ${size(blocks * bsize)} (${Math.floor(share * 100)} %)`
  if (bytesMax > free)
    return warn(
      what,
      `${found}, and its bounds allow ${size(bytesMax)} more`,
      'Lower the bounds ("bytesMax"), or take a larger disk. A full disk refuses new messages, and loses none that it has.',
    )
  if (share < FREE_SHARE_MIN)
    return warn(what, found, 'Make room before it is full: a full disk refuses new messages.')
  return ok(what, found)
}
