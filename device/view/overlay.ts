import type { Size } from '../faces/crop.ts'
import { SEGMENTS } from './seven-segments.ts'
import type { SeenFace } from './watcher.ts'

/** What is drawn over a picture: boxes, and above each its score and the last digits of its track. Pure. */

const SURE = '#5ee08f'
const DOUBTFUL = '#f2c14e'
const INK = '#10130f'
const DIGIT = { width: 7, height: 12, gap: 3, stroke: 2 } as const
const LABEL_PADDING = 4
/** Of a track's id, its end: the beginning is the time. */
const TRACK_DIGITS = 4

/** @param size the picture's, into which the frame was fitted */
export function overlaySvg(faces: readonly SeenFace[], frame: Size, size: Size): string {
  const scale = size.width / frame.width
  const shapes = faces.map(({ box, score, sure, track }) => {
    const [left, top, width, height] = box.map((side) => Math.round(side * scale)) as [
      number,
      number,
      number,
      number,
    ]
    const colour = sure ? SURE : DOUBTFUL
    const label = score.toFixed(2) + (track ? ` ${track.slice(-TRACK_DIGITS)}` : '')
    const dashes = sure ? '' : ' stroke-dasharray="7 5"'
    return `<rect x="${left}" y="${top}" width="${width}" height="${height}" rx="2" fill="none" stroke="${INK}" stroke-opacity=".55" stroke-width="4"/>
      <rect x="${left}" y="${top}" width="${width}" height="${height}" rx="2" fill="none" stroke="${colour}" stroke-width="2"${dashes}/>
      ${labelSvg(label, left, top, colour, size)}`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}">${shapes.join('')}</svg>`
}

/** Above the box, or inside at its top where there is no room. */
function labelSvg(text: string, boxLeft: number, boxTop: number, colour: string, size: Size): string {
  const width = [...text].reduce((sum, character) => sum + advance(character), 0) + 2 * LABEL_PADDING
  const height = DIGIT.height + 2 * LABEL_PADDING
  const top = Math.max(0, boxTop - height)
  const left = Math.max(0, Math.min(boxLeft - 1, size.width - width))
  let x = left + LABEL_PADDING
  const y = top + LABEL_PADDING
  const digits = [...text].map((character) => {
    const shape = characterSvg(character, x, y)
    x += advance(character)
    return shape
  })
  return `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="${colour}"/><g fill="${INK}">${digits.join('')}</g>`
}

const advance = (character: string) =>
  character === '.' ? DIGIT.stroke + DIGIT.gap : character === ' ' ? 2 * DIGIT.gap : DIGIT.width + DIGIT.gap

function characterSvg(character: string, x: number, y: number): string {
  const { width, height, stroke } = DIGIT
  const rect = (left: number, top: number, w: number, h: number) =>
    `<rect x="${x + left}" y="${y + top}" width="${w}" height="${h}"/>`
  if (character === '.') return rect(0, height - stroke, stroke, stroke)
  const middle = (height - stroke) / 2
  const half = middle + stroke
  const segments: Readonly<Record<string, string>> = {
    a: rect(0, 0, width, stroke),
    b: rect(width - stroke, 0, stroke, half),
    c: rect(width - stroke, middle, stroke, half),
    d: rect(0, height - stroke, width, stroke),
    e: rect(0, middle, stroke, half),
    f: rect(0, 0, stroke, half),
    g: rect(0, middle, width, stroke),
  }
  return [...(SEGMENTS[character] ?? '')].map((segment) => segments[segment]).join('')
}
