import { readFileSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { open as openLmdb } from 'lmdb'

/**
 * For `salvage.ts`: reads a table of a store's file with LMDB, as far as it comes. A damaged file can end the process, so
 * each line is written before the next entry is looked at.
 */
export type Key = number | [queue: number, sequence: number]
export interface Task {
  readonly path: string
  readonly table: 'bodies' | 'references'
  /** All of them, in this direction; else these keys. */
  readonly walk?: 'forwards' | 'backwards'
  readonly keys?: readonly Key[]
}
export type Line =
  | { readonly trying: number }
  | { readonly key: Key; readonly bytes: number; readonly checksum: number; readonly value?: string }
  | { readonly done: true }

const { path, table, walk, keys = [] } = JSON.parse(readFileSync(0, 'utf8')) as Task
const say = (line: Line) => writeSync(1, `${JSON.stringify(line)}\n`)
const tell = (key: Key, value: Uint8Array) =>
  say({
    key,
    bytes: value.length,
    checksum: crc32(value),
    ...(table === 'bodies' ? {} : { value: Buffer.from(value).toString('base64') }),
  })

const root = openLmdb({ path, encoding: 'binary', maxDbs: 8, readOnly: true, cache: false })
const entries = root.openDB<Uint8Array, Key>(table, { encoding: 'binary' })
if (walk)
  for (const { key, value } of entries.getRange({ reverse: walk === 'backwards' }) as Iterable<{
    key: Key
    value: Uint8Array
  }>)
    tell(key, value)
keys.forEach((key, trying) => {
  say({ trying })
  let value: Uint8Array | undefined
  try {
    value = entries.getBinary(key)
  } catch {
    return // LMDB says that a page is of the wrong kind; the next key may lie on another
  }
  if (value) tell(key, value)
})
say({ done: true })
