import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Backoff } from '../lib/backoff.ts'
import { type Bucket, cacheKept } from '../lib/buckets/bucket.ts'
import { asFailure, type ErrorCode, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import type { Message, Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { CROP, keptTopic, kindOfKey } from '../wire/kinds.ts'
import type { Arrivals } from './arrivals.ts'
import { decodeEntry, encodeEntry, type InboxHeader, isListed } from './entry.ts'
import type { IndexEntry } from './gallery/index-files.ts'
import type { RecentIds } from './recent-ids.ts'
import { storedLine } from './stored-line.ts'

/**
 * Inbox -> bucket, many at once. An entry leaves the inbox when the bucket has said that the object is there and
 * would survive a power cut, the gallery's index lists it, and, where that is announced, the broker has acknowledged the
 * announcement: the bucket is not kept waiting for that, up to a bound. A bucket that is away is tried again, with backoff and
 * for ever, by one write at a time until one succeeds. An object that it will not take, while it takes others, goes to
 * quarantine and does not block them.
 */

/** The part of the gallery's index writer that is needed here. */
export interface Index {
  /** @returns when the entry is listed */
  add(entry: IndexEntry): Promise<void>
  flush(): Promise<void>
}

/** The part of the announcer that is needed here. */
export interface Announce {
  /** @returns when it is acknowledged; rejects where it will not be in this run */
  stored(lines: readonly string[]): Promise<void>
  drained(): Promise<void>
}

export interface StorerOptions {
  readonly store: Store
  readonly inbox: Queue
  readonly quarantine: Queue
  readonly recent: RecentIds
  readonly bucket: Bucket
  /** Lists what was stored; absent where there is no gallery. */
  readonly index: Index | undefined
  /** Says what was stored; absent where nobody is told. */
  readonly announce?: Announce
  /** Whether everyone may read the crops in the bucket. */
  readonly publicRead: boolean
  readonly writesMax: number
  /** No further write begins while so much is being written, bytes; absent: only their number counts. */
  readonly writingBytesMax?: number
  /** Says what the bucket has to whoever reads the log. */
  readonly arrivals?: Pick<Arrivals, 'note'>
  readonly topicPrefix: string
  readonly log: Log
  readonly events: {
    readonly stored: (header: InboxHeader, bytes: number) => void
    readonly alreadyThere: (header: InboxHeader) => void
    readonly failed: (code: ErrorCode) => void
  }
}

/** What was written is flushed to disk together, at most so long after. */
const SYNC_INTERVAL_MS = 100
/** A flush costs most where much is written: at 4,000 crops a second ten of them took a quarter of the throughput. */
const SYNC_MS_A_CROP = 0.5
const SYNC_INTERVAL_MS_MAX = 1000
/** Written and not yet flushed and listed. */
const WRITTEN_MAX = 10_000
/** Flushed and listed, and their announcement not acknowledged. At some 600 bytes each in memory. */
const UNACKNOWLEDGED_MAX = 10_000
const REFUSALS_MAX = 5
const RETRY_MS_MIN = 200
/** One write looks whether the bucket is back: that may be often, and a bucket that is back is soon noticed. */
const RETRY_MS_MAX = 5_000
const QUARANTINE_RETRY_MS = 30_000
/** No answer to any write for so long is a fault, though none has failed yet. */
const SILENCE_MS_MAX = 10_000

interface Written {
  readonly id: string
  readonly listed: Promise<void> | undefined
  isListed: boolean
  notListed: SightlineError | undefined
  /** What is to be announced, until it is. */
  line: string | undefined
  /** To be called when the bucket has flushed it. */
  arrived: (() => void) | undefined
  /** Its announcement is; or none is needed. */
  isAcknowledged: boolean
}

export class Storer implements AsyncDisposable {
  readonly #options: StorerOptions
  readonly #abort = new AbortController()
  readonly #active = new Map<number, Promise<void>>()
  #activeBytes = 0
  /** By sequence number: how often the bucket refused it, and how many others it had taken by the first time. */
  readonly #refusals = new Map<number, { count: number; readonly takenBefore: number }>()
  #taken = 0
  #answeredAtMs = performance.now()
  readonly #backoff = new Backoff({ delayMsMin: RETRY_MS_MIN, delayMsMax: RETRY_MS_MAX })
  /** Written, by sequence number; they go on when the bucket has flushed them and the index lists them. */
  readonly #written = new Map<number, Written>()
  /** Behind that: released when their announcement is acknowledged. */
  readonly #unacknowledged = new Map<number, Written>()
  readonly #announcing = new Set<Promise<void>>()
  #paused = false
  #stopping = false
  #syncing: Promise<void> | undefined
  #syncIntervalMs = SYNC_INTERVAL_MS
  #fault: SightlineError | undefined
  /** The bucket takes objects and cannot flush them. */
  #syncFault: SightlineError | undefined
  /** By the time of the line all may be well again: what it says is what happened. */
  #warnedOf: SightlineError | undefined
  readonly #warn: (fault: SightlineError) => void

  private constructor(options: StorerOptions) {
    this.#options = options
    const warn = throttled((count) =>
      options.log.error(
        { code: this.#warnedOf?.code, count, waiting: options.inbox.size },
        this.#warnedOf?.message,
      ),
    )
    this.#warn = (fault) => {
      this.#warnedOf = fault
      warn()
    }
    options.inbox.onEntries = () => this.#run()
    this.#run()
  }

  static open(options: StorerOptions): Storer {
    return new Storer(options)
  }

  get fault(): string | undefined {
    return (this.#syncFault ?? this.#fault)?.message ?? this.#silence ?? this.#unheard
  }

  get #unheard(): string | undefined {
    if (this.#unacknowledged.size < UNACKNOWLEDGED_MAX) return undefined
    return (
      `${this.#unacknowledged.size} objects are in the bucket, and the broker has not acknowledged their announcements. ` +
      'What comes waits on disk until it does; see "announcements" here.'
    )
  }

  get #silence(): string | undefined {
    const silentMs = this.#active.size === 0 ? 0 : performance.now() - this.#answeredAtMs
    if (silentMs < SILENCE_MS_MAX) return undefined
    return (
      `No answer from the ${this.#options.bucket.description} for ${Math.round(silentMs / 1000)} s. ` +
      'What was accepted waits on disk until then; check that it is up, and the network.'
    )
  }

  /** A bucket that failed is tried by one write; where it refused an object, others tell whose fault it is. */
  get #width(): number {
    return this.#fault && !isRefusal(this.#fault) ? 1 : this.#options.writesMax
  }

  /** What is not in the bucket yet. */
  get waiting(): number {
    return Math.max(0, this.#options.inbox.size - this.#written.size - this.#unacknowledged.size)
  }

  /** Resolves when none of these entries is being written. Those that have left the inbox are not written again. */
  async settled(sequences: ReadonlySet<number>): Promise<void> {
    for (;;) {
      const underWay = [...this.#active].filter(([sequence]) => sequences.has(sequence))
      if (underWay.length === 0) return
      await Promise.all(underWay.map(([, written]) => written))
    }
  }

  #run(): void {
    const { inbox } = this.#options
    if (this.#paused || this.#stopping || this.#abort.signal.aborted) return
    while (
      this.#active.size < this.#width &&
      this.#activeBytes < (this.#options.writingBytesMax ?? Number.POSITIVE_INFINITY) &&
      this.#written.size < WRITTEN_MAX &&
      this.#unacknowledged.size < UNACKNOWLEDGED_MAX
    ) {
      const sequence = inbox.take()
      if (sequence === undefined) return
      if (this.#active.has(sequence) || this.#written.has(sequence) || this.#unacknowledged.has(sequence))
        continue
      const message = inbox.read(sequence)
      if (this.#active.size === 0) this.#answeredAtMs = performance.now()
      if (message) this.#active.set(sequence, this.#write(sequence, message))
    }
  }

  async #write(sequence: number, message: Message): Promise<void> {
    const { bucket, index, events, arrivals, publicRead } = this.#options
    const { header, payload } = decodeEntry<InboxHeader>(message)
    this.#activeBytes += payload.length
    try {
      const object = {
        key: header.key,
        body: payload,
        contentType: (kindOfKey(header.key) ?? CROP).mediaType,
        cacheControl: cacheKept(header.key, publicRead),
      }
      const outcome = await bucket.create(object, this.#abort.signal).finally(() => {
        this.#activeBytes -= payload.length
      })
      const storedAtMs = Date.now()
      const listed = isListed(header) ? index?.add({ ...header, storedAtMs }) : undefined
      const line = this.#options.announce && this.#line(header, payload, storedAtMs)
      const written: Written = {
        id: header.id,
        listed,
        isListed: listed === undefined,
        notListed: undefined,
        line,
        arrived: arrivals?.note(header, payload),
        isAcknowledged: line === undefined,
      }
      listed?.then(
        () => {
          written.isListed = true
        },
        (error: unknown) => {
          written.notListed = asFailure(error)
        },
      )
      this.#written.set(sequence, written)
      this.#active.delete(sequence)
      this.#refusals.delete(sequence)
      this.#taken += 1
      this.#answeredAtMs = performance.now()
      this.#fault = undefined
      this.#backoff.reset()
      if (outcome === 'stored') events.stored(header, payload.length)
      else events.alreadyThere(header)
      this.#scheduleSync()
      this.#run()
    } catch (error) {
      this.#active.delete(sequence)
      this.#answeredAtMs = performance.now()
      if (!this.#abort.signal.aborted) this.#failed(sequence, message, asFailure(error))
    }
  }

  #failed(sequence: number, message: Message, fault: SightlineError): void {
    this.#options.events.failed(fault.code)
    if (isRefusal(fault)) {
      const { count, takenBefore } = this.#refusals.get(sequence) ?? { count: 0, takenBefore: this.#taken }
      this.#refusals.set(sequence, { count: count + 1, takenBefore })
      // Where it takes no other either, the fault is the bucket's, and passes.
      const itsOwn = fault.code === 'NAME_INVALID' || this.#taken > takenBefore
      if (count + 1 >= REFUSALS_MAX && itsOwn) {
        this.#active.set(sequence, this.#quarantine(sequence, message, fault))
        return
      }
    }
    this.#fault = fault
    this.#warn(fault)
    if (this.#paused) return
    // One wait for all of them: the bucket is one thing.
    this.#paused = true
    void this.#backoff.wait(this.#abort.signal).then(
      () => {
        this.#paused = false
        this.#startOver()
      },
      () => {},
    )
  }

  /** What is in the inbox and not under way is taken again, each sender's oldest first. */
  #startOver(): void {
    this.#options.inbox.rewind()
    this.#run()
  }

  /** It leaves the inbox when quarantine has it on disk. */
  async #quarantine(sequence: number, message: Message, fault: SightlineError): Promise<void> {
    const { log, store, quarantine, inbox, topicPrefix } = this.#options
    const { header, payload } = decodeEntry<InboxHeader>(message)
    const entry = {
      topic: keptTopic(topicPrefix, kindOfKey(header.key) ?? CROP, header),
      receivedAtMs: Date.now(),
      reason: 'refused by the bucket',
      detail: fault.message,
    }
    try {
      await store.accept(encodeEntry(entry, payload), [quarantine])
      log.error({ code: fault.code, key: header.key }, `${fault.message} Quarantined it.`)
      void inbox.drop(sequence, 'quarantined')
      this.#refusals.delete(sequence)
    } catch (error) {
      this.#fault = asFailure(error)
      this.#warn(this.#fault)
      await sleep(QUARANTINE_RETRY_MS, undefined, { signal: this.#abort.signal }).catch(() => {})
    } finally {
      this.#active.delete(sequence)
      this.#startOver()
    }
  }

  #scheduleSync(): void {
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined
      if (this.#written.size > 0) this.#scheduleSync()
    })
  }

  async #sync(): Promise<void> {
    const { bucket, index, announce } = this.#options
    if (!this.#stopping) await sleep(this.#syncIntervalMs)
    const written = [...this.#written]
    let ready = written
    try {
      if (this.#stopping) await index?.flush()
      if (!announce || this.#stopping) await Promise.all(written.map(([, { listed }]) => listed))
      else {
        // The index takes a second to list them, and whoever follows the announcements shall not wait for it.
        ready = written.filter(([, { isListed }]) => isListed)
        const failed = written.find(([, { notListed }]) => notListed)
        if (failed) throw failed[1].notListed
      }
      await bucket.sync()
      this.#syncIntervalMs = Math.min(
        SYNC_INTERVAL_MS_MAX,
        Math.max(SYNC_INTERVAL_MS, SYNC_MS_A_CROP * written.length),
      )
      this.#syncFault = undefined
    } catch (error) {
      this.#syncFault = asFailure(error)
      this.#warn(this.#syncFault)
      await sleep(RETRY_MS_MIN)
      // Nothing written since the last flush is known to be there: it is written again (buckets/bucket.ts says why).
      this.#written.clear()
      this.#startOver()
      return
    }
    for (const [, entry] of written) {
      entry.arrived?.()
      entry.arrived = undefined
    }
    if (announce) this.#announce(announce, written)
    for (const [sequence, entry] of ready) {
      this.#written.delete(sequence)
      if (!entry.isAcknowledged) this.#unacknowledged.set(sequence, entry)
    }
    this.#release(ready.filter(([, { isAcknowledged }]) => isAcknowledged))
    this.#run()
  }

  /** Those that the bucket has flushed now. What was forgotten meanwhile has left the inbox, and nobody is told of it. */
  #announce(announce: Announce, flushed: readonly (readonly [number, Written])[]): void {
    const { inbox } = this.#options
    const lines: string[] = []
    const entries: (readonly [number, Written])[] = []
    for (const [sequence, entry] of flushed) {
      if (entry.line === undefined) continue
      if (inbox.holds(sequence)) {
        lines.push(entry.line)
        entries.push([sequence, entry])
      } else entry.isAcknowledged = true
      entry.line = undefined
    }
    if (lines.length === 0) return
    const acknowledged = () => {
      for (const [, entry] of entries) entry.isAcknowledged = true
      this.#release(entries.filter(([sequence]) => this.#unacknowledged.delete(sequence)))
      this.#run()
    }
    // Where it is not acknowledged in this run, the next one writes it again, finds it there, and announces it.
    const announcing = announce
      .stored(lines)
      .then(acknowledged, () => {})
      .finally(() => this.#announcing.delete(announcing))
    this.#announcing.add(announcing)
  }

  #release(entries: readonly (readonly [number, Written])[]): void {
    const { inbox, recent } = this.#options
    recent.add(entries.map(([, { id }]) => id))
    for (const [sequence] of entries) void inbox.forwarded(sequence)
  }

  /** What is announced of an entry; undefined where it cannot be read. */
  #line(header: InboxHeader, payload: Buffer, storedAtMs: number): string | undefined {
    const made = storedLine(header, payload, storedAtMs)
    if ('line' in made) return made.line
    // It was read when it came: by another version, say. The bucket has it, and an index made of the bucket.
    this.#options.log.error(
      { code: 'CROP_INVALID', key: header.key, detail: made.fault },
      'what was stored cannot be announced: its metadata cannot be read any more',
    )
    return undefined
  }

  /** Lets the writes that are under way finish, and releases them. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true
    this.#options.inbox.onEntries = undefined
    await Promise.allSettled(this.#active.values())
    while (this.#syncing) await this.#syncing
    if (this.#announcing.size > 0) {
      await this.#options.announce?.drained()
      await turn() // the last of them are released
    }
    this.#abort.abort()
  }
}

const isRefusal = ({ code }: SightlineError) => code === 'BUCKET_REFUSED' || code === 'NAME_INVALID'
