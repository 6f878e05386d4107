import { createServer, type Server, Socket, type SocketConstructorOpts } from 'node:net'
import {
  Aedes,
  type AedesPublishPacket,
  type AuthenticateError,
  type Client,
  type PublishPacket,
} from 'aedes'
import mqtt from 'mqtt-packet'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { listenFailure } from '../lib/http.ts'
import { type Log, throttled } from '../lib/log.ts'
import { type Publish, READ_BUFFER } from '../lib/packets.ts'
import type { Access } from './access.ts'
import { Connection } from './connection.ts'
import type { Custody } from './custody.ts'
import { Delivery } from './delivery.ts'
import { LiveReaders } from './live-readers.ts'
import { type MqttPacket, NO_SUBSCRIPTION, type Persistence } from './persistence.ts'
import { isTopicFilter, type Sessions, UNSPEAKABLE } from './sessions.ts'

export interface Listener {
  readonly host: string
  readonly port: number
}

export interface ServerLimits {
  readonly connectionsMax: number
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
}

export interface ServerOptions {
  readonly listeners: readonly Listener[]
  readonly access: Access
  readonly custody: Custody
  readonly persistence: Persistence
  readonly sessions: Sessions
  readonly limits: ServerLimits
  readonly log: Log
  readonly events: BrokerEvents
  /** Client ids of our own bridges: nobody may connect under one of them. */
  readonly ownBridgeIds: ReadonlySet<string>
}

/** Other brokers' bridges are known by their client id. */
export const BRIDGE_CLIENT_ID_PREFIX = 'sightline-bridge-'

/** How much a connection may have accepted and not yet on disk: so much shares one transaction. */
const UNACKNOWLEDGED_BYTES_MAX = 4 * 1024 * 1024
const WILL_GRACE_MS = 3000
const CLOSE_GRACE_MS = 500

/** aedes' own, private; test/broker/server.test.ts holds what is done with them. */
interface LiveClient {
  readonly subscriptions: Readonly<Record<string, { qos: number }>>
  readonly deliver0: (packet: AedesPublishPacket, done: () => void) => void
}

/** aedes and its listeners. Errors at start: PORT_TAKEN, PORT_DENIED. */
export class BrokerServer implements AsyncDisposable {
  readonly #options: ServerOptions
  readonly #aedes: Aedes
  readonly #servers: Server[] = []
  readonly #connections = new Map<Socket, Connection>()
  readonly #live = new LiveReaders()
  readonly #userOf = new WeakMap<Client, string>()
  #willSweep: NodeJS.Timeout | undefined

  private constructor(options: ServerOptions) {
    this.#options = options
    const { access, log, events, sessions } = options
    const refusedConnections = throttled((count) =>
      log.warn({ count }, 'refused connections: wrong user name or password, or none'),
    )
    this.#aedes = new Aedes({
      // The id stays random for each start: with a fixed one, aedes would never publish the wills of the last run.
      persistence: options.persistence as never,
      queueLimit: 1000,
      // Our own guard against slow readers replaces aedes' wait for drain.
      drainTimeout: 0,
      preConnect: (client, packet, done) => {
        const fault = this.#checkConnect(packet)
        if (!fault) {
          done(null, true)
          return
        }
        log.warn({ clientId: packet.clientId, code: fault.code }, fault.message)
        // "identifier rejected" [MQTT-3.1.3-9]; aedes would close without a word.
        mqtt.writeToStream({ cmd: 'connack', returnCode: 2, sessionPresent: false }, client.conn)
        setImmediate(() => done(fault, false))
      },
      authenticate: (client, username, password, done) => {
        const user = username === undefined || username === null ? undefined : String(username)
        if (access.mayConnect(user, password as Buffer | undefined)) {
          const foreign = this.#foreignFilter(client, user)
          if (foreign !== undefined) {
            log.warn(
              { clientId: client.id, user, filter: foreign, code: 'NOT_ALLOWED' },
              'refused a client: the session or queue under its id holds messages that this user may not read',
            )
            events.refused('NOT_ALLOWED')
            done(
              Object.assign(new Error("not this user's session"), { returnCode: 5 }) as AuthenticateError,
              false,
            )
            return
          }
          if (user !== undefined) this.#userOf.set(client, user)
          done(null, true)
          return
        }
        refusedConnections()
        events.refused('BROKER_REFUSED')
        const error = new Error('bad user name or password') as AuthenticateError
        error.returnCode = user === undefined ? 5 : 4
        done(error, false)
      },
      authorizePublish: (client, packet, done) => this.#gate(client, packet, done),
      authorizeSubscribe: (client, subscription, done) => {
        if ((subscription as object) === NO_SUBSCRIPTION) {
          done(null, null)
          return
        }
        if (!isTopicFilter(subscription.topic)) {
          done(new Error('malformed topic filter'))
          return
        }
        if (client && !access.maySubscribe(this.#userOf.get(client), subscription.topic)) {
          log.warn(
            { clientId: client.id, filter: subscription.topic },
            'refused a subscription: this user has no right to it',
          )
          Object.assign(subscription, { refused: true })
          queueMicrotask(() => done(null, null)) // answered with 0x80 in SUBACK [MQTT-3.9.3]; the connection stays
          return
        }
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
      // aedes lowers a message to the QoS of the subscription that bears its very topic; #forward knows all of them.
      const made = (client as unknown as LiveClient).subscriptions
      if (client.clean) for (const { topic } of subscriptions) if (made[topic]) made[topic].qos = 2
    })
    this.#aedes.on('unsubscribe', (filters, client) => this.#live.unsubscribed(client, filters))
    this.#aedes.on('clientReady', (client) => {
      this.#connections.get(client.conn as Socket)?.ready(client)
      if (client.clean) return
      Delivery.start(client, sessions.ensure(client.id), sessions)
    })
    this.#aedes.on('clientError', (client, error) =>
      log.debug({ clientId: client.id, error: error.message }, 'connection ended with an error'),
    )
    this.#aedes.on('connectionError', (_client, error) =>
      log.debug({ error: error.message }, 'connection ended before it was established'),
    )
  }

  static async open(options: ServerOptions): Promise<BrokerServer> {
    const server = new BrokerServer(options)
    await server.#aedes.listen()
    try {
      for (const listener of options.listeners) server.#servers.push(await server.#listen(listener))
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
    server.#willSweep = setTimeout(() => void server.#publishOldWills(), WILL_GRACE_MS).unref()
    return server
  }

  /** Where it listens: the first listener's port first. */
  get ports(): number[] {
    return this.#servers.map((server) => {
      const address = server.address()
      return typeof address === 'object' && address ? address.port : 0
    })
  }

  get connections(): number {
    return this.#aedes.connectedClients
  }

  #listen(listener: Listener): Promise<Server> {
    const { promise, resolve, reject } = Promise.withResolvers<Server>()
    const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#connect(socket))
    server.maxConnections = this.#options.limits.connectionsMax
    const { log } = this.#options
    const failedToAccept = throttled((count) =>
      log.error({ count, port: listener.port }, 'could not take a connection: out of file handles or memory'),
    )
    server.on('error', (error) => {
      if (server.listening) failedToAccept()
      else reject(listenFailure(error, listener.host, listener.port, 'listeners'))
    })
    server.listen(listener.port, listener.host, () => resolve(server))
    return promise
  }

  #connect(accepted: Socket): void {
    const { limits, log, events, sessions } = this.#options
    const socket = readingInto(accepted, (bytes) => connection.receive(bytes))
    const connection = new Connection({
      socket,
      packetBytesMax: limits.packetBytesMax,
      unacknowledgedBytesMax: UNACKNOWLEDGED_BYTES_MAX,
      handler: {
        accept: (client, message) => this.#accept(client, message),
        acknowledge: (client, messageId) =>
          !client.clean && (sessions.get(client.id)?.acknowledge(messageId) ?? false),
        refused: (_client, error) => this.#refused(error),
        tooLarge: (client, bytes) => {
          events.refused('PAYLOAD_TOO_LARGE')
          log.warn(
            {
              clientId: client?.id,
              from: socket.remoteAddress,
              bytes,
              bytesMax: limits.packetBytesMax,
              code: 'PAYLOAD_TOO_LARGE',
            },
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
  }

  /** A message that only durable queues want goes past aedes, which would have nothing to do with it. */
  #accept(client: Client, { topic, payload, messageId }: Publish): Promise<void> | undefined {
    const { access, custody } = this.#options
    // aedes has its own word on a topic that is none.
    if (/[#+\0]/.test(topic) || this.#live.want(topic)) return undefined
    if (!access.mayPublish(this.#userOf.get(client), topic)) return undefined
    return custody.accept(
      { cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false, messageId },
      originOf(client),
    )
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

  #checkConnect(packet: { clientId: string; clean?: boolean; protocolVersion?: number }) {
    const { limits, ownBridgeIds, sessions } = this.#options
    if (packet.protocolVersion === 5) return undefined // aedes refuses it as such, with 1
    if ((packet.clientId === '' && !packet.clean) || UNSPEAKABLE.test(packet.clientId))
      return failure(
        'NAME_INVALID',
        'A client without a client id asks for a persistent session, or its id is no text. Give it an id.',
      )
    if (Buffer.byteLength(packet.clientId) > limits.clientIdBytesMax)
      return failure(
        'NAME_INVALID',
        `A client id of ${Buffer.byteLength(packet.clientId)} bytes is over the limit of ${limits.clientIdBytesMax}.`,
      )
    if (ownBridgeIds.has(packet.clientId))
      return failure(
        'NOT_ALLOWED',
        `This broker's own bridge "${packet.clientId}" connects back to it. Correct the bridge's "url": it must be another broker.`,
      )
    if (packet.clean && sessions.get(packet.clientId)?.declared)
      return failure(
        'NOT_ALLOWED',
        `Client "${packet.clientId}" has a declared queue here and asks for a clean session, which would discard it. Connect it with clean session off.`,
      )
    return undefined
  }

  /** A subscription of the session that the client would take up, and that its user has no right to. */
  #foreignFilter(client: Client, user: string | undefined): string | undefined {
    const { access, sessions } = this.#options
    if (client.clean) return undefined
    const filters = [...(sessions.get(client.id)?.subscriptions.keys() ?? [])]
    return filters.find((filter) => !access.maySubscribe(user, filter))
  }

  /** Before aedes acknowledges: on disk, or not at all. */
  #gate(client: Client | null, packet: PublishPacket, done: (error?: Error | null) => void): void {
    const { access, custody, events, log } = this.#options
    const clientId = client?.id ?? ''
    if (client && !access.mayPublish(this.#userOf.get(client), packet.topic)) {
      events.refused('NOT_ALLOWED')
      log.warn(
        { clientId, topic: packet.topic, code: 'NOT_ALLOWED' },
        'refused a message: this user may not publish to this topic',
      )
      done(new Error('not allowed to publish to this topic'))
      return
    }
    // A will comes when its connection is over.
    const connection = client?.closed ? undefined : this.#connections.get(client?.conn as Socket)
    connection?.passedAedes()
    // MQTT 3.1.1 knows no refusal of a message: the connection ends, and the sender keeps it.
    // Not before what aedes has acknowledged in this turn is written.
    const refuse = (error: unknown) => void setImmediate(() => done(this.#refused(error)))
    try {
      const written = custody.accept(packet as MqttPacket, originOf(client))
      if (!written) done(null)
      else if (connection) connection.inTurn(written, packet.payload.length, () => done(null), refuse)
      else written.then(() => done(null), refuse)
    } catch (error) {
      if (connection) connection.inTurn(Promise.reject(error), 0, () => {}, refuse)
      else refuse(error)
    }
  }

  #refused(error: unknown): SightlineError {
    const fault = asFailure(error)
    this.#options.events.refused(fault.code)
    this.#refusal(fault.code, fault.message)
    return fault
  }

  readonly #refusals = new Map<string, () => void>()

  /** A line a second for each kind of refusal. */
  #refusal(code: string, message: string): void {
    let warn = this.#refusals.get(code)
    if (!warn) {
      warn = throttled((count) => this.#options.log.error({ code, count }, message))
      this.#refusals.set(code, warn)
    }
    warn()
  }

  /** What aedes itself may send to a client: QoS 0, retained messages, and live messages of clean sessions. */
  #forward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
    const { sessions, limits, events, log } = this.#options
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
        const qos = Math.min(packet.qos, granted) as 1 | 2
        return { ...packet, qos, messageId: session.pump.lendId() }
      }
    }
    if (!slow) return packet
    if (packet.qos === 0) {
      events.skipped()
      return null
    }
    log.warn(
      { clientId: client.id, waitingBytes: client.conn.writableLength },
      'disconnected a reader that does not keep up; a persistent session would lose nothing',
    )
    client.conn.destroy()
    return null
  }

  /** Wills that the last run left behind; a client that has come back meanwhile has replaced its own. */
  async #publishOldWills(): Promise<void> {
    const { custody, persistence, log } = this.#options
    for await (const will of persistence.streamWill({
      [this.#aedes.id]: true,
    }) as AsyncIterable<MqttPacket>) {
      try {
        await custody.accept(will, { clientId: will.clientId ?? '', isBridge: false })
        await new Promise<void>((resolve, reject) =>
          this.#aedes.publish(will as never, (error) => (error ? reject(error) : resolve())),
        )
        await persistence.delWill({ id: will.clientId ?? '' })
      } catch (error) {
        log.warn(
          { clientId: will.clientId, topic: will.topic, error: asFailure(error).message },
          'could not publish the will that a client left',
        )
      }
    }
  }

  /** Stops listening, lets clients go. What was accepted is on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#willSweep)
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)))
    await new Promise<void>((resolve) => this.#aedes.close(resolve))
    const timer = setTimeout(() => {
      for (const socket of this.#connections.keys()) socket.destroy()
    }, CLOSE_GRACE_MS)
    await Promise.all(closed)
    clearTimeout(timer)
  }
}

/**
 * An accepted connection as a socket that reads into READ_BUFFER. `onread` is for sockets that connect; a server's are
 * made without asking for options, so that theirs is taken over by another one.
 */
function readingInto(accepted: Socket, receive: (bytes: Buffer) => boolean): Socket {
  const { _handle: handle, _server: server } = accepted as Socket & { _handle: unknown; _server: unknown }
  const socket = new Socket({
    handle,
    readable: true,
    writable: true,
    onread: {
      buffer: READ_BUFFER,
      callback: (bytes: number, buffer: Uint8Array) => receive(buffer.subarray(0, bytes) as Buffer),
    },
  } as SocketConstructorOpts)
  Object.assign(accepted, { _handle: null })
  Object.assign(socket, { server, _server: server })
  return socket
}

const originOf = (client: Client | null) => ({
  clientId: client?.id ?? '',
  isBridge: client?.id.startsWith(BRIDGE_CLIENT_ID_PREFIX) ?? false,
})
