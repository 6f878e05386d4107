import type { Bucket } from '../../lib/buckets/bucket.ts'
import { readClip } from '../../wire/clip.ts'
import type { Selection } from '../../wire/forget.ts'
import { CLIP } from '../../wire/kinds.ts'
import { CHUNK_MS_MAX, type Chunk, chunkOf, HOUR_MS, hourPath, isKept, MINTED_LATE_MS_MAX } from './chunks.ts'

/**
 * The chunks in a bucket that have any part in a stretch, exactly: a key says when its chunk began, to a minute or so. Only
 * those at the edges are read, for what their metadata says.
 * @returns keys. Errors: those of the bucket
 */
export async function* chunksTouching(
  bucket: Pick<Bucket, 'list' | 'folders' | 'read'>,
  stretch: Extract<Selection, { kind: 'stretch' }>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const { site, device, camera, fromMs, toMs } = stretch
  const prefix = `${CLIP.root}${site}/${device}/${camera}/`
  const marks = [{ fromMs, toMs, by: '', atMs: 0 }]
  for await (const hourMs of hoursBetween(bucket, prefix, fromMs, toMs, signal))
    for await (const object of bucket.list(prefix + hourPath(hourMs), signal)) {
      const chunk = chunkOf(object)
      if (!chunk || !isKept(chunk, marks)) continue
      if (isInside(chunk, stretch)) yield chunk.key
      else if (chunk.atMs !== chunk.mintedMs) {
        // Its device's clock was wrong: it stands where it came, and that was before it was stored.
        const cameMs = Math.min(Math.max(object.modifiedAtMs, hourMs), hourMs + HOUR_MS - 1)
        if (cameMs >= fromMs && cameMs < toMs) yield chunk.key
      } else {
        const payload = await bucket.read(chunk.key, signal)
        const reading = payload && readClip(Buffer.from(payload))
        if (!reading) continue // gone meanwhile
        // One that cannot be read goes by its key: rather one too many.
        if ('fault' in reading || (reading.clip.capturedAtMs < toMs && reading.clip.endMs > fromMs))
          yield chunk.key
      }
    }
}

/** Whatever its length, and however late its id was minted. */
const isInside = (
  { atMs, mintedMs }: Chunk,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
) => atMs === mintedMs && mintedMs < toMs && mintedMs - MINTED_LATE_MS_MAX >= fromMs

/** Hours that there may be chunks in, by day: a stretch of years costs no more than the days that have something. */
async function* hoursBetween(
  bucket: Pick<Bucket, 'folders'>,
  prefix: string,
  fromMs: number,
  toMs: number,
  signal: AbortSignal,
): AsyncGenerator<number> {
  const firstMs = fromMs - CHUNK_MS_MAX - MINTED_LATE_MS_MAX
  for await (const year of digits(bucket, prefix, signal))
    for await (const month of digits(bucket, `${prefix}${year}/`, signal))
      for await (const day of digits(bucket, `${prefix}${year}/${month}/`, signal)) {
        const dayMs = Date.parse(`${year}-${month}-${day}T00:00:00Z`)
        for (let hourMs = dayMs; hourMs < dayMs + 24 * HOUR_MS; hourMs += HOUR_MS)
          if (hourMs < toMs && hourMs + HOUR_MS > firstMs) yield hourMs
      }
}

async function* digits(
  bucket: Pick<Bucket, 'folders'>,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  for await (const name of bucket.folders(prefix, signal)) if (/^\d{2}(\d{2})?$/.test(name)) yield name
}
