import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb'
import { failure, type SightlineError } from '../lib/errors.ts'
import { bytesFree, DiskRoom, type FileRoom, RESERVE_BYTES } from './disk-room.ts'
import {
  decodeReference,
  encodeReference,
  openValue,
  type QueueRecord,
  type Reference,
  STORE_VERSION,
  sealRecord,
  sealValue,
} from './format.ts'
import type { Message } from './queue.ts'

/**
 * A store's file: what lies in its tables (format.ts), what one transaction changes in them, and whether there is room
 * for that on the disk. What is to be written, and when, is the store's to say.
 */

/** Its name in a store's folder. */
export const STORE_FILE = 'store.mdb'
const PAGE_BYTES = 4096
/** Copied by any transaction: the way down to what it changes, in every table, and the list of free pages. */
const PAGES_A_TRANSACTION = 64
/** Of an empty file. */
const META_PAGES = 2
const AFTER_EVERY_KEY = Buffer.from([0xff])
const BYTES_FREE_WHEN_FULL = 64 * 1024

export type TableKey = string | Uint8Array

/** A message for its queues, by their ids. */
export interface NewEntry {
  readonly sequence: number
  readonly message: Message
  readonly atMs: number
  readonly key: string | undefined
}

export interface Release {
  readonly queue: number
  readonly sequence: number
  /** Nobody else wants the body. */
  readonly body: boolean
  /** Why it was dropped; undefined where the next keeper has it. */
  readonly reason: string | undefined
}

export interface TableChange {
  readonly table: string
  readonly key: TableKey
  readonly value: Uint8Array | undefined
}

export interface Changes {
  readonly entries: readonly (NewEntry & { readonly queues: readonly number[] })[]
  readonly releases: readonly Release[]
  readonly table: Iterable<TableChange>
  /** Queues whose books have changed; without a record where the queue is gone. */
  readonly books: readonly BooksChange[]
  /** The highest sequence number there was. */
  readonly sequence: number
}

export interface BooksChange {
  readonly id: number
  readonly name: string
  readonly record: QueueRecord | undefined
  /** A new queue has the name of the one that is gone. */
  readonly isNameTaken: boolean
}

/** What a transaction needs room for. */
export interface Load {
  readonly acceptances: readonly { readonly message: Message; readonly queues: readonly unknown[] }[]
  readonly releases: readonly unknown[]
  readonly table: ReadonlyMap<string, TableChange>
}

export class Writer implements AsyncDisposable {
  readonly #folder: string
  readonly #room: DiskRoom
  readonly #root: RootDatabase<Uint8Array, string>
  readonly #bodies: Database<Uint8Array, number>
  readonly #references: Database<Uint8Array, [number, number]>
  readonly #queueRecords: Database<QueueRecord, string>
  readonly #tables: Database<Uint8Array, [string, TableKey]>
  readonly #names: Database<Uint8Array, number>
  /** Ids of queues whose name is on disk. */
  readonly #named: Set<number>

  private constructor(folder: string, room: DiskRoom, root: RootDatabase<Uint8Array, string>) {
    this.#folder = folder
    this.#room = room
    this.#root = root
    this.#bodies = root.openDB('bodies', { encoding: 'binary' })
    this.#references = root.openDB('references', { encoding: 'binary' })
    this.#queueRecords = root.openDB('queues', { encoding: 'json' })
    this.#tables = root.openDB('tables', { encoding: 'binary' })
    this.#names = root.openDB('names', { encoding: 'binary' })
    this.#named = new Set(this.#names.getKeys({}))
  }

  /**
   * Opens the file of a folder whose lock is held, brings an older one forward, and makes the reserve.
   * @param prepare looks at the file first, and mends it (salvage.ts). Errors: DISK_FULL, and what LMDB throws
   */
  static async open(folder: string, prepare: (path: string) => Promise<void>): Promise<Writer> {
    const path = join(folder, STORE_FILE)
    const room = new DiskRoom(folder, path)
    makeRoomToOpen(folder, path, room)
    await prepare(path)
    const root = openLmdb<Uint8Array, string>({
      path,
      encoding: 'binary',
      maxDbs: 8,
      // put() then resolves when the commit is on disk, not when it is visible.
      overlappingSync: false,
      // We gather transactions ourselves; lmdb's own gathering leaves a promise behind that nobody could catch.
      eventTurnBatching: false,
      noMemInit: true,
      // Read transactions are renewed at each of our own commits.
      cache: false,
    })
    try {
      const version = root.get('version')
      if (version === undefined) await root.put('version', Buffer.from(String(STORE_VERSION)))
      const writer = new Writer(folder, room, root)
      if (version !== undefined && Number(Buffer.from(version).toString()) === 1) await writer.#migrate()
      room.make()
      return writer
    } catch (error) {
      await root.close()
      throw error
    }
  }

  /** From version 1, which had no checksums. References stay as they are: those after `sealedFrom` have one. */
  async #migrate(): Promise<void> {
    const records = [...this.#queueRecords.getRange({})]
    const values = [...this.#tables.getRange({})]
    await this.#root.batch(() => {
      for (const { key, value } of records) {
        void this.#queueRecords.put(key, sealRecord(key, value))
        void this.#names.put(value.id, sealValue(Buffer.from(key)))
        this.#named.add(value.id)
      }
      for (const { key, value } of values) void this.#tables.put(key, sealValue(value))
      void this.#root.put('sealedFrom', Buffer.from(String(this.sequence + 1)))
      void this.#root.put('version', Buffer.from(String(STORE_VERSION)))
    })
  }

  /** The highest sequence number there was; 0 in a new store. */
  get sequence(): number {
    return Number(Buffer.from(this.#root.get('sequence') ?? '0').toString())
  }

  queues(): Iterable<{ readonly key: string; readonly value: QueueRecord }> {
    return this.#queueRecords.getRange({})
  }

  /** By queue, and then in order of acceptance. */
  references(): Iterable<{ readonly key: [queue: number, sequence: number]; readonly value: Uint8Array }> {
    return this.#references.getRange({})
  }

  /** Its checksum is the caller's to look at. */
  entry(
    queue: number,
    sequence: number,
  ): { readonly reference: Reference; readonly body: Buffer } | undefined {
    const reference = this.#references.getBinary([queue, sequence])
    const body = this.#bodies.getBinary(sequence)
    return reference && body ? { reference: decodeReference(reference), body: body as Buffer } : undefined
  }

  value(table: string, key: TableKey): Uint8Array | undefined {
    const sealed = this.#tables.get([table, key])
    return sealed && openValue(sealed)
  }

  *values(table: string): Generator<{ key: TableKey; value: Uint8Array }> {
    const range = { start: [table] as never, end: [table, AFTER_EVERY_KEY] as [string, TableKey] }
    for (const { key, value } of this.#tables.getRange(range)) {
      const opened = openValue(value)
      if (opened) yield { key: key[1], value: opened }
    }
  }

  /** All of it or nothing. @returns when it is on disk. Errors: DISK_FULL, STORE_IO */
  async write({ entries, releases, table, books, sequence: last }: Changes): Promise<void> {
    try {
      await this.#root.batch(() => {
        for (const { sequence, message, queues, key, atMs } of entries) {
          if (queues.length === 0) continue
          void this.#bodies.put(sequence, message.body)
          const reference = encodeReference(sequence, atMs, message, key)
          for (const queue of queues) void this.#references.put([queue, sequence], reference)
        }
        void this.#root.put('sequence', Buffer.from(String(last)))
        for (const { queue, sequence, body } of releases) {
          void this.#references.remove([queue, sequence])
          if (body) void this.#bodies.remove(sequence)
        }
        for (const { table: name, key, value } of table) {
          if (value === undefined) void this.#tables.remove([name, key])
          else void this.#tables.put([name, key], sealValue(value))
        }
        for (const { id, name, record, isNameTaken } of books) {
          if (record) {
            if (!this.#named.has(id)) void this.#names.put(id, sealValue(Buffer.from(name)))
            void this.#queueRecords.put(name, sealRecord(name, record))
          } else {
            void this.#names.remove(id)
            if (!isNameTaken) void this.#queueRecords.remove(name)
          }
        }
      })
    } catch (error) {
      throw storeFailure(this.#folder, await commitFault(error))
    }
    for (const { id, record } of books) {
      if (record) this.#named.add(id)
      else this.#named.delete(id)
    }
  }

  hasRoomFor({ acceptances, releases, table }: Load): boolean {
    let bytes = PAGE_BYTES * (PAGES_A_TRANSACTION + releases.length)
    for (const { message, queues } of acceptances)
      bytes += message.body.length + 2 * PAGE_BYTES + queues.length * (message.header.length + PAGE_BYTES / 8)
    for (const { value } of table.values()) bytes += (value?.length ?? 0) + PAGE_BYTES
    const inFile = () => this.#roomInFile()
    return acceptances.length > 0
      ? this.#room.forMessages(bytes, inFile)
      : this.#room.forReleases(bytes, inFile)
  }

  /** The reserve becomes room for what leaves. @returns false where there is none (any more) */
  useReserve(): boolean {
    return this.#room.useReserve(this.#roomInFile().atEnd)
  }

  /** @returns false where there is no reserve (any more) that could be given up */
  giveUpReserve(): boolean {
    return this.#room.giveUp()
  }

  get hasReserve(): boolean {
    return this.#room.whole
  }

  /** Whether what could be written can be written for a while. */
  hasRoomForMore(): boolean {
    return this.#room.forMore(() => this.#roomInFile())
  }

  #roomInFile(): FileRoom {
    const tables = [this.#bodies, this.#references, this.#queueRecords, this.#tables, this.#names]
    const stats = tables.map((table) => table.getStats() as PageStats)
    const { root, free, lastPageNumber, pageSize } = stats[0] as PageStats
    const used = [...stats, root, free].reduce(
      (pages, of) => pages + of.treeBranchPageCount + of.treeLeafPageCount + of.overflowPages,
      META_PAGES,
    )
    const end = (lastPageNumber + 1) * pageSize
    return {
      free: end - used * pageSize,
      atEnd: Math.max(0, statSync(join(this.#folder, STORE_FILE)).size - end),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#root.close()
  }
}

/** lmdb says only that the commit failed, and why in a promise of its own, which rejects. */
async function commitFault(error: unknown): Promise<unknown> {
  const why = error instanceof Error && 'commitError' in error ? error.commitError : undefined
  return (await Promise.resolve(why).catch((fault: unknown) => fault)) ?? error
}

/** What LMDB says of a database or of the whole file, as far as it is used here. */
interface PageCounts {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}
interface PageStats extends PageCounts {
  readonly pageSize: number
  readonly lastPageNumber: number
  readonly root: PageCounts
  readonly free: PageCounts
}

/** LMDB maps its lock file into memory: where the disk has no block for it, the program would end with SIGBUS. */
function makeRoomToOpen(folder: string, path: string, room: DiskRoom): void {
  if (bytesFree(folder) >= RESERVE_BYTES || room.giveUp() || existsSync(path)) return
  throw diskFull(folder)
}

export function diskFull(folder: string, cause?: unknown): SightlineError {
  return failure(
    'DISK_FULL',
    `The disk that holds ${folder} is full. Free some space; what was accepted is safe, and senders keep the rest.`,
    cause,
  )
}

function storeFailure(folder: string, error: unknown): SightlineError {
  const message = error instanceof Error ? error.message : String(error)
  // Where a part of a write still fits, LMDB says EIO.
  const cutShort = /input\/output error/i.test(message) && bytesFree(folder) < BYTES_FREE_WHEN_FULL
  if (cutShort || /no space|ENOSPC|quota|MDB_MAP_FULL/i.test(message)) return diskFull(folder, error)
  return failure('STORE_IO', `Cannot write to the store in ${folder}: ${message}`, error)
}
