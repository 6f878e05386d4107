import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { connectionFault } from '../../../lib/connection-faults.ts'
import { SightlineError, systemCode } from '../../../lib/errors.ts'
import { type ClientCredentials, TLS_MIN_VERSION } from '../../../lib/tls/certificates.ts'
import { tlsFault } from '../../../lib/tls/faults.ts'
import { SERVER_BUSY_MS_MAX } from '../../limits.ts'

export interface HttpQuestion {
  /** Below the address, with its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | number>>
  /** Sent with POST; GET where absent. */
  readonly chunks?: readonly Uint8Array[]
  /** Of the answer; what is longer is read no further. */
  readonly bytesMax: number
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface HttpClientOptions {
  /** http or https; may have a path, a name and a password. */
  readonly address: string
  readonly inFlight: number
  /** Asked for at each connection. */
  readonly credentials: () => ClientCredentials
  /** How it is said that the answer is too large, or that there is none. */
  readonly tooLarge: (bytesMax: number) => SightlineError
  readonly unreachable: (why: string, cause: unknown) => SightlineError
}

/** One server by HTTP, bounded in what it has a say in. Redirects are not followed; connections stay open. */
export class HttpClient implements Disposable {
  /** For people: without user and password. */
  readonly address: string
  readonly #options: HttpClientOptions
  readonly #url: URL
  readonly #agent: HttpAgent

  constructor(options: HttpClientOptions) {
    this.#options = options
    this.#url = new URL(options.address)
    this.address = `${this.#url.protocol}//${this.#url.host}${this.#url.pathname.replace(/\/$/, '')}`
    // One more: it is asked whether it is ready while all are in use.
    const pooling = { keepAlive: true, maxSockets: options.inFlight + 1 }
    this.#agent = this.#url.protocol === 'https:' ? new HttpsAgent(pooling) : new HttpAgent(pooling)
  }

  /** Errors: `tooLarge`, `unreachable`; the signal's reason. */
  async ask(question: HttpQuestion, signal: AbortSignal): Promise<HttpAnswer> {
    for (;;) {
      const attempt = { isStale: false }
      try {
        return await this.#askOnce(question, signal, attempt)
      } catch (error) {
        signal.throwIfAborted()
        // A connection that was kept open and that the server closed meanwhile says nothing of the server.
        if (attempt.isStale) continue
        throw error instanceof SightlineError ? error : this.#options.unreachable(reasonOf(error), error)
      }
    }
  }

  #askOnce(
    { path, headers, chunks, bytesMax }: HttpQuestion,
    signal: AbortSignal,
    attempt: { isStale: boolean },
  ): Promise<HttpAnswer> {
    const { username, password, pathname } = this.#url
    const isSecure = this.#url.protocol === 'https:'
    const options: RequestOptions = {
      method: chunks ? 'POST' : 'GET',
      agent: this.#agent,
      signal,
      headers: {
        'user-agent': 'Sightline',
        ...headers,
        ...(chunks && { 'content-length': chunks.reduce((sum, { byteLength }) => sum + byteLength, 0) }),
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
        reject(error)
      })
      request.once('response', (message) => {
        // From here on its answer is what fails.
        request.removeAllListeners('error').on('error', reject)
        this.#whole(message, bytesMax).then(resolve, (error: unknown) => {
          request.destroy()
          reject(error)
        })
      })
      for (const chunk of chunks ?? []) request.write(chunk)
      request.end()
    })
  }

  /** That it is too large may be found out before it has come. */
  async #whole(message: IncomingMessage, bytesMax: number): Promise<HttpAnswer> {
    const { statusCode: status = 0, headers } = message
    const { tooLarge } = this.#options
    if (Number(headers['content-length'] ?? 0) > bytesMax) throw tooLarge(bytesMax)
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of message as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength
      if (bytes > bytesMax) throw tooLarge(bytesMax)
      chunks.push(chunk)
    }
    return { status, headers, body: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }
}

/** A clause: "does not answer (connection refused)". */
function reasonOf(error: unknown): string {
  const tls = tlsFault(error)
  if (tls) return tls.sentence
  const why = connectionFault(error) ?? (error instanceof Error ? said(error.message) : String(error))
  return `does not answer (${why})`
}

/** What a server says is put into sentences up to here, characters. */
const SAID_MAX = 200

/** What a server said, for people: one line, and not all of it. */
export const said = (text: string): string => {
  const line = text.replace(/\s+/g, ' ').trim()
  return line.length > SAID_MAX ? `${line.slice(0, SAID_MAX)}...` : line
}

/** Seconds, or a date; a second where it is neither. */
export function retryAfterMs(retryAfter: string | undefined): number {
  const text = retryAfter?.trim() ?? ''
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return ms > 0 ? ms : SERVER_BUSY_MS_MAX
}
