import type { Client } from 'aedes'
import mqtt from 'mqtt-packet'
import { writePublish } from '../lib/mqtt/packets.ts'
import type { StoredMessage } from './message.ts'
import type { FarEnd, Pump } from './pump.ts'
import type { Session, Sessions } from './sessions.ts'
import { markTopic } from './via.ts'

/**
 * Serves persistent sessions from their queues. aedes' own deliveries reach live readers of QoS 0 and clean
 * sessions only; a persistent session gets everything above QoS 0 from its queue, in order, a window at a time,
 * whether its client was there when the message came or not.
 */
export interface DeliveryOptions {
  /** Of this broker. */
  readonly brokerId: string
  /** Who reads is a bridge of another kind, which retains over there what was published to be retained. */
  readonly retainsAsPublished: boolean
}

export class Delivery implements FarEnd {
  readonly #client: Client
  readonly #session: Session
  readonly #sessions: Sessions
  readonly #pump: Pump
  readonly #options: DeliveryOptions

  private constructor(client: Client, session: Session, sessions: Sessions, options: DeliveryOptions) {
    this.#client = client
    this.#session = session
    this.#sessions = sessions
    this.#options = options
    this.#pump = session.pump
  }

  /** Starts when CONNACK has been sent; ends with the connection. */
  static start(client: Client, session: Session, sessions: Sessions, options: DeliveryOptions): void {
    const delivery = new Delivery(client, session, sessions, options)
    session.pump.attach(delivery)
    const onDrain = () => session.pump.run()
    client.conn.on('drain', onDrain)
    client.conn.once('close', () => {
      client.conn.off('drain', onDrain)
      session.pump.detach(delivery)
    })
  }

  publish(message: StoredMessage, messageId: number, dup: boolean): boolean {
    const { payload, qos, via = [] } = message
    const { brokerId, retainsAsPublished } = this.#options
    const retain = retainsAsPublished && message.retain === true
    const granted = Math.min(qos, this.#sessions.wanting(message.topic).get(this.#session) ?? 1) as 1 | 2
    const isMarked = this.#session.brokerId !== undefined
    const topic = isMarked ? markTopic([...via, brokerId], message.topic) : message.topic
    if (granted === 2) {
      const packet = { cmd: 'publish', topic, payload, qos: granted, retain, dup, messageId } as const
      // Exactly once: the message id is on disk before the message goes out.
      const sequence = this.#pump.find(messageId) as number
      this.#pump.fly(sequence, { messageId, released: false, exactlyOnce: true })
      void this.#sessions.saveFlight(this.#session, sequence).then(
        () => this.#write(packet),
        () => this.#client.close(),
      )
      return true
    }
    const { conn } = this.#client
    return !conn.destroyed && writePublish(conn, { topic, payload, dup, messageId, retain }, 4)
  }

  release(messageId: number): boolean {
    return this.#write({ cmd: 'pubrel', messageId })
  }

  #write(packet: mqtt.Packet): boolean {
    const { conn } = this.#client
    if (conn.destroyed) return false
    return mqtt.writeToStream(packet, conn)
  }
}
