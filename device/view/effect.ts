import type { Effect } from '../../wire/commands.ts'
import type { Size } from '../faces/crop.ts'

/** What viewers see instead of the scene as it is. Pixels in, pixels out, in place: RGB, 8 bits, rows without padding. */

/** A part of the picture, whole pixels inside it. */
export interface Area extends Size {
  readonly left: number
  readonly top: number
}

/** Squares across a face with its margin, so two across the face itself: with three a detector still found some. */
const SQUARES = 4
/** The least side of a square, pixels: nothing is left of a small face. */
const SQUARE_MIN = 6
/** Outlines are looked for in a picture of so many cells across: as coarse as a face at ten metres. */
const CELLS = 160
/** Pixels across and down a cell that are looked at, at least. */
const CELL_SAMPLES = 4
/** Grey levels between neighbouring cells that make an outline. */
const EDGE_MIN = 28
const GROUND = 16
const LINE = 200
/** A face in outlines is a plain patch. */
const PATCH = 72

/**
 * @param areas what must not be told: faces and their margins
 */
export function applyEffect(
  effect: Exclude<Effect, 'none'>,
  rgb: Uint8Array,
  frame: Size,
  areas: readonly Area[],
): void {
  if (effect === 'pixelate') for (const area of areas) pixelate(rgb, frame, area)
  else outline(rgb, frame, areas)
}

/** Each square of it becomes the mean of its pixels. */
function pixelate(rgb: Uint8Array, frame: Size, { left, top, width, height }: Area): void {
  const side = Math.max(SQUARE_MIN, Math.ceil(Math.max(width, height) / SQUARES))
  for (let y = top; y < top + height; y += side)
    for (let x = left; x < left + width; x += side)
      average(rgb, frame, {
        left: x,
        top: y,
        width: Math.min(side, left + width - x),
        height: Math.min(side, top + height - y),
      })
}

function average(rgb: Uint8Array, frame: Size, { left, top, width, height }: Area): void {
  let [r, g, b] = [0, 0, 0]
  for (let y = top; y < top + height; y += 1)
    for (let at = (y * frame.width + left) * 3, end = at + width * 3; at < end; at += 3) {
      r += rgb[at] as number
      g += rgb[at + 1] as number
      b += rgb[at + 2] as number
    }
  const count = width * height
  paint(rgb, frame, { left, top, width, height }, r / count, g / count, b / count)
}

function paint(
  rgb: Uint8Array,
  frame: Size,
  { left, top, width, height }: Area,
  r: number,
  g: number,
  b: number,
): void {
  for (let y = top; y < top + height; y += 1)
    for (let at = (y * frame.width + left) * 3, end = at + width * 3; at < end; at += 3) {
      rgb[at] = r
      rgb[at + 1] = g
      rgb[at + 2] = b
    }
}

/**
 * Where the grey of coarse cells changes, there is a line, and nowhere anything else: no colour, no shade, no texture. Faces
 * become plain patches: their own lines could tell who it is.
 */
function outline(rgb: Uint8Array, frame: Size, areas: readonly Area[]): void {
  const side = Math.max(2, Math.ceil(Math.max(frame.width, frame.height) / CELLS))
  const [wide, high] = [Math.ceil(frame.width / side), Math.ceil(frame.height / side)]
  const grey = blurred(greyCells(rgb, frame, side, wide, high), wide, high)
  // All rows of a row of cells are the same: one is made, and copied.
  const row = new Uint8Array(frame.width * 3)
  for (let y = 0; y < high; y += 1) {
    row.fill(GROUND)
    if (y > 0 && y < high - 1)
      for (let x = 1; x < wide - 1; x += 1)
        if (isEdge(grey, wide, y * wide + x)) row.fill(LINE, x * side * 3, (x + 1) * side * 3)
    const bottom = Math.min(frame.height, (y + 1) * side)
    for (let to = y * side; to < bottom; to += 1) rgb.set(row, to * row.length)
  }
  for (const { left, top, width, height } of areas)
    for (let y = top; y < top + height; y += 1) {
      const from = (y * frame.width + left) * 3
      rgb.fill(PATCH, from, from + width * 3)
    }
}

function isEdge(grey: Float32Array, wide: number, at: number): boolean {
  const across = Math.abs((grey[at + 1] as number) - (grey[at - 1] as number))
  const down = Math.abs((grey[at + wide] as number) - (grey[at - wide] as number))
  return Math.max(across, down) >= EDGE_MIN
}

/** Green stands for grey: it is most of it. Of a large cell a few pixels stand for all: as much work whatever the frame's size. */
function greyCells(rgb: Uint8Array, frame: Size, side: number, wide: number, high: number): Float32Array {
  const cells = new Float32Array(wide * high)
  const step = Math.max(1, Math.floor(side / CELL_SAMPLES))
  for (let cy = 0; cy < high; cy += 1) {
    const bottom = Math.min(frame.height, (cy + 1) * side)
    for (let cx = 0; cx < wide; cx += 1) {
      const right = Math.min(frame.width, (cx + 1) * side)
      let [sum, count] = [0, 0]
      for (let y = cy * side; y < bottom; y += step) {
        const end = (y * frame.width + right) * 3
        for (let at = (y * frame.width + cx * side) * 3 + 1; at < end; at += 3 * step) {
          sum += rgb[at] as number
          count += 1
        }
      }
      cells[cy * wide + cx] = sum / count
    }
  }
  return cells
}

/** The mean of each cell and its eight neighbours. */
function blurred(cells: Float32Array, wide: number, high: number): Float32Array {
  const out = new Float32Array(cells.length)
  for (let y = 0; y < high; y += 1)
    for (let x = 0; x < wide; x += 1) {
      let [sum, count] = [0, 0]
      for (let dy = Math.max(0, y - 1); dy <= Math.min(high - 1, y + 1); dy += 1)
        for (let dx = Math.max(0, x - 1); dx <= Math.min(wide - 1, x + 1); dx += 1) {
          sum += cells[dy * wide + dx] as number
          count += 1
        }
      out[y * wide + x] = sum / count
    }
  return out
}
