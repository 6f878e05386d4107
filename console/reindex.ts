import type { ListedObject } from '../lib/buckets/bucket.ts'
import { cameras } from '../lib/buckets/cameras.ts'
import { CLIP, KINDS, type Kind } from '../wire/kinds.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import type { Stored } from '../wire/stored.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { Database } from './database/database.ts'
import { inTurns } from './in-turns.ts'
import { keptOf, type ReadBucket, storedOf } from './stored-of.ts'

/** Objects read at a time: S3 answers each in some 20 ms. */
const READS_MAX = 32
const BATCH = 500
const FAULTS_MAX = 100
const NAME = 'reindex'

export interface ReindexProgress {
  /** Objects with a key of ours, so far. */
  readonly looked: number
  readonly added: number
  /** That were in the database already. */
  readonly known: number
  /** Objects that cannot be read as what their key says, and why, the first of them. */
  readonly unreadable: number
  readonly faults: readonly { readonly key: string; readonly fault: string }[]
  /** How far it has come, in the order of keys. */
  readonly key: string
  readonly done: boolean
}

export interface ReindexOptions {
  /** In whose name what is found is put in: the subscriber that announces from this bucket. */
  readonly subscriber: string
  /** Goes on where one that was cut off had come to; default true. */
  readonly resume?: boolean
  readonly onProgress?: (progress: ReindexProgress) => void
}

/**
 * Fills the database from the bucket alone. What is there stays, so it may run at any time, also while announcements come,
 * and again. Errors: those of bucket and database; a run that was cut off is gone on with by the next.
 */
export async function reindex(
  database: Database,
  bucket: ReadBucket,
  { subscriber, resume = true, onProgress }: ReindexOptions,
  signal?: AbortSignal,
): Promise<ReindexProgress> {
  const before = resume ? await database.progress<ReindexProgress>(NAME) : undefined
  let progress: ReindexProgress =
    before && !before.done
      ? before
      : { looked: 0, added: 0, known: 0, unreadable: 0, faults: [], key: '', done: false }
  const from = progress.key

  const put = async (objects: readonly ListedObject[]) => {
    const { added, known, unreadable, faults } = await index(database, bucket, objects, subscriber, signal)
    progress = {
      looked: progress.looked + objects.length,
      added: progress.added + added,
      known: progress.known + known,
      unreadable: progress.unreadable + unreadable,
      faults: [...progress.faults, ...faults].slice(0, FAULTS_MAX),
      key: objects.at(-1)?.key ?? progress.key,
      done: false,
    }
    await database.saveProgress(NAME, progress)
    onProgress?.(progress)
  }

  let batch: ListedObject[] = []
  for (const kind of KINDS) {
    // Kinds before the one that it was at.
    if (kind !== CLIP && from.startsWith(CLIP.root)) continue
    for await (const camera of cameras(bucket as Parameters<typeof cameras>[0], signal, kind)) {
      // Whole cameras before the one that it was at; of that one, what comes behind.
      if (from.startsWith(kind.root) && camera < from && !from.startsWith(camera)) continue
      for await (const object of bucket.list(camera, signal)) {
        if (from.startsWith(camera) && object.key <= from) continue
        if (!parseObjectKey(object.key)) continue
        batch.push(object)
        if (batch.length < BATCH) continue
        await put(batch)
        batch = []
      }
      if (kind !== CLIP) continue
      const kept = await keptOf(bucket, cameraIn(camera, kind), signal)
      if (kept) await database.apply([kept], subscriber)
    }
  }
  if (batch.length > 0) await put(batch)
  progress = { ...progress, done: true }
  await database.saveProgress(NAME, progress)
  onProgress?.(progress)
  return progress
}

/** Of a prefix of `cameras`. */
export function cameraIn(prefix: string, { root }: Pick<Kind, 'root'>): CameraAddress {
  const [site = '', device = '', camera = ''] = prefix.slice(root.length).split('/')
  return { site, device, camera }
}

async function index(
  database: Database,
  bucket: ReadBucket,
  objects: readonly ListedObject[],
  subscriber: string,
  signal?: AbortSignal,
): Promise<{ added: number; known: number; unreadable: number; faults: { key: string; fault: string }[] }> {
  const ids = objects.map(({ key }) => parseObjectKey(key)?.id as string)
  const there = await database.which(ids)
  const stored: Stored[] = []
  const faults: { key: string; fault: string }[] = []
  await inTurns(
    objects.filter((_, n) => !there.has(ids[n] as string)),
    READS_MAX,
    async (object) => {
      const reading = await storedOf(bucket, object, signal)
      if (!reading) return // removed meanwhile
      if ('stored' in reading) stored.push(reading.stored)
      else faults.push({ key: object.key, fault: reading.fault })
    },
  )
  const { added, addedClips } = await database.apply(stored, subscriber)
  return { added: added.length + addedClips.length, known: there.size, unreadable: faults.length, faults }
}
