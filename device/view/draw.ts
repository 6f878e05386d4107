import type { Size } from '../faces/crop.ts'
import { SEGMENTS } from './seven-segments.ts'
import type { SeenFace } from './watcher.ts'

type Colour = readonly [red: number, green: number, blue: number]

/** Dark around light: visible on any ground. */
const LIGHT: Colour = [255, 214, 10]
const DARK: Colour = [20, 20, 20]
/** Pixels of the picture that is shown: the line, and the height of a digit. */
const LINE = 2
const DIGIT_HEIGHT = 14

/**
 * Draws a box around each face into RGB pixels, and its score in percent above it. In place and before the picture is
 * scaled: a few lines of pixels cost less than laying a second picture over it.
 * @param shownWidth how wide the picture will be, pixels: lines are as thick as they have to be for that
 */
export function drawFaces(
  rgb: Uint8Array,
  frame: Size,
  faces: readonly Pick<SeenFace, 'box' | 'score'>[],
  shownWidth: number,
): void {
  const scale = Math.max(1, Math.max(frame.width, frame.height) / shownWidth)
  const line = Math.max(1, Math.round(LINE * scale))
  for (const { box, score } of faces) {
    const [left, top, width, height] = box.map(Math.round) as [number, number, number, number]
    frameOf(
      rgb,
      frame,
      { left: left - line, top: top - line, width: width + 2 * line, height: height + 2 * line },
      line,
      DARK,
    )
    frameOf(rgb, frame, { left, top, width, height }, line, LIGHT)
    drawNumber(rgb, frame, left, top, Math.min(99, Math.floor(score * 100)), scale)
  }
}

interface Rectangle extends Size {
  readonly left: number
  readonly top: number
}

function frameOf(
  rgb: Uint8Array,
  frame: Size,
  { left, top, width, height }: Rectangle,
  line: number,
  colour: Colour,
) {
  fill(rgb, frame, { left, top, width, height: line }, colour)
  fill(rgb, frame, { left, top: top + height - line, width, height: line }, colour)
  fill(rgb, frame, { left, top, width: line, height }, colour)
  fill(rgb, frame, { left: left + width - line, top, width: line, height }, colour)
}

/** Clipped to the frame. */
function fill(
  rgb: Uint8Array,
  frame: Size,
  { left, top, width, height }: Rectangle,
  [r, g, b]: Colour,
): void {
  const right = Math.min(frame.width, left + width)
  const bottom = Math.min(frame.height, top + height)
  for (let y = Math.max(0, top); y < bottom; y += 1)
    for (
      let at = (y * frame.width + Math.max(0, left)) * 3, end = (y * frame.width + right) * 3;
      at < end;
      at += 3
    ) {
      rgb[at] = r
      rgb[at + 1] = g
      rgb[at + 2] = b
    }
}

/** Two digits on a light ground, above the box or, where there is no room, within it. */
function drawNumber(
  rgb: Uint8Array,
  frame: Size,
  left: number,
  top: number,
  value: number,
  scale: number,
): void {
  const height = Math.round(DIGIT_HEIGHT * scale)
  const width = Math.round(height / 2)
  const thick = Math.max(1, Math.round(LINE * scale))
  const gap = thick
  const digits = String(value).padStart(2, '0')
  const ground = { width: digits.length * (width + gap) + 3 * gap, height: height + 4 * gap }
  const at = { left, top: top - ground.height >= 0 ? top - ground.height : top }
  fill(rgb, frame, { ...at, ...ground }, LIGHT)
  for (const [place, digit] of [...digits].entries()) {
    const x = at.left + 2 * gap + place * (width + gap)
    const y = at.top + 2 * gap
    for (const segment of SEGMENTS[digit] ?? '')
      fill(rgb, frame, segmentOf(segment, x, y, width, height, thick), DARK)
  }
}

function segmentOf(
  name: string,
  x: number,
  y: number,
  width: number,
  height: number,
  thick: number,
): Rectangle {
  const half = Math.round(height / 2)
  const across = { left: x, width, height: thick }
  const down = { width: thick, height: half }
  switch (name) {
    case 'a':
      return { ...across, top: y }
    case 'g':
      return { ...across, top: y + half - Math.round(thick / 2) }
    case 'd':
      return { ...across, top: y + height - thick }
    case 'b':
      return { ...down, left: x + width - thick, top: y }
    case 'c':
      return { ...down, left: x + width - thick, top: y + height - half }
    case 'e':
      return { ...down, left: x, top: y + height - half }
    default:
      return { ...down, left: x, top: y }
  }
}
