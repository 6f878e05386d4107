/**
 * Browsers of a push channel, each a receiver of its own: whoever has one that hangs or fails must not hold up those of others.
 * One that took the last notice may have several under way; any other one, and after it failed not before a while.
 */

const PAUSE_MS_MAX = 60_000
/** More are not remembered; who is not is asked one by one. */
const TARGETS_MAX = 5_000

interface Target {
  underWay: number
  failures: number
  isGood: boolean
  notBeforeMs: number
}

export class Targets {
  readonly #pauseMsMin: number
  readonly #known = new Map<string, Target>()

  constructor(pauseMsMin: number) {
    this.#pauseMsMin = pauseMsMin
  }

  /** Those that get nothing now. */
  busy(nowMs: number): string[] {
    return [...this.#known].filter(([, it]) => !isFree(it, nowMs)).map(([target]) => target)
  }

  isFree(target: string, nowMs: number): boolean {
    const known = this.#known.get(target)
    return known === undefined || isFree(known, nowMs)
  }

  begin(target: string): void {
    const known = this.#known.get(target) ?? { underWay: 0, failures: 0, isGood: false, notBeforeMs: 0 }
    known.underWay += 1
    // Moved to the end: of those that are forgotten the oldest is first.
    this.#known.delete(target)
    this.#known.set(target, known)
    if (this.#known.size <= TARGETS_MAX) return
    for (const [oldest, { underWay }] of this.#known)
      if (underWay === 0) {
        this.#known.delete(oldest)
        return
      }
  }

  end(target: string, isGood: boolean, nowMs: number): void {
    const known = this.#known.get(target)
    if (!known) return
    known.underWay -= 1
    known.isGood = isGood
    known.failures = isGood ? 0 : known.failures + 1
    known.notBeforeMs = isGood
      ? 0
      : nowMs + Math.min(PAUSE_MS_MAX, this.#pauseMsMin * 2 ** Math.min(known.failures, 30))
  }
}

const isFree = ({ underWay, isGood, notBeforeMs }: Target, nowMs: number) =>
  isGood || (underWay === 0 && notBeforeMs <= nowMs)
