import { randomFillSync } from 'node:crypto'

/**
 * Mints UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, then a counter of 12 bits that starts at random in its
 * lower half each millisecond (6.2, method 1), then 62 random bits. Ids of one minter ascend, also within a
 * millisecond and when the clock steps back.
 */
export function idMinter(now: () => number = Date.now): () => string {
  const random = new Uint8Array(10)
  let lastMs = -1
  let counter = 0
  return () => {
    randomFillSync(random)
    const ms = Math.max(now(), lastMs)
    if (ms > lastMs) counter = (((random[8] as number) << 8) | (random[9] as number)) & 0x7ff
    else counter += 1
    // A counter that is full borrows the next millisecond.
    lastMs = counter > 0xfff ? ms + 1 : ms
    counter &= 0xfff
    const time = lastMs.toString(16).padStart(12, '0')
    random[0] = ((random[0] as number) & 0x3f) | 0x80
    const tail = Buffer.from(random.buffer, 0, 8).toString('hex')
    const middle = `7${counter.toString(16).padStart(3, '0')}`
    return `${time.slice(0, 8)}-${time.slice(8)}-${middle}-${tail.slice(0, 4)}-${tail.slice(4)}`
  }
}

/** A UUIDv7 as we write it: lower case. */
export const ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** When an id was minted, by the clock of who minted it: its first 48 bits. */
export function mintedAtMs(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** Mints ids for a program that needs only one order of them. */
export const newId = idMinter()
