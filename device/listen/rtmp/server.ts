import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import { Admission as Connections, tcpOf } from '../../../lib/admission.ts'
import { listenFailure } from '../../../lib/http/server.ts'
import { type Log, throttled } from '../../../lib/log.ts'
import {
  keepRenewed,
  readServerFiles,
  type ServerFiles,
  TLS_HANDSHAKE_MS_MAX,
} from '../../../lib/tls/certificates.ts'
import {
  FAREWELL_TO_PUBLISHER_MS,
  PUBLISH_WITHIN_MS,
  PUBLISHER_GONE_MS,
  PUBLISHERS_LOOK_MS,
  UNREAD_BY_PUBLISHER_BYTES_MAX,
} from '../../limits.ts'
import type { Admission, Doorkeeper, Publication } from '../publication.ts'
import { PushedBytes } from '../pushed-bytes.ts'
import { type FileSink, RtmpMedia } from './media.ts'
import { RtmpFault, RtmpSession } from './session.ts'

export interface RtmpServerOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Given: RTMPS. */
  readonly tls?: Omit<ServerFiles, 'clientCaFile'>
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
  /** A publisher who sends nothing for so long is gone, ms. */
  readonly goneMs?: number
  readonly doorkeeper: Doorkeeper
  readonly log: Log
  /** A connection or a publisher was not let in: why, in a few words. */
  readonly refused: (why: string) => void
}

/**
 * Takes streams by RTMP, or by RTMPS where there is a certificate. Who has no key gets as far as showing none, with little
 * memory and little time. Errors: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID (a certificate).
 */
export class RtmpServer implements AsyncDisposable {
  readonly url: string
  readonly #server: Server
  readonly #opened: DisposableStack
  readonly #connections: Set<Connection>

  private constructor(server: Server, opened: DisposableStack, connections: Set<Connection>, url: string) {
    this.#server = server
    this.#opened = opened
    this.#connections = connections
    this.url = url
  }

  static async open(options: RtmpServerOptions): Promise<RtmpServer> {
    const { host, tls, log, connectionsMax, connectionsPerAddressMax, refused } = options
    const identity = tls ? readServerFiles(tls, 'listen.rtmp.tls') : undefined
    using opened = new DisposableStack()
    const places = opened.use(
      new Connections({
        connectionsMax,
        connectionsPerAddressMax,
        where: 'listen.rtmp',
        log,
        refused: () => refused('too many connections'),
      }),
    )
    const connections = new Set<Connection>()
    const complain = throttled<{ readonly from: string; readonly why: string }>((count, { from, why }) =>
      log.warn({ from, why, count }, 'closed an RTMP connection'),
    )
    const parts: ConnectionParts = {
      by: identity ? 'rtmps' : 'rtmp',
      goneMs: options.goneMs ?? PUBLISHER_GONE_MS,
      doorkeeper: options.doorkeeper,
      letIn: (socket) => places.letIn(tcpOf(socket)),
      wait: (socket) => places.wait(tcpOf(socket)),
      refused: (from, why, reason = why) => {
        refused(reason)
        complain({ from, why })
      },
    }
    const take = (socket: Socket) => {
      const connection = new Connection(socket, parts)
      connections.add(connection)
      socket.once('close', () => connections.delete(connection))
    }
    const server: Server = identity
      ? createTlsServer({ ...identity.context, handshakeTimeout: TLS_HANDSHAKE_MS_MAX }, take)
      : createServer(take)
    server.on('tlsClientError', (_error, socket) => socket.destroy())
    places.guard(server)
    server.listen(options.port, host)
    try {
      await once(server, 'listening')
    } catch (error) {
      throw listenFailure(error, host, options.port, 'listen.rtmp')
    }
    if (tls && identity) {
      const { validUntilMs } = identity
      keepRenewed(server as TlsServer, tls, { where: 'listen.rtmp.tls', log, validUntilMs })
    }
    const timer = setInterval(() => {
      for (const connection of connections) connection.look()
    }, PUBLISHERS_LOOK_MS).unref()
    opened.defer(() => clearInterval(timer))
    const { port } = server.address() as AddressInfo
    const name = host.includes(':') ? `[${host}]` : host
    return new RtmpServer(server, opened.move(), connections, `${parts.by}://${name}:${port}/live`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const connection of this.#connections) connection.end('The device is stopping.')
    this.#opened[Symbol.dispose]()
    await closed
  }
}

interface ConnectionParts {
  readonly by: 'rtmp' | 'rtmps'
  readonly goneMs: number
  readonly doorkeeper: Doorkeeper
  letIn(socket: Socket): void
  wait(socket: Socket): void
  /** @param reason for the metric: one of few; `why` where absent */
  refused(from: string, why: string, reason?: string): void
}

/** A socket and its session. */
class Connection {
  readonly #socket: Socket
  readonly #parts: ConnectionParts
  readonly #from: string
  readonly #session: RtmpSession
  /** Since when it has been a stranger. */
  #strangerMs = performance.now()
  #heardAtMs = performance.now()
  #bytes = 0
  /** Since it publishes. */
  #admission: Admission | undefined
  #media: RtmpMedia | undefined
  #sinceMs = 0
  #pushed: PushedBytes | undefined
  #leave: (() => void) | undefined

  constructor(socket: Socket, parts: ConnectionParts) {
    this.#socket = socket
    this.#parts = parts
    this.#from = (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
    this.#session = new RtmpSession({
      send: (bytes) => this.#send(bytes),
      end: () => this.#farewell(),
      admit: (key) => parts.doorkeeper.admit(key, parts.by, this.#from),
      published: (admission) => this.#published(admission),
      unpublished: () => this.#unpublished(),
      video: (payload, timestampMs) => this.#media?.video(payload, timestampMs, this.#heardAtMs),
      audio: (payload, timestampMs) => this.#media?.audio(payload, timestampMs, this.#heardAtMs),
      refused: (why) => parts.refused(this.#from, why),
    })
    socket.setNoDelay(true)
    socket.on('error', () => {}) // its closing is what counts
    socket.on('data', (data) => this.#push(data))
    socket.on('end', () => socket.end())
    socket.once('close', () => this.#unpublished())
  }

  #send(bytes: Buffer): void {
    if (this.#socket.destroyed) return
    this.#socket.write(bytes)
    if (this.#socket.writableLength <= UNREAD_BY_PUBLISHER_BYTES_MAX) return
    this.#parts.refused(this.#from, 'it does not read what it is told', 'protocol')
    this.#socket.destroy()
  }

  #push(data: Buffer): void {
    if (this.#socket.destroyed) return
    this.#heardAtMs = performance.now()
    this.#bytes += data.length
    try {
      this.#session.push(data)
    } catch (error) {
      if (!(error instanceof RtmpFault)) throw error
      this.#parts.refused(this.#from, error.message, 'protocol')
      this.#socket.destroy()
    }
  }

  #published(admission: Admission): void {
    this.#admission = admission
    this.#sinceMs = Date.now()
    this.#parts.letIn(this.#socket)
    this.#media = new RtmpMedia({
      begin: () => this.#begin(admission),
      unsupported: (codec) =>
        this.end(`${codec} is not supported. Publish H.264, or H.265 or AV1 by Enhanced RTMP.`),
    })
  }

  /** A file of its own for each codec and size: the camera reads one after the other. */
  #begin({ camera, publish }: Admission): FileSink {
    const pushed = new PushedBytes()
    const connection = this
    const ended = Promise.withResolvers<void>()
    const leave = () => {
      pushed.close()
      ended.resolve()
    }
    this.#pushed = pushed
    this.#leave = leave
    pushed.onRoom = () => this.#socket.resume()
    const publication: Publication = {
      camera,
      by: this.#parts.by,
      from: this.#from,
      sinceMs: this.#sinceMs,
      media: pushed,
      ended: ended.promise,
      get bytes() {
        return connection.#bytes
      },
      end: (why) => {
        leave()
        // One that has been replaced by the next of the same connection ends alone.
        if (connection.#pushed === pushed) connection.end(why)
      },
    }
    publish(publication)
    return {
      write: (bytes) => {
        pushed.push(bytes)
        // Read no further: TCP tells the publisher, who sends less.
        if (pushed.isFull) this.#socket.pause()
      },
      close: leave,
    }
  }

  #unpublished(): void {
    this.#media?.close()
    this.#leave?.()
    this.#media = undefined
    this.#pushed = undefined
    this.#leave = undefined
    this.#admission = undefined
    this.#strangerMs = performance.now()
    if (!this.#socket.destroyed) {
      this.#parts.wait(this.#socket)
      this.#socket.resume()
    }
  }

  /** Time goes by. */
  look(): void {
    const now = performance.now()
    if (this.#admission === undefined) {
      if (now - this.#strangerMs > PUBLISH_WITHIN_MS) this.#socket.destroy()
      return
    }
    if (this.#pushed?.isUntaken) this.end('The device does not keep up with this stream.')
    else if (!this.#socket.isPaused() && now - this.#heardAtMs > this.#parts.goneMs) {
      this.#parts.refused(this.#from, `nothing came for ${this.#parts.goneMs / 1000} s`, 'gone')
      this.#socket.destroy()
    }
  }

  end(why: string): void {
    this.#session.end(why)
  }

  /** What was said is sent, and read if the other still reads. */
  #farewell(): void {
    this.#unpublished()
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), FAREWELL_TO_PUBLISHER_MS).unref()
  }
}
