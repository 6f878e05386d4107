import {
  AV_FRAME_DATA_DISPLAYMATRIX,
  AV_PIX_FMT_YUV420P,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  SWS_BILINEAR,
} from 'node-av/constants'
import { type Frame as AvFrame, FFmpegError, type Packet, SoftwareScaleContext } from 'node-av/lib'
import { failure } from '../../lib/errors.ts'
import type { Size } from '../faces/crop.ts'
import { ENCODED_SIDE_MAX } from '../limits.ts'
import { coverOf, type Polygon, type Span } from '../sources/cover.ts'
import { allocate } from '../sources/cutter.ts'
import { isUpright, type Orientation, orientationOf, turnedThen, untilTurned } from '../sources/turn.ts'
import type { ViewSettings } from '../sources/view.ts'
import { Encoder, type EncoderOptions } from './encoder.ts'

export type PicturesOptions = Pick<
  EncoderOptions,
  'bitrateMax' | 'quality' | 'threads' | 'framesPerSecond'
> & {
  /** What is hidden, and how the camera is mounted, which places of masks refer to. */
  readonly view: Pick<ViewSettings, 'rotate' | 'mirror' | 'masks'>
}

/** YUV 4:2:0 that is written to again and again; its planes, looked at once: each look makes new Buffers. */
interface Canvas {
  readonly av: AvFrame
  readonly planes: readonly Buffer[]
  readonly strides: readonly number[]
  readonly from: Size
  readonly orientation: Orientation
  /** Of luma, and of chroma. */
  readonly hidden: readonly [readonly Span[], readonly Span[]]
}

/** Black, limited range: luma, chroma. */
const BLACK = [16, 128, 128] as const

/** Pictures of any size and format into packets of H.264: scaled to YUV, what the masks hide black, encoded. */
export class Pictures implements Disposable {
  readonly #options: PicturesOptions
  readonly #scaler = new SoftwareScaleContext()
  #canvas: Canvas | undefined
  #encoder: Encoder | undefined

  constructor(options: PicturesOptions) {
    this.#options = options
    this.#scaler.allocContext()
    this.#scaler.setOption('sws_flags', String(SWS_BILINEAR))
  }

  /**
   * What encodes pictures like this one; another one than before where their size has changed.
   * Errors: RECORD_FAILED.
   */
  async encoderFor(picture: AvFrame): Promise<Encoder> {
    const { width, height } = encodedSize(picture)
    const has = this.#encoder
    if (has && has.size.width === width && has.size.height === height) return has
    has?.[Symbol.dispose]()
    this.#encoder = undefined
    this.#encoder = await Encoder.open({ ...this.#options, width, height })
    return this.#encoder
  }

  /** @returns packets, which are the caller's. Errors: RECORD_FAILED. */
  async encode(picture: AvFrame, pts: bigint, isKey: boolean): Promise<Packet[]> {
    const encoder = await this.encoderFor(picture)
    const canvas = this.#canvasFor(picture, encoder.size)
    const status = await this.#scaler.scaleFrame(canvas.av, picture)
    if (status < 0) {
      const cause = new FFmpegError(status)
      throw failure('RECORD_FAILED', `Cannot convert a picture for a recording (${cause.message}).`, cause)
    }
    hide(canvas)
    return await encoder.encode(canvas.av, pts, isKey)
  }

  [Symbol.dispose](): void {
    this.#encoder?.[Symbol.dispose]()
    this.#encoder = undefined
    this.#canvas?.av.free()
    this.#canvas = undefined
    this.#scaler.freeContext()
  }

  #canvasFor(picture: AvFrame, size: Size): Canvas {
    const from = { width: picture.width, height: picture.height }
    const orientation = orientationOf(picture.getSideData(AV_FRAME_DATA_DISPLAYMATRIX))
    const has = this.#canvas
    if (
      has &&
      has.from.width === from.width &&
      has.from.height === from.height &&
      has.orientation.quarters === orientation.quarters &&
      has.orientation.mirrored === orientation.mirrored
    )
      return has
    has?.av.free()
    const av = allocate(size, AV_PIX_FMT_YUV420P)
    av.colorRange = AVCOL_RANGE_MPEG
    av.colorSpace = AVCOL_SPC_BT709
    const planes = av.data
    if (!planes) throw new RangeError('the picture is empty')
    const hidden = this.#hiddenIn(size, orientation)
    this.#canvas = { av, planes, strides: av.linesize, from, orientation, hidden }
    return this.#canvas
  }

  /** One pixel more on each side: scaling has mixed what a mask hides into its neighbours. */
  #hiddenIn(size: Size, own: Orientation): Canvas['hidden'] {
    const { masks } = this.#options.view
    const orientation = orientationSeen(own, this.#options.view)
    const stored = (to: Size) => masks.flatMap((mask) => coverOf(untilTurnedIn(mask, orientation, to), to, 1))
    return [stored(size), stored({ width: size.width / 2, height: size.height / 2 })]
  }
}

/** How a stored picture is seen: as it says itself, then as the camera is mounted. */
export function orientationSeen(
  own: Orientation,
  { rotate, mirror }: Pick<ViewSettings, 'rotate' | 'mirror'>,
): Orientation {
  const quarters = rotate / 90 + (mirror === 'vertical' ? 2 : 0)
  return turnedThen(own, { quarters, mirrored: mirror !== 'none' })
}

/** By which players turn a recording, degrees clockwise. None of them mirrors: the picture is then as the camera stores it. */
export function rotationOf(own: Orientation, { rotate }: Pick<ViewSettings, 'rotate'>): 0 | 90 | 180 | 270 {
  const turned = turnedThen({ ...own, mirrored: false }, { quarters: rotate / 90, mirrored: false })
  return ([0, 90, 180, 270] as const)[turned.quarters % 4] as 0 | 90 | 180 | 270
}

/** A polygon, in fractions of the picture as it is seen, in pixels of the picture as it is stored. */
function untilTurnedIn(polygon: Polygon, orientation: Orientation, { width, height }: Size): Polygon {
  const unit = { width: 1, height: 1 }
  return polygon.map(([x, y]) => {
    const point = { left: x, top: y, width: 0, height: 0 }
    const { left, top } = isUpright(orientation) ? point : untilTurned(point, unit, orientation)
    return [left * width, top * height] as const
  })
}

function hide({ planes, strides, hidden }: Canvas): void {
  const [luma, chroma] = hidden
  for (const [index, black] of BLACK.entries()) {
    const [plane, stride] = [planes[index], strides[index]]
    if (!plane || !stride) continue
    for (const { row, from, to } of index === 0 ? luma : chroma)
      plane.fill(black, row * stride + from, row * stride + to)
  }
}

/** Even, as chroma wants it. */
function encodedSize({ width, height }: Size): Size {
  const by = Math.min(1, ENCODED_SIDE_MAX / Math.max(width, height))
  const even = (side: number) => Math.max(2, 2 * Math.floor((side * by) / 2))
  return { width: even(width), height: even(height) }
}
