import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { Admission as Connections, tcpOf } from '../../lib/admission.ts'
import { listenFailure } from '../../lib/http/server.ts'
import { type Log, throttled } from '../../lib/log.ts'
import {
  keepRenewed,
  readServerFiles,
  type ServerFiles,
  TLS_HANDSHAKE_MS_MAX,
} from '../../lib/tls/certificates.ts'
import { PICTURE_MS_MAX, PICTURES_BYTES_MAX, PICTURES_GONE_MS, PUBLISHERS_LOOK_MS } from '../limits.ts'
import type { Admission, Doorkeeper, Publication, PushedPictures, Refusal } from './publication.ts'

export interface PictureServerOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Given: HTTPS. */
  readonly tls?: Omit<ServerFiles, 'clientCaFile'>
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
  /** Bytes of one picture. */
  readonly pictureMax: number
  readonly doorkeeper: Doorkeeper
  readonly log: Log
  readonly refused: (why: string) => void
}

interface Answer {
  readonly status: number
  readonly code: string
  readonly message: string
}

const KINDS = { 'image/jpeg': [0xff, 0xd8, 0xff], 'image/png': [0x89, 0x50, 0x4e, 0x47] } as const

/**
 * Takes pictures by HTTP, for doorbells and scripts: each becomes a frame of the camera whose key comes with it.
 *
 *     POST or PUT /pictures, Authorization: Bearer KEY (or ?key=KEY), image/jpeg or image/png  ->  204
 *
 * Errors: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID (a certificate).
 */
export class PictureServer implements AsyncDisposable {
  readonly url: string
  readonly #server: Server
  readonly #opened: DisposableStack

  private constructor(server: Server, opened: DisposableStack, url: string) {
    this.#server = server
    this.#opened = opened
    this.url = url
  }

  static async open(options: PictureServerOptions): Promise<PictureServer> {
    const { host, tls, log, connectionsMax, connectionsPerAddressMax, refused } = options
    const identity = tls ? readServerFiles(tls, 'listen.http.tls') : undefined
    using opened = new DisposableStack()
    const places = opened.use(
      new Connections({
        connectionsMax,
        connectionsPerAddressMax,
        where: 'listen.http',
        log,
        refused: () => refused('too many connections'),
      }),
    )
    const desk = opened.use(new PictureDesk(options))
    const times = {
      headersTimeout: PICTURE_MS_MAX,
      requestTimeout: PICTURE_MS_MAX,
      connectionsCheckingInterval: PUBLISHERS_LOOK_MS,
      keepAliveTimeout: PICTURE_MS_MAX,
    }
    const server: Server = identity
      ? createTlsServer({ ...times, ...identity.context, handshakeTimeout: TLS_HANDSHAKE_MS_MAX })
      : createServer(times)
    places.guard(server)
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const isIn = () => places.letIn(tcpOf(request.socket))
      response.once('close', () => places.wait(tcpOf(request.socket)))
      void desk.take(request, response, isIn)
    })
    server.listen(options.port, host)
    try {
      await once(server, 'listening')
    } catch (error) {
      throw listenFailure(error, host, options.port, 'listen.http')
    }
    if (tls && identity) {
      const { validUntilMs } = identity
      keepRenewed(server as unknown as TlsServer, tls, { where: 'listen.http.tls', log, validUntilMs })
    }
    const { port } = server.address() as AddressInfo
    const name = host.includes(':') ? `[${host}]` : host
    return new PictureServer(
      server,
      opened.move(),
      `${identity ? 'https' : 'http'}://${name}:${port}/pictures`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#opened[Symbol.dispose]()
    this.#server.closeAllConnections()
    await closed
  }
}

/** What is done with requests; who sends pictures with one key is one publisher, until none has come for a while. */
class PictureDesk implements Disposable {
  readonly #options: PictureServerOptions
  readonly #publishers = new Map<string, PicturePublication>()
  readonly #timer: NodeJS.Timeout
  readonly #complain: (about: { readonly from: string; readonly why: string }) => void
  /** Of bodies that are being read. */
  #bytes = 0

  constructor(options: PictureServerOptions) {
    this.#options = options
    this.#complain = throttled((count, { from, why }) =>
      options.log.warn({ from, why, count }, 'refused a picture'),
    )
    this.#timer = setInterval(() => {
      for (const publisher of this.#publishers.values()) publisher.look()
    }, PUBLISHERS_LOOK_MS).unref()
  }

  async take(request: IncomingMessage, response: ServerResponse, isIn: () => void): Promise<void> {
    const from = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
    request.on('error', () => {}) // its closing is what counts
    response.on('error', () => {})
    const answer = await this.#judge(request, from, isIn).catch((): Answer => UNFINISHED)
    if (response.destroyed) return
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('cache-control', 'no-store')
    if (!answer) {
      response.writeHead(204).end()
      return
    }
    this.#options.refused(answer.code)
    this.#complain({ from, why: answer.message })
    const { status, ...problem } = answer
    response.writeHead(status, {
      'content-type': 'application/problem+json',
      connection: 'close', // what of the body is still to come, nobody reads
      ...(status === 401 && { 'www-authenticate': 'Bearer realm="Sightline"' }),
      ...(status === 405 && { allow: 'POST, PUT' }),
    })
    response.end(`${JSON.stringify({ title: problem.message, status, code: problem.code })}\n`)
  }

  /** @returns why not */
  async #judge(request: IncomingMessage, from: string, isIn: () => void): Promise<Answer | undefined> {
    const { doorkeeper, pictureMax } = this.#options
    const [path, query = ''] = (request.url ?? '').split('?', 2)
    if (path !== '/pictures')
      return { status: 404, code: 'NOT_FOUND', message: 'Send pictures to /pictures.' }
    if (request.method !== 'POST' && request.method !== 'PUT')
      return { status: 405, code: 'NOT_ALLOWED', message: 'Send pictures by POST or PUT.' }
    const key =
      /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ??
      new URLSearchParams(query).get('key')
    if (key === null)
      return {
        status: 401,
        code: 'NOT_SIGNED_IN',
        message: 'A stream key is needed: "Authorization: Bearer KEY".',
      }
    const known = this.#publishers.get(key)
    const found = known ?? doorkeeper.admit(key, 'http', from)
    if ('refusal' in found) return REFUSALS[found.refusal.is]
    isIn()
    const kind = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
    if (!Object.hasOwn(KINDS, kind))
      return {
        status: 415,
        code: 'SOURCE_UNREADABLE',
        message: 'Send image/jpeg or image/png, and say which as the content type.',
      }
    const tooLarge: Answer = {
      status: 413,
      code: 'PAYLOAD_TOO_LARGE',
      message: `A picture may have ${pictureMax} bytes ("listen.http.pictureMax").`,
    }
    if (Number(request.headers['content-length'] ?? 0) > pictureMax) return tooLarge
    const bytes = await this.#read(request, pictureMax)
    if (bytes === 'too large') return tooLarge
    if (bytes === 'busy')
      return { status: 503, code: 'TOO_MANY', message: 'Too many pictures at once. Send it again.' }
    const first = KINDS[kind as keyof typeof KINDS]
    if (!first.every((byte, at) => bytes[at] === byte))
      return { status: 415, code: 'SOURCE_UNREADABLE', message: `This is no ${kind}.` }
    return this.#publish(key, from, bytes)
  }

  async #read(request: IncomingMessage, bytesMax: number): Promise<Buffer | 'too large' | 'busy'> {
    const parts: Buffer[] = []
    let length = 0
    try {
      for await (const part of request as AsyncIterable<Buffer>) {
        length += part.length
        this.#bytes += part.length
        if (length > bytesMax) return 'too large'
        if (this.#bytes > PICTURES_BYTES_MAX) return 'busy'
        parts.push(part)
      }
      return Buffer.concat(parts)
    } finally {
      this.#bytes -= length
    }
  }

  #publish(key: string, from: string, bytes: Buffer): Answer | undefined {
    let publisher = this.#publishers.get(key)
    if (!publisher) {
      const admission = this.#options.doorkeeper.admit(key, 'http', from)
      if ('refusal' in admission) return REFUSALS[admission.refusal.is]
      const made = new PicturePublication(admission, from)
      this.#publishers.set(key, made)
      void made.ended.then(() => {
        if (this.#publishers.get(key) === made) this.#publishers.delete(key)
      })
      admission.publish(made)
      publisher = made
    }
    // It may have been ended by the one who was asked.
    if (publisher.isOver) return REFUSALS['unknown key']
    publisher.put(bytes)
    return undefined
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    for (const publisher of this.#publishers.values()) publisher.end()
  }
}

/** Who sends pictures with one key. Only the newest waits. */
class PicturePublication implements Publication, PushedPictures {
  readonly is = 'pictures'
  readonly camera: string
  readonly by = 'http'
  readonly from: string
  readonly sinceMs = Date.now()
  readonly media = this
  readonly ended: Promise<void>
  bytes = 0
  isOver = false
  readonly #ended = Promise.withResolvers<void>()
  #newest: { readonly bytes: Buffer; readonly atMs: number } | undefined
  #wanted: (() => void) | undefined
  #putAtMs = performance.now()

  constructor({ camera }: Admission, from: string) {
    this.camera = camera
    this.from = from
    this.ended = this.#ended.promise
  }

  put(bytes: Buffer): void {
    this.bytes += bytes.length
    this.#putAtMs = performance.now()
    this.#newest = { bytes, atMs: Date.now() }
    this.#wanted?.()
  }

  async next(signal: AbortSignal): Promise<{ readonly bytes: Buffer; readonly atMs: number } | undefined> {
    while (!this.#newest && !this.isOver && !signal.aborted)
      await new Promise<void>((resolve) => {
        const wake = () => {
          signal.removeEventListener('abort', wake)
          resolve()
        }
        this.#wanted = wake
        signal.addEventListener('abort', wake, { once: true })
      })
    const next = this.#newest
    this.#newest = undefined
    return next
  }

  /** Time goes by. */
  look(): void {
    if (performance.now() - this.#putAtMs > PICTURES_GONE_MS) this.end()
  }

  end(): void {
    this.isOver = true
    this.#wanted?.()
    this.#ended.resolve()
  }
}

const REFUSALS: Readonly<Record<Refusal['is'], Answer>> = {
  'unknown key': {
    status: 401,
    code: 'NOT_ALLOWED',
    message: 'The stream key is wrong, or has been replaced.',
  },
  inactive: { status: 403, code: 'NOT_ALLOWED', message: 'This stream has been deactivated.' },
  busy: { status: 409, code: 'NAME_TAKEN', message: 'Somebody else publishes with this stream key.' },
}

const UNFINISHED: Answer = {
  status: 400,
  code: 'SOURCE_UNREADABLE',
  message: 'The picture did not arrive whole.',
}
