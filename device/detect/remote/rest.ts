import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { z } from 'zod'
import { connectionFault } from '../../../lib/connection-faults.ts'
import { SightlineError, systemCode } from '../../../lib/errors.ts'
import { isDeeperThan } from '../../../lib/json-depth.ts'
import { TLS_MIN_VERSION } from '../../../lib/tls/certificates.ts'
import { tlsFault } from '../../../lib/tls/faults.ts'
import {
  decodeInferResponse,
  type Encoded,
  encodeInferRequest,
  errorSchema,
  InferenceFault,
  type InferRequest,
  type InferResponse,
  JSON_DEPTH_MAX,
  JSON_LENGTH_HEADER,
  jsonBytesOf,
  type ModelMetadata,
  modelMetadataSchema,
  type ServerMetadata,
  serverMetadataSchema,
} from '../../../wire/inference.ts'
import { SERVER_BUSY_MS_MAX } from '../../limits.ts'
import { ServerBusy } from './pool.ts'
import { said, type Transport, type TransportOptions, unavailable, wrong } from './transport.ts'

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Of what describes a server or a model. */
const DESCRIPTION_BYTES_MAX = 2 ** 20

/** By HTTP. Redirects are not followed; connections stay open. */
export class RestTransport implements Transport {
  readonly address: string
  readonly #options: TransportOptions
  readonly #url: URL
  readonly #agent: HttpAgent

  constructor(options: TransportOptions) {
    this.#options = options
    this.#url = new URL(options.address)
    this.address = `${this.#url.protocol}//${this.#url.host}${this.#url.pathname.replace(/\/$/, '')}`
    // One more: it is asked whether it is ready while all are in use.
    const pooling = { keepAlive: true, maxSockets: options.inFlight + 1 }
    this.#agent = this.#url.protocol === 'https:' ? new HttpsAgent(pooling) : new HttpAgent(pooling)
  }

  async serverReady(signal: AbortSignal): Promise<boolean> {
    return await this.#isReady('/v2/health/ready', signal)
  }

  async serverMetadata(signal: AbortSignal): Promise<ServerMetadata> {
    return await this.#describe('/v2', serverMetadataSchema, signal)
  }

  async modelReady(model: string, signal: AbortSignal): Promise<boolean> {
    return await this.#isReady(`${pathOf(model)}/ready`, signal)
  }

  async modelMetadata(model: string, signal: AbortSignal): Promise<ModelMetadata> {
    return await this.#describe(pathOf(model), modelMetadataSchema, signal)
  }

  async infer(
    request: InferRequest & { readonly model: string },
    binary: boolean,
    signal: AbortSignal,
  ): Promise<InferResponse> {
    const body = encodeInferRequest(request, { binary })
    const answer = await this.#ask(`${pathOf(request.model)}/infer`, signal, body)
    if (answer.status !== 200) throw this.#refused(answer, request.model)
    try {
      return decodeInferResponse(answer.body, jsonBytesOf(answer.headers[JSON_LENGTH_HEADER]))
    } catch (error) {
      if (error instanceof InferenceFault) throw wrong(this.address, error.message, error)
      throw error
    }
  }

  /** Any 4xx or 503 says that it is not, as servers differ in which. */
  async #isReady(path: string, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#ask(path, signal)
    if (answer.status === 200) return true
    if ([400, 404, 503].includes(answer.status)) return false
    throw this.#refused(answer)
  }

  async #describe<T extends z.ZodType>(path: string, schema: T, signal: AbortSignal): Promise<z.infer<T>> {
    const answer = await this.#ask(path, signal)
    if (answer.status !== 200) throw this.#refused(answer)
    const { body } = answer
    let json: unknown
    try {
      if (!isDeeperThan(body, JSON_DEPTH_MAX)) json = JSON.parse(body.toString('utf8'))
    } catch {} // as what is nested too deep: it does not fit the schema
    const read = schema.safeParse(json)
    if (read.success) return read.data
    throw wrong(this.address, `${path} is not as the Open Inference Protocol says.`)
  }

  #refused({ status, headers, body }: Answer, model?: string): Error {
    if (status === 429 || (status === 503 && headers['retry-after'] !== undefined))
      return new ServerBusy(
        `The inference server ${this.address} is busy.`,
        retryAfterMs(headers['retry-after']),
      )
    if (status === 401 || status === 403)
      return unavailable(
        this.address,
        `refuses the token or certificate (HTTP ${status}). Check "detect.servers".`,
      )
    if (status >= 300 && status < 400)
      return unavailable(
        this.address,
        `answers with a redirect (HTTP ${status}), which is not followed. Give the address itself.`,
      )
    const told = errorOf(body)
    if (status === 404 && model !== undefined)
      return unavailable(this.address, `does not have the model ${model} any more (HTTP 404).`)
    if (status === 400 || status === 413 || status === 422 || (status >= 200 && status < 300))
      return wrong(this.address, `HTTP ${status}${told}`)
    return unavailable(this.address, `answers with HTTP ${status}${told}`)
  }

  async #ask(path: string, signal: AbortSignal, body?: Encoded): Promise<Answer> {
    for (;;) {
      const attempt = { isStale: false }
      try {
        return await this.#askOnce(path, signal, attempt, body)
      } catch (error) {
        signal.throwIfAborted()
        // A connection that was kept open and that the server closed meanwhile says nothing of the server.
        if (attempt.isStale) continue
        throw error instanceof SightlineError ? error : this.#unreachable(error)
      }
    }
  }

  #askOnce(
    path: string,
    signal: AbortSignal,
    attempt: { isStale: boolean },
    body: Encoded | undefined,
  ): Promise<Answer> {
    const { username, password, pathname } = this.#url
    const isSecure = this.#url.protocol === 'https:'
    const token = this.#options.token()
    const options: RequestOptions = {
      method: body ? 'POST' : 'GET',
      agent: this.#agent,
      signal,
      headers: {
        'user-agent': 'Sightline',
        accept: 'application/json, application/octet-stream',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body && {
          'content-type': body.jsonBytes === undefined ? 'application/json' : 'application/octet-stream',
          'content-length': body.bytes,
          ...(body.jsonBytes !== undefined && { [JSON_LENGTH_HEADER]: body.jsonBytes }),
        }),
      },
      ...(username !== '' && { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` }),
      ...(isSecure && { ...this.#options.credentials(), minVersion: TLS_MIN_VERSION }),
    }
    const url = new URL(this.#url)
    url.pathname = `${pathname.replace(/\/$/, '')}${path}`
    return new Promise((resolve, reject) => {
      const request = (isSecure ? httpsRequest : httpRequest)(url, options)
      request.once('error', (error) => {
        attempt.isStale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')
        reject(error)
      })
      request.once('response', (message) => {
        // From here on its answer is what fails.
        request.removeAllListeners('error').on('error', reject)
        this.#whole(message, body ? this.#options.answerBytesMax : DESCRIPTION_BYTES_MAX).then(
          resolve,
          (error: unknown) => {
            request.destroy()
            reject(error)
          },
        )
      })
      for (const chunk of body?.chunks ?? []) request.write(chunk)
      request.end()
    })
  }

  /** Errors: INFERENCE_WRONG where it is too large, which is found out before it has come. */
  async #whole(message: IncomingMessage, bytesMax: number): Promise<Answer> {
    const tooLarge = () => wrong(this.address, `it has more than ${bytesMax} bytes.`)
    const { statusCode: status = 0, headers } = message
    if (Number(headers['content-length'] ?? 0) > bytesMax) throw tooLarge()
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of message as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength
      if (bytes > bytesMax) throw tooLarge()
      chunks.push(chunk)
    }
    return { status, headers, body: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) }
  }

  #unreachable(error: unknown): SightlineError {
    const tls = tlsFault(error)
    if (tls) return unavailable(this.address, `${tls.sentence}.`, error)
    const why = connectionFault(error) ?? (error instanceof Error ? said(error.message) : String(error))
    return unavailable(this.address, `does not answer (${why}).`, error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
  }
}

const pathOf = (model: string) => `/v2/models/${encodeURIComponent(model)}`

/** ": what it says", or a full stop. */
function errorOf(body: Buffer): string {
  try {
    return `: ${said(errorSchema.parse(JSON.parse(body.toString('utf8'))).error)}`
  } catch {
    return '.'
  }
}

/** Seconds, or a date; a second where it is neither. */
function retryAfterMs(retryAfter: string | undefined): number {
  const text = retryAfter?.trim() ?? ''
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return ms > 0 ? ms : SERVER_BUSY_MS_MAX
}
