import type { Head } from './head.ts'

/** The order of the colour planes, the first plane first; the picture's bytes are red, green, blue. */
type Planes = 'rgb' | 'bgr'

/**
 * Interleaved bytes to planes of floats (NCHW): first planes of bytes, four pixels (three words) at a time, then the
 * platform's own byte-to-float copy. Half the time of the plain loop (320x320: 0.24 ms against 0.52 ms).
 * `normalise`: the value of a byte in the tensor, where it is not the byte itself.
 */
export function planarFill(
  planes: Planes,
  normalise?: { readonly scale: number; readonly offset: number },
): Head['fill'] {
  let scratch = new Uint32Array(0)
  return (tensor, { data, width, height }, size) => {
    const pixels = width * height
    const groups = pixels >> 2
    const words = (pixels + 3) >> 2
    if (scratch.length !== 3 * words) scratch = new Uint32Array(3 * words)
    const red = scratch.subarray(0, words)
    const green = scratch.subarray(words, 2 * words)
    const blue = scratch.subarray(2 * words)
    // A view of words must start at a multiple of four.
    const aligned = data.byteOffset % 4 === 0 ? data : data.slice()
    const source = new Uint32Array(aligned.buffer, aligned.byteOffset, groups * 3)
    for (let to = 0, from = 0; to < groups; to += 1, from += 3) {
      // Little-endian: a = R0 G0 B0 R1, b = G1 B1 R2 G2, c = B2 R3 G3 B3, lowest byte first.
      const a = source[from] as number
      const b = source[from + 1] as number
      const c = source[from + 2] as number
      red[to] = (a & 0xff) | ((a >>> 16) & 0xff00) | (b & 0xff0000) | ((c << 16) & 0xff000000)
      green[to] = ((a >>> 8) & 0xff) | ((b << 8) & 0xff00) | ((b >>> 8) & 0xff0000) | ((c << 8) & 0xff000000)
      blue[to] = ((a >>> 16) & 0xff) | (b & 0xff00) | ((c << 16) & 0xff0000) | (c & 0xff000000)
    }
    for (const [plane, channel] of (planes === 'rgb' ? [0, 1, 2] : [2, 1, 0]).entries()) {
      const colour = [red, green, blue][channel] as Uint32Array<ArrayBuffer>
      const bytes = new Uint8Array(colour.buffer, colour.byteOffset, pixels)
      for (let pixel = groups * 4; pixel < pixels; pixel += 1)
        bytes[pixel] = data[pixel * 3 + channel] as number
      const start = plane * size.width * size.height
      if (width === size.width) tensor.set(bytes, start)
      else
        for (let row = 0; row < height; row += 1)
          tensor.set(bytes.subarray(row * width, (row + 1) * width), start + row * size.width)
      if (normalise === undefined) continue
      for (let row = 0; row < height; row += 1) {
        const from = start + row * size.width
        for (let at = from; at < from + width; at += 1)
          tensor[at] = (tensor[at] as number) * normalise.scale + normalise.offset
      }
    }
  }
}
