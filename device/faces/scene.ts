import { crc32 } from 'node:zlib'
import type { CameraState } from '../../wire/camera-state.ts'
import {
  SCENE_COVERED_DARK_MS,
  SCENE_COVERED_MS,
  SCENE_FROZEN_MS,
  SCENE_GAP_MS_MAX,
  SCENE_LEARNT_ANEW_MS,
  SCENE_LEARNT_MS,
  SCENE_LOOK_MS,
  SCENE_SETTLE_MS,
  SCENE_TURNED_MS,
} from '../limits.ts'
import type { Size } from './crop.ts'

/** How a camera's view is, and since when, ms since 1970. */
export type View = Readonly<NonNullable<CameraState['view']>>
type ViewIs = View['is']

/** The grey picture that is looked at, cells; and the blocks of it that are compared. */
const WIDTH = 64
const HEIGHT = 36
const CELLS = WIDTH * HEIGHT
const BLOCK_WIDTH = 8
const BLOCK_HEIGHT = 6
const COLUMNS = WIDTH / BLOCK_WIDTH
const ROWS = HEIGHT / BLOCK_HEIGHT
const BLOCKS = COLUMNS * ROWS
/** Pixels of a cell that are read, by side: more say nothing new. */
const SAMPLES_MAX = 4
/** Looks that are averaged, against noise. */
const LOOKS = 4
/** An edge has at least so many grey levels, and so many times the noise; what moves is no noise beyond the last. */
const EDGE_LEVELS = 5
const EDGE_LEVELS_MAX = 14
const EDGE_NOISES = 5
/** Of the blocks within, 24 (at the border are a camera's own text, and what a hand leaves free), so many or fewer have edges. */
const COVERED_BLOCKS_MAX = 2
/** So many looks in a row that say otherwise end a suspicion. */
const DOUBTS_MAX = 2
/** A picture with a mean below is dark: night, perhaps. Grey levels. */
const DARK_LEVEL = 24
/** Blocks with edges, in the learnt scene and now, without which the two are not compared. */
const COMPARED_BLOCKS_MIN = 8
/** From that correlation of its edges on, a block shows what was learnt. */
const SAME_MIN = 0.6
/** It is another scene when fewer blocks than this part show what was learnt; what is learnt from is more like it. */
const TURNED_BELOW = 0.24
const LEARN_FROM = 0.5
/** A camera that trembles, or is a little off: cells. */
const SHIFT_MAX = 1
/** The learnt scene follows slow changes, ms; in steps of so long, once it is learnt. */
const LEARN_SLOWLY_MS = 600_000
const LEARN_STEP_MS = 5000

/** What one look has found. */
export interface SceneLook {
  /** Mean grey value. */
  readonly level: number
  /** Grey levels by which cells change from look to look although nothing happens. */
  readonly noise: number
  /** Blocks with edges: of those within, and of all. */
  readonly edgesWithin: number
  readonly edges: number
  /** The part of the blocks that show what was learnt, 0 to 1. Undefined where there is too little to compare. */
  readonly same: number | undefined
}

/** What is seen for so long that it is said. */
interface Suspicion {
  readonly is: ViewIs
  readonly sinceMs: number
  /** By the wall. */
  readonly wallMs: number
}

/**
 * Says whether a camera still sees its scene, from its scaled pictures, twice a second:
 *
 * - `covered`: there are hardly any edges, by far less than noise would make. In the dark that takes longer to say, and there
 *   must be none at all: at night there are few, and a lamp or its light on the ground has some.
 * - `turned`: the edges are elsewhere than in the scene that it has learnt. Edges, not brightness: light, shadows, a cloud
 *   and infrared change the latter. Block by block: people, cars and what is put down change some of them.
 * - `frozen`: the picture is the same, byte by byte.
 *
 * Each has to hold for some time, and so has the contrary. What it has learnt is forgotten with the process.
 *
 * Time is an argument, ms on a clock that does not go back. No I/O.
 */
export class SceneWatch {
  readonly #hasMasks: boolean
  readonly #looks: Float32Array[] = []
  readonly #mean = new Float32Array(CELLS)
  readonly #edges = edgesOf()
  readonly #learntMean = new Float32Array(CELLS)
  readonly #learnt = edgesOf()
  #learntMs = 0
  #unlearntMs = 0
  #lookedMs = -Infinity
  #checksum: number | undefined
  #sameSince: Suspicion | undefined
  #suspicion: Suspicion | undefined
  #doubts = 0
  #said: View | undefined
  /** Of the look before, for those who tune it. */
  look: SceneLook | undefined

  /** @param hasMasks parts of the picture are painted black */
  constructor({ hasMasks = false }: { readonly hasMasks?: boolean } = {}) {
    this.#hasMasks = hasMasks
  }

  /** Undefined before it has looked for a second or two; another object once it has changed. */
  get view(): View | undefined {
    return this.#said
  }

  /** It is to learn its scene anew. */
  forget(): void {
    this.#looks.length = 0
    this.#learntMs = 0
    this.#suspicion = undefined
    this.#sameSince = undefined
    this.#said = undefined
  }

  /**
   * @param picture RGB, rows without padding
   * @param nowMs of this picture
   * @param wallMs the same, since 1970
   * @returns whether `view` has changed
   */
  take(picture: Size & { readonly data: Uint8Array }, nowMs: number, wallMs: number): boolean {
    const sinceLookMs = nowMs - this.#lookedMs
    if (sinceLookMs >= 0 && sinceLookMs < SCENE_LOOK_MS) return false
    if (!(sinceLookMs >= 0 && sinceLookMs <= SCENE_GAP_MS_MAX)) this.#resume()
    this.#lookedMs = nowMs
    const recycled = this.#looks.length >= LOOKS ? this.#looks.shift() : undefined
    const cells = recycled ?? new Float32Array(CELLS)
    shrink(picture, cells)
    const before = this.#looks.at(-1)
    const frozen = this.#isSame(picture.data, isEqual(cells, before), nowMs, wallMs)
    const noise = noiseOf(cells, before)
    this.#looks.push(cells)
    if (this.#looks.length < LOOKS) return false
    const level = average(this.#looks, this.#mean)
    findEdges(this.#mean, this.#edges, edgeLevels(noise), this.#hasMasks)
    const edges = count(this.#edges.has)
    const same = this.#compare()
    this.look = { level, noise, edgesWithin: countWithin(this.#edges.has), edges, same }
    const seen = frozen ?? this.#judge(this.look)
    this.#unlearntMs += Math.min(Math.max(0, sinceLookMs), SCENE_GAP_MS_MAX)
    if (seen === 'clear' && (this.#learntMs < SCENE_LEARNT_MS || this.#unlearntMs >= LEARN_STEP_MS)) {
      this.#learn(Math.min(this.#unlearntMs, SCENE_GAP_MS_MAX), same, edges)
      this.#unlearntMs = 0
    }
    return this.#suspect(
      seen,
      frozen ? (this.#sameSince as Suspicion) : { is: seen, sinceMs: nowMs, wallMs },
      nowMs,
    )
  }

  /** After a time without pictures: what was seen before says nothing of how long it has been so. */
  #resume(): void {
    this.#looks.length = 0
    this.#suspicion = undefined
    this.#sameSince = undefined
    this.#checksum = undefined
  }

  /** @param mayBe its cells are those of the look before */
  #isSame(data: Uint8Array, mayBe: boolean, nowMs: number, wallMs: number): 'frozen' | undefined {
    const checksum = mayBe ? crc32(data) : undefined
    if (checksum === undefined || checksum !== this.#checksum || !this.#sameSince)
      this.#sameSince = { is: 'frozen', sinceMs: nowMs, wallMs }
    this.#checksum = checksum
    return nowMs - this.#sameSince.sinceMs >= SCENE_FROZEN_MS ? 'frozen' : undefined
  }

  #judge({ level, edgesWithin, same }: SceneLook): ViewIs {
    if (level < DARK_LEVEL ? edgesWithin === 0 : edgesWithin <= COVERED_BLOCKS_MAX) return 'covered'
    // Until it is learnt, everything is like it.
    return this.#learntMs >= SCENE_LEARNT_MS && same !== undefined && same < TURNED_BELOW ? 'turned' : 'clear'
  }

  /** The part of the blocks that show what was learnt; the best of small shifts. */
  #compare(): number | undefined {
    if (this.#learntMs === 0) return undefined
    let best = sameBlocks(this.#edges, this.#learnt, 0, 0)
    if (best === undefined || best >= LEARN_FROM) return best
    for (let dy = -SHIFT_MAX; dy <= SHIFT_MAX; dy += 1)
      for (let dx = -SHIFT_MAX; dx <= SHIFT_MAX; dx += 1)
        best = Math.max(best, sameBlocks(this.#edges, this.#learnt, dx, dy) ?? 0)
    return best
  }

  #learn(elapsedMs: number, same: number | undefined, edges: number): void {
    const learntEdges = count(this.#learnt.has)
    // What was learnt in the dark, or of fog, is no scene: one that shows more is learnt in its place.
    const isMore = edges >= COMPARED_BLOCKS_MIN && learntEdges < COMPARED_BLOCKS_MIN
    if (this.#learntMs > 0 && isMore) this.#learntMs = 0
    else if (this.#learntMs >= SCENE_LEARNT_MS && (same === undefined || same < LEARN_FROM)) return
    const isFirst = this.#learntMs === 0
    this.#learntMs += isFirst ? 1 : elapsedMs
    const share = isFirst ? 1 : Math.max(elapsedMs / LEARN_SLOWLY_MS, Math.min(1, elapsedMs / this.#learntMs))
    for (let i = 0; i < CELLS; i += 1)
      this.#learntMean[i] = at(this.#learntMean, i) + share * (at(this.#mean, i) - at(this.#learntMean, i))
    findEdges(this.#learntMean, this.#learnt, EDGE_LEVELS, this.#hasMasks)
  }

  #suspect(is: ViewIs, now: Suspicion, nowMs: number): boolean {
    this.#doubts = this.#suspicion?.is === is ? 0 : this.#doubts + 1
    if (!this.#suspicion || this.#doubts >= DOUBTS_MAX) {
      this.#suspicion = now
      this.#doubts = 0
    }
    if (this.#suspicion.is !== is) return false
    const { sinceMs, wallMs } = this.#suspicion
    const heldMs = nowMs - sinceMs
    if (this.#said?.is === is) {
      if (is !== 'turned' || heldMs < SCENE_LEARNT_ANEW_MS) return false
      this.forget()
      this.#said = { is: 'clear', sinceMs: Math.round(wallMs) }
      return true
    }
    if (this.#said && heldMs < this.#neededMs(is)) return false
    if (!this.#said && is !== 'clear' && heldMs < this.#neededMs(is)) return false
    this.#said = { is, sinceMs: Math.round(wallMs) }
    return true
  }

  #neededMs(is: ViewIs): number {
    if (is === 'covered')
      return (this.look?.level ?? 0) < DARK_LEVEL ? SCENE_COVERED_DARK_MS : SCENE_COVERED_MS
    return is === 'turned' ? SCENE_TURNED_MS : is === 'frozen' ? 0 : SCENE_SETTLE_MS
  }
}

/** Differences of neighbouring cells, to the right and downwards; and by block, whether there is an edge. */
interface Edges {
  readonly x: Float32Array
  readonly y: Float32Array
  readonly has: Uint8Array
}
const edgesOf = (): Edges => ({
  x: new Float32Array(CELLS),
  y: new Float32Array(CELLS),
  has: new Uint8Array(BLOCKS),
})

const at = (cells: Float32Array, i: number) => cells[i] as number
const blockOf = (x: number, y: number) => Math.floor(y / BLOCK_HEIGHT) * COLUMNS + Math.floor(x / BLOCK_WIDTH)

function isEqual(a: Float32Array, b: Float32Array | undefined): boolean {
  if (!b) return false
  for (let i = 0; i < CELLS; i += 1) if (at(a, i) !== at(b, i)) return false
  return true
}

/** Blocks with edges. */
const count = (has: Uint8Array): number => has.reduce((sum, it) => sum + it, 0)

/** Those that are not at the border. */
function countWithin(has: Uint8Array): number {
  let sum = 0
  for (let row = 1; row < ROWS - 1; row += 1)
    for (let column = 1; column < COLUMNS - 1; column += 1) sum += has[row * COLUMNS + column] as number
  return sum
}

/** @returns the mean of all */
function average(looks: readonly Float32Array[], mean: Float32Array): number {
  let all = 0
  for (let i = 0; i < CELLS; i += 1) {
    let sum = 0
    for (const look of looks) sum += at(look, i)
    mean[i] = sum / looks.length
    all += sum
  }
  return all / looks.length / CELLS
}

/** Of one look's cells: the standard deviation that half of them stay within, which people who move do not change. */
function noiseOf(cells: Float32Array, before: Float32Array | undefined): number {
  if (!before) return 0
  const bins = new Uint16Array(256)
  let counted = 0
  for (let i = 0; i < CELLS; i += 1) {
    // What is masked, or too bright, shows no noise.
    if (at(cells, i) === 0 || at(cells, i) === 255) continue
    counted += 1
    const bin = Math.min(255, Math.floor(Math.abs(at(cells, i) - at(before, i)) * 16))
    bins[bin] = (bins[bin] as number) + 1
  }
  let [bin, sum] = [0, bins[0] as number]
  while (sum < counted / 2) {
    bin += 1
    sum += bins[bin] as number
  }
  // The median of the difference of two normal values is 0.954 of the deviation of one.
  return (bin + 0.5) / 16 / 0.954
}

/** What the Laplacian of averaged looks must be to be more than noise. */
const edgeLevels = (noise: number) =>
  Math.min(EDGE_LEVELS_MAX, Math.max(EDGE_LEVELS, EDGE_NOISES * noise * Math.sqrt(20 / LOOKS)))

/** @param levels that the Laplacian must have; a smooth slope, such as a hand before the lens shows, has nearly none */
function findEdges(cells: Float32Array, { x, y, has }: Edges, levels: number, hasMasks: boolean): void {
  has.fill(0)
  for (let cy = 1; cy < HEIGHT - 1; cy += 1)
    for (let cx = 1; cx < WIDTH - 1; cx += 1) {
      const i = cy * WIDTH + cx
      const here = at(cells, i)
      const left = at(cells, i - 1)
      const right = at(cells, i + 1)
      const above = at(cells, i - WIDTH)
      const below = at(cells, i + WIDTH)
      x[i] = right - left
      y[i] = below - above
      if (Math.abs(4 * here - left - right - above - below) < levels) continue
      if (hasMasks && isAtMask(cells, cx, cy)) {
        x[i] = 0
        y[i] = 0
      } else has[blockOf(cx, cy)] = 1
    }
}

/** Whether a cell is a mask's, or so near to one that it shows its border. */
function isAtMask(cells: Float32Array, cx: number, cy: number): boolean {
  for (let y = Math.max(0, cy - 2); y <= Math.min(HEIGHT - 1, cy + 2); y += 1)
    for (let x = Math.max(0, cx - 2); x <= Math.min(WIDTH - 1, cx + 2); x += 1)
      if (at(cells, y * WIDTH + x) === 0) return true
  return false
}

/**
 * Of the blocks that have edges in both, the part in which they are the same. Their directions are compared, or how strong
 * they are: infrared turns some of them round.
 */
function sameBlocks(a: Edges, b: Edges, dx: number, dy: number): number | undefined {
  let [compared, same] = [0, 0]
  for (let block = 0; block < BLOCKS; block += 1) {
    if (!a.has[block] || !b.has[block]) continue
    compared += 1
    if (isSameBlock(a, b, block, dx, dy)) same += 1
  }
  return compared < COMPARED_BLOCKS_MIN ? undefined : same / compared
}

function isSameBlock(a: Edges, b: Edges, block: number, dx: number, dy: number): boolean {
  const left = (block % COLUMNS) * BLOCK_WIDTH
  const top = Math.floor(block / COLUMNS) * BLOCK_HEIGHT
  let [n, ab, aa, bb, sumA, sumB, sumAB] = [0, 0, 0, 0, 0, 0, 0]
  for (
    let cy = Math.max(top, 1 - dy, 1);
    cy < Math.min(top + BLOCK_HEIGHT, HEIGHT - 1 - Math.max(0, dy));
    cy += 1
  )
    for (
      let cx = Math.max(left, 1 - dx, 1);
      cx < Math.min(left + BLOCK_WIDTH, WIDTH - 1 - Math.max(0, dx));
      cx += 1
    ) {
      const i = cy * WIDTH + cx
      const j = i + dy * WIDTH + dx
      const ax = at(a.x, i)
      const ay = at(a.y, i)
      const bx = at(b.x, j)
      const by = at(b.y, j)
      const a2 = ax * ax + ay * ay
      const b2 = bx * bx + by * by
      n += 1
      ab += ax * bx + ay * by
      aa += a2
      bb += b2
      const strongA = Math.sqrt(a2)
      const strongB = Math.sqrt(b2)
      sumA += strongA
      sumB += strongB
      sumAB += strongA * strongB
    }
  if (aa === 0 || bb === 0) return false
  if (ab / Math.sqrt(aa * bb) >= SAME_MIN) return true
  const [varianceA, varianceB] = [aa - sumA ** 2 / n, bb - sumB ** 2 / n]
  return (
    varianceA > 0 &&
    varianceB > 0 &&
    (sumAB - (sumA * sumB) / n) / Math.sqrt(varianceA * varianceB) >= SAME_MIN
  )
}

/** Grey means of the cells, of some of their pixels. Green stands for grey. */
function shrink({ data, width, height }: Size & { readonly data: Uint8Array }, cells: Float32Array): void {
  const columns = places(width, WIDTH)
  const rows = places(height, HEIGHT)
  const across = columns.length / WIDTH
  const down = rows.length / HEIGHT
  cells.fill(0)
  for (let row = 0; row < rows.length; row += 1) {
    const first = (rows[row] as number) * width
    const cell = Math.floor(row / down) * WIDTH
    for (let column = 0, x = 0; x < WIDTH; x += 1) {
      let sum = 0
      for (let n = 0; n < across; n += 1, column += 1)
        sum += data[(first + (columns[column] as number)) * 3 + 1] as number
      cells[cell + x] = at(cells, cell + x) + sum
    }
  }
  const samples = across * down
  for (let i = 0; i < CELLS; i += 1) cells[i] = at(cells, i) / samples
}

/** Of a side, the pixels that are read: for each of `cells` parts, as many. */
function places(pixels: number, cells: number): Int32Array {
  const samples = Math.max(1, Math.min(SAMPLES_MAX, Math.floor(pixels / cells)))
  const step = pixels / cells / samples
  return Int32Array.from({ length: cells * samples }, (_, i) => Math.floor(step * (i + 0.5)))
}
