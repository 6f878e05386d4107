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
    const found = isNew ? 'does not exist yet, and can be created' : 'exists'
    if (orphan)
      return [
        warn(
          what,
          `neither it nor its parent folder exists; both can be created`,
          `Does a disk or a share belong at ${dirname(path)}? Then mount it first. Otherwise correct "${key}", or ignore this: it is created at the start.`,
        ),
      ]
    return [ok(what, `${found}; a write, flushed to disk, takes ${ms} ms`)]
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
    if (!buffer.equals(bytes)) throw new Error('the written data reads back different')
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
      return 'is a file, or below one, not a folder'
    case 'EACCES':
    case 'EPERM':
      return 'is not writable by this user'
    case 'EROFS':
      return 'is on a read-only disk'
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
      return `Give this user the right to write there (sudo chown ${process.getuid?.() ?? 'USER'} ${path}), run this as the program's user, or set "${key}" to another folder.`
    case 'ENOSPC':
    case 'EDQUOT':
      return 'Free some space, or move the folder to a larger disk.'
    default:
      return `Set "${key}" to a writable folder.`
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
      `${found}, but its limits allow ${size(bytesMax)} more`,
      'Lower the limits ("bytesMax"), or use a larger disk. With a full disk new messages are refused; stored ones are not lost.',
    )
  if (share < FREE_SHARE_MIN)
    return warn(what, found, 'Free some space: with a full disk new messages are refused.')
  return ok(what, found)
}
