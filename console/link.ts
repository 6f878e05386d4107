import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { type LinkOptions, MqttLink, type ReceivedPublish } from '../lib/mqtt/link.ts'
import { keepConnected } from '../lib/reconnect.ts'

/**
 * The console's second connection, for what nobody keeps for it: programs' reports, states, live pictures, and commands the
 * other way. Its session ends with it; what is retained comes again on each new one.
 */

export interface LineLinkOptions {
  readonly link: LinkOptions
  readonly filters: readonly string[]
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  readonly onMessage: (topic: string, payload: Buffer) => void
  /** A new connection: what was asked of the last one is asked again. */
  readonly onConnected: () => void
  readonly log: Log
}

/** Published and not acknowledged. */
const IN_FLIGHT_MAX = 1000

export class LineLink implements AsyncDisposable {
  readonly #options: LineLinkOptions
  readonly #abort = new AbortController()
  readonly #inFlight = new Map<number, PromiseWithResolvers<void>>()
  readonly #running: Promise<void>
  #link: MqttLink | undefined
  #fault: SightlineError | undefined
  /** Of the present connection: a filter that the broker does not allow. */
  #refused: SightlineError | undefined
  #messageId = 0

  private constructor(options: LineLinkOptions) {
    this.#options = options
    this.#running = this.#run()
  }

  static open(options: LineLinkOptions): LineLink {
    return new LineLink(options)
  }

  get connected(): boolean {
    return this.#link !== undefined
  }

  /** Why there is no connection, or not all comes over it, for people. */
  get fault(): string | undefined {
    return this.#link ? this.#refused?.message : (this.#fault?.message ?? 'connecting')
  }

  /** At QoS 1. @returns when the broker has acknowledged it. Errors: BROKER_UNREACHABLE, TOO_MANY */
  async publish(topic: string, payload: Buffer, { retain = false } = {}): Promise<void> {
    const link = this.#link
    if (!link) throw failure('BROKER_UNREACHABLE', 'The broker is not connected at the moment. Try again.')
    if (this.#inFlight.size >= IN_FLIGHT_MAX)
      throw failure('TOO_MANY', 'Too many messages wait for the broker. Try again in a moment.')
    do this.#messageId = (this.#messageId % 65_535) + 1
    while (this.#inFlight.has(this.#messageId))
    const messageId = this.#messageId
    const acknowledged = Promise.withResolvers<void>()
    this.#inFlight.set(messageId, acknowledged)
    link.publish({ topic, payload, messageId, dup: false, retain })
    await acknowledged.promise
  }

  /** At QoS 0: of use now or not at all. Without a connection it is nothing. */
  publishLive(topic: string, payload: Buffer): void {
    this.#link?.publishLive(topic, payload)
  }

  async #run(): Promise<void> {
    const { link: options, reconnectMsMin, reconnectMsMax, log } = this.#options
    const { signal } = this.#abort
    let warnedOf: SightlineError | undefined
    const warn = throttled((count) => log.warn({ code: warnedOf?.code, count }, warnedOf?.message))
    await keepConnected(
      { delayMsMin: reconnectMsMin, delayMsMax: reconnectMsMax },
      signal,
      async () => {
        await using link = await MqttLink.open(options, signal)
        const ended = this.#listen(link)
        await this.#subscribe(link)
        this.#link = link
        this.#fault = undefined
        this.#options.onConnected()
        const stop = () => link.emit('close', undefined)
        signal.addEventListener('abort', stop, { once: true })
        const fault = await ended
        signal.removeEventListener('abort', stop)
        this.#lose(fault)
        return { fault, wasGood: true }
      },
      (error) => {
        this.#fault = asFailure(error)
        warnedOf = this.#fault
        warn()
      },
    )
    this.#lose(undefined)
  }

  /** A broker of an earlier version, or with rules of its own, may refuse some: what the others bring goes on. */
  async #subscribe(link: MqttLink): Promise<void> {
    const { filters, log } = this.#options
    const refused: SightlineError[] = []
    for (const filter of filters) {
      try {
        await link.subscribe(filter, 1, this.#abort.signal)
      } catch (error) {
        const fault = asFailure(error)
        if (link.closed || fault.code !== 'BROKER_REFUSED') throw error
        refused.push(fault)
        if (refused.length === filters.length) throw error
        log.warn({ code: fault.code, filter }, fault.message)
      }
    }
    this.#refused = refused[0]
  }

  #listen(link: MqttLink): Promise<SightlineError | undefined> {
    const ended = Promise.withResolvers<SightlineError | undefined>()
    link.once('close', (fault) => ended.resolve(fault))
    link.on('puback', (messageId) => {
      this.#inFlight.get(messageId)?.resolve()
      this.#inFlight.delete(messageId)
    })
    link.on('publish', ({ topic, payload, qos, messageId }: ReceivedPublish) => {
      if (qos > 0 && messageId !== undefined) link.puback(messageId)
      this.#options.onMessage(topic, payload)
    })
    return ended.promise
  }

  #lose(fault: SightlineError | undefined): void {
    this.#link = undefined
    this.#fault = fault
    for (const { reject } of this.#inFlight.values())
      reject(failure('BROKER_UNREACHABLE', 'The connection to the broker was lost. Try again.', fault))
    this.#inFlight.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error('the console is stopping'))
    await this.#running
  }
}
