import {
  AV_FRAME_DATA_DISPLAYMATRIX,
  AVCOL_PRI_BT709,
  AVCOL_PRI_BT2020,
  AVCOL_RANGE_JPEG,
  AVCOL_RANGE_UNSPECIFIED,
  AVCOL_SPC_BT470BG,
  AVCOL_SPC_BT709,
  AVCOL_SPC_BT2020_CL,
  AVCOL_SPC_BT2020_NCL,
  AVCOL_SPC_FCC,
  AVCOL_SPC_ICTCP,
  AVCOL_SPC_RGB,
  AVCOL_SPC_SMPTE170M,
  AVCOL_SPC_SMPTE240M,
  AVCOL_SPC_UNSPECIFIED,
  AVCOL_TRC_ARIB_STD_B67,
  AVCOL_TRC_BT709,
  AVCOL_TRC_SMPTE2084,
  type AVColorSpace,
  type AVPixelFormat,
} from 'node-av/constants'
import { type Frame as AvFrame, avGetPixFmtName } from 'node-av/lib'
import { throttled } from '../../lib/log.ts'
import { Clock, type Tick } from './clock.ts'
import { Deinterlacer } from './deinterlace.ts'
import type { SourceContext } from './source.ts'
import { isStretched } from './square.ts'
import { Tone, type Transfer } from './tone.ts'
import { orientationOf } from './turn.ts'
import type { Shape } from './view.ts'

/** A decoded frame, and what its container says. */
export interface Decoded {
  readonly av: AvFrame
  /** Seconds; undefined where it has none. */
  readonly time: number | undefined
  readonly frameSeconds: number
  /** Width of a pixel by its height; undefined: the frame knows. */
  readonly pixelAspect: number | undefined
}

export interface Normal {
  readonly av: AvFrame
  readonly sequence: number
  readonly capturedAtMs: number
  readonly tick: Tick
  /** How the view is to show it. */
  readonly shape: Shape
  /** What is still to be done to its pixels once they are RGB. */
  readonly tone: Tone | undefined
}

/**
 * What decoders give, made into what all the rest relies on:
 *
 * - progressive: `Deinterlacer`, on the way; costs nothing where nothing is interlaced.
 * - SDR RGB: here, swscale is told of each frame what it converts without a table of its own and without refusing; what
 *   is HDR or BT.2020 gets its `Tone` once it is scaled or cut.
 * - square and upright: `shape`, which the `View` applies once it is scaled or cut. From there on all places are pixels as
 *   shown.
 * - a clock that runs forward: `Clock`.
 *
 * Nothing of it touches a picture at its full size, but for deinterlacing, which runs in threads of its own.
 */
export class Normalizer implements Disposable {
  readonly #name: string
  readonly #context: SourceContext
  readonly #hasClock: boolean
  readonly #clock = new Clock()
  readonly #deinterlacer: Deinterlacer<Omit<Normal, 'av'>>
  readonly #tones = new Map<Transfer, Tone>()
  readonly #said = new Set<string>()
  readonly #sayJump: (seconds: number) => void
  #sequence = 0
  #rgb: { readonly format: number; readonly isRgb: boolean } | undefined

  /**
   * @param hasClock whether the frames' own times count
   * @param take gets each frame, and owns it
   */
  constructor(
    { name, hasClock, context }: { name: string; hasClock: boolean; context: SourceContext },
    take: (frame: Normal) => Promise<void>,
  ) {
    this.#name = name
    this.#context = context
    this.#hasClock = hasClock
    this.#deinterlacer = new Deinterlacer((av, note) => take({ ...note, av }))
    this.#sayJump = throttled((count, seconds) =>
      context.log.warn(
        { source: name, count, jumpSeconds: Math.round(seconds) },
        `${name}: timestamps jump ${Math.abs(seconds).toFixed(0)} s ${seconds > 0 ? 'ahead' : 'back'}; continuing without waiting`,
      ),
    )
  }

  /** Takes a frame and owns it. Throws FFmpegError. */
  async put({ av, time, frameSeconds, pixelAspect }: Decoded): Promise<void> {
    const tick = this.#clock.next(this.#hasClock ? time : undefined, frameSeconds)
    if (tick.jumpSeconds !== undefined) {
      this.#context.events.damaged('clock')
      this.#sayJump(tick.jumpSeconds)
    }
    const sequence = this.#sequence
    this.#sequence += 1
    const tone = this.#colours(av)
    const shape = this.#shape(av, pixelAspect)
    await this.#deinterlacer.put(av, { sequence, capturedAtMs: Date.now(), tick, shape, tone })
  }

  /** The recording has ended; another pass of it may follow. Throws FFmpegError. */
  async end(): Promise<void> {
    await this.#deinterlacer.flush()
    this.#clock.restart()
  }

  [Symbol.dispose](): void {
    this.#deinterlacer[Symbol.dispose]()
  }

  /**
   * Says of a frame's colours what swscale can do with them.
   *
   * With a transfer or primaries other than the target's it makes a table of 1.5 s for each new size, and some it refuses;
   * so they are always said to be the target's. Between the usual ones (BT.601, BT.709, sRGB, P3) nobody sees that.
   */
  #colours(av: AvFrame): Tone | undefined {
    const { colorTrc, colorPrimaries, colorSpace } = av
    const isWide = colorPrimaries === AVCOL_PRI_BT2020 || WIDE.has(colorSpace)
    const transfer =
      colorTrc === AVCOL_TRC_SMPTE2084
        ? 'pq'
        : colorTrc === AVCOL_TRC_ARIB_STD_B67
          ? 'hlg'
          : isWide
            ? 'sdr'
            : undefined
    if (colorTrc !== AVCOL_TRC_BT709) av.colorTrc = AVCOL_TRC_BT709
    if (colorPrimaries !== AVCOL_PRI_BT709) av.colorPrimaries = AVCOL_PRI_BT709
    if (av.colorRange > AVCOL_RANGE_JPEG) av.colorRange = AVCOL_RANGE_UNSPECIFIED
    const space = this.#isRgb(av.format as AVPixelFormat)
      ? AVCOL_SPC_RGB
      : this.#spaceFor(colorSpace, av.height, transfer !== undefined)
    if (space !== colorSpace) av.colorSpace = space
    return transfer && this.#tone(transfer)
  }

  #spaceFor(space: AVColorSpace, height: number, isWide: boolean): AVColorSpace {
    if (TAKEN.has(space)) return space
    const nearest = isWide ? AVCOL_SPC_BT2020_NCL : height >= HD_HEIGHT ? AVCOL_SPC_BT709 : AVCOL_SPC_BT470BG
    if (space !== AVCOL_SPC_UNSPECIFIED)
      this.#once(
        `space ${space}`,
        `unknown colour coding (matrix_coefficients ${space}); using the nearest known one, colours may be wrong`,
      )
    return nearest
  }

  #shape(av: AvFrame, pixelAspect: number | undefined): Shape {
    const { num, den } = av.sampleAspectRatio
    const own = pixelAspect ?? (num > 0 && den > 0 ? num / den : 1)
    const shape = {
      ...orientationOf(av.getSideData(AV_FRAME_DATA_DISPLAYMATRIX)),
      pixelAspect: isStretched(own) ? own : 1,
    }
    if (Math.abs(Math.log(own)) > 1 && shape.pixelAspect === 1)
      this.#once(
        `aspect ${own}`,
        `implausible pixel aspect ratio ${own.toFixed(3)}; using square pixels. Set "aspect" if the picture looks wrong`,
      )
    return shape
  }

  #tone(transfer: Transfer): Tone {
    const made = this.#tones.get(transfer)
    if (made) return made
    const tone = new Tone(transfer)
    this.#tones.set(transfer, tone)
    return tone
  }

  #isRgb(format: AVPixelFormat): boolean {
    if (this.#rgb?.format !== format)
      this.#rgb = { format, isRgb: RGB_FORMATS.test(avGetPixFmtName(format) ?? '') }
    return this.#rgb.isRgb
  }

  #once(what: string, message: string): void {
    if (this.#said.has(what)) return
    this.#said.add(what)
    this.#context.log.warn({ source: this.#name }, `${this.#name}: ${message}`)
  }
}

/** Below it, what says nothing is coded as SD is. */
const HD_HEIGHT = 720
/** What swscale (libswscale/format.c) takes of YUV. RGB's own is none of them: YUV that says so is wrong. */
const TAKEN = new Set<AVColorSpace>([
  AVCOL_SPC_BT709,
  AVCOL_SPC_FCC,
  AVCOL_SPC_BT470BG,
  AVCOL_SPC_SMPTE170M,
  AVCOL_SPC_SMPTE240M,
  AVCOL_SPC_BT2020_NCL,
])
const WIDE = new Set<AVColorSpace>([AVCOL_SPC_BT2020_NCL, AVCOL_SPC_BT2020_CL, AVCOL_SPC_ICTCP])
const RGB_FORMATS = /^(x2|0|a)?(rgb|bgr|gbr)|^(pal8|bayer|xyz)/
