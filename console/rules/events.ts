import { anyEventSchema, type FaceEvent } from '../../wire/event.ts'
import type { CameraAddress } from '../../wire/topics.ts'

/**
 * Events of faces off the line, for rules: what is none, is of another camera than its topic says, or comes faster than a
 * camera sends, is dropped and counted; what plugins say there is passed over. Nobody keeps events, so that one that is lost here is as one that was lost on its way.
 */

/** With two faces of 128 characters in all their fields it is 3 KB. */
const EVENT_BYTES_MAX = 16 * 1024
/** Of one camera, over some seconds; more is no camera. */
const OF_CAMERA_A_SECOND_MAX = 100
const BURST_S = 5
/** Of one device, so that one alone does not crowd out the others. */
const OF_DEVICE_A_SECOND_MAX = 1_000
/** Of all together: what rules can look at beside everything else. */
const OF_ALL_A_SECOND_MAX = 5_000
/** Cameras and devices that have sent something of late. */
const SENDERS_MAX = 20_000

export class FaceEvents {
  readonly #now: () => number
  /** By who sent last: the oldest first. */
  readonly #left = new Map<string, { tokens: number; atMs: number }>()
  #dropped = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  get dropped(): number {
    return this.#dropped
  }

  /** @returns undefined where it is dropped, or is of a plugin: no rule asks for these */
  take(address: CameraAddress, payload: Buffer): FaceEvent | undefined {
    const { site, device, camera } = address
    if (
      payload.length > EVENT_BYTES_MAX ||
      !this.#mayCome(`${site}/${device}`, OF_DEVICE_A_SECOND_MAX) ||
      !this.#mayCome(`${site}/${device}/${camera}`, OF_CAMERA_A_SECOND_MAX) ||
      !this.#mayCome('', OF_ALL_A_SECOND_MAX)
    )
      return this.#drop()
    let json: unknown
    try {
      json = JSON.parse(payload.toString('utf8'))
    } catch {
      return this.#drop()
    }
    const event = anyEventSchema.safeParse(json).data
    if (!event) return this.#drop()
    if (event.type === 'plugin') return undefined
    const { after, before } = event
    const isOwn = [after, before].every(
      (face) => face.site === site && face.device === device && face.camera === camera,
    )
    return isOwn ? event : this.#drop()
  }

  #drop(): undefined {
    this.#dropped += 1
    return undefined
  }

  #mayCome(of: string, aSecond: number): boolean {
    const nowMs = this.#now()
    const max = aSecond * BURST_S
    const left = this.#left.get(of) ?? { tokens: max, atMs: nowMs }
    this.#left.delete(of)
    for (const [oldest, { atMs }] of this.#left) {
      // Who was silent for so long may send as much as who never sent.
      if (nowMs - atMs < BURST_S * 1000 && this.#left.size < SENDERS_MAX) break
      this.#left.delete(oldest)
    }
    this.#left.set(of, left)
    left.tokens = Math.min(max, left.tokens + ((nowMs - left.atMs) / 1000) * aSecond)
    left.atMs = nowMs
    if (left.tokens < 1) return false
    left.tokens -= 1
    return true
  }
}
