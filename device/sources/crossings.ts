import { random } from './portrait.ts'
import type { SourceContext } from './source.ts'
import {
  type Brush,
  brush,
  CARD_FRAMERATE,
  CARD_SIZE,
  drawDigits,
  faceIn,
  framedPortrait,
  type Placement,
  Scene,
  type Sprite,
  wallSvg,
} from './testcard.ts'

/**
 * The test card where faces get lost: portraits cross the wall in both directions at nearly the same height, some in
 * front and some behind, past one another and behind a pillar. Each crossing has a number, so that what came of it can
 * be told. Endless; what a frame shows follows from the seed and its number alone.
 */

/**
 * Two lanes: height of their middle, pixels a second to the right, a new portrait each so many seconds. They meet on
 * both sides of the pillar, 260 pixels from its middle, so that a face is hidden for up to 1.5 s at a time.
 */
const LANES = [
  { middle: 330, speed: 190, everySeconds: 6, startSeconds: 0 },
  { middle: 440, speed: -160, everySeconds: 6, startSeconds: 2.3 },
] as const
/** They walk, they do not glide: hurry and linger, up and down, pixels and seconds. */
const SWAY = { pixels: 14, seconds: 2.9 } as const
const BOB = { pixels: 6, seconds: 0.9 } as const
export const PORTRAIT_WIDTH = { least: 200, most: 280 } as const
/** Different portraits; they come again after so many crossings. */
const CAST = 24
const PILLAR = { left: 560, width: 170, top: 51, bottom: 704 } as const

export class Crossings extends Scene {
  readonly #cast: readonly Sprite[]
  readonly #pillar: Sprite
  readonly #seed: number

  private constructor(
    wall: Sprite,
    cast: readonly Sprite[],
    pillar: Sprite,
    digits: readonly Sprite[],
    seed: number,
  ) {
    super(wall, [], digits)
    this.#cast = cast
    this.#pillar = pillar
    this.#seed = seed
  }

  static override async draw(
    input: SourceContext['input'],
    seed: number,
    width: { readonly least: number; readonly most: number } = PORTRAIT_WIDTH,
  ): Promise<Crossings> {
    const sprite = brush(input)
    const next = random(seed)
    const start = Math.floor(next() * 1e6)
    const cast = Array.from({ length: CAST }, (_, i) => {
      const [svg, size] = framedPortrait(
        start + i,
        Math.round(width.least + next() * (width.most - width.least)),
      )
      return sprite(svg, size)
    })
    return new Crossings(
      await sprite(wallSvg(), CARD_SIZE),
      await Promise.all(cast),
      await drawPillar(sprite),
      await drawDigits(sprite),
      seed,
    )
  }

  /** So many frames until the first `crossings` portraits have left the picture. */
  static framesOf(crossings: number): number {
    const perLane = Math.ceil(crossings / LANES.length)
    const slowest = Math.min(...LANES.map(({ speed }) => Math.abs(speed)))
    const seconds =
      Math.max(...LANES.map(({ startSeconds, everySeconds }) => startSeconds + perLane * everySeconds)) +
      (CARD_SIZE.width + PORTRAIT_WIDTH.most + 4 * SWAY.pixels) / slowest
    return Math.ceil(seconds * CARD_FRAMERATE)
  }

  override placements(frame: number): Placement[] {
    const seconds = frame / CARD_FRAMERATE
    const portraits = LANES.flatMap(({ middle, speed, everySeconds, startSeconds }, lane) => {
      const since = seconds - startSeconds
      const newest = Math.floor(since / everySeconds)
      const longest = (CARD_SIZE.width + PORTRAIT_WIDTH.most + 4 * SWAY.pixels) / Math.abs(speed)
      const list: (Placement & { readonly depth: number })[] = []
      for (let nth = Math.max(0, newest - Math.ceil(longest / everySeconds)); nth <= newest; nth += 1) {
        const id = nth * LANES.length + lane
        const next = random(this.#seed * 100_003 + id)
        const sprite = this.#cast[id % CAST] as Sprite
        const phase = next() * 2 * Math.PI
        const wave = (period: number) => Math.sin(phase + (2 * Math.PI * seconds) / period)
        const way = (since - nth * everySeconds) * Math.abs(speed) + SWAY.pixels * wave(SWAY.seconds)
        const left = Math.round(
          speed > 0 ? way - sprite.width - SWAY.pixels : CARD_SIZE.width + SWAY.pixels - way,
        )
        if (left >= CARD_SIZE.width || left + sprite.width <= 0) continue
        const top = Math.round(middle - sprite.height / 2 + BOB.pixels * wave(BOB.seconds))
        list.push({ sprite, left, top, id, face: faceIn(sprite, left, top), depth: next() })
      }
      return list
    })
    return [
      ...portraits.sort((a, b) => a.depth - b.depth),
      { sprite: this.#pillar, left: PILLAR.left, top: PILLAR.top },
      ...this.clock(frame),
    ]
  }
}

function drawPillar(sprite: Brush): Promise<Sprite> {
  const { width } = PILLAR
  const height = PILLAR.bottom - PILLAR.top
  return sprite(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <defs><linearGradient id="p"><stop offset="0" stop-color="#8d857a"/><stop offset=".35" stop-color="#d9d2c6"/>
      <stop offset="1" stop-color="#7d766c"/></linearGradient></defs>
    <rect width="${width}" height="${height}" fill="url(#p)"/>
    <rect width="${width}" height="26" fill="#6f685f"/><rect y="${height - 26}" width="${width}" height="26" fill="#6f685f"/>
  </svg>`,
    { width, height },
  )
}
