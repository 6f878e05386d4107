import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { Server as NetServer, type Socket } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { Admission, tcpOf } from '../lib/admission.ts'
import { systemCode } from '../lib/errors.ts'
import { listenFailure } from '../lib/http/server.ts'
import { type Log, throttled } from '../lib/log.ts'
import { keepRenewed, readServerFiles, TLS_HANDSHAKE_MS_MAX } from '../lib/tls/certificates.ts'
import {
  decodeInferRequest,
  encodeInferResponse,
  isBinaryOutput,
  JSON_LENGTH_HEADER,
  jsonBytesOf,
} from '../wire/inference.ts'
import type { ListenerConfig } from './config.ts'
import {
  CHECK_INTERVAL_MS,
  FAREWELL_MS_MAX,
  HEADERS_MS_MAX,
  JSON_BYTES_MAX,
  KEEP_ALIVE_MS_MAX,
  REFUSED_BYTES_MAX,
  REFUSED_MS_MAX,
  REQUEST_MS_MAX,
  SILENCE_MS_MAX,
} from './limits.ts'
import type { Meters } from './meters.ts'
import { asRefusal, isForeseen, Refusal } from './refusal.ts'
import type { InferenceService } from './service.ts'
import type { Tokens } from './tokens.ts'

export interface ListenerParts {
  readonly config: ListenerConfig
  readonly service: InferenceService
  readonly tokens: Tokens
  /** Of a request's body. */
  readonly payloadBytesMax: number
  readonly meters: Meters
  readonly log: Log
}

/** `/v2/models/NAME`, `/v2/models/NAME/versions/VERSION`, and what is asked of it. */
const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|infer))?$/

/**
 * The Open Inference Protocol by HTTP. On node:http itself: a frame goes through its handlers a hundred times a second, and
 * its body is read into the memory that the model's thread is given.
 */
export class RestListener implements AsyncDisposable {
  readonly url: string
  readonly #parts: ListenerParts
  readonly #server: Server
  readonly #opened: DisposableStack
  /** Requests that are not answered yet. */
  #active = 0
  readonly #complain: () => void
  #unforeseen: unknown

  private constructor(server: Server, parts: ListenerParts, opened: DisposableStack, url: string) {
    this.#server = server
    this.#parts = parts
    this.#opened = opened
    this.url = url
    this.#complain = throttled((count) =>
      parts.log.error({ count, error: String(this.#unforeseen) }, 'could not answer a request'),
    )
  }

  /** Errors: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID (a certificate). */
  static async open(parts: ListenerParts): Promise<RestListener> {
    const { config, log, meters } = parts
    const { host, tls } = config
    const identity = tls && readServerFiles(tls, 'rest.tls')
    const mutual = tls?.clientCaFile !== undefined
    const options = {
      headersTimeout: HEADERS_MS_MAX,
      requestTimeout: REQUEST_MS_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS_MAX,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      noDelay: true,
    }
    const server = identity
      ? createTlsServer({
          ...options,
          ...identity.context,
          requestCert: mutual,
          rejectUnauthorized: mutual,
          handshakeTimeout: TLS_HANDSHAKE_MS_MAX,
        })
      : createServer(options)
    server.setTimeout(SILENCE_MS_MAX)
    using opened = new DisposableStack()
    const admission = opened.use(
      new Admission({
        ...config,
        where: 'rest',
        log,
        refused: () => meters.refused.inc({ code: 'TOO_MANY' }),
      }),
    )
    admission.guard(server)
    server.on('tlsClientError', (_error, socket) => {
      meters.refused.inc({ code: 'TLS' })
      socket.destroy()
    })
    server.on('clientError', (error, socket) => {
      const late = systemCode(error) === 'ERR_HTTP_REQUEST_TIMEOUT'
      if (late) meters.refused.inc({ code: 'TIMEOUT' })
      if (socket.writable)
        socket.write(
          `HTTP/1.1 ${late ? '408 Request Timeout' : '400 Bad Request'}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
        )
      socket.destroy()
    })
    let listener: RestListener | undefined
    server.on('request', (request, response) => {
      const tcp = tcpOf(request.socket)
      response.once('close', () => admission.wait(tcp))
      void listener?.answer(request, response, () => admission.letIn(tcp))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenFailure(error, host, config.port, 'rest')))
      server.listen(config.port, host, resolve)
    })
    if (tls && identity)
      keepRenewed(server as unknown as TlsServer, tls, { ...identity, where: 'rest.tls', log, context: {} })
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : config.port
    const url = `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
    listener = new RestListener(server, parts, opened.move(), url)
    return listener
  }

  /** @param letIn its connection is of use from here on */
  async answer(request: IncomingMessage, response: ServerResponse, letIn: () => void): Promise<void> {
    this.#active += 1
    response.once('close', () => {
      this.#active -= 1
    })
    try {
      const path = (request.url ?? '').replace(/\?.*$/s, '')
      if (path.startsWith('/v2/health/')) return void this.#health(path, request, response)
      this.#parts.tokens.check(request.headers.authorization, request.socket.remoteAddress ?? '')
      letIn()
      if (path === '/v2' || path === '/v2/') {
        onlyGet(request)
        return void this.#send(response, 200, this.#parts.service.metadata)
      }
      const [, name, version, what] = MODEL_PATH.exec(path) ?? []
      if (name === undefined) throw new Refusal('unknown', 'There is nothing at this address.')
      const model = this.#parts.service.model(
        decoded(name),
        version === undefined ? undefined : decoded(version),
      )
      if (what === 'infer') return await this.#infer(model, request, response)
      onlyGet(request)
      if (what === undefined) return void this.#send(response, 200, model.metadata)
      if (!model.isReady || this.#parts.service.isDraining)
        return void this.#send(response, 400, { error: `The model ${model.name} is not ready.` })
      this.#send(response, 200, { name: model.name, ready: true })
    } catch (error) {
      this.#refuse(error, request, response)
    }
  }

  /** For whoever watches over it: no login. */
  #health(path: string, request: IncomingMessage, response: ServerResponse): void {
    onlyGet(request)
    const { service } = this.#parts
    if (path === '/v2/health/live') return void this.#send(response, 200, { live: true })
    if (path !== '/v2/health/ready') throw new Refusal('unknown', 'There is nothing at this address.')
    // The protocol: 200 is yes, 4xx is no.
    if (service.isReady) return void this.#send(response, 200, { ready: true })
    const why = service.isDraining ? 'The server ends.' : 'Not all models are ready.'
    this.#send(response, 400, { error: why })
  }

  async #infer(
    model: ReturnType<InferenceService['model']>,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { service } = this.#parts
    if (request.method !== 'POST') throw new MethodRefusal('POST')
    service.refuseWhileDraining()
    const jsonBytes = jsonBytesOf(request.headers[JSON_LENGTH_HEADER])
    const bytesMax =
      jsonBytes === undefined
        ? Math.min(JSON_BYTES_MAX, this.#parts.payloadBytesMax)
        : this.#parts.payloadBytesMax
    // Until its answer has gone: whoever reads slowly keeps it in memory.
    const held = new DisposableStack()
    response.once('close', () => held[Symbol.dispose]())
    const body = await readBody(request, bytesMax, (bytes) => void held.use(service.hold(bytes)))
    const gone = new AbortController()
    const leave = () => {
      if (!response.writableFinished) gone.abort()
    }
    response.once('close', leave)
    const wanted = decodeInferRequest(body, jsonBytes)
    const answer = await model.infer(wanted, gone.signal)
    const {
      chunks,
      bytes,
      jsonBytes: headBytes,
    } = encodeInferResponse(answer, (output) => isBinaryOutput(wanted, output))
    response.cork()
    response.writeHead(200, {
      'content-type': headBytes === undefined ? 'application/json' : 'application/octet-stream',
      'content-length': bytes,
      'x-content-type-options': 'nosniff',
      ...(headBytes !== undefined && { [JSON_LENGTH_HEADER]: headBytes }),
      ...this.#closing(),
    })
    for (const chunk of chunks) response.write(chunk)
    response.end()
    response.uncork()
  }

  /** While it ends, each answer is the last on its connection. */
  #closing(): { connection?: string } {
    return this.#parts.service.isDraining ? { connection: 'close' } : {}
  }

  #send(response: ServerResponse, status: number, json: unknown, headers: Record<string, string> = {}): void {
    const body = JSON.stringify(json)
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      ...headers,
      ...this.#closing(),
    })
    response.end(body)
  }

  #refuse(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    if (!isForeseen(error)) {
      this.#unforeseen = error
      this.#complain()
    }
    const refusal = asRefusal(error)
    if (['stranger', 'tooManyFailures'].includes(refusal.kind))
      this.#parts.meters.refused.inc({ code: refusal.kind === 'stranger' ? 'TOKEN' : 'TOO_MANY_FAILURES' })
    if (refusal.kind === 'gone' || response.destroyed) return void response.destroy()
    if (response.headersSent) return void response.destroy()
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers
    const unread = !request.complete && (coding !== undefined || Number(length ?? 0) > 0)
    const status = error instanceof MethodRefusal ? 405 : refusal.httpStatus
    this.#send(
      response,
      status,
      { error: refusal.message },
      {
        ...(refusal.retryAfterS !== undefined && { 'retry-after': String(refusal.retryAfterS) }),
        ...(refusal.kind === 'stranger' && { 'www-authenticate': 'Bearer realm="Sightline"' }),
        ...(error instanceof MethodRefusal && { allow: error.allowed }),
        ...(unread && { connection: 'close' }),
      },
    )
    if (unread) discard(request)
  }

  /** Answers what is under way, and tells the others to go elsewhere; then it may be disposed of. */
  async drain(): Promise<void> {
    // Not its own `close`, which would cut connections on which a request is on its way.
    NetServer.prototype.close.call(this.#server)
    while (this.#active > 0) await pause(5)
    const endMs = performance.now() + FAREWELL_MS_MAX
    const open = () =>
      new Promise<number>((resolve) => this.#server.getConnections((_error, count) => resolve(count ?? 0)))
    while (performance.now() < endMs && (this.#active > 0 || (await open()) > 0)) await pause(5)
    while (this.#active > 0) await pause(5)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#opened[Symbol.dispose]()
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

/** Of a body that does not say how long it is. */
const FIRST_BYTES = 64 * 1024

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

class MethodRefusal extends Refusal {
  readonly allowed: string

  constructor(allowed: string) {
    super('wrong', `Only ${allowed} is possible here.`)
    this.allowed = allowed
  }
}

function onlyGet({ method }: IncomingMessage): void {
  if (method !== 'GET' && method !== 'HEAD') throw new MethodRefusal('GET')
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new Refusal('wrong', 'The address is not encoded as addresses are.')
  }
}

/** In memory of its own, which can be given to a thread. Errors: Refusal. */
async function readBody(
  request: IncomingMessage,
  bytesMax: number,
  hold: (bytes: number) => void,
): Promise<Uint8Array> {
  const { 'content-length': length, 'content-encoding': encoding } = request.headers
  if (encoding !== undefined && encoding !== 'identity')
    throw new Refusal('wrong', 'Bodies that are compressed are not supported.')
  const tooLarge = (bytes: number | string) =>
    new Refusal('tooLarge', `The body has ${bytes} bytes; the limit is ${bytesMax}.`)
  const known = length === undefined ? undefined : Number(length)
  if (known !== undefined && known > bytesMax) throw tooLarge(known)
  if (known !== undefined) hold(known)
  // Its pages are there only once they are written to.
  let body = Buffer.allocUnsafeSlow(known ?? FIRST_BYTES)
  let bytes = 0
  if (known === undefined) hold(body.length)
  /** One piece, which grows: of a body in chunks of a byte, a list of them is a hundred times as large. */
  const grow = (needed: number) => {
    const larger = Buffer.allocUnsafeSlow(Math.min(bytesMax, Math.max(needed, body.length * 2)))
    hold(larger.length - body.length)
    larger.set(body.subarray(0, bytes))
    body = larger
  }
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error) => {
      request.off('data', take)
      reject(error)
    }
    const take = (chunk: Buffer) => {
      try {
        if (bytes + chunk.length > bytesMax) throw tooLarge(`more than ${bytesMax}`)
        if (bytes + chunk.length > body.length) grow(bytes + chunk.length)
      } catch (error) {
        return fail(error as Error)
      }
      body.set(chunk, bytes)
      bytes += chunk.length
    }
    request.on('data', take)
    request.once('end', resolve)
    request.once('error', () => fail(new Refusal('gone', 'The client has gone.')))
    request.once('close', () => {
      if (!request.complete) fail(new Refusal('gone', 'The client has gone.'))
    })
  })
  return body.length === bytes ? body : body.subarray(0, bytes)
}

/** Reads on for a while, so that the client, which writes, gets to read why it was refused. */
function discard(request: IncomingMessage): void {
  const { socket } = request as { readonly socket: Socket }
  let bytes = 0
  const end = () => socket.destroy()
  const timer = setTimeout(end, REFUSED_MS_MAX)
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > REFUSED_BYTES_MAX) end()
  })
  request.on('error', () => {})
  request.once('close', () => clearTimeout(timer))
  request.resume()
}
