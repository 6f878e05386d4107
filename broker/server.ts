import type { Socket } from 'node:net'
import {
  Aedes,
  type AedesPublishPacket,
  type AuthenticateError,
  type Client,
  type PublishPacket,
} from 'aedes'
import mqtt from 'mqtt-packet'
import { asFailure, type ErrorCode, failure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { shareLengths } from '../lib/mqtt/lengths.ts'
import type { Publish } from '../lib/mqtt/packets.ts'
import { overShare } from '../store/queue.ts'
import { encodeNotice, isFinal, isRefusalsTopic } from '../wire/refusals.ts'
import { statusTopic } from '../wire/topics.ts'
import type { Access } from './access.ts'
import type { ClientIds } from './client-ids.ts'
import { Connection } from './connection.ts'
import type { Custody, Origin } from './custody.ts'
import { Delivery } from './delivery.ts'
import { type Listener, type ListenerLimits, Listeners, readingFrom } from './listeners.ts'
import { LiveReaders } from './live-readers.ts'
import { type MqttPacket, NO_SUBSCRIPTION, type Persistence } from './persistence.ts'
import { isTopicFilter, type Session, type Sessions, type Subscription } from './sessions.ts'
import { isText } from './text.ts'
import { certificateNameOf } from './tls.ts'
import { FROM_SOMEWHERE, isBrokerId, markTopic, NOWHERE, readMark, type Via } from './via.ts'

export interface ServerLimits extends ListenerLimits {
  /** Of one connection; what comes faster is read later. */
  readonly packetsPerSecondMax: number
  readonly bytesPerSecondMax: number
  /** Persistent sessions that nobody declared. */
  readonly sessionsMax: number
  readonly subscriptionsPerSessionMax: number
  readonly packetBytesMax: number
  readonly clientIdBytesMax: number
  readonly topicBytesMax: number
  /** What may wait in a reader's socket before it counts as too slow, bytes. */
  readonly slowReaderBytesMax: number
}

export interface BrokerEvents {
  readonly refused: (code: string) => void
  /** A live QoS 0 message that a slow reader did not get. */
  readonly skipped: () => void
  /** A message that has been here before: brokers stand in a circle. */
  readonly cameBack: () => void
}

export interface ServerOptions {
  readonly listeners: readonly Listener[]
  readonly access: Access
  readonly custody: Custody
  readonly persistence: Persistence
  readonly sessions: Sessions
  readonly clientIds: ClientIds
  /** Of this broker, to others (via.ts). */
  readonly brokerId: string
  readonly topicPrefix: string
  readonly limits: ServerLimits
  readonly log: Log
  readonly events: BrokerEvents
}

/** Agents call themselves `sightline-device-<site>-<device>`. */
const DEVICE_CLIENT_ID_PREFIX = 'sightline-device-'
/** Where a message goes that has to pass through aedes and must not arrive: nobody may subscribe to it. */
const VOID_TOPIC = '$sightline/void'

/** How much a connection may have accepted and not yet on disk: so much shares one transaction. */
const UNACKNOWLEDGED_BYTES_MAX = 4 * 1024 * 1024
/** Of all clients and sessions together: 150 MB, at 3 KB for each (measured). */
const SUBSCRIPTIONS_MAX = 50_000
/** Retained messages above QoS 0 that a persistent session was sent and has not acknowledged. */
const RETAINED_IN_FLIGHT_MAX = 30_000
/** Identifier rejected [MQTT-3.1.3-8, -9], server unavailable; what is malformed gets no answer. */
const CONNACK_CODES: Partial<Record<ErrorCode, number>> = {
  NAME_INVALID: 2,
  NAME_TAKEN: 2,
  NOT_ALLOWED: 5,
  TOO_MANY: 3,
}
type ConnackCode = AuthenticateError['returnCode']
/** aedes ends the client with such an error, and sends CONNACK with its code. */
const turnedAway = (message: string, returnCode: ConnackCode) =>
  Object.assign(new Error(message), { returnCode }) as AuthenticateError
const WILL_GRACE_MS = 3000

/** aedes' own, private; test/broker/server.test.ts holds what is done with them. */
interface LiveClient {
  readonly subscriptions: Readonly<Record<string, { qos: number }>>
  readonly deliver0: (packet: AedesPublishPacket, done: () => void) => void
}

/** aedes and its listeners. Errors at start: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID. */
export class BrokerServer implements AsyncDisposable {
  readonly #options: ServerOptions
  readonly #aedes: Aedes
  #listeners: Listeners | undefined
  readonly #connections = new Map<Socket, Connection>()
  readonly #live = new LiveReaders()
  readonly #userOf = new WeakMap<Client, string>()
  /** Topics of wills that go out although their user has no rights any more. */
  readonly #lastWords = new WeakMap<Client, string>()
  /** Bridges that asked to be told of refusals, and where (refusals.ts). */
  readonly #refusalsTopics = new WeakMap<Client, string>()
  /** Bridges of brokers of another kind, which say so in CONNECT. */
  readonly #foreignBridges = new WeakSet<Client>()
  /** Payloads of what was published to be retained, while aedes has them in hand: it takes that off all copies. */
  readonly #retained = new WeakSet<object>()
  /** What each client is subscribed to, or was allowed to just now: all of a packet's are judged before one is stored. */
  readonly #filters = new WeakMap<Client, Set<string>>()
  #willSweep: NodeJS.Timeout | undefined

  private constructor(options: ServerOptions) {
    this.#options = options
    const { access, log, events, sessions } = options
    const refusedConnections = throttled((count) =>
      log.warn(
        { count },
        'refused connections: wrong or missing user name or password, or a certificate of an unknown user',
      ),
    )
    const busy = throttled((count) =>
      log.warn(
        { count },
        'login rate limit reached: too many logins at once, or too many failures from an address',
      ),
    )
    this.#aedes = new Aedes({
      // The id stays random for each start: with a fixed one, aedes would never publish the wills of the last run.
      persistence: options.persistence as never,
      queueLimit: 1000,
      // Our own guard against slow readers replaces aedes' wait for drain.
      drainTimeout: 0,
      connectTimeout: options.limits.connectMsMax,
      preConnect: (client, packet, done) => {
        const fault = this.#checkConnect(packet)
        if (!fault) {
          if ((packet as { bridgeMode?: boolean }).bridgeMode) this.#foreignBridges.add(client)
          done(null, true)
          return
        }
        this.#warn(fault.code, { clientId: packet.clientId, code: fault.code }, fault.message)
        // aedes would close without a word.
        const returnCode = CONNACK_CODES[fault.code]
        if (returnCode !== undefined)
          mqtt.writeToStream({ cmd: 'connack', returnCode, sessionPresent: false }, client.conn)
        setImmediate(() => done(fault, false))
      },
      authenticate: async (client, username, password, done) => {
        const name = username === undefined || username === null ? undefined : String(username)
        const answer = await access.authenticate({
          username: name,
          password: password as Buffer | undefined,
          certificateName: certificateNameOf(client.conn),
          address: (client.conn as Socket).remoteAddress ?? '',
        })
        if ('user' in answer) {
          const { user } = answer
          const fault = this.#entryFault(client, user)
          if (fault) {
            this.#warn(fault.code, { clientId: client.id, user, code: fault.code }, fault.message)
            events.refused(fault.code)
            done(turnedAway(fault.message, CONNACK_CODES[fault.code] as ConnackCode), false)
            return
          }
          if (user !== undefined) this.#enter(client, user)
          done(null, true)
          return
        }
        const later = answer.refused === 'busy'
        if (later) busy()
        else refusedConnections()
        events.refused(later ? 'BROKER_BUSY' : 'BROKER_REFUSED')
        done(
          later
            ? turnedAway('try again later', 3)
            : turnedAway('bad user name or password', name === undefined ? 5 : 4),
          false,
        )
      },
      authorizePublish: (client, packet, done) => this.#gate(client, packet, done),
      authorizeSubscribe: (client, subscription, done) => {
        if ((subscription as object) === NO_SUBSCRIPTION) {
          done(null, null)
          return
        }
        if (client?.clean && isRefusalsTopic(subscription.topic)) {
          queueMicrotask(() => done(null, subscription))
          this.#tellRefusals(client, subscription.topic)
          return
        }
        this.#takeMark(subscription as Subscription)
        if (!isTopicFilter(subscription.topic)) {
          done(new Error('malformed topic filter'))
          return
        }
        const refusal = client && this.#subscriptionFault(client, subscription.topic)
        if (refusal !== undefined) {
          this.#warn(
            refusal.code,
            { clientId: client?.id, filter: subscription.topic, code: refusal.code },
            refusal.message,
          )
          queueMicrotask(() => done(null, null)) // answered with 0x80 in SUBACK [MQTT-3.9.3]; the connection stays
          return
        }
        Object.assign(subscription, { allowed: true }) // what else the packet holds is not stored (persistence.ts)
        // Later: aedes stores all subscriptions of a packet with the first, and by then each must have been judged.
        queueMicrotask(() => done(null, subscription))
        if (client && subscription && !client.closed) this.#live.subscribed(client, subscription)
      },
      authorizeForward: (client, packet) => this.#forward(client, packet),
    })
    this.#aedes.on('client', (client) => {
      // Nobody waits for a slow reader: writes return at once, and #forward judges who is too slow.
      const waitForDrain = (done: (error: Error | null, client: Client) => void) =>
        setImmediate(done, null, client)
      Object.assign(client, { waitForDrain })
      if (client.clean) this.#deliverAtHighestQos(client)
    })
    this.#aedes.on('subscribe', (subscriptions, client) => {
      // In this very turn aedes asks for what is retained, for this client.
      options.persistence.paceRetained(client.conn)
      // aedes lowers a message to the QoS of the subscription that bears its very topic; #forward knows all of them.
      const made = (client as unknown as LiveClient).subscriptions
      if (client.clean) for (const { topic } of subscriptions) if (made[topic]) made[topic].qos = 2
    })
    this.#aedes.on('unsubscribe', (filters, client) => {
      this.#live.unsubscribed(client, filters)
      for (const filter of filters) this.#filters.get(client)?.delete(filter)
    })
    this.#aedes.on('clientReady', (client) => {
      if (client.closed) return // gone meanwhile
      this.#listeners?.letIn(client.conn as Socket)
      this.#connections.get(client.conn as Socket)?.ready(client)
      if (client.clean) return
      Delivery.start(client, sessions.ensure(client.id), sessions, {
        brokerId: options.brokerId,
        retainsAsPublished: this.#foreignBridges.has(client),
      })
    })
    this.#aedes.on('clientError', (client, error) =>
      log.debug({ clientId: client.id, error: error.message }, 'connection ended with an error'),
    )
    this.#aedes.on('connectionError', (_client, error) =>
      log.debug({ error: error.message }, 'connection ended before it was established'),
    )
  }

  static async open(options: ServerOptions): Promise<BrokerServer> {
    shareLengths()
    const server = new BrokerServer(options)
    await server.#aedes.listen()
    try {
      server.#listeners = await Listeners.open({
        ...options,
        refused: options.events.refused,
        connect: (accepted) => server.#connect(accepted),
      })
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
    server.#willSweep = setTimeout(() => void server.#publishOldWills(), WILL_GRACE_MS).unref()
    return server
  }

  /** Where it listens: the first listener's port first. */
  get ports(): number[] {
    return this.#listeners?.ports ?? []
  }

  get connections(): number {
    return this.#aedes.connectedClients
  }

  /**
   * Ends the connections of these users. A will goes out where it had the right to: nobody else would say that the
   * device is no longer there.
   */
  disconnect(users: ReadonlyMap<string, (topic: string) => boolean>): void {
    for (const socket of this.#connections.keys()) {
      const { client } = socket as { client?: Client & { readonly will?: { readonly topic: string } | null } }
      const hadRight = client && users.get(this.#userOf.get(client) ?? '')
      if (!hadRight) continue
      if (client.will && hadRight(client.will.topic)) this.#lastWords.set(client, client.will.topic)
      socket.destroy()
    }
  }

  #connect(accepted: Socket): Socket {
    const { limits, events, sessions } = this.#options
    const receive = (bytes: Buffer) => connection.receive(bytes)
    const socket = readingFrom(accepted, receive)
    const connection = new Connection({
      socket,
      packetBytesMax: limits.packetBytesMax,
      unacknowledgedBytesMax: UNACKNOWLEDGED_BYTES_MAX,
      packetsPerSecondMax: limits.packetsPerSecondMax,
      bytesPerSecondMax: limits.bytesPerSecondMax,
      handler: {
        accept: (client, message) => this.#accept(client, message),
        acknowledge: (client, messageId) =>
          !client.clean && (sessions.get(client.id)?.acknowledge(messageId) ?? false),
        canTell: (client, error) => this.#canTell(client, error),
        refused: (client, error, messageId) => {
          const fault = this.#refused(error)
          if (isFinal(fault)) this.#tell(client, fault, messageId)
        },
        tooLarge: (client, bytes, bytesMax) => {
          events.refused('PAYLOAD_TOO_LARGE')
          this.#warn(
            'PAYLOAD_TOO_LARGE',
            { clientId: client?.id, from: socket.remoteAddress, bytes, bytesMax, code: 'PAYLOAD_TOO_LARGE' },
            'refused a packet over the limit and closed its connection',
          )
        },
      },
    })
    this.#connections.set(socket, connection)
    socket.once('close', () => {
      this.#connections.delete(socket)
      const { client } = socket as { client?: Client }
      if (client) this.#live.gone(client)
    })
    this.#aedes.handle(socket)
    return socket
  }

  /** A message that only durable queues want goes past aedes, which would have nothing to do with it. */
  #accept(client: Client, { topic: name, payload, messageId }: Publish): Promise<void> | undefined {
    const { access, custody } = this.#options
    const { topic, via } = this.#unmarked(client, name)
    custody.checkTopic(topic)
    if (!access.mayPublish(this.#userOf.get(client), topic)) throw notAllowed(topic)
    if (this.#hasBeenHere(via)) return Promise.resolve()
    if (this.#live.want(topic)) return undefined
    return custody.accept(
      { cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false, messageId },
      this.#originOf(client, via),
    )
  }

  /** What a message is called, and where it has been: brokers of ours say so in front of its topic. Errors: TOPIC_INVALID */
  #unmarked(client: Client | null, topic: string): { readonly topic: string; readonly via: Via } {
    if (client === null) return { topic, via: NOWHERE }
    const marked = this.#refusalsTopics.has(client) ? readMark(topic) : undefined
    return marked ?? { topic, via: this.#isForeignBridge(client) ? FROM_SOMEWHERE : NOWHERE }
  }

  /** By its user's role; without users, by what it says. */
  #isBridge(client: Client): boolean {
    const user = this.#userOf.get(client)
    if (user !== undefined) return this.#options.access.isBridge(user)
    return this.#refusalsTopics.has(client) || this.#foreignBridges.has(client)
  }

  #isForeignBridge(client: Client): boolean {
    return !this.#refusalsTopics.has(client) && (this.#foreignBridges.has(client) || this.#isBridge(client))
  }

  #originOf(client: Client | null, via: Via): Origin {
    return { clientId: client?.id ?? '', handedOn: client !== null && this.#isBridge(client), via }
  }

  #hasBeenHere(via: Via): boolean {
    if (!via.includes(this.#options.brokerId)) return false
    this.#options.events.cameBack()
    return true
  }

  /** Another broker of ours subscribes, and wants to be told where a message has been (downlink.ts). */
  #takeMark(subscription: Subscription): void {
    let marked: ReturnType<typeof readMark>
    try {
      marked = readMark(subscription.topic)
    } catch {
      return // it stays a topic that nobody may subscribe to
    }
    const brokerId = marked?.via[0]
    if (marked && marked.via.length === 1 && brokerId !== undefined && isBrokerId(brokerId))
      Object.assign(subscription, { topic: marked.topic, brokerId })
  }

  /**
   * Overlapping subscriptions of a clean session bring one copy, by the one that aedes comes to first: one at QoS 0
   * leaves it to those that ask for more [MQTT-3.3.5-1].
   */
  #deliverAtHighestQos(client: Client): void {
    const { deliver0 } = client as unknown as LiveClient
    const deliverLast: LiveClient['deliver0'] = (packet, done) => {
      if (packet.qos > 0 && this.#live.granted(client, packet.topic) > 0) setImmediate(done)
      else deliver0(packet, done)
    }
    Object.assign(client, { deliver0: deliverLast })
  }

  #subscriptionFault(client: Client, filter: string): SightlineError | undefined {
    const { access, limits, sessions } = this.#options
    if (Buffer.byteLength(filter) > limits.topicBytesMax || !isText(filter))
      return failure('TOPIC_INVALID', 'Refused a subscription: its filter is too long, or not text.')
    if (!access.maySubscribe(this.#userOf.get(client), filter))
      return failure('NOT_ALLOWED', 'Refused a subscription: not allowed for this user.')
    let filters = this.#filters.get(client)
    if (!filters) {
      filters = new Set()
      this.#filters.set(client, filters)
    }
    if (filters.size >= limits.subscriptionsPerSessionMax && !filters.has(filter))
      return failure(
        'TOO_MANY',
        `Refused a subscription: the limit of ${limits.subscriptionsPerSessionMax} per client is reached.`,
      )
    const known = !client.clean && sessions.get(client.id)?.subscriptions.has(filter)
    const count = sessions.subscriptionCount + this.#live.filterCount
    const ofUser = (user: string) => this.#subscriptionsOf(user)
    if (!known && this.#isTaken(SUBSCRIPTIONS_MAX, count, this.#userOf.get(client), ofUser))
      return failure(
        'TOO_MANY',
        `Refused a subscription: all clients together have ${count}, and the limit is ${SUBSCRIPTIONS_MAX}. Unsubscribe from some.`,
      )
    filters.add(filter)
    return undefined
  }

  #checkConnect(packet: {
    clientId: string
    clean?: boolean
    protocolVersion?: number
    will?: { topic: string; qos?: number }
  }) {
    const { limits, sessions, custody } = this.#options
    if (packet.protocolVersion === 5) return undefined // aedes refuses it as such, with 1
    if (!isText(packet.clientId))
      return failure(
        'NAME_INVALID',
        `Invalid client id ${JSON.stringify(packet.clientId.slice(0, 100))}: it must be well-formed UTF-8 without control characters.`,
      )
    if (packet.clientId === '' && !packet.clean)
      return failure(
        'NAME_INVALID',
        'A client without an id asks for a persistent session, which it could not resume. Give it an id.',
      )
    if (packet.will) {
      // What is published when the connection is over goes the way of every message, and is judged while someone is there.
      if ((packet.will.qos ?? 0) > 2)
        return failure('TOPIC_INVALID', `Invalid QoS ${packet.will.qos} of the will [MQTT-3.1.2-14].`)
      try {
        custody.checkTopic(packet.will.topic)
      } catch (error) {
        return asFailure(error)
      }
    }
    if (Buffer.byteLength(packet.clientId) > limits.clientIdBytesMax)
      return failure(
        'NAME_INVALID',
        `A client id of ${Buffer.byteLength(packet.clientId)} bytes is over the limit of ${limits.clientIdBytesMax}.`,
      )
    if (packet.clean && sessions.get(packet.clientId)?.declared)
      return failure(
        'NAME_TAKEN',
        `Client "${packet.clientId}" has a declared queue here and asks for a clean session, which would discard it. Connect it with clean session off.`,
      )
    return undefined
  }

  /** Why a client may not come in, although its user may. */
  #entryFault(client: Client, user: string | undefined): SightlineError | undefined {
    const { access, sessions, clientIds, limits } = this.#options
    const { id } = client
    const holder = clientIds.holderOf(id)
    if (holder !== undefined && holder !== user)
      return failure(
        'NAME_TAKEN',
        `Refused a client: the client id "${id}" belongs to user "${holder}", who is connected with it, has a session, or used it within the last week. Give each client its own id, or remove that user.`,
      )
    if (user !== undefined && !this.#mayBear(user, id))
      return failure(
        'NAME_TAKEN',
        `Refused a client: "${id}" is the id of a device, and this user may not publish that device's status. Give the client another id.`,
      )
    // Who may not read what a session holds may not discard it either, which a clean session does [MQTT-3.1.2-6].
    const session = sessions.get(id)
    const foreign = session?.subscriptions.keys().find((filter) => !access.maySubscribe(user, filter))
    if (foreign !== undefined)
      return failure(
        'NOT_ALLOWED',
        `Refused a client: the session or queue "${id}" holds messages of ${foreign}, which this user may not read.`,
      )
    if (
      this.#isTaken(limits.connectionsMax, this.connections, user, (name) => this.#connectionsOf(name).length)
    )
      return failure(
        'TOO_MANY',
        `Refused a client: ${this.connections} of ${limits.connectionsMax} connections are open, and this user has its share. Close some, or raise "limits.connectionsMax".`,
      )
    const ofUser = (name: string) => this.#sessionsOf(name).length
    if (!client.clean && !session && this.#isTaken(limits.sessionsMax, sessions.undeclared, user, ofUser))
      return failure(
        'TOO_MANY',
        `Client "${id}" asks for a persistent session, and there are ${sessions.undeclared} already. Connect clients that need none with clean session on, or raise "sessions.countMax".`,
      )
    return undefined
  }

  /** Client ids that agents have by default are for who may speak for that device. */
  #mayBear(user: string, clientId: string): boolean {
    const { access, topicPrefix } = this.#options
    if (!clientId.startsWith(DEVICE_CLIENT_ID_PREFIX)) return true
    const parts = clientId.slice(DEVICE_CLIENT_ID_PREFIX.length).split('-', 64)
    // Names may hold dashes too.
    return parts.some((_, at) => {
      const address = { site: parts.slice(0, at).join('-'), device: parts.slice(at).join('-') }
      return at > 0 && access.mayPublish(user, statusTopic(topicPrefix, address))
    })
  }

  #enter(client: Client, user: string): void {
    this.#userOf.set(client, user)
    const leave = this.#options.clientIds.take(client.id, user)
    if (client.conn.destroyed) leave()
    else client.conn.once('close', leave)
  }

  /**
   * Whether there is no room for one more of what users share as senders share a queue (store/store.ts).
   * @param ofUser how many of them a user has: only asked where one could have too many
   */
  #isTaken(
    countMax: number,
    count: number,
    user: string | undefined,
    ofUser: (user: string) => number,
  ): boolean {
    const free = { entries: countMax - count, bytes: Number.POSITIVE_INFINITY }
    const isOverShare = (entries: number) => overShare({ entries, bytes: 0 }, free)
    return free.entries <= 0 || (user !== undefined && isOverShare(count) && isOverShare(ofUser(user)))
  }

  #sessionsOf(user: string): Session[] {
    const { sessions, clientIds } = this.#options
    return [...sessions].filter((it) => !it.declared && clientIds.holderOf(it.clientId) === user)
  }

  #subscriptionsOf(user: string): number {
    let count = 0
    for (const { subscriptions } of this.#sessionsOf(user)) count += subscriptions.size
    for (const client of this.#connectionsOf(user))
      if (client.clean) count += this.#filters.get(client)?.size ?? 0
    return count
  }

  #connectionsOf(user: string): Client[] {
    return [...this.#connections.keys()]
      .map((socket) => (socket as { client?: Client }).client)
      .filter((client) => client !== undefined && this.#userOf.get(client) === user) as Client[]
  }

  /** Before aedes acknowledges: on disk, or not at all. */
  #gate(client: Client | null, packet: PublishPacket, done: (error?: Error | null) => void): void {
    const { custody } = this.#options
    // A will comes when its connection is over.
    const connection = client?.closed ? undefined : this.#connections.get(client?.conn as Socket)
    connection?.passedAedes()
    let written: Promise<void> | undefined
    try {
      const { topic, via } = this.#unmarked(client, packet.topic)
      packet.topic = topic
      custody.checkTopic(topic)
      this.#assertMayPublish(client, topic)
      if (this.#hasBeenHere(via)) Object.assign(packet, { topic: VOID_TOPIC, retain: false })
      else {
        this.#options.persistence.remember(packet.payload, via)
        this.#rememberRetained(packet as MqttPacket)
        written = custody.accept(packet as MqttPacket, this.#originOf(client, via))
      }
    } catch (error) {
      written = Promise.reject(error)
    }
    // Not before what aedes has acknowledged in this turn is written.
    const refuse = (error: unknown) => void setImmediate(() => this.#refuse(client, packet, error, done))
    if (!written) done(null)
    else if (connection && packet.qos > 0) {
      const messageId = packet.qos === 1 ? (packet.messageId as number) : 0
      connection.inTurn(written, messageId, packet.payload.length, () => done(null), refuse)
    } else written.then(() => done(null), refuse)
  }

  #rememberRetained({ payload, retain }: MqttPacket): void {
    if (retain && typeof payload !== 'string') this.#retained.add(payload)
  }

  #assertMayPublish(client: Client | null, topic: string): void {
    const isLastWord = client?.closed && this.#lastWords.get(client) === topic
    if (client && !isLastWord && !this.#options.access.mayPublish(this.#userOf.get(client), topic))
      throw notAllowed(topic)
  }

  /**
   * MQTT 3.1.1 knows no refusal of a message: the connection ends, and the sender keeps it. But a bridge that has asked is
   * told, and goes on; at QoS 0, where nobody keeps it, it is let go of.
   */
  #refuse(client: Client | null, packet: PublishPacket, error: unknown, done: (error?: Error) => void): void {
    const fault = this.#refused(error)
    const goesOn =
      client !== null &&
      !client.closed &&
      ((packet.qos === 1 && this.#canTell(client, fault)) || (packet.qos === 0 && this.#isBridge(client)))
    if (!goesOn) {
      done(fault)
      return
    }
    if (packet.qos === 1) this.#tell(client, fault, packet.messageId as number)
    // aedes acknowledges at QoS 1, and nothing at QoS 0.
    Object.assign(packet, { topic: VOID_TOPIC, qos: 0, retain: false })
    done()
  }

  #canTell(client: Client, error: unknown): boolean {
    return this.#refusalsTopics.has(client) && isFinal(asFailure(error))
  }

  #tellRefusals(client: Client, topic: string): void {
    this.#refusalsTopics.set(client, topic)
    // Before SUBACK, so that the bridge knows it before its first message.
    const { limits, brokerId } = this.#options
    this.#notice(client, encodeNotice({ v: 1, packetBytesMax: limits.packetBytesMax, brokerId }))
  }

  #tell(client: Client, { code, message }: SightlineError, messageId: number): void {
    this.#notice(client, encodeNotice({ v: 1, messageId, code, message }))
  }

  #notice(client: Client, payload: Buffer): void {
    const topic = this.#refusalsTopics.get(client)
    if (topic === undefined || client.conn.destroyed) return
    mqtt.writeToStream({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false }, client.conn)
  }

  #refused(error: unknown): SightlineError {
    const fault = asFailure(error)
    this.#options.events.refused(fault.code)
    this.#warn(`refusal ${fault.code}`, { code: fault.code }, fault.message, 'error')
    return fault
  }

  readonly #warnings = new Map<string, { fields: object; text: string; readonly event: () => void }>()

  /** A line a second for each kind of thing that clients do wrong, with the last that did. */
  #warn(kind: string, fields: object, text: string, level: 'warn' | 'error' = 'warn'): void {
    let warning = this.#warnings.get(kind)
    if (!warning) {
      const made = {
        fields,
        text,
        event: throttled((count) => this.#options.log[level]({ ...made.fields, count }, made.text)),
      }
      warning = made
      this.#warnings.set(kind, warning)
    }
    Object.assign(warning, { fields, text })
    warning.event()
  }

  /** What aedes itself may send to a client: QoS 0, retained messages, and live messages of clean sessions. */
  #forward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
    // Bridges of another kind expect it, so that they can retain it where they are.
    if (this.#foreignBridges.has(client) && this.#retained.has(packet.payload as Buffer))
      packet = { ...packet, retain: true }
    const brokerId = client.clean ? undefined : this.#options.sessions.get(client.id)?.brokerId
    if (brokerId === undefined) return this.#forwardAs(client, packet)
    const via = this.#options.persistence.viaOf(packet.payload)
    const forwarded = via.includes(brokerId) ? null : this.#forwardAs(client, packet)
    if (!forwarded) return null
    return { ...forwarded, topic: markTopic([...via, this.#options.brokerId], packet.topic) }
  }

  #forwardAs(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
    const { sessions, limits, events } = this.#options
    const slow = client.conn.writableLength > limits.slowReaderBytesMax
    if (packet.qos > 0 && client.clean) {
      const granted = this.#live.granted(client, packet.topic)
      if (granted < packet.qos) packet = { ...packet, qos: granted }
    }
    if (packet.qos > 0 && !client.clean) {
      const session = sessions.get(client.id)
      const granted = session && sessions.wanting(packet.topic).get(session)
      if (!session || !granted)
        packet = { ...packet, qos: 0 } // subscribed at QoS 0
      else if (packet.brokerId !== null)
        return null // from its queue
      else {
        // Retained, at SUBSCRIBE: from no queue.
        if (session.pump.lentIds >= RETAINED_IN_FLIGHT_MAX) {
          this.#warn(
            'retained',
            { clientId: client.id },
            'disconnected a reader that does not acknowledge retained messages',
          )
          client.conn.destroy()
          return null
        }
        const qos = Math.min(packet.qos, granted) as 1 | 2
        return { ...packet, qos, messageId: session.pump.lendId() }
      }
    }
    // What is retained goes as fast as its reader takes it (persistence.ts).
    if (!slow || (packet.retain && packet.brokerId === null)) return packet
    if (packet.qos === 0) {
      events.skipped()
      return null
    }
    this.#warn(
      'slow',
      { clientId: client.id, waitingBytes: client.conn.writableLength },
      'disconnected a reader that is too slow; a persistent session would lose nothing',
    )
    client.conn.destroy()
    return null
  }

  /**
   * A message that no client of this broker sent: it came over a bridge. Kept as any other, and passed on to who listens.
   * Errors: those of custody.
   */
  async deliver(packet: MqttPacket, origin: Origin): Promise<void> {
    const { custody, persistence } = this.#options
    custody.checkTopic(packet.topic)
    if (this.#hasBeenHere(origin.via)) return
    persistence.remember(packet.payload, origin.via)
    this.#rememberRetained(packet)
    await custody.accept(packet, origin)
    await new Promise<void>((resolve, reject) =>
      this.#aedes.publish(packet as never, (error) => (error ? reject(error) : resolve())),
    )
  }

  /** Wills that the last run left behind; a client that has come back meanwhile has replaced its own. */
  async #publishOldWills(): Promise<void> {
    const { persistence, log } = this.#options
    for await (const will of persistence.streamWill({
      [this.#aedes.id]: true,
    }) as AsyncIterable<MqttPacket>) {
      try {
        await this.deliver(will, { clientId: will.clientId ?? '', handedOn: false, via: NOWHERE })
        await persistence.delWill({ id: will.clientId ?? '' })
      } catch (error) {
        log.warn(
          { clientId: will.clientId, topic: will.topic, error: asFailure(error).message },
          'could not publish the will of a client',
        )
      }
    }
  }

  /** Stops listening, lets clients go. What was accepted is on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#willSweep)
    this.#listeners?.stop()
    await new Promise<void>((resolve) => this.#aedes.close(resolve))
    await this.#listeners?.[Symbol.asyncDispose]()
  }
}

const notAllowed = (topic: string) =>
  failure(
    'NOT_ALLOWED',
    `This user may not publish to ${topic}. Give it that right under "users", or correct the topic.`,
  )
