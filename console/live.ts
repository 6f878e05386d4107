import { failure } from '../lib/errors.ts'
import type { CameraState } from '../wire/camera-state.ts'
import { type Effect, LIVE_SECONDS_MAX } from '../wire/commands.ts'
import type { LiveMetadata } from '../wire/live.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { Live, Picture } from './context.ts'

/**
 * Live pictures. The agent sends them only while it is asked to, and is asked again and again while somebody looks: so it
 * stops by itself when the last viewer, the console or the link is gone. Any number of viewers share one stream.
 */

/** Asked for so long, and again so often. */
const ASK_S = Math.min(15, LIVE_SECONDS_MAX)
const ASK_INTERVAL_MS = 5_000
/** A newer one than this is shown to a new viewer at once. */
const FRESH_MS = 3_000
/** A snapshot is larger than a live picture. */
export const PICTURE_BYTES_MAX = 2 * 1024 * 1024
/** Of last pictures that are kept, of all cameras. */
const KEPT_BYTES_MAX = 32 * 1024 * 1024
/** An older one is of no use to anybody, and people are in it. */
const KEPT_MS_MAX = 10 * 60_000
const FORGET_INTERVAL_MS = 60_000
const PICTURE_WAIT_MS = 5_000

export interface LiveOptions {
  readonly viewersMax: number
  /** At most once a while; it may fail, and is asked again. */
  readonly ask: (camera: CameraAddress, forS: number) => void
  /** What a picture says of itself. */
  readonly metadataOf: (jpeg: Buffer) => LiveMetadata | undefined
  /** How the camera is now. */
  readonly stateOf: (camera: CameraAddress) => CameraState | undefined
  /** These are pictures without the cameras' effects. */
  readonly isOriginal: boolean
}

interface Kept extends Picture {
  readonly effect: Effect
  readonly paused: boolean
}

interface Channel {
  readonly camera: CameraAddress
  readonly viewers: Set<(picture: Picture) => void>
  readonly asking: NodeJS.Timeout
}

export class LivePictures implements Live, Disposable {
  readonly #options: LiveOptions
  readonly #channels = new Map<string, Channel>()
  /** The newest of each camera; the one that came longest ago first. */
  readonly #last = new Map<string, Kept>()
  #lastBytes = 0
  #viewers = 0
  readonly #forgetting: NodeJS.Timeout

  constructor(options: LiveOptions) {
    this.#options = options
    this.#forgetting = setInterval(() => this.#forget(), FORGET_INTERVAL_MS).unref()
  }

  get viewers(): number {
    return this.#viewers
  }

  watch(camera: CameraAddress, onPicture: (picture: Picture) => void): Disposable {
    if (this.#viewers >= this.#options.viewersMax)
      throw failure(
        'TOO_MANY',
        `${this.#viewers} live pictures are open, the maximum ("live.viewersMax"). Close another one, or try again later.`,
      )
    this.#viewers += 1
    const path = pathOf(camera)
    const channel = this.#channels.get(path) ?? this.#open(camera)
    // Each viewer is one, even where two pass the same function.
    const viewer = (picture: Picture) => onPicture(picture)
    channel.viewers.add(viewer)
    const last = this.#last.get(path)
    if (last && Date.now() - last.receivedAtMs < FRESH_MS && this.#isOfNow(camera, last)) viewer(last)
    let isOver = false
    return {
      [Symbol.dispose]: () => {
        if (isOver) return
        isOver = true
        this.#viewers -= 1
        channel.viewers.delete(viewer)
        if (channel.viewers.size === 0) this.#close(path, channel)
      },
    }
  }

  #open(camera: CameraAddress): Channel {
    const ask = () => this.#options.ask(camera, ASK_S)
    const channel = { camera, viewers: new Set<never>(), asking: setInterval(ask, ASK_INTERVAL_MS).unref() }
    this.#channels.set(pathOf(camera), channel)
    ask()
    return channel
  }

  #close(path: string, { asking, camera }: Channel): void {
    clearInterval(asking)
    this.#channels.delete(path)
    this.#options.ask(camera, 0)
  }

  /** A new connection to the broker: the agents may not have heard. */
  askAgain(): void {
    for (const { camera } of this.#channels.values()) this.#options.ask(camera, ASK_S)
  }

  /** A live picture, or a snapshot, has come. */
  take(camera: CameraAddress, bytes: Buffer): void {
    if (bytes.length === 0 || bytes.length > PICTURE_BYTES_MAX) return
    if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return
    const path = pathOf(camera)
    // One that says nothing has no effect, as far as is known.
    const { capturedAtMs, effect = 'none', paused = false } = this.#options.metadataOf(bytes) ?? {}
    const picture = { bytes, capturedAtMs, receivedAtMs: Date.now(), effect, paused }
    this.#drop(path)
    this.#last.set(path, picture)
    this.#lastBytes += bytes.length
    for (const oldest of this.#last.keys()) {
      if (this.#lastBytes <= KEPT_BYTES_MAX) break
      this.#drop(oldest)
    }
    for (const viewer of this.#channels.get(path)?.viewers ?? []) viewer(picture)
  }

  /** Its effect was changed, or it was paused or resumed: what was seen before must not be seen any more. */
  forget(camera: CameraAddress): void {
    this.#drop(pathOf(camera))
  }

  /** Whether a picture is as the camera's viewers see it now: one may have been on its way when that was changed. */
  #isOfNow(camera: CameraAddress, { effect, paused }: Kept): boolean {
    const state = this.#options.stateOf(camera)
    if (!state) return true
    if (paused !== state.paused) return false
    return paused || this.#options.isOriginal || effect === (state.effect ?? 'none')
  }

  #drop(path: string): void {
    this.#lastBytes -= this.#last.get(path)?.bytes.length ?? 0
    this.#last.delete(path)
  }

  #forget(): void {
    const before = Date.now() - KEPT_MS_MAX
    for (const [path, { receivedAtMs }] of this.#last) if (receivedAtMs < before) this.#drop(path)
  }

  async picture(camera: CameraAddress, ageMsMax: number, signal: AbortSignal): Promise<Picture | undefined> {
    const newest = (): Picture | undefined => {
      const last = this.#last.get(pathOf(camera))
      return last && Date.now() - last.receivedAtMs <= ageMsMax && this.#isOfNow(camera, last)
        ? last
        : undefined
    }
    const last = newest()
    if (last) return last
    const came = Promise.withResolvers<Picture | undefined>()
    using _watching = this.watch(camera, () => {
      const picture = newest()
      if (picture) came.resolve(picture)
    })
    const giveUp = () => came.resolve(undefined)
    const timer = setTimeout(giveUp, PICTURE_WAIT_MS)
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      return await came.promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#forgetting)
    for (const [path, channel] of this.#channels) this.#close(path, channel)
  }
}

/** Whether what viewers may see of a camera is not what it was. Pure. */
export const isSeenOtherwise = (state: CameraState | undefined, before: CameraState | undefined): boolean =>
  state?.paused !== before?.paused || (state?.effect ?? 'none') !== (before?.effect ?? 'none')

const pathOf = ({ site, device, camera }: CameraAddress) => `${site}/${device}/${camera}`
