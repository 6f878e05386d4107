import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { type LinkOptions, MqttLink } from '../../lib/mqtt/link.ts'
import { SlicedSender } from '../../lib/mqtt/sliced-sender.ts'
import { keepConnected } from '../../lib/reconnect.ts'
import type { Store } from '../../store/store.ts'
import { decodeNotice, newRefusalsTopic } from '../../wire/refusals.ts'
import {
  ACKNOWLEDGE_MS_MAX,
  CLIPS_IN_FLIGHT_BYTES_MAX,
  CLIPS_IN_FLIGHT_MAX,
  FRUITLESS_CONNECTIONS_MAX,
  OUTBOX_FAREWELL_MS,
} from '../limits.ts'
import type { OpenOutbox, OutboxHeader } from './outbox.ts'

/**
 * Outbox -> broker, over a connection of its own that yields to crops. A clip leaves the outbox with its PUBACK. What is
 * in flight when a connection ends is sent again on the next one; what the broker will never take is set aside.
 */
export interface ClipSenderOptions {
  readonly outbox: OpenOutbox
  readonly link: Omit<LinkOptions, 'clean' | 'protocol'>
  readonly backoff: { readonly delayMsMin: number; readonly delayMsMax: number }
  /** Whom it yields to: the publisher of crops. */
  readonly crops: { readonly isBusy: boolean; ping(): Promise<void> | undefined }
  readonly log: Log
  readonly acknowledged: (topic: string) => void
}

export class ClipSender implements AsyncDisposable {
  readonly #options: ClipSenderOptions
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  readonly #sliced: SlicedSender
  /** By message id. */
  readonly #flights = new Map<
    number,
    { readonly sequence: number; readonly bytes: number; readonly topic: string }
  >()
  #bytesInFlight = 0
  #lastId = 0
  #link: MqttLink | undefined
  #fault: SightlineError | undefined
  /** By a clock that nobody sets. */
  #progressAtMs = 0
  #acknowledgedHere = 0
  #sentHere = 0
  #fruitless = 0

  private constructor(options: ClipSenderOptions) {
    this.#options = options
    this.#sliced = new SlicedSender({
      mustYield: () => options.crops.isBusy,
      probe: () => options.crops.ping(),
      rateMax: () => Number.POSITIVE_INFINITY,
      onFree: () => this.#run(),
    })
    options.outbox.queue.onEntries = () => this.#run()
    this.#running = this.#connections()
  }

  /** Starts at once; the broker need not be there. */
  static open(options: ClipSenderOptions): ClipSender {
    return new ClipSender(options)
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  get clientId(): string {
    return this.#options.link.clientId
  }

  /** What keeps clips from the broker, in a sentence; undefined where nothing does. */
  get trouble(): string | undefined {
    if (this.#fruitless >= FRUITLESS_CONNECTIONS_MAX) return ENDS_OVER_CLIPS
    return this.#link ? undefined : (this.#fault?.message ?? 'connecting')
  }

  async #connections(): Promise<void> {
    const { link: linkOptions, backoff, log } = this.#options
    const { signal } = this.#abort
    let warnedOf: SightlineError | undefined
    const warn = throttled((count) =>
      log.warn(
        { code: warnedOf?.code, count, waiting: this.#options.outbox.queue.size },
        `${warnedOf?.message} Clips wait in the outbox.`,
      ),
    )
    const connect = async () => {
      const link = await MqttLink.open({ ...linkOptions, protocol: 4, clean: true }, signal)
      const fault = await this.#serve(link, signal)
      return { fault, wasGood: this.#acknowledgedHere > 0 }
    }
    await keepConnected(backoff, signal, connect, (error) => {
      this.#fault = asFailure(error)
      warnedOf = this.#fault
      warn()
    })
  }

  /** One connection until it ends. @returns why it did */
  async #serve(link: MqttLink, signal: AbortSignal): Promise<SightlineError | undefined> {
    const { outbox, log } = this.#options
    const ended = Promise.withResolvers<SightlineError | undefined>()
    link.once('close', (fault) => ended.resolve(fault))
    const stop = () => ended.resolve(undefined)
    signal.addEventListener('abort', stop, { once: true })
    const refusals = newRefusalsTopic()
    link.on('publish', ({ topic, payload }) => {
      if (topic === refusals) this.#onNotice(payload)
    })
    link.on('puback', (messageId) => this.#acknowledge(messageId))
    // A broker of another kind says nothing there; one that closes over it is asked by every other connection only.
    if (this.#asks) await Promise.race([link.subscribe(refusals, 0).catch(() => {}), ended.promise])
    this.#asks = !this.#asks || !link.closed
    this.#acknowledgedHere = 0
    this.#sentHere = 0
    this.#progressAtMs = performance.now()
    const watch = setInterval(() => this.#watch(link), ACKNOWLEDGE_MS_MAX / 10)
    if (!link.closed) {
      this.#link = link
      this.#fault = undefined
      log.info({ waiting: outbox.queue.size }, 'clips are sent to the broker')
      this.#run()
    }
    const fault = await ended.promise
    clearInterval(watch)
    signal.removeEventListener('abort', stop)
    this.#link = undefined
    this.#sliced.clear()
    for (const { sequence } of this.#flights.values()) outbox.queue.letGo(sequence)
    this.#flights.clear()
    this.#bytesInFlight = 0
    outbox.queue.rewind()
    this.#countFruitless()
    await link[Symbol.asyncDispose]()
    return fault
  }

  #asks = true

  #watch(link: MqttLink): void {
    const now = performance.now()
    if (this.#flights.size === 0 || this.#sliced.holdsBack) this.#progressAtMs = now
    else if (now - this.#progressAtMs > ACKNOWLEDGE_MS_MAX)
      link.destroy(
        failure('BROKER_UNREACHABLE', `The broker acknowledged no clip for ${ACKNOWLEDGE_MS_MAX / 1000} s.`),
      )
  }

  #countFruitless(): void {
    const { log } = this.#options
    if (this.#acknowledgedHere > 0 || this.#sentHere === 0 || this.#abort.signal.aborted) return
    this.#fruitless += 1
    if (this.#fruitless === FRUITLESS_CONNECTIONS_MAX)
      log.error(
        { code: 'BROKER_REFUSED' },
        `${ENDS_OVER_CLIPS} See its log; check that a queue or a bridge there takes clips.`,
      )
  }

  /** Sends what fits the window. */
  #run(): void {
    const { queue } = this.#options.outbox
    while (this.#link && this.#sliced.isFree && !this.#leaving) {
      const full =
        this.#flights.size >= CLIPS_IN_FLIGHT_MAX ||
        (this.#flights.size >= 2 && this.#bytesInFlight >= CLIPS_IN_FLIGHT_BYTES_MAX)
      const sequence = full ? undefined : queue.take()
      if (sequence === undefined) return
      const message = queue.read(sequence)
      if (!message) continue
      const { topic } = JSON.parse(message.header.toString()) as OutboxHeader
      do this.#lastId = (this.#lastId % 65_535) + 1
      while (this.#flights.has(this.#lastId))
      if (this.#flights.size === 0) this.#progressAtMs = performance.now()
      this.#flights.set(this.#lastId, { sequence, bytes: message.body.length, topic })
      this.#bytesInFlight += message.body.length
      this.#sentHere += 1
      queue.hold(sequence)
      this.#sliced.send(this.#link, { topic, payload: message.body, messageId: this.#lastId, dup: false })
    }
  }

  #leaving = false

  #land(messageId: number): { readonly sequence: number; readonly topic: string } | undefined {
    const flight = this.#flights.get(messageId)
    if (!flight) return undefined
    this.#flights.delete(messageId)
    this.#bytesInFlight -= flight.bytes
    this.#options.outbox.queue.letGo(flight.sequence)
    this.#progressAtMs = performance.now()
    return flight
  }

  #acknowledge(messageId: number): void {
    const flight = this.#land(messageId)
    if (!flight) return
    this.#acknowledgedHere += 1
    this.#fruitless = 0
    void this.#options.outbox.queue.forwarded(flight.sequence)
    this.#options.acknowledged(flight.topic)
    this.#run()
  }

  /** It leaves the outbox when quarantine has it on disk. */
  #onNotice(payload: Buffer): void {
    const notice = decodeNotice(payload)
    if (!notice || 'packetBytesMax' in notice) return
    const { store, queue, quarantine } = this.#options.outbox
    const { log } = this.#options
    const flight = this.#land(notice.messageId)
    const clip = flight && queue.read(flight.sequence)
    if (!clip) return
    const reason = REASONS[notice.code] ?? 'refused'
    const detail = `${notice.code}: ${notice.message}`
    const header = { topic: flight.topic, qos: 1, receivedAtMs: Date.now(), reason, detail }
    log.warn(
      { code: 'SET_ASIDE', topic: flight.topic, reason, detail },
      'quarantined a clip that the broker rejects',
    )
    const failed = (error: unknown) =>
      log.error(
        { code: asFailure(error).code },
        'A clip that the broker rejects cannot be quarantined: it stays in the outbox.',
      )
    try {
      store
        .accept({ header: Buffer.from(JSON.stringify(header)), body: clip.body }, [quarantine])
        .then(() => queue.drop(flight.sequence, 'quarantined'))
        .catch(failed)
    } catch (error) {
      failed(error)
    }
    this.#run()
  }

  /** Sends what is there as long as it can; what is left stays on disk. */
  async drain(signal: AbortSignal): Promise<void> {
    const { queue } = this.#options.outbox
    let connectedAtMs = performance.now()
    while (queue.size > 0 && !signal.aborted) {
      const now = performance.now()
      if (this.#link) connectedAtMs = now
      else if (now - connectedAtMs > OUTBOX_FAREWELL_MS) return
      await sleep(20)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leaving = true
    this.#abort.abort(failure('BROKER_UNREACHABLE', 'The agent ends.'))
    this.#options.outbox.queue.onEntries = undefined
    await this.#running
  }
}

const ENDS_OVER_CLIPS = 'The broker ends the connection whenever a clip is published.'

const REASONS: Readonly<Record<string, string>> = {
  NOT_ALLOWED: 'not allowed',
  TOPIC_INVALID: 'wrong topic',
  PAYLOAD_TOO_LARGE: 'too large',
}

/**
 * Nobody who does not know it can be there first under this client id, and no two devices have the same. Made at the first
 * start; where the disk is full it holds until the next one.
 */
export function clipsClientId(
  store: Store,
  { site, device, clientId }: { readonly site: string; readonly device: string; readonly clientId?: string },
): string {
  if (clientId !== undefined) return `${clientId}-clips`
  const known = store.get(TABLE_SELF, 'id')
  const id = known ? Buffer.from(known).toString() : randomBytes(6).toString('base64url')
  if (!known) store.put(TABLE_SELF, 'id', Buffer.from(id)).catch(() => {})
  return `sightline-clips-${site}-${device}-${id}`
}

const TABLE_SELF = 'self'
