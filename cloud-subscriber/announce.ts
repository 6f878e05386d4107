import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { type LinkOptions, MqttLink } from '../lib/mqtt/link.ts'
import { keepConnected } from '../lib/reconnect.ts'
import type { Queue } from '../store/queue.ts'
import { type BatchHeader, batches } from './announcements.ts'

/**
 * The subscriber says what the bucket has (wire/stored.ts), over a connection of its own: a broker that refuses this does
 * not keep it from the crops.
 *
 *     storer ── stored(lines) ─────────▶ one line of batches ──▶ in flight, some at a time ──PUBACK──▶ done
 *     announcements (queue on disk) ───▶
 *
 * Batches go in the order in which they came here, and after a lost connection those without an acknowledgement go again
 * first, in that order: so "removed" never comes before the last "stored" of the same object. (A forgotten entry leaves
 * the inbox before its removal is announced, and the storer announces nothing that has left the inbox.)
 *
 * What was stored is in the inbox until its batch is acknowledged, and lies here in memory only; the storer bounds it.
 */

export interface AnnouncerOptions {
  /** Of a clean session: whatever the broker has not acknowledged is sent again from here. */
  readonly link: LinkOptions
  readonly topic: string
  readonly acknowledgeMsMax: number
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  /** announcements.ts */
  readonly queue: Queue
  readonly log: Log
  readonly events: {
    /** A batch of so many announcements. */
    readonly acknowledged: (count: number) => void
  }
}

interface Batch {
  readonly payload: Buffer
  readonly count: number
  readonly acknowledged: () => void
  /** At the end of the program. */
  readonly abandoned?: (fault: SightlineError) => void
}

/** Batches; with MQTT 5 the broker may want fewer. */
const IN_FLIGHT_MAX = 16
/** Batches of the queue on disk that are in memory. */
const TAKEN_MAX = 16
const WATCH_INTERVAL_MS = 250
/** At the end, for what is in flight. */
const DRAIN_MS_MAX = 2000

export class Announcer implements AsyncDisposable {
  readonly #options: AnnouncerOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #unsent: Batch[] = []
  /** By message id, in the order sent. */
  readonly #inFlight = new Map<number, Batch>()
  /** What is in flight beside them. */
  readonly #said = new Map<number, PromiseWithResolvers<void>>()
  #messageId = 0
  #taken = 0
  #waiting = 0
  #link: MqttLink | undefined
  /** The socket is full. */
  #blocked = false
  /** When the broker acknowledged last, or began to owe an acknowledgement. */
  #progressAtMs = 0
  #fault: SightlineError | undefined

  private constructor(options: AnnouncerOptions) {
    this.#options = options
    options.queue.rewind()
    options.queue.onEntries = () => this.#take()
    this.#take()
    this.#running = this.#run()
  }

  static open(options: AnnouncerOptions): Announcer {
    return new Announcer(options)
  }

  /** Announcements without an acknowledgement, those on disk only left out. */
  get waiting(): number {
    return this.#waiting
  }

  /** For people. */
  get health(): string {
    const waiting = `${this.#waiting} waiting`
    if (!this.#link) return `disconnected (${this.#fault?.message ?? 'connecting'}), ${waiting}`
    return this.#fault ? `${waiting} (${this.#fault.message})` : waiting
  }

  /**
   * The bucket has these, and has flushed them.
   * @returns when the broker has acknowledged all of them; rejects at the end of the program, where it has not
   */
  async stored(lines: readonly string[]): Promise<void> {
    await Promise.all(
      [...batches(lines)].map(
        ({ payload, count }) =>
          new Promise<void>((acknowledged, abandoned) =>
            this.#push({ payload, count, acknowledged, abandoned }),
          ),
      ),
    )
  }

  /** Retained, beside the batches. @returns when the broker has acknowledged it; rejects where the link ends before */
  async say(topic: string, payload: Buffer): Promise<void> {
    const link = this.#link
    if (!link) return // what is said of this program is said anew with each connection
    const said = Promise.withResolvers<void>()
    this.#messageId = (this.#messageId % 65_535) + 1
    const messageId = this.#messageId
    this.#said.set(messageId, said)
    this.#blocked = !link.publish({ topic, payload, dup: false, messageId, retain: true }) || this.#blocked
    await said.promise
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  /** Resolves when nothing waits, or soon where the broker does not answer. */
  async drained(): Promise<void> {
    const until = performance.now() + DRAIN_MS_MAX
    while (this.#waiting > 0 && this.#link && performance.now() < until) await sleep(10)
  }

  /** From the queue on disk. */
  #take(): void {
    const { queue } = this.#options
    while (this.#taken < TAKEN_MAX) {
      const sequence = queue.take()
      if (sequence === undefined) return
      const message = queue.read(sequence)
      if (!message) continue
      queue.hold(sequence)
      this.#taken += 1
      this.#push({
        payload: message.body,
        count: (JSON.parse(message.header.toString()) as BatchHeader).count,
        acknowledged: () => {
          this.#taken -= 1
          void queue.forwarded(sequence)
          this.#take()
        },
      })
    }
  }

  #push(batch: Batch): void {
    this.#unsent.push(batch)
    this.#waiting += batch.count
    this.#send()
  }

  #send(): void {
    const link = this.#link
    if (!link) return
    const width = Math.min(IN_FLIGHT_MAX, link.sendMax)
    while (!this.#blocked && this.#inFlight.size < width) {
      const batch = this.#unsent.shift()
      if (!batch) return
      if (this.#inFlight.size === 0) this.#progressAtMs = performance.now()
      this.#messageId = (this.#messageId % 65_535) + 1
      this.#inFlight.set(this.#messageId, batch)
      const { topic } = this.#options
      this.#blocked = !link.publish({
        topic,
        payload: batch.payload,
        dup: false,
        messageId: this.#messageId,
      })
    }
  }

  #onPuback(link: MqttLink, messageId: number, reasonCode: number): void {
    const batch = this.#inFlight.get(messageId)
    if (!batch) {
      this.#said.get(messageId)?.resolve()
      this.#said.delete(messageId)
      return
    }
    if (reasonCode >= 0x80) {
      link.destroy(
        failure(
          'BROKER_REFUSED',
          `The broker refuses announcements on ${this.#options.topic} (MQTT 5 reason ${reasonCode}). Give this user the right to publish there.`,
        ),
      )
      return
    }
    this.#inFlight.delete(messageId)
    this.#waiting -= batch.count
    this.#progressAtMs = performance.now()
    this.#fault = undefined
    batch.acknowledged()
    this.#options.events.acknowledged(batch.count)
    this.#send()
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    const { log, link: linkOptions, reconnectMsMin, reconnectMsMax, topic } = this.#options
    let warnedOf: SightlineError | undefined
    const warn = throttled((count) =>
      log.warn(
        { code: warnedOf?.code, count, waiting: this.#waiting },
        `announcements: ${warnedOf?.message}`,
      ),
    )
    const connect = async () => {
      await using link = await MqttLink.open(linkOptions, signal)
      log.info({ url: linkOptions.url, topic, waiting: this.#waiting }, 'announcing')
      return await this.#use(link, signal)
    }
    await keepConnected(
      { delayMsMin: reconnectMsMin, delayMsMax: reconnectMsMax },
      signal,
      connect,
      (error) => {
        this.#fault = asFailure(error)
        warnedOf = this.#fault
        warn()
      },
    )
  }

  async #use(link: MqttLink, signal: AbortSignal) {
    const ended = Promise.withResolvers<SightlineError | undefined>()
    let acknowledgedAny = false
    link.once('close', (fault) => ended.resolve(fault))
    link.on('puback', (messageId, reasonCode) => {
      acknowledgedAny ||= reasonCode < 0x80
      this.#onPuback(link, messageId, reasonCode)
    })
    link.on('drain', () => {
      this.#blocked = false
      this.#send()
    })
    const onAbort = () => ended.resolve(undefined)
    signal.addEventListener('abort', onAbort, { once: true })
    const watch = setInterval(() => this.#lookAfter(link), WATCH_INTERVAL_MS).unref()
    this.#link = link
    this.#blocked = false
    if (this.#waiting === 0) this.#fault = undefined // else the first acknowledgement tells
    this.#send()
    const fault = await ended.promise
    clearInterval(watch)
    signal.removeEventListener('abort', onAbort)
    this.#link = undefined
    // One that is closed each time it is sent something is tried less and less often.
    const wasGood = acknowledgedAny || this.#inFlight.size === 0
    this.#unsent = [...this.#inFlight.values(), ...this.#unsent]
    this.#inFlight.clear()
    for (const { reject } of this.#said.values()) reject(fault ?? new Error('the link was closed'))
    this.#said.clear()
    return { fault: wasGood || !fault ? fault : refused(fault, this.#options.topic), wasGood }
  }

  /** Alive is not enough: a broker that answers pings and acknowledges nothing is left. */
  #lookAfter(link: MqttLink): void {
    const { acknowledgeMsMax, topic } = this.#options
    if (this.#inFlight.size === 0 || performance.now() - this.#progressAtMs < acknowledgeMsMax) return
    link.destroy(
      failure(
        'BROKER_UNREACHABLE',
        `The broker acknowledged no announcement on ${topic} for ${acknowledgeMsMax} ms. Sending again.`,
      ),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.queue.onEntries = undefined
    const gone = failure('BROKER_UNREACHABLE', 'The subscriber is stopping.')
    this.#abort.abort(gone)
    await this.#running
    for (const { abandoned } of this.#unsent) abandoned?.(gone)
  }
}

/** MQTT 3.1.1 knows no refusal of a message: the connection ends. */
const refused = (fault: SightlineError, topic: string) =>
  failure(
    fault.code,
    `${fault.message} It ended while announcements on ${topic} were being sent: if that recurs, check that this user has the right to publish there.`,
    fault,
  )
