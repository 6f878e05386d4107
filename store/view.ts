import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb'
import { asFailure, failure } from '../lib/errors.ts'
import type { Contents } from './check.ts'
import { decodeReference, isBody, isReference, type QueueRecord, STORE_VERSION } from './format.ts'
import { LmdbFile, sortedBy } from './lmdb-file.ts'
import { isHeld } from './lock.ts'
import type { Books } from './queue.ts'
import { describeFault, readNewest } from './salvage.ts'
import { STORE_FILE } from './writer.ts'

/**
 * What is on disk in a store, for people: of a program that runs or of one that is stopped. Read only, without the
 * lock, and for a user who may only read: a program that runs goes on meanwhile, and what is damaged is left out and
 * said. What a program holds in memory for a moment (see queue.ts) is not seen.
 *
 * The file is read without LMDB. Only where a program writes it faster than it can be read that way, LMDB is asked,
 * which keeps the pages of its readers; for that it needs the right to write to its table of readers (`store.mdb-lock`).
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

/** How often a file that changes while it is read is read again. */
const ATTEMPTS_MAX = 5

interface Source {
  records(): Iterable<{ name: string; record: QueueRecord }>
  /** Entries of a queue at the moment of the books. */
  count(queue: number): number
  /** Oldest first; those that have left since then may be missing. */
  references(queue: number): Iterable<{ sequence: number; value: Uint8Array }>
  body(sequence: number): Uint8Array | undefined
  close(): Promise<void> | void
}

/** Errors: STORE_NOT_FOUND. */
export function assertStore(folder: string): void {
  if (existsSync(join(folder, STORE_FILE))) return
  throw failure(
    'STORE_NOT_FOUND',
    `No store found in ${folder}. Name the folder under "store" or "inbox" in the program's configuration.`,
  )
}

export class StoreView implements AsyncDisposable {
  /** What cannot be read, in words: the first ones, and how many there are. */
  readonly faults: readonly string[]
  readonly faultCount: number
  readonly #source: Source

  private constructor(source: Source, contents?: Contents) {
    this.#source = source
    this.faults = contents?.findings.faults.map(describeFault) ?? []
    this.faultCount = contents?.findings.faultCount ?? 0
  }

  /** Errors: STORE_NOT_FOUND, STORE_CORRUPT, STORE_NEWER. */
  static open(folder: string): StoreView {
    assertStore(folder)
    const path = join(folder, STORE_FILE)
    try {
      for (let attempt = 1; ; attempt += 1) {
        const file = LmdbFile.open(path)
        if (!file) throw new Error('nothing in the file looks like a store')
        const before = file.snapshots()[0]?.transaction
        const contents = readNewest(file)
        if (contents.version > STORE_VERSION)
          throw failure(
            'STORE_NEWER',
            `${folder} was written by a newer Sightline. Use that version to view it.`,
          )
        const isUnchanged = file.snapshots()[0]?.transaction === before
        if (contents.findings.faultCount === 0 || isUnchanged)
          return new StoreView(fromFile(file, contents), contents)
        file[Symbol.dispose]()
        // A program that runs has looked at its file when it started.
        if (attempt >= ATTEMPTS_MAX && isHeld(folder)) return new StoreView(fromLmdb(path))
      }
    } catch (error) {
      if (asFailure(error).code === 'STORE_NEWER') throw error
      throw failure('STORE_CORRUPT', `The store in ${folder} cannot be read.`, error)
    }
  }

  /** Of the queues. */
  names(): string[] {
    return Array.from(this.#source.records(), ({ name }) => name)
  }

  queues(): QueueView[] {
    return [...this.#source.records()].map(({ name, record }) => {
      let bytes = 0
      let oldestAtMs: number | undefined
      for (const entry of this.#entries(record)) {
        bytes += entry.bytes
        oldestAtMs ??= entry.atMs
      }
      const { accepted, forwarded, dropped } = record
      const pending = this.#source.count(record.id)
      return { name, books: { accepted, forwarded, pending, dropped }, bytes, oldestAtMs }
    })
  }

  /** A queue's entries, oldest first; undefined where there is no queue of that name. */
  entries(name: string): Iterable<EntryView> | undefined {
    for (const { name: other, record } of this.#source.records())
      if (other === name) return this.#entries(record)
    return undefined
  }

  /** A message's payload as it came; undefined where it has left the store, or cannot be read. */
  body(sequence: number): Buffer | undefined {
    for (const { record } of this.#source.records())
      for (const { sequence: other, value } of this.#source.references(record.id)) {
        if (other !== sequence) continue
        const body = this.#source.body(sequence)
        return body && isBody(body, decodeReference(value)) ? Buffer.from(body) : undefined
      }
    return undefined
  }

  *#entries({ id }: QueueRecord): Generator<EntryView> {
    for (const { sequence, value } of this.#source.references(id)) {
      const { atMs, bytes, header } = decodeReference(value)
      yield { sequence, atMs, bytes, header: Buffer.from(header) } // the bytes are only lent
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.close()
  }
}

function fromFile(file: LmdbFile, { records, references, bodies, sealedFrom }: Contents): Source {
  const { queues, sequences, places } = references
  const order = sortedBy([...sequences.keys()], sequences)
  return {
    *records() {
      for (const [name, record] of records) yield { name, record }
    },
    count: (queue) => queues.reduce((count, other) => (other === queue ? count + 1 : count), 0),
    *references(queue) {
      for (const n of order) {
        if (queues[n] !== queue) continue
        const sequence = sequences[n] as number
        const place = places[n] as number
        const value = file.valueThen(Math.floor(place / 65_536), place % 65_536)
        // Where the page is used for something else by now, the entry has left.
        if (value && isReference(value, sequence, sealedFrom)) yield { sequence, value }
      }
    },
    body(sequence) {
      const at = bodies.find(sequence)
      const place = at < 0 ? 0 : (bodies.places[at] as number)
      const page = at < 0 ? undefined : file.page(Math.floor(place / 65_536))
      return page && file.value(page, place % 65_536)
    },
    close: () => file[Symbol.dispose](),
  }
}

function fromLmdb(path: string): Source {
  const root: RootDatabase<Uint8Array, string> = openLmdb({
    path,
    encoding: 'binary',
    maxDbs: 8,
    readOnly: true,
    cache: false,
  })
  const all: Database<Uint8Array, [number, number]> = root.openDB('references', { encoding: 'binary' })
  const records: Database<QueueRecord, string> = root.openDB('queues', { encoding: 'json' })
  const bodies: Database<Uint8Array, number> = root.openDB('bodies', { encoding: 'binary' })
  return {
    *records() {
      for (const { key: name, value: record } of records.getRange({})) yield { name, record }
    },
    count: (queue) => all.getKeysCount({ start: [queue, 0], end: [queue + 1, 0] }),
    *references(queue) {
      for (const { key, value } of all.getRange({ start: [queue, 0], end: [queue + 1, 0] }))
        yield { sequence: key[1], value }
    },
    body: (sequence) => bodies.getBinary(sequence),
    close: () => root.close(),
  }
}
