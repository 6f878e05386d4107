import { failure, type SightlineError } from '../../../lib/errors.ts'
import type { ClientCredentials } from '../../../lib/tls/certificates.ts'
import { ADAPTER_ANSWER_BYTES_MAX } from '../../limits.ts'
import type { Detection } from '../detector.ts'
import type { Size } from '../head.ts'
import { HttpClient, retryAfterMs, said } from '../remote/http.ts'
import { type AskedServer, ServerBusy, ServerDenied } from '../remote/pool.ts'
import type { ApiAnswer, ApiRequest, DetectionApi } from './api.ts'
import { wrong } from './faces.ts'

/** A picture as it is sent. */
export interface Sent extends Size {
  readonly jpeg: Uint8Array
}

export interface ApiServerOptions {
  readonly api: DetectionApi
  /** http or https; may have a path, a name and a password. */
  readonly url: string
  /** Asked for at each request: a renewed one holds. */
  readonly token: () => string | undefined
  /** Asked for at each connection. */
  readonly credentials: () => ClientCredentials
  readonly scoreFloor: number
  readonly inFlight: number
  /** What it is asked about to learn whether it works: keys, and whatever stands behind it, included. */
  readonly probe: Sent
}

interface Answer extends ApiAnswer {
  readonly retryAfter: string | undefined
}

/** One server of CompreFace or CodeProject.AI. */
export class ApiServer implements AskedServer<Sent, Detection[]>, Disposable {
  readonly address: string
  readonly #options: ApiServerOptions
  readonly #http: HttpClient

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#http = new HttpClient({
      ...options,
      address: options.url,
      tooLarge: (bytesMax) => wrong(`it has more than ${bytesMax} bytes`),
      unreachable: (why, cause) => failure('INFERENCE_UNAVAILABLE', `It ${why}.`, cause),
    })
    this.address = this.#http.address
  }

  /** Neither product says of itself whether its detector works: it is tried. */
  async ready(signal: AbortSignal): Promise<void> {
    await this.ask(this.#options.probe, signal)
  }

  /** Errors: ServerBusy; INFERENCE_WRONG, INFERENCE_UNAVAILABLE. */
  async ask(picture: Sent, signal: AbortSignal): Promise<Detection[]> {
    const { api, token, scoreFloor } = this.#options
    const request = api.request({ jpeg: picture.jpeg, scoreFloor, token: token() })
    try {
      const answer = await this.#post(request, signal)
      const faces = api.read(answer, picture)
      if (!faces) throw this.#refused(answer)
      return faces.filter(({ score }) => score >= scoreFloor).sort((a, b) => b.score - a.score)
    } catch (error) {
      signal.throwIfAborted()
      throw this.#named(error)
    }
  }

  #refused({ status, text, retryAfter, type }: Answer): Error {
    const { product } = this.#options.api
    if (status === 429 || (status === 503 && retryAfter !== undefined))
      return new ServerBusy(`${product} is busy.`, retryAfterMs(retryAfter))
    if (status === 401 || status === 403)
      return new ServerDenied(
        `It refuses the API key (HTTP ${status}). Set "detect.servers.token" to one that ${product} knows.`,
      )
    if (status === 404)
      return failure(
        'INFERENCE_UNAVAILABLE',
        `It has no face detection at this address, or not for this API key (HTTP 404). Check "detect.servers.addresses" and "detect.servers.token".`,
      )
    if (status >= 300 && status < 400)
      return failure(
        'INFERENCE_UNAVAILABLE',
        `It answers with a redirect (HTTP ${status}), which is not followed. Give the address itself.`,
      )
    if (status >= 200 && status < 300) return wrong(`it has status ${status}`)
    return failure(
      'INFERENCE_UNAVAILABLE',
      `It answers with HTTP ${status}${/json|plain/.test(type) && text !== '' ? `: ${said(text)}` : '.'}`,
    )
  }

  /** With the server's address, and without the token, which servers repeat. */
  #named(error: unknown): unknown {
    if (error instanceof ServerBusy || !(error instanceof Error)) return error
    const token = this.#options.token()
    const said = token === undefined ? error.message : error.message.replaceAll(token, '***')
    const message = `${this.#options.api.product} at ${this.address}: ${said}`
    if (error instanceof ServerDenied) return new ServerDenied(message)
    return failure((error as SightlineError).code ?? 'INFERENCE_UNAVAILABLE', message)
  }

  async #post({ path, headers, body }: ApiRequest, signal: AbortSignal): Promise<Answer> {
    const answer = await this.#http.ask(
      {
        path,
        headers: { accept: 'application/json', ...headers },
        chunks: [body],
        bytesMax: ADAPTER_ANSWER_BYTES_MAX,
      },
      signal,
    )
    return {
      status: answer.status,
      type: /^[\w.+/-]{1,100}/.exec(answer.headers['content-type'] ?? '')?.[0] ?? '',
      retryAfter: answer.headers['retry-after'],
      text: answer.body.toString('utf8'),
    }
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]()
  }
}
