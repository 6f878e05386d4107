import { once } from 'node:events'
import { type Duplex, Readable } from 'node:stream'
import { QlobberTrue } from 'qlobber'
import { failure } from '../lib/errors.ts'
import { type Amount, overShare } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { packMessage, type StoredMessage, unpackMessage } from './message.ts'
import { type Sessions, type Subscription, TOPIC_MATCHING } from './sessions.ts'
import { NOWHERE, type Via } from './via.ts'

/**
 * What aedes keeps, in our store: subscriptions, messages for sessions, retained messages, wills, QoS 2 receipts.
 * custody.ts has stored a message (and its retained copy) before aedes asks for it to be stored, and pumps serve the
 * sessions. Those calls have nothing left to do, which is what keeps aedes' deliveries in order (it drops a packet whose
 * counter is not above the last). The suite of `aedes-persistence/abstract` runs on this, behind custody.ts; its test says
 * what of it does not apply here.
 */

export interface PersistenceOptions {
  readonly store: Store
  readonly sessions: Sessions
  readonly retained: RetainedBounds
  /** Who shares what is bounded: by topic, and by client id. */
  readonly senderOf: (topic: string) => string
  readonly userOf: (clientId: string) => string | undefined
}

export interface RetainedBounds {
  readonly entriesMax: number
  readonly bytesMax: number
}

interface ClientLike {
  readonly id: string
}

export interface MqttPacket {
  cmd?: string
  topic: string
  payload: Buffer | string
  qos: 0 | 1 | 2
  retain?: boolean
  dup?: boolean
  messageId?: number
  brokerId?: string
  brokerCounter?: number
  clientId?: string
  /** The brokers that it has passed. */
  via?: Via
}

/** Stands for a session that has no subscriptions: aedes believes only in those that have some [MQTT-3.2.2-2]. */
export const NO_SUBSCRIPTION: Subscription = { topic: 'none', qos: 0 }
/** A client's QoS 2 messages that it has not released yet. */
const INCOMING_MAX = 1000
const INCOMING_BYTES_MAX = 64 * 1024 * 1024
/** Of all clients together; users share it as senders share a queue. */
const INCOMING_SUM: Amount = { entries: 100_000, bytes: 2 * 1024 * 1024 * 1024 }

const TABLE_RETAINED = 'retained'
const TABLE_WILLS = 'wills'
const TABLE_INCOMING = 'incoming'

export class Persistence {
  readonly #store: Store
  readonly #sessions: Sessions
  broker: { readonly id: string } | undefined
  /** QoS 2 messages that their senders have not released, and what each client and each user has of them. */
  readonly #incoming = new Map<string, { readonly bytes: number; readonly user: string }>()
  readonly #incomingOf = new Map<string, { entries: number; bytes: number }>()
  readonly #incomingOfUser = new Map<string, { entries: number; bytes: number }>()
  #incomingBytes = 0
  /** Retained: bytes by topic, and what each sender has of them. */
  readonly #retainedBytes = new Map<string, number>()
  readonly #retainedOf = new Map<string, { entries: number; bytes: number }>()
  #retainedBytesSum = 0
  readonly #retainedBounds: RetainedBounds
  #retainedReader: Duplex | undefined
  readonly #senderOf: (topic: string) => string
  readonly #userOf: (clientId: string) => string | undefined
  /** Which brokers a packet that aedes has in hand has passed, by its payload: of all it copies, that stays what it is. */
  readonly #viaOf = new WeakMap<object, Via>()
  /** Of these, those that aedes has not asked for yet. */
  readonly #gated = new Set<string>()

  /** Subscriptions on their way to disk, by the packet's list of them. */
  readonly #storing = new WeakMap<
    readonly Subscription[],
    { readonly clientId: string; readonly stored: Promise<void> }
  >()

  constructor({ store, sessions, retained, senderOf, userOf }: PersistenceOptions) {
    this.#store = store
    this.#sessions = sessions
    this.#retainedBounds = retained
    this.#senderOf = senderOf
    this.#userOf = userOf
    for (const { key, value } of store.entries(TABLE_INCOMING)) this.#count(String(key), value.length)
    for (const { key, value } of store.entries(TABLE_RETAINED)) this.#countRetained(String(key), value.length)
  }

  // aedes looks at the constructor's name: this must be an async function
  async setup(broker: { readonly id: string }): Promise<void> {
    this.broker = broker
  }

  async destroy(): Promise<void> {
    await this.#store.committed()
  }

  // --- retained -----------------------------------------------------------------------------------------------

  /** custody.ts has done it: `retain`. */
  async storeRetained(): Promise<void> {}

  /**
   * The last message of a topic, kept for those who subscribe later; an empty one clears it [MQTT-3.3.1-10].
   * Errors: RETAINED_FULL, thrown, where it does not fit; what was retained under the topic stays then.
   */
  retain(packet: MqttPacket): Promise<void> {
    const { topic } = packet
    if (packet.payload.length === 0) {
      this.#countRetained(topic, undefined)
      return this.#store.remove(TABLE_RETAINED, topic)
    }
    const value = packMessage(toStored(packet))
    this.#assertRetainedRoom(topic, value.length)
    this.#countRetained(topic, value.length)
    return this.#store.put(TABLE_RETAINED, topic, value)
  }

  #assertRetainedRoom(topic: string, bytes: number): void {
    const { entriesMax, bytesMax } = this.#retainedBounds
    const before = this.#retainedBytes.get(topic)
    const entriesFree = entriesMax - this.#retainedBytes.size
    const bytesFree = bytesMax - this.#retainedBytesSum + (before ?? 0)
    const own = this.#retainedOf.get(this.#senderOf(topic))
    // The same share as in a queue (store/store.ts), for the same reason.
    const isFull =
      bytes > bytesFree ||
      (before === undefined && entriesFree < 1) ||
      (own !== undefined &&
        overShare(
          { entries: before === undefined ? own.entries : 0, bytes: own.bytes },
          { entries: entriesFree, bytes: bytesFree },
        ))
    if (isFull)
      throw failure(
        'RETAINED_FULL',
        `A message of ${topic} was forwarded but not retained: ${this.#retainedBytes.size} messages (${this.#retainedBytesSum} bytes) are retained, ${own?.entries ?? 0} of them from the same sender. Clear some with empty messages, or raise "retained".`,
      )
  }

  #countRetained(topic: string, bytes: number | undefined): void {
    const before = this.#retainedBytes.get(topic)
    if (bytes === undefined) this.#retainedBytes.delete(topic)
    else this.#retainedBytes.set(topic, bytes)
    this.#retainedBytesSum += (bytes ?? 0) - (before ?? 0)
    addTo(
      this.#retainedOf,
      this.#senderOf(topic),
      (bytes === undefined ? 0 : 1) - (before === undefined ? 0 : 1),
      (bytes ?? 0) - (before ?? 0),
    )
  }

  /** On disk under this topic; writes under way are not seen. */
  retainedPayload(topic: string): Buffer | undefined {
    const body = this.#store.get(TABLE_RETAINED, topic)
    return body && unpackMessage(body).payload
  }

  /** For `viaOf`, where aedes has the packet next. */
  remember(payload: Buffer | string, via: Via | undefined): void {
    if (typeof payload !== 'string' && via !== undefined && via.length > 0) this.#viaOf.set(payload, via)
  }

  viaOf(payload: Buffer | string): Via {
    return (typeof payload === 'string' ? undefined : this.#viaOf.get(payload)) ?? NOWHERE
  }

  createRetainedStream(pattern: string): Readable {
    return this.createRetainedStreamCombi([pattern])
  }

  /** Who is about to be sent what is retained: only as fast as it reads. */
  paceRetained(reader: Duplex): void {
    this.#retainedReader = reader
  }

  createRetainedStreamCombi(patterns: readonly string[]): Readable {
    const reader = this.#retainedReader
    this.#retainedReader = undefined
    return Readable.from(this.#retained(patterns, reader))
  }

  async *#retained(patterns: readonly string[], reader: Duplex | undefined): AsyncGenerator<object> {
    for (const topic of this.#retainedTopics(patterns)) {
      if (reader && !(await hasRoom(reader))) return
      const body = this.#store.get(TABLE_RETAINED, topic)
      if (body) yield this.#retainedPacket(body)
    }
  }

  /** Topics alone: nobody may hold up the store for as long as a slow reader takes. */
  *#retainedTopics(patterns: readonly string[]): Generator<string> {
    // All that have wildcards in one pass: one a pattern would stop everybody else for as long as there are patterns.
    const matcher = new QlobberTrue(TOPIC_MATCHING)
    const wild = patterns.filter((pattern) => /[#+]/.test(pattern))
    for (const pattern of wild) matcher.add(pattern)
    for (const pattern of patterns) if (!wild.includes(pattern)) yield pattern
    if (wild.length === 0) return
    yield* [...this.#retainedBytes.keys()].filter((topic) => matcher.test(topic))
  }

  #retainedPacket(body: Uint8Array): object {
    const { topic, payload, qos, via } = unpackMessage(body)
    this.remember(payload, via)
    return { cmd: 'publish', id: this.broker?.id, topic, payload, qos, retain: true }
  }

  // --- subscriptions ------------------------------------------------------------------------------------------

  async addSubscriptions(
    client: ClientLike,
    subscriptions: readonly (Subscription & { allowed?: boolean })[],
  ): Promise<void> {
    // aedes hands over all of a packet's subscriptions with each of them: those that were refused, and those that it finds
    // malformed after this one, included.
    const storing = this.#storing.get(subscriptions)
    if (storing?.clientId === client.id) return storing.stored
    const stored = this.#sessions.subscribe(
      client.id,
      subscriptions.filter(({ allowed }) => allowed).map(plainSubscription),
    )
    this.#storing.set(subscriptions, { clientId: client.id, stored })
    await stored
  }

  async removeSubscriptions(client: ClientLike, filters: readonly string[]): Promise<void> {
    await this.#sessions.unsubscribe(client.id, filters)
  }

  async subscriptionsByClient(client: ClientLike): Promise<Subscription[]> {
    const session = this.#sessions.get(client.id)
    if (session?.subscriptions.size === 0) return [NO_SUBSCRIPTION]
    return [...(session?.subscriptions.values() ?? [])]
  }

  async subscriptionsByTopic(topic: string) {
    return this.#sessions.match(topic)
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    let clientsCount = 0
    for (const { subscriptions } of this.#sessions) if (subscriptions.size > 0) clientsCount += 1
    return { subsCount: this.#sessions.subscriptionCount, clientsCount }
  }

  async cleanSubscriptions(client: ClientLike): Promise<void> {
    await this.#sessions.discard(client.id)
  }

  getClientList(topic: string): Readable {
    const ids: string[] = []
    for (const { clientId, subscriptions } of this.#sessions) if (subscriptions.has(topic)) ids.push(clientId)
    return Readable.from(ids)
  }

  // --- messages for sessions ----------------------------------------------------------------------------------

  /** custody.ts has put it into the sessions' queues. */
  async outgoingEnqueue(): Promise<void> {}

  async outgoingEnqueueCombi(): Promise<void> {}

  /** The pumps send what waits. */
  outgoingStream(): Readable {
    return Readable.from([])
  }

  async outgoingUpdate(client: ClientLike, packet: MqttPacket): Promise<void> {
    const session = this.#sessions.get(client.id)
    const messageId = packet.messageId as number
    const sequence = session?.pump.find(messageId)
    // PUBREC for a retained message, or for one that is settled: PUBREL is the answer, and there is nothing to keep
    if (sequence === undefined && packet.cmd === 'pubrel') return
    if (!session || sequence === undefined) throw new Error('no such packet')
    const exactlyOnce = packet.cmd === 'pubrel' || packet.qos === 2
    session.pump.fly(sequence, { messageId, released: packet.cmd === 'pubrel', exactlyOnce })
    if (exactlyOnce) await this.#sessions.saveFlight(session, sequence)
  }

  async outgoingClearMessageId(client: ClientLike, { messageId }: MqttPacket): Promise<void> {
    const session = this.#sessions.get(client.id)
    if (!session || messageId === undefined) return
    const sequence = session.pump.find(messageId)
    if (sequence !== undefined && session.pump.flights.get(sequence)?.exactlyOnce)
      void this.#sessions.forgetFlight(session, sequence)
    session.pump.acknowledge(messageId)
  }

  // --- QoS 2 on the way in ------------------------------------------------------------------------------------

  /** True where this QoS 2 message was accepted before and its sender has not released it yet [MQTT-4.3.3]. */
  hasIncoming(client: ClientLike, messageId: number | undefined): boolean {
    return this.#incoming.has(incomingKey(client, messageId))
  }

  /** Errors: QUEUE_FULL, thrown, where the client has released none of many, or all clients together. */
  assertIncomingRoom({ id }: ClientLike): void {
    const own = this.#incomingOf.get(id)
    if (own && (own.entries >= INCOMING_MAX || own.bytes >= INCOMING_BYTES_MAX))
      throw failure(
        'QUEUE_FULL',
        `Client "${id}" has ${own.entries} messages at QoS 2 (${own.bytes} bytes) that it has not released. It must send PUBREL before it sends more.`,
      )
    const free = {
      entries: INCOMING_SUM.entries - this.#incoming.size,
      bytes: INCOMING_SUM.bytes - this.#incomingBytes,
    }
    const ofUser = this.#incomingOfUser.get(this.#userOf(id) ?? '')
    if (free.entries <= 0 || free.bytes <= 0 || (ofUser !== undefined && overShare(ofUser, free)))
      throw failure(
        'QUEUE_FULL',
        `There are ${this.#incoming.size} messages at QoS 2 (${this.#incomingBytes} bytes) that their senders have not released, ${ofUser?.entries ?? 0} of them from this user. Its clients must send PUBREL before they send more.`,
      )
  }

  incomingStorePacket(client: ClientLike, packet: MqttPacket): Promise<void> {
    const key = incomingKey(client, packet.messageId)
    if (this.#incoming.has(key)) return Promise.resolve()
    const value = packMessage(toStored(packet))
    this.#count(key, value.length)
    this.#gated.add(key)
    const written = this.#store.put(TABLE_INCOMING, key, value)
    // Not accepted: when it is sent again, it is no duplicate.
    written.catch(() => {
      this.#uncount(key)
      this.#gated.delete(key)
      void this.#store.remove(TABLE_INCOMING, key)
    })
    return written
  }

  async incomingGetPacket(client: ClientLike, packet: { messageId?: number }): Promise<object> {
    const key = incomingKey(client, packet.messageId)
    // Through our gate, and for aedes, which looks after that, the first time.
    if (this.#gated.delete(key)) throw new Error('no such packet')
    const body = this.hasIncoming(client, packet.messageId) ? this.#store.get(TABLE_INCOMING, key) : undefined
    if (!body) throw new Error('no such packet')
    return toPacket(unpackMessage(body), packet.messageId)
  }

  async incomingDelPacket(client: ClientLike, packet: { messageId?: number }): Promise<void> {
    const key = incomingKey(client, packet.messageId)
    this.#gated.delete(key)
    if (!this.#uncount(key)) throw new Error('no such packet')
    await this.#store.remove(TABLE_INCOMING, key)
  }

  async cleanIncoming(client: ClientLike): Promise<void> {
    if (!this.#incomingOf.has(client.id)) return
    const prefix = incomingKey(client, undefined)
    for (const key of this.#incoming.keys()) {
      if (!key.startsWith(prefix)) continue
      this.#uncount(key)
      this.#gated.delete(key)
      void this.#store.remove(TABLE_INCOMING, key)
    }
    await this.#store.committed()
  }

  #count(key: string, bytes: number): void {
    this.#uncount(key)
    const user = this.#userOf(clientOf(key)) ?? ''
    this.#incoming.set(key, { bytes, user })
    this.#addIncoming(key, user, 1, bytes)
  }

  #uncount(key: string): boolean {
    const counted = this.#incoming.get(key)
    if (counted === undefined) return false
    this.#incoming.delete(key)
    this.#addIncoming(key, counted.user, -1, -counted.bytes)
    return true
  }

  #addIncoming(key: string, user: string, entries: number, bytes: number): void {
    addTo(this.#incomingOf, clientOf(key), entries, bytes)
    addTo(this.#incomingOfUser, user, entries, bytes)
    this.#incomingBytes += bytes
  }

  // --- wills --------------------------------------------------------------------------------------------------

  async putWill(client: ClientLike, packet: MqttPacket): Promise<void> {
    packet.brokerId = this.broker?.id
    packet.clientId = client.id
    const { payload, ...rest } = packet
    const will = {
      ...rest,
      payload: Buffer.from(payload as Buffer).toString('base64'),
      string: typeof payload === 'string',
    }
    await this.#store.put(TABLE_WILLS, client.id, Buffer.from(JSON.stringify(will)))
  }

  async getWill(client: ClientLike): Promise<MqttPacket | undefined> {
    const value = this.#store.get(TABLE_WILLS, client.id)
    return value && parseWill(value)
  }

  async delWill(client: ClientLike): Promise<MqttPacket | undefined> {
    const will = await this.getWill(client)
    if (will) await this.#store.remove(TABLE_WILLS, client.id)
    return will
  }

  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return Readable.from(this.#wills(brokers))
  }

  *#wills(brokers: Readonly<Record<string, unknown>>): Generator<MqttPacket> {
    for (const { value } of this.#store.entries(TABLE_WILLS)) {
      const will = parseWill(value)
      if (!brokers[will.brokerId as string]) yield will
    }
  }

  // --- what is to be forgotten --------------------------------------------------------------------------------

  /**
   * Takes messages out of what lies beside the queues. The receipt of a QoS 2 message stays, without its payload: its
   * sender may send it again, and it would be taken for a new one.
   * @returns how many; on disk when it resolves
   */
  async forget(
    matches: (message: StoredMessage) => boolean,
    dryRun: boolean,
  ): Promise<{ retained: number; receipts: number }> {
    const found = (table: string) =>
      [...this.#store.entries(table)]
        .map(({ key, value }) => ({ key: String(key), message: unpackMessage(value) }))
        .filter(({ message }) => message.payload.length > 0 && matches(message))
    const retained = found(TABLE_RETAINED)
    const receipts = found(TABLE_INCOMING)
    if (!dryRun) {
      for (const { key } of retained) {
        this.#countRetained(key, undefined)
        void this.#store.remove(TABLE_RETAINED, key)
      }
      for (const { key, message } of receipts) {
        const value = packMessage({ ...message, payload: Buffer.alloc(0) })
        this.#count(key, value.length)
        void this.#store.put(TABLE_INCOMING, key, value)
      }
      await this.#store.committed()
    }
    return { retained: retained.length, receipts: receipts.length }
  }
}

/** Waits until it has read what was written before. @returns whether it is still there */
async function hasRoom(reader: Duplex): Promise<boolean> {
  if (!reader.destroyed && reader.writableNeedDrain) {
    const ended = new AbortController()
    const { signal } = ended
    await Promise.race([once(reader, 'drain', { signal }), once(reader, 'close', { signal })]).catch(() => {})
    ended.abort()
  }
  return !reader.destroyed
}

function parseWill(value: Uint8Array): MqttPacket {
  const { payload, string, ...rest } = JSON.parse(Buffer.from(value).toString()) as MqttPacket & {
    payload: string
    string: boolean
  }
  const bytes = Buffer.from(payload, 'base64')
  return { ...rest, payload: string ? bytes.toString() : bytes }
}

function plainSubscription({
  topic,
  qos,
  rh,
  rap,
  nl,
  subscriptionIdentifier,
  brokerId,
}: Subscription): Subscription {
  return {
    topic,
    qos,
    rh,
    rap,
    nl,
    ...(brokerId === undefined ? {} : { brokerId }),
    ...(subscriptionIdentifier === undefined ? {} : { subscriptionIdentifier }),
  }
}

function toStored({ topic, payload, qos, via }: MqttPacket): StoredMessage {
  return { topic, payload: payload as Buffer, qos, via }
}

function toPacket({ topic, payload, qos }: StoredMessage, messageId: number | undefined): MqttPacket {
  return { cmd: 'publish', topic, payload, qos, retain: false, dup: false, messageId }
}

function addTo(
  sums: Map<string, { entries: number; bytes: number }>,
  name: string,
  entries: number,
  bytes: number,
): void {
  const sum = sums.get(name) ?? { entries: 0, bytes: 0 }
  sum.entries += entries
  sum.bytes += bytes
  if (sum.entries > 0) sums.set(name, sum)
  else sums.delete(name)
}

/** `5:abcde17` is of `abcde`. */
function clientOf(key: string): string {
  const at = key.indexOf(':')
  return key.slice(at + 1, at + 1 + Number(key.slice(0, at)))
}

const incomingKey = ({ id }: ClientLike, messageId: number | undefined) =>
  `${id.length}:${id}:${messageId ?? ''}`
