import { Socket } from 'node:net'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import { connectionFault } from '../../lib/connection-faults.ts'
import { failure, type SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { connackRefusal } from '../../lib/mqtt/connack.ts'
import { shareLengths } from '../../lib/mqtt/lengths.ts'
import { keepConnected } from '../../lib/reconnect.ts'
import type { ClientCredentials } from '../../lib/tls/certificates.ts'
import { CLOSED_AFTER_HANDSHAKE, tlsFault } from '../../lib/tls/faults.ts'
import {
  ACKNOWLEDGE_MS_MAX,
  CONNECT_MS_MAX,
  EVENTS_IN_FLIGHT_MAX,
  FAREWELL_MS_MAX,
  FRUITLESS_CONNECTIONS_MAX,
  LIVE_IN_FLIGHT_MAX,
  REFUSED_REST_MS,
  REFUSED_WITHIN_MS,
} from '../limits.ts'

/**
 * Hands crops to the broker. A PUBACK is the broker's word that it has the crop; until then it stays here.
 *
 *   offer -> waiting -> in flight (a window) -> acknowledged
 *               ^            |
 *               +------------+  the connection ended: sent again on the next
 *
 * Invariants: offered = acknowledged + pending + dropped{reason}; pending = waiting + in flight; an entry is in one
 * place only; entries are sent in the order they were offered, oldest first.
 *
 * One MQTT.js client a connection, with its own reconnecting switched off: it would replay its store one message
 * at a time. Ours is the only state.
 */
export interface PublisherOptions {
  readonly url: string
  readonly clientId: string
  readonly username?: string
  readonly password?: string
  readonly credentials?: () => ClientCredentials
  readonly keepaliveMs: number
  readonly window: number
  readonly payloadBytesMax: number
  readonly backoff: { readonly delayMsMin: number; readonly delayMsMax: number }
  readonly pending: { readonly bytesMax: number; readonly entriesMax: number }
  readonly statusTopic: string
  /**
   * What to subscribe to, at each connection. The broker then keeps a session: what is sent while we are away comes
   * with the next connection.
   */
  readonly commands?: { readonly filter: string }
  /** What it shall be, retained: subscribed to where commands may be. */
  readonly desiredTopic?: string
  readonly log: Log
  readonly events: PublisherEvents
}

export type DropReason = 'pending full' | 'too large' | 'shutdown'
export type UnsaidReason = 'not connected' | 'busy' | 'connection ended'
/** Why a live picture does not go out. */
export type Unshown = 'not connected' | 'slow line' | 'refused'

export interface PublisherEvents {
  acknowledged(camera: string): void
  dropped(camera: string, reason: DropReason): void
  /** An event has gone out: written at QoS 0, acknowledged at QoS 1. */
  said(camera: string): void
  unsaid(camera: string, reason: UnsaidReason): void
}

export interface Outgoing {
  readonly camera: string
  readonly topic: string
  readonly payload: Buffer
  /** Where another limit than the publisher's holds. */
  readonly payloadBytesMax?: number
}

export interface Saying {
  readonly camera: string
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1
}

/** Anything else that is worth nothing later, at QoS 1. */
export interface Sending {
  readonly topic: string
  readonly payload: Buffer
  /** Called once, with why where it did not go out. */
  readonly done: (unsaid?: UnsaidReason) => void
}

/** A message that came in one of the commands' topics. */
export interface CommandMessage {
  readonly topic: string
  readonly payload: Buffer
  /** It was there before we asked for it: kept by the broker, not sent now. */
  readonly retained: boolean
}

/** What the broker should always have, retained: the newest payload of a topic. */
interface Kept {
  payload: string
  /** On this connection. */
  isSent: boolean
  inFlight: boolean
  sentAtMs: number
  /** How often in a row a connection ended when it had just been sent: it may be what it ended over. */
  endedOver: number
  leftOutUntilMs: number
}

const NEVER_SENT = {
  isSent: false,
  inFlight: false,
  sentAtMs: 0,
  endedOver: 0,
  leftOutUntilMs: Number.NEGATIVE_INFINITY,
}

/** Of everything that was offered: offered = acknowledged + pending + dropped. */
export interface PublisherBooks {
  readonly offered: number
  readonly acknowledged: number
  readonly pending: number
  readonly dropped: Readonly<Record<string, number>>
  readonly bytes: number
  /** When the oldest that is pending was offered, ms since 1970. */
  readonly oldestAtMs: number | null
}

/** As it was offered, and when. */
type Pending = Outgoing & { readonly offeredAtMs: number }

export class Publisher implements AsyncDisposable {
  readonly #options: PublisherOptions
  /** The broker's address for people: without user and password. */
  readonly #name: string
  /** Both in the order offered: a Map keeps it. */
  #waiting = new Map<number, Pending>()
  readonly #inFlight = new Map<number, Pending & { readonly sentAtMs: number }>()
  #sequence = 0
  #pendingBytes = 0
  #acknowledged = 0
  readonly #dropped: Record<string, number> = {}
  /** PINGREQs without an answer, whether each follows a live picture, and who waits for it. */
  #pings: { readonly isOurs: boolean; readonly answered: (() => void) | undefined }[] = []
  /** When this connection got its first live picture. */
  #shownAtMs: number | undefined
  /** Connections in a row that ended soon after one. */
  #shownInVain = 0
  #showsNoneUntilMs = Number.NEGATIVE_INFINITY
  #client: MqttClient | undefined
  #everConnected = false
  #trouble: string | undefined = 'connecting'
  #leaving = false
  readonly #saying = new Set<Sending['done']>()
  readonly #kept = new Map<string, Kept>()
  /** What is kept goes out. Not before we know that we may: a broker may end the connection over it. */
  #mayKeep = false
  /** Connections in a row that ended before the broker had answered our subscription: to commands, to what is desired. */
  #unanswered = 0
  #desiredUnanswered = 0
  #awaitsDesired = false
  #status: Record<string, unknown> = {}
  readonly #stop = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #wake: (() => void)[] = []
  /** Called with what comes in the commands' topics. */
  onCommand: ((message: CommandMessage) => void) | undefined
  /** Called with what comes as desired. */
  onDesired: ((payload: Buffer) => void) | undefined

  constructor(options: PublisherOptions) {
    shareLengths()
    this.#options = options
    this.#name = options.url.replace(/\/\/[^@/]*@/, '//')
  }

  get clientId(): string {
    return this.#options.clientId
  }

  get pending(): number {
    return this.#waiting.size + this.#inFlight.size
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  get books(): PublisherBooks {
    const oldest = this.#inFlight.values().next().value ?? this.#waiting.values().next().value
    return {
      offered:
        this.#acknowledged + this.pending + Object.values(this.#dropped).reduce((sum, it) => sum + it, 0),
      acknowledged: this.#acknowledged,
      pending: this.pending,
      dropped: { ...this.#dropped },
      bytes: this.#pendingBytes,
      oldestAtMs: oldest?.offeredAtMs ?? null,
    }
  }

  /** What keeps crops from the broker, in words; undefined where nothing does. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /**
   * Keeps a connection until disposed of. Rejects with BROKER_REFUSED where the broker turns the very first
   * connection down for a reason that trying again does not cure; whatever happens later is tried again.
   */
  run(): Promise<void> {
    const running = this.#run()
    this.#running = running.catch(() => {})
    return running
  }

  /** Takes a crop over; when there is no room, the oldest that waits makes way. */
  offer(crop: Outgoing): void {
    const { pending } = this.#options
    if (crop.payload.length > (crop.payloadBytesMax ?? this.#options.payloadBytesMax)) {
      this.#drop(crop, 'too large')
      return
    }
    this.#waiting.set(this.#sequence, { ...crop, offeredAtMs: Date.now() })
    this.#sequence += 1
    this.#pendingBytes += crop.payload.length
    for (const [key, oldest] of this.#waiting) {
      if (this.pending <= pending.entriesMax && this.#pendingBytes <= pending.bytesMax) break
      this.#waiting.delete(key)
      this.#pendingBytes -= oldest.payload.length
      this.#drop(oldest, 'pending full')
    }
    this.#send()
  }

  #drop({ camera }: Outgoing, reason: DropReason): void {
    this.#dropped[reason] = (this.#dropped[reason] ?? 0) + 1
    this.#options.events.dropped(camera, reason)
  }

  /** Says something that is worth nothing later: now or never, and never in the way of crops. */
  say({ camera, topic, payload, qos }: Saying): void {
    const { events } = this.#options
    this.#attempt(topic, payload, qos, (unsaid) => {
      if (unsaid) events.unsaid(camera, unsaid)
      else events.said(camera)
    })
  }

  /** The same for what is no event. */
  send({ topic, payload, done }: Sending): void {
    this.#attempt(topic, payload, 1, done)
  }

  #attempt(topic: string, payload: string | Buffer, qos: 0 | 1, done: Sending['done']): void {
    const client = this.#client
    if (!client?.connected) {
      done('not connected')
    } else if (this.#saying.size >= EVENTS_IN_FLIGHT_MAX || client.stream.writableNeedDrain) {
      done('busy')
    } else {
      this.#saying.add(done)
      client.publish(topic, payload, { qos }, (error) => {
        if (this.#saying.delete(done)) done(error ? 'connection ended' : undefined)
      })
    }
  }

  /** Whether a live picture may go now: the broker has read the ones before, and no crop waits. */
  get mayShow(): boolean {
    return this.#whyNotShown() === undefined
  }

  /**
   * A live picture, and one beside it that goes only together with it, at QoS 0. Nothing acknowledges that, so a PINGREQ follows, and its answer says that the broker has read
   * it: what lay in the line's buffers otherwise would be old, and crops behind it.
   * @returns why it does not go out; undefined where it does
   */
  show(
    topic: string,
    payload: Buffer,
    beside?: { readonly topic: string; readonly payload: Buffer },
  ): Unshown | undefined {
    const why = this.#whyNotShown()
    const client = this.#client
    if (why !== undefined || !client) return why ?? 'not connected'
    client.publish(topic, payload, { qos: 0 })
    if (beside) client.publish(beside.topic, beside.payload, { qos: 0 })
    this.#shownAtMs ??= performance.now()
    this.#pingIsOurs = true
    client.sendPing()
    this.#pingIsOurs = false
    return undefined
  }

  #pingIsOurs = false
  #pingAnswered: (() => void) | undefined

  /** Whether crops are there that get on: what shares the line with them is to wait. */
  get isBusy(): boolean {
    return this.#client !== undefined && this.pending > 0
  }

  /** Resolves after a round trip to the broker; undefined where there is no connection. */
  ping(): Promise<void> | undefined {
    const client = this.#client
    if (!client?.connected) return undefined
    return new Promise((resolve) => {
      this.#pingAnswered = resolve
      client.sendPing()
      this.#pingAnswered = undefined
    })
  }

  #whyNotShown(): Unshown | undefined {
    const client = this.#client
    if (!client?.connected) return 'not connected'
    if (performance.now() < this.#showsNoneUntilMs) return 'refused'
    const unread = this.#pings.filter(({ isOurs }) => isOurs).length
    return unread >= LIVE_IN_FLIGHT_MAX || this.#waiting.size > 0 || client.stream.writableNeedDrain
      ? 'slow line'
      : undefined
  }

  /**
   * From now on the broker has this payload, retained: published where it is new, and at each connection. An empty one takes
   * away what it has, once.
   */
  keep(topic: string, payload: string): void {
    const kept = this.#kept.get(topic)
    if (kept?.payload === payload) return
    this.#kept.set(topic, { ...(kept ?? NEVER_SENT), payload, isSent: false })
    this.#sendKept()
  }

  /**
   * One in flight: a broker that does not acknowledge gets no more of them, and later the newest. And where the connection
   * ends over one, it is known over which.
   */
  #sendKept(): void {
    const client = this.#client
    if (!client?.connected || !this.#mayKeep) return
    const all = [...this.#kept]
    if (all.some(([, { inFlight }]) => inFlight)) return
    const next = all.find(([, { isSent, leftOutUntilMs }]) => !isSent && performance.now() >= leftOutUntilMs)
    if (!next) return
    const [topic, kept] = next
    kept.isSent = true
    kept.inFlight = true
    kept.sentAtMs = performance.now()
    client.publish(topic, kept.payload, { qos: 1, retain: true }, () => {
      const now = this.#kept.get(topic)
      if (this.#client !== client || !now) return
      now.inFlight = false
      now.endedOver = 0
      if (now.isSent && now.payload === '') this.#kept.delete(topic)
      this.#sendKept()
    })
  }

  #startKeeping(): void {
    this.#mayKeep = true
    this.#sendKept()
  }

  /** Whether this connection subscribes: a broker that ends the connection over it must get crops all the same. */
  #subscribes(): boolean {
    return this.#options.commands !== undefined && this.#unanswered < FRUITLESS_CONNECTIONS_MAX
  }

  #subscribe(client: MqttClient, answered: () => void): void {
    const { commands, log } = this.#options
    if (!commands) return
    client.subscribe(commands.filter, { qos: 1 }, (error, granted) => {
      if (this.#client !== client) return
      answered()
      if (!error && granted?.every(({ qos }) => qos < 0x80)) {
        this.#startKeeping()
        this.#subscribeDesired(client)
        return
      }
      log.error(
        { code: 'BROKER_REFUSED', filter: commands.filter },
        `${this.#name} denies this device the subscription to ${commands.filter}: no remote commands. Give its user the role "device" there, or that right; or set remote.enabled to false.`,
      )
    })
  }

  /** By itself, once the broker has taken the commands: they are not to be lost over it. */
  #subscribeDesired(client: MqttClient): void {
    const { desiredTopic: topic, log } = this.#options
    if (topic === undefined || this.#desiredUnanswered >= FRUITLESS_CONNECTIONS_MAX) return
    this.#awaitsDesired = true
    client.subscribe(topic, { qos: 1 }, (error, granted) => {
      if (this.#client !== client) return
      this.#awaitsDesired = false
      this.#desiredUnanswered = 0
      if (!error && granted?.every(({ qos }) => qos < 0x80)) return
      log.error(
        { code: 'BROKER_REFUSED', filter: topic },
        `${this.#name} denies this device the subscription to ${topic}: its configuration cannot be changed from the console. Give its user the role "device" there, or that right; or set remote.desired.enabled to false.`,
      )
    })
  }

  /** Resolves when another crop can be offered without crowding one out, or when the signal is aborted. */
  async room(signal: AbortSignal): Promise<void> {
    const { window, pending } = this.#options
    const full = () =>
      this.#waiting.size >= window ||
      this.pending + 1 > pending.entriesMax ||
      (this.pending > 0 && this.#pendingBytes > pending.bytesMax / 2)
    while (full() && !signal.aborted) await this.#change(signal)
  }

  /** The retained status: published now, if there is a connection, and at each new one. */
  setStatus(status: Record<string, unknown>): void {
    this.#status = status
    if (this.#client) this.#sendStatus(this.#client, 'online')
  }

  /**
   * Waits until everything is acknowledged, or the signal is aborted; what is left then is dropped.
   * @returns how many were dropped
   */
  async drain(signal: AbortSignal): Promise<number> {
    while (this.pending > 0 && !signal.aborted) await this.#change(signal)
    const left = [...this.#inFlight.values(), ...this.#waiting.values()]
    this.#inFlight.clear()
    this.#waiting.clear()
    this.#pendingBytes = 0
    for (const crop of left) this.#drop(crop, 'shutdown')
    return left.length
  }

  /** Says offline, disconnects. */
  async [Symbol.asyncDispose](): Promise<void> {
    const client = this.#client
    this.#client = undefined
    this.#leaving = true
    if (client?.connected) {
      // The newest of what is kept, also where an earlier one is still on its way.
      for (const [topic, { payload, isSent, leftOutUntilMs }] of this.#kept)
        if (this.#mayKeep && !isSent && performance.now() >= leftOutUntilMs)
          client.publish(topic, payload, { qos: 1, retain: true }, () => {})
      const said = new Promise<void>((resolve) => this.#sendStatus(client, 'offline', resolve))
      await Promise.race([said, after(FAREWELL_MS_MAX)])
      await Promise.race([client.endAsync(), after(FAREWELL_MS_MAX)])
    }
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { log } = this.#options
    const complain = throttled((count) =>
      log.warn(
        { code: 'BROKER_UNREACHABLE', count, pending: this.pending, trouble: this.#trouble },
        `${this.#name} cannot be reached: ${this.#trouble}. Trying again; crops wait meanwhile.`,
      ),
    )
    let fruitless = 0
    const connect = async (signal: AbortSignal) => {
      const end = await this.#connection(signal)
      const { connected, refused, why, sent, acknowledged } = end
      if (signal.aborted || this.#leaving) return { fault: undefined, wasGood: true }
      this.#trouble = why
      if (refused) {
        if (!this.#everConnected) throw refused
        log.error({ code: refused.code }, refused.message)
      } else if (!connected) complain()
      else log.warn({ pending: this.pending, why }, 'the connection to the broker ended')
      fruitless = connected && sent > 0 && acknowledged === 0 ? fruitless + 1 : 0
      if (fruitless >= FRUITLESS_CONNECTIONS_MAX) {
        this.#trouble = 'the broker ends the connection whenever a crop is published'
        log.error(
          { code: 'BROKER_REFUSED', connections: fruitless },
          'The broker ends the connection whenever a crop is published. See its log; check that this client may publish to its topic, that a queue there accepts it, and its payload limit.',
        )
      }
      return { fault: undefined, wasGood: acknowledged > 0 }
    }
    // Only what will not mend by itself is thrown, before the first connection.
    await keepConnected(this.#options.backoff, this.#stop.signal, connect, (fault) => {
      throw fault
    })
  }

  /** One connection, from connecting to its end. Never rejects. */
  #connection(signal: AbortSignal): Promise<ConnectionEnd> {
    const { options } = this
    return new Promise((resolve) => {
      const client = connect(this.#options.url, options)
      const { commands } = this.#options
      let unanswered = false
      if (commands)
        client.on('message', (topic, payload, { retain }) => {
          if (this.#leaving) return
          if (topic === this.#options.desiredTopic) this.onDesired?.(payload)
          else this.onCommand?.({ topic, payload, retained: retain })
        })
      client.on('packetsend', ({ cmd }) => {
        if (cmd === 'pingreq' && this.#client === client)
          this.#pings.push({ isOurs: this.#pingIsOurs, answered: this.#pingAnswered })
      })
      client.on('packetreceive', ({ cmd }) => {
        if (cmd === 'pingresp' && this.#client === client) this.#pings.shift()?.answered?.()
      })
      const counts = { connected: false, sent: 0, acknowledged: 0 }
      let why = this.#options.url.startsWith('mqtts:')
        ? `it ${CLOSED_AFTER_HANDSHAKE}`
        : 'the connection was closed'
      let refused: SightlineError | undefined
      let watch: NodeJS.Timeout | undefined
      const stop = () => client.end(true)
      signal.addEventListener('abort', stop, { once: true })
      client.on('error', (error) => {
        why = reasonOf(error)
        if (counts.connected) return
        const { code } = error as { code?: unknown }
        const refusal = typeof code === 'number' ? connackRefusal(4, code) : undefined
        const fault = tlsFault(error)
        if (refusal && !refusal.passes)
          refused = failure(
            'BROKER_REFUSED',
            `The broker ${this.#name} refuses this client: ${refusal.why}.`,
            error,
          )
        else if (fault?.lasting)
          refused = failure('BROKER_REFUSED', `${this.#name} ${fault.sentence}.`, error)
      })
      client.on('connect', () => {
        counts.connected = true
        why = 'the connection was closed'
        this.#everConnected = true
        this.#client = client
        this.#counts = counts
        this.#trouble = undefined
        // What follows a picture (PINGREQ) would wait for its acknowledgement by TCP.
        if (client.stream instanceof Socket) client.stream.setNoDelay(true)
        this.#options.log.info({ broker: this.#name, pending: this.pending }, 'connected to the broker')
        this.#sendStatus(client, 'online')
        if (this.#subscribes()) {
          unanswered = true
          this.#subscribe(client, () => {
            unanswered = false
            this.#unanswered = 0
          })
        } else if (!commands) this.#startKeeping()
        this.#send()
        watch = setInterval(() => {
          const oldest = this.#inFlight.values().next().value
          if (oldest && performance.now() - oldest.sentAtMs > ACKNOWLEDGE_MS_MAX) {
            why = `no acknowledgement from the broker for ${ACKNOWLEDGE_MS_MAX / 1000} s`
            client.end(true)
          }
        }, ACKNOWLEDGE_MS_MAX / 10).unref()
      })
      client.on('close', () => {
        clearInterval(watch)
        signal.removeEventListener('abort', stop)
        if (this.#client === client) this.#client = undefined
        this.#closeCommands(counts.connected, unanswered)
        this.#closeKept()
        this.#closeShown()
        // What was in flight goes back to the front: it has the lower numbers.
        this.#waiting = new Map([...this.#inFlight, ...this.#waiting])
        this.#inFlight.clear()
        for (const done of this.#saying) done('connection ended')
        this.#saying.clear()
        client.end(true)
        this.#notify()
        resolve({ ...counts, why, refused })
      })
    })
  }

  /**
   * A connection has ended. Our broker ends it over a topic that this user may not publish to, and crops must get through
   * all the same: what it ended over several times is left out for a while.
   */
  #closeKept(): void {
    const now = performance.now()
    for (const [topic, kept] of this.#kept) {
      if (kept.inFlight && now - kept.sentAtMs < REFUSED_WITHIN_MS) kept.endedOver += 1
      kept.isSent = false
      kept.inFlight = false
      if (kept.endedOver < FRUITLESS_CONNECTIONS_MAX) continue
      kept.endedOver = 0
      kept.leftOutUntilMs = now + REFUSED_REST_MS
      this.#leaveOut(`publishes to ${topic}, which is`, { topic })
    }
  }

  /** The same for live pictures, which nothing acknowledges: a connection that lives on has allowed them. */
  #closeShown(): void {
    const now = performance.now()
    const shownAtMs = this.#shownAtMs
    this.#shownAtMs = undefined
    this.#pings = []
    if (shownAtMs === undefined) return
    this.#shownInVain = now - shownAtMs < REFUSED_WITHIN_MS ? this.#shownInVain + 1 : 0
    if (this.#shownInVain < FRUITLESS_CONNECTIONS_MAX) return
    this.#shownInVain = 0
    this.#showsNoneUntilMs = now + REFUSED_REST_MS
    this.#leaveOut('sends live pictures, which are', {})
  }

  #leaveOut(what: string, fields: object): void {
    this.#options.log.error(
      { code: 'BROKER_REFUSED', ...fields },
      `${this.#name} ends the connection whenever this device ${what} left out for ${REFUSED_REST_MS / 60_000} minutes. Give its user the role "device" there, or that right.`,
    )
  }

  /** A connection has ended: what was said on it of commands. */
  #closeCommands(wasConnected: boolean, unanswered: boolean): void {
    this.#mayKeep = false
    if (!this.#options.commands || !wasConnected) return
    this.#closeDesired()
    // A connection that did not subscribe is over: the next one tries again.
    this.#unanswered = unanswered ? this.#unanswered + 1 : 0
    if (this.#unanswered === FRUITLESS_CONNECTIONS_MAX)
      this.#options.log.error(
        { code: 'BROKER_REFUSED', connections: this.#unanswered },
        `${this.#name} ends the connection whenever this device subscribes to its commands. No commands until the next connection ends; give its user that right, or set remote.enabled to false.`,
      )
  }

  #closeDesired(): void {
    const { desiredTopic: topic } = this.#options
    if (!this.#awaitsDesired) {
      if (this.#desiredUnanswered >= FRUITLESS_CONNECTIONS_MAX) this.#desiredUnanswered = 0
      return
    }
    this.#awaitsDesired = false
    this.#desiredUnanswered += 1
    if (this.#desiredUnanswered === FRUITLESS_CONNECTIONS_MAX)
      this.#options.log.error(
        { code: 'BROKER_REFUSED', connections: this.#desiredUnanswered },
        `${this.#name} ends the connection whenever this device subscribes to ${topic}. Its configuration cannot be changed from the console until the next connection ends; give its user that right, or set remote.desired.enabled to false.`,
      )
  }

  #counts = { connected: false, sent: 0, acknowledged: 0 }

  private get options(): IClientOptions {
    const { clientId, username, password, credentials, keepaliveMs, statusTopic } = this.#options
    return {
      clientId,
      username,
      password,
      ...credentials?.(),
      protocolVersion: 4,
      // A session is for commands that come while we are away. What we publish is in our own queue.
      clean: this.#options.commands === undefined,
      reconnectPeriod: 0,
      connectTimeout: CONNECT_MS_MAX,
      keepalive: Math.max(1, Math.round(keepaliveMs / 1000)),
      will: {
        topic: statusTopic,
        payload: Buffer.from(JSON.stringify({ v: 1, state: 'offline', why: 'connection lost' })),
        qos: 1,
        retain: true,
      },
    }
  }

  #send(): void {
    const client = this.#client
    if (!client?.connected) return
    const counts = this.#counts
    for (const [key, crop] of this.#waiting) {
      if (this.#inFlight.size >= this.#options.window) return
      this.#waiting.delete(key)
      const entry = { ...crop, sentAtMs: performance.now() }
      this.#inFlight.set(key, entry)
      counts.sent += 1
      client.publish(crop.topic, crop.payload, { qos: 1 }, (error) => {
        // An entry of an earlier connection is no longer the one in flight: its end is known already.
        if (error || this.#client !== client || this.#inFlight.get(key) !== entry) return
        this.#inFlight.delete(key)
        this.#pendingBytes -= crop.payload.length
        counts.acknowledged += 1
        this.#acknowledged += 1
        this.#options.events.acknowledged(crop.camera)
        this.#send()
        this.#notify()
      })
    }
  }

  #sendStatus(client: MqttClient, state: 'online' | 'offline', done?: () => void): void {
    const payload = JSON.stringify({ v: 1, state, ...this.#status })
    client.publish(this.#options.statusTopic, payload, { qos: 1, retain: true }, () => done?.())
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake)
        resolve()
      }
      signal.addEventListener('abort', wake, { once: true })
      this.#wake.push(wake)
    })
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}

interface ConnectionEnd {
  readonly connected: boolean
  readonly sent: number
  readonly acknowledged: number
  readonly why: string
  readonly refused: SightlineError | undefined
}

function reasonOf(error: Error): string {
  const fault = tlsFault(error)
  return fault ? `it ${fault.sentence}` : (connectionFault(error) ?? error.message)
}

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref())
