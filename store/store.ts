import { mkdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { alive } from '../lib/launcher.ts'
import { SteadyClock } from '../lib/steady-clock.ts'
import { isDiskFull } from './disk-room.ts'
import { decodeReference, isBody, type QueueRecord } from './format.ts'
import { FolderLock } from './lock.ts'
import { type Message, Queue, type QueueBounds } from './queue.ts'
import { type Prepared, prepareStore, type Salvage } from './salvage.ts'
import {
  type Changes,
  diskFull,
  type NewEntry,
  type Release,
  type TableChange,
  type TableKey,
  Writer,
} from './writer.ts'

/**
 * The one durable store: every keeper's messages, until the next keeper has acknowledged them.
 *
 * One LMDB environment a program. `bodies` holds each message once under a sequence number; `references` says
 * which queues still want it; `queues` holds each queue's books. Invariants:
 *
 *   1. accept() resolves when the message is safe: body and references are on disk, in one transaction with the
 *      books, for every queue whose next keeper has not acknowledged it by then.
 *   2. For every queue: accepted = forwarded + pending + the sum of dropped, in every transaction.
 *   3. A body is on disk only as long as a queue refers to it.
 *   4. Sequence numbers rise, across restarts too: a queue's order is the order of acceptance.
 *
 * A message is in its queues, for their readers to take, from the moment it comes:
 *
 *     staged ──the readers were quicker──▶ gone, and never written
 *        └──▶ being written ──▶ on disk ──released──▶ gone
 *
 * Nobody is told that it is safe before it is; but while the next keepers acknowledge promptly, writing it here too
 * would only be work: that is most of what a broker does when its link is up. A queue whose reader is away, or has not
 * acknowledged within `handOverMsMax`, is written at once. Changes are collected while a transaction is being written,
 * and go out together in the next one (group commit): the busier the store, the more messages share one flush.
 */

const EXPIRY_INTERVAL_MS = 1000
/** A transaction that failed (a full disk) keeps its releases and tries them again after this. */
const RETRY_INTERVAL_MS = 1000
/** So many leave with one transaction while the disk is full: each needs pages for what it changes. */
const RELEASES_MAX_WHEN_FULL = 32
const FRESH_BYTES_MAX = 4 * 1024 * 1024
/** More is not kept waiting for the next keepers. */
const STAGED_BYTES_MAX = 8 * 1024 * 1024

export interface StoreOptions {
  readonly folder: string
  /**
   * Whose message it is, by its header: a queue's senders share its room and its reader's turns fairly. Absent: all
   * messages are one sender's.
   */
  readonly senderOf?: (header: Buffer) => string
}

export interface AcceptOptions {
  /** Tells entries apart in queues that look for duplicates (`Queue.has`). */
  readonly key?: string
  /**
   * It comes from a keeper, who shared its own room already: a sender may fill the queue. Refusing what is first in a
   * keeper's line would make all behind it wait.
   */
  readonly handedOn?: boolean
  /** Takes the place of an entry with the same key that waits, where that is not in flight. */
  readonly replaces?: boolean
}

interface Acceptance extends NewEntry {
  /** Those that want it still. */
  queues: readonly Queue[]
  /** By a clock that nobody sets. */
  readonly stagedAtMs: number
  readonly safe: PromiseWithResolvers<void>
}

interface Transaction {
  readonly acceptances: readonly Acceptance[]
  /** Queue and sequence number of references to remove. */
  readonly releases: Release[]
  readonly table: Map<string, TableChange>
  readonly done: PromiseWithResolvers<void>
}

function newTransaction(): Transaction {
  return { acceptances: [], releases: [], table: new Map(), done: newPromise() }
}

/** Each caller sees its rejection through the promise it was given. */
function newPromise(): PromiseWithResolvers<void> {
  const promise = Promise.withResolvers<void>()
  promise.promise.catch(() => {})
  return promise
}

export class Store implements AsyncDisposable {
  readonly folder: string
  readonly #senderOf: (header: Buffer) => string
  /** What was found when the store's file was damaged; as long as the damaged file is still there. */
  readonly salvage: Salvage | undefined
  /** Called where an entry cannot be read and is dropped, as "unreadable". */
  onUnreadable: ((queue: Queue) => void) | undefined
  /** How many there were since the start. */
  unreadable = 0
  /** The file as it was when it was opened. */
  readonly #before: Prepared
  readonly #lock: FolderLock
  readonly #writer: Writer
  readonly #queues = new Map<string, Queue>()
  /** By which messages become too old. */
  readonly #clock = new SteadyClock()
  /** How many queues refer to a body, where it is more than one. */
  readonly #shared = new Map<number, number>()
  readonly #dirty = new Set<Queue>()
  /** Bodies that came just now: their readers mostly want them at once, and reading them back costs a copy each. */
  readonly #fresh = new Map<number, Message>()
  #freshBytes = 0
  #sequence = 0
  #queueId = 0
  /** By sequence number: accepted, and in no transaction yet. */
  #staged = new Map<number, Acceptance>()
  #stagedBytes = 0
  /** In the transaction that is being written. */
  #beingWritten: ReadonlyMap<number, Acceptance> = NONE
  #next = newTransaction()
  /** What is staged goes out with the next transaction. */
  #stagedIsDue = false
  /** So do books that have changed since the last one. */
  #booksAreDue = false
  #handOver: NodeJS.Timeout | undefined
  #writing = false
  #scheduled = false
  /** Why the last transaction could not be written; nothing is accepted until one can. */
  #fault: SightlineError | undefined
  /** Nothing new is accepted; what was asked for is still written, until it has ended. */
  #closed = false
  #ended = false
  #expiry: NodeJS.Timeout | undefined

  private constructor(
    { folder, senderOf }: StoreOptions,
    lock: FolderLock,
    writer: Writer,
    before: Prepared,
  ) {
    this.folder = folder
    this.#senderOf = senderOf ?? ONE_SENDER
    this.salvage = before.salvage
    this.#before = before
    this.#lock = lock
    this.#writer = writer
  }

  /** Errors: STORE_LOCKED, STORE_NEWER, STORE_CORRUPT, FOLDER_UNWRITABLE, DISK_FULL (where there is none yet). */
  static async open(options: StoreOptions): Promise<Store> {
    const { folder } = options
    try {
      mkdirSync(folder, { recursive: true })
    } catch (error) {
      if (isDiskFull(error)) throw diskFull(folder, error)
      throw failure(
        'FOLDER_UNWRITABLE',
        `Cannot create the folder ${folder}. Give this user the right to write there, or name another folder.`,
        error,
      )
    }
    const lock = FolderLock.take(folder)
    let writer: Writer | undefined
    let before: Prepared | undefined
    try {
      writer = await Writer.open(folder, async (path) => {
        before = await prepareStore(path)
      })
      const store = new Store(options, lock, writer, before as unknown as Prepared)
      store.#recover()
      store.#lookForRoom()
      store.#expiry = setInterval(() => store.#expire(), EXPIRY_INTERVAL_MS).unref()
      return store
    } catch (error) {
      await writer?.[Symbol.asyncDispose]()
      ;(before as Prepared | undefined)?.[Symbol.dispose]()
      lock[Symbol.dispose]()
      if (error instanceof Error && error.name === 'SightlineError') throw error
      if (isDiskFull(error)) throw diskFull(folder, error)
      throw failure(
        'STORE_CORRUPT',
        `The store in ${folder} cannot be opened. Move the folder to start with an empty one; what it holds can be inspected later.`,
        error,
      )
    }
  }

  /** What the disk says: queues with their books, entries, shared bodies, the highest sequence number. */
  #recover(): void {
    const byId = new Map<number, Queue>()
    for (const { key: name, value: record } of this.#writer.queues()) {
      const queue = new Queue(this, name, record)
      this.#queues.set(name, queue)
      byId.set(record.id, queue)
      this.#queueId = Math.max(this.#queueId, record.id)
    }
    const references = new Map<number, number>()
    const orphans: [number, number][] = []
    for (const { key, value } of this.#writer.references()) {
      alive() // a million of them take seconds
      const [id, sequence] = key
      const queue = byId.get(id)
      if (!queue) {
        orphans.push([id, sequence]) // of version 1: accepted for a session that was discarded in the same moment
        continue
      }
      const { atMs, bytes, key: entryKey, header } = decodeReference(value)
      queue.restore(sequence, bytes, atMs, this.#senderOf(header), entryKey)
      references.set(sequence, (references.get(sequence) ?? 0) + 1)
      this.#sequence = Math.max(this.#sequence, sequence)
    }
    for (const [sequence, count] of references) if (count > 1) this.#shared.set(sequence, count)
    for (const [queue, sequence] of orphans) {
      this.#next.releases.push({
        queue,
        sequence,
        body: !references.has(sequence),
        reason: 'session discarded',
      })
      void this.#schedule()
    }
    this.#sequence = Math.max(this.#sequence, this.#writer.sequence)
  }

  /** The queue of this name, made where there is none yet (on disk with the first message). */
  queue(name: string, bounds: QueueBounds): Queue {
    let queue = this.#queues.get(name)
    if (!queue) {
      this.#queueId += 1
      queue = new Queue(this, name, { id: this.#queueId, accepted: 0, forwarded: 0, dropped: {} })
      this.#queues.set(name, queue)
      this.#dirty.add(queue)
      void this.#writeBooks()
    }
    queue.bounds = bounds
    return queue
  }

  /** Why nothing can be written at the moment, for people. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  get queues(): ReadonlyMap<string, Queue> {
    return this.#queues
  }

  /** Drops every entry of a queue, and the queue with its books. */
  async removeQueue(queue: Queue): Promise<void> {
    if (this.#queues.get(queue.name) !== queue) return
    queue.clear('session discarded')
    queue.removed = true
    this.#queues.delete(queue.name)
    this.#dirty.add(queue)
    await this.#writeBooks()
  }

  /**
   * Takes custody of a message for every queue given, all or none. Its bytes must not change from then on.
   * @returns when it is safe: on disk, or acknowledged by the next keepers.
   *   Throws QUEUE_FULL at once, rejects with DISK_FULL or STORE_IO later; in each case nothing was kept
   */
  accept(
    message: Message,
    queues: readonly Queue[],
    { key, handedOn, replaces }: AcceptOptions = {},
  ): Promise<void> {
    if (this.#closed) throw failure('STORE_IO', 'The store is closed.')
    if (this.#fault) throw this.#fault
    if (queues.length === 0) return this.committed()
    const bytes = message.body.length
    const sender = this.#senderOf(message.header)
    const tooOld = queues.map((queue) => queue.roomFor(bytes, handedOn ? '' : sender)) // all of them may refuse before any drops
    queues.forEach((queue, at) => {
      for (const sequence of tooOld[at] ?? []) void queue.drop(sequence, 'dropped oldest')
    })
    if (replaces && key !== undefined) for (const queue of queues) queue.dropReplaced(key)
    const atMs = Date.now()
    const mayWait = queues.every((queue) => queue.isPrompt(atMs))
    this.#sequence += 1
    const sequence = this.#sequence
    const safe = newPromise()
    this.#staged.set(sequence, { sequence, message, queues, key, atMs, stagedAtMs: performance.now(), safe })
    this.#stagedBytes += bytes
    if (queues.length > 1) this.#shared.set(sequence, queues.length)
    for (const queue of queues) {
      queue.add(sequence, bytes, atMs, sender, key)
      this.#dirty.add(queue)
    }
    if (mayWait && this.#stagedBytes <= STAGED_BYTES_MAX) this.#handOver ??= this.#writeLater(queues)
    else this.#writeStaged()
    for (const queue of queues) queue.onEntries?.()
    return safe.promise
  }

  /** What is staged then, and was so all the time, is written. */
  #writeLater(queues: readonly Queue[]): NodeJS.Timeout {
    const msMax = Math.min(...queues.map((queue) => queue.handOverMsMax))
    return setTimeout(() => {
      this.#handOver = undefined
      const [oldest] = this.#staged.values()
      if (!oldest) return
      if (performance.now() - oldest.stagedAtMs >= msMax / 2) this.#writeStaged()
      else this.#handOver = this.#writeLater(oldest.queues)
    }, msMax / 2)
  }

  #writeStaged(): void {
    this.#stagedIsDue = true
    void this.#schedule()
  }

  #writeBooks(): Promise<void> {
    this.#booksAreDue = true
    return this.#schedule()
  }

  /**
   * Writes a small value beside the queues. What says something of a message that was just accepted goes out in one
   * transaction with it where `committed()` is called after both.
   */
  put(table: string, key: TableKey, value: Uint8Array): Promise<void> {
    this.#next.table.set(tableId(table, key), { table, key, value })
    return this.#schedule()
  }

  remove(table: string, key: TableKey): Promise<void> {
    this.#next.table.set(tableId(table, key), { table, key, value: undefined })
    return this.#schedule()
  }

  /** What is on disk under this key. Writes under way are not seen. */
  get(table: string, key: TableKey): Uint8Array | undefined {
    return this.#ended ? undefined : this.#writer.value(table, key) // LMDB ends the process of whoever reads from what is closed
  }

  *entries(table: string): Generator<{ key: TableKey; value: Uint8Array }> {
    if (!this.#ended) yield* this.#writer.values(table)
  }

  /** Writes what was accepted so far now. Resolves when that, and everything else asked for, is on disk. */
  committed(): Promise<void> {
    this.#stagedIsDue = true
    return this.#schedule()
  }

  /** @internal */
  read(queue: Queue, sequence: number): Message | undefined {
    const inMemory =
      (this.#staged.get(sequence) ?? this.#beingWritten.get(sequence))?.message ?? this.#fresh.get(sequence)
    if (inMemory || this.#ended) return inMemory
    const found = this.#writer.entry(queue.record.id, sequence)
    if (!found) return undefined
    const { reference, body } = found
    if (isBody(body, reference)) return { header: reference.header, body }
    void queue.drop(sequence, 'unreadable')
    this.unreadable += 1
    this.onUnreadable?.(queue)
    return undefined
  }

  #keepFresh(sequence: number, message: Message): void {
    this.#fresh.set(sequence, message)
    this.#freshBytes += message.body.length
    for (const [oldest, { body }] of this.#fresh) {
      if (this.#freshBytes <= FRESH_BYTES_MAX) return
      this.#fresh.delete(oldest)
      this.#freshBytes -= body.length
    }
  }

  /** @internal */
  drop(queue: Queue, sequence: number, reason: string | undefined): Promise<void> {
    const shared = this.#shared.get(sequence)
    if (shared !== undefined) {
      if (shared > 2) this.#shared.set(sequence, shared - 1)
      else this.#shared.delete(sequence)
    }
    this.#dirty.add(queue)
    const staged = this.#staged.get(sequence)
    if (staged) {
      if (shared !== undefined) staged.queues = staged.queues.filter((other) => other !== queue)
      else {
        this.#staged.delete(sequence)
        this.#stagedBytes -= staged.message.body.length
        staged.safe.resolve()
      }
      return RESOLVED
    }
    if (shared === undefined) {
      this.#freshBytes -= this.#fresh.get(sequence)?.body.length ?? 0
      this.#fresh.delete(sequence)
    }
    // A body whose pages are damaged stays where it is: LMDB would free whatever they say.
    const body = shared === undefined && this.#before.mayFree(sequence)
    this.#next.releases.push({ queue: queue.record.id, sequence, body, reason })
    return this.#schedule()
  }

  #schedule(): Promise<void> {
    if (this.#ended) this.#next.done.reject(failure('STORE_IO', 'The store is closed.'))
    else if (!this.#writing && !this.#scheduled) {
      this.#scheduled = true
      // setImmediate: what arrives with the same turn of the event loop shares the transaction.
      setImmediate(() => {
        this.#scheduled = false
        void this.#writeAll()
      })
    }
    return this.#next.done.promise
  }

  async #writeAll(): Promise<void> {
    if (this.#writing) return
    this.#writing = true
    let failed = false
    for (;;) {
      const { releases, table, done } = this.#next
      const acceptances = this.#stagedIsDue ? [...this.#staged.values()] : []
      const books = this.#stagedIsDue || this.#booksAreDue ? this.#dirty.size : 0
      if (acceptances.length + releases.length + table.size + books === 0) {
        this.#next = newTransaction()
        this.#stagedIsDue = false
        this.#booksAreDue = false
        this.#writing = false
        done.resolve()
        return
      }
      if (failed && !this.#closed) {
        await sleep(RETRY_INTERVAL_MS)
        failed = false // and look again at what there is
        continue
      }
      if (this.#ended) return
      const whole = { acceptances, releases, table, done }
      if (releases.length > 0 && (this.#fault || !this.#writer.hasRoomFor(whole))) {
        // First what makes room, and little at a time: all of it together might need more pages than there are.
        this.#next = { ...this.#next, releases: releases.slice(RELEASES_MAX_WHEN_FULL) }
        const some = { ...newTransaction(), releases: releases.slice(0, RELEASES_MAX_WHEN_FULL) }
        failed = !(await this.#commit(some))
        continue
      }
      if (this.#stagedIsDue) {
        this.#beingWritten = this.#staged
        this.#staged = new Map()
        this.#stagedBytes = 0
        this.#stagedIsDue = false
      }
      this.#booksAreDue = false
      this.#next = newTransaction()
      failed = !(await this.#commit(whole))
      this.#beingWritten = NONE
    }
  }

  /** @returns whether what is left to be written can be tried at once */
  async #commit(transaction: Transaction): Promise<boolean> {
    const dirty = new Set(this.#dirty)
    const { acceptances, table } = transaction
    const mayUseReserve = acceptances.length + table.size === 0
    if (
      !this.#writer.hasRoomFor(transaction) &&
      !(mayUseReserve && this.#writer.useReserve() && this.#writer.hasRoomFor(transaction))
    ) {
      this.#fail(transaction, dirty, diskFull(this.folder))
      return acceptances.length > 0
    }
    this.#dirty.clear()
    // The books are those of what is on disk: what is staged still, is not in them yet.
    const notYet = new Map<Queue, number>()
    for (const { queues } of this.#staged.values())
      for (const queue of queues) notYet.set(queue, (notYet.get(queue) ?? 0) + 1)
    for (const queue of this.#next.releases.length > 0 ? dirty : notYet.keys()) this.#dirty.add(queue)
    try {
      await this.#writer.write(this.#changesOf(transaction, dirty, notYet))
    } catch (error) {
      const fault = asFailure(error)
      this.#fail(transaction, dirty, fault)
      return fault.code === 'DISK_FULL' && this.#writer.giveUpReserve() // a quota, say, which is not seen beforehand
    }
    this.#lookForRoom()
    for (const { sequence, message, queues, safe } of transaction.acceptances) {
      if (queues.some((queue) => queue.holds(sequence))) this.#keepFresh(sequence, message)
      safe.resolve()
    }
    transaction.done.resolve()
    return true
  }

  #changesOf(
    { acceptances, releases, table }: Transaction,
    dirty: ReadonlySet<Queue>,
    notYet: ReadonlyMap<Queue, number>,
  ): Changes {
    return {
      // A session may have been discarded in the same moment.
      entries: acceptances.map((acceptance) => ({
        ...acceptance,
        queues: acceptance.queues.filter(({ removed }) => !removed).map(({ record }) => record.id),
      })),
      releases,
      table: table.values(),
      books: [...dirty].map((queue) => {
        const { name, record, removed } = queue
        const accepted = record.accepted - (notYet.get(queue) ?? 0)
        const onDisk = removed ? undefined : withoutReleases({ ...record, accepted }, this.#next.releases)
        return { id: record.id, name, record: onDisk, isNameTaken: this.#queues.has(name) }
      }),
      sequence: this.#sequence,
    }
  }

  /** The fault is over when what could be written can be written for a while. */
  #lookForRoom(): void {
    if (!this.#fault && this.#writer.hasReserve) return
    this.#fault = this.#writer.hasRoomForMore() ? undefined : diskFull(this.folder)
  }

  /** Nothing of the transaction is on disk: who waits for an acceptance hears so; releases are tried again. */
  #fail(transaction: Transaction, dirty: Set<Queue>, fault: SightlineError): void {
    this.#fault = fault
    // What gathered meanwhile is refused too: room is made first, by what can be let go.
    const refused = [...transaction.acceptances, ...this.#staged.values()]
    this.#staged = new Map()
    this.#stagedBytes = 0
    for (const { sequence, queues, safe } of refused) {
      const wanted = queues.filter((queue) => queue.withdraw(sequence))
      this.#shared.delete(sequence)
      // Where every next keeper was quicker than the fault, it has arrived.
      if (wanted.length > 0 || queues.length === 0) safe.reject(fault)
      else safe.resolve()
    }
    const waiting = this.#next.done
    this.#next = {
      ...newTransaction(),
      releases: [...transaction.releases, ...this.#next.releases],
      table: new Map([...transaction.table, ...this.#next.table]),
    }
    for (const queue of dirty) this.#dirty.add(queue)
    this.#booksAreDue = true // so that it is tried again, whatever else there is
    transaction.done.reject(fault)
    waiting.reject(fault)
  }

  #expire(): void {
    const now = this.#clock.nowMs()
    for (const queue of this.#queues.values()) queue.expire(now)
    // What was handed over without being written is in the books all the same.
    if (this.#dirty.size > 0) void this.#writeBooks()
    if (this.#fault && !this.#writing) this.#lookForRoom()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#expiry)
    clearTimeout(this.#handOver)
    this.#stagedIsDue = true
    // A disk that is full keeps what it has; there is nobody left to whom it would matter more.
    await this.#schedule().catch(() => {})
    this.#ended = true
    await this.#writer[Symbol.asyncDispose]()
    this.#before[Symbol.dispose]()
    this.#lock[Symbol.dispose]()
  }
}

const ONE_SENDER = () => ''

const RESOLVED = Promise.resolve()
const NONE: ReadonlyMap<number, Acceptance> = new Map()

const tableId = (table: string, key: TableKey) =>
  `${table} ${typeof key === 'string' ? key : Buffer.from(key).toString('latin1')}`

/** A queue's books before these releases. */
function withoutReleases(record: QueueRecord, releases: readonly Release[]): QueueRecord {
  const before = { ...record, dropped: { ...record.dropped } }
  for (const { queue, reason } of releases) {
    if (queue !== record.id) continue
    if (reason === undefined) before.forwarded -= 1
    else before.dropped[reason] = (before.dropped[reason] ?? 0) - 1
  }
  return before
}
