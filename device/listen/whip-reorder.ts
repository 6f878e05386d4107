/** What of an RTP packet decides its place. */
export interface Numbered {
  readonly header: { readonly sequenceNumber: number }
}

export interface ReorderLimits {
  /** So long a missing packet is waited for: time for a NACK and its answer, ms. */
  readonly waitMs: number
  readonly packetsMax: number
}

/**
 * Puts packets into the order of their numbers, without those that come twice or too late. A missing packet holds those after
 * it up until it comes, or until it has been waited for. Pure, but for the times it is given.
 */
export class Reorder<Packet extends Numbered> {
  readonly #limits: ReorderLimits
  readonly #waiting = new Map<number, { readonly packet: Packet; readonly atMs: number }>()
  /** The number that is to come. */
  #next: number | undefined

  constructor(limits: ReorderLimits) {
    this.#limits = limits
  }

  /** @returns what can go on now; `lost`: packets are missing before it */
  put(packet: Packet, nowMs: number): { readonly packet: Packet; readonly lost: boolean }[] {
    const number = packet.header.sequenceNumber
    this.#next ??= number
    const ahead = (number - this.#next) & 0xffff
    // Behind: it came late, or twice. Far behind: the sender has started anew.
    if (ahead >= 0x8000 && 0x10000 - ahead <= BEHIND_MAX) return this.due(nowMs)
    if (ahead >= 0x8000 || ahead > AHEAD_MAX) {
      this.#waiting.clear()
      this.#next = (number + 1) & 0xffff
      return [{ packet, lost: true }]
    }
    this.#waiting.set(number, { packet, atMs: nowMs })
    return this.due(nowMs)
  }

  /** To be asked from time to time too: the last packets before silence wait for one that never comes. */
  due(nowMs: number): { readonly packet: Packet; readonly lost: boolean }[] {
    const out: { packet: Packet; lost: boolean }[] = []
    let lost = false
    while (this.#waiting.size > 0 && this.#next !== undefined) {
      const found = this.#waiting.get(this.#next)
      if (found) {
        this.#waiting.delete(this.#next)
        this.#next = (this.#next + 1) & 0xffff
        out.push({ packet: found.packet, lost })
        lost = false
        continue
      }
      const [oldest] = this.#waiting.values()
      const isLate = oldest !== undefined && nowMs - oldest.atMs >= this.#limits.waitMs
      if (!isLate && this.#waiting.size <= this.#limits.packetsMax) break
      this.#next = this.#nearest(this.#next)
      lost = true
    }
    return out
  }

  #nearest(from: number): number {
    let nearest = 0x10000
    for (const number of this.#waiting.keys()) nearest = Math.min(nearest, (number - from) & 0xffff)
    return (from + nearest) & 0xffff
  }
}

/** Packets behind the one that is to come, and ahead of it, that still belong to the same row of numbers. */
const BEHIND_MAX = 3000
const AHEAD_MAX = 3000
