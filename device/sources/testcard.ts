import { setTimeout as sleep } from 'node:timers/promises'
import { fitInto, type Size } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import { sharp } from '../sharp.ts'
import { SEGMENTS } from '../view/seven-segments.ts'
import { FACE_BOX, PORTRAIT_ASPECT, portraitSvg, random } from './portrait.ts'
import type { Source, SourceContext } from './source.ts'
import { turnedSize } from './turn.ts'
import { View, type ViewSettings, WHOLE_VIEW } from './view.ts'

/**
 * A gallery wall on which framed portraits glide past on two rails, with a clock and a frame counter. Where each
 * face is, is known (`Frame.truth`). What a frame shows follows from the seed and the frame's number alone.
 *
 * Cheap: each portrait is drawn once, at full size and at the detector's size. A frame is put together only where
 * somebody looks: the whole of it at the detector's size (256 x 144: 110 KB copied), and at full size only the
 * region that is cut.
 */
export const CARD_SIZE = { width: 1280, height: 720 } as const
export const CARD_FRAMERATE = 12
/** Of twelve tried, one whose faces BlazeFace finds in every frame (the others: 98 to 100 %). */
const SEED_DEFAULT = 7

/** Two rails: height of their middle, speed to the right in pixels a second, widths of the portraits. */
const RAILS = [
  { middle: 208, speed: -66, widths: [218, 236, 208, 230, 212], spacing: 430 },
  { middle: 520, speed: 96, widths: [276, 250, 300, 262], spacing: 520 },
] as const
const FRAME_BORDER = 9
const DIGITS = { width: 15, height: 24, left: 26, top: 12 } as const

/** An opaque RGB picture at the two sizes a frame is asked for. */
export interface Sprite extends Size {
  readonly full: Pixels
  readonly scaled: Pixels
}

interface Pixels extends Size {
  readonly data: Uint8Array
}

export interface Placement {
  readonly sprite: Sprite
  readonly left: number
  readonly top: number
  /** Which portrait it is, where that is asked for. */
  readonly id?: number
  /** Left, top, width, height. */
  readonly face?: readonly [number, number, number, number]
}

/** The scene at a frame's number: pure, once its sprites are drawn. */
export class Scene {
  readonly size: Size = CARD_SIZE
  readonly scaledSize: Size
  readonly #wall: Sprite
  readonly #rails: readonly (readonly Sprite[])[]
  readonly #digits: readonly Sprite[]

  protected constructor(wall: Sprite, rails: readonly (readonly Sprite[])[], digits: readonly Sprite[]) {
    this.scaledSize = { width: wall.scaled.width, height: wall.scaled.height }
    this.#wall = wall
    this.#rails = rails
    this.#digits = digits
  }

  static async draw(input: SourceContext['input'], seed: number): Promise<Scene> {
    const sprite = brush(input)
    const start = Math.floor(random(seed)() * 1e6)
    const rails = RAILS.map((rail, r) =>
      rail.widths.map((width, i) => {
        const [svg, size] = framedPortrait(start + r * 100 + i, width)
        return sprite(svg, size)
      }),
    )
    return new Scene(
      await sprite(wallSvg(), CARD_SIZE),
      await Promise.all(rails.map((rail) => Promise.all(rail))),
      await drawDigits(sprite),
    )
  }

  placements(frame: number): Placement[] {
    const list: Placement[] = []
    RAILS.forEach((rail, r) => {
      const sprites = this.#rails[r] as readonly Sprite[]
      const ring = rail.spacing * sprites.length
      sprites.forEach((sprite, i) => {
        const travelled = (frame * rail.speed) / CARD_FRAMERATE + i * rail.spacing
        // A portrait leaves entirely on one side before it comes in on the other.
        const left = Math.round((((travelled % ring) + ring) % ring) - sprite.width)
        if (left >= CARD_SIZE.width) return
        const top = Math.round(rail.middle - sprite.height / 2)
        list.push({ sprite, left, top, face: faceIn(sprite, left, top) })
      })
    })
    list.push(...this.clock(frame))
    return list
  }

  protected clock(frame: number): Placement[] {
    const list: Placement[] = []
    const seconds = Math.floor(frame / CARD_FRAMERATE)
    const clock = [seconds / 3600, (seconds / 60) % 60, seconds % 60]
      .map((part) => String(Math.floor(part)).padStart(2, '0'))
      .join(':')
    const counter = String(frame).padStart(7, '0')
    const write = (text: string, left: number) => {
      for (const [i, character] of [...text].entries()) {
        const sprite = this.#digits['0123456789:'.indexOf(character)]
        if (sprite) list.push({ sprite, left: left + i * DIGITS.width, top: DIGITS.top })
      }
    }
    write(clock, DIGITS.left)
    write(counter, CARD_SIZE.width - DIGITS.left - counter.length * DIGITS.width)
    return list
  }

  /** The whole frame at the detector's size. */
  scaled(placements: readonly Placement[]): Uint8Array {
    const { width, height } = this.scaledSize
    const x = width / CARD_SIZE.width
    const y = height / CARD_SIZE.height
    const canvas = new Uint8Array(this.#wall.scaled.data)
    for (const { sprite, left, top } of placements)
      blit(canvas, { width, height }, sprite.scaled, Math.round(left * x), Math.round(top * y))
    return canvas
  }

  /** A region at full size. */
  cut(
    placements: readonly Placement[],
    left: number,
    top: number,
    width: number,
    height: number,
  ): Uint8Array {
    const canvas = new Uint8Array(width * height * 3)
    blit(canvas, { width, height }, this.#wall.full, -left, -top)
    for (const it of placements) blit(canvas, { width, height }, it.sprite.full, it.left - left, it.top - top)
    return canvas
  }
}

export type Brush = (svg: string, size: Size) => Promise<Sprite>

/** Draws sprites for a detector's input. */
export function brush(input: SourceContext['input']): Brush {
  const fitted = fitInto(CARD_SIZE, input)
  const scale = { x: fitted.width / CARD_SIZE.width, y: fitted.height / CARD_SIZE.height }
  return (svg, size) => rasterise(svg, size, scale)
}

export function drawDigits(sprite: Brush): Promise<Sprite[]> {
  return Promise.all([...'0123456789:'].map((digit) => sprite(digitSvg(digit), DIGITS)))
}

/** Copies a picture onto a canvas, as far as it lies on it. */
function blit(canvas: Uint8Array, { width, height }: Size, picture: Pixels, left: number, top: number): void {
  const from = Math.max(0, -left)
  const bytes = (Math.min(picture.width, width - left) - from) * 3
  if (bytes <= 0) return
  const last = Math.min(picture.height, height - top)
  for (let y = Math.max(0, -top); y < last; y += 1) {
    const source = (y * picture.width + from) * 3
    canvas.set(picture.data.subarray(source, source + bytes), ((top + y) * width + left + from) * 3)
  }
}

/** A smaller picture, each pixel the mean of those it stands for. */
function shrinkRgb(rgb: Uint8Array, from: Size, to: Size): Uint8Array {
  const out = new Uint8Array(to.width * to.height * 3)
  for (let y = 0, at = 0; y < to.height; y += 1) {
    const top = Math.floor((y * from.height) / to.height)
    const bottom = Math.max(top + 1, Math.floor(((y + 1) * from.height) / to.height))
    for (let x = 0; x < to.width; x += 1) {
      const left = Math.floor((x * from.width) / to.width)
      const right = Math.max(left + 1, Math.floor(((x + 1) * from.width) / to.width))
      for (let channel = 0; channel < 3; channel += 1, at += 1) {
        let sum = 0
        for (let row = top; row < bottom; row += 1)
          for (let column = left; column < right; column += 1)
            sum += rgb[(row * from.width + column) * 3 + channel] as number
        out[at] = sum / ((bottom - top) * (right - left))
      }
    }
  }
  return out
}

async function rasterise(
  svg: string,
  { width, height }: Size,
  scale: { readonly x: number; readonly y: number },
): Promise<Sprite> {
  const drawn = sharp(Buffer.from(svg)).removeAlpha().toColourspace('srgb')
  const full = await drawn.clone().raw().toBuffer()
  const size = {
    width: Math.max(1, Math.round(width * scale.x)),
    height: Math.max(1, Math.round(height * scale.y)),
  }
  const scaled = await sharp(full, { raw: { width, height, channels: 3 } })
    .resize({ ...size, fit: 'fill' })
    .raw()
    .toBuffer()
  return { width, height, full: { width, height, data: full }, scaled: { ...size, data: scaled } }
}

/** The face of a framed portrait: left, top, width, height. */
export function faceIn(sprite: Size, left: number, top: number): readonly [number, number, number, number] {
  const inner = sprite.width - 2 * FRAME_BORDER
  return [
    left + FRAME_BORDER + FACE_BOX.left * inner,
    top + FRAME_BORDER + FACE_BOX.top * inner * PORTRAIT_ASPECT,
    FACE_BOX.width * inner,
    FACE_BOX.height * inner * PORTRAIT_ASPECT,
  ]
}

/** A face in a frame of the card. */
export interface DrawnFace {
  readonly id: number | undefined
  readonly box: readonly [number, number, number, number]
  /** The part of it that is seen, 0 to 1: the rest is outside of the frame, or behind something. */
  readonly shown: number
}

/** Points looked at, by side, to tell how much of a face is seen. */
const SHOWN_POINTS = 16

function facesAmong(placements: readonly Placement[]): DrawnFace[] {
  return placements.flatMap(({ face: box, id }, at) => {
    if (!box) return []
    const front = placements.slice(at + 1)
    let seen = 0
    for (let i = 0; i < SHOWN_POINTS ** 2; i += 1) {
      const x = box[0] + (((i % SHOWN_POINTS) + 0.5) / SHOWN_POINTS) * box[2]
      const y = box[1] + ((Math.floor(i / SHOWN_POINTS) + 0.5) / SHOWN_POINTS) * box[3]
      if (x < 0 || y < 0 || x >= CARD_SIZE.width || y >= CARD_SIZE.height) continue
      const hides = ({ left, top, sprite }: Placement) =>
        x >= left && y >= top && x < left + sprite.width && y < top + sprite.height
      if (!front.some(hides)) seen += 1
    }
    return [{ id, box, shown: seen / SHOWN_POINTS ** 2 }]
  })
}

export function framedPortrait(seed: number, width: number): [svg: string, size: Size] {
  const inner = width - 2 * FRAME_BORDER
  const innerHeight = Math.round(inner * PORTRAIT_ASPECT)
  const height = innerHeight + 2 * FRAME_BORDER
  const wood = ['#5b4331', '#2f2b28', '#8a7148', '#c9b48a'][seed % 4]
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="${width}" height="${height}" fill="${wood}"/>
    <rect x="2.5" y="2.5" width="${width - 5}" height="${height - 5}" fill="none" stroke="#fff" stroke-opacity=".25"/>
    <svg x="${FRAME_BORDER}" y="${FRAME_BORDER}" width="${inner}" height="${innerHeight}">${portraitSvg(seed, inner)}</svg>
  </svg>`
  return [svg, { width, height }]
}

export function wallSvg(): string {
  const { width, height } = CARD_SIZE
  const rails = RAILS.map(
    ({ middle }) => `<rect y="${middle - 3}" width="${width}" height="6" fill="#b59a63"/>
      <rect y="${middle + 3}" width="${width}" height="5" fill="#000" opacity=".14"/>`,
  ).join('')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <defs><radialGradient id="light" cx=".5" cy=".2" r=".9"><stop offset="0" stop-color="#f1ebdf"/>
      <stop offset="1" stop-color="#b9b0a1"/></radialGradient></defs>
    <rect width="${width}" height="${height}" fill="url(#light)"/>${rails}
    <rect width="${width}" height="48" fill="#3a3f45"/><rect y="48" width="${width}" height="3" fill="#b59a63"/>
    <rect y="704" width="${width}" height="16" fill="#6b4f39"/>
  </svg>`
}

/** Digits of seven segments: no font is needed, and none may be installed. */
function digitSvg(character: string): string {
  const { width, height } = DIGITS
  const segments = {
    a: '3,1 9,3',
    b: '9,2 3,9',
    c: '9,12 3,9',
    d: '3,19 9,3',
    e: '2,12 3,9',
    f: '2,2 3,9',
    g: '3,10 9,3',
  }
  const rects =
    character === ':'
      ? ['5,6 4,4', '5,14 4,4']
      : [...(SEGMENTS[character] ?? '')].map((key) => segments[key as keyof typeof segments])
  const shapes = rects.map((text) => {
    const [x, y, w, h] = text.split(/[ ,]/)
    return `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="#f3ead2"/>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="${width}" height="${height}" fill="#3a3f45"/>${shapes.join('')}</svg>`
}

export interface TestcardOptions {
  readonly seed?: number
  /** What is played; the wall with two rails where absent. */
  readonly draw?: (input: SourceContext['input'], seed: number) => Promise<Scene>
  /** At most so many frames a second; the card has 12. */
  readonly rateMax?: number
  /** Ends after so many frames and never skips one: for tests. */
  readonly frames?: number
  readonly view?: ViewSettings
}

export class Testcard implements Source {
  readonly name = 'testcard'
  readonly live: boolean
  readonly lossless: boolean
  readonly #scene: Scene
  readonly #view: View
  readonly #options: TestcardOptions
  readonly #context: SourceContext
  readonly #signal: AbortSignal

  private constructor(scene: Scene, options: TestcardOptions, context: SourceContext, signal: AbortSignal) {
    this.#scene = scene
    this.#view = new View(options.view ?? WHOLE_VIEW, CARD_SIZE)
    this.#options = options
    this.#context = context
    this.#signal = signal
    this.live = options.frames === undefined
    this.lossless = !this.live
  }

  static async open(
    options: TestcardOptions,
    context: SourceContext,
    signal: AbortSignal,
  ): Promise<Testcard> {
    // The scene knows no turning: it is drawn for an input that stands as it does.
    const { orientation } = new View(options.view ?? WHOLE_VIEW, CARD_SIZE)
    const input = { ...context.input, ...turnedSize(context.input, orientation) }
    const scene = await (options.draw ?? Scene.draw)(input, options.seed ?? SEED_DEFAULT)
    return new Testcard(scene, options, context, signal)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    const { frames, rateMax = CARD_FRAMERATE } = this.#options
    if (frames !== undefined) {
      for (let number = 0; number < frames && !this.#signal.aborted; number += 1) yield this.frame(number)
      return
    }
    const everyMs = 1000 / Math.min(rateMax, CARD_FRAMERATE)
    const startMs = performance.now()
    const numberAt = () => ((performance.now() - startMs) * CARD_FRAMERATE) / 1000
    for (let due = 0; !this.#signal.aborted; ) {
      const waitMs = startMs + due - performance.now()
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
      if (this.#signal.aborted) return
      const late = Math.floor(-waitMs / everyMs)
      if (late > 0) this.#context.events.skipped('detector busy', late)
      due += Math.max(1, late + 1) * everyMs
      yield this.frame(Math.round(numberAt()))
    }
  }

  /** All faces of a frame, also those that are hidden. */
  faces(sequence: number): DrawnFace[] {
    return facesAmong(this.#scene.placements(sequence))
  }

  frame(sequence: number): Frame {
    const scene = this.#scene
    const view = this.#view
    const placements = scene.placements(sequence)
    const fitted = view.isWhole
      ? { stored: scene.scaledSize, turned: turnedSize(scene.scaledSize, view.orientation) }
      : view.scaledSize(this.#context.input)
    const { left, top, width, height } = view.storedRegion
    const scaled = view.isWhole
      ? scene.scaled(placements)
      : shrinkRgb(scene.cut(placements, left, top, width, height), { width, height }, fitted.stored)
    return {
      sequence,
      capturedAtMs: Date.now(),
      atMs: (sequence * 1000) / CARD_FRAMERATE,
      ...view.size,
      ...(!view.isWhole && { region: view.region }),
      scaled: { data: view.finish(scaled, fitted.stored), ...fitted.turned },
      cut: async (...[left, top, width, height]) =>
        view.cut({ left, top, width, height }, (it) =>
          scene.cut(placements, it.left, it.top, it.width, it.height),
        ),
      truth: facesAmong(placements).flatMap(({ box, shown }) => (shown > 0 ? [view.turnBox(box)] : [])),
      [Symbol.dispose]() {},
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
