import { failure } from '../lib/errors.ts'
import { EntryIndex } from './entry-index.ts'
import type { QueueRecord } from './format.ts'
import type { Store } from './store.ts'

export interface QueueBounds {
  readonly entriesMax: number
  readonly bytesMax: number
  /** Older entries are dropped as `expired`, ms; Infinity keeps them. */
  readonly ageMsMax: number
  /** What happens to a message that does not fit: refused (its sender keeps it), or room is made. */
  readonly whenFull: 'reject' | 'drop-oldest'
}

/** Bounds as they stand in a configuration file. */
export function toBounds(config: {
  bytesMax: number
  entriesMax: number
  ageMax: number
  whenFull: QueueBounds['whenFull']
}): QueueBounds {
  return {
    bytesMax: config.bytesMax,
    entriesMax: config.entriesMax,
    ageMsMax: config.ageMax,
    whenFull: config.whenFull,
  }
}

export interface Books {
  readonly accepted: number
  readonly forwarded: number
  readonly pending: number
  readonly dropped: Readonly<Record<string, number>>
}

/** A message as its keeper wants it back: a small header of the keeper's own, and the body as it came. */
export interface Message {
  readonly header: Buffer
  readonly body: Buffer
}

/**
 * A queue in the store: references to messages in order of acceptance. One reader at a time takes them, and releases
 * each when the next keeper has it. Those who send to it share its room, and its reader's turns: who sends much neither
 * fills it for the others nor makes them wait.
 */
export class Queue {
  readonly name: string
  /** @internal */
  readonly record: QueueRecord
  /** @internal */
  removed = false
  bounds: QueueBounds = { entriesMax: Infinity, bytesMax: Infinity, ageMsMax: Infinity, whenFull: 'reject' }
  /** Called after entries were added; set by the queue's reader. */
  onEntries: (() => void) | undefined
  /**
   * Set by a reader who expects to release entries within this time: they are written only if it takes longer.
   * 0: they are written as they come.
   */
  handOverMsMax = 0
  readonly #store: Store
  readonly #entries = new EntryIndex()
  /** Keys of entries, of which the latest counts, and back. */
  readonly #keys = new Map<string, number>()
  readonly #keyOf = new Map<number, string>()
  /** In flight to the next keeper: not dropped to make room. */
  readonly #held = new Set<number>()
  #bytes = 0

  /** @internal Use `Store.queue`. */
  constructor(store: Store, name: string, record: QueueRecord) {
    this.#store = store
    this.name = name
    this.record = record
  }

  get books(): Books {
    return {
      accepted: this.record.accepted,
      forwarded: this.record.forwarded,
      pending: this.#entries.size,
      dropped: { ...this.record.dropped },
    }
  }

  get size(): number {
    return this.#entries.size
  }

  /** Of the bodies of pending entries. */
  get bytes(): number {
    return this.#bytes
  }

  /** How long the oldest entry has waited, ms; 0 where there is none. */
  oldestAgeMs(now = Date.now()): number {
    const first = this.#entries.after(0)
    return first === undefined ? 0 : Math.max(0, now - (this.#entries.timeOf(first) ?? now))
  }

  /** The sequence number of the first entry after the one given (0: the very first), in the order of acceptance. */
  after(sequence: number): number | undefined {
    return this.#entries.after(sequence)
  }

  /** The next entry that was not taken yet: senders take turns, and each one's entries come in order. */
  take(): number | undefined {
    return this.#entries.take()
  }

  /** All entries count as not taken again. */
  rewind(): void {
    this.#entries.rewind()
  }

  /** An entry's message, or undefined where it has left the queue. Its bytes are to be read, not written. */
  read(sequence: number): Message | undefined {
    return this.#entries.has(sequence) ? this.#store.read(this, sequence) : undefined
  }

  /** True where an entry with this key is pending. */
  has(key: string): boolean {
    return this.#keys.has(key)
  }

  /** Keeps an entry from being dropped to make room while it is in flight, until it is released or let go. */
  hold(sequence: number): void {
    this.#held.add(sequence)
  }

  letGo(sequence: number): void {
    this.#held.delete(sequence)
  }

  /** The next keeper has it. @returns when that is on disk */
  forwarded(sequence: number): Promise<void> {
    return this.#release(sequence, undefined)
  }

  /** It is lost, and the books say why. @returns when that is on disk */
  drop(sequence: number, reason: string): Promise<void> {
    return this.#release(sequence, reason)
  }

  clear(reason: string): void {
    for (let at = this.#entries.after(0); at !== undefined; at = this.#entries.after(at))
      void this.drop(at, reason)
  }

  #release(sequence: number, reason: string | undefined): Promise<void> {
    if (!this.#forget(sequence)) return RESOLVED
    if (reason === undefined) this.record.forwarded += 1
    else this.record.dropped[reason] = (this.record.dropped[reason] ?? 0) + 1
    return this.#store.drop(this, sequence, reason)
  }

  #forget(sequence: number): boolean {
    const bytes = this.#entries.remove(sequence)
    if (bytes === undefined) return false
    this.#bytes -= bytes
    this.#held.delete(sequence)
    const key = this.#keyOf.get(sequence)
    if (key !== undefined) {
      this.#keyOf.delete(sequence)
      if (this.#keys.get(key) === sequence) this.#keys.delete(key)
    }
    return true
  }

  /** @internal The entries to drop so that a message fits. Errors: QUEUE_FULL where that is not to be had. */
  roomFor(bytes: number, sender: string): number[] {
    const { entriesMax, bytesMax, whenFull } = this.bounds
    const entriesOver = this.#entries.size + 1 - entriesMax
    const bytesOver = this.#bytes + bytes - bytesMax
    if (whenFull === 'drop-oldest' && bytes <= bytesMax) return this.#oldest(entriesOver, bytesOver)
    if (entriesOver > 0 || bytesOver > 0)
      throw failure(
        'QUEUE_FULL',
        `The queue "${this.name}" is full (${this.#entries.size} messages, ${this.#bytes} bytes). Its reader is disconnected or too slow; raise its limits if the disk has room.`,
      )
    const lane = sender === '' ? undefined : this.#entries.lane(sender)
    if (lane && overShare(lane, { entries: entriesMax - this.#entries.size, bytes: bytesMax - this.#bytes }))
      throw failure(
        'QUEUE_FULL',
        `The queue "${this.name}" holds ${lane.entries} messages (${lane.bytes} bytes) of ${sender}, which is its share; the rest is reserved for others. Its reader is disconnected or too slow; raise its limits if the disk has room.`,
      )
    return []
  }

  /** Whoever has most in the queue makes room, oldest first. Errors: QUEUE_FULL where all of it is in flight. */
  #oldest(entriesOver: number, bytesOver: number): number[] {
    const oldest: number[] = []
    let [entries, bytes] = [entriesOver, bytesOver]
    const largest =
      entries > 0 || bytes > 0 ? this.#entries.largestLane(bytes > 0 ? 'bytes' : 'entries') : undefined
    const drop = (sequence: number) => {
      if (this.#held.has(sequence)) return
      oldest.push(sequence)
      entries -= 1
      bytes -= this.#entries.bytesOf(sequence) ?? 0
    }
    if (largest)
      for (const sequence of this.#entries.ofLane(largest)) {
        if (entries <= 0 && bytes <= 0) break
        drop(sequence)
      }
    // Where that was not enough: a large message, or much in flight.
    const already = new Set(oldest)
    for (
      let at = this.#entries.after(0);
      at !== undefined && (entries > 0 || bytes > 0);
      at = this.#entries.after(at)
    )
      if (!already.has(at)) drop(at)
    if (entries <= 0 && bytes <= 0) return oldest
    throw failure(
      'QUEUE_FULL',
      `The queue "${this.name}" is full (${this.#entries.size} messages, ${this.#bytes} bytes), and all of it is in flight. Try again.`,
    )
  }

  /** @internal Whether its reader has kept up with `handOverMsMax` so far. */
  isPrompt(now: number): boolean {
    if (this.onEntries === undefined) return false
    const first = this.#entries.after(0)
    const age = first === undefined ? 0 : now - (this.#entries.timeOf(first) ?? now)
    return age >= 0 && age < this.handOverMsMax // below 0: the clock was set back, and tells nothing
  }

  /** Whether an entry has not left the queue yet. */
  holds(sequence: number): boolean {
    return this.#entries.has(sequence)
  }

  /** @internal */
  add(sequence: number, bytes: number, atMs: number, sender: string, key: string | undefined): void {
    this.record.accepted += 1
    this.restore(sequence, bytes, atMs, sender, key)
  }

  /** @internal */
  dropReplaced(key: string): void {
    const sequence = this.#keys.get(key)
    if (sequence !== undefined && !this.#held.has(sequence)) void this.drop(sequence, 'replaced')
  }

  /** @internal An entry that could not be written was never accepted. @returns false where it has left already */
  withdraw(sequence: number): boolean {
    if (!this.#forget(sequence)) return false
    this.record.accepted -= 1
    return true
  }

  /** @internal */
  restore(sequence: number, bytes: number, atMs: number, sender: string, key: string | undefined): void {
    this.#entries.add(sequence, bytes, atMs, sender)
    this.#bytes += bytes
    if (key !== undefined) {
      this.#keys.set(key, sequence)
      this.#keyOf.set(sequence, key)
    }
  }

  /** @internal */
  expire(now: number): void {
    if (this.bounds.ageMsMax === Infinity) return
    for (let at = this.#entries.after(0); at !== undefined; at = this.#entries.after(at)) {
      const since = this.#entries.timeOf(at) as number
      if (now - since <= this.bounds.ageMsMax) return
      if (!this.#held.has(at)) void this.drop(at, 'expired')
    }
  }
}

/**
 * A sender may have so many times in a queue what is still free in it: one alone nine tenths of the queue, and however
 * many there are, something is left for who has sent nothing yet (Choudhury and Hahne, Dynamic Queue Length Thresholds
 * for Shared-Memory Packet Switches, 1998).
 */
const SHARE = 9

/** @returns whether a sender has its share already, of what is bounded by entries and bytes */
export function overShare(own: Amount, free: Amount): boolean {
  return own.entries > SHARE * free.entries || own.bytes > SHARE * free.bytes
}

export interface Amount {
  readonly entries: number
  readonly bytes: number
}

const RESOLVED = Promise.resolve()
