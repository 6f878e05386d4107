import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { systemCode } from './errors.ts'

/**
 * Looks at a store's file before LMDB does: LMDB maps it into memory, and what is no store, or is cut short, would
 * end the program with SIGSEGV or SIGBUS where it should end with a sentence.
 *
 * The first two pages are meta pages (lmdb 3.5, data format 2): a page header of 24 bytes, then the magic number, the
 * version, two words, two database records (the first begins with the page size), and the number of the last page.
 */

const MAGIC = 0xbeefc0de
const META_AT = 24
const PAGE_BYTES_AT = META_AT + 24
const LAST_PAGE_AT = META_AT + 120
const META_BYTES = LAST_PAGE_AT + 8
const PAGE_BYTES_MAX = 65_536

/** Throws where the file is no store. One that does not exist, or is empty, is a new one. */
export function checkStoreFile(path: string): void {
  let file: number
  try {
    file = openSync(path, 'r+')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return
    throw error
  }
  try {
    const { size } = fstatSync(file)
    if (size === 0) return
    const first = readMeta(file, 0)
    const second = readMeta(file, first.pageBytes)
    const needed = (Math.max(first.lastPage, second.lastPage) + 1) * first.pageBytes
    // Pages that were freed before they were ever written may lie beyond the end. Those that are missed are found
    // as empty pages, which is an error and no crash.
    if (size < needed) ftruncateSync(file, needed)
  } finally {
    closeSync(file)
  }
}

function readMeta(file: number, at: number): { pageBytes: number; lastPage: number } {
  const meta = Buffer.alloc(META_BYTES)
  const pageBytes =
    readSync(file, meta, 0, META_BYTES, at) === META_BYTES ? meta.readUInt32LE(PAGE_BYTES_AT) : 0
  if (meta.readUInt32LE(META_AT) !== MAGIC || pageBytes < 512 || pageBytes > PAGE_BYTES_MAX)
    throw new Error(`no store: byte ${at} is not the beginning of one`)
  return { pageBytes, lastPage: Number(meta.readBigUInt64LE(LAST_PAGE_AT)) }
}
