import { randomBytes } from 'node:crypto'
import type { Store } from '../store/store.ts'

/**
 * Ids of the crops that were stored lately: a crop that comes again is acknowledged and not stored again. Only a saving
 * (the same crop can only write the same object), but for devices whose clock cannot be right, whose crops are filed by
 * time of receipt: once.
 *
 * On disk they lie as they came, a row for all that were stored together; in memory in two generations, of which the
 * older one is forgotten when the younger has half of what is to be remembered.
 */

const ID_BYTES = 16

export class RecentIds {
  readonly #store: Store
  readonly #table: string
  readonly #generationMax: number
  #younger = new IdSet()
  #older = new IdSet()
  /** The number of the next row, and of the first row of each generation. */
  #row = 0
  #youngerFrom = 0
  #olderFrom = 0

  /** @param idsMax so many are remembered at most, and half of them at least @param table where in the store */
  constructor(store: Store, idsMax: number, table = 'recent ids') {
    this.#store = store
    this.#table = table
    this.#generationMax = Math.ceil(idsMax / 2)
    for (const { key, value } of store.entries(table)) {
      const number = Number(key)
      if (this.#row === 0) {
        this.#olderFrom = number
        this.#youngerFrom = number
      }
      this.#row = number
      const ids = Buffer.from(value)
      for (let at = 0; at + ID_BYTES <= ids.length; at += ID_BYTES) this.#remember(ids, at)
      this.#row += 1
    }
  }

  has(id: string): boolean {
    write(SCRATCH, id, 0)
    return this.#younger.has(SCRATCH, 0) || this.#older.has(SCRATCH, 0)
  }

  /** Goes to disk in the same transaction as what is released with it. */
  add(ids: readonly string[]): void {
    if (ids.length === 0) return
    const row = Buffer.allocUnsafe(ids.length * ID_BYTES)
    ids.forEach((id, n) => {
      write(row, id, n * ID_BYTES)
      this.#remember(row, n * ID_BYTES)
    })
    void this.#store.put(this.#table, keyOf(this.#row), row)
    this.#row += 1
  }

  #remember(ids: Buffer, at: number): void {
    if (this.#younger.size >= this.#generationMax) {
      for (let row = this.#olderFrom; row < this.#youngerFrom; row += 1)
        void this.#store.remove(this.#table, keyOf(row))
      this.#older = this.#younger
      this.#olderFrom = this.#youngerFrom
      this.#younger = new IdSet()
      this.#youngerFrom = this.#row
    }
    this.#younger.add(ids, at)
  }
}

/** UUIDs in one typed array, open addressing: 32 to 64 bytes each, and nothing for the garbage collector to visit. */
class IdSet {
  #words = new Uint32Array(4 * 1024)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(ids: Buffer, at: number): boolean {
    return this.#words[this.#slot(ids, at)] !== 0
  }

  add(ids: Buffer, at: number): void {
    if (8 * (this.#size + 1) > this.#words.length) this.#grow()
    const slot = this.#slot(ids, at)
    if (this.#words[slot] !== 0) return
    for (let n = 0; n < 4; n += 1) this.#words[slot + n] = ids.readUInt32LE(at + 4 * n)
    // The first word is never 0 where a slot is taken; a UUIDv7's is the time in units of a minute, and set since 1970.
    this.#words[slot] = (this.#words[slot] as number) || 1
    this.#size += 1
  }

  /** Where the id is, or where it would be put. */
  #slot(ids: Buffer, at: number): number {
    const a = ids.readUInt32LE(at) || 1
    const b = ids.readUInt32LE(at + 4)
    const c = ids.readUInt32LE(at + 8)
    const d = ids.readUInt32LE(at + 12)
    const words = this.#words
    const mask = words.length / 4 - 1
    // Seeded, so that no sender can choose ids that all fall together.
    let hash = Math.imul(a ^ SEED, 0x9e3779b1) ^ Math.imul(b, 0x85ebca77)
    hash = Math.imul(hash ^ (hash >>> 15) ^ c, 0xc2b2ae3d) ^ Math.imul(d ^ SEED, 0x27d4eb2f)
    hash ^= hash >>> 13
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = 4 * at
      if (words[slot] === 0) return slot
      if (words[slot] === a && words[slot + 1] === b && words[slot + 2] === c && words[slot + 3] === d)
        return slot
    }
  }

  #grow(): void {
    const before = Buffer.from(this.#words.buffer, 0, this.#words.byteLength)
    this.#words = new Uint32Array(this.#words.length * 2)
    this.#size = 0
    for (let at = 0; at < before.length; at += ID_BYTES)
      if (before.readUInt32LE(at) !== 0) this.add(before, at)
  }
}

const SEED = randomBytes(4).readInt32LE()
const SCRATCH = Buffer.alloc(ID_BYTES)
const keyOf = (row: number) => String(row).padStart(15, '0')

function write(to: Buffer, id: string, at: number): void {
  to.write(id.replaceAll('-', ''), at, ID_BYTES, 'hex')
}
