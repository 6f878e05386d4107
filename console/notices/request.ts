import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { request as httpsRequest } from 'node:https'
import { asFailure, systemCode } from '../../lib/errors.ts'
import type { Guard } from './guard.ts'
import { answerText, type Outcome } from './outcome.ts'

/** One HTTP request to a receiver, bounded in everything that the receiver has a say in. Redirects are not followed. */

export interface OutRequest {
  readonly method: 'POST' | 'PUT'
  /** May have a name and a password (Basic). */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

const CONNECT_MS_MAX = 5_000
const TOTAL_MS_MAX = 10_000
/** Of an answer; it is cut there. */
const ANSWER_BYTES_MAX = 64 * 1024
/** What a receiver asks us to wait is believed up to here. */
const RETRY_AFTER_MS_MAX = 3_600_000
/**
 * Of 4xx, those that somebody can put right while the notice waits, or that pass: a wrong token or address, a conflict, too
 * many. All others say that the receiver does not take this notice: no second try changes that. (Standard Webhooks asks to
 * stop at 410, and to slow down at 429 and 503.)
 */
const WORTH_ANOTHER_TRY = new Set([401, 403, 404, 407, 408, 409, 421, 423, 425, 429])

interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly location: string | undefined
  readonly text: string
}

export async function send(guard: Guard, out: OutRequest, signal: AbortSignal): Promise<Outcome> {
  let answer: Answer
  try {
    answer = await ask(guard, out, signal)
  } catch (error) {
    // The program stops: it was no fault of theirs.
    if (signal.aborted) throw error
    const { code, message } = asFailure(error)
    if (code === 'ADDRESS_NOT_ALLOWED') return { is: 'failed', final: true, code, why: message }
    const system = systemCode(error) ?? 'FAILED'
    return { is: 'failed', final: false, code: system, why: inWords(system, error) }
  }
  const { status, text, location } = answer
  if (status >= 200 && status < 300) return { is: 'sent', status, answer: text }
  return {
    is: 'failed',
    final: status >= 400 && status < 500 && !WORTH_ANOTHER_TRY.has(status),
    status,
    answer: text,
    why:
      status >= 300 && status < 400
        ? `It answered ${status}, a redirect${location === undefined ? '' : ` to ${location.slice(0, 200)}`}, which is not followed: give the channel the address itself.`
        : `It answered ${status}.`,
    ...retryAfterOf(answer),
  }
}

function ask(guard: Guard, { method, url, headers, body }: OutRequest, signal: AbortSignal): Promise<Answer> {
  const address = guard.check(url)
  const isSecure = address.protocol === 'https:'
  const options: RequestOptions = {
    method,
    agent: isSecure ? guard.https : guard.http,
    headers: { 'user-agent': 'Sightline', ...headers, 'content-length': body.byteLength },
    ...(address.username !== '' && {
      auth: `${decodeURIComponent(address.username)}:${decodeURIComponent(address.password)}`,
    }),
  }
  return new Promise((resolve, reject) => {
    let answer: { message: IncomingMessage; chunks: Buffer[]; bytes: number } | undefined
    const request: ClientRequest = (isSecure ? httpsRequest : httpRequest)(address, options)
    const connecting = setTimeout(() => request.destroy(timedOut('connection')), CONNECT_MS_MAX)
    const total = setTimeout(() => request.destroy(timedOut('answer')), TOTAL_MS_MAX)
    const stop = () => request.destroy(new Error('the console is stopping'))
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    const end = (error?: Error) => {
      clearTimeout(connecting)
      clearTimeout(total)
      signal.removeEventListener('abort', stop)
      // Once it has said what becomes of the notice, the rest of what it says does not matter.
      if (answer && !signal.aborted) {
        const { message, chunks } = answer
        resolve({
          status: message.statusCode ?? 0,
          retryAfter: message.headers['retry-after'],
          location: message.headers.location,
          text: answerText(Buffer.concat(chunks).toString('utf8')),
        })
      } else reject(error ?? new Error('the connection was closed'))
    }
    request.once('socket', (socket) => {
      const connected = () => clearTimeout(connecting)
      if (socket.connecting) socket.once(isSecure ? 'secureConnect' : 'connect', connected)
      else connected()
    })
    request.once('response', (message) => {
      answer = { message, chunks: [], bytes: 0 }
      const { chunks } = answer
      let bytes = 0
      message.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.byteLength
        if (bytes >= ANSWER_BYTES_MAX) request.destroy()
      })
      message.once('end', () => end())
      message.once('error', end)
      message.once('close', () => end())
    })
    request.once('error', end)
    request.once('close', () => end())
    request.end(body)
  })
}

const timedOut = (what: string) =>
  Object.assign(new Error(`no ${what} in time`), {
    code: what === 'connection' ? 'CONNECT_TIMEOUT' : 'TIMEOUT',
  })

function inWords(code: string, error: unknown): string {
  switch (code) {
    case 'CONNECT_TIMEOUT':
      return `There was no connection within ${CONNECT_MS_MAX / 1000} s.`
    case 'TIMEOUT':
      return `There was no answer within ${TOTAL_MS_MAX / 1000} s.`
    case 'ECONNREFUSED':
      return 'Nothing listens at that address.'
    case 'ECONNRESET':
      return 'The connection was cut before there was an answer.'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'The name of the host could not be resolved.'
    default:
      return `It could not be reached: ${answerText(error instanceof Error ? error.message : String(error)).slice(0, 300)}.`
  }
}

function retryAfterOf({ status, retryAfter, text }: Answer): { retryAfterMs?: number } {
  let ms: number | undefined
  if (retryAfter !== undefined)
    ms = /^\d{1,9}$/.test(retryAfter.trim()) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - Date.now()
  else if (status === 429) {
    // Telegram and Discord say it in the body.
    const [, seconds] = /"retry_after"\s*:\s*(\d{1,6}(?:\.\d{1,6})?)/.exec(text) ?? []
    if (seconds !== undefined) ms = Number(seconds) * 1000
  }
  return ms !== undefined && ms > 0 ? { retryAfterMs: Math.min(ms, RETRY_AFTER_MS_MAX) } : {}
}
