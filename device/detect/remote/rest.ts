import type { z } from 'zod'
import { isDeeperThan } from '../../../lib/json-depth.ts'
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
import { type HttpAnswer, HttpClient, retryAfterMs, said } from './http.ts'
import { ServerBusy } from './pool.ts'
import { denied, type Transport, type TransportOptions, unavailable, wrong } from './transport.ts'

/** Of what describes a server or a model. */
const DESCRIPTION_BYTES_MAX = 2 ** 20

/** By HTTP. */
export class RestTransport implements Transport {
  readonly address: string
  readonly #options: TransportOptions
  readonly #http: HttpClient

  constructor(options: TransportOptions) {
    this.#options = options
    this.#http = new HttpClient({
      ...options,
      tooLarge: (bytesMax) => wrong(this.address, `it has more than ${bytesMax} bytes.`),
      unreachable: (why, cause) => unavailable(this.address, `${why}.`, cause),
    })
    this.address = this.#http.address
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

  #refused({ status, headers, body }: HttpAnswer, model?: string): Error {
    if (status === 429 || (status === 503 && headers['retry-after'] !== undefined))
      return new ServerBusy(
        `The inference server ${this.address} is busy.`,
        retryAfterMs(headers['retry-after']),
      )
    if (status === 401 || status === 403) return denied(this.address, `HTTP ${status}`)
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

  async #ask(path: string, signal: AbortSignal, body?: Encoded): Promise<HttpAnswer> {
    const token = this.#options.token()
    return await this.#http.ask(
      {
        path,
        headers: {
          accept: 'application/json, application/octet-stream',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body && {
            'content-type': body.jsonBytes === undefined ? 'application/json' : 'application/octet-stream',
            ...(body.jsonBytes !== undefined && { [JSON_LENGTH_HEADER]: body.jsonBytes }),
          }),
        },
        chunks: body?.chunks,
        bytesMax: body ? this.#options.answerBytesMax : DESCRIPTION_BYTES_MAX,
      },
      signal,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http[Symbol.dispose]()
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
