import type { News, NewsItem } from './context.ts'

/**
 * What has just happened, in order, for event streams. The newest are kept, so that a stream that was cut goes on where it
 * was; ids carry the run of the program, so that one of an earlier run is told from one of this.
 */

const KEPT_MAX = 5000

interface Entry {
  readonly number: number
  /** undefined: a newer one has come in its place. */
  item: NewsItem | undefined
}

export class NewsRing implements News {
  readonly #run = Date.now().toString(36)
  readonly #items: Entry[] = []
  /** Of each camera and each program: what was said of it before tells nothing any more. */
  readonly #newest = new Map<string, Entry>()
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
    const entry: Entry = { number: this.#number, item }
    this.#items.push(entry)
    const subject = subjectOf(item)
    if (subject !== undefined) {
      const before = this.#newest.get(subject)
      if (before) before.item = undefined
      this.#newest.set(subject, entry)
    }
    // Dropped in blocks: moving all of them for each new one would cost more than the rest.
    if (this.#items.length >= 2 * KEPT_MAX)
      for (const old of this.#items.splice(0, KEPT_MAX)) {
        const of = old.item && subjectOf(old.item)
        if (of !== undefined && this.#newest.get(of) === old) this.#newest.delete(of)
      }
    const id = this.#idOf(this.#number)
    for (const onItem of this.#readers) onItem(id, item)
  }

  follow(afterId: string | undefined, onItem: (id: string, item: NewsItem) => void) {
    const after = afterId === undefined ? this.#number : this.#numberOf(afterId)
    const first = this.#items[0]?.number ?? this.#number + 1
    const isComplete = after !== undefined && after <= this.#number && after + 1 >= first
    if (isComplete)
      for (const { number, item } of this.#items) if (number > after && item) onItem(this.#idOf(number), item)
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

function subjectOf(item: NewsItem): string | undefined {
  if (item.is === 'notice') return `notice ${item.id}`
  if (item.is === 'keeper') return `keeper ${item.keeper.report.keeper}`
  if (item.is === 'device') return `device ${item.site}/${item.device}`
  if (item.is !== 'camera') return undefined
  const { site, device, camera } = item.camera
  return `camera ${site}/${device}/${camera}`
}
