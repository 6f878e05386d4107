import QlobberSub, { type SubscriptionMatch } from 'qlobber/aedes/qlobber-sub.js'
import type { Queue, QueueBounds } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { Pump } from './pump.ts'

/**
 * Persistent sessions: who subscribed to what, and the queue of each. A declared queue is a session that exists
 * before its client first connects, so that nothing is acknowledged and kept nowhere meanwhile.
 */

/** MQTT wildcards; an empty level is a level [MQTT-4.7.1-3]. */
export const TOPIC_MATCHING = {
  wildcard_one: '+',
  wildcard_some: '#',
  separator: '/',
  match_empty_levels: true,
  // It throws beyond it. No topic or filter that is let in has so many levels: this is the second lock.
  max_words: 1100,
} as const

/** `#` stands alone in the last level, `+` alone in its level [MQTT-4.7.1-2, MQTT-4.7.1-3]; no NUL [MQTT-4.7.3-2]. */
export function isTopicFilter(filter: string): boolean {
  const levels = filter.split('/')
  const inPlace = (level: string, at: number) =>
    level === '+' || (level === '#' && at === levels.length - 1) || !/[#+]/.test(level)
  return !/^$|[\0\ufffd]/.test(filter) && levels.every(inPlace)
}

export interface Subscription {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly rh?: number
  readonly rap?: boolean
  readonly nl?: boolean
  readonly subscriptionIdentifier?: number
  /** It is a broker of ours with this id that subscribes, and wants to be told where a message has been (via.ts). */
  readonly brokerId?: string
}

export interface DeclaredQueue {
  readonly clientId: string
  readonly filters: readonly string[]
  readonly bounds: QueueBounds
  readonly inFlightMax: number
}

export interface SessionsOptions {
  readonly store: Store
  readonly declared: readonly DeclaredQueue[]
  /** For sessions that nobody declared: */
  readonly bounds: QueueBounds
  readonly inFlightMax: number
}

const SESSION_QUEUE = 'session/'
const TABLE_SUBSCRIPTIONS = 'subscriptions'
/** In flight at QoS 2: message ids and releases, so that exactly once holds across a restart of the broker. */
const TABLE_FLIGHTS = 'flights'
/** Topics whose keepers are remembered, so that matching costs one look-up a message. */
const MATCHES_CACHED_MAX = 10_000

export class Session {
  readonly clientId: string
  readonly declared: boolean
  readonly queue: Queue
  readonly pump: Pump
  /** By filter. */
  readonly subscriptions = new Map<string, Subscription>()

  constructor(clientId: string, declared: boolean, queue: Queue, inFlightMax: number) {
    this.clientId = clientId
    this.declared = declared
    this.queue = queue
    this.pump = new Pump(queue, inFlightMax)
  }

  /** Its client, a bridge of another broker's, gets its own messages back from no queue. */
  get noLocal(): boolean {
    return this.subscriptions.values().some(({ nl }) => nl === true)
  }

  /** The broker whose way down this is: it is told where a message has been, and gets none that it has had. */
  get brokerId(): string | undefined {
    return this.#brokerId
  }

  #brokerId: string | undefined

  subscribe(subscription: Subscription): void {
    this.subscriptions.set(subscription.topic, subscription)
    this.#brokerId = subscription.brokerId
  }

  /** Its client has a QoS 1 message. @returns false where it is more than that: QoS 2, or none of the pump's */
  acknowledge(messageId: number): boolean {
    const sequence = this.pump.find(messageId)
    if (sequence === undefined || this.pump.flights.get(sequence)?.exactlyOnce) return false
    return this.pump.acknowledge(messageId)
  }
}

export class Sessions {
  readonly #options: SessionsOptions
  readonly #store: Store
  readonly #sessions = new Map<string, Session>()
  readonly #trie = new QlobberSub(TOPIC_MATCHING)
  readonly #matches = new Map<string, ReadonlyMap<Session, 1 | 2>>()

  private constructor(options: SessionsOptions) {
    this.#options = options
    this.#store = options.store
  }

  static open(options: SessionsOptions): Sessions {
    const sessions = new Sessions(options)
    for (const { clientId, filters, bounds, inFlightMax } of options.declared) {
      const session = sessions.#make(clientId, bounds, inFlightMax, true)
      for (const topic of filters) sessions.#subscribe(session, { topic, qos: 1 })
    }
    for (const { key, value } of options.store.entries(TABLE_SUBSCRIPTIONS)) {
      const session = sessions.ensure(String(key))
      for (const subscription of JSON.parse(Buffer.from(value).toString()) as Subscription[])
        sessions.#subscribe(session, subscription)
    }
    // Sessions that the configuration declared once and that hold messages nobody will fetch stay readable.
    for (const name of options.store.queues.keys())
      if (name.startsWith(SESSION_QUEUE)) sessions.ensure(name.slice(SESSION_QUEUE.length))
    const flights = [...options.store.entries(TABLE_FLIGHTS)]
      .map(({ key, value }) => ({ key: String(key), at: splitFlightKey(String(key)), value }))
      .sort((a, b) => a.at[0] - b.at[0]) // sent again in the order they were sent
    for (const { key, at, value } of flights) {
      const [sequence, clientId] = at
      const session = sessions.#sessions.get(clientId)
      if (session?.queue.read(sequence)) session.pump.fly(sequence, JSON.parse(Buffer.from(value).toString()))
      else void options.store.remove(TABLE_FLIGHTS, key)
    }
    return sessions
  }

  get(clientId: string): Session | undefined {
    return this.#sessions.get(clientId)
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return this.#sessions.values()
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Those that came by themselves, and are limited. */
  get undeclared(): number {
    return this.#sessions.size - this.#options.declared.length
  }

  get subscriptionCount(): number {
    return this.#trie.subscriptionsCount
  }

  /** The session of a client, made where there is none. */
  ensure(clientId: string): Session {
    return (
      this.#sessions.get(clientId) ??
      this.#make(clientId, this.#options.bounds, this.#options.inFlightMax, false)
    )
  }

  /** Sessions that want a message of this topic kept for them, with the highest QoS they asked for. */
  wanting(topic: string): ReadonlyMap<Session, 1 | 2> {
    let found = this.#matches.get(topic)
    if (!found) {
      const sessions = new Map<Session, 1 | 2>()
      for (const { clientId, qos, topic: filter } of this.#trie.match(topic)) {
        const session = this.#sessions.get(clientId)
        if (session && qos > 0 && !(topic.startsWith('$') && /^[#+]/.test(filter))) {
          sessions.set(session, Math.max(sessions.get(session) ?? 1, qos) as 1 | 2)
        }
      }
      found = sessions
      if (this.#matches.size >= MATCHES_CACHED_MAX) this.#matches.clear()
      this.#matches.set(topic, found)
    }
    return found
  }

  /** Every subscription above QoS 0 that matches, as aedes asks for them. */
  match(topic: string): SubscriptionMatch[] {
    return this.#trie.match(topic)
  }

  /** @returns when it is on disk */
  async subscribe(clientId: string, subscriptions: readonly Subscription[]): Promise<void> {
    const session = this.ensure(clientId)
    for (const subscription of subscriptions) this.#subscribe(session, subscription)
    await this.#save(session)
  }

  async unsubscribe(clientId: string, filters: readonly string[]): Promise<void> {
    const session = this.#sessions.get(clientId)
    if (!session) return
    for (const filter of filters) {
      if (this.#declaredFilters(clientId).includes(filter)) continue // what the configuration declares, it alone ends
      session.subscriptions.delete(filter)
      this.#trie.remove(filter, { clientId, topic: filter })
    }
    this.#matches.clear()
    await this.#save(session)
  }

  /** Ends a session: its subscriptions and what waits for it. A declared queue stays. */
  async discard(clientId: string): Promise<void> {
    const session = this.#sessions.get(clientId)
    if (!session || session.declared) return
    for (const filter of session.subscriptions.keys()) this.#trie.remove(filter, { clientId, topic: filter })
    this.#matches.clear()
    this.#sessions.delete(clientId)
    void this.#store.remove(TABLE_SUBSCRIPTIONS, clientId)
    for (const sequence of session.pump.flights.keys()) void this.forgetFlight(session, sequence)
    await this.#store.removeQueue(session.queue)
  }

  async saveFlight(session: Session, sequence: number): Promise<void> {
    const flight = session.pump.flights.get(sequence)
    if (!flight) return
    void this.#store.put(
      TABLE_FLIGHTS,
      flightKey(sequence, session.clientId),
      Buffer.from(JSON.stringify(flight)),
    )
    await this.#store.committed() // with the message it speaks of
  }

  forgetFlight(session: Session, sequence: number): Promise<void> {
    return this.#store.remove(TABLE_FLIGHTS, flightKey(sequence, session.clientId))
  }

  #make(clientId: string, bounds: QueueBounds, inFlightMax: number, declared: boolean): Session {
    const session = new Session(
      clientId,
      declared,
      this.#store.queue(SESSION_QUEUE + clientId, bounds),
      inFlightMax,
    )
    this.#sessions.set(clientId, session)
    return session
  }

  #declaredFilters(clientId: string): readonly string[] {
    return this.#options.declared.find((queue) => queue.clientId === clientId)?.filters ?? []
  }

  #subscribe(session: Session, subscription: Subscription): void {
    const { topic, qos } = subscription
    const declared = this.#declaredFilters(session.clientId).includes(topic)
    session.subscribe(subscription)
    if (qos > 0 || declared)
      this.#trie.add(topic, {
        clientId: session.clientId,
        topic,
        qos: qos > 0 ? qos : 1,
        rh: subscription.rh,
        rap: subscription.rap,
        nl: subscription.nl,
      })
    else this.#trie.remove(topic, { clientId: session.clientId, topic })
    this.#matches.clear()
  }

  async #save(session: Session): Promise<void> {
    const subscriptions = [...session.subscriptions.values()]
    if (subscriptions.length === 0) await this.#store.remove(TABLE_SUBSCRIPTIONS, session.clientId)
    else
      await this.#store.put(TABLE_SUBSCRIPTIONS, session.clientId, Buffer.from(JSON.stringify(subscriptions)))
  }
}

const flightKey = (sequence: number, clientId: string) => `${sequence} ${clientId}`

function splitFlightKey(key: string): [number, string] {
  const at = key.indexOf(' ')
  return [Number(key.slice(0, at)), key.slice(at + 1)]
}
