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

/** Mints ids for a program that needs only one order of them. */
export const newId = idMinter()
