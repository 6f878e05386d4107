/**
 * Hands things from one loop to another, a few at a time. Where all count, the giver waits for room; where only
 * the newest counts, a thing that nobody has taken yet makes way for the next. What is passed over or left behind
 * is disposed of.
 */
export class Handover<T extends Disposable> implements Disposable {
  readonly #depth: number
  readonly #passedOver: ((thing: T) => void) | undefined
  readonly #things: T[] = []
  #closed = false
  #wake: (() => void)[] = []

  /** @param passedOver is called for each thing that made way; without it nothing makes way and the giver waits */
  constructor(depth: number, passedOver?: (thing: T) => void) {
    this.#depth = depth
    this.#passedOver = passedOver
  }

  /** Resolves when there is room again. */
  async put(thing: T): Promise<void> {
    if (this.#closed) return thing[Symbol.dispose]()
    if (this.#passedOver && this.#things.length >= this.#depth) {
      const old = this.#things.shift() as T
      this.#passedOver(old)
      old[Symbol.dispose]()
    }
    this.#things.push(thing)
    this.#notify()
    while (!this.#passedOver && this.#things.length >= this.#depth && !this.#closed) await this.#change()
  }

  /** The oldest thing; waits for one. Undefined once closed and empty. */
  async take(): Promise<T | undefined> {
    for (;;) {
      const thing = this.#things.shift()
      if (thing !== undefined) {
        this.#notify()
        return thing
      }
      if (this.#closed) return undefined
      await this.#change()
    }
  }

  /** No more to come; what waits can still be taken. */
  close(): void {
    this.#closed = true
    this.#notify()
  }

  [Symbol.dispose](): void {
    this.close()
    for (const thing of this.#things.splice(0)) thing[Symbol.dispose]()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve))
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}
