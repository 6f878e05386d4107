import { desiredSchema, isFarAhead } from '../wire/desired.ts'

/**
 * Desired configurations come down a bridge twice where its connection was lost: out of the session that the other broker
 * kept, oldest first, and as what that broker retains, which is the newest. Whichever comes first, an older one never takes
 * the place of a newer one here, and no device hears the same one with each connection of the bridge. An empty message,
 * which clears, has no version and always passes; so does what is no document, for its device to refuse.
 */
export interface NewestDesiredOptions {
  /** What is retained here under a topic, on disk. */
  readonly retained: (topic: string) => Buffer | undefined
  readonly now?: () => number
  readonly older: (topic: string, version: number, versionHere: number) => void
}

export class NewestDesired {
  readonly #options: NewestDesiredOptions
  /** By topic: the next is compared when the one before is on disk. */
  readonly #last = new Map<string, Promise<void>>()

  constructor(options: NewestDesiredOptions) {
    this.#options = options
  }

  /**
   * @param deliver resolves when it is safe and retained
   * @returns then, or at once where nothing has to be done. Errors: those of `deliver`
   */
  async take(topic: string, payload: Buffer, deliver: () => Promise<void>): Promise<void> {
    const before = this.#last.get(topic) ?? Promise.resolve()
    const taken = before.then(() => this.#take(topic, payload, deliver))
    const settled = taken.catch(() => {})
    this.#last.set(topic, settled)
    try {
      await taken
    } finally {
      if (this.#last.get(topic) === settled) this.#last.delete(topic)
    }
  }

  async #take(topic: string, payload: Buffer, deliver: () => Promise<void>): Promise<void> {
    const { retained, older, now = Date.now } = this.#options
    const here = retained(topic)
    if (here?.equals(payload)) return
    const version = versionOf(payload)
    const versionHere = here && versionOf(here)
    // What is kept here of the far future, no device takes unless it is signed: it keeps nothing out.
    const isNewerHere =
      version !== undefined &&
      versionHere !== undefined &&
      version < versionHere &&
      !isFarAhead(versionHere, now())
    if (isNewerHere) {
      older(topic, version, versionHere)
      return
    }
    await deliver()
  }
}

/** @returns undefined where it is no such document */
function versionOf(payload: Buffer): number | undefined {
  try {
    return desiredSchema.parse(JSON.parse(payload.toString())).version
  } catch {
    return undefined
  }
}
