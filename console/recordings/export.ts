import type { Bucket } from '../../lib/buckets/bucket.ts'
import { failure } from '../../lib/errors.ts'
import { type Clip, follows } from '../database/clip.ts'
import { Splice } from './mp4.ts'

/** A stretch of a recording as one MP4: what of it can be, and its bytes. */

/** Beginnings that are looked at before; a camera that changes its picture more often is broken. */
const RUNS_MAX = 500

/** What is one file: its chunks begin alike. */
export interface Part {
  readonly clips: readonly Clip[]
  readonly fromMs: number
  readonly toMs: number
  readonly bytes: number
}

export interface Gap {
  readonly fromMs: number
  readonly toMs: number
  readonly why: string
}

export interface Plan {
  readonly parts: readonly Part[]
  readonly gaps: readonly Gap[]
  /** Chunks that were announced and that the bucket does not have. */
  readonly lost: readonly Clip[]
}

type ReadBucket = Pick<Bucket, 'read' | 'list'>

/**
 * @param clips of one camera, oldest first, the first one independent
 * Errors: those of the bucket; RECORDING_TOO_LONG
 */
export async function planOf(bucket: ReadBucket, clips: readonly Clip[], signal: AbortSignal): Promise<Plan> {
  const there = await keysOf(bucket, clips, signal)
  const lost = clips.filter(({ key }) => !there.has(key))
  const found = clips.filter(({ key }) => there.has(key))
  const inits = new Map<string, string>()
  for (const clip of found) {
    if (inits.has(clip.run)) continue
    if (inits.size >= RUNS_MAX)
      throw failure(
        'RECORDING_TOO_LONG',
        `The stretch was recorded in more than ${RUNS_MAX} pieces. Choose a shorter one.`,
      )
    const bytes = await bucket.read(clip.key, signal)
    if (!bytes) continue // gone meanwhile: the next of its run will do
    inits.set(clip.run, Buffer.from(bytes).subarray(0, clip.initBytes).toString('base64'))
  }
  const parts: Part[] = []
  const gaps: Gap[] = []
  let open: Clip[] = []
  const close = () => {
    const [first] = open
    const last = open.at(-1)
    if (first && last)
      parts.push({
        clips: open,
        fromMs: first.atMs,
        toMs: last.endMs,
        bytes: open.reduce((sum, { bytes }) => sum + bytes, 0),
      })
    open = []
  }
  let before: Clip | undefined
  for (const clip of found) {
    const goesOn = before !== undefined && follows(before, clip)
    // What needs the chunk before does not play without it.
    if (!clip.independent && !goesOn) continue
    if (before && !goesOn)
      gaps.push({ fromMs: before.endMs, toMs: clip.atMs, why: clip.gap?.why ?? 'missing' })
    if (before && inits.get(before.run) !== inits.get(clip.run)) close()
    open.push(clip)
    before = clip
  }
  close()
  return { parts: parts.map((part, n) => apart(part, parts[n - 1], parts[n + 1])), gaps, lost }
}

/** Times are rounded: so that what is asked for by the times of a part is that part, and no chunk of another. */
const apart = (part: Part, before: Part | undefined, after: Part | undefined): Part => ({
  ...part,
  fromMs: Math.max(part.fromMs, before?.toMs ?? 0),
  toMs: Math.min(part.toMs, after?.fromMs ?? part.toMs),
})

/** What of these the bucket has: by listing their hours, not by asking for each. */
async function keysOf(
  bucket: ReadBucket,
  clips: readonly Clip[],
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const folders = new Set(clips.map(({ key }) => key.slice(0, key.lastIndexOf('/') + 1)))
  const keys = new Set<string>()
  for (const folder of folders) for await (const { key } of bucket.list(folder, signal)) keys.add(key)
  return keys
}

/** The file of a part, chunk by chunk: one is in memory, no more. Errors: those of the bucket; RECORDING_UNREADABLE */
export async function* fileOf(
  bucket: Pick<Bucket, 'read'>,
  { clips }: Part,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let splice: Splice | undefined
  let before: Clip | undefined
  for (const clip of clips) {
    signal.throwIfAborted()
    const bytes = await bucket.read(clip.key, signal)
    // It was there a moment ago. Who has half of a file must not take it for the whole.
    if (!bytes) throw failure('RECORDING_UNREADABLE', 'A chunk was deleted while the stretch was exported.')
    const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (!splice) {
      splice = new Splice(file.subarray(0, clip.initBytes))
      yield splice.init
    }
    const goesOn = before?.run === clip.run && follows(before, clip)
    for (const part of splice.add(file, goesOn)) yield part
    before = clip
  }
}

/** As `fileOf`, once its beginning is there: what is wrong with the first chunk is thrown, and not found half-way. */
export async function begunFileOf(
  bucket: Pick<Bucket, 'read'>,
  part: Part,
  signal: AbortSignal,
): Promise<AsyncIterable<Buffer>> {
  const file = fileOf(bucket, part, signal)
  const first = [await file.next(), await file.next()]
  return (async function* () {
    for (const { value, done } of first) if (!done) yield value
    yield* file
  })()
}
