import { fitInto, type Region, type Size } from '../faces/crop.ts'
import { blacken, coverOf, type Polygon, type Span } from './cover.ts'
import type { SourceContext } from './source.ts'
import { squareSize, stretchRgb } from './square.ts'
import {
  isUpright,
  type Orientation,
  turnedSize,
  turnedThen,
  turnRegion,
  turnRgb,
  UPRIGHT,
  untilTurned,
} from './turn.ts'

/** How a camera's pictures are to be looked at. Places are fractions of the turned picture, 0 to 1. */
export interface ViewSettings {
  /** Degrees, clockwise. */
  readonly rotate: 0 | 90 | 180 | 270
  /** After turning: left for right, or top for bottom. */
  readonly mirror: 'none' | 'horizontal' | 'vertical'
  /** Width by height of the picture as the camera means it, before it is turned; undefined: as it says itself. */
  readonly aspect?: number
  /** Where faces are looked for; undefined: everywhere. */
  readonly region?: Region
  /** What nobody may see: black before detection, and in every crop. */
  readonly masks: readonly Polygon[]
}

export const WHOLE_VIEW: ViewSettings = { rotate: 0, mirror: 'none', masks: [] }

/** What a stored picture says of itself. */
export interface Shape extends Orientation {
  /** Width of a pixel by its height. */
  readonly pixelAspect: number
}

export const PLAIN: Shape = { ...UPRIGHT, pixelAspect: 1 }

/** What a view is given to read from: the picture as it is stored. */
type Read = (region: Region) => Uint8Array

/**
 * What may be seen of pictures of one size: square pixels, turning, mirroring, the region of interest and the masks, in
 * one place for all sources. Every pixel on its way to detection or into a crop goes through `finish` or `cut`.
 *
 *   stored -> made square (`#squared`) -> turned (`size`)
 *
 * Turned pictures are what everything beyond the sources knows: boxes, landmarks and regions are pixels of the whole
 * turned picture, whatever part of it is looked at.
 */
export class View {
  /** The whole picture, turned. */
  readonly size: Size
  /** The part where faces are looked for, in pixels of the turned picture; not whole ones where stored ones are not square. */
  readonly region: Region
  /** The same part in the picture as it is stored: its left is a multiple of 4, its top of 2, as chroma wants it. */
  readonly storedRegion: Region
  /** Nothing is left out: `region` is all of the picture. */
  readonly isWhole: boolean
  readonly isUpright: boolean
  readonly stored: Size
  readonly orientation: Orientation
  readonly #settings: ViewSettings
  readonly #own: Shape
  readonly #squared: Size
  readonly #isSquare: boolean
  readonly #masks: readonly Polygon[]
  #spans: { readonly width: number; readonly height: number; readonly list: readonly Span[] } | undefined

  /** @param own what the stored picture itself asks for */
  constructor(settings: ViewSettings, stored: Size, own: Shape = PLAIN) {
    const vertical = settings.mirror === 'vertical'
    this.#own = own
    this.orientation = turnedThen(own, {
      // Top for bottom is half a turn, then left for right.
      quarters: settings.rotate / 90 + (vertical ? 2 : 0),
      mirrored: settings.mirror !== 'none',
    })
    this.isUpright = isUpright(this.orientation)
    this.#settings = settings
    this.stored = stored
    const pixelAspect =
      settings.aspect === undefined ? own.pixelAspect : (settings.aspect * stored.height) / stored.width
    this.#squared = squareSize(stored, pixelAspect)
    this.#isSquare = this.#squared.width === stored.width && this.#squared.height === stored.height
    this.size = turnedSize(this.#squared, this.orientation)
    this.storedRegion = this.#storedRegion()
    this.region = turnRegion(this.#scaleUp(this.storedRegion), this.#squared, this.orientation)
    this.isWhole = this.storedRegion.width === stored.width && this.storedRegion.height === stored.height
    this.#masks = settings.masks.map((mask) =>
      mask.map(([x, y]) => [x * this.size.width, y * this.size.height] as const),
    )
  }

  /** Whether this is the view of such pictures. */
  isFor({ width, height }: Size, { quarters, mirrored, pixelAspect }: Shape): boolean {
    const own = this.#own
    return (
      this.stored.width === width &&
      this.stored.height === height &&
      own.quarters === quarters &&
      own.mirrored === mirrored &&
      own.pixelAspect === pixelAspect
    )
  }

  /** The size at which the detector gets the region, turned; and the same before turning. */
  scaledSize(input: SourceContext['input']): { readonly turned: Size; readonly stored: Size } {
    const turned = fitInto(this.region, input)
    return { turned, stored: turnedSize(turned, this.orientation) }
  }

  /**
   * Turns and masks the region once it is scaled.
   * @param rgb the stored region at `scaledSize(...).stored`; written to
   * @param out where the result goes if it is turned: another array of the same length
   */
  finish(rgb: Uint8Array, stored: Size, out?: Uint8Array): Uint8Array {
    const seen = this.isUpright ? rgb : turnRgb(rgb, stored, this.orientation, out)
    if (this.#masks.length > 0) {
      const size = turnedSize(stored, this.orientation)
      blacken(seen, size.width, this.#spansFor(size))
    }
    return seen
  }

  /** A region of the whole turned picture, masked. `read` gives a region of the stored picture, RGB, its own copy. */
  cut(region: Region, read: Read): Uint8Array {
    const place = untilTurned(region, this.#squared, this.orientation)
    const rgb = this.#isSquare ? read(place) : stretchRgb(place, this.stored, this.#squared, read)
    const seen = this.isUpright ? rgb : turnRgb(rgb, place, this.orientation)
    for (const mask of this.#masks) {
      const moved = mask.map(([x, y]) => [x - region.left, y - region.top] as const)
      blacken(seen, region.width, coverOf(moved, region, this.#blur))
    }
    return seen
  }

  /** A box of the stored picture in the turned one. */
  turnBox([left, top, width, height]: readonly [number, number, number, number]): [
    number,
    number,
    number,
    number,
  ] {
    const turned = turnRegion(this.#scaleUp({ left, top, width, height }), this.#squared, this.orientation)
    return [turned.left, turned.top, turned.width, turned.height]
  }

  #storedRegion(): Region {
    const { width, height } = this.size
    const wanted = this.#settings.region ?? { left: 0, top: 0, width: 1, height: 1 }
    const left = Math.min(width - 1, Math.floor(wanted.left * width))
    const top = Math.min(height - 1, Math.floor(wanted.top * height))
    const right = Math.min(width, Math.max(left + 1, Math.ceil((wanted.left + wanted.width) * width)))
    const bottom = Math.min(height, Math.max(top + 1, Math.ceil((wanted.top + wanted.height) * height)))
    const turned = { left, top, width: right - left, height: bottom - top }
    const place = untilTurned(turned, this.#squared, this.orientation)
    const [byX, byY] = [this.stored.width / this.#squared.width, this.stored.height / this.#squared.height]
    const [x, y] = [Math.floor(place.left * byX), Math.floor(place.top * byY)]
    const x2 = Math.min(this.stored.width, Math.ceil((place.left + place.width) * byX))
    const y2 = Math.min(this.stored.height, Math.ceil((place.top + place.height) * byY))
    const [left0, top0] = [x - (x % 4), y - (y % 2)]
    return { left: left0, top: top0, width: x2 - left0, height: y2 - top0 }
  }

  /** A region of the stored picture in the one with square pixels. */
  #scaleUp({ left, top, width, height }: Region): Region {
    const [byX, byY] = [this.#squared.width / this.stored.width, this.#squared.height / this.stored.height]
    return { left: left * byX, top: top * byY, width: width * byX, height: height * byY }
  }

  /** How far making pixels square carries what a mask hides, pixels: one and a half stored ones. */
  get #blur(): number {
    if (this.#isSquare) return 0
    const { width, height } = this.#squared
    return Math.ceil(1.5 * Math.max(width / this.stored.width, height / this.stored.height))
  }

  /** One pixel more on each side: scaling has mixed what a mask hides into its neighbours. */
  #spansFor(size: Size): readonly Span[] {
    const made = this.#spans
    if (made && made.width === size.width && made.height === size.height) return made.list
    const { left, top, width, height } = this.region
    const list = this.#masks.flatMap((mask) =>
      coverOf(
        mask.map(
          ([x, y]) => [((x - left) * size.width) / width, ((y - top) * size.height) / height] as const,
        ),
        size,
        1,
      ),
    )
    this.#spans = { ...size, list }
    return list
  }
}
