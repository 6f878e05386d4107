/**
 * How many deliveries of a channel are under way at once: more while they succeed, one while they fail, so that a receiver
 * that hangs takes few places and one that comes back is not run over. (Additive increase, multiplicative decrease.)
 */
const WIDTH_MAX = 16

export class Width {
  #width = WIDTH_MAX / 2
  #underWay = 0

  get underWay(): number {
    return this.#underWay
  }

  get free(): number {
    return Math.max(0, Math.floor(this.#width) - this.#underWay)
  }

  begin(): void {
    this.#underWay += 1
  }

  end(isGood: boolean): void {
    this.#underWay -= 1
    this.#width = isGood ? Math.min(WIDTH_MAX, this.#width + 1) : Math.max(1, this.#width / 2)
  }
}
