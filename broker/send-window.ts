/**
 * How many bytes may be on their way over one connection at a time: what the line delivers in two round trips and half
 * a second. Less would leave the line idle; more would only lie in the line's own buffers, where a quiet device's
 * message can no longer take its turn. After BBR (Cardwell and others, 2016): the window follows the rate at which
 * the far end acknowledges and the shortest round trip, not losses. All times in ms, of one clock.
 */
export class SendWindow {
  #bytesMax = BYTES_MIN
  /** Bytes a ms: the highest of late, slowly forgotten. */
  #rate = 0
  #sinceMs: number | undefined
  #bytes = 0
  /** The shortest round trip, and the bytes of the message that made it. */
  #roundTrip = { tookMs: Number.POSITIVE_INFINITY, bytes: 0 }
  /** The message by which a round trip is being measured, one at a time. */
  #probe: { readonly messageId: number; readonly sentAtMs: number; readonly alone: boolean } | undefined

  get bytesMax(): number {
    return this.#bytesMax
  }

  /** @param alone nothing else is on its way: the only round trip that no message of ours makes longer */
  sent(messageId: number, alone: boolean, nowMs: number): void {
    this.#probe ??= { messageId, sentAtMs: nowMs, alone }
    if (alone) {
      // What comes back is counted from here: not the silence before.
      this.#sinceMs = nowMs
      this.#bytes = 0
    }
  }

  acknowledged(messageId: number, bytes: number, nowMs: number): void {
    if (this.#probe?.messageId === messageId) {
      const { sentAtMs, alone } = this.#probe
      const tookMs = nowMs - sentAtMs
      if (alone || tookMs < this.#roundTrip.tookMs) this.#roundTrip = { tookMs, bytes }
      this.#probe = undefined
    }
    this.#bytes += bytes
    this.#sinceMs ??= nowMs
    const tookMs = nowMs - this.#sinceMs
    if (tookMs < Math.max(SAMPLE_MS_MIN, Math.min(this.#roundTrip.tookMs, SAMPLE_MS_MAX))) return
    this.#rate = Math.max(this.#bytes / tookMs, this.#rate * FORGOTTEN_A_SAMPLE)
    this.#sinceMs = nowMs
    this.#bytes = 0
    // Without the time that the message itself took: of a large one on a slow line that is nearly all.
    const emptyMs = Math.max(0, this.#roundTrip.tookMs - this.#roundTrip.bytes / this.#rate)
    const roundTripMs = Math.min(emptyMs, ROUND_TRIP_MS_MAX)
    this.#bytesMax = Math.max(BYTES_MIN, this.#rate * (2 * roundTripMs + QUEUED_MS))
  }
}

/** Where nothing is known yet: half a second on the slowest line that one would send pictures over. */
const BYTES_MIN = 64 * 1024
/** What may lie in the line's buffers beside what two round trips take. */
const QUEUED_MS = 500
const ROUND_TRIP_MS_MAX = 10_000
/** The rate is taken over a round trip, but no less and no more than this. */
const SAMPLE_MS_MIN = 100
const SAMPLE_MS_MAX = 2000
const FORGOTTEN_A_SAMPLE = 0.9
