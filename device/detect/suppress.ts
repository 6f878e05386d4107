import type { Detection } from './detector.ts'

export type Box = Detection['box']

/** Boxes looked at, best first; the rest is dropped. A crowd of hundreds gives a few thousand above a low threshold. */
const CANDIDATES_MAX = 4096

/** Intersection over union of two boxes (left, top, width, height): 0 apart, 1 the same. */
export function overlap(a: Box, b: Box): number {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0])
  if (width <= 0) return 0
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1])
  if (height <= 0) return 0
  const intersection = width * height
  return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)
}

/**
 * Greedy non-maximum suppression: best first, and what overlaps a better one by more than `overlapMax` (IoU) is
 * the same face. A new array; the given one is left as it is.
 */
export function suppress(candidates: readonly Detection[], overlapMax: number): Detection[] {
  const kept: Detection[] = []
  const ordered = candidates.toSorted((a, b) => b.score - a.score).slice(0, CANDIDATES_MAX)
  for (const candidate of ordered)
    if (kept.every((better) => overlap(better.box, candidate.box) <= overlapMax)) kept.push(candidate)
  return kept
}
