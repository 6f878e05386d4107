import type { Camera } from '../../api/cameras.ts'
import { cameraKey } from '../words.ts'

/** What each camera makes a second, crops or clips, from how its count of them grows. */

/** Counts that are closer to each other say nothing yet. */
const SPAN_MS_MIN = 2000
/** Of the last so many ms. */
const SPAN_MS_MAX = 20_000

interface Seen {
  readonly made: number
  readonly atMs: number
}

export class CropRates {
  readonly #seen = new Map<string, Seen[]>()
  readonly #countOf: (state: NonNullable<Camera['state']>) => number

  constructor(countOf: (state: NonNullable<Camera['state']>) => number) {
    this.#countOf = countOf
  }

  see(camera: Camera): void {
    if (!camera.state || camera.stateAtMs === null) return
    const key = cameraKey(camera)
    const made = this.#countOf(camera.state)
    const seen = this.#seen.get(key) ?? []
    const last = seen.at(-1)
    if (last && last.atMs >= camera.stateAtMs) return
    // An agent that was started anew counts from zero.
    const kept = last && made < last.made ? [] : seen
    this.#seen.set(
      key,
      [...kept, { made, atMs: camera.stateAtMs }].filter(
        ({ atMs }) => atMs >= (camera.stateAtMs ?? 0) - SPAN_MS_MAX * 2,
      ),
    )
  }

  /** So many a second over the last while: a camera that says nothing makes nothing. */
  perS(camera: Camera, nowMs: number): number {
    const all = this.#seen.get(cameraKey(camera)) ?? []
    const last = all.at(-1)
    if (!last) return 0
    const first = all.find(({ atMs }) => atMs >= nowMs - SPAN_MS_MAX) ?? last
    const before = all[all.indexOf(first) - 1] ?? first
    const spanMs = Math.max(nowMs, last.atMs) - before.atMs
    return spanMs < SPAN_MS_MIN ? 0 : ((last.made - before.made) / Math.min(spanMs, SPAN_MS_MAX * 2)) * 1000
  }
}
