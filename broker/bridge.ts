import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { LinkOptions, MqttLink } from '../lib/mqtt-link.ts'
import type { Queue, Store } from '../lib/queue.ts'
import type { Uplink } from './custody.ts'
import { keepLink } from './keep-link.ts'
import { decodeMessage, type StoredMessage } from './message.ts'
import { type FarEnd, Pump } from './pump.ts'
import { decodeNotice, newRefusalsTopic } from './refusals.ts'
import { SendWindow } from './send-window.ts'
import { type BridgeTopic, TopicMap } from './topic-map.ts'

/**
 * A pump whose far end is another broker. Its queue is on disk; what the other broker has acknowledged leaves it.
 * A window of publishes is in flight, so a long round trip costs no throughput. A connection that ends, however it
 * ends, is followed by another one after a jittered wait; what was unacknowledged goes first. A message that the other
 * broker will never take is set aside in quarantine, so that the rest flows.
 */

export interface BridgeOptions {
  readonly name: string
  readonly link: LinkOptions
  readonly topics: readonly BridgeTopic[]
  readonly inFlightMax: number
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  /** A window that has not moved for so long means a dead link, whatever the socket says, ms. */
  readonly acknowledgeMsMax: number
  readonly store: Store
  readonly queue: Queue
  /** What the other broker will never take, whole, with the reason. */
  readonly quarantine: Queue
  readonly log: Log
}

/** Beside a message in quarantine; `sightline quarantine` shows it. */
export interface QuarantineHeader {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly receivedAtMs: number
  readonly reason: string
  readonly detail: string
}

export class Bridge implements Uplink, FarEnd, AsyncDisposable {
  readonly #options: BridgeOptions
  readonly #topics: TopicMap
  readonly #pump: Pump
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #lastFault: SightlineError | undefined
  #link: MqttLink | undefined
  #lastProgressMs = Date.now()
  /** What the other broker takes, where it has said so. */
  #packetBytesMax = Number.POSITIVE_INFINITY
  /** Why something stays in the queue that should leave it. */
  #stuck: string | undefined

  private constructor(options: BridgeOptions) {
    this.#options = options
    this.#topics = new TopicMap(options.topics)
    this.#pump = new Pump(options.queue, options.inFlightMax)
    const { signal } = this.#abort
    this.#running = keepLink(
      {
        ...options,
        bridge: options.name,
        onFault: (fault) => {
          this.#lastFault = fault
        },
      },
      signal,
      (link) => this.#serve(link, signal),
    )
  }

  /** Starts at once; the other broker need not be there. */
  static open(options: BridgeOptions): Bridge {
    return new Bridge(options)
  }

  get name(): string {
    return this.#options.name
  }

  get queue(): Queue {
    return this.#options.queue
  }

  get quarantine(): Queue {
    return this.#options.quarantine
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  get inFlight(): number {
    return this.#pump.flights.size
  }

  /** Why it is not connected, or does not get on, for people. */
  get fault(): string | undefined {
    return this.#link ? this.#stuck : (this.#lastFault?.message ?? 'connecting')
  }

  wants(topic: string): boolean {
    return this.#topics.has(topic)
  }

  publish({ topic, payload, retain }: StoredMessage, messageId: number, dup: boolean): boolean {
    if (!this.#link) return false
    const mapped = this.#topics.map(topic) ?? topic // what was taken in under an earlier configuration
    const bytesMax = Math.min(this.#link.packetBytesMaxOfBroker, this.#packetBytesMax)
    const bytes = packetBytes(mapped, payload)
    if (bytes > bytesMax) {
      // It would end the connection each time it is sent, and everything behind it would wait for ever.
      const detail = `${bytes} bytes, and ${this.#options.link.url} takes ${bytesMax}`
      setImmediate(() => this.#setAside(messageId, 'too large', detail))
      return true
    }
    return this.#link.publish({ topic: mapped, payload, dup, retain, messageId })
  }

  /** It leaves the queue when quarantine has it on disk; where that is full, it stays, and nothing is lost. */
  #setAside(messageId: number, reason: string, detail: string): void {
    const { store, quarantine, log, name } = this.#options
    const sequence = this.#pump.find(messageId)
    const stored = sequence === undefined ? undefined : this.queue.read(sequence)
    if (!stored) return
    const { topic, qos, payload } = decodeMessage(stored)
    const header: QuarantineHeader = { topic, qos, receivedAtMs: Date.now(), reason, detail }
    const failed = (error: unknown) => {
      const fault = asFailure(error)
      this.#stuck = `cannot set aside what ${this.#options.link.url} does not take: ${fault.message}`
      log.error({ bridge: name, code: fault.code, topic, reason, detail }, this.#stuck)
    }
    try {
      store.accept({ header: Buffer.from(JSON.stringify(header)), body: payload }, [quarantine]).then(() => {
        log.warn(
          { bridge: name, code: 'SET_ASIDE', topic, reason, detail },
          'set a message aside that the other broker will never take; see: sightline quarantine',
        )
        this.#stuck = undefined
        this.#pump.reject(messageId, 'quarantined')
      }, failed)
    } catch (error) {
      failed(error)
    }
  }

  #onNotice(payload: Buffer): void {
    const notice = decodeNotice(payload)
    if (!notice) return
    this.#lastProgressMs = Date.now()
    if ('packetBytesMax' in notice) {
      this.#packetBytesMax = notice.packetBytesMax
      return
    }
    const { messageId, code, message } = notice
    const reason = REASONS[code]
    // Any other refusal passes (a full disk, a full queue): the connection ends, and the message comes again.
    if (reason !== undefined) this.#setAside(messageId, reason, `${code}: ${message}`)
  }

  /** MQTT 5. Some refusals pass: then the message waits for the next connection, with what is behind it. */
  #refused(link: MqttLink, messageId: number, reasonCode: number): void {
    const detail = `reason code 0x${reasonCode.toString(16)}`
    const reason = FINAL_REASON_CODES[reasonCode]
    if (reason !== undefined) this.#setAside(messageId, reason, detail)
    else
      link.destroy(
        failure(
          'BROKER_UNREACHABLE',
          `${this.#options.link.url} does not take messages at the moment (${detail}).`,
        ),
      )
  }

  release(): boolean {
    return true // only QoS 1 goes over a bridge
  }

  /** Pumps over one connection until it ends. @returns why it did */
  async #serve(link: MqttLink, signal: AbortSignal): Promise<SightlineError | undefined> {
    const { acknowledgeMsMax, link: linkOptions, log, name } = this.#options
    log.info({ bridge: name, url: linkOptions.url, waiting: this.queue.size }, 'bridge connected')
    const ended = Promise.withResolvers<SightlineError | undefined>()
    link.once('close', (fault) => ended.resolve(fault))
    link.on('drain', () => this.#pump.run())
    link.on('puback', (messageId, reasonCode) => {
      this.#lastProgressMs = Date.now()
      if (reasonCode >= 0x80) this.#refused(link, messageId, reasonCode)
      else this.#pump.acknowledge(messageId)
    })
    const onAbort = () => ended.resolve(undefined)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#lastProgressMs = Date.now()
    const watch = setInterval(() => {
      if (this.#link && this.#pump.flights.size === 0) this.#lastProgressMs = Date.now()
      else if (Date.now() - this.#lastProgressMs > acknowledgeMsMax) {
        link.destroy(
          failure(
            'BROKER_UNREACHABLE',
            `${linkOptions.url} has acknowledged nothing for ${acknowledgeMsMax} ms.`,
          ),
        )
      }
    }, WATCH_INTERVAL_MS)
    this.#packetBytesMax = Number.POSITIVE_INFINITY
    const refusals = newRefusalsTopic()
    link.on('publish', ({ topic, payload }) => {
      if (topic === refusals) this.#onNotice(payload)
    })
    // Not every broker lets it: then there is nothing to hear. What it takes is to be known before the first message.
    await Promise.race([link.subscribe(refusals, 0).catch(() => {}), ended.promise])
    this.#link = link
    if (link.closed) ended.resolve(undefined)
    else this.#pump.attach(this, link.sendMax, new SendWindow())
    const fault = await ended.promise
    clearInterval(watch)
    signal.removeEventListener('abort', onAbort)
    if (signal.aborted) await this.#drain(link)
    this.#pump.detach(this)
    this.#link = undefined
    await link[Symbol.asyncDispose]()
    return fault
  }

  /** Gives what is in flight a moment to be acknowledged, so that it is not sent twice. */
  async #drain(link: MqttLink): Promise<void> {
    const until = Date.now() + DRAIN_MS_MAX
    this.#pump.pause()
    while (this.#pump.flights.size > 0 && !link.closed && Date.now() < until) await sleep(10)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error('the bridge is closing'))
    await this.#running
  }
}

/** Reasons of refusals in quarantine, by code. */
const REASONS: Readonly<Record<string, string>> = {
  NOT_ALLOWED: 'not allowed',
  TOPIC_INVALID: 'wrong topic',
  PAYLOAD_TOO_LARGE: 'too large',
}

/** MQTT 5, 3.4.2.1: those that time does not mend. */
const FINAL_REASON_CODES: Readonly<Record<number, string>> = {
  135: 'not allowed',
  144: 'wrong topic',
  153: 'wrong payload',
}

/** Of a PUBLISH at QoS 1, as MQTT counts it; MQTT 5 has a byte more. */
function packetBytes(topic: string, payload: Buffer): number {
  const body = 2 + Buffer.byteLength(topic) + 2 + 1 + payload.length
  return 1 + (body < 128 ? 1 : body < 16_384 ? 2 : body < 2_097_152 ? 3 : 4) + body
}

const WATCH_INTERVAL_MS = 1000
const DRAIN_MS_MAX = 2000
