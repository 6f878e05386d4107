import type { Size } from '../faces/crop.ts'

/** Corners in order; the last is joined to the first. */
export type Polygon = readonly (readonly [x: number, y: number])[]

/** Pixels of one row, `to` not included. */
export interface Span {
  readonly row: number
  readonly from: number
  readonly to: number
}

/**
 * The pixels of a picture that a polygon (in pixels) covers, be it in the smallest part, and `grow` pixels around
 * them. A polygon that crosses itself covers by the even-odd rule.
 *
 * A pixel is covered where an edge passes through it, or where its middle is inside.
 */
export function coverOf(polygon: Polygon, { width, height }: Size, grow = 0): Span[] {
  const spans: Span[] = []
  const ys = polygon.map(([, y]) => y)
  const first = Math.max(0, Math.floor(Math.min(...ys)) - grow)
  const last = Math.min(height, Math.ceil(Math.max(...ys)) + grow)
  for (let row = first; row < last; row += 1) {
    const add = (fromX: number, toX: number) => {
      const from = Math.max(0, Math.floor(fromX) - grow)
      const to = Math.min(width, Math.ceil(toX) + grow)
      if (from < to) spans.push({ row, from, to })
    }
    for (let near = row - grow; near <= row + grow; near += 1) {
      const crossings: number[] = []
      polygon.forEach(([x1, y1], at) => {
        const [x2, y2] = polygon[(at + 1) % polygon.length] as readonly [number, number]
        const [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)]
        if (bottom <= near || top >= near + 1) return // an edge along the border between two rows is in neither
        const xAt = (y: number) => (y1 === y2 ? x1 : x1 + ((x2 - x1) * (y - y1)) / (y2 - y1))
        const [a, b] = y1 === y2 ? [x1, x2] : [xAt(Math.max(top, near)), xAt(Math.min(bottom, near + 1))]
        add(Math.min(a, b), Math.max(a, b))
        const middle = near + 0.5
        if (y1 <= middle !== y2 <= middle) crossings.push(xAt(middle))
      })
      crossings.sort((a, b) => a - b)
      for (let i = 0; i + 1 < crossings.length; i += 2)
        add(crossings[i] as number, crossings[i + 1] as number)
    }
  }
  return spans
}

/** Paints spans of an RGB picture black. */
export function blacken(rgb: Uint8Array, width: number, spans: readonly Span[]): void {
  for (const { row, from, to } of spans) rgb.fill(0, (row * width + from) * 3, (row * width + to) * 3)
}
