/**
 * How many deliveries of a channel are under way at once: more while they succeed, one while they fail, so that a receiver
 * that hangs takes few places and one that comes back is not run over. By the share of the last ones that succeeded, so that
 * one that fails now and then is not slowed down to one by one.
 */
const WIDTH_MAX = 16
/** Of 1: some ten attempts decide. */
const NEWEST_WEIGHS = 0.2
/** A receiver that took another one this recently is well: what it did not take was bad luck. */
const WELL_MS_MAX = 60_000

export class Width {
  #rate = 0.5
  #underWay = 0
  #tookAtMs = Number.NEGATIVE_INFINITY

  readonly #max: number

  constructor(max = WIDTH_MAX) {
    this.#max = max
  }

  get underWay(): number {
    return this.#underWay
  }

  get free(): number {
    return Math.max(0, Math.max(1, Math.floor(this.#max * this.#rate)) - this.#underWay)
  }

  /** Whether the receiver takes notices, as far as is known. */
  get isWell(): boolean {
    return performance.now() - this.#tookAtMs < WELL_MS_MAX
  }

  begin(): void {
    this.#underWay += 1
  }

  /** @param isGood undefined: it says nothing of others */
  end(isGood: boolean | undefined): void {
    this.#underWay -= 1
    if (isGood === undefined) return
    if (isGood) this.#tookAtMs = performance.now()
    this.#rate += NEWEST_WEIGHS * ((isGood ? 1 : 0) - this.#rate)
  }
}
