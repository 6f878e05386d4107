import type { Area, Plugin } from 'sightline/plugin'

/**
 * Viewers see faces blurred: in the live picture, in the preview and in snapshots. Crops and recordings stay as they are.
 *
 * Blurring alone can be undone in part; so the area is first made of coarse squares (`squares` across), which keep nothing of who
 * it is, and their edges are smoothed then.
 *
 *     process:
 *       - { name: face-blur, module: plugins/face-blur.ts, settings: { squares: 5 } }
 */

export default {
  version: '1',
  open({ settings }) {
    const { squares = 5 } = settings
    if (typeof squares !== 'number' || !Number.isInteger(squares) || squares < 1 || squares > 8)
      throw new Error('settings.squares must be a whole number from 1 to 8')
    return {
      picture({ rgb, width, areas }) {
        for (const area of areas) blur(rgb, width, area, squares)
        return rgb
      },
    }
  },
} satisfies Plugin

/** In place. The colour of each pixel is that of the coarse squares around it, as near as their middles are. */
function blur(rgb: Uint8Array, stride: number, area: Area, squares: number): void {
  const { left, top, width, height } = area
  const [wide, high] = [Math.min(squares, width), Math.min(squares, height)]
  const means = meansOf(rgb, stride, area, wide, high)
  const mean = (column: number, row: number, channel: number) =>
    means[(row * wide + column) * 3 + channel] ?? 0
  for (let y = 0; y < height; y += 1) {
    const [row, below, down] = between((y + 0.5) / height, high)
    for (let x = 0; x < width; x += 1) {
      const [column, right, across] = between((x + 0.5) / width, wide)
      const at = ((top + y) * stride + left + x) * 3
      for (let channel = 0; channel < 3; channel += 1) {
        const upper = mean(column, row, channel) * (1 - across) + mean(right, row, channel) * across
        const lower = mean(column, below, channel) * (1 - across) + mean(right, below, channel) * across
        rgb[at + channel] = upper * (1 - down) + lower * down
      }
    }
  }
}

/** The mean colour of each square. */
function meansOf(rgb: Uint8Array, stride: number, area: Area, wide: number, high: number): Float64Array {
  const { left, top, width, height } = area
  const sums = new Float64Array(wide * high * 3)
  const counts = new Float64Array(wide * high)
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < width; x += 1) {
      const square = Math.floor((y * high) / height) * wide + Math.floor((x * wide) / width)
      const at = ((top + y) * stride + left + x) * 3
      counts[square] = (counts[square] ?? 0) + 1
      for (let channel = 0; channel < 3; channel += 1)
        sums[square * 3 + channel] = (sums[square * 3 + channel] ?? 0) + (rgb[at + channel] ?? 0)
    }
  return sums.map((sum, at) => sum / (counts[Math.floor(at / 3)] ?? 1))
}

/** The two squares whose middles a place (0 to 1) lies between, and how far it is from the first, 0 to 1. */
function between(place: number, squares: number): readonly [number, number, number] {
  const at = Math.min(squares - 1, Math.max(0, place * squares - 0.5))
  const first = Math.floor(at)
  return [first, Math.min(squares - 1, first + 1), at - first]
}
