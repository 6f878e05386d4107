import type { Store } from '../lib/queue.ts'

/**
 * Ids of the crops that were stored lately, on disk, a ring of them: a crop that comes again is acknowledged and
 * not stored again. Only a saving (the same crop can only write the same object), but for devices without a clock,
 * whose crops are filed by time of receipt: once.
 */

const TABLE_IDS = 'recent'
const TABLE_SLOTS = 'recent slots'
const NEXT = 'next'
/** Written, and perhaps not yet to be seen on disk. */
const FRESH_MAX = 20_000

export class RecentIds {
  readonly #store: Store
  readonly #idsMax: number
  #next: number
  #fresh = new Set<string>()
  #lessFresh = new Set<string>()

  constructor(store: Store, idsMax: number) {
    this.#store = store
    this.#idsMax = idsMax
    const next = store.get(TABLE_IDS, NEXT)
    this.#next = next ? Number(Buffer.from(next).toString()) % idsMax : 0
  }

  has(id: string): boolean {
    return (
      this.#fresh.has(id) || this.#lessFresh.has(id) || this.#store.get(TABLE_IDS, toBytes(id)) !== undefined
    )
  }

  /** Goes to disk in the same transaction as what is released with it. */
  add(id: string): void {
    const slot = String(this.#next)
    const oldest = this.#store.get(TABLE_SLOTS, slot)
    if (oldest) void this.#store.remove(TABLE_IDS, Buffer.from(oldest))
    const bytes = toBytes(id)
    void this.#store.put(TABLE_IDS, bytes, EMPTY)
    void this.#store.put(TABLE_SLOTS, slot, bytes)
    this.#next = (this.#next + 1) % this.#idsMax
    void this.#store.put(TABLE_IDS, NEXT, Buffer.from(String(this.#next)))
    if (this.#fresh.size >= FRESH_MAX) {
      this.#lessFresh = this.#fresh
      this.#fresh = new Set()
    }
    this.#fresh.add(id)
  }
}

const EMPTY = Buffer.from([1])
const toBytes = (id: string) => Buffer.from(id.replaceAll('-', ''), 'hex')
