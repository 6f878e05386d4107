import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, SightlineError } from '../../lib/errors.ts'
import type { Frame } from '../frame.ts'
import type { Publication, PushedPictures } from '../listen/publication.ts'
import { readPicture } from '../picture.ts'
import { frameOf } from './picture.ts'
import type { PushedStreams, Source, SourceContext } from './source.ts'
import { Video } from './video.ts'
import type { ViewSettings } from './view.ts'

export interface PushedOptions {
  readonly camera: string
  /** Frames a second; Infinity: all. */
  readonly rateMax: number
  /** A publisher who sends no frame for so long is let go, ms. */
  readonly timeoutMs: number
  readonly view: ViewSettings
}

const DONE = 'The camera is no longer read.'

/**
 * A camera that comes to this device. Opening it waits for a publisher, for as long as it takes; its frames go on over
 * publishers that follow within the grace period, and end after it.
 */
export class Pushed implements Source {
  readonly name: string
  readonly live = true
  readonly lossless = false
  readonly comesAgain = true
  readonly #options: PushedOptions
  readonly #context: SourceContext
  readonly #streams: PushedStreams
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  #publication: Publication | undefined
  #sequence = 0

  private constructor(
    options: PushedOptions,
    context: SourceContext,
    streams: PushedStreams,
    publication: Publication,
    signal: AbortSignal,
  ) {
    this.name = `${publication.by} stream ${options.camera}`
    this.#options = options
    this.#context = context
    this.#streams = streams
    this.#publication = publication
    this.#signal = AbortSignal.any([signal, this.#stop.signal])
  }

  /** Errors: SOURCE_UNAVAILABLE, where it was told to stop. */
  static async open(options: PushedOptions, context: SourceContext, signal: AbortSignal): Promise<Pushed> {
    const { camera } = options
    const { streams } = context
    if (!streams) throw failure('SOURCE_UNAVAILABLE', `Nobody listens for the stream ${camera}.`)
    context.events.waiting?.()
    const publication = await streams.next(camera, signal)
    if (!publication) throw failure('SOURCE_UNAVAILABLE', `Stopped while waiting for the stream ${camera}.`)
    return new Pushed(options, context, streams, publication, signal)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    for (;;) {
      const publication = this.#publication ?? (await this.#comeBack())
      this.#publication = publication
      if (!publication || this.#signal.aborted) return
      const leave = () => publication.end(DONE)
      this.#signal.addEventListener('abort', leave, { once: true })
      try {
        const { media } = publication
        yield* media.is === 'video' ? this.#video(publication) : this.#pictures(publication, media)
      } catch (error) {
        if (this.#signal.aborted) return
        this.#failed(publication, error)
      } finally {
        this.#signal.removeEventListener('abort', leave)
        publication.end(DONE)
      }
      this.#publication = undefined
    }
  }

  /** The next publisher, within the grace period. */
  async #comeBack(): Promise<Publication | undefined> {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), this.#streams.graceMs)
    try {
      return await this.#streams.next(this.#options.camera, AbortSignal.any([this.#signal, late.signal]))
    } finally {
      clearTimeout(timer)
    }
  }

  /** What one publisher sends that cannot be read does not take the camera down: the next may do better. */
  #failed(publication: Publication, error: unknown): void {
    const { code, message } = asFailure(error)
    const { camera, by, from } = publication
    this.#context.events.damaged('stream')
    this.#context.log.warn({ camera, by, from, code }, message)
    publication.end(error instanceof SightlineError ? message : 'This stream cannot be read.')
  }

  async *#video(publication: Publication): AsyncGenerator<Frame, void> {
    const { camera, rateMax, timeoutMs, view } = this.#options
    const input = publication.media
    if (input.is !== 'video') return
    await using video = await Video.open(
      {
        address: '',
        name: `the ${publication.by} stream of ${camera}`,
        kind: 'pushed',
        input,
        pace: 'realtime',
        loop: false,
        rateMax,
        intervalMs: 0,
        timeoutMs,
        rtspTransport: 'tcp',
      },
      this.#context,
      this.#signal,
      view,
    )
    this.#streams.opened(publication, video.seen)
    try {
      for await (const frame of video) {
        if (this.#context.tap?.wantsKeyFrame) publication.requestKeyFrame?.()
        yield this.#numbered(frame)
      }
    } finally {
      publication.end(DONE) // or FFmpeg would wait for its next bytes
    }
  }

  async *#pictures(publication: Publication, media: PushedPictures): AsyncGenerator<Frame, void> {
    const { rateMax, view: settings } = this.#options
    let dueMs = Number.NEGATIVE_INFINITY
    for (;;) {
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
      const next = await media.next(this.#signal)
      if (!next || this.#signal.aborted) return
      dueMs = performance.now() + 1000 / rateMax
      const picture = await readPicture(next.bytes, `a picture of ${this.#options.camera}`).catch(
        (error: unknown) => {
          this.#context.events.damaged('photo')
          this.#context.log.warn(
            { camera: this.#options.camera, cause: String(error) },
            'passed over a picture that cannot be read',
          )
        },
      )
      if (!picture) continue
      const [width, height] = [picture.width, picture.height]
      this.#streams.opened(publication, { codec: null, audio: null, frame: [width, height] })
      const when = { sequence: 0, capturedAtMs: next.atMs, atMs: performance.now() }
      yield this.#numbered(await frameOf(picture, { settings, input: this.#context.input }, when))
    }
  }

  /** Counted over all publishers. */
  #numbered(frame: Frame): Frame {
    return { ...frame, sequence: this.#sequence++ }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#publication?.end(DONE)
  }
}
