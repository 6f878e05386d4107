import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { noiseCrop } from '../bench/load.ts'
import { MqttLink } from '../lib/mqtt/link.ts'
import { cropTopic, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'

/**
 * A device as the broker sees it: crops at a steady pace, a window of them in flight, and on each new connection what
 * was not acknowledged on the last one. It remembers what was acknowledged, and what each crop was.
 */

const WINDOW = 50
const RECONNECT_MS = 50

export interface PublisherOptions {
  readonly url: string
  /** `Infinity`: until `enough`. */
  readonly count: number
  readonly perSecond: number
  /** The size of a crop. */
  readonly bytes: readonly [min: number, max: number]
  readonly random: () => number
  /** Each its own; absent: the only one. */
  readonly device?: string
  readonly username?: string
  readonly password?: string
}

/** Of all publishers. */
export const SITE = 'bench'

export class Publisher {
  /** Checksum of each crop that was acknowledged, by id. */
  readonly acknowledged = new Map<string, string>()
  #count: number
  /** Resolves when every crop is acknowledged, or `run` has been given up. */
  readonly done: Promise<void>
  /** Connections that were made. */
  connections = 0
  /** How often a crop was sent once more. */
  resent = 0
  /** The longest time from making a crop to its acknowledgement, ms. */
  acknowledgeMsMax = 0
  readonly #device: string
  readonly #login: Pick<PublisherOptions, 'username' | 'password'>
  readonly #url: string
  readonly #random: () => number
  readonly #perSecond: number
  readonly #bytes: readonly [min: number, max: number]
  readonly #end = Promise.withResolvers<void>()
  readonly #topic: string
  /** Made and not acknowledged yet, oldest first. */
  readonly #waiting = new Map<string, { readonly payload: Buffer; readonly madeAtMs: number }>()
  #made = 0
  #link: MqttLink | undefined
  #started = 0

  constructor(options: PublisherOptions) {
    this.done = this.#end.promise
    this.#bytes = options.bytes
    this.#url = options.url
    this.#device = options.device ?? 'load'
    this.#login = { username: options.username, password: options.password }
    this.#topic = cropTopic(TOPIC_PREFIX_DEFAULT, { site: SITE, device: this.#device, camera: 'cam' })
    this.#count = options.count
    this.#perSecond = options.perSecond
    this.#random = options.random
  }

  /** How many crops there are to be in all. */
  get count(): number {
    return this.#count
  }

  /** Makes no more crops: `run` resolves when those that were made are acknowledged. */
  enough(): void {
    this.#count = this.#made
  }

  /** Resolves when every crop is acknowledged. */
  async run(signal: AbortSignal): Promise<void> {
    this.#started = performance.now()
    await this.#run(signal)
    this.#end.resolve()
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (this.acknowledged.size < this.#count && !signal.aborted) {
      try {
        await using link = await MqttLink.open({
          url: this.#url,
          clientId: `device-${this.#device}`,
          protocol: 4,
          clean: true,
          packetBytesMax: 1e6,
          keepaliveS: 10,
          connectMsMax: 2000,
          ...this.#login,
        })
        this.connections += 1
        this.#link = link
        await this.#send(link, signal)
      } catch {
        // The broker is away: that is what this is about.
      }
      await sleep(RECONNECT_MS)
    }
  }

  /** The device's plug is pulled: what it has sent may have arrived or not. */
  cut(): void {
    this.#link?.destroy()
  }

  async #send(link: MqttLink, signal: AbortSignal): Promise<void> {
    const closed = new Promise<void>((resolve) => link.once('close', () => resolve()))
    const flights = new Map<number, string>()
    let again = [...this.#waiting.keys()]
    this.resent += again.length
    let lastId = 0
    link.on('puback', (messageId) => {
      const id = flights.get(messageId)
      const crop = id === undefined ? undefined : this.#waiting.get(id)
      if (id === undefined || !crop) return
      flights.delete(messageId)
      this.#waiting.delete(id)
      this.acknowledged.set(id, checksum(crop.payload))
      this.acknowledgeMsMax = Math.max(this.acknowledgeMsMax, performance.now() - crop.madeAtMs)
    })
    while (!link.closed && !signal.aborted && this.acknowledged.size < this.#count) {
      const due = Math.min(
        this.#count,
        Math.floor(((performance.now() - this.#started) / 1000) * this.#perSecond) + 1,
      )
      while (flights.size < WINDOW && (again.length > 0 || this.#made < due)) {
        const id = again[0] ?? this.#make()
        again = again.slice(1)
        const { payload } = this.#waiting.get(id) as { payload: Buffer }
        lastId = (lastId % 65_535) + 1
        flights.set(lastId, id)
        link.publish({ topic: this.#topic, payload, messageId: lastId, dup: false })
      }
      await Promise.race([sleep(5), closed])
    }
  }

  #make(): string {
    this.#made += 1
    const [min, max] = this.#bytes
    const bytes = min + Math.floor(this.#random() * (max - min))
    const { id, payload } = noiseCrop(bytes, SITE, this.#device)
    this.#waiting.set(id, { payload, madeAtMs: performance.now() })
    return id
  }
}

export const checksum = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
