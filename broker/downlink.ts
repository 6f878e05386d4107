import { asFailure, type SightlineError } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { AcknowledgeInOrder } from '../lib/mqtt/acknowledge-in-order.ts'
import type { LinkOptions, MqttLink, ReceivedPublish } from '../lib/mqtt/link.ts'
import { isFinal } from '../wire/refusals.ts'
import type { FarBroker } from './bridge.ts'
import { keepLink } from './keep-link.ts'
import { type BridgeTopic, TopicMap, turned } from './topic-map.ts'
import { FROM_SOMEWHERE, markedFilter, readMark, type Via } from './via.ts'

/**
 * The other direction of a bridge: what the other broker has for this one (commands for devices, and what they shall be).
 * A session there keeps it while the link is down; here it is accepted as from any client, and acknowledged when it is
 * kept. What comes from a broker of ours says which brokers it has passed, so that it goes to none of them again, and no
 * topic goes both ways (config.ts).
 *
 * A connection of its own, because its session outlives it, and the uplink's must not.
 */
export interface DownlinkOptions {
  readonly name: string
  /** Its session is kept (`clean: false`). */
  readonly link: LinkOptions
  /** As seen from here: `filter` and `from` are this side's. */
  readonly topics: readonly BridgeTopic[]
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  /** Resolves when it is known, which takes a connection of the bridge's other direction. */
  readonly farBroker: () => Promise<FarBroker>
  /** Of this broker. */
  readonly brokerId: string
  /** Resolves when the message is safe and on its way to who listens. Errors: those of custody */
  readonly deliver: (message: Pick<ReceivedPublish, 'topic' | 'payload' | 'qos'>, via: Via) => Promise<void>
  readonly log: Log
}

export class Downlink implements AsyncDisposable {
  readonly #options: DownlinkOptions
  /** From the other side's topics to ours. */
  readonly #topics: TopicMap
  readonly #filters: readonly string[]
  readonly #abort = new AbortController()
  readonly #running: Promise<void>
  #fault: SightlineError | undefined
  #connected = false
  /** One of several filters is not allowed there: what the others bring goes on. */
  #refused: SightlineError | undefined

  constructor(options: DownlinkOptions) {
    this.#options = options
    const turnedTopics = options.topics.map(turned)
    this.#topics = new TopicMap(turnedTopics)
    this.#filters = turnedTopics.map(({ filter }) => filter)
    this.#running = keepLink(
      {
        ...options,
        bridge: options.name,
        onFault: (fault) => {
          this.#fault = fault
        },
      },
      this.#abort.signal,
      (link) => this.#serve(link),
    )
  }

  get connected(): boolean {
    return this.#connected
  }

  /** Why nothing comes, or not all, for people. */
  get fault(): string | undefined {
    return this.#connected ? this.#refused?.message : (this.#fault?.message ?? 'connecting')
  }

  async #serve(link: MqttLink): Promise<SightlineError | undefined> {
    const { log, name, link: linkOptions, farBroker, brokerId } = this.#options
    const { signal } = this.#abort
    const ended = Promise.withResolvers<SightlineError | undefined>()
    const onAbort = () => ended.resolve(undefined)
    signal.addEventListener('abort', onAbort, { once: true })
    link.once('close', (fault) => ended.resolve(fault))
    const acknowledgements = new AcknowledgeInOrder((messageId) => link.puback(messageId))
    link.on('publish', (packet) => {
      const kept = this.#receive(packet)
      const failed = (error: unknown) => link.destroy(asFailure(error))
      if (packet.messageId === undefined) kept.catch(failed)
      else acknowledgements.add(packet.messageId, kept, failed)
    })
    try {
      const far = await Promise.race([farBroker(), ended.promise.then(throwIfFault)])
      const refused: SightlineError[] = []
      for (const filter of this.#filters) {
        const wanted = far?.id === undefined ? filter : markedFilter(brokerId, filter)
        try {
          await Promise.race([link.subscribe(wanted, 1), ended.promise.then(throwIfFault)])
        } catch (error) {
          const fault = asFailure(error)
          refused.push(fault)
          // A broker of an earlier version gives a bridge fewer rights: commands go on.
          if (link.closed || fault.code !== 'BROKER_REFUSED' || refused.length === this.#filters.length)
            throw error
          log.warn({ bridge: name, code: fault.code, filter }, fault.message)
        }
      }
      this.#refused = refused[0]
      this.#connected = !link.closed
      log.info({ bridge: name, url: linkOptions.url, filters: this.#filters }, 'downlink connected')
      return await ended.promise
    } finally {
      this.#connected = false
      signal.removeEventListener('abort', onAbort)
      await link[Symbol.asyncDispose]()
    }
  }

  /** What can never be taken is said and let go of; whatever passes ends the connection, and it comes again. */
  async #receive({ topic, payload, qos }: ReceivedPublish): Promise<void> {
    const { deliver, log, name } = this.#options
    try {
      const marked = readMark(topic)
      const here = this.#topics.map(marked?.topic ?? topic)
      if (here === undefined) return // a subscription of an earlier configuration
      await deliver({ topic: here, payload, qos }, marked?.via ?? FROM_SOMEWHERE)
    } catch (error) {
      const fault = asFailure(error)
      if (!isFinal(fault)) throw fault
      log.warn({ bridge: name, code: fault.code, topic }, `refused a downlink message: ${fault.message}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error('the downlink is closing'))
    await this.#running
  }
}

function throwIfFault(fault: SightlineError | undefined): void {
  if (fault) throw fault
}
