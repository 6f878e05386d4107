import { Backoff } from '../../lib/backoff.ts'
import { asFailure, failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import type { ProcessorConfig } from '../config.ts'
import {
  PROCESSOR_HUNG_FACTOR,
  PROCESSOR_RETRY_MS_MAX,
  PROCESSOR_RETRY_MS_MIN,
  PROCESSOR_WELL_MS,
} from '../limits.ts'
import type { Meters } from '../meters.ts'
import type { Processor } from './processor.ts'

export interface SupervisedParts {
  readonly config: ProcessorConfig
  readonly open: (config: ProcessorConfig) => Promise<Processor>
  readonly meters: Pick<Meters, 'processorUp' | 'processorsEnded'>
  readonly log: Log
  readonly onState: () => void
  /** For tests. */
  readonly retryMsMin?: number
}

/** What it is asked. */
export type Ability = 'attributes' | 'see' | 'picture'

/**
 * A processor that is kept running. Whoever asks it waits for no longer than its `timeout`; while an answer is late, nobody else
 * waits at all; and when none has come for some times as long, it hangs and is ended. One that has ended, however, is
 * opened again with backoff.
 */
export class Supervised implements AsyncDisposable {
  readonly config: ProcessorConfig
  readonly #parts: SupervisedParts
  readonly #backoff: Backoff
  readonly #closing = new AbortController()
  /** What is asked and not answered, of each kind. */
  readonly #asked = { attributes: 0, see: 0, picture: 0 }
  /** Of those, the ones that are not waited for any longer. */
  #late = 0
  #answeredMs = 0
  /** As it was opened last: what it is and can is known also while it is down. */
  #processor: Processor
  #why: string | undefined
  /** What it ended of last, while it runs again and has shown nothing yet. */
  #doubt: string | undefined
  #keeping: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined

  private constructor(parts: SupervisedParts, processor: Processor) {
    this.config = parts.config
    this.#parts = parts
    this.#processor = processor
    this.#backoff = new Backoff({
      delayMsMin: parts.retryMsMin ?? PROCESSOR_RETRY_MS_MIN,
      delayMsMax: PROCESSOR_RETRY_MS_MAX,
    })
  }

  /** Errors: those of opening it. */
  static async open(parts: SupervisedParts): Promise<Supervised> {
    const supervised = new Supervised(parts, await parts.open(parts.config))
    parts.meters.processorUp.set({ processor: parts.config.name }, 1)
    supervised.#keeping = supervised.#keep()
    return supervised
  }

  get by(): string {
    return this.#processor.by
  }

  get frames(): 'scaled' | 'full' {
    return this.#processor.frames ?? 'scaled'
  }

  /** Why it cannot be asked at the moment; undefined: it can. */
  get why(): string | undefined {
    return this.#why
  }

  /**
   * The same, for people. One that was started again works once it has answered, or has run for a while: one that fails at
   * each face would otherwise be told of anew at each start.
   */
  get trouble(): string | undefined {
    return this.#why ?? this.#doubt
  }

  can(what: Ability): boolean {
    return this.#processor[what] !== undefined
  }

  /** Whether one more would not wait for long. */
  hasRoom(what: Ability, max: number): boolean {
    return this.#why === undefined && this.#late === 0 && this.#asked[what] < max
  }

  /**
   * @param max how many it may have at a time that are not answered
   * Errors: what it rejects with; PROCESSOR_FAILED, it is down; PROCESSOR_LATE, it takes too long, or is busy.
   */
  async ask<T>(what: Ability, max: number, call: (processor: Processor) => Promise<T>): Promise<T> {
    const { name, timeout } = this.config
    if (this.#why !== undefined)
      throw failure('PROCESSOR_FAILED', `"${name}" does not work at the moment: ${this.#why}`)
    if (this.#late > 0)
      throw failure('PROCESSOR_LATE', `"${name}" is busy: it has not answered for more than ${timeout} ms.`)
    if (this.#asked[what] >= max)
      throw failure('PROCESSOR_LATE', `"${name}" is busy: ${max} wait for it already.`)
    const processor = this.#processor
    const late = Promise.withResolvers<never>()
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.#late += 1
      late.reject(failure('PROCESSOR_LATE', `"${name}" did not answer within ${timeout} ms.`))
      this.#watch(processor, () => isLate)
    }, timeout)
    this.#asked[what] += 1
    const answer = call(processor).finally(() => {
      clearTimeout(timer)
      this.#asked[what] -= 1
      this.#answeredMs = performance.now()
      if (isLate) this.#late -= 1
      isLate = false
    })
    answer.then(
      () => this.#trust(processor),
      () => {}, // nobody waits for it where it is late
    )
    return await Promise.race([answer, late.promise])
  }

  #trust(processor: Processor): void {
    if (this.#doubt === undefined || this.#why !== undefined || this.#processor !== processor) return
    const { log, meters, onState } = this.#parts
    const { name } = this.config
    this.#doubt = undefined
    meters.processorUp.set({ processor: name }, 1)
    log.info({ processor: name, attempt: this.#backoff.attempts }, 'works again')
    onState()
  }

  /** Ends it where it does not answer at all. */
  #watch(processor: Processor, isLate: () => boolean): void {
    const hungMs = (PROCESSOR_HUNG_FACTOR - 1) * this.config.timeout
    const timer = setInterval(() => {
      if (!isLate() || this.#closing.signal.aborted) return clearInterval(timer)
      if (performance.now() - this.#answeredMs < hungMs) return
      clearInterval(timer)
      const ms = PROCESSOR_HUNG_FACTOR * this.config.timeout
      void processor.kill?.(failure('PROCESSOR_FAILED', `It hangs: no answer for ${ms} ms.`))
    }, hungMs).unref()
  }

  /** Opens it again whenever it has ended. Never rejects. */
  async #keep(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const openedMs = performance.now()
      const processor = this.#processor
      const trusting = setTimeout(() => this.#trust(processor), PROCESSOR_WELL_MS).unref()
      const error = await processor.ended
      clearTimeout(trusting)
      if (signal.aborted || !this.#processor.ended) return
      if (performance.now() - openedMs >= PROCESSOR_WELL_MS) this.#backoff.reset()
      this.#parts.meters.processorsEnded.inc({ processor: this.config.name })
      this.#down(error ?? failure('PROCESSOR_FAILED', 'It has ended.'))
      await this.#reopen(signal)
    }
  }

  async #reopen(signal: AbortSignal): Promise<void> {
    const { open, log } = this.#parts
    const { name } = this.config
    while (!signal.aborted) {
      try {
        await this.#backoff.wait(signal)
        const processor = await open(this.config)
        if (signal.aborted) return await processor[Symbol.asyncDispose]()
        this.#processor = processor
        this.#doubt = this.#why
        this.#why = undefined
        log.info({ processor: name, attempt: this.#backoff.attempts }, 'started again')
        return
      } catch (error) {
        if (!signal.aborted) this.#down(error)
      }
    }
  }

  #down(error: unknown): void {
    const { log, meters, onState } = this.#parts
    const { code, message } = asFailure(error)
    const isSaid = message === (this.#why ?? this.#doubt)
    this.#why = message
    this.#doubt = undefined
    if (isSaid) return
    meters.processorUp.set({ processor: this.config.name }, 0)
    log.error({ code, processor: this.config.name }, `"${this.config.name}" has ended: ${message}`)
    onState()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    // What hangs would not hear that it is to end.
    if (this.#late > 0)
      await this.#processor.kill?.(failure('PROCESSOR_LATE', 'It was to end, and was busy.'))
    await this.#processor[Symbol.asyncDispose]()
    await this.#keeping
    this.#parts.meters.processorUp.remove({ processor: this.config.name })
  }
}
