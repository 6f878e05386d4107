import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../../../lib/backoff.ts'
import { asFailure, failure, SightlineError } from '../../../lib/errors.ts'
import type { Log } from '../../../lib/log.ts'
import {
  SERVER_AWAY_MS_MAX,
  SERVER_BUSY_MS_MAX,
  SERVER_DENIED_MS,
  SERVER_READY_EVERY_MS,
  SERVER_READY_MS_MAX,
  SERVER_REST_MS_MAX,
  SERVER_REST_MS_MIN,
  SERVERS_ASKED_MAX,
} from '../../limits.ts'
import type { Meters } from '../../meters.ts'

/** Another machine, or another process, that can be asked. Both heed their signal, and settle soon once it is aborted. */
export interface AskedServer<Input, Output> {
  /** For people, and as a label of what is counted: without user and password. */
  readonly address: string
  /** Resolves where it can be asked now. Errors: what is wrong, in a sentence. */
  ready(signal: AbortSignal): Promise<void>
  /** Errors: ServerBusy; INFERENCE_WRONG where its answer is none; whatever else counts as INFERENCE_UNAVAILABLE. */
  ask(input: Input, signal: AbortSignal): Promise<Output>
}

/** It works, and has no room at the moment: another is asked, and this one again after a while. */
export class ServerBusy extends Error {
  override readonly name = 'ServerBusy'
  readonly retryAfterMs: number

  constructor(message: string, retryAfterMs: number) {
    super(message)
    this.retryAfterMs = Math.min(Math.max(retryAfterMs, 0), SERVER_BUSY_MS_MAX)
  }
}

/** It does not know who asks: neither a token nor a certificate gets better by asking again soon. */
export class ServerDenied extends Error {
  override readonly name = 'ServerDenied'
}

export interface PoolOptions<Input, Output> {
  readonly servers: readonly AskedServer<Input, Output>[]
  /** Asked of one server at a time. */
  readonly inFlight: number
  /** For one look: waiting for a place, and all attempts, ms. */
  readonly deadlineMs: number
  readonly log: Log
  readonly meters: Pick<Meters, 'inferenceAsked' | 'inferenceFailed' | 'inferenceReady' | 'inferenceSeconds'>
  /** Called when a server can be asked, or no longer. */
  readonly changed?: () => void
}

export interface ServerState {
  readonly address: string
  readonly isUp: boolean
  /** Why it is not; undefined where it is. */
  readonly why: string | undefined
}

/** Why a server gave no answer. */
type Reason = 'late' | 'unavailable' | 'wrong' | 'busy'

interface Member<Input, Output> {
  readonly server: AskedServer<Input, Output>
  /** Grows with each failure to answer; answers reset it, readiness does not: what hangs may say that it is ready. */
  readonly rest: Backoff
  /** Grows with each time that it is not ready. */
  readonly away: Backoff
  /** So long it is left alone now, ms. */
  restMs: number
  isUp: boolean
  why: string | undefined
  /** It refused the token or the certificate when it was last asked. */
  isDenied: boolean
  /** It has come back and answered nothing yet: one at a time. */
  isOnTrial: boolean
  inFlight: number
  /** Of its answers, the recent ones counting most; 0 before the first, ms. */
  recentMs: number
  answeredAtMs: number
  /** It is not asked before, although it is up. By performance.now(). */
  busyUntilMs: number
  /** Counts how often it was taken out: what was found out before holds no longer. */
  failures: number
  /** Ends the wait of who watches it. */
  wake: () => void
}

interface Waiting<Input, Output> {
  readonly tried: ReadonlySet<Member<Input, Output>>
  /** What the one before failed of. */
  readonly failed: SightlineError | undefined
  readonly place: PromiseWithResolvers<Member<Input, Output>>
}

type Answered<Output> = { readonly output: Output } | { readonly failed: SightlineError }

/** A server that takes so many times as long as lately, and so long at least, ms, is slow: another is asked beside it. */
const SLOW_FACTOR = 4
const SLOW_MS_MIN = 100
/** Of a new answer's time in the recent one. */
const RECENT_SHARE = 0.2

/**
 * Servers of which any may be asked. Readiness is watched; the least busy is asked, and of those the one that has been faster.
 *
 *              ready                 an answer
 *     down  ---------->  on trial  ------------>  up
 *       ^                   |                      |
 *       +-------------------+----------------------+   late, unavailable, wrong: asked again after a growing while
 *
 * As many looks as there are places wait for one; further ones are late at once. A look has one deadline; what fails before
 * it is tried elsewhere, and what takes long is asked of an idle server, too: so a server that hangs holds up nobody for long.
 */
export class WorkerPool<Input, Output> implements AsyncDisposable {
  readonly #options: PoolOptions<Input, Output>
  readonly #members: readonly Member<Input, Output>[]
  readonly #waiting: Waiting<Input, Output>[] = []
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()

  private constructor(options: PoolOptions<Input, Output>) {
    this.#options = options
    this.#members = options.servers.map((server) => ({
      server,
      rest: new Backoff({ delayMsMin: SERVER_REST_MS_MIN, delayMsMax: SERVER_REST_MS_MAX }),
      away: new Backoff({ delayMsMin: SERVER_REST_MS_MIN, delayMsMax: SERVER_AWAY_MS_MAX }),
      restMs: 0,
      isUp: false,
      why: 'not asked yet',
      isDenied: false,
      isOnTrial: false,
      inFlight: 0,
      recentMs: 0,
      answeredAtMs: -Infinity,
      busyUntilMs: -Infinity,
      failures: 0,
      wake: () => {},
    }))
  }

  /** Asks each server once whether it is ready. That none is, is no error: they may come. */
  static async open<Input, Output>(options: PoolOptions<Input, Output>): Promise<WorkerPool<Input, Output>> {
    const pool = new WorkerPool(options)
    await Promise.all(pool.#members.map((member) => pool.#check(member)))
    for (const member of pool.#members) pool.#track(pool.#watch(member))
    return pool
  }

  get states(): readonly ServerState[] {
    return this.#members.map(({ server, isUp, why }) => ({
      address: server.address,
      isUp,
      why: isUp ? undefined : why,
    }))
  }

  /** Whether one can be asked. */
  get isUp(): boolean {
    return this.#members.some((it) => it.isUp)
  }

  /** Looks under way and waiting, at most. */
  get looksMax(): number {
    return this.#members.length * this.#options.inFlight * 2
  }

  /** Why none can be asked, in sentences that name each server once; undefined where one can. */
  get trouble(): string | undefined {
    if (this.isUp) return undefined
    const servers = this.#members.map(({ server: { address }, why = 'it is not known why' }) => {
      const sentence = `${why.replace(/\.$/, '')}.`
      return sentence.includes(address) ? sentence : `${address}: ${sentence}`
    })
    return ['No inference server can be asked.', ...servers].join(' ')
  }

  /**
   * Errors: INFERENCE_LATE after the deadline, or at once where too many wait already; INFERENCE_UNAVAILABLE where none can be
   * asked; INFERENCE_WRONG where what answered gave no answer.
   */
  async run(input: Input): Promise<Output> {
    const { deadlineMs } = this.#options
    this.#closing.signal.throwIfAborted()
    const deadline = new AbortController()
    // What has come by then is read first: this thread may have been held up itself.
    const timer = setTimeout(() => setImmediate(() => deadline.abort()), deadlineMs)
    const tried = new Set<Member<Input, Output>>()
    const triedMax = Math.min(SERVERS_ASKED_MAX, this.#members.length)
    const asks = new Set<Promise<Answered<Output>>>()
    const ask = (member: Member<Input, Output>) => {
      tried.add(member)
      const answer = this.#ask(member, input, deadline.signal)
      asks.add(answer)
      answer.catch(() => {}) // also where another has answered meanwhile
      return answer
    }
    const waiting = new Set<Promise<Answered<Output>>>()
    let failed: SightlineError | undefined
    try {
      for (;;) {
        let last: Member<Input, Output> | undefined
        if (waiting.size === 0) {
          last = await this.#place(tried, deadline.signal, failed)
          if (deadline.signal.aborted || this.#closing.signal.aborted) {
            this.#left(last)
            this.#closing.signal.throwIfAborted()
            throw failed ?? this.#allBusy()
          }
          waiting.add(ask(last))
        }
        const slowMs = last && Math.min(deadlineMs / 2, Math.max(SLOW_MS_MIN, SLOW_FACTOR * last.recentMs))
        const first = await firstOf(waiting, tried.size < triedMax ? slowMs : undefined)
        if (!first) {
          // Slower than it is: one that has nothing to do is asked beside it.
          const idle = this.#take(tried, 1)
          if (idle) waiting.add(ask(idle))
          continue
        }
        if ('output' in first.value) return first.value.output
        failed = first.value.failed
        waiting.delete(first.from)
        if (waiting.size === 0 && (deadline.signal.aborted || tried.size >= triedMax)) throw failed
      }
    } finally {
      // Whoever is still asked has until then.
      void Promise.allSettled(asks).then(() => clearTimeout(timer))
    }
  }

  /** One that may be asked now, and counts as asked. @param failed what the one before failed of */
  async #place(
    tried: ReadonlySet<Member<Input, Output>>,
    deadline: AbortSignal,
    failed: SightlineError | undefined,
  ): Promise<Member<Input, Output>> {
    const free = this.#take(tried)
    if (free) return free
    if (!this.#members.some((it) => it.isUp && !tried.has(it)))
      throw failed ?? failure('INFERENCE_UNAVAILABLE', this.trouble ?? '')
    if (this.#waiting.length >= this.#members.length * this.#options.inFlight)
      throw failure('INFERENCE_LATE', 'All inference servers are busy, and as many frames wait already.')
    const waiting = { tried, failed, place: Promise.withResolvers<Member<Input, Output>>() }
    const late = () => waiting.place.reject(failed ?? this.#allBusy())
    deadline.addEventListener('abort', late, { once: true })
    this.#waiting.push(waiting)
    try {
      return await waiting.place.promise
    } finally {
      deadline.removeEventListener('abort', late)
      const at = this.#waiting.indexOf(waiting)
      if (at >= 0) this.#waiting.splice(at, 1)
    }
  }

  #allBusy(): SightlineError {
    const { deadlineMs } = this.#options
    return failure(
      'INFERENCE_LATE',
      `All inference servers were busy for ${deadlineMs} ms ("detect.servers.deadline").`,
    )
  }

  /** The least busy, the proven, the faster: in this order. */
  #take(
    tried: ReadonlySet<Member<Input, Output>>,
    inFlightMax = this.#options.inFlight,
  ): Member<Input, Output> | undefined {
    const nowMs = performance.now()
    const [best] = this.#members
      .filter(
        (it) =>
          it.isUp &&
          !tried.has(it) &&
          it.busyUntilMs <= nowMs &&
          it.inFlight < (it.isOnTrial ? 1 : inFlightMax),
      )
      .sort(
        (a, b) =>
          a.inFlight - b.inFlight || Number(a.isOnTrial) - Number(b.isOnTrial) || a.recentMs - b.recentMs,
      )
    if (best) best.inFlight += 1
    return best
  }

  /** Places have become free, or have gone: whoever can goes on, and whoever has none to wait for. */
  #freed(): void {
    for (const waiting of [...this.#waiting]) {
      const member = this.#take(waiting.tried)
      if (member) waiting.place.resolve(member)
      else if (this.#members.some((it) => it.isUp && !waiting.tried.has(it))) continue
      else waiting.place.reject(waiting.failed ?? failure('INFERENCE_UNAVAILABLE', this.trouble ?? ''))
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
    }
  }

  async #ask(member: Member<Input, Output>, input: Input, deadline: AbortSignal): Promise<Answered<Output>> {
    const { meters, deadlineMs } = this.#options
    const { server } = member
    const failures = member.failures
    const startMs = performance.now()
    const signal = AbortSignal.any([deadline, this.#closing.signal])
    meters.inferenceAsked.inc({ server: server.address })
    const asked = (async () => await server.ask(input, signal))()
    // Its place is free when it has let go, whether or not somebody waits for it.
    this.#track(
      asked.then(
        () => this.#left(member),
        () => this.#left(member),
      ),
    )
    try {
      const output = await settledOr(asked, signal)
      const tookMs = performance.now() - startMs
      meters.inferenceSeconds.observe({ server: server.address }, tookMs / 1000)
      member.answeredAtMs = performance.now()
      member.recentMs += (member.recentMs === 0 ? 1 : RECENT_SHARE) * (tookMs - member.recentMs)
      if (failures === member.failures) {
        member.isOnTrial = false
        member.rest.reset()
        this.#freed()
      }
      return { output }
    } catch (error) {
      this.#closing.signal.throwIfAborted()
      const reason: Reason = deadline.aborted ? 'late' : reasonOf(error)
      meters.inferenceFailed.inc({ server: server.address, reason })
      if (error instanceof ServerBusy && reason === 'busy') {
        member.busyUntilMs = performance.now() + error.retryAfterMs
        setTimeout(() => this.#freed(), error.retryAfterMs + 1).unref()
        return {
          failed: failure('INFERENCE_LATE', `The inference server ${server.address} is busy.`, error),
        }
      }
      const failed =
        reason === 'late'
          ? failure(
              'INFERENCE_LATE',
              `The inference server ${server.address} did not answer within ${deadlineMs} ms ("detect.servers.deadline").`,
            )
          : asInference(error, reason)
      // What else was under way there says nothing new; nor does being late where others had taken the time.
      const hadTime = performance.now() - startMs > deadlineMs / 2
      if (failures === member.failures && (reason !== 'late' || hadTime)) this.#takeOut(member, failed)
      return { failed }
    }
  }

  #left(member: Member<Input, Output>): void {
    member.inFlight -= 1
    this.#freed()
  }

  #takeOut(member: Member<Input, Output>, error: SightlineError): void {
    member.failures += 1
    member.isDenied = isDenial(error)
    member.restMs = member.isDenied ? SERVER_DENIED_MS : member.rest.nextMs()
    this.#set(member, false, error)
    member.wake()
    this.#freed()
  }

  #set(member: Member<Input, Output>, isUp: boolean, error?: SightlineError): void {
    const { log, meters, changed } = this.#options
    const { address } = member.server
    const isNews = member.isUp !== isUp || member.why !== error?.message
    member.isUp = isUp
    member.why = error?.message
    meters.inferenceReady.set({ server: address }, isUp ? 1 : 0)
    if (!isNews) return
    if (error) log.warn({ server: address, code: error.code }, error.message)
    else log.info({ server: address }, 'the inference server is ready')
    changed?.()
  }

  /** From its opening to the pool's end. */
  async #watch(member: Member<Input, Output>): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const { failures } = member
      const wake = new AbortController()
      member.wake = () => wake.abort()
      const waitMs = member.isUp ? SERVER_READY_EVERY_MS * (0.75 + Math.random() / 2) : member.restMs
      await sleep(waitMs, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => {})
      if (signal.aborted || failures !== member.failures) continue
      const isIdle = performance.now() - member.answeredAtMs >= SERVER_READY_EVERY_MS
      if (!member.isUp || isIdle) await this.#check(member)
    }
  }

  async #check(member: Member<Input, Output>): Promise<void> {
    const { failures, server } = member
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), SERVER_READY_MS_MAX)
    const signal = AbortSignal.any([late.signal, this.#closing.signal])
    let failed: SightlineError | undefined
    try {
      await settledOr(server.ready(signal), signal)
    } catch (error) {
      failed = late.signal.aborted
        ? failure(
            'INFERENCE_UNAVAILABLE',
            `The inference server ${server.address} did not say within ${SERVER_READY_MS_MAX} ms that it is ready.`,
          )
        : asInference(error, reasonOf(error))
    } finally {
      clearTimeout(timer)
    }
    if (this.#closing.signal.aborted || failures !== member.failures) return
    // Asked too often with what it does not know, a server says no more than that it is busy.
    if (failed?.cause instanceof ServerBusy && member.isDenied) member.restMs = SERVER_DENIED_MS
    else if (failed) {
      if (member.isUp) member.failures += 1
      member.isDenied = isDenial(failed)
      member.restMs = member.isDenied ? SERVER_DENIED_MS : member.away.nextMs()
      this.#set(member, false, failed)
    } else if (!member.isUp) {
      member.isOnTrial = member.failures > 0
      member.isDenied = false
      member.away.reset()
      this.#set(member, true)
    }
    this.#freed()
  }

  #track(promise: Promise<unknown>): void {
    const running = promise.catch(() => {}).then(() => void this.#running.delete(running))
    this.#running.add(running)
  }

  /** What is under way fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(failure('INFERENCE_UNAVAILABLE', 'The inference servers are no longer asked.'))
    for (const { place } of this.#waiting.splice(0)) place.reject(this.#closing.signal.reason)
    await Promise.all(this.#running)
  }
}

/** The first of them that settles; undefined where none has after so long, if that is given. */
async function firstOf<Value>(
  promises: ReadonlySet<Promise<Value>>,
  ms: number | undefined,
): Promise<{ readonly from: Promise<Value>; readonly value: Value } | undefined> {
  let timer: NodeJS.Timeout | undefined
  const slow = new Promise<undefined>((resolve) => {
    if (ms !== undefined) timer = setTimeout(resolve, ms, undefined)
  })
  try {
    return await Promise.race([...[...promises].map(async (from) => ({ from, value: await from })), slow])
  } finally {
    clearTimeout(timer)
  }
}

/** What it settles to, or a rejection once the signal is aborted. */
async function settledOr<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  promise.catch(() => {}) // also where nobody waits for it any more
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

const isDenial = ({ cause }: SightlineError): boolean => cause instanceof ServerDenied

function reasonOf(error: unknown): Reason {
  if (error instanceof ServerBusy) return 'busy'
  if (!(error instanceof SightlineError)) return 'unavailable'
  return error.code === 'INFERENCE_WRONG' ? 'wrong' : error.code === 'INFERENCE_LATE' ? 'late' : 'unavailable'
}

/** What `ready` or `ask` failed of, by one of the codes that whoever asked knows. */
function asInference(error: unknown, reason: Reason): SightlineError {
  if (error instanceof ServerBusy || error instanceof ServerDenied)
    return failure('INFERENCE_UNAVAILABLE', error.message, error)
  const { message, code } = asFailure(error)
  if (code.startsWith('INFERENCE_')) return error as SightlineError
  return failure(reason === 'wrong' ? 'INFERENCE_WRONG' : 'INFERENCE_UNAVAILABLE', message, error)
}
