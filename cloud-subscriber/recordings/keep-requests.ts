import { Backoff } from '../../lib/backoff.ts'
import { asFailure, failure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { Queue } from '../../store/queue.ts'
import type { Store } from '../../store/store.ts'
import { KEEP_MESSAGE_BYTES_MAX, type KeepMessage, keepMessageSchema } from '../../wire/keep.ts'
import type { KeepMarks, Refusal } from './keep-marks.ts'

/**
 * Requests to keep a stretch of recordings, on `<prefix>/keep/<subscriber>`, one after the other. One is acknowledged when
 * it is on disk here, and leaves when the bucket has it and the answer is among the announcements. Killed in between it is
 * done again, which changes nothing. One that comes twice is answered twice and done once: what was asked for since holds.
 *
 * Who may ask is the broker's to say, by the right to publish there.
 */

export interface KeepRequestsOptions {
  readonly store: Store
  readonly marks: Pick<KeepMarks, 'apply' | 'repeat'>
  readonly log: Log
}

const QUEUE = 'keep requests'
const REQUESTS_MAX = 1000
/** Remembered for requests that come again. */
const ANSWERED_MAX = 1000
const ANSWERED_TABLE = 'keep answers'
const RETRY = { delayMsMin: 500, delayMsMax: 30_000 }

export class KeepRequests implements AsyncDisposable {
  readonly #options: KeepRequestsOptions
  readonly #queue: Queue
  readonly #abort = new AbortController()
  /** By request, the oldest first: why it could not be done, or nothing. */
  readonly #answered = new Map<string, Refusal | undefined>()
  readonly #damaged: (why: string) => void
  #working: Promise<void> | undefined
  /** More came while it worked. */
  #again = false

  private constructor(options: KeepRequestsOptions) {
    const { store, log } = options
    this.#options = options
    this.#queue = store.queue(QUEUE, {
      entriesMax: REQUESTS_MAX,
      bytesMax: REQUESTS_MAX * KEEP_MESSAGE_BYTES_MAX,
      ageMsMax: Number.POSITIVE_INFINITY,
      whenFull: 'reject',
    })
    for (const { key, value } of store.entries(ANSWERED_TABLE))
      this.#answered.set(
        String(key),
        (JSON.parse(Buffer.from(value).toString()) as { fault?: Refusal }).fault,
      )
    this.#damaged = throttled((count, why) =>
      log.warn({ code: 'USAGE', count, why }, 'a request to keep recordings cannot be read'),
    )
    this.#queue.rewind()
    this.#queue.onEntries = () => this.#work()
    this.#work()
  }

  static open(options: KeepRequestsOptions): KeepRequests {
    return new KeepRequests(options)
  }

  /**
   * @returns when it is on disk; one that there is no room for is not answered, and whoever asked asks again. Errors,
   *   rejected with: DISK_FULL, STORE_IO
   */
  async take(payload: Buffer): Promise<void> {
    const message = read(payload)
    if (typeof message === 'string') return this.#damaged(message)
    if (this.#queue.has(message.request)) return this.#options.store.committed() // its answer comes
    try {
      await this.#options.store.accept(
        { header: Buffer.from('{}'), body: Buffer.from(JSON.stringify(message)) },
        [this.#queue],
        { key: message.request },
      )
    } catch (error) {
      const { code, message: why } = asFailure(error)
      if (code !== 'QUEUE_FULL') throw error
      this.#options.log.warn({ code: 'TOO_MANY', request: message.request }, why)
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
        this.#options.log.error({ code }, `a request to keep recordings waits for the next start: ${message}`)
      })
      .finally(() => {
        this.#working = undefined
        if (this.#again && !this.#abort.signal.aborted) this.#work()
      })
  }

  async #workOff(): Promise<void> {
    const { store } = this.#options
    for (let sequence = this.#queue.take(); sequence !== undefined; sequence = this.#queue.take()) {
      const entry = this.#queue.read(sequence)
      if (!entry) continue
      await this.#answer(keepMessageSchema.parse(JSON.parse(entry.body.toString())))
      void this.#queue.forwarded(sequence)
      await store.committed()
    }
  }

  /** Until it is done, or cannot be. */
  async #answer(message: KeepMessage): Promise<void> {
    const { marks, log } = this.#options
    const { signal } = this.#abort
    const backoff = new Backoff(RETRY)
    for (;;) {
      signal.throwIfAborted()
      try {
        if (this.#answered.has(message.request))
          return await marks.repeat(message, this.#answered.get(message.request))
        const fault = await marks.apply(message)
        const { request, site, device, camera, keep, fromMs, toMs, by } = message
        log.info(
          { request, by, camera: `${site}/${device}/${camera}`, keep, fromMs, toMs, code: fault?.code },
          'keep, as asked for over the broker',
        )
        this.#remember(request, fault)
        return
      } catch (error) {
        const { code, message: why } = asFailure(error)
        log.warn({ code, request: message.request }, `a request to keep recordings is tried again: ${why}`)
        await backoff.wait(signal)
      }
    }
  }

  #remember(request: string, fault: Refusal | undefined): void {
    const { store } = this.#options
    const kept = fault && { code: fault.code, message: fault.message }
    this.#answered.set(request, kept)
    void store.put(ANSWERED_TABLE, request, Buffer.from(JSON.stringify({ fault: kept })))
    for (const oldest of this.#answered.keys()) {
      if (this.#answered.size <= ANSWERED_MAX) return
      this.#answered.delete(oldest)
      void store.remove(ANSWERED_TABLE, oldest)
    }
  }

  /** What is under way stays in the queue, and is done again at the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#queue.onEntries = undefined
    this.#abort.abort(failure('PROGRAM_GONE', 'The subscriber is stopping.'))
    await this.#working
  }
}

/** Never throws, whatever the bytes. @returns the message, or what is wrong */
function read(payload: Buffer): KeepMessage | string {
  if (payload.length > KEEP_MESSAGE_BYTES_MAX)
    return `${payload.length} bytes, of at most ${KEEP_MESSAGE_BYTES_MAX}`
  let json: unknown
  try {
    json = JSON.parse(payload.toString())
  } catch {
    return 'not JSON'
  }
  const reading = keepMessageSchema.safeParse(json)
  if (reading.success) return reading.data
  const [issue] = reading.error.issues
  return `"${issue?.path.join('.')}": ${issue?.message}`
}
