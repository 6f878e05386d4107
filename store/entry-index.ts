/**
 * The entries of one queue in memory: 26 bytes each, in order of their sequence numbers. Taken off mostly at the
 * front; those taken from the middle leave a gap that is closed when gaps outnumber entries.
 *
 * Each entry belongs to a lane (its sender, to say it roughly), whose entries are linked:
 *
 *     slots:   a1  b1  a2  a3  --  b2        next: a1 -> a2 -> a3,  b1 -> b2
 *
 * `take` gives the lanes turns, so that who sends much does not make the others wait; within a lane the order holds.
 */

export interface Lane {
  readonly name: string
  /** In the queue. */
  entries: number
  bytes: number
}

interface LinkedLane extends Lane {
  number: number
  /** Slots: the first entry (or a gap before it), the last one, the first that was not taken (or a gap before it). */
  first: number
  last: number
  next: number
  /** The sequence number of the last one taken. */
  taken: number
  /** Bytes taken in the turn that it has. */
  spent: number
  /** It has entries that were not taken, and waits for its turn. */
  inRing: boolean
}

const GAP = -1
const NONE = -1
/** More senders than that share a lane. */
const LANES_MAX = 10_000
/** What a lane may take before it is the next one's turn. */
const TURN_BYTES = 64 * 1024

export class EntryIndex {
  #sequences = new Float64Array(64)
  #times = new Float64Array(64)
  #sizes = new Uint32Array(64)
  #links = new Int32Array(64)
  #laneNumbers = new Uint16Array(64)
  /** First and one past the last slot in use. */
  #head = 0
  #tail = 0
  #count = 0
  #lanes = new Map<string, LinkedLane>()
  #numbered: LinkedLane[] = []
  readonly #ring: LinkedLane[] = []

  get size(): number {
    return this.#count
  }

  /** @param sequence above every one that was added before */
  add(sequence: number, bytes: number, atMs: number, laneName = ''): void {
    if (this.#tail === this.#sequences.length) this.#makeRoom()
    const slot = this.#tail
    const lane = this.#laneOf(laneName)
    this.#sequences[slot] = sequence
    this.#times[slot] = atMs
    this.#sizes[slot] = bytes
    this.#laneNumbers[slot] = lane.number
    this.#tail += 1
    this.#count += 1
    lane.entries += 1
    lane.bytes += bytes
    this.#link(lane, slot)
  }

  #link(lane: LinkedLane, slot: number): void {
    this.#links[slot] = NONE
    if (lane.first === NONE) lane.first = slot
    else this.#links[lane.last] = slot
    lane.last = slot
    if (lane.next === NONE) lane.next = slot
    if (lane.inRing) return
    lane.inRing = true
    this.#ring.push(lane)
  }

  has(sequence: number): boolean {
    return this.#find(sequence) !== undefined
  }

  /** @returns the entry's size in bytes, or undefined where it is not (any more) in the queue */
  remove(sequence: number): number | undefined {
    const slot = this.#find(sequence)
    if (slot === undefined) return undefined
    const bytes = this.#sizes[slot] as number
    const lane = this.#numbered[this.#laneNumbers[slot] as number] as LinkedLane
    lane.entries -= 1
    lane.bytes -= bytes
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

  /** The next entry that was not taken yet, lane by lane. */
  take(): number | undefined {
    for (let lane = this.#ring[0]; lane; lane = this.#ring[0]) {
      const slot = this.#skipGaps(lane.next)
      if (slot === NONE) {
        this.#leaveRing(lane)
        continue
      }
      lane.next = this.#links[slot] as number
      lane.taken = this.#sequences[slot] as number
      lane.spent += this.#sizes[slot] as number
      if (lane.next === NONE) this.#leaveRing(lane)
      else if (lane.spent >= TURN_BYTES) {
        lane.spent = 0
        this.#ring.shift()
        this.#ring.push(lane)
      }
      return lane.taken
    }
    return undefined
  }

  #leaveRing(lane: LinkedLane): void {
    lane.next = NONE
    lane.spent = 0
    lane.inRing = false
    this.#ring.shift()
  }

  /** Everything counts as not taken again. */
  rewind(): void {
    this.#ring.length = 0
    for (const lane of this.#lanes.values()) {
      lane.next = lane.first
      lane.taken = 0
      lane.spent = 0
      lane.inRing = lane.entries > 0
      if (lane.inRing) this.#ring.push(lane)
    }
  }

  lane(name: string): Lane | undefined {
    return this.#lanes.get(name) ?? (this.#lanes.size >= LANES_MAX ? this.#lanes.get('') : undefined)
  }

  /** The lane that has most of what is counted. */
  largestLane(measure: 'entries' | 'bytes'): Lane | undefined {
    let largest: LinkedLane | undefined
    for (const lane of this.#lanes.values()) if (!largest || lane[measure] > largest[measure]) largest = lane
    return largest
  }

  /** A lane's entries, oldest first. */
  *ofLane(lane: Lane): Generator<number> {
    const linked = lane as LinkedLane
    // The last slot stays, gap or not: what comes next is linked to it.
    while (this.#times[linked.first] === GAP && this.#links[linked.first] !== NONE)
      linked.first = this.#links[linked.first] as number
    for (let slot = linked.first; slot !== NONE; slot = this.#links[slot] as number)
      if (this.#times[slot] !== GAP) yield this.#sequences[slot] as number
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

  #skipGaps(from: number): number {
    let slot = from
    while (slot !== NONE && this.#times[slot] === GAP) slot = this.#links[slot] as number
    return slot
  }

  #laneOf(name: string): LinkedLane {
    const known = this.#lanes.get(name)
    if (known) return known
    if (name !== '' && this.#lanes.size >= LANES_MAX) return this.#laneOf('')
    const number = this.#numbered.length
    const lane: LinkedLane = {
      name,
      entries: 0,
      bytes: 0,
      number,
      first: NONE,
      last: NONE,
      next: NONE,
      taken: 0,
      spent: 0,
      inRing: false,
    }
    this.#numbered.push(lane)
    this.#lanes.set(name, lane)
    return lane
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

  /** Closes the gaps, and grows where there are few. */
  #makeRoom(): void {
    const capacity = Math.max(64, this.#count * 2)
    const [sequences, times, sizes, laneNumbers] = [
      this.#sequences,
      this.#times,
      this.#sizes,
      this.#laneNumbers,
    ]
    const [head, tail] = [this.#head, this.#tail]
    const before = this.#numbered
    this.#sequences = new Float64Array(capacity)
    this.#times = new Float64Array(capacity)
    this.#sizes = new Uint32Array(capacity)
    this.#links = new Int32Array(capacity)
    this.#laneNumbers = new Uint16Array(capacity)
    this.#lanes = new Map()
    this.#numbered = []
    for (const lane of before) {
      if (lane.entries === 0 && !lane.inRing) continue // its sender may never come again
      lane.number = this.#numbered.length
      this.#numbered.push(lane)
      this.#lanes.set(lane.name, lane)
      lane.first = NONE
      lane.last = NONE
      lane.next = NONE
    }
    let to = 0
    for (let from = head; from < tail; from += 1) {
      if (times[from] === GAP) continue
      const lane = before[laneNumbers[from] as number] as LinkedLane
      this.#sequences[to] = sequences[from] as number
      this.#times[to] = times[from] as number
      this.#sizes[to] = sizes[from] as number
      this.#laneNumbers[to] = lane.number
      this.#links[to] = NONE
      if (lane.first === NONE) lane.first = to
      else this.#links[lane.last] = to
      lane.last = to
      if (lane.next === NONE && (sequences[from] as number) > lane.taken) lane.next = to
      to += 1
    }
    this.#head = 0
    this.#tail = to
  }
}
