/**
 * The entries of one queue in memory: 20 bytes each, in order of their sequence numbers. Taken off mostly at the
 * front; those taken from the middle leave a gap that is closed when gaps outnumber entries.
 */
export class EntryIndex {
  #sequences = new Float64Array(64)
  #times = new Float64Array(64)
  #sizes = new Uint32Array(64)
  /** First and one past the last slot in use. */
  #head = 0
  #tail = 0
  #count = 0

  get size(): number {
    return this.#count
  }

  /** @param sequence above every one that was added before */
  add(sequence: number, bytes: number, atMs: number): void {
    if (this.#tail === this.#sequences.length) this.#makeRoom()
    this.#sequences[this.#tail] = sequence
    this.#times[this.#tail] = atMs
    this.#sizes[this.#tail] = bytes
    this.#tail += 1
    this.#count += 1
  }

  has(sequence: number): boolean {
    return this.#find(sequence) !== undefined
  }

  /** @returns the entry's size in bytes, or undefined where it is not (any more) in the queue */
  remove(sequence: number): number | undefined {
    const slot = this.#find(sequence)
    if (slot === undefined) return undefined
    const bytes = this.#sizes[slot] as number
    this.#times[slot] = GAP
    this.#count -= 1
    while (this.#head < this.#tail && this.#times[this.#head] === GAP) this.#head += 1
    return bytes
  }

  /** The first entry after a sequence number (or the very first). */
  after(sequence: number): number | undefined {
    for (let slot = this.#lowerBound(sequence + 1); slot < this.#tail; slot += 1) {
      if (this.#times[slot] !== GAP) return this.#sequences[slot]
    }
    return undefined
  }

  /** When the entry was accepted, ms since 1970. */
  timeOf(sequence: number): number | undefined {
    const slot = this.#find(sequence)
    return slot === undefined ? undefined : this.#times[slot]
  }

  bytesOf(sequence: number): number | undefined {
    const slot = this.#find(sequence)
    return slot === undefined ? undefined : this.#sizes[slot]
  }

  #find(sequence: number): number | undefined {
    const slot = this.#lowerBound(sequence)
    return slot < this.#tail && this.#sequences[slot] === sequence && this.#times[slot] !== GAP
      ? slot
      : undefined
  }

  #lowerBound(sequence: number): number {
    let low = this.#head
    let high = this.#tail
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#sequences[middle] as number) < sequence) low = middle + 1
      else high = middle
    }
    return low
  }

  #makeRoom(): void {
    const capacity = Math.max(64, this.#count * 2)
    const sequences = new Float64Array(capacity)
    const times = new Float64Array(capacity)
    const sizes = new Uint32Array(capacity)
    let to = 0
    for (let from = this.#head; from < this.#tail; from += 1) {
      if (this.#times[from] === GAP) continue
      sequences[to] = this.#sequences[from] as number
      times[to] = this.#times[from] as number
      sizes[to] = this.#sizes[from] as number
      to += 1
    }
    this.#sequences = sequences
    this.#times = times
    this.#sizes = sizes
    this.#head = 0
    this.#tail = to
  }
}

const GAP = -1
