import { EntryIndex } from '../store/entry-index.ts'
import type { Via } from './via.ts'

/**
 * Messages at QoS 0 on their way over a bridge: nobody keeps custody of them. They go while the link is up and no message
 * of the bridge's queue waits, the newest are kept, and each one that does not go is counted. Who sends much loses its own
 * first (store/entry-index.ts). Of live pictures only the newest of each camera waits, behind all others. Nothing acknowledges QoS 0, so a PINGREQ follows each 64 KB, and no more goes before its
 * answer: more would lie in the line's buffers, and the next crop behind it.
 */

export interface LiveMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly via: Via
}

/** Replaced: a live picture for which there was a newer one. Bulky: of a kind that only goes in custody (wire/kinds.ts). */
export type LiveLoss = 'no connection' | 'too slow' | 'too large' | 'wrong topic' | 'replaced' | 'bulky'

export interface LiveLaneOptions {
  readonly senderOf: (topic: string) => string
  /** Whether it is a topic of live pictures. */
  readonly isPicture: (topic: string) => boolean
  /** Whether one may go now: nothing in custody waits for the line. */
  readonly mayGo: () => boolean
  /** @returns false where the line takes no more for now */
  readonly send: (message: LiveMessage) => boolean
  /** Resolves when the far end has read all that was sent. */
  readonly ping: () => Promise<void>
  readonly lost: (why: LiveLoss) => void
}

const ENTRIES_MAX = 1000
const BYTES_MAX = 4 * 1024 * 1024
/** Of live pictures, beside these. */
const PICTURES_MAX = 100
/** As much as the slowest line that one would send pictures over takes in half a second (send-window.ts). */
const UNANSWERED_BYTES_MAX = 64 * 1024

export class LiveLane {
  readonly #options: LiveLaneOptions
  #entries = new EntryIndex()
  readonly #messages = new Map<number, LiveMessage>()
  /** By topic; who has waited longest first. */
  readonly #pictures = new Map<string, LiveMessage>()
  #bytes = 0
  #picturesBytes = 0
  #sequence = 0
  #unansweredBytes = 0
  #pinging = false

  constructor(options: LiveLaneOptions) {
    this.#options = options
  }

  add(message: LiveMessage): void {
    const { lost } = this.#options
    const bytes = message.payload.length + message.topic.length
    if (bytes > BYTES_MAX) {
      lost('too large')
      return
    }
    if (this.#options.isPicture(message.topic)) this.#addPicture(message)
    else this.#addEntry(message, bytes)
    this.run()
  }

  #addPicture(message: LiveMessage): void {
    const { lost } = this.#options
    const before = this.#pictures.get(message.topic)
    if (before) lost('replaced')
    this.#picturesBytes += message.payload.length - (before?.payload.length ?? 0)
    this.#pictures.set(message.topic, message) // in the place of the one before
    while (this.#pictures.size > PICTURES_MAX || this.#picturesBytes > BYTES_MAX) {
      this.#takePicture()
      lost('too slow')
    }
  }

  #takePicture(): LiveMessage | undefined {
    const [oldest] = this.#pictures.values()
    if (!oldest) return undefined
    this.#pictures.delete(oldest.topic)
    this.#picturesBytes -= oldest.payload.length
    return oldest
  }

  #addEntry(message: LiveMessage, bytes: number): void {
    const { senderOf } = this.#options
    this.#sequence += 1
    this.#entries.add(this.#sequence, bytes, 0, senderOf(message.topic))
    this.#messages.set(this.#sequence, message)
    this.#bytes += bytes
    while (this.#messages.size > ENTRIES_MAX || this.#bytes > BYTES_MAX) this.#loseOldest()
  }

  #loseOldest(): void {
    const largest = this.#entries.largestLane(this.#bytes > BYTES_MAX ? 'bytes' : 'entries')
    const [oldest] = largest ? this.#entries.ofLane(largest) : []
    if (oldest === undefined) return
    this.#remove(oldest)
    this.#options.lost('too slow')
  }

  #remove(sequence: number): LiveMessage | undefined {
    const message = this.#messages.get(sequence)
    this.#bytes -= this.#entries.remove(sequence) ?? 0
    this.#messages.delete(sequence)
    return message
  }

  /** Sends what may go. To be called when the line has room again, and when nothing in custody waits any more. */
  run(): void {
    const { mayGo, send } = this.#options
    while (this.#messages.size + this.#pictures.size > 0 && !this.#pinging && mayGo()) {
      const sequence = this.#entries.take()
      const message = sequence === undefined ? this.#takePicture() : this.#remove(sequence)
      if (!message) return
      this.#unansweredBytes += message.payload.length + message.topic.length
      if (this.#unansweredBytes >= UNANSWERED_BYTES_MAX) this.#ping()
      if (!send(message)) return
    }
  }

  #ping(): void {
    this.#pinging = true
    const entries = this.#entries // of this connection
    queueMicrotask(() =>
      this.#options.ping().then(() => {
        if (this.#entries !== entries) return
        this.#pinging = false
        this.#unansweredBytes = 0
        this.run()
      }),
    )
  }

  /** The connection is gone, and with it what waited for it. */
  clear(): void {
    for (let left = this.#messages.size + this.#pictures.size; left > 0; left -= 1)
      this.#options.lost('no connection')
    this.#messages.clear()
    this.#pictures.clear()
    this.#picturesBytes = 0
    this.#entries = new EntryIndex()
    this.#bytes = 0
    this.#pinging = false
    this.#unansweredBytes = 0
  }
}
