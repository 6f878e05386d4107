import type { Server, Socket } from 'node:net'
import { networkOf } from './access/logins.ts'
import { type Log, throttled } from './log.ts'

/**
 * Who may have a connection. Each counts towards its address from the moment that TCP has it, before TLS, HTTP or MQTT
 * know of it, until it is closed; one too many is closed at once.
 */

export interface AdmissionLimits {
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
}

/**
 * The last tenth of the places is for addresses that have hardly any: whoever would keep all others out needs so many
 * addresses, not so many connections.
 */
const PLACES_FOR_FEW = 0.1
/** What "hardly any" is: a bridge has one up and one down. */
const FEW = 2
/** A client that is gone without a word is found out all the same. */
const TCP_KEEPALIVE_MS = 60_000

export interface AdmissionOptions extends AdmissionLimits {
  /** The part of the configuration that names the limits. */
  readonly where: string
  readonly log: Log | undefined
  readonly refused: () => void
}

export class Admission implements Disposable {
  readonly #options: AdmissionOptions
  readonly #open = new Set<Socket>()
  readonly #perNetwork = new Map<string, number>()
  readonly #warnOfAddress: (from: string) => void
  readonly #warnOfAll: (from: string) => void
  #closed = false

  constructor(options: AdmissionOptions) {
    this.#options = options
    const { where, log, connectionsMax, connectionsPerAddressMax } = options
    const warning = (message: string) =>
      throttled<string>((count, from) => log?.warn({ code: 'TOO_MANY', count, from }, message))
    this.#warnOfAddress = warning(
      `refused connections beyond the ${connectionsPerAddressMax} that one address may have. Raise "${where}.connectionsPerAddressMax" where many clients share one, behind a proxy or a router`,
    )
    this.#warnOfAll = warning(
      `refused connections: there may be ${connectionsMax}, and the last ones are for addresses that have fewer than ${FEW}. Raise "${where}.connectionsMax" where so many are in order`,
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

  #admits(socket: Socket): boolean {
    const { connectionsMax, connectionsPerAddressMax, refused } = this.#options
    const from = socket.remoteAddress ?? ''
    const network = networkOf(from)
    const count = this.#perNetwork.get(network) ?? 0
    const free = connectionsMax - this.#open.size
    const tooManyOfAddress = count >= connectionsPerAddressMax
    const tooMany = free <= 0 || (count >= FEW && free <= PLACES_FOR_FEW * connectionsMax)
    if (this.#closed || tooManyOfAddress || tooMany) {
      socket.destroy()
      if (this.#closed) return false
      refused()
      if (tooManyOfAddress) this.#warnOfAddress(from)
      else this.#warnOfAll(from)
      return false
    }
    this.#perNetwork.set(network, count + 1)
    this.#open.add(socket)
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS)
    socket.once('close', () => {
      this.#open.delete(socket)
      const left = (this.#perNetwork.get(network) ?? 1) - 1
      if (left > 0) this.#perNetwork.set(network, left)
      else this.#perNetwork.delete(network)
    })
    return true
  }

  /** Closes those there are, and each that still comes. */
  [Symbol.dispose](): void {
    this.#closed = true
    for (const socket of this.#open) socket.destroy()
  }
}
