import type { News, NewsItem } from './context.ts'

/**
 * What has just happened, in order, for event streams. The newest are kept, so that a stream that was cut goes on where it
 * was; ids carry the run of the program, so that one of an earlier run is told from one of this.
 */

const KEPT_MAX = 5000

export class NewsRing implements News {
  readonly #run = Date.now().toString(36)
  readonly #items: { readonly number: number; readonly item: NewsItem }[] = []
  readonly #readers = new Set<(id: string, item: NewsItem) => void>()
  #number = 0

  get lastId(): string {
    return this.#idOf(this.#number)
  }

  get readers(): number {
    return this.#readers.size
  }

  add(item: NewsItem): void {
    this.#number += 1
    this.#items.push({ number: this.#number, item })
    // Dropped in blocks: moving all of them for each new one would cost more than the rest.
    if (this.#items.length >= 2 * KEPT_MAX) this.#items.splice(0, KEPT_MAX)
    const id = this.#idOf(this.#number)
    for (const onItem of this.#readers) onItem(id, item)
  }

  follow(afterId: string | undefined, onItem: (id: string, item: NewsItem) => void) {
    const after = afterId === undefined ? this.#number : this.#numberOf(afterId)
    const first = this.#items[0]?.number ?? this.#number + 1
    const isComplete = after !== undefined && after <= this.#number && after + 1 >= first
    if (isComplete)
      for (const { number, item } of this.#items) if (number > after) onItem(this.#idOf(number), item)
    this.#readers.add(onItem)
    return { isComplete, [Symbol.dispose]: () => void this.#readers.delete(onItem) }
  }

  #idOf(number: number): string {
    return `${this.#run}-${number}`
  }

  #numberOf(id: string): number | undefined {
    const [run, number = ''] = id.split('-')
    return run === this.#run && /^\d{1,15}$/.test(number) ? Number(number) : undefined
  }
}
