import { createHash } from 'node:crypto'
import { asFailure, failure, type SightlineError } from '../lib/errors.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import type { LiveMessage } from './live-lane.ts'
import { encodeMessage } from './message.ts'
import type { MqttPacket, Persistence } from './persistence.ts'
import type { Sessions } from './sessions.ts'
import { isText } from './text.ts'
import type { Via } from './via.ts'

/**
 * accept(packet): checks, then into every queue that wants it. Who publishes is acknowledged when the message is safe
 * (store/store.ts) and not before. Messages are checked and written side by side (that is what lets them share a flush
 * of the disk); connection.ts acknowledges them in the order they came.
 */

export interface Uplink {
  readonly queue: Queue
  wants(topic: string, via: Via): boolean
  /** At QoS 0, for whom it may concern now. */
  passOn(message: LiveMessage): void
}

export interface CustodyOptions {
  readonly store: Store
  readonly sessions: Sessions
  readonly persistence: Persistence
  readonly uplinks: readonly Uplink[]
  /** A QoS 1 message of such a topic that no queue wants is refused, not acknowledged and kept nowhere. */
  readonly mustBeKept: (topic: string) => boolean
  /** Retained messages of such a topic say how something is: over a bridge only the newest has to go. */
  readonly isLatest: (topic: string) => boolean
  /** The same for sessions: who was away has use for the newest alone. */
  readonly isLatestForSessions: (topic: string) => boolean
  readonly topicBytesMax: number
  readonly notRetained: (fault: SightlineError) => void
  /** A retained message at QoS 0 that a bridge's queue has no room for. */
  readonly notBridged: (fault: SightlineError) => void
}

export interface Origin {
  readonly clientId: string
  /** By a keeper, who has shared its own room already. */
  readonly handedOn: boolean
  /** The brokers that it has passed. */
  readonly via: Via
}

/** What aedes takes too (`maxTopicLevels`): a message beyond it would stop the bridge that brings it to a broker. */
const TOPIC_LEVELS_MAX = 100

export class Custody {
  readonly #options: CustodyOptions

  constructor(options: CustodyOptions) {
    this.#options = options
  }

  /** Before anything is matched with it: a matcher throws at a topic of too many levels. Errors: TOPIC_INVALID. */
  checkTopic(topic: string): void {
    const { topicBytesMax } = this.#options
    const bytes = Buffer.byteLength(topic)
    if (bytes === 0 || bytes > topicBytesMax)
      throw failure('TOPIC_INVALID', `Topic of ${bytes} bytes: it must have 1 to ${topicBytesMax}.`)
    if (/[#+]/.test(topic) || !isText(topic))
      throw failure(
        'TOPIC_INVALID',
        `Invalid topic ${JSON.stringify(topic)}: it must be well-formed UTF-8 without wildcards and control characters.`,
      )
    if (topic.split('/', TOPIC_LEVELS_MAX + 1).length > TOPIC_LEVELS_MAX)
      throw failure('TOPIC_INVALID', `The topic has more than ${TOPIC_LEVELS_MAX} levels.`)
  }

  /**
   * Takes custody of what a client published (or its will), whose topic has passed `checkTopic`. What one packet leads
   * to beside its queues (retained, QoS 2) goes out in one transaction with it.
   * @returns when it is safe; undefined where nothing had to be kept.
   *   Errors, thrown or rejected with: QUEUE_FULL, QUEUE_MISSING, DISK_FULL, STORE_IO; then nothing was kept
   */
  accept(packet: MqttPacket, origin: Origin): Promise<void> | undefined {
    const { store, sessions, persistence, uplinks, mustBeKept, isLatest, isLatestForSessions } = this.#options
    const { topic, qos, retain, messageId } = packet
    const { via, handedOn } = origin
    let written: Promise<void> | undefined
    if (qos > 0) {
      const client = { id: origin.clientId }
      // A QoS 2 message sent again is in its queues already [MQTT-4.3.3-2], or on its way there.
      if (qos === 2 && persistence.hasIncoming(client, messageId)) return store.committed()
      if (qos === 2) persistence.assertIncomingRoom(client)
      const queues: Queue[] = []
      // A camera's states of a week without the line would fill its queue, and the last one says all.
      const latest: Queue[] = []
      const ofSessions = retain && isLatestForSessions(topic) ? latest : queues
      for (const session of sessions.wanting(topic).keys()) {
        const isOwn = session.clientId === origin.clientId && session.noLocal
        const hasHadIt = session.brokerId !== undefined && via.includes(session.brokerId)
        if (!isOwn && !hasHadIt) ofSessions.push(session.queue)
      }
      const ofBridges = retain && isLatest(topic) ? latest : queues
      for (const uplink of uplinks) if (uplink.wants(topic, via)) ofBridges.push(uplink.queue)
      const encoded = () => encodeMessage({ topic, payload: packet.payload as Buffer, qos, via, retain })
      if (latest.length > 0) {
        // First: where there is no room for it, nothing was kept.
        written = store.accept(encoded(), latest, { handedOn, key: retainedKey(topic), replaces: true })
        if (queues.length > 0) written = both(written, () => store.accept(encoded(), queues, { handedOn }))
      } else if (queues.length > 0) {
        written = store.accept(encoded(), queues, { handedOn })
      } else if (mustBeKept(topic)) {
        throw failure(
          'QUEUE_MISSING',
          `No declared queue, session or bridge matches the topic ${topic}, or only a bridge back to where it came from. Declare one under "queues" or "bridges", or correct the topic.`,
        )
      }
      if (qos === 2 && messageId !== undefined) {
        void persistence.incomingStorePacket(client, packet)
        written = store.committed()
      }
    } else this.#passOn(packet, origin)
    if (retain) written = this.#retain({ ...packet, via }) ?? written
    // Nothing to keep, but acknowledged in its turn [MQTT-4.6.0-2].
    return qos > 0 ? (written ?? Promise.resolve()) : written
  }

  /** At QoS 0, over bridges: the last retained one of a topic is kept for them, as it is kept here; others go now or not. */
  #passOn(packet: MqttPacket, { via, handedOn }: Origin): void {
    const { store, uplinks, notBridged } = this.#options
    const { topic, qos, retain } = packet
    const payload = packet.payload as Buffer
    for (const uplink of uplinks) {
      if (!uplink.wants(topic, via)) continue
      if (!retain) {
        uplink.passOn({ topic, payload, via })
        continue
      }
      const failed = (error: unknown) => notBridged(asFailure(error))
      try {
        const message = encodeMessage({ topic, payload, qos, via, retain })
        store
          .accept(message, [uplink.queue], { handedOn, key: retainedKey(topic), replaces: true })
          .catch(failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  /** What does not fit is not retained, and is delivered all the same. */
  #retain(packet: MqttPacket): Promise<void> | undefined {
    const { persistence, store, notRetained } = this.#options
    try {
      void persistence.retain(packet)
    } catch (error) {
      notRetained(asFailure(error))
      return undefined
    }
    return store.committed()
  }
}

/** Rejects as the first of them that does, whether it throws or rejects. */
async function both(one: Promise<void>, other: () => Promise<void>): Promise<void> {
  const [first, second] = await Promise.allSettled([one, (async () => other())()])
  for (const it of [first, second]) if (it.status === 'rejected') throw it.reason
}

/** Of one length, whatever the topic has: a key has 255 bytes at most. */
export const retainedKey = (topic: string) => createHash('sha1').update(topic).digest('base64')
