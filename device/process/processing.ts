import { isDeepStrictEqual } from 'node:util'
import { asFailure, failure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { ATTRIBUTES_MAX, type Attribute } from '../../wire/attributes.ts'
import { type CameraState, WHY_CHARACTERS_MAX } from '../../wire/camera-state.ts'
import { EVENT_VERSION, type PluginEvent } from '../../wire/event.ts'
import type { CameraConfig, ProcessorConfig } from '../config.ts'
import { type Box, RateLimit, type Size } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import { PLUGIN_EVENTS_A_SECOND_MAX, PROCESSOR_FRAMES_MAX, PROCESSOR_PICTURES_MAX } from '../limits.ts'
import type { Meters } from '../meters.ts'
import type { Area } from '../view/effect.ts'
import type { Redraw } from '../view/redraw.ts'
import type { SeenFace, Watcher } from '../view/watcher.ts'
import type { CropPixels, FramePixels, Processor, SaidOfFrame } from './processor.ts'
import { SaidOfTracks } from './said-of-tracks.ts'
import { type Ability, Supervised } from './supervised.ts'

export interface ProcessingParts {
  /** Those of the configuration that holds. */
  readonly processors: readonly ProcessorConfig[]
  /** Which of them a camera has. */
  readonly camera: (name: string) => Pick<CameraConfig, 'process'> | undefined
  readonly open: (config: ProcessorConfig) => Promise<Processor>
  readonly meters: Meters
  readonly log: Log
  /** Called with what a plugin says happened; nobody is told where absent. */
  readonly onEvent?: (event: Omit<PluginEvent, 'site' | 'device'>) => void
  /** Called when a processor works no longer, or again, or when there are others. */
  readonly onState?: () => void
  /** For tests. */
  readonly retryMsMin?: number
}

/** One that works, and what is counted of it. */
interface Held {
  readonly supervised: Supervised
  readonly events: RateLimit
  readonly complain: (last: Complaint) => void
}

interface Complaint {
  readonly code: string
  readonly message: string
  readonly camera: string
}

/**
 * All second looks of a device: classifiers and plugins. Whatever one of them does, a crop goes out: without what it had to say
 * where it fails or takes too long, and that is counted. Frames that come while a plugin is busy it does not see. Only a picture
 * for viewers that a plugin was to change and did not goes to nobody.
 */
export class Processing implements Watcher, Redraw, AsyncDisposable {
  /** Of a still scene nobody says where faces are. */
  readonly looksOnly = true
  readonly #parts: ProcessingParts
  readonly #said = new SaidOfTracks()
  #held: readonly Held[] = []
  /** One change after the other. */
  #changing: Promise<void> = Promise.resolve()

  private constructor(parts: ProcessingParts) {
    this.#parts = parts
  }

  /** Errors: those of opening one of them. */
  static async open(parts: ProcessingParts): Promise<Processing> {
    const processing = new Processing(parts)
    await processing.#use(parts.processors)
    return processing
  }

  /**
   * Works with these from now on. Those whose configuration is the same go on as they are; the others are opened before any is
   * let go of. Errors: those of opening one; then those from before go on.
   */
  async use(processors: readonly ProcessorConfig[]): Promise<void> {
    const change = this.#changing.then(() => this.#use(processors))
    this.#changing = change.catch(() => {})
    await change
    this.#parts.onState?.()
  }

  async #use(processors: readonly ProcessorConfig[]): Promise<void> {
    const before = this.#held
    const isSame = (config: ProcessorConfig) => (it: Held) => isDeepStrictEqual(it.supervised.config, config)
    await using opened = new AsyncDisposableStack()
    const next: Held[] = []
    for (const config of processors) {
      const kept = before.find(isSame(config))
      next.push(kept ?? this.#hold(opened.use(await Supervised.open(this.#supervision(config)))))
    }
    opened.move()
    this.#held = next
    await Promise.all(
      before.filter((it) => !next.includes(it)).map((it) => it.supervised[Symbol.asyncDispose]()),
    )
    for (const { supervised } of next)
      this.#parts.meters.processorUp.set(
        { processor: supervised.config.name },
        supervised.trouble === undefined ? 1 : 0,
      )
  }

  #supervision(config: ProcessorConfig) {
    const { open, meters, log, onState = () => {}, retryMsMin } = this.#parts
    return { config, open, meters, log, onState, retryMsMin }
  }

  #hold(supervised: Supervised): Held {
    const processor = supervised.config.name
    return {
      supervised,
      events: new RateLimit(PLUGIN_EVENTS_A_SECOND_MAX),
      complain: throttled<Complaint>((count, { code, camera, message }) =>
        this.#parts.log.warn({ code, processor, camera, count }, message),
      ),
    }
  }

  /** Whether any looks at this camera's faces. */
  looksAt(camera: string): boolean {
    return this.#of(camera, 'attributes').length > 0
  }

  /** What all that look at this camera's faces say. Never rejects. */
  async attributes(crop: CropPixels): Promise<readonly Attribute[]> {
    const { meters } = this.#parts
    const { camera, metadata } = crop
    const said = await Promise.all(
      this.#of(camera, 'attributes').map(async (held) => {
        const { supervised } = held
        const { name: processor, waitingMax } = supervised.config
        const stop = meters.processSeconds.startTimer({ processor })
        try {
          return await supervised.ask(
            'attributes',
            waitingMax,
            async (it) => (await it.attributes?.(crop)) ?? [],
          )
        } catch (error) {
          const reason = this.#complain(held, camera, error)
          meters.cropsUnprocessed.inc({ processor, reason })
          return []
        } finally {
          stop()
        }
      }),
    )
    return this.#said.with(camera, metadata.track, said.flat()).slice(0, ATTRIBUTES_MAX)
  }

  wants(camera: string): boolean {
    const seeing = this.#of(camera, 'see')
    for (const { supervised } of seeing)
      if (!supervised.hasRoom('see', PROCESSOR_FRAMES_MAX))
        this.#parts.meters.framesUnprocessed.inc({
          processor: supervised.config.name,
          reason: supervised.why === undefined ? 'busy' : 'down',
        })
    return seeing.some(({ supervised }) => supervised.hasRoom('see', PROCESSOR_FRAMES_MAX))
  }

  async see(camera: string, frame: Frame, faces: readonly SeenFace[]): Promise<void> {
    const seeing = this.#of(camera, 'see').filter(({ supervised }) =>
      supervised.hasRoom('see', PROCESSOR_FRAMES_MAX),
    )
    await Promise.all(
      seeing.map(async (held) => {
        try {
          const pixels = await pixelsOf(camera, frame, faces, held.supervised.frames)
          void this.#look(held, pixels)
        } catch (error) {
          this.#missed(held, camera, error)
        }
      }),
    )
  }

  /** Never rejects. */
  async #look(held: Held, pixels: FramePixels): Promise<void> {
    const { camera, capturedAtMs } = pixels
    try {
      const said = await held.supervised.ask(
        'see',
        PROCESSOR_FRAMES_MAX,
        (it) => it.see?.(pixels) ?? nothing(),
      )
      for (const { track, attribute } of said?.attributes ?? []) this.#said.add(camera, track, attribute)
      for (const event of said?.events ?? []) this.#tell(held, camera, capturedAtMs, event)
    } catch (error) {
      this.#missed(held, camera, error)
    }
  }

  #missed(held: Held, camera: string, error: unknown): void {
    const processor = held.supervised.config.name
    this.#parts.meters.framesUnprocessed.inc({ processor, reason: this.#complain(held, camera, error) })
  }

  #tell(held: Held, camera: string, atMs: number, event: SaidOfFrame['events'][number]): void {
    const { meters, onEvent } = this.#parts
    const { config, by } = held.supervised
    const processor = config.name
    if (!held.events.take(performance.now())) {
      meters.pluginEventsDropped.inc({ processor })
      return
    }
    meters.pluginEvents.inc({ processor })
    onEvent?.({
      v: EVENT_VERSION,
      type: 'plugin',
      camera,
      atMs: Math.round(atMs),
      plugin: processor,
      by,
      ...event,
    })
  }

  redrawnBy(camera: string): string {
    return this.#of(camera, 'picture')
      .map(({ supervised }) => supervised.by)
      .join(' ')
  }

  whyNotRedrawn(camera: string): string | undefined {
    const down = this.#of(camera, 'picture').find(
      ({ supervised }) => supervised.why !== undefined,
    )?.supervised
    return down && `"${down.config.name}": ${down.why}`
  }

  async redraw(
    camera: string,
    rgb: Uint8Array,
    size: Size,
    faces: readonly SeenFace[],
    areas: readonly Area[],
  ): Promise<Uint8Array> {
    let drawn = rgb
    for (const held of this.#of(camera, 'picture')) {
      const { supervised } = held
      const { width, height } = size
      try {
        // A copy: what was handed on is not whole any more where this fails.
        const picture = { camera, rgb: new Uint8Array(drawn), width, height, faces, areas }
        const redrawn = await supervised.ask('picture', PROCESSOR_PICTURES_MAX, async (it) =>
          it.picture?.(picture),
        )
        if (redrawn?.length !== drawn.length)
          throw failure('PROCESSOR_FAILED', `"${supervised.config.name}" gave no picture.`)
        drawn = redrawn
      } catch (error) {
        const reason = this.#complain(held, camera, error)
        this.#parts.meters.picturesWithheld.inc({ processor: supervised.config.name, reason })
        throw error
      }
    }
    return drawn
  }

  /** How a camera's processors are; undefined where it has none. */
  states(camera: string): CameraState['process'] {
    const states = this.#of(camera).map(({ supervised: { config, trouble } }) => ({
      name: config.name,
      state: trouble === undefined ? ('up' as const) : ('down' as const),
      why: trouble?.slice(0, WHY_CHARACTERS_MAX) ?? null,
    }))
    return states.length > 0 ? states : undefined
  }

  /** For `/healthz`: `up`, or why not, by processor. */
  get checks(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.#held.map(({ supervised: { config, trouble } }) => [
        `process ${config.name}`,
        trouble === undefined ? 'up' : `down: ${trouble}`,
      ]),
    )
  }

  get isWell(): boolean {
    return this.#held.every(({ supervised }) => supervised.trouble === undefined)
  }

  #of(camera: string, what?: Ability): readonly Held[] {
    if (this.#held.length === 0) return this.#held
    const wanted = this.#parts.camera(camera)?.process
    return this.#held.filter(
      ({ supervised }) =>
        (wanted?.includes(supervised.config.name) ?? true) && (what === undefined || supervised.can(what)),
    )
  }

  /** @returns the reason, as it is counted */
  #complain(held: Held, camera: string, error: unknown): string {
    const { code, message } = asFailure(error)
    held.complain({ code, message, camera })
    return code
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#changing
    await Promise.all(this.#held.map(({ supervised }) => supervised[Symbol.asyncDispose]()))
  }
}

const nothing = async (): Promise<SaidOfFrame> => ({ events: [], attributes: [] })

/** A copy of the frame, with its faces in the copy's pixels. */
export async function pixelsOf(
  camera: string,
  frame: Frame,
  faces: readonly SeenFace[],
  frames: 'scaled' | 'full',
): Promise<FramePixels> {
  const { capturedAtMs, scaled } = frame
  if (frames === 'full') {
    const { width, height } = frame
    const rgb = new Uint8Array(await frame.cut(0, 0, width, height))
    return { camera, capturedAtMs, rgb, width, height, faces }
  }
  const { width, height } = scaled
  const region = frame.region ?? { left: 0, top: 0, width: frame.width, height: frame.height }
  const [wide, high] = [width / region.width, height / region.height]
  return {
    ...{ camera, capturedAtMs, rgb: new Uint8Array(scaled.data), width, height },
    faces: faces.map((face) => {
      const [x, y, w, h] = face.box
      const box: Box = [(x - region.left) * wide, (y - region.top) * high, w * wide, h * high]
      return { ...face, box }
    }),
  }
}
