import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until something is so. Rejects, naming it, where it does not come to be so. */
export async function until(
  what: string,
  test: () => boolean | Promise<boolean>,
  msMax = 10_000,
): Promise<void> {
  const end = Date.now() + msMax
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`not within ${msMax} ms: ${what}`)
    await sleep(15)
  }
}

/** A random number generator with a seed (mulberry32, public domain), so that a failure can be had again. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
