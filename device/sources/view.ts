import { fitInto, type Region, type Size } from '../faces/crop.ts'
import { blacken, coverOf, type Polygon, type Span } from './cover.ts'
import type { SourceContext } from './source.ts'
import { isUpright, type Orientation, turnedSize, turnRegion, turnRgb, untilTurned } from './turn.ts'

/** How a camera's pictures are to be looked at. Places are fractions of the turned picture, 0 to 1. */
export interface ViewSettings {
  /** Degrees, clockwise. */
  readonly rotate: 0 | 90 | 180 | 270
  /** After turning: left for right, or top for bottom. */
  readonly mirror: 'none' | 'horizontal' | 'vertical'
  /** Where faces are looked for; undefined: everywhere. */
  readonly region?: Region
  /** What nobody may see: black before detection, and in every crop. */
  readonly masks: readonly Polygon[]
}

export const WHOLE_VIEW: ViewSettings = { rotate: 0, mirror: 'none', masks: [] }

/** What a view is given to read from: the picture as it is stored. */
type Read = (region: Region) => Uint8Array

/**
 * What may be seen of pictures of one size: turning, mirroring, the region of interest and the masks, in one place for
 * all sources. Every pixel on its way to detection or into a crop goes through `finish` or `cut`.
 *
 * Turned pictures are what everything beyond the sources knows: boxes, landmarks and regions are pixels of the whole
 * turned picture, whatever part of it is looked at.
 */
export class View {
  /** The whole picture, turned. */
  readonly size: Size
  /** The part where faces are looked for, in pixels of the turned picture. */
  readonly region: Region
  /** The same part in the picture as it is stored: its left is a multiple of 4, its top of 2, as chroma wants it. */
  readonly storedRegion: Region
  /** Nothing is left out: `region` is all of the picture. */
  readonly isWhole: boolean
  readonly isUpright: boolean
  readonly stored: Size
  readonly orientation: Orientation
  readonly #settings: ViewSettings
  readonly #masks: readonly Polygon[]
  #spans: { readonly width: number; readonly height: number; readonly list: readonly Span[] } | undefined

  /** @param quarters of a turn, clockwise, that the stored picture itself asks for */
  constructor(settings: ViewSettings, stored: Size, quarters = 0) {
    const vertical = settings.mirror === 'vertical'
    // Top for bottom is half a turn, then left for right.
    this.orientation = {
      quarters: (quarters + settings.rotate / 90 + (vertical ? 2 : 0)) % 4,
      mirrored: settings.mirror !== 'none',
    }
    this.isUpright = isUpright(this.orientation)
    this.#settings = settings
    this.stored = stored
    this.size = turnedSize(stored, this.orientation)
    this.storedRegion = this.#storedRegion()
    this.region = turnRegion(this.storedRegion, stored, this.orientation)
    this.isWhole = this.region.width === this.size.width && this.region.height === this.size.height
    this.#masks = settings.masks.map((mask) =>
      mask.map(([x, y]) => [x * this.size.width, y * this.size.height] as const),
    )
  }

  /** Whether this is the view of pictures of that size. */
  isFor({ width, height }: Size): boolean {
    return this.stored.width === width && this.stored.height === height
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
    const place = untilTurned(region, this.stored, this.orientation)
    const rgb = read(place)
    const seen = this.isUpright ? rgb : turnRgb(rgb, place, this.orientation)
    for (const mask of this.#masks) {
      const moved = mask.map(([x, y]) => [x - region.left, y - region.top] as const)
      blacken(seen, region.width, coverOf(moved, region))
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
    const turned = turnRegion({ left, top, width, height }, this.stored, this.orientation)
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
    const place = untilTurned(turned, this.stored, this.orientation)
    const [x, y] = [place.left % 4, place.top % 2]
    return { left: place.left - x, top: place.top - y, width: place.width + x, height: place.height + y }
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
