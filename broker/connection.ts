import type { Socket } from 'node:net'
import type { Client } from 'aedes'
import {
  carriesCrop,
  isPublish,
  PacketReader,
  type PacketSink,
  PUBACK,
  PubackWriter,
  type Publish,
  readPuback,
  readPublish,
} from '../lib/mqtt/packets.ts'

/**
 * What stands between a client's socket and aedes. aedes pulls its bytes with `read()`; here they are looked at first:
 *
 *     socket ─▶ PacketReader ─┬─ a crop, an acknowledgement of one ─▶ taken at once, PUBACK from here
 *                             └─ everything else ───────────────────▶ aedes, byte for byte
 *
 * What is taken here would only pass through aedes on its way to the gate: QoS 1, not retained, and wanted by nobody
 * but durable queues. That is nearly all of the traffic, and aedes' handling of it was most of what a crop cost.
 * The client sees no difference: messages are accepted in the order they came, and acknowledged in that order
 * [MQTT-4.6.0-2], whichever way they went.
 */

export interface ConnectionOptions {
  readonly socket: Socket
  readonly packetBytesMax: number
  /** Accepted and not yet acknowledged: the connection is read no further, bytes. */
  readonly unacknowledgedBytesMax: number
  /** What comes faster is read later. A burst of one second's worth is let through. */
  readonly packetsPerSecondMax: number
  readonly bytesPerSecondMax: number
  readonly handler: ConnectionHandler
}

export interface ConnectionHandler {
  /**
   * Takes custody of a message, or leaves it to aedes.
   * @returns when it is in custody; undefined where it is aedes' to deal with. Throws or rejects where it is refused
   */
  accept(client: Client, message: Publish): Promise<void> | undefined
  /** @returns false where it is none of a queue's messages */
  acknowledge(client: Client, messageId: number): boolean
  /** True where the client has asked to be told of such a refusal: it is then told, and the connection goes on. */
  canTell(client: Client, error: unknown): boolean
  /** In its turn, in place of the acknowledgement. Where it cannot be told, the connection is closed after that. */
  refused(client: Client, error: unknown, messageId: number): void
  tooLarge(client: Client | undefined, bytes: number, bytesMax: number): void
}

/** Read and not yet asked for by aedes: the connection is read no further, bytes. */
const FOR_AEDES_BYTES_MAX = 256 * 1024

/**
 * Packets that are no messages, and whatever comes before CONNECT: the largest is a CONNECT with a will. aedes gathers a
 * packet before it looks at it, and a megabyte of filters takes it longer than anyone can wait.
 */
const CONTROL_BYTES_MAX = 128 * 1024

/** Read of a client that has not been let in yet: the connection is read no further, bytes. */
const HANDSHAKE_BYTES_MAX = 1024 * 1024

/** What was acknowledged before a message is refused has this time to go out. */
const FAREWELL_MS_MAX = 1000

interface Turn {
  done: boolean
  readonly bytes: number
  /** At QoS 1. */
  readonly messageId: number
  /** Called in its turn; where there is none, the message was taken here and is acknowledged. */
  finish: (() => void) | undefined
}

/** aedes' own timer, which counts as alive only what went through it. Private; test/broker/connection.test.ts holds it. */
interface KeepaliveClient {
  readonly _keepaliveTimer?: NodeJS.Timeout | null
}

export class Connection implements PacketSink {
  readonly #options: ConnectionOptions
  readonly #reader: PacketReader
  readonly #pubacks: PubackWriter
  /** Messages that wait for their acknowledgement, in the order they came. */
  readonly #turns: Turn[] = []
  #unacknowledgedBytes = 0
  #client: Client | undefined
  /** That have begun. */
  #packets = 0
  /** Messages that aedes has and that have not been through the gate yet: what follows must not overtake them. */
  #withAedes = 0
  #forAedes: Buffer[] = []
  #forAedesBytes = 0
  #held = false
  #handshakeBytes = 0
  readonly #packetRate: Rate
  readonly #byteRate: Rate
  #rateTimer: NodeJS.Timeout | undefined
  /** A message was refused: none is taken any more, and the connection ends when those before it are acknowledged. */
  #ending = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { socket, packetBytesMax } = options
    const controlBytesMax = Math.min(packetBytesMax, CONTROL_BYTES_MAX)
    this.#reader = new PacketReader((first) =>
      isPublish(first) && this.#packets > 1 ? packetBytesMax : controlBytesMax,
    )
    this.#pubacks = new PubackWriter(socket)
    this.#packetRate = new Rate(options.packetsPerSecondMax)
    this.#byteRate = new Rate(options.bytesPerSecondMax)
    socket.once('close', () => clearTimeout(this.#rateTimer))
    const read = socket.read.bind(socket)
    socket.read = (size?: number) => {
      if (this.#forAedes.length === 0) return this.#held ? null : read(size) // which reads on, and tells of the end
      if (size === 0) return null // the end comes after what came before it
      setImmediate(() => socket.read(0))
      const bytes = Buffer.concat(this.#forAedes)
      this.#forAedes = []
      this.#forAedesBytes = 0
      this.#goOn()
      return bytes
    }
  }

  /** What the socket has read. @returns false where it is to read no more for now */
  receive(bytes: Buffer): boolean {
    const { socket, handler } = this.#options
    const tooLarge = this.#reader.read(bytes, this)
    if (tooLarge > 0) {
      const client = this.#client ?? (socket as { client?: Client }).client
      handler.tooLarge(client, tooLarge, this.#reader.bytesMax)
      socket.destroy()
      return false
    }
    if (this.#forAedes.length > 0) socket.emit('readable') // aedes comes for it when it is told to
    this.#byteRate.spend(bytes.length)
    if (!this.#client)
      this.#handshakeBytes += bytes.length
      // A large message on a slow line takes longer than a client may be silent.
    ;(this.#client as KeepaliveClient | undefined)?._keepaliveTimer?.refresh()
    const waitMs = Math.max(this.#packetRate.waitMs, this.#byteRate.waitMs)
    if (waitMs > 0) this.#readLater(waitMs)
    this.#held =
      waitMs > 0 ||
      this.#unacknowledgedBytes > this.#options.unacknowledgedBytesMax ||
      this.#forAedesBytes > FOR_AEDES_BYTES_MAX ||
      (!this.#client && this.#handshakeBytes > HANDSHAKE_BYTES_MAX)
    return !this.#held
  }

  #readLater(ms: number): void {
    this.#rateTimer ??= setTimeout(() => {
      this.#rateTimer = undefined
      this.#goOn()
    }, ms)
  }

  /** Reads on, where it was held and half of what held it is done with. */
  #goOn(): void {
    if (
      !this.#held ||
      this.#rateTimer !== undefined ||
      (!this.#client && this.#handshakeBytes > HANDSHAKE_BYTES_MAX) ||
      this.#unacknowledgedBytes > this.#options.unacknowledgedBytesMax / 2 ||
      this.#forAedesBytes > FOR_AEDES_BYTES_MAX / 2
    )
      return
    this.#held = false
    this.#options.socket.resume()
  }

  /** aedes has answered its CONNECT. */
  ready(client: Client): void {
    this.#client = client
    this.#goOn()
  }

  wants(first: number): boolean {
    this.#packets += 1
    this.#packetRate.spend(1)
    if (this.#client) {
      if (first === PUBACK) return true
      if (carriesCrop(first) && this.#withAedes === 0) return true
    }
    if (isPublish(first)) this.#withAedes += 1
    return false
  }

  rest(bytes: Buffer): void {
    this.#forAedes.push(Buffer.from(bytes))
    this.#forAedesBytes += bytes.length
  }

  packet(packet: Buffer, bodyAt: number): void {
    if (this.#options.socket.destroyed || this.#ending) return
    if (this.#take(packet, bodyAt)) {
      ;(this.#client as KeepaliveClient)._keepaliveTimer?.refresh()
      return
    }
    if (packet[0] !== PUBACK) this.#withAedes += 1
    this.#forAedes.push(packet)
    this.#forAedesBytes += packet.length
  }

  #take(packet: Buffer, bodyAt: number): boolean {
    const { handler } = this.#options
    const client = this.#client as Client
    if (packet[0] === PUBACK) {
      const puback = readPuback(packet, bodyAt)
      return puback !== undefined && handler.acknowledge(client, puback.messageId)
    }
    const message = readPublish(packet, bodyAt, 4)
    if (!message) return false
    const refuse = (error: unknown) => {
      handler.refused(client, error, message.messageId)
      if (handler.canTell(client, error)) return
      // MQTT 3.1.1 knows no refusal of a message: the connection ends, and the sender keeps it.
      const { socket } = this.#options
      socket.destroySoon()
      setTimeout(() => socket.destroy(), FAREWELL_MS_MAX).unref() // where the client does not read
    }
    let kept: Promise<void> | undefined
    try {
      kept = handler.accept(client, message)
    } catch (error) {
      this.#ending = !handler.canTell(client, error)
      kept = Promise.reject(error)
    }
    if (!kept) return false
    const turn = { done: false, bytes: packet.length, messageId: message.messageId, finish: undefined }
    this.#queueUp(kept, turn, refuse)
    return true
  }

  /** A message has come through aedes to the gate, and what follows may be taken here again. */
  passedAedes(): void {
    this.#withAedes = Math.max(0, this.#withAedes - 1)
  }

  /** Lets a message of aedes' on in its turn. @param messageId at QoS 1, else 0 */
  inTurn(
    kept: Promise<void>,
    messageId: number,
    bytes: number,
    finish: () => void,
    refuse: (error: unknown) => void,
  ): void {
    this.#queueUp(kept, { done: false, bytes, messageId, finish }, refuse)
  }

  #queueUp(kept: Promise<void>, turn: Turn, refuse: (error: unknown) => void): void {
    this.#turns.push(turn)
    this.#unacknowledgedBytes += turn.bytes
    const done = () => {
      turn.done = true
      if (this.#turns[0] === turn) this.#finishTurns()
    }
    kept.then(done, (error: unknown) => {
      const goesOn =
        turn.messageId > 0 && this.#options.handler.canTell(this.#client as Client, error) && !this.#ending
      if (!goesOn) this.#ending = true
      turn.finish = () => {
        if (!goesOn) this.#turns.length = 0 // whoever comes behind it sends again too
        refuse(error)
      }
      done()
    })
  }

  #finishTurns(): void {
    for (let turn = this.#turns[0]; turn?.done; turn = this.#turns[0]) {
      this.#turns.shift()
      this.#unacknowledgedBytes -= turn.bytes
      if (turn.finish) {
        this.#pubacks.flush()
        turn.finish()
      } else this.#pubacks.write(turn.messageId)
    }
    this.#goOn()
  }
}

/** So much a second; what was not used in one second is lost. */
class Rate {
  readonly #perSecondMax: number
  #left: number
  #atMs = performance.now()

  constructor(perSecondMax: number) {
    this.#perSecondMax = perSecondMax
    this.#left = perSecondMax
  }

  spend(amount: number): void {
    this.#left -= amount
  }

  /** Until the next may be spent. */
  get waitMs(): number {
    const now = performance.now()
    this.#left = Math.min(this.#perSecondMax, this.#left + ((now - this.#atMs) / 1000) * this.#perSecondMax)
    this.#atMs = now
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left / this.#perSecondMax) * 1000)
  }
}
