import type { Server, Socket } from 'node:net'
import { networkOf } from './access/logins.ts'
import { type Log, throttled } from './log.ts'

/**
 * Who may have a connection. Each counts towards its address from the moment that TCP has it, before TLS, HTTP or MQTT
 * know of it, until it is closed; one too many of an address is closed at once. Where all places are taken, one that has
 * not been let in (it has said nothing yet, or nothing more) makes way: the oldest of the address that has most of them.
 * So whoever has no credentials keeps nobody out, however many connections they have from however many addresses.
 */

export interface AdmissionLimits {
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
}

/** A client that is gone without a word is found out all the same. */
const TCP_KEEPALIVE_MS = 60_000

export interface AdmissionOptions extends AdmissionLimits {
  /** The part of the configuration that names the limits. */
  readonly where: string
  readonly log: Log | undefined
  /** One that came, or one that made way. */
  readonly refused: () => void
}

/** An address; of IPv6, all that one customer has. */
interface Network {
  readonly name: string
  readonly from: string
  open: number
  /** Not let in yet, the oldest first. */
  readonly waiting: Set<Socket>
}

export class Admission implements Disposable {
  readonly #options: AdmissionOptions
  readonly #open = new Map<Socket, Network>()
  readonly #networks = new Map<string, Network>()
  readonly #warnOfAddress: (from: string) => void
  readonly #warnOfAll: (from: string) => void
  #closed = false

  constructor(options: AdmissionOptions) {
    this.#options = options
    const { where, log, connectionsMax, connectionsPerAddressMax } = options
    const warning = (message: string) =>
      throttled<string>((count, from) => log?.warn({ code: 'TOO_MANY', count, from }, message))
    this.#warnOfAddress = warning(
      `refused connections over the limit of ${connectionsPerAddressMax} per address. Raise "${where}.connectionsPerAddressMax" if many clients share one, behind a proxy or a router`,
    )
    this.#warnOfAll = warning(
      `closed connections that were not logged in: the limit of ${connectionsMax} is reached, and addresses with most of them lose theirs first. Raise "${where}.connectionsMax" if so many are expected`,
    )
  }

  /** Before everything that a server of node:net, node:tls, node:http or node:https does with a connection. */
  guard(server: Server): void {
    const listeners = server.listeners('connection')
    server.removeAllListeners('connection')
    server.on('connection', (socket: Socket) => {
      if (this.#admits(socket)) for (const listener of listeners) listener.call(server, socket)
    })
  }

  /** A connection that is of use to somebody, and makes way for nobody. @param tcp the one below TLS (`tcpOf`) */
  letIn(tcp: Socket): void {
    this.#open.get(tcp)?.waiting.delete(tcp)
  }

  /** It is of use no more, or not at the moment. */
  wait(tcp: Socket): void {
    this.#open.get(tcp)?.waiting.add(tcp)
  }

  #admits(socket: Socket): boolean {
    const { connectionsMax, connectionsPerAddressMax, refused } = this.#options
    const from = socket.remoteAddress ?? ''
    const name = networkOf(from)
    const network = this.#networks.get(name) ?? { name, from, open: 0, waiting: new Set() }
    const tooManyOfAddress = network.open >= connectionsPerAddressMax
    const hasRoom = this.#open.size < connectionsMax || (!tooManyOfAddress && this.#makeRoomFor(network))
    if (this.#closed || tooManyOfAddress || !hasRoom) {
      socket.destroy()
      if (this.#closed) return false
      refused()
      if (tooManyOfAddress) this.#warnOfAddress(from)
      else this.#warnOfAll(from)
      return false
    }
    network.open += 1
    network.waiting.add(socket)
    this.#networks.set(name, network)
    this.#open.set(socket, network)
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS)
    socket.once('close', () => this.#leave(socket))
    return true
  }

  /** @returns whether one made way: never one of an address that has fewer that wait than the one who comes */
  #makeRoomFor(network: Network): boolean {
    let greediest = network
    for (const other of this.#networks.values())
      if (other.waiting.size > greediest.waiting.size) greediest = other
    const [oldest] = greediest === network ? [] : greediest.waiting
    if (!oldest) return false
    this.#leave(oldest)
    oldest.destroy()
    this.#options.refused()
    this.#warnOfAll(greediest.from)
    return true
  }

  #leave(socket: Socket): void {
    const network = this.#open.get(socket)
    if (!network) return
    this.#open.delete(socket)
    network.waiting.delete(socket)
    network.open -= 1
    if (network.open === 0) this.#networks.delete(network.name)
  }

  /** Closes those there are, and each that still comes. */
  [Symbol.dispose](): void {
    this.#closed = true
    for (const socket of this.#open.keys()) socket.destroy()
  }
}

/** The TCP connection below TLS, or the connection itself. */
export const tcpOf = (socket: Socket): Socket => (socket as Socket & { _parent?: Socket })._parent ?? socket
