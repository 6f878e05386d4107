import { failure } from '../../lib/errors.ts'

/** Of one person: browsers have six to one host, and a program needs one. */
const STREAMS_PER_PERSON_MAX = 64

/** How many streams are open, in all and by person. */
export class Streams {
  readonly #most: number
  readonly #open = new Map<string, number>()
  #all = 0

  constructor(most: number) {
    this.#most = most
  }

  /** Errors: TOO_MANY_VIEWERS, TOO_MANY (of this person) */
  open(person: string): Disposable {
    const own = this.#open.get(person) ?? 0
    if (own >= STREAMS_PER_PERSON_MAX)
      throw failure('TOO_MANY', `You have ${own} streams open. Close some of them.`)
    if (this.#all >= this.#most)
      throw failure('TOO_MANY_VIEWERS', `${this.#all} streams are open. Try again in a moment.`)
    this.#all += 1
    this.#open.set(person, own + 1)
    let isOpen = true
    return {
      [Symbol.dispose]: () => {
        if (!isOpen) return
        isOpen = false
        this.#all -= 1
        const left = (this.#open.get(person) ?? 1) - 1
        if (left > 0) this.#open.set(person, left)
        else this.#open.delete(person)
      },
    }
  }
}
