/** Polygons on a picture, their corners as fractions of it. Pure. */

export type Point = [number, number]

export interface DrawnZone {
  readonly name: string
  readonly points: Point[]
  readonly sizeMin?: number | undefined
  readonly sizeMax?: number | undefined
  readonly stayS?: number | undefined
}

/** As wire/zones.ts has them. */
export const CORNERS_MIN = 3
export const CORNERS_MAX = 32
/** Four digits: a tenth of a pixel of a picture that is 1000 wide. */
const DIGITS = 10_000

const within = (value: number) => Math.min(1, Math.max(0, Math.round(value * DIGITS) / DIGITS))
export const pointAt = (x: number, y: number): Point => [within(x), within(y)]

export const withCorner = (points: readonly Point[], index: number, point: Point): Point[] =>
  points.map((old, at) => (at === index ? point : old))

/** In the middle of the edge that begins at this corner. */
export function withCornerAfter(points: readonly Point[], index: number, point?: Point): Point[] {
  return points.toSpliced(index + 1, 0, point ?? middleOfEdge(points, index))
}

export const withoutCorner = (points: readonly Point[], index: number): Point[] =>
  points.length > CORNERS_MIN ? points.toSpliced(index, 1) : [...points]

export function middleOfEdge(points: readonly Point[], index: number): Point {
  const [ax, ay] = points[index] as Point
  const [bx, by] = points[(index + 1) % points.length] as Point
  return pointAt((ax + bx) / 2, (ay + by) / 2)
}

/** Moved as a whole, and never beyond the picture. */
export function moved(points: readonly Point[], dx: number, dy: number): Point[] {
  const xs = points.map(([x]) => x)
  const ys = points.map(([, y]) => y)
  const right = Math.min(1 - Math.max(...xs), Math.max(-Math.min(...xs), dx))
  const down = Math.min(1 - Math.max(...ys), Math.max(-Math.min(...ys), dy))
  return points.map(([x, y]) => pointAt(x + right, y + down))
}

/** The middle of its corners: where its name stands. */
export function middleOf(points: readonly Point[]): Point {
  const sum = points.reduce<Point>(([x, y], [px, py]) => [x + px, y + py], [0, 0])
  return [sum[0] / points.length, sum[1] / points.length]
}

export const rectangle = (left: number, top: number, right: number, bottom: number): Point[] => [
  pointAt(left, top),
  pointAt(right, top),
  pointAt(right, bottom),
  pointAt(left, bottom),
]

/** Degrees of the colour circle, the same for the same name everywhere. */
export function hueOf(name: string): number {
  let hash = 7
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 9973
  // Steps that lie far apart, so that zone-1 and zone-2 do too.
  return Math.round((hash * 137.5) % 360)
}

/** Names that are free: `door`, `door-2`. */
export function freeName(wanted: string, taken: Iterable<string>): string {
  const names = new Set(taken)
  if (!names.has(wanted)) return wanted
  let number = 2
  while (names.has(`${wanted}-${number}`)) number += 1
  return `${wanted}-${number}`
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/

/** What is wrong with a name, for people; undefined: nothing. */
export function nameProblem(name: string, others: readonly string[]): string | undefined {
  if (name === '') return 'A zone needs a name.'
  if (!NAME.test(name)) return 'Only letters, digits, dash and underscore, at most 63.'
  return others.includes(name) ? 'Another zone has this name.' : undefined
}
