import type { Queue } from '../store/queue.ts'
import { decodeMessage, type StoredMessage } from './message.ts'
import type { SendWindow } from './send-window.ts'

/**
 * Takes a queue's messages to one far end: each sender's in order, a window of them in flight, each released from the queue
 * when the far end has acknowledged it. A session's client and a bridge's broker are both such far ends.
 *
 *              queue: [ a b c | d e f g ... ]
 *                       in flight  ^ next (senders take turns)
 *
 * The pump outlives connections. What is in flight when one breaks is sent again first on the next one, under
 * the same message ids and with DUP set [MQTT-4.4.0-1].
 */

const MESSAGE_ID_MAX = 65_535
/** A far end that acknowledges within this time spares the disk a message (store/store.ts). */
const HAND_OVER_MS_MAX = 200
/** In flight to one far end, beside two messages however large: 500 of 3 MB must not be. */
const IN_FLIGHT_BYTES_MAX = 32 * 1024 * 1024

export interface Flight {
  readonly messageId: number
  /** QoS 2: the receiver has it (PUBREC), and now only the release is sent. */
  readonly released: boolean
  /** QoS 2: the message id is on disk before it is sent, so that a restart sends the same one. */
  readonly exactlyOnce: boolean
  /** Of topic and payload, where it was sent by this run of the program. */
  readonly bytes?: number
}

export interface FarEnd {
  /** False while it is still at the message before. */
  readonly isFree?: boolean
  /** @returns false when the connection takes no more for now; `Pump.run` is to be called when it does */
  publish(message: StoredMessage, messageId: number, dup: boolean): boolean
  release(messageId: number): boolean
}

export class Pump {
  readonly queue: Queue
  readonly windowMax: number
  /** By sequence number, in the order sent. */
  readonly flights = new Map<number, Flight>()
  readonly #sequenceOf = new Map<number, number>()
  /** Message ids that were given to others on this connection (retained messages). */
  readonly #lent = new Set<number>()
  /** In flight when the last connection broke, and not sent on this one yet. */
  #again: number[] = []
  #farEnd: FarEnd | undefined
  #farEndWindow = Number.POSITIVE_INFINITY
  #sendWindow: SendWindow | undefined
  #bytesInFlight = 0
  #lastId = 0

  constructor(queue: Queue, windowMax: number) {
    this.queue = queue
    this.windowMax = windowMax
  }

  /**
   * Starts sending on a connection.
   * @param windowMax what the far end takes unacknowledged, where it says so
   * @param sendWindow what the line takes, where it may be a slow one
   */
  attach(farEnd: FarEnd, windowMax = Number.POSITIVE_INFINITY, sendWindow?: SendWindow): void {
    this.#farEnd = farEnd
    this.#farEndWindow = windowMax
    this.#sendWindow = sendWindow
    this.queue.onEntries = () => this.run()
    this.queue.handOverMsMax = HAND_OVER_MS_MAX
    this.#again = [...this.flights.keys()]
    this.run()
  }

  /** The connection is gone; what was in flight waits for the next one. */
  detach(farEnd: FarEnd): void {
    if (this.#farEnd !== farEnd) return
    this.#farEnd = undefined
    this.#sendWindow = undefined
    this.queue.onEntries = undefined
    this.queue.handOverMsMax = 0
    this.#again = []
    this.#lent.clear()
  }

  /** Sends nothing new; acknowledgements still count. */
  pause(): void {
    this.#farEndWindow = 0
  }

  /** Sends what was in flight before, then what fits the window. */
  run(): void {
    for (let sequence = this.#again[0]; sequence !== undefined; sequence = this.#again[0]) {
      if (this.#farEnd?.isFree === false) return
      this.#again.shift()
      if (!this.#sendAgain(sequence)) return
    }
    const window = Math.min(this.windowMax, this.#farEndWindow)
    while (
      this.#farEnd &&
      this.#farEnd.isFree !== false &&
      this.flights.size < window &&
      this.#lineHasRoom()
    ) {
      const sequence = this.queue.take()
      if (sequence === undefined) return
      if (this.flights.has(sequence)) continue
      const message = this.queue.read(sequence)
      if (!message) continue
      const messageId = this.#freeId()
      const bytes = message.header.length + message.body.length
      this.#sendWindow?.sent(messageId, this.flights.size === 0, performance.now())
      this.fly(sequence, { messageId, released: false, exactlyOnce: false, bytes })
      if (!this.#farEnd.publish(decodeMessage(message), messageId, false)) return
    }
  }

  /** Two messages always go, however large: with one, a long round trip would pass for a slow line. */
  #lineHasRoom(): boolean {
    const bytesMax = Math.min(IN_FLIGHT_BYTES_MAX, this.#sendWindow?.bytesMax ?? Number.POSITIVE_INFINITY)
    return this.flights.size < 2 || this.#bytesInFlight < bytesMax
  }

  #sendAgain(sequence: number): boolean {
    const flight = this.flights.get(sequence)
    if (!this.#farEnd || !flight) return true
    if (flight.released) return this.#farEnd.release(flight.messageId)
    const body = this.queue.read(sequence)
    if (body) return this.#farEnd.publish(decodeMessage(body), flight.messageId, true)
    this.land(sequence)
    return true
  }

  /** Marks an entry as in flight: by `run`, or for what a former run of the program had in flight (QoS 2). */
  fly(sequence: number, flight: Flight): void {
    const before = this.flights.get(sequence)
    if (before) this.#sequenceOf.delete(before.messageId)
    this.#bytesInFlight += (flight.bytes ?? 0) - (before?.bytes ?? 0)
    this.flights.set(sequence, flight) // keeps its place in the order where it had one
    this.#sequenceOf.set(flight.messageId, sequence)
    this.queue.hold(sequence)
  }

  /** @returns the sequence number in flight under this message id */
  find(messageId: number): number | undefined {
    return this.#sequenceOf.get(messageId)
  }

  /** It is not in flight any more, whatever became of it. */
  land(sequence: number): void {
    const flight = this.flights.get(sequence)
    if (!flight) return
    this.flights.delete(sequence)
    this.#bytesInFlight -= flight.bytes ?? 0
    if (this.#sequenceOf.get(flight.messageId) === sequence) this.#sequenceOf.delete(flight.messageId)
    this.queue.letGo(sequence)
  }

  /** The far end has it: it leaves the queue. @returns whether the message id was in flight */
  acknowledge(messageId: number): boolean {
    if (this.#lent.delete(messageId)) return true
    const sequence = this.find(messageId)
    if (sequence === undefined) return false
    this.#sendWindow?.acknowledged(messageId, this.flights.get(sequence)?.bytes ?? 0, performance.now())
    this.land(sequence)
    void this.queue.forwarded(sequence)
    this.run()
    return true
  }

  /** The far end will never take it. */
  reject(messageId: number, reason: string): void {
    const sequence = this.find(messageId)
    if (sequence === undefined) return
    this.land(sequence)
    void this.queue.drop(sequence, reason)
    this.run()
  }

  /** Lent and not acknowledged. Whoever lends sees to it that some stay free. */
  get lentIds(): number {
    return this.#lent.size
  }

  /** A message id that nothing in flight uses, for a message that comes from no queue. */
  lendId(): number {
    const id = this.#freeId()
    this.#lent.add(id)
    return id
  }

  #freeId(): number {
    do this.#lastId = (this.#lastId % MESSAGE_ID_MAX) + 1
    while (this.#sequenceOf.has(this.#lastId) || this.#lent.has(this.#lastId))
    return this.#lastId
  }
}
