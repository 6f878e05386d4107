import { EntryIndex } from '../store/entry-index.ts'
import type { Via } from './via.ts'

/**
 * Messages at QoS 0 on their way over a bridge: nobody keeps custody of them. They go while the link is up and no message
 * of the bridge's queue waits, the newest are kept, and each one that does not go is counted. Who sends much loses its own
 * first (store/entry-index.ts). Nothing acknowledges QoS 0, so a PINGREQ follows each 64 KB, and no more goes before its
 * answer: more would lie in the line's buffers, and the next crop behind it.
 */

export interface LiveMessage {
  readonly topic: string
  readonly payload: Buffer
  readonly via: Via
}

export type LiveLoss = 'no connection' | 'too slow' | 'too large' | 'wrong topic'

export interface LiveLaneOptions {
  readonly senderOf: (topic: string) => string
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
/** As much as the slowest line that one would send pictures over takes in half a second (send-window.ts). */
const UNANSWERED_BYTES_MAX = 64 * 1024

export class LiveLane {
  readonly #options: LiveLaneOptions
  #entries = new EntryIndex()
  readonly #messages = new Map<number, LiveMessage>()
  #bytes = 0
  #sequence = 0
  #unansweredBytes = 0
  #pinging = false

  constructor(options: LiveLaneOptions) {
    this.#options = options
  }

  add(message: LiveMessage): void {
    const { senderOf, lost } = this.#options
    const bytes = message.payload.length + message.topic.length
    if (bytes > BYTES_MAX) {
      lost('too large')
      return
    }
    this.#sequence += 1
    this.#entries.add(this.#sequence, bytes, 0, senderOf(message.topic))
    this.#messages.set(this.#sequence, message)
    this.#bytes += bytes
    while (this.#messages.size > ENTRIES_MAX || this.#bytes > BYTES_MAX) this.#loseOldest()
    this.run()
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
    while (this.#messages.size > 0 && !this.#pinging && mayGo()) {
      const sequence = this.#entries.take()
      const message = sequence === undefined ? undefined : this.#remove(sequence)
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
    for (let left = this.#messages.size; left > 0; left -= 1) this.#options.lost('no connection')
    this.#messages.clear()
    this.#entries = new EntryIndex()
    this.#bytes = 0
    this.#pinging = false
    this.#unansweredBytes = 0
  }
}
