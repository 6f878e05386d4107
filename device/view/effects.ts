import type { Effect } from '../../wire/commands.ts'
import type { Box, Size } from '../faces/crop.ts'
import type { Track } from '../faces/track.ts'
import type { Frame } from '../frame.ts'
import { BLIND_MS, HIDDEN_MAX, HIDDEN_MS } from '../limits.ts'
import { type Area, applyEffect } from './effect.ts'
import type { SeenFace } from './watcher.ts'

/** Added around a face on each side, as a part of its width and height: hair, ears and what the detector's box misses. */
const MARGIN = 0.5
/** The same where the frame was not looked at: the face may have moved a little. */
const MARGIN_STILL = 1
/** From that part of the smaller box on, two boxes are of one face. */
const SAME_MIN = 0.5

interface Hidden {
  readonly box: Box
  readonly track: string | undefined
  /** By the frames' clock, where they have one. */
  readonly atMs: number
}

/** What of a frame must be known. */
export type LookedAt = Pick<Frame, 'width' | 'height' | 'region' | 'atMs' | 'capturedAtMs'>

interface Camera {
  size: Size
  region: Frame['region']
  /** Newest first. */
  hidden: readonly Hidden[]
  /** When it was last looked at, by the frames' clock. */
  readonly lookedAtMs: number
  looked: boolean
  /** Nobody could look for so long that faces may be anywhere. */
  isBlind: boolean
}

/**
 * What each camera's viewers see (`view.effect`), and which parts of its picture they must not: every face that was detected,
 * however low its score; those that are followed and were not detected now, where they were and where they are expected; and
 * for a while those that were there and are not any more. Where nothing was looked at, everything is hidden.
 *
 * Told of each frame before anybody who looks is.
 */
export class Effects {
  readonly #effectOf: (camera: string) => Effect
  readonly #cameras = new Map<string, Camera>()

  /** @param effectOf what holds now */
  constructor(effectOf: (camera: string) => Effect) {
    this.#effectOf = effectOf
  }

  of(camera: string): Effect {
    return this.#effectOf(camera)
  }

  /** A frame in which faces were looked for. @param tracks those that are followed, also where they were not detected */
  looked(name: string, frame: LookedAt, faces: readonly SeenFace[], tracks: readonly Track[]): void {
    const { width, height, region, atMs } = frame
    const nowMs = atMs ?? frame.capturedAtMs
    const before = this.#cameras.get(name)
    const isSame = before?.size.width === width && before.size.height === height
    const now = faces.map(({ box, track }): Hidden => ({ box, track, atMs: nowMs }))
    for (const { id, box, filter, misses } of tracks)
      if (misses > 0) now.push({ box, track: id, atMs: nowMs }, { box: filter.box, track: id, atMs: nowMs })
    const earlier = (isSame && atMs !== undefined ? before.hidden : []).filter(
      (it) =>
        nowMs >= it.atMs &&
        nowMs - it.atMs < HIDDEN_MS &&
        !now.some(({ box, track }) => (track !== undefined && track === it.track) || isOneFace(box, it.box)),
    )
    this.#cameras.set(name, {
      size: { width, height },
      region,
      hidden: [...now, ...earlier].slice(0, HIDDEN_MAX),
      lookedAtMs: nowMs,
      looked: true,
      isBlind: false,
    })
  }

  /** A frame in which nobody could look for faces: at first they are not far from where they were, then they may be anywhere. */
  unlooked(name: string, { atMs, capturedAtMs }: LookedAt): void {
    const camera = this.#cameras.get(name)
    if (!camera) return
    const passedMs = (atMs ?? capturedAtMs) - camera.lookedAtMs
    camera.looked = false
    if (!(passedMs >= 0 && passedMs < BLIND_MS)) camera.isBlind = true
  }

  /** A frame in which nobody looked for faces, because the scene was still: they are where they were, or not far. */
  still(name: string): void {
    const camera = this.#cameras.get(name)
    if (camera) camera.looked = false
  }

  /** Hides in a frame's pixels what must not be seen, in place. @returns what it has done */
  apply(name: string, rgb: Uint8Array, frame: Size): Effect {
    const effect = this.of(name)
    if (effect !== 'none') applyEffect(effect, rgb, frame, this.areas(name, frame))
    return effect
  }

  /** What of a frame must not be seen where faces are to be hidden. */
  areas(name: string, frame: Size): Area[] {
    const camera = this.#cameras.get(name)
    const { width, height } = frame
    // Also where there are more faces than are remembered.
    const isKnown = camera?.size.width === width && camera.size.height === height && !camera.isBlind
    if (!isKnown || camera.hidden.length >= HIDDEN_MAX) return [{ left: 0, top: 0, width, height }]
    const margin = camera.looked ? MARGIN : MARGIN_STILL
    return [
      ...outside(camera.region, frame),
      ...camera.hidden.flatMap(({ box }) => clipped(box, margin, frame)),
    ]
  }
}

/** Whether they share most of the smaller one. */
function isOneFace(a: Box, b: Box): boolean {
  const wide = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0])
  const high = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1])
  if (wide <= 0 || high <= 0) return false
  return wide * high >= SAME_MIN * Math.min(a[2] * a[3], b[2] * b[3])
}

/** In whole pixels, outwards; nothing where it is out of the picture. */
function clipped([x, y, wide, high]: Box, margin: number, frame: Size): Area[] {
  const left = Math.max(0, Math.floor(x - margin * wide))
  const top = Math.max(0, Math.floor(y - margin * high))
  const right = Math.min(frame.width, Math.ceil(x + wide + margin * wide))
  const bottom = Math.min(frame.height, Math.ceil(y + high + margin * high))
  return right > left && bottom > top ? [{ left, top, width: right - left, height: bottom - top }] : []
}

/** Where faces are not looked for (`region`), in up to four parts. */
function outside(region: Frame['region'], { width, height }: Size): Area[] {
  if (!region) return []
  const right = region.left + region.width
  const bottom = region.top + region.height
  const parts = [
    { left: 0, top: 0, width, height: region.top },
    { left: 0, top: bottom, width, height: height - bottom },
    { left: 0, top: region.top, width: region.left, height: region.height },
    { left: right, top: region.top, width: width - right, height: region.height },
  ]
  return parts.filter((part) => part.width > 0 && part.height > 0)
}
