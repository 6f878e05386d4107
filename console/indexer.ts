import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import type { ReceivedPublish } from '../lib/mqtt/link.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import { type Announcement, readBatch } from '../wire/stored.ts'
import type { Applied } from './database/announcements.ts'
import type { Database } from './database/database.ts'
import type { NewsRing } from './news.ts'
import { faultEntry, headerOf, type InboxHeader } from './quarantine.ts'

/**
 * Inbox -> database. A message leaves the inbox when the transaction with all that it announces is committed; it may come
 * again, and changes nothing then. A database that is away, full or damaged is tried again for ever, and the inbox waits;
 * when that is full, the broker does. Lines that are none of ours go to quarantine, and hold nothing up.
 */

export interface IndexerOptions {
  readonly store: Store
  readonly inbox: Queue
  readonly quarantine: Queue
  readonly database: Database
  readonly news: NewsRing
  readonly log: Log
  readonly events: {
    readonly applied: (applied: Applied, announcements: readonly Announcement[]) => void
    readonly forgot: (answer: Extract<Announcement, { is: 'forgot' }>) => void
    readonly invalid: (lines: number) => void
  }
}

/** In one transaction. */
const MESSAGES_MAX = 64
const ANNOUNCEMENTS_MAX = 4_000
const RETRY = { delayMsMin: 200, delayMsMax: 15_000 }
const QUARANTINE_RETRY_MS = 5_000

export class Indexer implements AsyncDisposable {
  readonly #options: IndexerOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #wake: () => void = () => {}
  #fault: SightlineError | undefined

  private constructor(options: IndexerOptions) {
    this.#options = options
    options.inbox.onEntries = () => this.#wake()
    this.#running = this.#run()
  }

  static open(options: IndexerOptions): Indexer {
    return new Indexer(options)
  }

  /** Why the inbox waits, for people. */
  get fault(): string | undefined {
    return this.#fault?.message
  }

  async #run(): Promise<void> {
    const { inbox, log } = this.#options
    const { signal } = this.#abort
    const backoff = new Backoff(RETRY)
    const warn = throttled((count) =>
      log.error(
        { code: this.#fault?.code, count, waiting: inbox.size },
        this.#fault?.message ?? 'indexing fails',
      ),
    )
    while (!signal.aborted) {
      const sequences = this.#next()
      if (sequences.length === 0) {
        const woken = Promise.withResolvers<void>()
        this.#wake = woken.resolve
        const stop = () => woken.resolve()
        signal.addEventListener('abort', stop, { once: true })
        // What came between the look and the promise.
        if (inbox.after(0) === undefined && !signal.aborted) await woken.promise
        signal.removeEventListener('abort', stop)
        continue
      }
      try {
        await this.#index(sequences)
        this.#fault = undefined
        backoff.reset()
      } catch (error) {
        this.#fault = asFailure(error)
        warn()
        await backoff.wait(signal).catch(() => {})
      }
    }
  }

  /** The first ones, in the order in which they came. */
  #next(): number[] {
    const { inbox } = this.#options
    const sequences: number[] = []
    for (let at = inbox.after(0); at !== undefined && sequences.length < MESSAGES_MAX; at = inbox.after(at))
      sequences.push(at)
    return sequences
  }

  async #index(sequences: readonly number[]): Promise<void> {
    const { inbox, database, news, events } = this.#options
    const done: number[] = []
    const bySubscriber = new Map<string, Announcement[]>()
    const answers: Extract<Announcement, { is: 'forgot' }>[] = []
    let count = 0
    for (const sequence of sequences) {
      if (count >= ANNOUNCEMENTS_MAX) break
      const message = inbox.read(sequence)
      if (!message) continue // it could not be read from the disk, and is counted as that
      const header = headerOf(message)
      const subscriber = header.topic.split('/').at(-1) ?? ''
      const { announcements, faults } = readBatch(message.body)
      if (faults.length > 0) await this.#setAside(header, faults)
      const own = bySubscriber.get(subscriber) ?? []
      bySubscriber.set(subscriber, own)
      for (const announcement of announcements) {
        if (announcement.is === 'forgot') answers.push(announcement)
        else own.push(announcement)
      }
      count += announcements.length
      done.push(sequence)
    }
    for (const [subscriber, announcements] of bySubscriber) {
      if (announcements.length === 0) continue
      const applied = await database.apply(announcements, subscriber)
      events.applied(applied, announcements)
      for (const detection of applied.added) news.add({ is: 'detection', detection })
      const removed = new Set(applied.removed)
      for (const it of announcements)
        if (it.is === 'removed' && removed.has(it.id)) {
          const { site = '', device = '', camera = '' } = parseObjectKey(it.key) ?? {}
          news.add({ is: 'removed', id: it.id, camera: { site, device, camera } })
        }
    }
    for (const sequence of done) void inbox.forwarded(sequence)
    for (const answer of answers) events.forgot(answer)
  }

  /** Whole, with the reason; until they are there the message stays in the inbox. */
  async #setAside(header: InboxHeader, faults: readonly { line: string; why: string }[]): Promise<void> {
    const { store, quarantine, log, events } = this.#options
    for (const fault of faults) {
      const entry = faultEntry(header, fault)
      for (;;)
        try {
          await store.accept(entry, [quarantine])
          break
        } catch (error) {
          if (this.#abort.signal.aborted) throw error
          log.warn({ code: asFailure(error).code }, asFailure(error).message)
          await sleep(QUARANTINE_RETRY_MS, undefined, { signal: this.#abort.signal })
        }
    }
    log.warn(
      { topic: header.topic, lines: faults.length, why: faults[0]?.why },
      'quarantined lines that are no announcements',
    )
    events.invalid(faults.length)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.inbox.onEntries = undefined
    this.#abort.abort(new Error('the console is stopping'))
    await this.#running
  }
}

/** What the intake does with each message. */
export const keepAnnouncement =
  (store: Store, inbox: Queue) =>
  ({ topic, payload }: ReceivedPublish): Promise<void> => {
    const header: InboxHeader = { topic, receivedAtMs: Date.now() }
    return store.accept({ header: Buffer.from(JSON.stringify(header)), body: payload }, [inbox], {
      handedOn: true,
    })
  }
