/** What is to be looked at when its time has come: a heap by time. What is not due any more is left in it, and passed over. Pure. */
export class Due<Item> {
  readonly #heap: { readonly atMs: number; readonly item: Item }[] = []

  get nextMs(): number | undefined {
    return this.#heap[0]?.atMs
  }

  add(atMs: number, item: Item): void {
    const heap = this.#heap
    let at = heap.push({ atMs, item }) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (this.#at(parent) <= this.#at(at)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Takes the first one out, where it is due. */
  take(nowMs: number): Item | undefined {
    const heap = this.#heap
    const first = heap[0]
    if (!first || first.atMs > nowMs) return undefined
    const last = heap.pop()
    if (last && heap.length > 0) {
      heap[0] = last
      for (let at = 0; ; ) {
        const left = 2 * at + 1
        const right = left + 1
        let least = at
        if (left < heap.length && this.#at(left) < this.#at(least)) least = left
        if (right < heap.length && this.#at(right) < this.#at(least)) least = right
        if (least === at) break
        this.#swap(at, least)
        at = least
      }
    }
    return first.item
  }

  #at(index: number): number {
    return this.#heap[index]?.atMs ?? Number.POSITIVE_INFINITY
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap
    const [one, other] = [heap[a], heap[b]]
    if (one && other) {
      heap[a] = other
      heap[b] = one
    }
  }
}
