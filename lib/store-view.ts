import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb'
import { failure } from './errors.ts'
import { type Books, decodeReference, type QueueRecord, STORE_FILE } from './queue.ts'
import { checkStoreFile } from './store-file.ts'

/**
 * What is on disk in a store, for people: of a program that runs or of one that is stopped. Read only, and without the
 * lock: a program that runs goes on meanwhile. What it holds in memory for a moment (see queue.ts) is not seen.
 */

export interface QueueView {
  readonly name: string
  readonly books: Books
  /** Of the bodies. */
  readonly bytes: number
  /** When the oldest entry was accepted, ms since 1970; undefined where there is none. */
  readonly oldestAtMs: number | undefined
}

export interface EntryView {
  readonly sequence: number
  /** When it was accepted, ms since 1970. */
  readonly atMs: number
  readonly bytes: number
  readonly header: Buffer
}

/** Errors: STORE_NOT_FOUND. */
export function assertStore(folder: string): void {
  if (existsSync(join(folder, STORE_FILE))) return
  throw failure(
    'STORE_NOT_FOUND',
    `There is no store in ${folder}. Name the folder that the program's configuration has under "store" or "inbox".`,
  )
}

export class StoreView implements AsyncDisposable {
  readonly #root: RootDatabase<Uint8Array, string>
  readonly #references: Database<Uint8Array, [number, number]>
  readonly #bodies: Database<Uint8Array, number>
  readonly #records: Database<QueueRecord, string>

  private constructor(root: RootDatabase<Uint8Array, string>) {
    this.#root = root
    this.#references = root.openDB('references', { encoding: 'binary' })
    this.#bodies = root.openDB('bodies', { encoding: 'binary' })
    this.#records = root.openDB('queues', { encoding: 'json' })
  }

  /** Errors: STORE_NOT_FOUND, STORE_CORRUPT. */
  static open(folder: string): StoreView {
    assertStore(folder)
    const path = join(folder, STORE_FILE)
    try {
      checkStoreFile(path)
      return new StoreView(
        openLmdb<Uint8Array, string>({ path, encoding: 'binary', maxDbs: 8, readOnly: true, cache: false }),
      )
    } catch (error) {
      throw failure('STORE_CORRUPT', `The store in ${folder} cannot be read.`, error)
    }
  }

  /** Of the queues. */
  names(): string[] {
    return [...this.#records.getKeys({})]
  }

  queues(): QueueView[] {
    return [...this.#records.getRange({})].map(({ key: name, value: record }) => {
      let pending = 0
      let bytes = 0
      let oldestAtMs: number | undefined
      for (const entry of this.#entries(record)) {
        pending += 1
        bytes += entry.bytes
        oldestAtMs ??= entry.atMs
      }
      const { accepted, forwarded, dropped } = record
      return { name, books: { accepted, forwarded, pending, dropped }, bytes, oldestAtMs }
    })
  }

  /** A queue's entries, oldest first; undefined where there is no queue of that name. */
  entries(name: string): Iterable<EntryView> | undefined {
    const record = this.#records.get(name)
    return record && this.#entries(record)
  }

  /** A message's payload as it came; undefined where it has left the store. */
  body(sequence: number): Buffer | undefined {
    const body = this.#bodies.getBinary(sequence)
    return body && Buffer.from(body)
  }

  *#entries({ id }: QueueRecord): Generator<EntryView> {
    for (const { key, value } of this.#references.getRange({ start: [id, 0], end: [id + 1, 0] })) {
      const { atMs, bytes, header } = decodeReference(value)
      yield { sequence: key[1], atMs, bytes, header: Buffer.from(header) } // what LMDB hands out is only lent
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#root.close()
  }
}
