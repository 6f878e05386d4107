import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import type { LinkOptions, MqttLink } from '../lib/mqtt/link.ts'
import { SlicedSender } from '../lib/mqtt/sliced-sender.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { decodeNotice, newRefusalsTopic } from '../wire/refusals.ts'
import { retainedKey, type Uplink } from './custody.ts'
import { keepLink } from './keep-link.ts'
import { LiveLane, type LiveLoss, type LiveMessage } from './live-lane.ts'
import { decodeMessage, type StoredMessage } from './message.ts'
import { type FarEnd, Pump } from './pump.ts'
import { SendWindow } from './send-window.ts'
import { type BridgeTopic, TopicMap } from './topic-map.ts'
import { HOPS_MAX, markTopic, UNKNOWN_BROKER, type Via } from './via.ts'

/**
 * A pump whose far end is another broker. Its queue is on disk; what the other broker has acknowledged leaves it.
 * A window of publishes is in flight, so a long round trip costs no throughput. A connection that ends, however it
 * ends, is followed by another one after a jittered wait; what was unacknowledged goes first. A message that the other
 * broker will never take is set aside in quarantine, so that the rest flows. What is published at QoS 0 goes beside the
 * queue, while there is a connection (live-lane.ts).
 *
 * What is bulky (clips, wire/kinds.ts) goes over a second one of these, with a connection, a queue and a quarantine of its
 * own, which yields to the first (lib/mqtt/sliced-sender.ts): crops never wait behind it.
 */

export interface BridgeOptions {
  readonly name: string
  readonly link: LinkOptions
  readonly topics: readonly BridgeTopic[]
  /** Of those, what it takes; the rest goes over another one. */
  readonly takes?: (topic: string) => boolean
  /** Where it is the lane of what is bulky. */
  readonly yields?: {
    /** The one that it yields to. */
    readonly to: Bridge
    /** Bytes a second that are allowed now. */
    readonly rateMax: () => number
  }
  readonly inFlightMax: number
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  /** A window that has not moved for so long means a dead link, whatever the socket says, ms. */
  readonly acknowledgeMsMax: number
  readonly store: Store
  readonly queue: Queue
  /** What the other broker will never take, whole, with the reason. */
  readonly quarantine: Queue
  /** Of this broker. */
  readonly brokerId: string
  readonly senderOf: (topic: string) => string
  /** As of custody (custody.ts): of those in quarantine, too, the newest is enough. */
  readonly isLatest: (topic: string) => boolean
  /** Of live pictures, of which only the newest of a topic is worth sending. */
  readonly isPicture: (topic: string) => boolean
  readonly events: {
    readonly liveSent: () => void
    readonly liveLost: (why: LiveLoss) => void
  }
  readonly log: Log
}

/** What is known of the other broker. */
export interface FarBroker {
  /** Of one of ours; undefined of another kind, which cannot be told where a message has been. */
  readonly id: string | undefined
  /** Whether a message at QoS 0 that it does not allow leaves the connection alone. */
  readonly takesLive: boolean
}

/** Beside a message in quarantine; `sightline quarantine` shows it. */
export interface QuarantineHeader {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly retain?: boolean
  readonly via?: Via
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
  #isIdle = false
  #link: MqttLink | undefined
  /** By a clock that nobody sets. */
  #lastProgressMs = performance.now()
  /** What the other broker takes, where it has said so. */
  #packetBytesMax = Number.POSITIVE_INFINITY
  /** As of the last connection. */
  #far: FarBroker | undefined
  /** What it has said of itself on this one. */
  #heard: FarBroker | undefined
  #farKnown = Promise.withResolvers<FarBroker>()
  /** The last connection ended over it: some brokers close at a topic that they do not know. */
  #asksInVain = false
  readonly #live: LiveLane
  readonly #sliced: SlicedSender | undefined
  /** Called when nothing is in custody here any more. */
  onIdle: (() => void) | undefined
  /** Why something stays in the queue that should leave it. */
  #stuck: string | undefined

  private constructor(options: BridgeOptions) {
    this.#options = options
    this.#topics = new TopicMap(options.topics)
    this.#pump = new Pump(options.queue, options.inFlightMax)
    this.#live = new LiveLane({
      senderOf: options.senderOf,
      isPicture: options.isPicture,
      // Crops first: none that waits for the line, or for its window.
      mayGo: () => this.#link !== undefined && this.queue.size <= this.#pump.flights.size,
      send: (message) => this.#sendLive(message),
      ping: () => this.#link?.ping() ?? NEVER,
      lost: options.events.liveLost,
    })
    if (options.yields) {
      const { to, rateMax } = options.yields
      const sliced = new SlicedSender({
        mustYield: () => to.isBusy,
        probe: () => to.probe(),
        rateMax,
        onFree: () => this.#pump.run(),
      })
      this.#sliced = sliced
      to.onIdle = () => sliced.run()
    }
    const { signal } = this.#abort
    const run = () =>
      keepLink(
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
    this.#isIdle = this.#sliced !== undefined && options.queue.size === 0
    this.#running = this.#isIdle ? this.#firstEntry(signal).then(run) : run()
  }

  /** Of the lane of what is bulky: most edges never have any, and the other broker need not hold a connection for it. */
  async #firstEntry(signal: AbortSignal): Promise<void> {
    const { queue } = this.#options
    await new Promise<void>((resolve) => {
      queue.onEntries = resolve
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    this.#isIdle = false
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

  /** There was nothing to carry yet, and so there is no connection. */
  get isIdle(): boolean {
    return this.#isIdle
  }

  /** Whether something waits for the line or is on its way, and gets on. */
  get isBusy(): boolean {
    return this.#link !== undefined && this.#stuck === undefined && this.queue.size > 0
  }

  /** Resolves after a round trip; undefined where there is no connection. */
  probe(): Promise<void> | undefined {
    return this.#link?.ping()
  }

  /** Whether the message before has gone out whole (`FarEnd`). */
  get isFree(): boolean {
    return this.#sliced?.isFree ?? true
  }

  /** As fast as it would go now, bytes a second; undefined where it yields to none. */
  get bytesPerSecond(): number | undefined {
    return this.#sliced?.bytesPerSecond
  }

  get inFlight(): number {
    return this.#pump.flights.size
  }

  /** Why it is not connected, or does not get on, for people. */
  get fault(): string | undefined {
    return this.#link ? this.#stuck : (this.#lastFault?.message ?? 'connecting')
  }

  /** Not where it came from: that broker has it. */
  wants(topic: string, via: Via): boolean {
    const { takes } = this.#options
    return this.#topics.has(topic) && (takes?.(topic) ?? true) && !this.#hasPassedFarEnd(via)
  }

  /** One broker of another kind may be any of them. */
  #hasPassedFarEnd(via: Via): boolean {
    return this.#far !== undefined && via.includes(this.#far.id ?? UNKNOWN_BROKER)
  }

  /** Resolves at the first connection, and when there is one again. */
  get farBroker(): Promise<FarBroker> {
    return this.#farKnown.promise
  }

  /** A message at QoS 0, not retained: sent while there is a connection, or lost, and counted. */
  passOn(message: LiveMessage): void {
    if (this.#sliced) this.#options.events.liveLost('bulky')
    else if (this.#link && this.#far?.takesLive) this.#live.add(message)
    else this.#options.events.liveLost('no connection')
  }

  #sendLive({ topic, payload, via }: LiveMessage): boolean {
    const name = this.#nameFor(topic, via)
    if (!this.#link) return true
    if (name === undefined || packetBytes(name, payload) > this.#bytesMax) {
      this.#options.events.liveLost(name === undefined ? 'wrong topic' : 'too large')
      return true
    }
    this.#options.events.liveSent()
    return this.#link.publishLive(name, payload)
  }

  /** The topic as the other broker is to have it; undefined where it would have too many levels, or has come too far. */
  #nameFor(topic: string, via: Via): string | undefined {
    const mapped = this.#topics.map(topic) ?? topic // what was taken in under an earlier configuration
    if (via.length >= HOPS_MAX) return undefined
    const name = this.#far?.id === undefined ? mapped : markTopic([...via, this.#options.brokerId], mapped)
    return name.split('/', LEVELS_MAX + 1).length > LEVELS_MAX ? undefined : name
  }

  get #bytesMax(): number {
    return Math.min(this.#link?.packetBytesMaxOfBroker ?? 0, this.#packetBytesMax)
  }

  publish({ topic, payload, retain, via = [] }: StoredMessage, messageId: number, dup: boolean): boolean {
    if (!this.#link) return false
    if (this.#hasPassedFarEnd(via)) {
      // Taken in before it was known who the far end is.
      setImmediate(() => this.#pump.reject(messageId, 'came from there'))
      return true
    }
    const mapped = this.#nameFor(topic, via)
    if (mapped === undefined) {
      const detail = `over ${HOPS_MAX} brokers, or more than ${LEVELS_MAX} levels`
      setImmediate(() => this.#setAside(messageId, 'wrong topic', detail))
      return true
    }
    const bytesMax = this.#bytesMax
    const bytes = packetBytes(mapped, payload)
    if (bytes > bytesMax) {
      // It would end the connection each time it is sent, and everything behind it would wait for ever.
      const detail = `${bytes} bytes; the limit of ${this.#options.link.url} is ${bytesMax}`
      setImmediate(() => this.#setAside(messageId, 'too large', detail))
      return true
    }
    const mappedMessage = { topic: mapped, payload, dup, retain, messageId }
    if (!this.#sliced) return this.#link.publish(mappedMessage)
    this.#sliced.send(this.#link, mappedMessage)
    return this.#sliced.isFree
  }

  /** It leaves the queue when quarantine has it on disk; where that is full, it stays, and nothing is lost. */
  #setAside(messageId: number, reason: string, detail: string): void {
    const { store, quarantine, log, name, isLatest } = this.#options
    const sequence = this.#pump.find(messageId)
    const stored = sequence === undefined ? undefined : this.queue.read(sequence)
    if (!stored) return
    const { topic, qos, payload, retain, via } = decodeMessage(stored)
    const header: QuarantineHeader = { topic, qos, retain, via, receivedAtMs: Date.now(), reason, detail }
    const failed = (error: unknown) => {
      const fault = asFailure(error)
      this.#stuck = `cannot quarantine what ${this.#options.link.url} rejects: ${fault.message}`
      log.error({ bridge: name, code: fault.code, topic, reason, detail }, this.#stuck)
    }
    try {
      const options = retain && isLatest(topic) ? { key: retainedKey(topic), replaces: true } : {}
      const message = { header: Buffer.from(JSON.stringify(header)), body: payload }
      store.accept(message, [quarantine], options).then(() => {
        log.warn(
          { bridge: name, code: 'SET_ASIDE', topic, reason, detail },
          'quarantined a message that the other broker rejects; see: sightline quarantine',
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
    this.#lastProgressMs = performance.now()
    if ('packetBytesMax' in notice) {
      this.#packetBytesMax = notice.packetBytesMax
      this.#heard = { id: notice.brokerId, takesLive: notice.brokerId !== undefined }
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
          `${this.#options.link.url} does not accept messages at present (${detail}).`,
        ),
      )
  }

  release(): boolean {
    return true // only QoS 1 goes over a bridge
  }

  /** Pumps over one connection until it ends. @returns why it did */
  async #serve(link: MqttLink, signal: AbortSignal): Promise<SightlineError | undefined> {
    const { acknowledgeMsMax, link: linkOptions, log, name } = this.#options
    const ended = Promise.withResolvers<SightlineError | undefined>()
    link.once('close', (fault) => ended.resolve(fault))
    link.on('drain', () => {
      this.#pump.run()
      this.#live.run()
    })
    link.on('puback', (messageId, reasonCode) => {
      this.#lastProgressMs = performance.now()
      if (reasonCode >= 0x80) this.#refused(link, messageId, reasonCode)
      else this.#pump.acknowledge(messageId)
      this.#live.run()
      if (this.queue.size === 0) this.onIdle?.()
    })
    const onAbort = () => ended.resolve(undefined)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#lastProgressMs = performance.now()
    const watch = setInterval(() => {
      const isQuiet = this.#pump.flights.size === 0 || this.#sliced?.holdsBack === true
      if (this.#link && isQuiet) this.#lastProgressMs = performance.now()
      else if (performance.now() - this.#lastProgressMs > acknowledgeMsMax) {
        link.destroy(
          failure(
            'BROKER_UNREACHABLE',
            `No acknowledgement from ${linkOptions.url} for ${acknowledgeMsMax} ms.`,
          ),
        )
      }
    }, WATCH_INTERVAL_MS)
    this.#packetBytesMax = Number.POSITIVE_INFINITY
    this.#heard = undefined
    await Promise.race([this.#ask(link), ended.promise])
    const far = this.#heard ?? OF_ANOTHER_KIND
    this.#far = far
    this.#link = link
    if (far.id === this.#options.brokerId) link.destroy(itself(name, linkOptions.url))
    if (link.closed) ended.resolve(undefined)
    else {
      log.info({ bridge: name, url: linkOptions.url, waiting: this.queue.size }, 'bridge connected')
      this.#farKnown.resolve(far)
      this.#pump.attach(this, link.sendMax, new SendWindow())
    }
    const fault = await ended.promise
    clearInterval(watch)
    signal.removeEventListener('abort', onAbort)
    if (signal.aborted) await this.#drain(link)
    this.#pump.detach(this)
    this.#sliced?.clear()
    this.#link = undefined
    this.onIdle?.()
    this.#live.clear()
    const next = Promise.withResolvers<FarBroker>()
    this.#farKnown.resolve(next.promise) // where it was not known, who waits for it waits on
    this.#farKnown = next
    await link[Symbol.asyncDispose]()
    return fault
  }

  /**
   * Asks to be told of refusals, and who the other broker is; resolves when it has answered. Not every broker lets it,
   * and there is nothing to hear from those. Some close over it, every time: then every other connection goes without.
   */
  async #ask(link: MqttLink): Promise<void> {
    if (this.#asksInVain) {
      this.#asksInVain = false
      return
    }
    const refusals = newRefusalsTopic()
    link.on('publish', ({ topic, payload }) => {
      if (topic === refusals) this.#onNotice(payload)
    })
    // What it takes is to be known before the first message.
    await link.subscribe(refusals, 0).catch(() => {})
    this.#asksInVain = link.closed
  }

  /** Gives what is in flight a moment to be acknowledged, so that it is not sent twice. */
  async #drain(link: MqttLink): Promise<void> {
    const until = performance.now() + DRAIN_MS_MAX
    this.#pump.pause()
    while (this.#pump.flights.size > 0 && !link.closed && performance.now() < until) await sleep(10)
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

const itself = (bridge: string, url: string) =>
  failure(
    'CONFIG_INVALID',
    `The bridge "${bridge}" leads back to this broker itself (${url}). Correct its "url": it must be another broker.`,
  )

/** What aedes takes (`maxTopicLevels`); more would end the connection each time it is sent. */
const LEVELS_MAX = 100
const OF_ANOTHER_KIND: FarBroker = { id: undefined, takesLive: true }
const NEVER = new Promise<void>(() => {})

/** Of a PUBLISH at QoS 1, as MQTT counts it; MQTT 5 has a byte more. */
function packetBytes(topic: string, payload: Buffer): number {
  const body = 2 + Buffer.byteLength(topic) + 2 + 1 + payload.length
  return 1 + (body < 128 ? 1 : body < 16_384 ? 2 : body < 2_097_152 ? 3 : 4) + body
}

const WATCH_INTERVAL_MS = 1000
const DRAIN_MS_MAX = 2000
