import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlServer, Handler } from '../lib/control.ts'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import {
  FORGET_MESSAGE_BYTES_MAX,
  type ForgetMessage,
  type Forgotten,
  forgetMessageSchema,
} from '../wire/forget.ts'
import { ID_PATTERN } from '../wire/id.ts'
import { type Announcement, STORED_VERSION } from '../wire/stored.ts'
import type { Announcements } from './announcements.ts'

/**
 * Forget from afar: requests on `<prefix>/forget/<subscriber>`, one after the other, and in turn with the commands of the
 * control socket. A request is acknowledged when it is on disk here, and leaves when its answer is, among the
 * announcements, behind what it removed. Killed in between, it runs again and finds what is left. One that comes twice is
 * answered twice and run once: a later run would remove what has come since.
 *
 * Who may ask is the broker's to say, by the right to publish there.
 */

export interface ForgetRequestsOptions {
  readonly store: Store
  readonly announcements: Pick<Announcements, 'forgot'>
  /** That of the control socket. */
  readonly handler: Handler
  readonly control: Pick<ControlServer, 'inTurn'>
  readonly log: Log
}

type Answer = Extract<Announcement, { is: 'forgot' }>

const QUEUE = 'forget requests'
const REQUESTS_MAX = 100
/** Remembered for requests that come again. */
const ANSWERS_MAX = 500
const ANSWERS_TABLE = 'forget answers'
/** As long as a command of the control socket. */
const FORGET_MS_MAX = 3_600_000
const RETRY_MS = 5_000
/** wire/stored.ts */
const PLACES_MAX = 100
const PLACE_CHARACTERS_MAX = 300
const MESSAGE_CHARACTERS_MAX = 2000

export class ForgetRequests implements AsyncDisposable {
  readonly #options: ForgetRequestsOptions
  readonly #queue: Queue
  readonly #abort = new AbortController()
  /** By request, the oldest first. */
  readonly #answers = new Map<string, Answer>()
  readonly #damaged: (why: string) => void
  #working: Promise<void> | undefined
  /** More came while it worked. */
  #again = false

  private constructor(options: ForgetRequestsOptions) {
    const { store, log } = options
    this.#options = options
    this.#queue = store.queue(QUEUE, {
      entriesMax: REQUESTS_MAX,
      bytesMax: REQUESTS_MAX * FORGET_MESSAGE_BYTES_MAX,
      ageMsMax: Number.POSITIVE_INFINITY,
      whenFull: 'reject',
    })
    for (const { key, value } of store.entries(ANSWERS_TABLE))
      this.#answers.set(String(key), JSON.parse(Buffer.from(value).toString()) as Answer)
    this.#damaged = throttled((count, why) =>
      log.warn(
        { code: 'USAGE', count, why },
        'a request to forget cannot be read, and says not who to answer',
      ),
    )
    this.#queue.rewind()
    this.#queue.onEntries = () => this.#work()
    this.#work()
  }

  static open(options: ForgetRequestsOptions): ForgetRequests {
    return new ForgetRequests(options)
  }

  /** @returns when it is on disk or answered. Errors, rejected with: DISK_FULL, STORE_IO */
  async take(payload: Buffer): Promise<void> {
    const reading = read(payload)
    if ('why' in reading) {
      if (reading.request === undefined) this.#damaged(reading.why)
      else await this.#refuse(reading.request, failure('USAGE', `Not a request to forget: ${reading.why}.`))
      return
    }
    const { message } = reading
    const answer = this.#answers.get(message.request)
    if (answer) return this.#say(answer)
    if (this.#queue.has(message.request)) return this.#options.store.committed() // its answer comes
    try {
      await this.#options.store.accept(
        { header: Buffer.from('{}'), body: Buffer.from(JSON.stringify(message)) },
        [this.#queue],
        { key: message.request },
      )
    } catch (error) {
      if (asFailure(error).code !== 'QUEUE_FULL') throw error
      await this.#refuse(
        message.request,
        failure('TOO_MANY', `${REQUESTS_MAX} requests to forget wait here already. Ask again later.`),
      )
    }
  }

  #refuse(request: string, { code, message }: SightlineError): Promise<void> {
    return this.#say({ v: STORED_VERSION, is: 'forgot', request, places: [], error: { code, message } })
  }

  /** An answer that there is no room for is not sent: whoever asked asks again. */
  async #say(answer: Answer): Promise<void> {
    try {
      await this.#options.announcements.forgot(answer)
    } catch (error) {
      const { code, message } = asFailure(error)
      if (code !== 'QUEUE_FULL') throw error
      this.#options.log.warn({ code, request: answer.request }, message)
    }
  }

  #work(): void {
    if (this.#working) {
      this.#again = true
      return
    }
    this.#again = false
    this.#working = this.#workOff()
      .catch((error: unknown) => {
        if (this.#abort.signal.aborted) return
        const { code, message } = asFailure(error)
        this.#options.log.error({ code }, `a request to forget waits for the next start: ${message}`)
      })
      .finally(() => {
        this.#working = undefined
        if (this.#again && !this.#abort.signal.aborted) this.#work()
      })
  }

  async #workOff(): Promise<void> {
    for (let sequence = this.#queue.take(); sequence !== undefined; sequence = this.#queue.take()) {
      const message = this.#queue.read(sequence)
      if (!message) continue
      const request = forgetMessageSchema.parse(JSON.parse(message.body.toString()))
      await this.#answer(sequence, await this.#inTurn(() => this.#run(request)))
    }
  }

  /** Does not wait for a command of the control socket when the program ends. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#abort
    const done = Promise.withResolvers<T>()
    const stop = () => done.reject(signal.reason)
    signal.throwIfAborted()
    signal.addEventListener('abort', stop, { once: true })
    void this.#options.control.inTurn(async () => {
      signal.removeEventListener('abort', stop) // what has begun is waited for, and hears of it itself
      if (!signal.aborted) await work().then(done.resolve, done.reject)
    })
    return done.promise
  }

  async #run({ request, selection, by }: ForgetMessage): Promise<Answer> {
    const { handler, log } = this.#options
    const stop = this.#abort.signal
    const signal = AbortSignal.any([stop, AbortSignal.timeout(FORGET_MS_MAX)])
    const places: Forgotten[] = []
    let error: Answer['error']
    try {
      for await (const item of handler({ selection, dryRun: false }, signal)) {
        const { place, ...counted } = item as Forgotten
        if (places.length < PLACES_MAX)
          places.push({ ...counted, place: place.slice(0, PLACE_CHARACTERS_MAX) })
      }
    } catch (thrown) {
      stop.throwIfAborted() // it stays, and runs again at the next start
      const { code, message } = asFailure(
        signal.aborted
          ? failure('PROGRAM_GONE', `It took longer than ${FORGET_MS_MAX} ms. Ask again.`)
          : thrown,
      )
      error = { code, message: message.slice(0, MESSAGE_CHARACTERS_MAX) }
    }
    log.info({ request, by, selection, places, error }, 'forget, as asked for over the broker')
    return { v: STORED_VERSION, is: 'forgot', request, places, ...(error && { error }) }
  }

  /** Killed in between, it runs and is answered again. */
  async #answer(sequence: number, answer: Answer): Promise<void> {
    const { store, announcements } = this.#options
    for (;;) {
      try {
        await announcements.forgot(answer)
        break
      } catch (error) {
        const { code } = asFailure(error)
        if (code !== 'QUEUE_FULL' && code !== 'DISK_FULL') throw error
        await sleep(RETRY_MS, undefined, { signal: this.#abort.signal })
      }
    }
    this.#remember(answer)
    void this.#queue.forwarded(sequence)
    await store.committed()
  }

  #remember(answer: Answer): void {
    const { store } = this.#options
    this.#answers.set(answer.request, answer)
    void store.put(ANSWERS_TABLE, answer.request, Buffer.from(JSON.stringify(answer)))
    for (const request of this.#answers.keys()) {
      if (this.#answers.size <= ANSWERS_MAX) return
      this.#answers.delete(request)
      void store.remove(ANSWERS_TABLE, request)
    }
  }

  /** What is under way stays in the queue, and runs again at the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#queue.onEntries = undefined
    this.#abort.abort(failure('PROGRAM_GONE', 'The subscriber is stopping.'))
    await this.#working
  }
}

type Reading =
  | { readonly message: ForgetMessage }
  | { readonly why: string; readonly request: string | undefined }

/** Never throws, whatever the bytes. */
function read(payload: Buffer): Reading {
  if (payload.length > FORGET_MESSAGE_BYTES_MAX)
    return { why: `${payload.length} bytes, of at most ${FORGET_MESSAGE_BYTES_MAX}`, request: undefined }
  let json: unknown
  try {
    json = JSON.parse(payload.toString())
  } catch {
    return { why: 'not JSON', request: undefined }
  }
  const reading = forgetMessageSchema.safeParse(json)
  if (reading.success) return { message: reading.data }
  const [issue] = reading.error.issues
  const request =
    typeof json === 'object' && json !== null && 'request' in json && typeof json.request === 'string'
      ? ID_PATTERN.exec(json.request)?.[0]
      : undefined
  return { why: `"${issue?.path.join('.')}": ${issue?.message}`, request }
}
