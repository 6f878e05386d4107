import { EventEmitter } from 'node:events'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import mqtt, {
  type IConnackPacket,
  type ISubackPacket,
  type Packet,
  type Parser,
  type QoS,
} from 'mqtt-packet'
import { connectionFault } from '../connection-faults.ts'
import { failure, type SightlineError } from '../errors.ts'
import { type ClientCredentials, TLS_MIN_VERSION } from '../tls/certificates.ts'
import { CLOSED_AFTER_HANDSHAKE, tlsFault } from '../tls/faults.ts'
import { connackRefusal } from './connack.ts'
import { withoutNumbers } from './lengths.ts'
import {
  carriesCrop,
  PacketReader,
  type PacketSink,
  PUBACK,
  PubackWriter,
  type Publish,
  publishHead,
  READ_BUFFER,
  readPuback,
  readPublish,
  writePublish,
} from './packets.ts'

withoutNumbers()

/**
 * One connection to an MQTT broker, from CONNECT to its close, over mqtt-packet (the codec of MQTT.js and aedes) and,
 * for what carries crops, packets.ts.
 *
 * It keeps no state of messages: the caller numbers what it publishes and acknowledges what it has received, when
 * it likes. That is what store-and-forward needs, and what MQTT.js does not offer: it acknowledges one message at
 * a time, and replays its own store one message at a time (docs/architecture.md has the measurements).
 *
 * A link that has closed stays closed: open another one. Nothing sent to an old connection can reach a new one.
 */

export interface LinkOptions {
  /** `mqtt://host:1883` or `mqtts://host:8883`. */
  readonly url: string
  readonly clientId: string
  /** MQTT 3.1.1 or 5. */
  readonly protocol: 4 | 5
  /** True: the session ends with the connection. False: the broker keeps it. */
  readonly clean: boolean
  /** How long the broker keeps the session, seconds (MQTT 5 only). */
  readonly sessionExpiryS?: number
  /** How many messages the broker may have out to us unacknowledged (MQTT 5; others send what they like). */
  readonly receiveMax?: number
  /** Asked of the broker (MQTT 5). What comes all the same is passed on, for its receiver to judge. */
  readonly packetBytesMax: number
  readonly keepaliveS: number
  readonly connectMsMax: number
  readonly username?: string
  readonly password?: string
  /** What this client shows of itself, and whom it trusts (the system's authorities where it names none). */
  readonly credentials?: () => ClientCredentials
}

export interface ReceivedPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  /** Above QoS 0. */
  readonly messageId?: number
}

export interface LinkEvents {
  publish: [packet: ReceivedPublish]
  /** Reason codes of 0x80 and above mean that the broker did not take it (MQTT 5). */
  puback: [messageId: number, reasonCode: number]
  /** Room in the socket again, after a `publish` that returned false. */
  drain: []
  /** Once, whatever ended it; `undefined` where this side closed it. */
  close: [fault: SightlineError | undefined]
}

export class MqttLink extends EventEmitter<LinkEvents> implements AsyncDisposable {
  readonly #socket: Socket
  readonly #options: LinkOptions
  readonly #parser: Parser
  readonly #reader: PacketReader
  readonly #pubacks: PubackWriter
  readonly #subscribing = new Map<number, PromiseWithResolvers<ISubackPacket>>()
  /** In the order asked: the broker answers in that order. */
  readonly #pinging: (() => void)[] = []
  #keepalive: NodeJS.Timeout | undefined
  /** By a clock that nobody sets, like all times here. */
  #lastReceivedMs = performance.now()
  #lastSentMs = performance.now()
  #closed = false
  #fault: SightlineError | undefined
  #connack: IConnackPacket | undefined
  /** What came with CONNACK; undefined where nothing is held back. */
  #held: (() => void)[] | undefined
  #subscribeId = 0
  /** Of the message that goes out in slices: what is still to be written. */
  #slices: Buffer[] | undefined
  /** Packets that wait until all of it is written. */
  #behind: Packet[] = []
  /** The TLS handshake is over, and nothing has come after it. */
  #handshakenOnly = false

  private constructor(socket: Socket, options: LinkOptions) {
    super()
    this.#socket = socket
    this.#options = options
    this.#parser = mqtt.parser({ protocolVersion: options.protocol })
    this.#reader = new PacketReader(PACKET_BYTES_MAX)
    this.#pubacks = new PubackWriter(socket)
  }

  /**
   * Connects and waits for CONNACK.
   * Errors: BROKER_UNREACHABLE (try again later), BROKER_REFUSED (the configuration must change), BROKER_PROTOCOL.
   */
  static async open(options: LinkOptions, signal?: AbortSignal): Promise<MqttLink> {
    signal?.throwIfAborted()
    const url = parseBrokerUrl(options.url)
    let link: MqttLink | undefined
    const onread = {
      buffer: READ_BUFFER,
      callback: (bytes: number, buffer: Uint8Array) => {
        if (link) link.#onBytes(buffer.subarray(0, bytes) as Buffer)
        return true
      },
    }
    const socket = url.tls
      ? connectTls({
          ...{ onread }, // documented, and not in the types
          host: url.host,
          port: url.port,
          // A server name is a name [RFC 6066, 3]; the certificate is compared with the host in either case.
          servername: isIP(url.host) ? undefined : url.host,
          ...options.credentials?.(),
          minVersion: TLS_MIN_VERSION,
        })
      : connectTcp({ host: url.host, port: url.port, onread })
    socket.setNoDelay(true)
    link = new MqttLink(socket, options)
    const opened = link
    const connack = Promise.withResolvers<IConnackPacket>()
    const onAbort = () =>
      opened.#end(
        failure('BROKER_UNREACHABLE', `Connecting to ${options.url} was cancelled.`, signal?.reason),
      )
    signal?.addEventListener('abort', onAbort, { once: true })
    const timer = setTimeout(
      () =>
        opened.#end(
          failure(
            'BROKER_UNREACHABLE',
            `${options.url} did not answer within ${options.connectMsMax} ms. Is a broker running there, and is the network up?`,
          ),
        ),
      options.connectMsMax,
    )
    link.once('close', (fault) =>
      connack.reject(fault ?? failure('BROKER_UNREACHABLE', `${options.url} closed the connection.`)),
    )
    link.#listen(url.tls ? 'secureConnect' : 'connect', connack)
    try {
      link.#connack = await connack.promise
      return link
    } catch (error) {
      socket.destroy()
      throw error
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** True where the broker still had our session. */
  get sessionPresent(): boolean {
    return this.#connack?.sessionPresent ?? false
  }

  /** How many QoS 1 messages the broker lets us have unacknowledged (MQTT 5). */
  get sendMax(): number {
    return this.#connack?.properties?.receiveMaximum ?? 65_535
  }

  /** The largest packet the broker takes, bytes (MQTT 5). */
  get packetBytesMaxOfBroker(): number {
    return this.#connack?.properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY
  }

  get closed(): boolean {
    return this.#closed
  }

  /** At QoS 1; not while a message goes out in slices. @returns false when the socket is full: wait for `drain` before the next one */
  publish(message: Publish & { readonly retain?: boolean }): boolean {
    if (this.#closed || this.#slices) return false
    this.#lastSentMs = performance.now()
    return writePublish(this.#socket, message, this.#options.protocol)
  }

  /**
   * Begins a message at QoS 1 that the caller sends on in slices (`writeSlice`), at its own pace. Until the last of them is
   * written nothing else goes out on this link.
   */
  beginSlices(message: Publish & { readonly retain?: boolean }): void {
    if (this.#closed || this.#slices) return
    this.#slices = [publishHead(message, this.#options.protocol), message.payload]
  }

  /** Of the message that goes out in slices, bytes that are not written yet; 0 where there is none. */
  get slicesBytesLeft(): number {
    return this.#slices?.reduce((sum, { length }) => sum + length, 0) ?? 0
  }

  /** Whether everything that was written has left this process. */
  get isDrained(): boolean {
    return this.#socket.writableLength === 0
  }

  /** @param written called when the slice has left this process; never, where the link ends first */
  writeSlice(bytesMax: number, written: () => void): void {
    const slices = this.#slices
    if (this.#closed || !slices) return
    this.#lastSentMs = performance.now()
    const taken: Buffer[] = []
    for (let left = bytesMax, first = slices[0]; left > 0 && first; first = slices[0]) {
      taken.push(first.subarray(0, left))
      if (first.length > left) slices[0] = first.subarray(left)
      else slices.shift()
      left -= first.length
    }
    this.#socket.write(Buffer.concat(taken), (error) => {
      if (error || this.#closed) return
      // The far end takes what is sent: as good a sign of life as a word from it, for which a large message has no room.
      this.#lastReceivedMs = performance.now()
      written()
    })
    if (slices.length > 0) return
    this.#slices = undefined
    for (const packet of this.#behind.splice(0)) this.#send(packet)
  }

  /** At QoS 0. @returns false when the socket is full: wait for `drain` before the next one */
  publishLive(topic: string, payload: Buffer): boolean {
    return this.#send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false })
  }

  /** Resolves when the broker has answered, and so has read what was sent before; never, where the link ends first. */
  ping(): Promise<void> {
    return new Promise((resolve) => this.#ping(resolve))
  }

  #ping(answered: () => void): void {
    this.#pinging.push(answered)
    this.#send({ cmd: 'pingreq' })
  }

  /** Reads nothing more from the broker, until `resume`. What has been read already still comes. */
  pause(): void {
    if (!this.#closed) this.#socket.pause()
  }

  resume(): void {
    if (!this.#closed && this.#held === undefined && this.#socket.isPaused()) this.#socket.resume()
  }

  puback(messageId: number): void {
    if (this.#closed) return
    this.#lastSentMs = performance.now()
    if (this.#slices) this.#behind.push({ cmd: 'puback', messageId })
    else this.#pubacks.write(messageId)
  }

  /**
   * @returns the QoS that the broker granted. Errors: BROKER_REFUSED where it did not; BROKER_UNREACHABLE where it does
   * not answer within `connectMsMax`, which ends the link, or the link ends; the signal's reason where it is aborted
   */
  async subscribe(filter: string, qos: QoS, signal?: AbortSignal): Promise<number> {
    if (this.#closed)
      throw this.#fault ?? failure('BROKER_UNREACHABLE', `The connection to ${this.#options.url} was lost.`)
    signal?.throwIfAborted()
    this.#subscribeId = (this.#subscribeId % 65_535) + 1
    const answer = Promise.withResolvers<ISubackPacket>()
    const { url, clientId, connectMsMax } = this.#options
    const timer = setTimeout(
      () =>
        this.#end(
          failure('BROKER_UNREACHABLE', `${url} did not answer SUBSCRIBE within ${connectMsMax} ms.`),
        ),
      connectMsMax,
    )
    const onAbort = () => answer.reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#subscribing.set(this.#subscribeId, answer)
    this.#send({ cmd: 'subscribe', messageId: this.#subscribeId, subscriptions: [{ topic: filter, qos }] })
    let suback: ISubackPacket
    try {
      suback = await answer.promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const granted = Number(suback.granted[0])
    if (granted >= 0x80) {
      throw failure(
        'BROKER_REFUSED',
        `${url} denies client "${clientId}" the subscription to ${filter}. Give it that right in the broker's access list.`,
      )
    }
    return granted
  }

  /** Says goodbye (no will is published) and closes. What was not acknowledged stays with its keeper. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    // In the middle of a message there is no saying goodbye.
    if (this.#slices) {
      this.#end(undefined)
      return
    }
    this.#pubacks.flush()
    this.#send({ cmd: 'disconnect' })
    const closed = new Promise<void>((resolve) => this.once('close', () => resolve()))
    this.#socket.end()
    const timer = setTimeout(() => this.#socket.destroy(), GOODBYE_MS_MAX)
    await closed
    clearTimeout(timer)
  }

  /** Closes at once, as a cut cable would. */
  destroy(fault?: SightlineError): void {
    this.#end(fault)
  }

  #listen(connected: 'connect' | 'secureConnect', connack: PromiseWithResolvers<IConnackPacket>): void {
    const {
      url,
      clientId,
      protocol,
      clean,
      keepaliveS,
      username,
      password,
      packetBytesMax,
      receiveMax,
      sessionExpiryS,
    } = this.#options
    const socket = this.#socket
    socket.once(connected, () => {
      this.#handshakenOnly = connected === 'secureConnect'
      this.#send({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: protocol,
        clientId,
        clean,
        keepalive: keepaliveS,
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password: Buffer.from(password) }),
        ...(protocol === 5
          ? {
              properties: {
                sessionExpiryInterval: sessionExpiryS ?? 0,
                maximumPacketSize: packetBytesMax,
                ...(receiveMax === undefined ? {} : { receiveMaximum: receiveMax }),
              },
            }
          : {}),
      })
    })
    socket.on('drain', () => this.emit('drain'))
    socket.on('error', (error) => this.#end(this.#turnedAway(error) ?? unreachable(url, error)))
    socket.on('close', () =>
      this.#end(this.#turnedAway() ?? failure('BROKER_UNREACHABLE', `The connection to ${url} was lost.`)),
    )
    this.#parser.on('error', (error) =>
      this.#end(failure('BROKER_PROTOCOL', `${url} sent data that is not MQTT.`, error)),
    )
    this.#parser.on('packet', (packet) => {
      if (packet.cmd === 'connack') this.#onConnack(packet, connack)
      else this.#inTurn(() => this.#onPacket(packet))
    })
  }

  /** With TLS 1.3 a server judges our certificate after the handshake, and not every server says what it finds. */
  #turnedAway(error?: Error): SightlineError | undefined {
    if (!this.#handshakenOnly || tlsFault(error)) return undefined
    return failure('BROKER_UNREACHABLE', `${this.#options.url} ${CLOSED_AFTER_HANDSHAKE}.`, error)
  }

  #onBytes(bytes: Buffer): void {
    if (this.#closed) return
    this.#handshakenOnly = false
    this.#lastReceivedMs = performance.now()
    const tooLarge = this.#reader.read(bytes, this.#sink)
    if (tooLarge > 0)
      this.#end(failure('BROKER_PROTOCOL', `${this.#options.url} sent a packet with an invalid length.`))
  }

  readonly #sink: PacketSink = {
    wants: (first) => carriesCrop(first) || first === PUBACK,
    packet: (packet, bodyAt) => {
      if (!this.#onCrop(packet, bodyAt)) this.#parser.parse(packet)
    },
    rest: (bytes) => this.#parser.parse(Buffer.from(bytes)),
  }

  /** What carries crops, past the codec. @returns false where it is malformed */
  #onCrop(packet: Buffer, bodyAt: number): boolean {
    if (packet[0] === PUBACK) {
      const puback = readPuback(packet, bodyAt)
      if (puback) this.#inTurn(() => this.emit('puback', puback.messageId, puback.reasonCode))
      return puback !== undefined
    }
    const publish = readPublish(packet, bodyAt, this.#options.protocol)
    if (publish) this.#inTurn(() => this.emit('publish', { ...publish, qos: 1 }))
    return publish !== undefined
  }

  #inTurn(pass: () => void): void {
    if (this.#held) this.#held.push(pass)
    else if (!this.#closed) pass()
  }

  /** Passes on what came with CONNACK, now that whoever opened the link has had its turn to listen. */
  #start(): void {
    const held = this.#held ?? []
    this.#held = undefined
    this.#socket.resume() // before what comes with it may pause it
    for (const pass of held) if (!this.#closed) pass()
  }

  #onConnack(packet: IConnackPacket, connack: PromiseWithResolvers<IConnackPacket>): void {
    if (this.#closed) return
    const { url, protocol, username, clientId } = this.#options
    const code = (protocol === 5 ? packet.reasonCode : packet.returnCode) ?? 0
    if (code !== 0) {
      const { why, passes } = connackRefusal(protocol, code)
      const who = `client "${clientId}"${username === undefined ? '' : ` with user name "${username}"`}`
      this.#end(failure(passes ? 'BROKER_UNREACHABLE' : 'BROKER_REFUSED', `${url} refuses ${who}: ${why}.`))
      return
    }
    this.#startKeepalive(packet.properties?.serverKeepAlive ?? this.#options.keepaliveS)
    // A session's messages often come in the same read as CONNACK: nobody listens for them yet.
    this.#held = []
    this.#socket.pause()
    setImmediate(() => this.#start())
    connack.resolve(packet)
  }

  #onPacket(packet: Packet): void {
    if (this.#closed) return
    switch (packet.cmd) {
      case 'publish':
        this.emit('publish', {
          topic: packet.topic,
          payload: packet.payload as Buffer,
          qos: packet.qos,
          messageId: packet.messageId,
        })
        break
      case 'suback':
        this.#subscribing.get(packet.messageId as number)?.resolve(packet)
        this.#subscribing.delete(packet.messageId as number)
        break
      case 'disconnect':
        this.#end(
          failure(
            'BROKER_UNREACHABLE',
            `${this.#options.url} ended the connection (${disconnectReason(packet.reasonCode)}).`,
          ),
        )
        break
      case 'pingresp':
        this.#pinging.shift()?.()
        break
      default: // what a broker has no business to send
    }
  }

  #startKeepalive(keepaliveS: number): void {
    if (keepaliveS === 0) return
    const intervalMs = keepaliveS * 1000
    this.#keepalive = setInterval(() => {
      const now = performance.now()
      // In the middle of a message whose next slice its sender holds back, the far end has nothing to answer.
      if (this.#slices && this.isDrained) this.#lastReceivedMs = now
      if (now - this.#lastReceivedMs > intervalMs * 1.5) {
        this.#end(
          failure(
            'BROKER_UNREACHABLE',
            `${this.#options.url} sent no data for ${Math.round((now - this.#lastReceivedMs) / 1000)} s.`,
          ),
        )
      } else if (now - this.#lastSentMs >= intervalMs / 2 || now - this.#lastReceivedMs >= intervalMs / 2) {
        this.#ping(() => {}) // its arrival is what counts
      }
    }, intervalMs / 4).unref()
  }

  #send(packet: Packet): boolean {
    if (this.#closed) return false
    if (this.#slices) {
      this.#behind.push(packet)
      return false
    }
    this.#lastSentMs = performance.now()
    return mqtt.writeToStream(packet, this.#socket, { protocolVersion: this.#options.protocol })
  }

  #end(fault: SightlineError | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#fault = fault
    clearInterval(this.#keepalive)
    this.#socket.destroy()
    for (const waiting of this.#subscribing.values())
      waiting.reject(fault ?? failure('BROKER_UNREACHABLE', 'The connection was closed.'))
    this.#subscribing.clear()
    this.emit('close', this.#fault)
  }
}

const GOODBYE_MS_MAX = 1000
/** What four digits of a remaining length can say (MQTT 3.1.1, 2.2.3). */
const PACKET_BYTES_MAX = 268_435_455

const disconnectReason = (code: number | undefined) =>
  code === 0x8e
    ? 'another client took over this client id'
    : code === 0x95
      ? 'a packet was too large for it'
      : `code ${code ?? 0}`

/** Errors: CONFIG_INVALID. */
export function parseBrokerUrl(text: string): { host: string; port: number; tls: boolean } {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || (url.protocol !== 'mqtt:' && url.protocol !== 'mqtts:') || url.hostname === '') {
    throw failure(
      'CONFIG_INVALID',
      `Invalid broker address "${text.replace(/\/\/[^/]*@/, '//***@')}". Write mqtt://HOST:1883, or mqtts://HOST:8883 for TLS; a port is at most 65535.`,
    )
  }
  if (url.username !== '' || url.password !== '') {
    throw failure(
      'CONFIG_INVALID',
      `The broker address of ${url.hostname} contains a user name or password. Put them under "username" and "passwordFile".`,
    )
  }
  const tls = url.protocol === 'mqtts:'
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (tls ? 8883 : 1883) : Number(url.port),
    tls,
  }
}

function unreachable(url: string, error: Error): SightlineError {
  const fault = tlsFault(error)
  if (fault)
    return failure(
      fault.lasting ? 'BROKER_REFUSED' : 'BROKER_UNREACHABLE',
      `${url} ${fault.sentence}.`,
      error,
    )
  return failure(
    'BROKER_UNREACHABLE',
    `Cannot connect to ${url}: ${connectionFault(error) ?? error.message}. Check the address, that the broker is running, and the network.`,
    error,
  )
}
