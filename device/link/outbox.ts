import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { queueBooks } from '../../store/metrics.ts'
import type { Queue } from '../../store/queue.ts'
import { openStore } from '../../store/report.ts'
import type { Store } from '../../store/store.ts'
import type { ClipMetadata } from '../../wire/clip.ts'
import { deviceKeeper, type QueueBooks } from '../../wire/keepers.ts'
import { CLIP, keptTopic } from '../../wire/kinds.ts'
import { CLIPS_UNWRITTEN_BYTES_MAX, OUTBOX_QUARANTINE, OUTBOX_RETRY_MS } from '../limits.ts'
import type { ClipSink } from '../record/sink.ts'

/**
 * Clips on disk, from when they are cut until the broker has them (clip-sender.ts). It is opened when the first clip comes,
 * or where an earlier run has left some.
 *
 *     offered = accepted + refused{reason};  accepted = forwarded + pending + dropped{reason}  (store/store.ts)
 */
export interface OutboxOptions {
  readonly folder: string
  readonly bytesMax: number
  readonly entriesMax: number
  readonly ageMsMax: number
  readonly topicPrefix: string
  readonly log: Log
  readonly events: {
    /** A clip that it could not take. */
    refused(clip: ClipMetadata, reason: RefusalReason): void
    /** Once, before anything is sent. */
    opened(outbox: OpenOutbox): void
    /** `trouble` is another one. */
    changed(): void
  }
}

export type RefusalReason = 'too large' | 'disk full' | 'too slow' | 'not opened' | 'store fault'

export interface OpenOutbox {
  readonly store: Store
  readonly queue: Queue
  /** What the broker will never take. */
  readonly quarantine: Queue
}

/** Beside a clip in the outbox. */
export interface OutboxHeader {
  readonly topic: string
}

type Offered = Parameters<ClipSink['offer']>[0]

/** Several agents may share a folder: each has its own below it. */
export const outboxFolder = (folder: string, device: { readonly site: string; readonly device: string }) =>
  join(folder, deviceKeeper(device))

export const OUTBOX_QUEUE = 'outbox'

export const isOutbox = (store: Store): boolean => store.queues.has(OUTBOX_QUEUE)

export class Outbox implements ClipSink, AsyncDisposable {
  readonly #options: OutboxOptions
  #open: OpenOutbox | undefined
  #opening: Promise<void> | undefined
  /** What came before it was open, and what is not on disk yet. */
  readonly #early: Offered[] = []
  #unwrittenBytes = 0
  readonly #writing = new Set<Promise<void>>()
  readonly #refused: Record<string, number> = {}
  #fault: SightlineError | undefined
  readonly #stop = new AbortController()

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /**
   * Opens what an earlier run has left, and where it is wanted now.
   * Errors: STORE_LOCKED, where another agent has it; whatever else is wrong with the disk is said, and tried again
   */
  static async open(options: OutboxOptions, wanted: boolean): Promise<Outbox> {
    const outbox = new Outbox(options)
    if (wanted || existsSync(options.folder)) await outbox.#start(true)
    return outbox
  }

  /** Why clips are lost at present, in a sentence; undefined where none are. */
  get trouble(): string | undefined {
    return this.#open?.store.fault ?? this.#fault?.message
  }

  get opened(): OpenOutbox | undefined {
    return this.#open
  }

  /** With what was refused since the start, as accepted and dropped: of everything that was cut. */
  get books(): QueueBooks[] {
    const refused = Object.values(this.#refused).reduce((sum, count) => sum + count, 0)
    const waiting = this.#early.length
    const of = (books: QueueBooks): QueueBooks => {
      if (books.name !== OUTBOX_QUEUE) return books
      const dropped = { ...books.dropped }
      for (const [reason, count] of Object.entries(this.#refused))
        dropped[reason] = (dropped[reason] ?? 0) + count
      return {
        ...books,
        accepted: books.accepted + refused + waiting,
        pending: books.pending + waiting,
        dropped,
      }
    }
    if (this.#open) return queueBooks(this.#open.store).map(of)
    if (refused + waiting === 0) return []
    const none = { accepted: 0, forwarded: 0, pending: 0, dropped: {}, bytes: 0, oldestAtMs: null }
    return [of({ name: OUTBOX_QUEUE, ...none })]
  }

  /** Takes a clip over. Never throws: what cannot be kept is counted. */
  offer(clip: Offered): void {
    const bytes = clip.payload.length
    if (bytes > CLIP.payloadBytesMax) this.#refuse(clip.metadata, 'too large')
    else if (this.#unwrittenBytes + bytes > CLIPS_UNWRITTEN_BYTES_MAX)
      this.#refuse(clip.metadata, this.#open ? 'too slow' : 'not opened')
    else if (this.#open) this.#write(this.#open, clip)
    else {
      this.#unwrittenBytes += bytes
      this.#early.push(clip)
      void this.#start(false)
    }
  }

  #refuse(clip: ClipMetadata, reason: RefusalReason): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1
    this.#options.events.refused(clip, reason)
  }

  #write({ store, queue }: OpenOutbox, { metadata, payload }: Offered): void {
    const header: OutboxHeader = { topic: keptTopic(this.#options.topicPrefix, CLIP, metadata) }
    const failed = (error: unknown) => {
      const { code } = asFailure(error)
      this.#refuse(
        metadata,
        code === 'DISK_FULL' ? 'disk full' : code === 'QUEUE_FULL' ? 'too slow' : 'store fault',
      )
      this.#say(asFailure(error))
    }
    this.#unwrittenBytes += payload.length
    let written: Promise<void>
    try {
      written = store.accept({ header: Buffer.from(JSON.stringify(header)), body: payload }, [queue])
    } catch (error) {
      this.#unwrittenBytes -= payload.length
      failed(error)
      return
    }
    const done = written
      .then(() => this.#say(undefined), failed)
      .finally(() => {
        this.#unwrittenBytes -= payload.length
        this.#writing.delete(done)
      })
    this.#writing.add(done)
  }

  /** Into the log where it is news: a camera cuts a clip every few seconds. */
  #say(fault: SightlineError | undefined): void {
    if (fault?.code === this.#fault?.code) return
    this.#fault = fault
    const { log, folder } = this.#options
    if (fault) log.error({ code: fault.code, outbox: folder }, `Clips are lost: ${fault.message}`)
    else log.info({ outbox: folder }, 'clips are kept again')
    this.#options.events.changed()
  }

  #start(isFirst: boolean): Promise<void> {
    this.#opening ??= this.#openStore(isFirst).finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  /** Until it is open, or the agent ends. Rejects only at the start. */
  async #openStore(isFirst: boolean): Promise<void> {
    const { folder, log, bytesMax, entriesMax, ageMsMax, events } = this.#options
    const { signal } = this.#stop
    while (!this.#open && !signal.aborted) {
      try {
        const store = await openStore(log, { folder })
        const bounds = { bytesMax, entriesMax, ageMsMax, whenFull: 'drop-oldest' } as const
        this.#open = {
          store,
          queue: store.queue(OUTBOX_QUEUE, bounds),
          quarantine: store.queue('quarantine', OUTBOX_QUARANTINE),
        }
      } catch (error) {
        const fault = asFailure(error)
        if (isFirst && fault.code === 'STORE_LOCKED') throw fault
        this.#say(fault)
        if (isFirst) {
          // What is wrong with a disk does not keep faces from the broker.
          setImmediate(() => void this.#start(false))
          return
        }
        await sleep(OUTBOX_RETRY_MS, undefined, { signal }).catch(() => {})
      }
    }
    if (!this.#open) return
    this.#say(undefined)
    events.opened(this.#open)
    for (const clip of this.#early.splice(0)) {
      this.#unwrittenBytes -= clip.payload.length
      this.#write(this.#open, clip)
    }
  }

  /** Resolves when what was offered is on disk, or refused. */
  async settled(): Promise<void> {
    this.#stop.abort(failure('STORE_IO', 'The agent ends.'))
    await this.#opening?.catch(() => {})
    for (const { metadata } of this.#early.splice(0)) this.#refuse(metadata, 'not opened')
    await Promise.all(this.#writing)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled()
    await this.#open?.store[Symbol.asyncDispose]()
  }
}
