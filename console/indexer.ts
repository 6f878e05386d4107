import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import type { ReceivedPublish } from '../lib/mqtt/link.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import { type Announcement, announcementLine, readBatch } from '../wire/stored.ts'
import type { Applied } from './database/announcements.ts'
import type { Database } from './database/database.ts'
import type { NewsRing } from './news.ts'
import { detailOf, type Fault, faultsEntry, headerOf, type InboxHeader } from './quarantine.ts'
import type { Rules } from './rules/rules.ts'

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
  /** Who looks at what is new, in the transaction that writes it. */
  readonly rules: Pick<Rules, 'indexing'>
  readonly log: Log
  readonly events: {
    /** What is kept of a camera's recordings; in the database by now. */
    readonly kept: (answer: Extract<Announcement, { is: 'kept' }>) => void
    readonly applied: (applied: Applied, subscriber: string) => void
    readonly forgot: (answer: Extract<Announcement, { is: 'forgot' }>) => void
    readonly invalid: (lines: number) => void
  }
}

/** In one transaction. */
const MESSAGES_MAX = 64
const ANNOUNCEMENTS_MAX = 4_000
const RETRY = { delayMsMin: 200, delayMsMax: 15_000 }
const QUARANTINE_RETRY_MS = 5_000

/** What some messages of the inbox say. */
interface Taken {
  readonly messages: { readonly sequence: number; readonly header: InboxHeader; readonly faults: Fault[] }[]
  readonly bySubscriber: Map<string, Announcement[]>
  readonly answers: Extract<Announcement, { is: 'forgot' | 'kept' }>[]
}

export class Indexer implements AsyncDisposable {
  readonly #options: IndexerOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #wake: () => void = () => {}
  #fault: SightlineError | undefined
  /** Messages in one transaction; fewer while one is looked for that the database refuses. */
  #width = MESSAGES_MAX

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
    for (let at = inbox.after(0); at !== undefined && sequences.length < this.#width; at = inbox.after(at))
      sequences.push(at)
    return sequences
  }

  async #index(sequences: readonly number[]): Promise<void> {
    const { inbox, events } = this.#options
    const taken = this.#read(sequences)
    try {
      for (const [subscriber, announcements] of taken.bySubscriber)
        await this.#apply(announcements, subscriber)
    } catch (error) {
      if (asFailure(error).code !== 'DATABASE_REFUSED') throw error
      // One of them is what the database never takes: the rest must not wait for it.
      if (taken.messages.length > 1) {
        this.#width = Math.max(1, Math.floor(taken.messages.length / 2))
        return
      }
      await this.#applyEach(taken)
    }
    this.#width = Math.min(MESSAGES_MAX, this.#width * 2)
    for (const { header, faults } of taken.messages)
      if (faults.length > 0) await this.#setAside(header, faults)
    for (const { sequence } of taken.messages) void inbox.forwarded(sequence)
    for (const answer of taken.answers) {
      if (answer.is === 'forgot') events.forgot(answer)
      else events.kept(answer)
    }
  }

  #read(sequences: readonly number[]): Taken {
    const { inbox } = this.#options
    const taken: Taken = { messages: [], bySubscriber: new Map(), answers: [] }
    let count = 0
    for (const sequence of sequences) {
      if (count >= ANNOUNCEMENTS_MAX) break
      const message = inbox.read(sequence)
      if (!message) continue // it could not be read from the disk, and is counted as that
      const header = headerOf(message)
      const subscriber = header.topic.split('/').at(-1) ?? ''
      const { announcements, faults } = readBatch(message.body)
      const own = taken.bySubscriber.get(subscriber) ?? []
      taken.bySubscriber.set(subscriber, own)
      for (const announcement of announcements) {
        if (announcement.is === 'forgot' || announcement.is === 'kept') taken.answers.push(announcement)
        if (announcement.is !== 'forgot') own.push(announcement)
      }
      count += announcements.length
      taken.messages.push({ sequence, header, faults: [...faults] })
    }
    return taken
  }

  async #apply(announcements: readonly Announcement[], subscriber: string): Promise<void> {
    const { database, news, events, rules } = this.#options
    if (announcements.length === 0) return
    const applied = await rules.indexing((within) => database.apply(announcements, subscriber, within))
    events.applied(applied, subscriber)
    for (const detection of applied.added) news.add({ is: 'detection', detection })
    const removed = new Set(applied.removed)
    for (const it of announcements)
      if (it.is === 'removed' && removed.has(it.id)) {
        const { site = '', device = '', camera = '' } = parseObjectKey(it.key) ?? {}
        news.add({ is: 'removed', id: it.id, camera: { site, device, camera } })
      }
  }

  /** Of one message, one by one: what the database refuses alone is set aside with it. */
  async #applyEach({ messages, bySubscriber }: Taken): Promise<void> {
    for (const [subscriber, announcements] of bySubscriber)
      for (const announcement of announcements)
        try {
          await this.#apply([announcement], subscriber)
        } catch (error) {
          const { code, message } = asFailure(error)
          if (code !== 'DATABASE_REFUSED') throw error
          messages[0]?.faults.push({ line: announcementLine(announcement).trimEnd(), why: message })
        }
  }

  /** Of a message, the lines that are none of ours, with the first reasons; until they are there it stays in the inbox. */
  async #setAside(header: InboxHeader, faults: readonly Fault[]): Promise<void> {
    const { store, quarantine, log, events } = this.#options
    const { signal } = this.#abort
    const entry = faultsEntry(header, faults)
    for (;;)
      try {
        await store.accept(entry, [quarantine])
        break
      } catch (error) {
        if (signal.aborted) throw error
        log.warn({ code: asFailure(error).code }, asFailure(error).message)
        await sleep(QUARANTINE_RETRY_MS, undefined, { signal })
      }
    log.warn(
      { topic: header.topic, lines: faults.length, why: detailOf(faults) },
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
