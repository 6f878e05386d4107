import { randomBytes } from 'node:crypto'

/** RTMP's handshake (section 5.2 of its specification), our side: the version, and bytes that the other returns. Pure but for chance. */

const VERSION = 3
const HALF_BYTES = 1536

/** What does not speak RTMP. */
export class HandshakeFault extends Error {}

export class Handshake {
  #received: Buffer = Buffer.alloc(0)
  #isAnswered = false

  /**
   * @returns what is to be sent now; and, once it is over, what came after it
   * Throws HandshakeFault.
   */
  push(data: Buffer): { readonly answer?: Buffer; readonly rest?: Buffer } {
    this.#received = Buffer.concat([this.#received, data])
    const received = this.#received
    // 3 is RTMP; higher ones up to 31 are asked to speak it. 6, encrypted, nobody speaks.
    const version = received[0]
    if (version !== undefined && version !== VERSION) throw new HandshakeFault(`version ${version}`)
    let answer: Buffer | undefined
    if (!this.#isAnswered && received.length >= 1 + HALF_BYTES) {
      this.#isAnswered = true
      const ours = randomBytes(HALF_BYTES)
      ours.fill(0, 0, 8) // a time, and zero
      answer = Buffer.concat([Buffer.from([VERSION]), ours, received.subarray(1, 1 + HALF_BYTES)])
    }
    const end = 1 + 2 * HALF_BYTES
    return received.length < end ? { answer } : { answer, rest: received.subarray(end) }
  }
}
