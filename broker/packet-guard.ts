/**
 * Judges the size of an MQTT packet by its fixed header, before anything is buffered: aedes gathers a whole packet
 * before anyone may look at it.
 */
export class PacketGuard {
  readonly #bytesMax: number
  /** Bytes of the present packet that are still to come. */
  #body = 0
  /** Where the fixed header is: 0 before its first byte, then the digits of the remaining length. */
  #digits = 0
  #length = 0

  /** @param bytesMax the largest remaining length (MQTT 3.1.1, section 2.2.3) that is let through */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** @returns the size of a packet that is too large, bytes; 0 where all is well. A malformed length counts as too large */
  inspect(chunk: Uint8Array): number {
    let at = 0
    while (at < chunk.length) {
      if (this.#body > 0) {
        const skipped = Math.min(this.#body, chunk.length - at)
        this.#body -= skipped
        at += skipped
        continue
      }
      if (this.#digits === 0) {
        this.#digits = 1 // the packet type
        at += 1
        continue
      }
      const digit = chunk[at] as number
      at += 1
      this.#length += (digit & 0x7f) * 128 ** (this.#digits - 1)
      this.#digits += 1
      if (this.#length > this.#bytesMax || (digit & 0x80 && this.#digits > 4))
        return Math.max(this.#length, this.#bytesMax + 1)
      if ((digit & 0x80) === 0) {
        this.#body = this.#length
        this.#length = 0
        this.#digits = 0
      }
    }
    return 0
  }
}
