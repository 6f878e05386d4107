import { setImmediate as turn } from 'node:timers/promises'
import type { Message, Queue } from './queue.ts'

/** Reading a queue's messages takes its time: what else the program does goes on between so long pieces. */
const SLICE_MS = 10
const COMMIT_EVERY = 500

/**
 * Drops the entries that match as `forgotten`, those in flight too: whoever has them in flight finds them gone when
 * they are acknowledged, or when they would be sent again.
 * @returns how many; with `dryRun` nothing is dropped. On disk when it resolves. Errors: DISK_FULL, STORE_IO
 */
export async function forgetEntries(
  queue: Queue,
  matches: (message: Message, sequence: number) => boolean,
  dryRun: boolean,
  signal: AbortSignal,
): Promise<number> {
  let count = 0
  let sliceEndMs = performance.now() + SLICE_MS
  let dropped: Promise<void>[] = []
  for (let at = queue.after(0); at !== undefined; at = queue.after(at)) {
    if (performance.now() > sliceEndMs) {
      await turn()
      signal.throwIfAborted()
      sliceEndMs = performance.now() + SLICE_MS
    }
    const message = queue.read(at)
    if (!message || !matches(message, at)) continue
    count += 1
    if (dryRun) continue
    dropped.push(queue.drop(at, 'forgotten'))
    if (dropped.length < COMMIT_EVERY) continue
    await Promise.all(dropped)
    dropped = []
  }
  await Promise.all(dropped)
  return count
}
