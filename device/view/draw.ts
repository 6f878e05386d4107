import type { Zone } from '../../wire/zones.ts'
import type { Size } from '../faces/crop.ts'
import { LETTER_COLUMNS, LETTER_ROWS, LETTERS } from './letters.ts'
import { SEGMENTS } from './seven-segments.ts'
import type { SeenFace } from './watcher.ts'

type Colour = readonly [red: number, green: number, blue: number]

/** Dark around light: visible on any ground. */
const LIGHT: Colour = [255, 214, 10]
const DARK: Colour = [20, 20, 20]
const ZONE: Colour = [120, 220, 255]
/** Pixels of the picture that is shown: the line, and the height of a digit. */
const LINE = 2
const DIGIT_HEIGHT = 14
/** Of a zone's name. */
const LETTER_DOT = 2

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

/**
 * Draws a thin outline around each zone, and its name at the corner that is highest. In place, before the faces.
 * @param shownWidth as in `drawFaces`
 */
export function drawZones(rgb: Uint8Array, frame: Size, zones: readonly Zone[], shownWidth: number): void {
  const scale = Math.max(1, Math.max(frame.width, frame.height) / shownWidth)
  const line = Math.max(1, Math.round(scale))
  for (const { name, points } of zones) {
    const corners = points.map(([x, y]) => [x * frame.width, y * frame.height] as const)
    for (const [colour, off] of [
      [DARK, line],
      [ZONE, 0],
    ] as const)
      for (const [at, to] of corners.entries())
        drawLine(rgb, frame, corners.at(at - 1) as Corner, to, line, off, colour)
    const [x, y] = corners.reduce((highest, it) => (it[1] < highest[1] ? it : highest))
    drawName(rgb, frame, Math.round(x), Math.round(y), name, Math.max(1, Math.round(LETTER_DOT * scale)))
  }
}

type Corner = readonly [x: number, y: number]

/** A dot for each pixel of its longer side; what lies at the picture's edge is drawn within. */
function drawLine(
  rgb: Uint8Array,
  frame: Size,
  [x1, y1]: Corner,
  [x2, y2]: Corner,
  line: number,
  off: number,
  colour: Colour,
): void {
  const dots = Math.max(1, Math.ceil(Math.max(Math.abs(x2 - x1), Math.abs(y2 - y1)) / line))
  const within = (value: number, size: number) => Math.min(size - line, Math.max(0, Math.round(value) + off))
  for (let dot = 0; dot <= dots; dot += 1) {
    const left = within(x1 + ((x2 - x1) * dot) / dots, frame.width)
    const top = within(y1 + ((y2 - y1) * dot) / dots, frame.height)
    fill(rgb, frame, { left, top, width: line, height: line }, colour)
  }
}

/** On a dark ground, below and to the right of a place, or as far as it has to move to be in the picture. */
function drawName(rgb: Uint8Array, frame: Size, x: number, y: number, name: string, dot: number): void {
  const width = (name.length * (LETTER_COLUMNS + 1) + 3) * dot
  const height = (LETTER_ROWS + 4) * dot
  const left = Math.max(0, Math.min(x, frame.width - width))
  const top = Math.max(0, Math.min(y, frame.height - height))
  fill(rgb, frame, { left, top, width, height }, DARK)
  for (const [place, letter] of [...name].entries()) {
    const columns = Buffer.from(LETTERS[letter] ?? '', 'hex')
    for (const [column, bits] of columns.entries())
      for (let row = 0; row < LETTER_ROWS; row += 1) {
        if (((bits >> row) & 1) === 0) continue
        const at = left + (2 + place * (LETTER_COLUMNS + 1) + column) * dot
        fill(rgb, frame, { left: at, top: top + (2 + row) * dot, width: dot, height: dot }, ZONE)
      }
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
