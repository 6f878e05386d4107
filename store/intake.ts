import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { AcknowledgeInOrder } from '../lib/mqtt/acknowledge-in-order.ts'
import { type LinkOptions, MqttLink, type ReceivedPublish } from '../lib/mqtt/link.ts'
import { keepConnected } from '../lib/reconnect.ts'
import type { Queue } from './queue.ts'
import type { Store } from './store.ts'

/**
 * MQTT -> inbox. A message is acknowledged when `keep` says that it is on disk here. Acknowledgements go out in the
 * order of receipt [MQTT-4.6.0-2]. When the inbox is full, the intake leaves the broker, which then keeps custody, and
 * comes back when there is room.
 */

/** Messages to the program itself, in the same session: the broker keeps them while it is away. */
export interface Requests {
  readonly topic: string
  /** False where none are wanted: those that a session still brings, from when they were, are passed on all the same. */
  readonly wanted: boolean
  /** @returns when it may be acknowledged. Errors, rejected with: DISK_FULL, STORE_IO */
  take(payload: Buffer): Promise<void>
}

export interface IntakeOptions {
  readonly link: LinkOptions
  readonly filters: readonly string[]
  readonly requests?: readonly Requests[]
  /** Nothing more is read from the broker while so much is on its way to disk, bytes; absent: it may send what it likes. */
  readonly writingBytesMax?: number
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  readonly store: Store
  readonly inbox: Queue
  /** @returns when the message is on disk. Errors: QUEUE_FULL, thrown; DISK_FULL, STORE_IO */
  readonly keep: (packet: ReceivedPublish) => Promise<void>
  readonly log: Log
}

/** The inbox is taken up again when it has emptied to this share of its bounds. */
const ROOM_SHARE = 0.5
const ROOM_INTERVAL_MS = 200

export class Intake implements AsyncDisposable {
  readonly #options: IntakeOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  readonly #first = Promise.withResolvers<void>()
  #link: MqttLink | undefined
  #fault: SightlineError | undefined
  /** By topic. */
  readonly #requestsFaults = new Map<string, SightlineError>()
  /** Some brokers end the connection over a subscription that they refuse: every other one then goes without them. */
  #requestsInVain = false

  private constructor(options: IntakeOptions) {
    this.#options = options
    this.#first.promise.catch(() => {})
    this.#running = this.#run()
  }

  static open(options: IntakeOptions): Intake {
    return new Intake(options)
  }

  /**
   * Resolves when it has subscribed for the first time. Rejects with BROKER_REFUSED where the configuration has to
   * change; a broker that is merely away is tried again for ever.
   */
  get subscribed(): Promise<void> {
    return this.#first.promise
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  get fault(): string | undefined {
    return this.#link ? undefined : (this.#fault?.message ?? 'connecting')
  }

  /** Why no requests come; undefined where they do, or none are wanted. */
  get requestsFault(): string | undefined {
    const [fault] = this.#requestsFaults.values()
    return fault?.message
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    const { log, link: linkOptions, reconnectMsMin, reconnectMsMax, filters } = this.#options
    // By the time of the line there may be a connection again: what it says is what happened.
    let warnedOf: SightlineError | undefined
    const warn = throttled((count) => log.warn({ code: warnedOf?.code, count }, warnedOf?.message))
    const connect = async () => {
      await this.#waitForRoom(signal)
      await using link = await MqttLink.open(linkOptions, signal)
      const ended = this.#receive(link)
      for (const filter of filters) await link.subscribe(filter, 1, signal)
      await this.#subscribeToRequests(link, signal)
      this.#link = link
      this.#fault = undefined
      log.info({ url: linkOptions.url, filters, sessionPresent: link.sessionPresent }, 'subscribed')
      this.#first.resolve()
      const stop = () => link.emit('close', undefined)
      signal.addEventListener('abort', stop, { once: true })
      const fault = await ended
      signal.removeEventListener('abort', stop)
      // What is on its way to disk is still acknowledged, if the link lives.
      await this.#options.store.committed().catch(() => {})
      this.#link = undefined
      this.#fault = fault
      return { fault, wasGood: true }
    }
    await keepConnected(
      { delayMsMin: reconnectMsMin, delayMsMax: reconnectMsMax },
      signal,
      connect,
      (error) => {
        this.#fault = asFailure(error)
        warnedOf = this.#fault
        if (this.#fault.code === 'BROKER_REFUSED') this.#first.reject(this.#fault)
        warn()
      },
    )
    this.#link = undefined
  }

  /** Crops come whatever the broker says to these. */
  async #subscribeToRequests(link: MqttLink, signal: AbortSignal): Promise<void> {
    const { requests = [], log } = this.#options
    if (this.#requestsInVain) {
      this.#requestsInVain = false
      return
    }
    for (const { topic, wanted } of requests) {
      if (!wanted) continue
      try {
        await link.subscribe(topic, 1, signal)
        this.#requestsFaults.delete(topic)
      } catch (error) {
        signal.throwIfAborted()
        const fault = asFailure(error)
        this.#requestsFaults.set(topic, fault)
        this.#requestsInVain = link.closed
        log.warn({ code: fault.code, topic }, fault.message)
        if (link.closed) return
      }
    }
  }

  #receive(link: MqttLink): Promise<SightlineError | undefined> {
    const { log, keep, requests = [], writingBytesMax = Number.POSITIVE_INFINITY } = this.#options
    const ended = Promise.withResolvers<SightlineError | undefined>()
    link.once('close', (fault) => ended.resolve(fault))
    const acknowledgements = new AcknowledgeInOrder((messageId) => link.puback(messageId))
    let leaving = false
    let writingBytes = 0
    const writes = (bytes: number, written: Promise<void>) => {
      writingBytes += bytes
      if (writingBytes >= writingBytesMax) link.pause()
      const settled = () => {
        writingBytes -= bytes
        if (writingBytes < writingBytesMax) link.resume()
      }
      written.then(settled, settled)
    }
    link.on('publish', (packet) => {
      if (link.closed || leaving) return
      let written: Promise<void>
      try {
        const request = requests.find(({ topic }) => topic === packet.topic)
        written = request ? request.take(packet.payload) : keep(packet)
        writes(packet.payload.length, written)
      } catch (error) {
        const fault = asFailure(error)
        log.warn(
          { code: fault.code },
          `${fault.message} Disconnecting; the broker keeps what is not acknowledged.`,
        )
        leaving = true // what is on its way to disk is still acknowledged, in `#run`
        ended.resolve(fault)
        return
      }
      if (packet.qos === 0) return
      acknowledgements.add(packet.messageId as number, written, (error) => link.destroy(asFailure(error)))
    })
    return ended.promise
  }

  async #waitForRoom(signal: AbortSignal): Promise<void> {
    const { inbox, store } = this.#options
    // Each time it came back the broker would send what it cannot keep (a full disk) once more.
    while (store.fault !== undefined) await sleep(ROOM_INTERVAL_MS, undefined, { signal })
    const full = () =>
      inbox.size > inbox.bounds.entriesMax * ROOM_SHARE || inbox.bytes > inbox.bounds.bytesMax * ROOM_SHARE
    if (this.#fault?.code !== 'QUEUE_FULL') return
    while (full()) await sleep(ROOM_INTERVAL_MS, undefined, { signal })
  }

  /** Leaves the broker; what it sent and was not acknowledged stays in its session. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(failure('BROKER_UNREACHABLE', 'This program is stopping.'))
    await this.#running
  }
}
