import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { RecordingChunk } from '../console/api/recordings.ts'
import type { CameraTimeline } from '../console/api/timeline.ts'
import { storedKeys } from '../test/kit/bucket-folder.ts'
import { type Program, RUN_TOKEN } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { type ClipMetadata, readClip } from '../wire/clip.ts'
import { parseObjectKey } from '../wire/object-key.ts'

/** What is recorded, as the bucket has it and as the console tells it, and what of the two is not as it must be. */

/** A gap that begins so much later than the chunk before it ended says that chunks are missing too, ms: as the console sees it. */
const MISSING_MS_MIN = 1000
/** Before the first chunk and behind the last, ms. */
const BESIDE_MS = 5000
const DATABASE_MS_MAX = 60_000

export interface Recorded {
  readonly key: string
  readonly clip: ClipMetadata
  readonly bytes: number
  readonly sha256: string
}

/** The chunks of a folder bucket, in order of time, and what cannot be read. */
export function recordedIn(bucket: string): { readonly chunks: Recorded[]; readonly faults: string[] } {
  const chunks: Recorded[] = []
  const faults: string[] = []
  for (const key of storedKeys(bucket, 'mp4')) {
    if (parseObjectKey(key)?.kind.name !== 'clip') continue
    const file = readFileSync(join(bucket, key))
    const reading = readClip(file)
    if ('fault' in reading) faults.push(`${key} is not whole: ${reading.fault}, ${reading.detail}`)
    else {
      const { clip } = reading
      if (basename(key, '.mp4') !== clip.id) faults.push(`${key} has the id ${clip.id}`)
      chunks.push({ key, clip, bytes: file.length, sha256: createHash('sha256').update(file).digest('hex') })
    }
  }
  chunks.sort((a, b) => a.clip.capturedAtMs - b.clip.capturedAtMs || a.clip.sequence - b.clip.sequence)
  return { chunks, faults }
}

export const camerasOf = (chunks: readonly Recorded[]): Map<string, Recorded[]> =>
  Map.groupBy(chunks, ({ clip: { site, device, camera } }) => `${site}/${device}/${camera}`)

/** Chunks that were made and are not there, by the numbers of those that are; the last ones of a run cannot be told. */
export function missingIn(chunks: readonly Recorded[]): number {
  let missing = 0
  for (const run of Map.groupBy(chunks, ({ clip }) => clip.run).values())
    missing += Math.max(...run.map(({ clip }) => clip.sequence)) + 1 - run.length
  return missing
}

/** Each once, none over another, without a hole that nobody states, and each is what its device has signed. */
export function chunkFaults(chunks: readonly Recorded[]): string[] {
  const faults: string[] = []
  const ids = new Map<string, string>()
  for (const { key, clip } of chunks) {
    if (ids.has(clip.id)) faults.push(`${clip.id} is stored twice: ${ids.get(clip.id)}, ${key}`)
    ids.set(clip.id, key)
  }
  for (const [camera, of] of camerasOf(chunks)) {
    for (const [at, { clip, key }] of of.entries()) {
      const before = of[at - 1]
      if (!before) continue
      const { endMs } = before.clip
      if (clip.capturedAtMs < endMs) faults.push(`${key} begins ${endMs - clip.capturedAtMs} ms too early`)
      if (clip.sequence === 0 && !clip.gap) faults.push(`${camera}: ${key} begins a run and states no gap`)
      if (!follows(clip, before.clip)) continue
      if (clip.capturedAtMs !== endMs)
        faults.push(`${camera}: ${clip.capturedAtMs - endMs} ms before ${key} are stated nowhere`)
      if (clip.previous !== before.sha256)
        faults.push(`${before.key} is not what the device has signed, says ${key}`)
    }
  }
  return faults
}

const follows = (clip: ClipMetadata, before: ClipMetadata) =>
  !clip.gap && clip.run === before.run && clip.sequence === before.sequence + 1

type Gap = Pick<CameraTimeline['gaps'][number], 'fromMs' | 'toMs' | 'why'>

/** The gaps of one camera, as its chunks state them. */
export function gapsIn(chunks: readonly Recorded[]): Gap[] {
  const gaps: Gap[] = []
  for (const [at, { clip }] of chunks.entries()) {
    const before = chunks[at - 1]?.clip
    if (!before || follows(clip, before) || clip.capturedAtMs <= before.endMs) continue
    const [fromMs, toMs] = [before.endMs, clip.capturedAtMs]
    const since = clip.gap?.fromMs ?? null
    const why = clip.gap?.why ?? 'missing'
    if (since === null || since <= fromMs + MISSING_MS_MIN) gaps.push({ fromMs, toMs, why })
    else gaps.push({ fromMs, toMs: since, why: 'missing' }, { fromMs: since, toMs, why })
  }
  return gaps
}

/** Where the console's database is not the bucket, and its timeline not what the chunks say. */
export async function consoleFaults(console: Program, chunks: readonly Recorded[]): Promise<string[]> {
  const faults: string[] = []
  for (const [camera, of] of camerasOf(chunks)) {
    const [first, last] = [of[0], of.at(-1)]
    if (!first || !last) continue
    const span = { fromMs: first.clip.capturedAtMs - BESIDE_MS, toMs: last.clip.endMs + BESIDE_MS }
    let told: CameraTimeline | undefined
    await until(
      'the database has all',
      async () => {
        told = await timelineOf(console, camera, span).catch(() => undefined)
        return (told?.chunks?.length ?? 0) >= of.length
      },
      DATABASE_MS_MAX,
    ).catch(() => {})
    if (!told?.chunks) {
      faults.push(`the console tells nothing of ${camera}`)
      continue
    }
    faults.push(...rowFaults(told.chunks, of))
    const expected: Gap[] = [
      { fromMs: span.fromMs, toMs: first.clip.capturedAtMs, why: first.clip.gap?.why ?? 'missing' },
      ...gapsIn(of),
    ]
    const seen = told.gaps.slice(0, -1)
    if (JSON.stringify(seen.map(lined)) !== JSON.stringify(expected.map(lined)))
      faults.push(
        `the timeline of ${camera} shows the gaps ${JSON.stringify(seen)}, and its chunks state ${JSON.stringify(expected)}`,
      )
    const end = told.gaps.at(-1)
    if (end?.fromMs !== last.clip.endMs || end.toMs !== span.toMs || end.why !== null)
      faults.push(`the timeline of ${camera} ends with ${JSON.stringify(end)}`)
  }
  return faults
}

const lined = ({ fromMs, toMs, why }: Gap) => [fromMs, toMs, why]

function rowFaults(rows: readonly RecordingChunk[], chunks: readonly Recorded[]): string[] {
  const faults: string[] = []
  const byId = new Map(rows.map((row) => [row.id, row]))
  if (byId.size !== rows.length) faults.push(`${rows.length - byId.size} chunks are in the database twice`)
  for (const { key, clip, bytes, sha256 } of chunks) {
    const row = byId.get(clip.id)
    byId.delete(clip.id)
    if (!row) faults.push(`${key} is in the bucket and not in the database`)
    else if (row.isLost || row.bytes !== bytes || row.sha256 !== sha256)
      faults.push(`the row of ${key} is not that of its object`)
    else if (
      row.run !== clip.run ||
      row.sequence !== clip.sequence ||
      row.atMs !== clip.capturedAtMs ||
      row.endMs !== clip.endMs
    )
      faults.push(`the row of ${key} has not what the chunk says`)
  }
  for (const id of byId.keys()) faults.push(`${id} is in the database and not in the bucket`)
  return faults
}

async function timelineOf(
  console: Program,
  camera: string,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
): Promise<CameraTimeline | undefined> {
  const query = new URLSearchParams({ camera, from: String(fromMs), to: String(toMs) })
  const answer = await fetch(`${console.http}/api/v1/timeline?${query}`, {
    headers: { authorization: `Bearer ${RUN_TOKEN}` },
  })
  if (!answer.ok) throw new Error(`timeline: ${answer.status}`)
  return ((await answer.json()) as { cameras: CameraTimeline[] }).cameras[0]
}
