import { failure } from '../../lib/errors.ts'
import type { Span } from '../database/clips.ts'

/** A stretch that somebody asks for. Pure. */

/** Errors: PARAMETER_INVALID */
export function spanOf(fromMs: number, toMs: number, msMax: number): Span {
  if (toMs <= fromMs) throw failure('PARAMETER_INVALID', '"to" must be later than "from".')
  if (toMs - fromMs > msMax)
    throw failure(
      'PARAMETER_INVALID',
      `"to" must be at most ${spoken(msMax)} later than "from": ask for the rest with the next request.`,
    )
  return { fromMs, beforeMs: toMs }
}

const spoken = (ms: number) =>
  ms >= 2 * 86_400_000 ? `${Math.round(ms / 86_400_000)} days` : `${Math.round(ms / 3_600_000)} hours`
