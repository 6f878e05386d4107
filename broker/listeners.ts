import { createServer, type Server, Socket, type SocketConstructorOpts } from 'node:net'
import { TLSSocket } from 'node:tls'
import { Admission, type AdmissionLimits, tcpOf } from '../lib/admission.ts'
import { listenFailure } from '../lib/http/server.ts'
import { type Log, throttled } from '../lib/log.ts'
import { READ_BUFFER } from '../lib/mqtt/packets.ts'
import type { ServerFiles } from '../lib/tls/certificates.ts'
import { createTlsServer, readingTls } from './tls.ts'

export interface Listener {
  readonly host: string
  readonly port: number
  readonly tls?: ServerFiles
}

export interface ListenerLimits extends AdmissionLimits {
  /** From the connection to its CONNECT, TLS included, ms. */
  readonly connectMsMax: number
}

export interface ListenersOptions {
  readonly listeners: readonly Listener[]
  readonly limits: ListenerLimits
  readonly log: Log
  /** A connection that was refused or let go: TOO_MANY, TLS, or TIMEOUT. */
  readonly refused: (code: string) => void
  /** A connection of a client, over TLS where there is TLS. @returns what it is read with (`readingFrom`) */
  readonly connect: (accepted: Socket) => Socket
}

const CLOSE_GRACE_MS = 500

/** Where a broker listens. Errors at start: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID. */
export class Listeners implements AsyncDisposable {
  readonly #options: ListenersOptions
  readonly #admission: Admission
  readonly #servers: Server[] = []
  /** By TCP connection: what it is read with, once TLS is through. */
  readonly #readers = new WeakMap<Socket, Socket>()
  /** And back. */
  readonly #tcp = new WeakMap<Socket, Socket>()
  readonly #late: (from: string | undefined) => void
  #closed: Promise<unknown> | undefined

  private constructor(options: ListenersOptions) {
    this.#options = options
    const { limits, log, refused } = options
    this.#admission = new Admission({ ...limits, where: 'limits', log, refused: () => refused('TOO_MANY') })
    this.#late = throttled<string | undefined>((count, from) =>
      log.warn(
        { code: 'TIMEOUT', count, from },
        `closed connections that did not send CONNECT within ${limits.connectMsMax / 1000} s`,
      ),
    )
  }

  static async open(options: ListenersOptions): Promise<Listeners> {
    const listeners = new Listeners(options)
    try {
      for (const [at, listener] of options.listeners.entries())
        listeners.#servers.push(await listeners.#listen(listener, `listeners.${at}.tls`))
    } catch (error) {
      await listeners[Symbol.asyncDispose]()
      throw error
    }
    return listeners
  }

  /** Where it listens: the first listener's port first. */
  get ports(): number[] {
    return this.#servers.map((server) => {
      const address = server.address()
      return typeof address === 'object' && address ? address.port : 0
    })
  }

  #listen(listener: Listener, where: string): Promise<Server> {
    const { promise, resolve, reject } = Promise.withResolvers<Server>()
    const { log, refused, limits } = this.#options
    const connect = (accepted: Socket) => this.#connect(accepted)
    const server = listener.tls
      ? createTlsServer({
          files: listener.tls,
          where,
          handshakeMsMax: limits.connectMsMax,
          log,
          refused: () => refused('TLS'),
          connect,
        })
      : createServer({ noDelay: true, pauseOnConnect: true }, connect)
    server.prependListener('connection', (tcp) => this.#expectConnect(tcp))
    this.#admission.guard(server)
    const failedToAccept = throttled((count) =>
      log.error(
        { count, port: listener.port },
        'could not accept a connection: out of file handles or memory',
      ),
    )
    server.on('error', (error) => {
      if (server.listening) failedToAccept()
      else reject(listenFailure(error, listener.host, listener.port, 'listeners'))
    })
    server.listen(listener.port, listener.host, () => resolve(server))
    return promise
  }

  #connect(accepted: Socket): void {
    const tcp = tcpOf(accepted)
    const reader = this.#options.connect(accepted)
    this.#readers.set(tcp, reader)
    this.#tcp.set(reader, tcp)
  }

  /** Its client has been let in. @param reader what `connect` has returned */
  letIn(reader: Socket): void {
    const tcp = this.#tcp.get(reader)
    if (tcp) this.#admission.letIn(tcp)
  }

  /** Its time runs from here, not from the end of the handshake, which has a limit of its own. */
  #expectConnect(tcp: Socket): void {
    const from = tcp.remoteAddress
    const timer = setTimeout(() => {
      const reader = this.#readers.get(tcp) as (Socket & { client?: MqttClient }) | undefined
      if (!reader?.client || reader.client.connecting || reader.client.connected) return
      this.#options.refused('TIMEOUT')
      this.#late(from)
      tcp.destroy()
    }, this.#options.limits.connectMsMax)
    tcp.once('close', () => clearTimeout(timer))
  }

  /** No new connections; those there are stay. */
  stop(): void {
    this.#closed ??= Promise.all(
      this.#servers.map((server) => new Promise((resolve) => server.close(resolve))),
    )
  }

  /** Clients that have been told to go may take a moment. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop()
    const timer = setTimeout(() => this.#admission[Symbol.dispose](), CLOSE_GRACE_MS)
    await this.#closed
    clearTimeout(timer)
  }
}

/** aedes' own, on the socket that it was given. */
interface MqttClient {
  /** Its CONNECT has come, and is being answered. */
  readonly connecting: boolean
  readonly connected: boolean
}

/** An accepted connection as a socket that gives what it reads to `receive`, and reads no further after a false. */
export function readingFrom(accepted: Socket, receive: (bytes: Buffer) => boolean): Socket {
  return accepted instanceof TLSSocket ? readingTls(accepted, receive) : readingInto(accepted, receive)
}

/**
 * An accepted connection as a socket that reads into READ_BUFFER. `onread` is for sockets that connect; a server's are
 * made without asking for options, so that theirs is taken over by another one. They close together.
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
  Object.assign(accepted, { _handle: null, server: null, _server: null })
  Object.assign(socket, { server, _server: server })
  accepted.once('close', () => socket.destroy())
  socket.once('close', () => accepted.destroy())
  return socket
}
