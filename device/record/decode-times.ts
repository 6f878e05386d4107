/**
 * When each packet is to be decoded, where its container says only when it is shown: RTP, of a stream whose frames refer
 * to later ones. Frames are decoded in the order of the packets, and shown `delay` frames later at most: so the times of
 * decoding are those of showing, in order, `delay` packets late.
 */
export class DecodeTimes {
  readonly #delay: number
  /** In ascending order; at most `delay` of them. */
  #ahead: bigint[] | undefined
  #last: bigint | undefined

  /** @param delay frames that a decoder keeps back; 0: they are shown as they are decoded */
  constructor(delay: number) {
    this.#delay = Math.max(0, delay)
  }

  /** @param frame how long one lasts. All in one time base. */
  next(pts: bigint, dts: bigint | undefined, frame: bigint): bigint {
    if (this.#delay === 0 || dts !== undefined) return this.#rising(dts ?? pts)
    this.#ahead ??= Array.from({ length: this.#delay }, (_, i) => pts - BigInt(this.#delay - i) * frame)
    this.#ahead.push(pts)
    this.#ahead.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
    return this.#rising(this.#ahead.shift() as bigint)
  }

  /** What stands still, or goes back by little, comes a tick after the one before. */
  #rising(dts: bigint): bigint {
    const least = this.#last === undefined ? dts : this.#last + 1n
    this.#last = dts > least ? dts : least
    return this.#last
  }

  restart(): void {
    this.#ahead = undefined
    this.#last = undefined
  }
}
