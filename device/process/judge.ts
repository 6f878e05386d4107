import type { Said } from '../../models/classify.ts'

/** How well a classifier tells labels apart, from what it said of labelled crops. Pure. */

/** One crop: what it is, and what was said of it; undefined where no face was seen. */
export interface Judged {
  readonly is: string
  readonly said: Said | undefined
}

export interface LabelResult {
  readonly label: string
  readonly crops: number
  /** Share of its crops of which it was said; undefined where there are none. */
  readonly recall: number | undefined
  /** Share of what it was said of that is so; undefined where it was said of nothing. */
  readonly precision: number | undefined
}

export interface Judgement {
  readonly crops: number
  readonly right: number
  readonly wrong: number
  /** Below the threshold, or without a face. */
  readonly notSure: number
  /** Share of all crops that was right. */
  readonly accuracy: number
  readonly labels: readonly LabelResult[]
  /** A row for each label that a crop is, a column for each that can be said, and the last for "not sure". */
  readonly confusion: readonly { readonly is: string; readonly said: readonly number[] }[]
}

/** @param labels all that can be said */
export function judgeLabels(
  judged: readonly Judged[],
  labels: readonly string[],
  threshold: number,
): Judgement {
  const at = new Map(labels.map((label, index) => [label, index]))
  const rows = labels.map(() => new Array<number>(labels.length + 1).fill(0))
  for (const { is, said } of judged) {
    const row = rows[at.get(is) ?? -1]
    if (!row) continue
    const column = said && said.score >= threshold ? (at.get(said.label) ?? labels.length) : labels.length
    row[column] = (row[column] as number) + 1
  }
  const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)
  const count = (row: number, column: number) => rows[row]?.[column] ?? 0
  const crops = sum(rows.map(sum))
  const right = sum(labels.map((_, index) => count(index, index)))
  const notSure = sum(rows.map((row) => row.at(-1) ?? 0))
  return {
    crops,
    right,
    notSure,
    wrong: crops - right - notSure,
    accuracy: share(right, crops) ?? 0,
    labels: labels.map((label, index) => ({
      label,
      crops: sum(rows[index] ?? []),
      recall: share(count(index, index), sum(rows[index] ?? [])),
      precision: share(count(index, index), sum(labels.map((_, row) => count(row, index)))),
    })),
    confusion: labels.map((is, index) => ({ is, said: rows[index] ?? [] })),
  }
}

const share = (part: number, whole: number) => (whole === 0 ? undefined : part / whole)
