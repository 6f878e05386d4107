import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { asFailure } from '../../lib/errors.ts'
import { notFound } from '../../lib/http/server.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { Effect } from '../../wire/commands.ts'
import type { Zone } from '../../wire/zones.ts'
import type { Size } from '../faces/crop.ts'
import { fitInside } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import {
  PREVIEW_FACES_MAX,
  PREVIEW_QUALITY,
  PREVIEW_REPEAT_MS,
  PREVIEW_STALLED_MS_MAX,
  PREVIEW_WIDTH_MAX,
} from '../limits.ts'
import type { Meters } from '../meters.ts'
import { sharp } from '../sharp.ts'
import type { Area } from './effect.ts'
import type { Effects } from './effects.ts'
import { NO_REDRAW, type Redraw } from './redraw.ts'
import type { SeenFace, Watcher } from './watcher.ts'

/** How a camera is, for people who look. */
export interface CameraLook {
  /** `opening`, `up`, `ended`, or `down: why`. */
  readonly state: string
  readonly paused: boolean
  readonly zones?: readonly Zone[]
}

export interface PreviewOptions {
  readonly cameras: readonly string[]
  /** For the page's head: what runs. */
  readonly title: string
  /** Pictures a second of one camera. */
  readonly rateMax: number
  readonly viewersMax: number
  readonly look: (camera: string) => CameraLook
  /** What must not be seen. */
  readonly effects: Pick<Effects, 'of' | 'apply' | 'areas'>
  /** Who changes it after that; nobody where absent. */
  readonly redraw?: Redraw
  readonly meters: Pick<Meters, 'previewPictures' | 'previewLost' | 'previewViewers'>
  readonly log: Log
  /** For tests. */
  readonly stalledMsMax?: number
  readonly repeatMs?: number
}

interface Camera {
  readonly name: string
  readonly viewers: Set<Viewer>
  dueMs: number
  making: boolean
  /** The newest picture, as a part of the stream; kept while somebody looks. */
  last: Buffer | undefined
  /** What was done to that. */
  lastDone: Done
  faces: number
  /** Why the newest picture was shown to nobody. */
  why: string | undefined
}

/** What was done to a picture: the camera's effect, and by whom it was changed after that. */
interface Done {
  readonly effect: Effect
  readonly by: string
}

interface Viewer {
  readonly response: ServerResponse
  writtenAtMs: number
}

const BOUNDARY = 'sightline-picture'
const FACES_HEADER = 'x-sightline-faces'
const TICK_MS = 1000
const HEADER = 'cache-control'

const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const PAGE = {
  '/preview': ['index.html', 'text/html; charset=utf-8'],
  '/preview/preview.css': ['preview.css', 'text/css; charset=utf-8'],
  '/preview/preview.js': ['preview.js', 'text/javascript; charset=utf-8'],
  '/preview/labels.js': ['labels.js', 'text/javascript; charset=utf-8'],
  '/preview/stream.js': ['stream.js', 'text/javascript; charset=utf-8'],
  '/preview/icon.svg': ['icon.svg', 'image/svg+xml'],
} as const

/**
 * The live picture with what is found in it: a page, and of each camera a stream of JPEGs (multipart/x-mixed-replace). The
 * faces go with the picture that they are in, as a header of its part, and the page draws them: text is sharp at any size.
 *
 *     frame -> one picture, if somebody looks and it is time -> each viewer whose socket is empty
 *
 * A picture is written to a viewer only when the last one has left this process: who is slow gets fewer, and what waits
 * is at most one picture a viewer. The pipeline waits only until the frame's pixels are copied.
 */
export class Preview implements Watcher, Disposable {
  readonly #options: PreviewOptions
  readonly #cameras = new Map<string, Camera>()
  readonly #ticker: NodeJS.Timeout
  readonly #complain: () => void
  #fault: unknown

  constructor(options: PreviewOptions) {
    this.#options = options
    for (const name of options.cameras) this.add(name)
    this.#complain = throttled((count) =>
      options.log.error({ count, error: String(this.#fault) }, 'cannot make a preview picture'),
    )
    this.#ticker = setInterval(() => this.#tick(), Math.min(TICK_MS, this.#repeatMs)).unref()
  }

  /** A camera that is there from now on. */
  add(name: string): void {
    this.#cameras.set(name, {
      name,
      viewers: new Set(),
      dueMs: 0,
      making: false,
      last: undefined,
      lastDone: { effect: 'none', by: '' },
      faces: 0,
      why: undefined,
    })
  }

  /** Its viewers are sent away. */
  remove(name: string): void {
    for (const { response } of this.#cameras.get(name)?.viewers ?? []) response.destroy()
    this.#cameras.delete(name)
  }

  get viewers(): number {
    return [...this.#cameras.values()].reduce((sum, { viewers }) => sum + viewers.size, 0)
  }

  /** Bytes of pictures that have not left this process. */
  get queuedBytes(): number {
    let bytes = 0
    for (const { viewers } of this.#cameras.values())
      for (const { response } of viewers) bytes += response.writableLength
    return bytes
  }

  get #repeatMs(): number {
    return this.#options.repeatMs ?? PREVIEW_REPEAT_MS
  }

  wants(name: string): boolean {
    const camera = this.#cameras.get(name)
    if (!camera || camera.making || camera.viewers.size === 0) return false
    const now = performance.now()
    // A quarter of an interval's tolerance: a limit equal to the camera's own rate skips nothing.
    return now >= camera.dueMs - 250 / this.#options.rateMax
  }

  async see(name: string, frame: Frame, faces: readonly SeenFace[] = []): Promise<void> {
    const camera = this.#cameras.get(name)
    if (!camera) return
    const intervalMs = 1000 / this.#options.rateMax
    const now = performance.now()
    camera.dueMs = Math.max(camera.dueMs, now - intervalMs) + intervalMs
    if (!ready(camera)) return this.#lose(camera, [...camera.viewers])
    camera.making = true
    try {
      const { width, height } = frame
      const rgb = await frame.cut(0, 0, width, height)
      // Before the next frame says where its own faces are.
      const { effects } = this.#options
      const effect = effects.apply(name, rgb, { width, height })
      const areas = effects.areas(name, { width, height })
      const done = { effect, by: this.#redraw.redrawnBy(name) }
      void this.#make(camera, rgb, { width, height }, faces, areas, done)
    } catch (error) {
      this.#failed(camera, error)
    }
  }

  async #make(
    camera: Camera,
    rgb: Uint8Array,
    size: Size,
    faces: readonly SeenFace[],
    areas: readonly Area[],
    done: Done,
  ): Promise<void> {
    try {
      const drawn = await this.#redrawn(camera, rgb, size, faces, areas, done)
      if (!drawn) return
      const jpeg = await encodePicture(drawn, size)
      camera.making = false
      camera.faces = faces.filter(({ sure }) => sure).length
      this.#options.meters.previewPictures.inc({ camera: camera.name })
      this.#show(camera, asPart(jpeg, facesHeader(faces, size)), done)
    } catch (error) {
      this.#failed(camera, error)
    }
  }

  /** @returns undefined where it must not be shown; whoever failed at it has said so */
  async #redrawn(
    camera: Camera,
    rgb: Uint8Array,
    size: Size,
    faces: readonly SeenFace[],
    areas: readonly Area[],
    { by }: Done,
  ): Promise<Uint8Array | undefined> {
    try {
      const drawn = by === '' ? rgb : await this.#redraw.redraw(camera.name, rgb, size, faces, areas)
      camera.why = undefined
      return drawn
    } catch (error) {
      camera.making = false
      camera.why = asFailure(error).message
      return undefined
    }
  }

  get #redraw(): Redraw {
    return this.#options.redraw ?? NO_REDRAW
  }

  #isCurrent(name: string, { effect, by }: Done): boolean {
    return effect === this.#options.effects.of(name) && by === this.#redraw.redrawnBy(name)
  }

  #failed(camera: Camera, error: unknown): void {
    camera.making = false
    this.#fault = error
    this.#complain()
  }

  #show(camera: Camera, part: Buffer, done: Done): void {
    // It was made while the camera was being paused, or told to hide faces, or while everybody left.
    if (this.#options.look(camera.name).paused || camera.viewers.size === 0) return
    if (!this.#isCurrent(camera.name, done)) return
    camera.last = part
    camera.lastDone = done
    const slow: Viewer[] = []
    for (const viewer of camera.viewers) if (!write(viewer, part)) slow.push(viewer)
    this.#lose(camera, slow)
  }

  #lose({ name }: Camera, viewers: readonly Viewer[]): void {
    if (viewers.length > 0) this.#options.meters.previewLost.inc({ camera: name }, viewers.length)
  }

  /** Who has not taken a picture for long is let go of; who has got none for a while gets the last one again. */
  #tick(): void {
    const now = performance.now()
    const stalledMs = this.#options.stalledMsMax ?? PREVIEW_STALLED_MS_MAX
    for (const camera of this.#cameras.values()) {
      this.#forgetLast(camera)
      for (const viewer of camera.viewers) {
        const idleMs = now - viewer.writtenAtMs
        if (idleMs >= stalledMs) viewer.response.destroy()
        else if (camera.last && idleMs >= this.#repeatMs) write(viewer, camera.last)
      }
    }
  }

  /** What must not be seen any more is not sent again. */
  #forgetLast(camera: Camera): void {
    const { name, lastDone } = camera
    if (this.#options.look(name).paused || !this.#isCurrent(name, lastDone)) camera.last = undefined
  }

  /** Give it to HttpServer as `routes`. */
  async routes(app: FastifyInstance): Promise<void> {
    for (const [path, [file, contentType]] of Object.entries(PAGE)) {
      const body = await readFile(new URL(`./page/${file}`, import.meta.url))
      app.get(path, (_request, reply) =>
        reply
          .headers({ 'content-security-policy': PAGE_POLICY, [HEADER]: 'no-cache' })
          .type(contentType)
          .send(body),
      )
    }
    app.get('/', (_request, reply) => reply.redirect('preview', 302))
    app.get('/preview/', (_request, reply) => reply.redirect('../preview', 302))
    app.get('/preview/state.json', (_request, reply) => reply.header(HEADER, 'no-store').send(this.#state()))
    app.get<{ Params: { stream: string } }>(
      '/preview/:stream',
      { exposeHeadRoute: false },
      (request, reply) => {
        const { stream } = request.params
        const camera = stream.endsWith('.mjpeg') ? this.#cameras.get(stream.slice(0, -6)) : undefined
        if (!camera) return notFound(reply)
        const { viewersMax } = this.#options
        if (this.viewers >= viewersMax)
          return reply
            .code(503)
            .header('retry-after', '5')
            .type('text/plain; charset=utf-8')
            .send(`Viewer limit reached: ${viewersMax} (preview.viewersMax). Try again later.\n`)
        reply.hijack()
        reply.raw.writeHead(200, {
          ...(reply.getHeaders() as Record<string, string>),
          'content-type': `multipart/x-mixed-replace; boundary=${BOUNDARY}`,
          [HEADER]: 'no-store',
          // Buffering proxies would hold pictures back.
          'x-accel-buffering': 'no',
        })
        this.#add(camera, reply.raw)
      },
    )
  }

  #add(camera: Camera, response: ServerResponse): void {
    const viewer: Viewer = { response, writtenAtMs: performance.now() }
    camera.viewers.add(viewer)
    this.#options.meters.previewViewers.set(this.viewers)
    response.socket?.setTimeout(0) // #tick judges it
    response.on('error', () => {})
    response.on('close', () => {
      camera.viewers.delete(viewer)
      if (camera.viewers.size === 0) camera.last = undefined
      this.#options.meters.previewViewers.set(this.viewers)
    })
    response.write(`--${BOUNDARY}\r\n`)
    this.#forgetLast(camera)
    if (camera.last) response.write(camera.last)
  }

  #state() {
    const { title, look, effects } = this.#options
    return {
      title,
      cameras: [...this.#cameras.values()].map(({ name, faces, viewers, why: hidden }) => {
        const { state, paused, zones = [] } = look(name)
        const [, why] = /^down: (.*)$/s.exec(state) ?? []
        return {
          name,
          state: why === undefined ? state : 'down',
          why: why ?? null,
          paused,
          effect: effects.of(name),
          /** Why pictures are shown to nobody. */
          hidden:
            this.#redraw.redrawnBy(name) === '' ? null : (hidden ?? this.#redraw.whyNotRedrawn(name) ?? null),
          zones: zones.map(({ name, points }) => ({ name, points })),
          faces: viewers.size > 0 ? faces : null,
        }
      }),
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticker)
    for (const { viewers } of this.#cameras.values()) for (const { response } of viewers) response.destroy()
  }
}

const isReady = ({ response }: Viewer) => response.writableLength === 0
const ready = ({ viewers }: Camera) => [...viewers].some(isReady)

/** @returns false where the last picture is still on its way */
function write(viewer: Viewer, part: Buffer): boolean {
  if (!isReady(viewer)) return false
  viewer.response.write(part)
  viewer.writtenAtMs = performance.now()
  return true
}

/** With the boundary after it: browsers show a picture once they see where it ends. */
function asPart(jpeg: Buffer, faces: string): Buffer {
  return Buffer.concat([
    Buffer.from(
      `content-type: image/jpeg\r\n${FACES_HEADER}: ${faces}\r\ncontent-length: ${jpeg.length}\r\n\r\n`,
    ),
    jpeg,
    Buffer.from(`\r\n--${BOUNDARY}\r\n`),
  ])
}

/** Boxes in fractions of the picture: left, top, width, height; JSON of one line. */
function facesHeader(faces: readonly SeenFace[], { width, height }: Size): string {
  const shown = faces.slice(0, PREVIEW_FACES_MAX).map(({ box, score, sure, track }) => ({
    box: [box[0] / width, box[1] / height, box[2] / width, box[3] / height].map((it) =>
      Number(it.toFixed(4)),
    ),
    score: Number(score.toFixed(2)),
    sure,
    track,
  }))
  return JSON.stringify(shown)
}

/** A frame, at most PREVIEW_WIDTH_MAX wide, as JPEG. */
async function encodePicture(rgb: Uint8Array, frame: Size): Promise<Buffer> {
  const size = fitInside(frame, { width: PREVIEW_WIDTH_MAX, height: PREVIEW_WIDTH_MAX })
  return await sharp(rgb, { raw: { ...frame, channels: 3 } })
    .resize({ ...size, fit: 'fill', kernel: 'linear' })
    .jpeg({ quality: PREVIEW_QUALITY, optimiseCoding: false })
    .toBuffer()
}
