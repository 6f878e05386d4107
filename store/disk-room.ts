import { randomFillSync } from 'node:crypto'
import { closeSync, fstatSync, openSync, statfsSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { systemCode } from '../lib/errors.ts'

/**
 * Whether the disk has room for what a store is about to write. Looked at beforehand, because afterwards is too late:
 *
 *   - lmdb 3.5.6 writes its message about a failed write past the end of a buffer of 100 bytes: on a full disk the
 *     program may end with SIGABRT (seen).
 *   - LMDB writes a changed page to a new place, a removal too: on a disk that somebody else has filled to the last
 *     byte nothing could be removed, and a queue whose next keeper takes everything would stay full for ever (seen).
 *
 * So new messages stop while there is some room left, and what leaves has a reserve: a file beside the store's, which
 * turns into free room inside the store's own when nothing else is left, and is made again when there is room.
 */

/** What the disk has left when the first message is refused. */
export const BYTES_FREE_MIN = 16 * 1024 * 1024
/** A transaction of a few releases writes some 50 pages of 4 KB; what it replaced is free for the one after the next. */
export const RESERVE_BYTES = 1024 * 1024
/** LMDB wants pages in one piece for a body: a file with so many times the room needed has them. */
const FREE_IN_FILE_FACTOR = 4
const MAKE_INTERVAL_MS = 1000

/** Room in the store's own file, bytes. */
export interface FileRoom {
  /** Of pages that were used and are free: LMDB takes those first. */
  readonly free: number
  /** Behind its last page. */
  readonly atEnd: number
}

export class DiskRoom {
  readonly #folder: string
  readonly #file: string
  readonly #reserve: string
  #whole: boolean
  #triedAtMs = Number.NEGATIVE_INFINITY

  /** @param file the store's, which may not be there yet */
  constructor(folder: string, file: string) {
    this.#folder = folder
    this.#file = file
    this.#reserve = join(folder, 'reserve')
    this.#whole = (statSync(this.#reserve, { throwIfNoEntry: false })?.size ?? 0) >= RESERVE_BYTES
  }

  /** False where the reserve was given up, and could not be made again yet. */
  get whole(): boolean {
    return this.#whole
  }

  /** For messages that want so many bytes, so that enough is left for everything else. */
  forMessages(bytes: number, inFile: () => FileRoom): boolean {
    const free = bytesFree(this.#folder)
    if (free >= bytes + BYTES_FREE_MIN) return true
    const file = inFile()
    return file.free >= FREE_IN_FILE_FACTOR * bytes + 2 * RESERVE_BYTES && free + file.atEnd >= bytes
  }

  /** For what leaves, and for what is small. */
  forReleases(bytes: number, inFile: () => FileRoom): boolean {
    const free = bytesFree(this.#folder)
    if (free >= bytes) return true
    const file = inFile()
    return free + file.atEnd >= bytes || file.free >= FREE_IN_FILE_FACTOR * bytes
  }

  /** Whether messages can be taken again, for longer than a moment. */
  forMore(inFile: () => FileRoom): boolean {
    const whole = this.make()
    const free = bytesFree(this.#folder)
    if (whole && free >= 2 * BYTES_FREE_MIN) return true
    const file = inFile()
    return file.free >= BYTES_FREE_MIN / 2 && free + file.atEnd >= BYTES_FREE_MIN / 2
  }

  /** Makes the reserve where it is missing. @returns whether it is there; tried once a second at most */
  make(): boolean {
    if (this.#whole) return true
    const now = performance.now()
    if (now - this.#triedAtMs < MAKE_INTERVAL_MS) return false
    this.#triedAtMs = now
    if (bytesFree(this.#folder) < 2 * RESERVE_BYTES) return false
    try {
      const file = openSync(this.#reserve, 'w', 0o600)
      try {
        // Written, since a hole takes no room, and with noise, since some file systems compress.
        writeAll(file, randomFillSync(Buffer.allocUnsafe(RESERVE_BYTES)), 0)
      } finally {
        closeSync(file)
      }
      this.#whole = true
    } catch {
      this.giveUp() // full after all: a part of it would be none
    }
    return this.#whole
  }

  /** @returns whether there was a reserve to give up */
  giveUp(): boolean {
    this.#whole = false
    try {
      unlinkSync(this.#reserve)
      return true
    } catch {
      return false // there is none, or it cannot be removed: then it gives no room either
    }
  }

  /**
   * Turns the reserve into room at the end of the store's file, at once, so that nobody else takes it. Not while LMDB
   * writes. @returns whether there was one
   */
  useReserve(atEnd: number): boolean {
    if (!this.giveUp()) return false
    const file = openSync(this.#file, 'r+')
    try {
      writeAll(file, Buffer.alloc(Math.max(0, RESERVE_BYTES - atEnd)), fstatSync(file).size)
    } catch (error) {
      if (!isDiskFull(error)) throw error // else somebody was quicker, and took a part of it
    } finally {
      closeSync(file)
    }
    return true
  }
}

function writeAll(file: number, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, bytes.length - done, at + done)
}

/** What this user may still write on the disk of a folder, bytes; a quota is not seen. */
export function bytesFree(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

/** Whether a write failed because the disk, or this user's share of it, is full. */
export function isDiskFull(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}
