import { type Clip, follows, JOIN_MS_MAX } from '../database/clip.ts'

/**
 * What of a stretch that still grows may be told to players: they count what they have seen, so a playlist only ever gets
 * longer at its end. Where a chunk is missing what comes behind it waits for it, for a while. One that comes later still is
 * left out: it is there when the stretch is asked for anew, once it grows no more.
 */

/** Chunks are stored side by side, and announced in batches: so long after the one behind it, one may still come. */
export const HOLD_MS = 5000

/**
 * By when each was stored, and by the clock: so that whoever asks again, of whichever console, gets the same and more. Pure.
 * @param clips of one camera, oldest first
 */
export function unfoldedOf(clips: readonly Clip[], nowMs: number): readonly Clip[] {
  const inTime = withoutLate(clips)
  const end = inTime.findIndex((clip, n) => {
    const before = inTime[n - 1]
    return before && !isNext(before, clip) && nowMs < clip.storedAtMs + HOLD_MS
  })
  return end < 0 ? inTime : inTime.slice(0, end)
}

/** Those that did not come so late that one behind them was told of before. */
function withoutLate(clips: readonly Clip[]): readonly Clip[] {
  let toldAtMs = Number.POSITIVE_INFINITY
  const inTime: Clip[] = []
  for (const clip of clips.toReversed()) {
    if (clip.storedAtMs > toldAtMs) continue
    toldAtMs = Math.min(toldAtMs, clip.storedAtMs + HOLD_MS)
    inTime.push(clip)
  }
  return inTime.reverse()
}

/** Nothing can come between the two: the one goes on from the other, or its device has said that there is nothing. */
const isNext = (before: Clip, next: Clip) =>
  follows(before, next) ||
  (next.gap !== undefined && next.gap.fromMs !== null && next.gap.fromMs <= before.endMs + JOIN_MS_MAX)
