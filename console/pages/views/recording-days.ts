import { type Signal, useComputed } from '@preact/signals'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { CameraTimeline, Timeline } from '../../api/timeline.ts'
import { useEvery } from '../loaded.ts'
import * as recordings from '../recordings.ts'
import { cameraKey } from '../words.ts'
import type { RecordedDay } from './recorded-day.ts'
import { HOUR_MS, MINUTE_MS, spanOf, type View } from './timeline-scale.ts'

/** What several cameras recorded on a day: the whole of it, and of what is looked at closely the details. */

/** Of today: chunks come every few seconds. */
const REFRESH_MS = 4000
/** What is seen of the day at once or less is fetched again, in finer parts. */
const CLOSE_MS_MAX = 4 * HOUR_MS
/** Chunks are mostly shorter. */
const CHUNK_MS_MAX = 6000

export interface DayOfCamera {
  readonly day: RecordedDay | undefined
  readonly error: string | undefined
}

export interface Days {
  readonly of: ReadonlyMap<string, DayOfCamera>
  again(): void
}

export function useDays(keys: readonly string[], day: View, view: Signal<View>): Days {
  const close = useComputed(() => closeOf(view.value, day))
  const window = close.value
  const whole = useTimelines(keys, day)
  const details = useTimelines(window ? keys : [], window ?? day)
  const again = () => {
    whole.again()
    if (window) details.again()
  }
  useEvery(REFRESH_MS, () => {
    if (day.toMs > Date.now()) again()
  })
  const of = useMemo(() => {
    const days = new Map<string, DayOfCamera>()
    for (const key of keys) {
      const known = whole.of.get(key)
      const fine = window ? details.of.get(key)?.timeline : undefined
      days.set(key, {
        day: known?.timeline && recordedDayOf(known.timeline, fine),
        error: known?.error,
      })
    }
    return days
  }, [keys.join(), whole.of, details.of, window])
  return { of, again }
}

/** The hours around what is seen, so that moving a little fetches nothing; undefined where the whole day will do. */
function closeOf(view: View, day: View): View | undefined {
  const span = spanOf(view)
  if (span > CLOSE_MS_MAX) return undefined
  const step = span > HOUR_MS ? HOUR_MS : span > 10 * MINUTE_MS ? 30 * MINUTE_MS : 5 * MINUTE_MS
  const fromMs = Math.max(day.fromMs, Math.floor(view.fromMs / step) * step)
  return { fromMs, toMs: Math.min(day.toMs, fromMs + Math.ceil(span / step + 1) * step) }
}

interface One {
  readonly timeline: PartOf | undefined
  readonly error: string | undefined
}

interface PartOf {
  readonly camera: CameraTimeline
  readonly all: Pick<Timeline, 'fromMs' | 'toMs' | 'slotMs'>
}

/** Each camera by itself: one that fails hides none of the others. */
function useTimelines(keys: readonly string[], span: View) {
  const [of, set] = useState<ReadonlyMap<string, One>>(new Map())
  const [round, setRound] = useState(0)
  const about = useRef('')
  useEffect(() => {
    const controller = new AbortController()
    const { signal } = controller
    const name = `${span.fromMs} ${span.toMs}`
    if (about.current !== name) set(new Map())
    about.current = name
    for (const key of keys)
      recordings.timeline([key], span, signal).then(
        (timeline) => {
          const camera = timeline.cameras.find((it) => cameraKey(it) === key)
          if (!signal.aborted && camera)
            set((old) => new Map(old).set(key, { timeline: { camera, all: timeline }, error: undefined }))
        },
        (error: unknown) => {
          const text = error instanceof Error ? error.message : String(error)
          if (!signal.aborted)
            set((old) => new Map(old).set(key, { timeline: old.get(key)?.timeline, error: text }))
        },
      )
    return () => controller.abort()
  }, [keys.join(), span.fromMs, span.toMs, round])
  return { of, again: () => setRound((count) => count + 1) }
}

function recordedDayOf({ camera, all }: PartOf, fine: PartOf | undefined): RecordedDay {
  const isFine = (atMs: number) => fine !== undefined && atMs >= fine.all.fromMs && atMs < fine.all.toMs
  return {
    stretches: camera.stretches,
    // Of what nothing is known, nothing is said but that it is not recorded.
    gaps: camera.gaps.flatMap(({ fromMs, toMs, why }) => (why === null ? [] : [{ fromMs, toMs, why }])),
    kept: camera.kept,
    motion: [
      ...motionOf({ camera, all }).filter(({ fromMs }) => !isFine(fromMs)),
      ...(fine ? motionOf(fine) : []),
    ],
    faces: [
      ...facesOf(camera).filter(({ atMs }) => !isFine(atMs)),
      ...(fine ? facesOf(fine.camera) : []),
    ].sort((a, b) => a.atMs - b.atMs),
    bytes: camera.stretches.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

/** Each chunk says it once, where it begins: in parts shorter than a chunk it holds for those that follow as well. */
function motionOf({ camera, all: { fromMs, slotMs } }: PartOf): RecordedDay['motion'] {
  const spans: { fromMs: number; toMs: number; share: number }[] = []
  for (const [slot, share] of camera.motion.entries()) {
    if (share === null) continue
    const at = fromMs + slot * slotMs
    const last = spans.at(-1)
    if (last && at - last.fromMs <= CHUNK_MS_MAX) last.toMs = at
    spans.push({ fromMs: at, toMs: at + slotMs, share })
  }
  return spans
}

const facesOf = ({ faces }: CameraTimeline) =>
  faces.map((face) => ({ ...face, picture: recordings.facePicture(face.id) }))
