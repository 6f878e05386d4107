import sharp from 'sharp'

/**
 * The time as a picture, black and white squares, so that it survives a codec: whoever sees it knows how old it is. For
 * benchmarks of latency, on one machine with one clock.
 */

/** The time stands in so many squares, ms modulo 2^24, so many pixels wide. */
export const BITS = 24
export const SQUARE = 26
export const [WIDTH, HEIGHT] = [640, 480] as const
const AGE_MS_MAX = 60_000

/** Reads the preview's MJPEG until told to stop, and adds the age of each picture, ms. */
export async function watchClock(url: string, ages: number[], signal: AbortSignal): Promise<void> {
  try {
    const response = await fetch(url, { signal })
    let rest = Buffer.alloc(0)
    for await (const chunk of response.body ?? []) {
      rest = Buffer.concat([rest, chunk])
      for (;;) {
        const start = rest.indexOf('\r\n\r\n')
        const bytes = Number(
          /content-length: (\d+)/.exec(rest.toString('latin1', 0, Math.max(0, start)))?.[1] ?? Number.NaN,
        )
        if (start < 0 || Number.isNaN(bytes) || rest.length < start + 4 + bytes) break
        const atMs = Date.now()
        const age = await ageOf(rest.subarray(start + 4, start + 4 + bytes), atMs)
        rest = rest.subarray(start + 4 + bytes)
        if (age !== undefined) ages.push(age)
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Undefined where a square is neither black nor white, in a picture that was just between two. */
async function ageOf(jpeg: Buffer, atMs: number): Promise<number | undefined> {
  const { data, info } = await sharp(jpeg).greyscale().raw().toBuffer({ resolveWithObject: true })
  const scale = info.width / WIDTH
  let time = 0
  for (let bit = 0; bit < BITS; bit += 1) {
    const level =
      data[Math.round(SQUARE * scale) * info.width + Math.round((bit + 0.5) * SQUARE * scale)] ?? 128
    if (level > 90 && level < 165) return undefined
    if (level > 128) time += 2 ** bit
  }
  const age = (atMs - time + 2 ** BITS) % 2 ** BITS
  return age > AGE_MS_MAX ? undefined : age
}
