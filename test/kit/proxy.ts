import { connect, createServer, type Server, type Socket } from 'node:net'
import mqtt, { type Packet, type Parser } from 'mqtt-packet'

/**
 * A TCP link that can be made bad: for tests, and for benchmarks of a long link.
 *
 *     client  --->  [ up   | latency | up   ]  --->  server
 *             <---  [ down | latency | down ]  <---
 *
 * Latency is constant and costs no throughput: every chunk is stamped when it comes and goes on, in order, when its
 * time has come, as on a long cable. What is under way is bounded (`bytesMax` each way): beyond that nothing more is
 * read, and TCP's own flow control reaches the sender.
 *
 * Faults, to be combined: `cut` (closed, both sides hear of it), `reset` (RST), `stall` and `resume` (nothing moves,
 * nothing is lost), `halfOpen` (what is sent vanishes and nobody is told: a cable pulled behind a router), `refuse`
 * and `accept` (connection refused), `cutWhen` (in the middle of a conversation, at a packet).
 */
export interface ProxyOptions {
  /** Where it leads. */
  readonly host: string
  readonly port: number
  /** Each way, ms. A round trip takes twice as long. */
  readonly latencyMs?: number
  /** Under way at most, each way and connection, bytes. */
  readonly bytesMax?: number
  /** Reads MQTT 3.1.1 as it passes, for `cutWhen`. */
  readonly mqtt?: boolean
}

export type Direction = 'up' | 'down'
export type PacketTest = (packet: Packet, direction: Direction) => boolean

const BYTES_MAX = 64 * 1024 * 1024

interface State {
  stalled: boolean
  latencyMs: number
  readonly bytesMax: number
  /** True where the packet is the one at which the link is to break. */
  breaksAt: PacketTest | undefined
  break: () => void
}

export class TcpProxy implements AsyncDisposable {
  readonly #options: ProxyOptions
  readonly #state: State
  readonly #connections = new Set<Connection>()
  #server: Server | undefined
  #port = 0
  #opened = 0

  private constructor(options: ProxyOptions) {
    this.#options = options
    this.#state = {
      stalled: false,
      latencyMs: options.latencyMs ?? 0,
      bytesMax: options.bytesMax ?? BYTES_MAX,
      breaksAt: undefined,
      break: () => {},
    }
  }

  static async open(options: ProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options)
    await proxy.accept()
    return proxy
  }

  /** Where to connect instead: 127.0.0.1 and this. It stays the same across `refuse` and `accept`. */
  get port(): number {
    return this.#port
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.#port}`
  }

  /** Open now. */
  get connections(): number {
    return this.#connections.size
  }

  /** Ever opened. */
  get opened(): number {
    return this.#opened
  }

  /** Each way, ms; for what comes from now on. */
  set latencyMs(latencyMs: number) {
    this.#state.latencyMs = latencyMs
  }

  /** Takes connections (again). */
  async accept(): Promise<void> {
    if (this.#server) return
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => this.#connect(client))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', () => resolve())
    })
    const address = server.address()
    if (typeof address === 'object' && address) this.#port = address.port
  }

  /** New connections are refused (ECONNREFUSED); those that are open stay. */
  refuse(): void {
    this.#server?.close()
    this.#server = undefined
  }

  /** Closes every open connection; what is under way is lost. */
  cut(): void {
    for (const connection of this.#connections) connection.close(false)
  }

  /** The same with a TCP reset. */
  reset(): void {
    for (const connection of this.#connections) connection.close(true)
  }

  /** Nothing moves any more, in either direction, and nothing is lost; new connections open and stall as well. */
  stall(): void {
    this.#state.stalled = true
    for (const connection of this.#connections) connection.run()
  }

  resume(): void {
    this.#state.stalled = false
    for (const connection of this.#connections) connection.run()
  }

  /** What is sent on the connections that are open now vanishes, both ways, for good; they stay open. New ones work. */
  halfOpen(): void {
    for (const connection of this.#connections) connection.vanish()
  }

  /**
   * Cuts all connections when a packet arrives here that meets the test, before it (and what came in the same read)
   * goes on: PUBLISH went through and PUBACK does not come back, say. Once. Needs the option `mqtt`.
   * @returns when it has happened
   */
  cutWhen(test: PacketTest): Promise<void> {
    if (!this.#options.mqtt) throw new TypeError('TcpProxy.cutWhen: open the proxy with mqtt: true')
    return new Promise((resolve) => {
      this.#state.breaksAt = test
      this.#state.break = () => {
        this.#state.breaksAt = undefined
        this.cut()
        resolve()
      }
    })
  }

  #connect(client: Socket): void {
    const { host, port, mqtt: watched } = this.#options
    this.#opened += 1
    const server = connect({ host, port, noDelay: true, allowHalfOpen: true })
    const connection = new Connection(client, server, this.#state, watched ?? false)
    this.#connections.add(connection)
    connection.onClosed = () => this.#connections.delete(connection)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse()
    this.cut()
  }
}

export { TcpProxy as Proxy }

class Connection {
  readonly #client: Socket
  readonly #server: Socket
  readonly #lanes: readonly Lane[]
  #closed = false
  onClosed = () => {}

  constructor(client: Socket, server: Socket, state: State, watched: boolean) {
    this.#client = client
    this.#server = server
    this.#lanes = [
      new Lane('up', client, server, state, watched),
      new Lane('down', server, client, state, watched),
    ]
    for (const socket of [client, server]) {
      socket.on('error', () => {}) // 'close' follows
      // A side that is gone takes the other with it, once what it sent has arrived there.
      socket.on('close', (hadError) => {
        const left = this.#lanes.find((lane) => lane.from === socket)
        if (hadError || !left) this.close(hadError)
        else left.onEmpty(() => this.close(false))
      })
    }
  }

  run(): void {
    for (const lane of this.#lanes) lane.run()
  }

  vanish(): void {
    for (const lane of this.#lanes) lane.vanish()
  }

  close(reset: boolean): void {
    if (this.#closed) return
    this.#closed = true
    for (const lane of this.#lanes) lane.end()
    for (const socket of [this.#client, this.#server]) {
      if (reset) socket.resetAndDestroy()
      else socket.destroy()
    }
    this.onClosed()
  }
}

/** One direction of one connection. */
class Lane {
  readonly from: Socket
  readonly #to: Socket
  readonly #state: State
  readonly #parser: Parser | undefined
  /** Under way, oldest first; an end of stream is one of them. */
  readonly #underWay: { readonly chunk: Buffer | undefined; readonly dueMs: number }[] = []
  #bytes = 0
  #blocked = false
  #vanished = false
  #ended = false
  #timer: NodeJS.Timeout | undefined
  #whenEmpty: (() => void) | undefined
  /** A packet in the chunk just read is the one to break at. */
  #hit = false

  constructor(direction: Direction, from: Socket, to: Socket, state: State, watched: boolean) {
    this.from = from
    this.#to = to
    this.#state = state
    if (watched) {
      this.#parser = mqtt.parser({ protocolVersion: 4 })
      this.#parser.on('packet', (packet) => {
        if (this.#state.breaksAt?.(packet, direction)) this.#hit = true
      })
      this.#parser.on('error', () => {}) // not MQTT: it passes unread
    }
    from.on('data', (chunk) => this.#take(chunk))
    from.on('end', () => this.#take(undefined))
    to.on('drain', () => {
      this.#blocked = false
      this.run()
    })
  }

  #take(chunk: Buffer | undefined): void {
    if (this.#ended || this.#vanished) return
    if (chunk) this.#parser?.parse(chunk)
    if (this.#hit) {
      this.#hit = false
      this.#state.break()
      return
    }
    this.#bytes += chunk?.length ?? 0
    this.#underWay.push({ chunk, dueMs: performance.now() + this.#state.latencyMs })
    if (this.#bytes > this.#state.bytesMax) this.from.pause()
    this.run()
  }

  /** Passes on what is due. */
  run(): void {
    if (this.#state.stalled) this.from.pause()
    else if (this.#bytes <= this.#state.bytesMax) this.from.resume()
    clearTimeout(this.#timer)
    while (!this.#state.stalled && !this.#blocked && !this.#ended) {
      const next = this.#underWay[0]
      if (!next) {
        this.#whenEmpty?.()
        return
      }
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.run(), waitMs)
        return
      }
      this.#underWay.shift()
      this.#bytes -= next.chunk?.length ?? 0
      if (this.#bytes <= this.#state.bytesMax) this.from.resume()
      if (!next.chunk) this.#to.end()
      else if (!this.#to.write(next.chunk)) this.#blocked = true
    }
  }

  vanish(): void {
    this.#vanished = true
    this.#underWay.length = 0
    this.#bytes = 0
    this.from.resume()
  }

  onEmpty(then: () => void): void {
    this.#whenEmpty = then
    this.run()
  }

  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
  }
}
