import type { CropMetadata } from '../wire/crop.ts'

/**
 * A capture time further ahead of the time of receipt is none. A subscriber whose own clock is further off than that
 * cannot write to S3 either.
 */
export const AHEAD_MS_MAX = 15 * 60_000
/** Nor is one further back: no queue on the way keeps a crop for more than 30 days, unless told to. */
export const BEHIND_MS_MAX = 31 * 24 * 3_600_000
/** A clock of this machine before that has not been set, and judges nobody's. */
export const CLOCK_MS_MIN = Date.UTC(2024, 0)

/** When a message came. */
export interface Receipt {
  readonly atMs: number
  /** By a clock that does not follow leaps at once (lib/steady-clock.ts): not later than the other. */
  readonly steadyMs: number
}

/**
 * The time that a crop is filed under: of its capture, or, where that cannot be, of its receipt. A camera whose clock is
 * wrong would file its crops where retention deletes them at once, or never, and the gallery shows them first or last.
 * Whoever asks keeps the answer with the crop: for the same crop received later it may be another.
 */
export function filedAtMs(
  { capturedAtMs, clockSane }: Pick<CropMetadata, 'capturedAtMs' | 'clockSane'>,
  { atMs, steadyMs }: Receipt,
): number {
  if (!clockSane) return atMs
  if (atMs < CLOCK_MS_MIN) return capturedAtMs
  return capturedAtMs > atMs + AHEAD_MS_MAX || capturedAtMs < steadyMs - BEHIND_MS_MAX ? atMs : capturedAtMs
}
