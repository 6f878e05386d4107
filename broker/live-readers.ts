import type { Client } from 'aedes'
import QlobberSub from 'qlobber/aedes/qlobber-sub.js'
import { TOPIC_MATCHING } from './sessions.ts'

/**
 * Which topics aedes itself has to deliver, and at which QoS: those that a connected client reads at QoS 0 or in a
 * clean session. A persistent session's messages come from its queue (delivery.ts).
 */

/** Topics whose answer is remembered, so that asking costs one look-up a message. */
const ANSWERS_MAX = 10_000

export class LiveReaders {
  readonly #trie = new QlobberSub(TOPIC_MATCHING)
  readonly #filters = new Map<Client, Set<string>>()
  /** The highest QoS that each reader of a topic asked for, by the reader's name. */
  readonly #answers = new Map<string, ReadonlyMap<string, 0 | 1 | 2>>()
  /** The trie tells clients apart by name, and one that is taken over leaves after its successor came. */
  readonly #names = new Map<Client, string>()
  #count = 0
  #filterCount = 0

  subscribed(client: Client, { topic, qos }: { readonly topic: string; readonly qos: 0 | 1 | 2 }): void {
    if (!client.clean && qos > 0) {
      this.unsubscribed(client, [topic])
      return
    }
    let filters = this.#filters.get(client)
    if (!filters) {
      filters = new Set()
      this.#filters.set(client, filters)
      this.#count += 1
      this.#names.set(client, String(this.#count))
    }
    if (!filters.has(topic)) this.#filterCount += 1
    filters.add(topic)
    this.#trie.add(topic, { clientId: this.#names.get(client) as string, topic, qos })
    this.#answers.clear()
  }

  unsubscribed(client: Client, filters: readonly string[]): void {
    const own = this.#filters.get(client)
    for (const topic of filters) {
      if (!own?.delete(topic)) continue
      this.#filterCount -= 1
      this.#trie.remove(topic, { clientId: this.#names.get(client) as string, topic })
      this.#answers.clear()
    }
  }

  get filterCount(): number {
    return this.#filterCount
  }

  gone(client: Client): void {
    this.unsubscribed(client, [...(this.#filters.get(client) ?? [])])
    this.#filters.delete(client)
    this.#names.delete(client)
  }

  want(topic: string): boolean {
    return this.#filters.size > 0 && this.#readers(topic).size > 0
  }

  /** The highest QoS among the client's subscriptions that match [MQTT-3.3.5-1]. */
  granted(client: Client, topic: string): 0 | 1 | 2 {
    return this.#readers(topic).get(this.#names.get(client) ?? '') ?? 0
  }

  #readers(topic: string): ReadonlyMap<string, 0 | 1 | 2> {
    let answer = this.#answers.get(topic)
    if (answer === undefined) {
      const readers = new Map<string, 0 | 1 | 2>()
      for (const { clientId, qos } of this.#trie.match(topic))
        readers.set(clientId, Math.max(readers.get(clientId) ?? 0, qos) as 0 | 1 | 2)
      answer = readers
      if (this.#answers.size >= ANSWERS_MAX) this.#answers.clear()
      this.#answers.set(topic, answer)
    }
    return answer
  }
}
