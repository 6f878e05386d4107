import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { connectionFault } from '../../../lib/connection-faults.ts'
import { failure, type SightlineError, systemCode } from '../../../lib/errors.ts'
import { type ClientCredentials, TLS_MIN_VERSION } from '../../../lib/tls/certificates.ts'
import { ADAPTER_ANSWER_BYTES_MAX, SERVER_BUSY_MS_MAX } from '../../limits.ts'
import type { Detection } from '../detector.ts'
import type { Size } from '../head.ts'
import { type AskedServer, ServerBusy } from '../remote/pool.ts'
import type { ApiAnswer, ApiRequest, DetectionApi } from './api.ts'
import { said, wrong } from './faces.ts'

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
  readonly #url: URL
  readonly #agent: HttpAgent

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#url = new URL(options.url)
    this.address = `${this.#url.protocol}//${this.#url.host}${this.#url.pathname.replace(/\/$/, '')}`
    const pooling = { keepAlive: true, maxSockets: options.inFlight + 1 }
    this.#agent = this.#url.protocol === 'https:' ? new HttpsAgent(pooling) : new HttpAgent(pooling)
  }

  /** Neither product says of itself whether its detector works: it is tried. */
  async ready(signal: AbortSignal): Promise<void> {
    await this.ask(this.#options.probe, signal)
  }

  /** Errors: ServerBusy; INFERENCE_WRONG, INFERENCE_UNAVAILABLE. */
  async ask(picture: Sent, signal: AbortSignal): Promise<Detection[]> {
    const { api, token, scoreFloor } = this.#options
    const request = api.request({ jpeg: picture.jpeg, scoreFloor, token: token() })
    const answer = await this.#post(request, signal)
    try {
      const faces = api.read(answer, picture)
      if (!faces) throw this.#refused(answer)
      return faces.filter(({ score }) => score >= scoreFloor).sort((a, b) => b.score - a.score)
    } catch (error) {
      throw this.#named(error)
    }
  }

  #refused({ status, text, retryAfter, type }: Answer): Error {
    const { product } = this.#options.api
    if (status === 429 || (status === 503 && retryAfter !== undefined))
      return new ServerBusy(`${product} is busy.`, retryAfterMs(retryAfter))
    if (status === 401 || status === 403)
      return failure(
        'INFERENCE_UNAVAILABLE',
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
    const code = (error as SightlineError).code ?? 'INFERENCE_UNAVAILABLE'
    const message = token === undefined ? error.message : error.message.replaceAll(token, '***')
    return failure(code, `${this.#options.api.product} at ${this.address}: ${message}`)
  }

  async #post(out: ApiRequest, signal: AbortSignal): Promise<Answer> {
    for (;;) {
      const attempt = { isStale: false }
      try {
        return await this.#postOnce(out, signal, attempt)
      } catch (error) {
        signal.throwIfAborted()
        // A connection that was kept open and that the server closed meanwhile says nothing of the server.
        if (attempt.isStale) continue
        throw this.#named(error)
      }
    }
  }

  /** Settles once the connection is let go of, or will be. */
  #postOnce(
    { path, headers, body }: ApiRequest,
    signal: AbortSignal,
    attempt: { isStale: boolean },
  ): Promise<Answer> {
    const { username, password, pathname } = this.#url
    const isSecure = this.#url.protocol === 'https:'
    const options: RequestOptions = {
      method: 'POST',
      agent: this.#agent,
      signal,
      headers: {
        'user-agent': 'Sightline',
        accept: 'application/json',
        ...headers,
        'content-length': body.byteLength,
      },
      ...(username !== '' && { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` }),
      ...(isSecure && { ...this.#options.credentials(), minVersion: TLS_MIN_VERSION }),
    }
    const url = new URL(this.#url)
    const [route, query = ''] = path.split('?')
    url.pathname = `${pathname.replace(/\/$/, '')}${route}`
    url.search = query
    return new Promise((resolve, reject) => {
      const request = (isSecure ? httpsRequest : httpRequest)(url, options)
      request.once('error', (error) => {
        attempt.isStale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')
        reject(unreachable(error))
      })
      request.once('response', (message) => {
        // From here on its answer is what fails.
        request.removeAllListeners('error').on('error', (error) => reject(unreachable(error)))
        whole(message).then(resolve, (error: unknown) => {
          request.destroy()
          reject(error)
        })
      })
      request.end(body)
    })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

/** Errors: INFERENCE_WRONG where it is too large; UNAVAILABLE where it is cut off. */
async function whole(message: IncomingMessage): Promise<Answer> {
  const { statusCode: status = 0, headers } = message
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength
      if (bytes > ADAPTER_ANSWER_BYTES_MAX) throw wrong(`it has more than ${ADAPTER_ANSWER_BYTES_MAX} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    throw bytes > ADAPTER_ANSWER_BYTES_MAX ? error : unreachable(error)
  }
  return {
    status,
    type: /^[\w.+/-]{1,100}/.exec(headers['content-type'] ?? '')?.[0] ?? '',
    retryAfter: headers['retry-after'],
    text: Buffer.concat(chunks).toString('utf8'),
  }
}

function unreachable(error: unknown): SightlineError {
  const why = connectionFault(error) ?? (error instanceof Error ? error.message : String(error))
  return failure('INFERENCE_UNAVAILABLE', `no answer (${why}).`, error)
}

/** Seconds, or a date; a second where it is neither. */
function retryAfterMs(retryAfter: string | undefined): number {
  const text = retryAfter?.trim() ?? ''
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return ms > 0 ? ms : SERVER_BUSY_MS_MAX
}
