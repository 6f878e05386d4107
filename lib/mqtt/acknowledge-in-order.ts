/** Acknowledges what one connection brought, each when it is kept, in the order received [MQTT-4.6.0-2]. */
export class AcknowledgeInOrder {
  readonly #acknowledge: (messageId: number) => void
  readonly #waiting: { readonly messageId: number; kept: boolean }[] = []

  constructor(acknowledge: (messageId: number) => void) {
    this.#acknowledge = acknowledge
  }

  /** @param kept rejects where it is not: then neither it nor what came after it is acknowledged, and `failed` is called */
  add(messageId: number, kept: Promise<void>, failed: (error: unknown) => void): void {
    const turn = { messageId, kept: false }
    this.#waiting.push(turn)
    kept.then(() => {
      turn.kept = true
      while (this.#waiting[0]?.kept) this.#acknowledge(this.#waiting.shift()?.messageId as number)
    }, failed)
  }
}
