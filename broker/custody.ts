import { failure } from '../lib/errors.ts'
import type { Queue, Store } from '../lib/queue.ts'
import { encodeMessage } from './message.ts'
import type { MqttPacket, Persistence } from './persistence.ts'
import { type Sessions, UNSPEAKABLE } from './sessions.ts'

/**
 * accept(packet): checks, then into every queue that wants it. Who publishes is acknowledged when the message is safe
 * (lib/queue.ts) and not before. Messages are checked and written side by side (that is what lets them share a flush
 * of the disk); connection.ts acknowledges them in the order they came.
 */

export interface Uplink {
  readonly queue: Queue
  wants(topic: string): boolean
}

export interface CustodyOptions {
  readonly store: Store
  readonly sessions: Sessions
  readonly persistence: Persistence
  readonly uplinks: readonly Uplink[]
  /** A QoS 1 message of such a topic that no queue wants is refused, not acknowledged and kept nowhere. */
  readonly mustBeKept: (topic: string) => boolean
  readonly topicBytesMax: number
}

export interface Origin {
  readonly clientId: string
  /** Delivered by another broker's bridge. */
  readonly isBridge: boolean
}

/** What aedes takes too (`maxTopicLevels`): a message beyond it would stop the bridge that brings it to a broker. */
const TOPIC_LEVELS_MAX = 100

export class Custody {
  readonly #options: CustodyOptions

  constructor(options: CustodyOptions) {
    this.#options = options
  }

  /**
   * Takes custody of what a client published (or its will). What one packet leads to beside its queues (retained,
   * QoS 2) goes out in one transaction with it.
   * @returns when it is safe; undefined where nothing had to be kept.
   *   Errors, thrown or rejected with: QUEUE_FULL, DISK_FULL, STORE_IO, NOT_ALLOWED, TOPIC_INVALID; then nothing was kept
   */
  accept(packet: MqttPacket, origin: Origin): Promise<void> | undefined {
    const { store, sessions, persistence, uplinks, mustBeKept, topicBytesMax } = this.#options
    const { topic, qos, retain, messageId } = packet
    if (Buffer.byteLength(topic) > topicBytesMax) {
      throw failure(
        'TOPIC_INVALID',
        `A topic of ${Buffer.byteLength(topic)} bytes is over the limit of ${topicBytesMax}.`,
      )
    }
    if (topic.split('/', TOPIC_LEVELS_MAX + 1).length > TOPIC_LEVELS_MAX)
      throw failure('TOPIC_INVALID', `A topic of more than ${TOPIC_LEVELS_MAX} levels is over the limit.`)
    if (UNSPEAKABLE.test(topic))
      throw failure('TOPIC_INVALID', 'A topic holds a null character, or bytes that are no UTF-8.')
    let written: Promise<void> | undefined
    if (qos > 0) {
      const client = { id: origin.clientId }
      // A QoS 2 message sent again is in its queues already [MQTT-4.3.3-2], or on its way there.
      if (qos === 2 && persistence.hasIncoming(client, messageId)) return store.committed()
      const queues: Queue[] = []
      for (const session of sessions.wanting(topic).keys())
        if (session.clientId !== origin.clientId || !session.noLocal) queues.push(session.queue)
      if (!origin.isBridge) for (const uplink of uplinks) if (uplink.wants(topic)) queues.push(uplink.queue)
      if (queues.length > 0) {
        written = store.accept(
          encodeMessage({ topic, payload: packet.payload as Buffer, qos, bridged: origin.isBridge }),
          queues,
        )
      } else if (mustBeKept(topic)) {
        throw failure(
          'NOT_ALLOWED',
          `Nothing here keeps messages of ${topic}: no declared queue, session or bridge matches it. Declare one under "queues" or "bridges", or correct the topic.`,
        )
      }
      if (qos === 2 && messageId !== undefined) {
        void persistence.incomingStorePacket(client, packet)
        written = store.committed()
      }
    }
    if (retain) {
      void persistence.retain(packet)
      written = store.committed()
    }
    // Nothing to keep, but acknowledged in its turn [MQTT-4.6.0-2].
    return qos > 0 ? (written ?? Promise.resolve()) : written
  }
}
