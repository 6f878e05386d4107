import { createHash } from 'node:crypto'
import type { Detection, Detector, Picture } from '../../device/detect/detector.ts'
import type { Present } from '../../device/faces/emit.ts'
import type { Watcher } from '../../device/view/watcher.ts'
import { asFailure, type ErrorCode } from '../../lib/errors.ts'

/** One look at a frame, and what came of it. */
export interface Look {
  readonly picture: string
  readonly tookMs: number
  /** Faces that score enough; undefined where nobody looked. */
  readonly faces: number | undefined
  readonly code: ErrorCode | undefined
}

/** What happened at a camera, in order. */
export type Moment =
  | { readonly is: 'frame'; readonly atMs: number; readonly picture: string; readonly looked: boolean }
  | { readonly is: 'present'; readonly atMs: number; readonly faces: number | undefined }

/** Watches a detector and the agent that works with it: what was looked at, how long that took, and what was said of it. */
export class Looks {
  readonly looks: Look[] = []
  /** By camera. */
  readonly moments = new Map<string, Moment[]>()
  /** Each picture once, as it was looked at. */
  readonly #pictures = new Map<string, Picture>()

  /** The same detector, watched. */
  watch(detector: Detector): Detector {
    const detect = async (picture: Picture): Promise<Detection[]> => {
      const name = this.#name(picture)
      const startMs = performance.now()
      const done = (faces: number | undefined, code?: ErrorCode) =>
        void this.looks.push({ picture: name, tookMs: performance.now() - startMs, faces, code })
      try {
        const found = await detector.detect(picture)
        done(sure(found, detector.scoreMin))
        return found
      } catch (error) {
        done(undefined, asFailure(error).code)
        throw error
      }
    }
    return new Proxy(detector, {
      get: (target, key) => {
        if (key === 'detect') return detect
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  /** For the agent's `watchers`. */
  get watcher(): Watcher {
    return {
      wants: () => true,
      see: async (camera, { scaled }, faces) => {
        this.#add(camera, {
          is: 'frame',
          atMs: performance.now(),
          picture: this.#name(scaled),
          looked: faces !== undefined,
        })
      },
    }
  }

  /** For the agent's `onPresent`. */
  readonly present = (camera: string, present: Present | undefined): void =>
    this.#add(camera, { is: 'present', atMs: performance.now(), faces: present?.faces })

  /** How many faces another detector finds in the same pictures, by their names. */
  async truth(detector: Detector): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>()
    for (const [name, picture] of this.#pictures)
      found.set(name, sure(await detector.detect(picture), detector.scoreMin))
    return found
  }

  #name(picture: Picture): string {
    const name = createHash('sha1').update(picture.data).digest('base64')
    // Frames' memory is used again.
    if (!this.#pictures.has(name)) this.#pictures.set(name, { ...picture, data: picture.data.slice() })
    return name
  }

  #add(camera: string, moment: Moment): void {
    const moments = this.moments.get(camera)
    if (moments) moments.push(moment)
    else this.moments.set(camera, [moment])
  }
}

const sure = (found: readonly Detection[], scoreMin: number) =>
  found.filter(({ score }) => score >= scoreMin).length
