import type { View } from './timeline-scale.ts'

/** What a camera's recordings of a day are, as the timeline draws and the player asks them. Pure. */

export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

export interface Gap extends Span {
  /** A `GapReason`, or `missing` where chunks were recorded and are not here. */
  readonly why: string
}

export interface Kept extends Span {
  readonly by: string
  readonly atMs: number
}

export interface FaceMark {
  readonly id: string
  readonly atMs: number
  readonly picture: string
  /** Of so many that were seen then it is the first. */
  readonly count: number
}

export interface RecordedDay {
  /** Without a hole in them, the earliest first. */
  readonly stretches: readonly Span[]
  readonly gaps: readonly Gap[]
  readonly kept: readonly Kept[]
  /** How much moved, 0 to 1. */
  readonly motion: readonly (Span & { readonly share: number })[]
  readonly faces: readonly FaceMark[]
  readonly bytes: number
}

export const spanAt = <S extends Span>(spans: readonly S[], atMs: number): S | undefined =>
  spans.find(({ fromMs, toMs }) => atMs >= fromMs && atMs < toMs)

/** The first beginning at or after a moment. */
export function nextStart({ stretches }: Pick<RecordedDay, 'stretches'>, atMs: number): number | undefined {
  for (const { fromMs } of stretches) if (fromMs >= atMs) return fromMs
  return undefined
}

/** Between what is recorded: until when there is nothing, and since when. */
export function holeAt({ stretches }: RecordedDay, atMs: number, day: View): Span {
  let fromMs = day.fromMs
  for (const stretch of stretches) {
    if (stretch.toMs <= atMs) fromMs = Math.max(fromMs, stretch.toMs)
    else if (stretch.fromMs > atMs) return { fromMs, toMs: stretch.fromMs }
  }
  return { fromMs, toMs: day.toMs }
}

/** Marks that would lie over each other become one. */
export interface Cluster {
  readonly x: number
  readonly faces: readonly FaceMark[]
}

export function clustered(
  faces: readonly FaceMark[],
  xOfMs: (atMs: number) => number,
  width: number,
  apartPx: number,
): readonly Cluster[] {
  const clusters: { x: number; faces: FaceMark[] }[] = []
  for (const face of faces) {
    const x = xOfMs(face.atMs)
    if (x < -apartPx || x > width + apartPx) continue
    const last = clusters.at(-1)
    if (last && x - last.x < apartPx) last.faces.push(face)
    else clusters.push({ x, faces: [face] })
  }
  return clusters
}

const REASONS: Readonly<Record<string, string>> = {
  start: 'the recording had not begun',
  'camera down': 'camera down',
  'no faces': 'nobody was seen',
  paused: 'paused',
  lost: 'lost at the device',
  'clock set': "the device's clock was set",
  missing: 'deleted, or not yet here',
}
export const gapWords = (why: string) => REASONS[why] ?? why

/** Something is wrong where a gap is of this kind. */
export const isLoss = (why: string) => why === 'lost' || why === 'missing' || why === 'camera down'
