import { connect, type Socket } from 'node:net'
import mqtt, { type IConnectPacket, type Packet } from 'mqtt-packet'
import type { Test } from './programs.ts'

/**
 * An MQTT client that does nothing by itself: it sends the packets it is given and keeps what comes. For promises
 * about message ids, DUP, acknowledgements withheld and sent twice, which client libraries keep to themselves.
 */
export class RawClient {
  readonly received: Packet[] = []
  /** Called at each packet, after it was added to `received`. */
  onPacket: ((packet: Packet) => void) | undefined
  closed = false
  sessionPresent = false
  readonly socket: Socket
  readonly #parser = mqtt.parser({ protocolVersion: 4 })
  readonly #wake = new Set<() => void>()

  private constructor(socket: Socket) {
    this.socket = socket
    this.#parser.on('packet', (packet) => {
      this.received.push(packet)
      this.onPacket?.(packet)
      this.#look()
    })
    socket.on('data', (chunk) => this.#parser.parse(chunk))
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      this.closed = true
      this.#look()
    })
  }

  /**
   * Connects; resolves when the broker has let it in and reads what it sends, or refused it, or closed. Our broker deals
   * with what comes right behind CONNACK in another way than with all that follows (`eager`).
   */
  static async open(
    t: Test,
    port: number,
    clientId: string,
    settings: Partial<IConnectPacket> & { readonly bridgeMode?: boolean } = {},
  ): Promise<RawClient> {
    return (await RawClient.eager(t, port, clientId, settings)).#letIn()
  }

  /** The same over a connection of another kind. */
  static async over(
    t: Test,
    socket: Socket,
    clientId: string,
    settings: Partial<IConnectPacket> = {},
  ): Promise<RawClient> {
    return (await RawClient.#connect(t, socket, clientId, settings)).#letIn()
  }

  /** Resolves with CONNACK, whatever it says, or when the broker closes instead. */
  static eager(
    t: Test,
    port: number,
    clientId: string,
    // bridgeMode: what brokers of other kinds say where they bridge; mqtt-packet's types do not know it
    settings: Partial<IConnectPacket> & { readonly bridgeMode?: boolean } = {},
  ): Promise<RawClient> {
    return RawClient.#connect(t, connect({ host: '127.0.0.1', port, noDelay: true }), clientId, settings)
  }

  static async #connect(
    t: Test,
    socket: Socket,
    clientId: string,
    settings: Partial<IConnectPacket> = {},
  ): Promise<RawClient> {
    const client = new RawClient(socket)
    t.after(() => void client.socket.destroy())
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: false,
      keepalive: 0,
      ...settings,
    })
    await client.#until(() => client.received.length > 0 || client.closed, 'CONNACK', 10_000)
    const connack = client.received.shift()
    client.sessionPresent = connack?.cmd === 'connack' && connack.sessionPresent
    client.returnCode = connack?.cmd === 'connack' ? (connack.returnCode ?? 0) : undefined
    return client
  }

  async #letIn(): Promise<this> {
    if (this.returnCode !== 0 || this.closed) return this
    this.send({ cmd: 'pingreq' })
    const isAnswer = ({ cmd }: Packet) => cmd === 'pingresp'
    await this.#until(() => this.received.some(isAnswer) || this.closed, 'PINGRESP', 10_000)
    const at = this.received.findIndex(isAnswer)
    if (at >= 0) this.received.splice(at, 1)
    return this
  }

  /** Of CONNACK; undefined where the broker closed without one. */
  returnCode: number | undefined

  send(packet: Packet): void {
    mqtt.writeToStream(packet, this.socket, { protocolVersion: 4 })
  }

  publish(topic: string, payload: string | Buffer, settings: Partial<mqtt.IPublishPacket> = {}): void {
    this.send({
      cmd: 'publish',
      topic,
      payload,
      qos: 1,
      messageId: 1,
      dup: false,
      retain: false,
      ...settings,
    })
  }

  /** @returns the QoS granted, or 0x80 */
  async subscribe(filter: string, qos: 0 | 1 | 2): Promise<number> {
    this.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos }] })
    const suback = await this.next((packet) => packet.cmd === 'suback')
    return Number((suback as mqtt.ISubackPacket).granted[0])
  }

  get publishes(): mqtt.IPublishPacket[] {
    return this.received.filter((packet) => packet.cmd === 'publish')
  }

  /** Takes the first packet that meets the test, waited for, out of `received`. */
  async next(test: (packet: Packet) => boolean, msMax = 5000): Promise<Packet> {
    await this.#until(() => this.received.some(test) || this.closed, 'the packet', msMax)
    const at = this.received.findIndex(test)
    if (at < 0) throw new Error('the broker closed the connection')
    return this.received.splice(at, 1)[0] as Packet
  }

  /** Resolves when so many PUBLISH packets have come. */
  async publishesReached(count: number, msMax = 10_000): Promise<mqtt.IPublishPacket[]> {
    await this.#until(() => this.publishes.length >= count, `${count} messages`, msMax)
    return this.publishes
  }

  async ended(msMax = 5000): Promise<void> {
    await this.#until(() => this.closed, 'the end of the connection', msMax)
  }

  /** As a cable that is pulled: no DISCONNECT. */
  async cut(): Promise<void> {
    this.socket.destroy()
    await this.ended()
  }

  async disconnect(): Promise<void> {
    this.send({ cmd: 'disconnect' })
    this.socket.end()
    await this.ended()
  }

  #look(): void {
    for (const wake of this.#wake) wake()
  }

  #until(test: () => boolean, what: string, msMax: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!test()) return
        clearTimeout(timer)
        this.#wake.delete(look)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#wake.delete(look)
        reject(
          new Error(
            `not within ${msMax} ms: ${what}; came: ${this.received.map(({ cmd }) => cmd).join(' ')}${this.closed ? ', and the end' : ''}`,
          ),
        )
      }, msMax)
      this.#wake.add(look)
      look()
    })
  }
}
