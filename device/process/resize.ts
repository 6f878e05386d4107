import type { Rgb, Sides } from '../../models/tensor.ts'

/**
 * A picture in another size, by a triangle filter as wide as a pixel of the smaller size: "bilinear, antialiased" of what trains
 * networks. For crops and small inputs it takes a tenth to a half of sharp's CPU time (120x150 to 32x32: 0.2 ms, not 1.4), and
 * nothing is shifted, which libvips does by a third of a pixel where it enlarges.
 */
export function resized(picture: Rgb, { width, height }: Sides): Uint8Array {
  if (picture.width === width && picture.height === height) return picture.data
  const across = weightsOf(picture.width, width)
  const down = weightsOf(picture.height, height)
  const { data } = picture
  // First the rows become shorter, then the columns.
  const narrow = new Float32Array(picture.height * width * 3)
  for (let y = 0, to = 0; y < picture.height; y += 1) {
    const row = y * picture.width * 3
    for (let x = 0; x < width; x += 1, to += 3) {
      let [red, green, blue] = [0, 0, 0]
      const end = across.starts[x + 1] as number
      let from = row + (across.firsts[x] as number) * 3
      for (let at = across.starts[x] as number; at < end; at += 1, from += 3) {
        const weight = across.weights[at] as number
        red += weight * (data[from] as number)
        green += weight * (data[from + 1] as number)
        blue += weight * (data[from + 2] as number)
      }
      narrow[to] = red
      narrow[to + 1] = green
      narrow[to + 2] = blue
    }
  }
  const out = new Uint8Array(width * height * 3)
  const rowValues = width * 3
  const sums = new Float32Array(rowValues)
  for (let y = 0; y < height; y += 1) {
    sums.fill(0.5) // rounds
    const end = down.starts[y + 1] as number
    let from = (down.firsts[y] as number) * rowValues
    for (let at = down.starts[y] as number; at < end; at += 1) {
      const weight = down.weights[at] as number
      for (let x = 0; x < rowValues; x += 1, from += 1)
        sums[x] = (sums[x] as number) + weight * (narrow[from] as number)
    }
    for (let x = 0; x < rowValues; x += 1) out[y * rowValues + x] = Math.min(255, sums[x] as number)
  }
  return out
}

/** How much each source pixel has of each target pixel: `weights[starts[i]..]` from the source pixel `firsts[i]` on. */
function weightsOf(from: number, to: number) {
  const scale = from / to
  const reach = Math.max(1, scale)
  const starts = new Int32Array(to + 1)
  const firsts = new Int32Array(to)
  const weights: number[] = []
  for (let i = 0; i < to; i += 1) {
    const middle = (i + 0.5) * scale
    const first = Math.max(0, Math.ceil(middle - reach - 0.5))
    const last = Math.min(from - 1, Math.floor(middle + reach - 0.5))
    const own: number[] = []
    for (let pixel = first; pixel <= last; pixel += 1)
      own.push(Math.max(0, 1 - Math.abs(pixel + 0.5 - middle) / reach))
    const sum = own.reduce((a, b) => a + b, 0)
    firsts[i] = first
    starts[i] = weights.length
    for (const weight of own) weights.push(weight / sum)
  }
  starts[to] = weights.length
  return { starts, firsts, weights: Float32Array.from(weights) }
}
