import { setTimeout as sleep } from 'node:timers/promises'
import { noiseCrop } from '../bench/load.ts'
import { MqttLink } from '../lib/mqtt/link.ts'
import { until } from '../test/kit/wait.ts'
import { readCrop } from '../wire/crop.ts'
import { cropFilter, cropTopic, TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { checksum } from './publisher.ts'

/**
 * Those that a broker is there for, while others do it harm: a device that publishes crops at a steady pace, and a
 * subscriber with a declared queue. What counts: every crop arrives, whole, and how long it took.
 */

export const SUBSCRIBER = 'well-behaved-subscriber'
export const SITE = 'good'
const ARRIVED_MS_MAX = 30_000

export interface Credentials {
  readonly username?: string
  readonly password?: string
}

export class WellBehaved implements AsyncDisposable {
  /** From publish to receipt, ms. */
  readonly latenciesMs: number[] = []
  readonly faults: string[] = []
  sent = 0
  readonly #device: MqttLink
  readonly #subscriber: MqttLink
  readonly #perSecond: number
  readonly #waiting = new Map<string, { readonly atMs: number; readonly checksum: string }>()
  #stopped = false
  #running: Promise<void> = Promise.resolve()

  private constructor(device: MqttLink, subscriber: MqttLink, perSecond: number) {
    this.#device = device
    this.#subscriber = subscriber
    this.#perSecond = perSecond
  }

  static async open(
    url: string,
    perSecond: number,
    users: { readonly device?: Credentials; readonly subscriber?: Credentials } = {},
  ): Promise<WellBehaved> {
    const link = (clientId: string, clean: boolean, credentials: Credentials = {}) =>
      MqttLink.open({
        url,
        clientId,
        protocol: 4,
        clean,
        packetBytesMax: 17e6,
        keepaliveS: 30,
        connectMsMax: 5000,
        ...credentials,
      })
    const subscriber = await link(SUBSCRIBER, false, users.subscriber)
    const device = await link('well-behaved-device', true, users.device)
    const pair = new WellBehaved(device, subscriber, perSecond)
    subscriber.on('publish', ({ payload, messageId }) => {
      if (messageId !== undefined) subscriber.puback(messageId)
      pair.#received(payload)
    })
    for (const [name, link] of Object.entries({ device, subscriber }))
      link.once('close', (fault) => {
        if (!pair.#stopped)
          pair.faults.push(`the well-behaved ${name} lost its connection: ${fault?.message}`)
      })
    await subscriber.subscribe(cropFilter(TOPIC_PREFIX_DEFAULT), 1)
    pair.#running = pair.#run()
    return pair
  }

  async #run(): Promise<void> {
    const topic = cropTopic(TOPIC_PREFIX_DEFAULT, { site: SITE, device: 'pi', camera: 'door' })
    const start = performance.now()
    while (!this.#stopped && !this.#device.closed) {
      const due = ((performance.now() - start) / 1000) * this.#perSecond
      for (; this.sent < due && !this.#device.closed; this.sent += 1) {
        const { id, payload } = noiseCrop(3000, SITE, 'pi', 'door')
        this.#waiting.set(id, { atMs: performance.now(), checksum: checksum(payload) })
        this.#device.publish({ topic, payload, messageId: (this.sent % 65_535) + 1, dup: false })
      }
      await sleep(5)
    }
  }

  #received(payload: Buffer): void {
    const reading = readCrop(payload)
    const id = 'crop' in reading ? reading.crop.id : ''
    const sent = this.#waiting.get(id)
    if (!sent) return // somebody else's
    this.#waiting.delete(id)
    this.latenciesMs.push(performance.now() - sent.atMs)
    if (checksum(payload) !== sent.checksum) this.faults.push(`${id} was changed on its way`)
  }

  /** Publishes no more, and waits for the last ones. */
  async finish(): Promise<void> {
    this.#stopped = true
    await this.#running
    await until('the last crops have arrived', () => this.#waiting.size === 0, ARRIVED_MS_MAX).catch(() =>
      this.faults.push(`${this.#waiting.size} of ${this.sent} crops of the well-behaved have not arrived`),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    this.#device.destroy()
    this.#subscriber.destroy()
    await this.#running
  }
}

/** The p-th part of them is at most this. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN
}
