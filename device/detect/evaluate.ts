import type { Detection } from './detector.ts'
import { type Box, overlap } from './suppress.ts'

export interface Evaluation {
  readonly truePositives: number
  readonly falsePositives: number
  readonly falseNegatives: number
  /** Share of the true faces that were found; 1 where there is none. */
  readonly recall: number
  /** Share of what was found that is a face; 1 where nothing was found. */
  readonly precision: number
}

/**
 * Holds detections against the true boxes of one picture: best score first, each takes the free true box that
 * it overlaps most, if by at least `overlapMin` (IoU).
 */
export function evaluate(
  detections: readonly Detection[],
  truth: readonly Box[],
  overlapMin: number,
): Evaluation {
  const free = new Set(truth)
  let truePositives = 0
  for (const { box } of detections.toSorted((a, b) => b.score - a.score)) {
    let best: Box | undefined
    let bestOverlap = overlapMin
    for (const candidate of free) {
      const shared = overlap(box, candidate)
      if (shared >= bestOverlap) {
        best = candidate
        bestOverlap = shared
      }
    }
    if (best === undefined) continue
    free.delete(best)
    truePositives += 1
  }
  return rates(truePositives, detections.length - truePositives, truth.length - truePositives)
}

/** Several pictures' evaluations as one. */
export function sum(evaluations: readonly Evaluation[]): Evaluation {
  const total = (key: 'truePositives' | 'falsePositives' | 'falseNegatives') =>
    evaluations.reduce((count, evaluation) => count + evaluation[key], 0)
  return rates(total('truePositives'), total('falsePositives'), total('falseNegatives'))
}

function rates(truePositives: number, falsePositives: number, falseNegatives: number): Evaluation {
  const share = (rest: number) => (truePositives + rest === 0 ? 1 : truePositives / (truePositives + rest))
  return {
    truePositives,
    falsePositives,
    falseNegatives,
    recall: share(falseNegatives),
    precision: share(falsePositives),
  }
}
