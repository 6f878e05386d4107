import type { ListedObject } from '../../lib/buckets/bucket.ts'
import { mintedAtMs } from '../../wire/id.ts'
import type { Stretch } from '../../wire/keep.ts'
import { parseObjectKey } from '../../wire/object-key.ts'

/** What a chunk's key says of its time. The bucket is asked for keys only: its files may be a million. Pure. */

export interface Chunk {
  readonly key: string
  readonly bytes: number
  /** Of its key. */
  readonly hourMs: number
  /** When it began; or, where its id does not fit its hour (the device's clock was wrong), when that hour ended. */
  readonly atMs: number
  /** When its id says that it began. */
  readonly mintedMs: number
}

export const HOUR_MS = 3_600_000
/** An id is minted when its chunk is begun: later than its first frame was captured, where that waited for a face to be seen. */
export const MINTED_LATE_MS_MAX = 60_000
/** No chunk is longer; a key does not say how long it is. */
export const CHUNK_MS_MAX = 120_000

/** Undefined for what is no chunk. */
export function chunkOf({ key, bytes }: Pick<ListedObject, 'key' | 'bytes'>): Chunk | undefined {
  const said = parseObjectKey(key)
  if (said?.kind.name !== 'clip') return undefined
  const hourMs = hourOf(said.day, key.split('/').at(-2) ?? '')
  if (hourMs === undefined) return undefined
  const mintedMs = mintedAtMs(said.id)
  const fits = mintedMs >= hourMs && mintedMs < hourMs + HOUR_MS + MINTED_LATE_MS_MAX
  return { key, bytes, hourMs, mintedMs, atMs: fits ? mintedMs : hourMs + HOUR_MS }
}

/** @param day `2026-11-28` @param hour `10` */
export function hourOf(day: string, hour: string): number | undefined {
  const ms = Date.parse(`${day}T${hour}:00:00Z`)
  return Number.isNaN(ms) ? undefined : ms
}

/** `2026/11/28/10/` */
export const hourPath = (hourMs: number) =>
  `${new Date(hourMs).toISOString().slice(0, 13).replace(/[-T]/g, '/')}/`

/** Whether any part of a chunk may be in a stretch: rather one too many than one too few. */
export function isKept({ hourMs, atMs, mintedMs }: Chunk, stretches: readonly Stretch[]): boolean {
  return stretches.some(
    (it) =>
      (mintedMs - MINTED_LATE_MS_MAX < it.toMs && mintedMs + CHUNK_MS_MAX > it.fromMs) ||
      (atMs !== mintedMs && touchesHour(hourMs, it)),
  )
}

/** Whether a chunk of an hour may be in a stretch. */
export const touchesHour = (hourMs: number, { fromMs, toMs }: Pick<Stretch, 'fromMs' | 'toMs'>) =>
  hourMs - MINTED_LATE_MS_MAX < toMs && hourMs + HOUR_MS + MINTED_LATE_MS_MAX + CHUNK_MS_MAX > fromMs
