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
  const truePositives = judge(detections, truth, overlapMin).filter(({ right }) => right).length
  return rates(truePositives, detections.length - truePositives, truth.length - truePositives)
}

/** A detection's score, and whether there is a face. */
export interface Judged {
  readonly score: number
  readonly right: boolean
}

/** The same, one by one, best first. */
export function judge(detections: readonly Detection[], truth: readonly Box[], overlapMin: number): Judged[] {
  const free = new Set(truth)
  return detections
    .toSorted((a, b) => b.score - a.score)
    .map(({ box, score }) => {
      let best: Box | undefined
      let bestOverlap = overlapMin
      for (const candidate of free) {
        const shared = overlap(box, candidate)
        if (shared >= bestOverlap) {
          best = candidate
          bestOverlap = shared
        }
      }
      if (best !== undefined) free.delete(best)
      return { score, right: best !== undefined }
    })
}

/**
 * Average precision: the area under precision by recall, where a threshold falls through all scores and precision is
 * the best at that recall or beyond (Everingham et al.: "The Pascal Visual Object Classes Challenge", all points,
 * as from 2010). `judged` of all pictures together; 1 where there is no face to find.
 */
export function averagePrecision(judged: readonly Judged[], faces: number): number {
  if (faces === 0) return 1
  const ordered = judged.toSorted((a, b) => b.score - a.score)
  let right = 0
  const precisions = ordered.map((it, at) => {
    if (it.right) right += 1
    return right / (at + 1)
  })
  let area = 0
  let best = 0
  for (let at = ordered.length - 1; at >= 0; at -= 1) {
    best = Math.max(best, precisions[at] as number)
    if (ordered[at]?.right) area += best / faces
  }
  return area
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
