import { type Log, throttled } from '../../lib/log.ts'
import type { Effect } from '../../wire/commands.ts'
import { LIVE_BYTES_MAX, LIVE_VERSION, type LiveMetadata, writeLive } from '../../wire/live.ts'
import { liveTopic, originalTopic } from '../../wire/topics.ts'
import type { Zone } from '../../wire/zones.ts'
import type { DeviceConfig } from '../config.ts'
import { fitInside, type Size } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import {
  LIVE_PAUSED_REPEAT_MS,
  LIVE_QUALITIES,
  LIVE_RATE_MAX,
  LIVE_WIDTHS,
  PREVIEW_FACES_MAX,
} from '../limits.ts'
import type { Unshown } from '../link/publish.ts'
import type { Meters } from '../meters.ts'
import { sharp } from '../sharp.ts'
import { drawFaces, drawZones } from './draw.ts'
import type { Area } from './effect.ts'
import type { Effects } from './effects.ts'
import { NO_REDRAW, type Redraw } from './redraw.ts'
import type { SeenFace, Watcher } from './watcher.ts'

/** Of the publisher: what takes a picture, or says why not. */
export interface PictureLine {
  readonly mayShow: boolean
  /** @param beside goes only together with it */
  show(topic: string, payload: Buffer, beside?: { topic: string; payload: Buffer }): Unshown | undefined
}

export interface LiveParts {
  readonly config: Pick<DeviceConfig, 'topicPrefix' | 'site' | 'device' | 'cameras'>
  readonly publisher: PictureLine
  /** What must not be seen on the `live` topic. */
  readonly effects: Pick<Effects, 'of' | 'apply' | 'areas'>
  /** Who changes it after that; nobody where absent. */
  readonly redraw?: Redraw
  readonly isPaused: (camera: string) => boolean
  /** Those of a camera; none where absent. */
  readonly zones?: (camera: string) => readonly Zone[]
  readonly meters: Pick<Meters, 'livePictures' | 'liveLost'>
  readonly log: Log
}

/** With the camera's effect, and without it for those who may see that. */
export type View = 'live' | 'original'
const VIEWS = ['live', 'original'] as const
const TOPICS = { live: liveTopic, original: originalTopic } as const

interface Camera {
  readonly name: string
  /** Somebody looks at each until then; by a clock that nobody sets. */
  readonly untilMs: Record<View, number>
  dueMs: number
  making: boolean
  /** In the frame that was last looked at. */
  faces: number
  /** Of LIVE_STEPS, for each: the last that was small enough. */
  readonly step: Record<View, number>
  saidPausedMs: number
}

/** A frame's pixels, for one of the two. */
interface Picture {
  readonly view: View
  readonly rgb: Uint8Array
  readonly effect: Effect
  /** Who is to change it still, and what faces cover. */
  readonly by: string
  readonly areas: readonly Area[]
}

const TICK_MS = 250

/** How a picture is made smaller, in order. */
const LIVE_STEPS = LIVE_WIDTHS.flatMap((width) => LIVE_QUALITIES.map((quality) => ({ width, quality })))

/**
 * The live picture, sent to the broker while somebody looks, whoever and wherever they are: a command says so for some
 * seconds, and it ends by itself.
 *
 *     frame -> if it is time, and the line has taken the one before -> faces drawn in, JPEG -> <camera>/live
 *                                                                                              <camera>/original
 *
 * Where both are looked at, they are of the same frames, and go together or not at all.
 *
 * Nothing waits here: a slow line gets fewer pictures, and each is the newest. The pipeline waits only until the frame's
 * pixels are copied.
 */
export class Live implements Watcher, Disposable {
  readonly #parts: LiveParts
  readonly #cameras = new Map<string, Camera>()
  readonly #complain: () => void
  #fault: unknown
  #ticker: NodeJS.Timeout | undefined
  #pausedPicture: Promise<Buffer> | undefined

  constructor(parts: LiveParts) {
    this.#parts = parts
    for (const { name } of parts.config.cameras) this.add(name)
    this.#complain = throttled((count) =>
      parts.log.error({ count, error: String(this.#fault) }, 'cannot make a live picture'),
    )
  }

  /** A camera that is there from now on. */
  add(name: string): void {
    const saidPausedMs = Number.NEGATIVE_INFINITY
    const [untilMs, step] = [
      { live: 0, original: 0 },
      { live: 0, original: 0 },
    ]
    this.#cameras.set(name, { name, untilMs, dueMs: 0, making: false, faces: 0, step, saidPausedMs })
  }

  remove(name: string): void {
    this.#cameras.delete(name)
  }

  /** Somebody looks for so many seconds from now; 0: nobody does any more. @returns whether nobody did before */
  look(name: string, forS: number, view: View = 'live'): boolean {
    const camera = this.#cameras.get(name)
    if (!camera) return false
    const now = performance.now()
    const isNew = now >= camera.untilMs[view]
    camera.untilMs[view] = now + forS * 1000
    if (isNew) camera.saidPausedMs = Number.NEGATIVE_INFINITY
    this.#tick()
    if (forS > 0) this.#ticker ??= setInterval(() => this.#tick(), TICK_MS).unref()
    return isNew
  }

  /** Whether somebody looks: at one of the two, or at either. */
  isWatched(name: string, view?: View): boolean {
    const camera = this.#cameras.get(name)
    const now = performance.now()
    return (view ? [view] : VIEWS).some((it) => now < (camera?.untilMs[it] ?? 0))
  }

  wants(name: string): boolean {
    const camera = this.#cameras.get(name)
    if (!camera || camera.making || !this.isWatched(name)) return false
    // A quarter of an interval's tolerance: a limit equal to the camera's own rate skips nothing.
    if (performance.now() < camera.dueMs - 250 / LIVE_RATE_MAX) return false
    if (this.#parts.publisher.mayShow) return true
    this.#lose(camera, 'slow line')
    this.#tookTurn(camera)
    return false
  }

  #tookTurn(camera: Camera): void {
    const intervalMs = 1000 / LIVE_RATE_MAX
    camera.dueMs = Math.max(camera.dueMs, performance.now() - intervalMs) + intervalMs
  }

  async see(name: string, frame: Frame, faces: readonly SeenFace[] | undefined): Promise<void> {
    const camera = this.#cameras.get(name)
    if (!camera) return
    const { effects, redraw = NO_REDRAW } = this.#parts
    this.#tookTurn(camera)
    camera.making = true
    try {
      const { width, height, capturedAtMs } = frame
      const rgb = await frame.cut(0, 0, width, height)
      const pictures: Picture[] = []
      if (this.isWatched(name, 'original'))
        pictures.push({ view: 'original', rgb: rgb.slice(), effect: 'none', by: '', areas: [] })
      // Before the next frame says where its own faces are.
      if (this.isWatched(name, 'live'))
        pictures.push({
          ...{ view: 'live', rgb, effect: effects.apply(name, rgb, { width, height }) },
          ...{ by: redraw.redrawnBy(name), areas: effects.areas(name, { width, height }) },
        })
      void this.#make(camera, pictures, { width, height }, capturedAtMs, faces)
    } catch (error) {
      this.#failed(camera, error)
    }
  }

  /** Never rejects. */
  async #make(
    camera: Camera,
    pictures: readonly Picture[],
    frame: Size,
    capturedAtMs: number,
    faces: readonly SeenFace[] | undefined,
  ): Promise<void> {
    try {
      const sure = faces?.filter((face) => face.sure).slice(0, PREVIEW_FACES_MAX) ?? []
      if (faces) camera.faces = sure.length
      const metadata = {
        v: LIVE_VERSION,
        capturedAtMs: Math.round(capturedAtMs),
        frame: [frame.width, frame.height],
        faces: camera.faces,
        paused: false,
      } as const satisfies LiveMetadata
      const zones = this.#parts.zones?.(camera.name) ?? []
      const { redraw = NO_REDRAW } = this.#parts
      const makings = pictures.map(async ({ view, rgb: seen, effect, by, areas }) => {
        // Whoever fails at it has said so: that picture goes to nobody.
        const rgb =
          by === ''
            ? seen
            : await redraw.redraw(camera.name, seen, frame, faces ?? [], areas).catch(() => undefined)
        if (!rgb) return undefined
        drawZones(rgb, frame, zones, widthOf(camera.step[view]))
        drawFaces(rgb, frame, sure, widthOf(camera.step[view]))
        const of = effect === 'none' ? metadata : { ...metadata, effect }
        return { view, effect, by, payload: await this.#encode(camera, view, rgb, frame, of) }
      })
      const made = (await Promise.all(makings)).filter((it) => it !== undefined)
      if (made.length < pictures.length) this.#lose(camera, 'plugin')
      camera.making = false
      // It was made while the camera was being paused,
      if (this.#parts.isPaused(camera.name)) return
      // or while nobody looked any more, or while it was told to hide faces.
      const wanted = made.filter(
        ({ view, effect, by }) =>
          this.isWatched(camera.name, view) &&
          (view === 'original' ||
            (effect === this.#parts.effects.of(camera.name) && by === redraw.redrawnBy(camera.name))),
      )
      const ready = wanted.flatMap(({ view, payload }) => (payload ? [{ view, payload }] : []))
      if (ready.length < wanted.length) this.#lose(camera, 'too large')
      else this.#send(camera, ready)
    } catch (error) {
      this.#failed(camera, error)
    }
  }

  /** The best that is small enough, beginning where the last one was. @returns undefined where none is */
  async #encode(
    camera: Camera,
    view: View,
    rgb: Uint8Array,
    frame: Size,
    metadata: LiveMetadata,
  ): Promise<Buffer | undefined> {
    for (let step = camera.step[view]; step < LIVE_STEPS.length; step += 1) {
      const { width, quality } = LIVE_STEPS[step] as (typeof LIVE_STEPS)[number]
      const picture = writeLive(await encodePicture(rgb, frame, width, quality), metadata)
      if (picture.length > LIVE_BYTES_MAX) continue
      // Half the room left is enough for the next better one.
      camera.step[view] = picture.length < LIVE_BYTES_MAX / 2 ? Math.max(0, step - 1) : step
      return picture
    }
    return undefined
  }

  #send(camera: Camera, pictures: readonly { readonly view: View; readonly payload: Buffer }[]): void {
    const { config, publisher, meters } = this.#parts
    const [first, beside] = pictures.map(({ view, payload }) => ({
      topic: TOPICS[view](config.topicPrefix, { ...config, camera: camera.name }),
      payload,
    }))
    if (!first) return
    const unshown = publisher.show(first.topic, first.payload, beside)
    if (unshown === undefined) meters.livePictures.inc({ camera: camera.name }, pictures.length)
    else this.#lose(camera, unshown)
  }

  #lose({ name }: Camera, reason: Unshown | 'too large' | 'plugin'): void {
    this.#parts.meters.liveLost.inc({ camera: name, reason })
  }

  #failed(camera: Camera, error: unknown): void {
    camera.making = false
    this.#fault = error
    this.#complain()
  }

  /** A paused camera gives no frames: says so to who looks, at once and now and then. Ends when nobody looks. */
  #tick(): void {
    const now = performance.now()
    let watched = false
    for (const camera of this.#cameras.values()) {
      if (!this.isWatched(camera.name)) continue
      watched = true
      const paused = this.#parts.isPaused(camera.name)
      if (!paused) camera.saidPausedMs = Number.NEGATIVE_INFINITY
      if (!paused || camera.making || now - camera.saidPausedMs < LIVE_PAUSED_REPEAT_MS) continue
      camera.saidPausedMs = now
      void this.#sayPaused(camera)
    }
    if (watched) return
    clearInterval(this.#ticker)
    this.#ticker = undefined
  }

  /** Never rejects. */
  async #sayPaused(camera: Camera): Promise<void> {
    try {
      this.#pausedPicture ??= pausedPicture()
      const jpeg = await this.#pausedPicture
      const metadata = { v: LIVE_VERSION, capturedAtMs: Date.now(), faces: 0, paused: true } as const
      const payload = writeLive(jpeg, metadata)
      const views = VIEWS.filter((view) => this.isWatched(camera.name, view))
      this.#send(
        camera,
        views.map((view) => ({ view, payload })),
      )
    } catch (error) {
      this.#failed(camera, error)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticker)
    for (const { untilMs } of this.#cameras.values()) Object.assign(untilMs, { live: 0, original: 0 })
  }
}

const widthOf = (step: number) => LIVE_STEPS[step]?.width ?? LIVE_WIDTHS[0]

async function encodePicture(
  rgb: Uint8Array,
  frame: Size,
  widthMax: number,
  quality: number,
): Promise<Buffer> {
  const size = fitInside(frame, { width: widthMax, height: widthMax })
  return await sharp(rgb, { raw: { ...frame, channels: 3 } })
    .resize({ ...size, fit: 'fill', kernel: 'linear' })
    .jpeg({ quality, optimiseCoding: false })
    .toBuffer()
}

/** The sign of a pause, which needs no language and no font: two grey bars on a dark ground. */
async function pausedPicture(): Promise<Buffer> {
  const [width, height, bar] = [640, 360, 36]
  const rgb = new Uint8Array(width * height * 3).fill(24)
  for (let y = height / 2 - 70; y < height / 2 + 70; y += 1)
    for (const left of [width / 2 - bar * 1.5, width / 2 + bar * 0.5])
      rgb.fill(150, (y * width + left) * 3, (y * width + left + bar) * 3)
  return await encodePicture(rgb, { width, height }, width, 75)
}
