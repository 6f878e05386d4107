import type { ListedObject } from '../lib/buckets/bucket.ts'
import { cameras } from '../lib/buckets/cameras.ts'
import { failure } from '../lib/errors.ts'
import { type AnyKind, CLIP, CROP, KINDS } from '../wire/kinds.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import type { Announcement, Stored } from '../wire/stored.ts'
import type { Database, IndexedObject } from './database/database.ts'
import { EVERYTHING } from './database/scope.ts'
import { inTurns } from './in-turns.ts'
import { cameraIn } from './reindex.ts'
import { hourOfKey, keptOf, type ReadBucket, storedOf } from './stored-of.ts'

const DAY_MS = 24 * 3_600_000
/** Days of a camera that are listed at a time. */
const DAYS_MAX = 8
const READS_MAX = 16
const EXAMPLES_MAX = 20
const NAME = 'reconcile'
/** What was stored or removed so lately may still be announced. */
export const LATE_MS_MAX = 10 * 60_000

export interface Reconciliation {
  /** Seen in the bucket, and in the database. */
  readonly objects: number
  readonly rows: number
  /** In the bucket, and not in the database. */
  readonly missingInDatabase: number
  /** In the database, and not in the bucket. */
  readonly missingInBucket: number
  /** In both, of another size. */
  readonly different: number
  /** A second object of one id, under another key: it is listed once. */
  readonly twice: number
  /** Objects that cannot be read as what their key says. */
  readonly unreadable: number
  /** How many of what is missing or different were mended. */
  readonly mended: number
  /** Some keys, each with what is the matter with it. */
  readonly examples: readonly { readonly key: string; readonly what: string }[]
  readonly cameras: number
  readonly done: boolean
}

export interface ReconcileOptions {
  /** Mends what differs: the bucket is right. */
  readonly fix: boolean
  /** In whose name what is found is put in. */
  readonly subscriber: string
  /** Default LATE_MS_MAX. */
  readonly lateMsMax?: number
  readonly onProgress?: (progress: Reconciliation) => void
}

/**
 * Compares the database with the bucket, camera by camera, day by day. May run while announcements come. A bucket with
 * nothing in it empties no database: that is more likely a wrong folder. Errors: those of bucket and database, and BUCKET_REFUSED
 * for that.
 */
export async function reconcile(
  database: Database,
  bucket: ReadBucket,
  { fix, subscriber, lateMsMax = LATE_MS_MAX, onProgress }: ReconcileOptions,
  signal?: AbortSignal,
): Promise<Reconciliation> {
  const counted = {
    objects: 0,
    rows: 0,
    missingInDatabase: 0,
    missingInBucket: 0,
    different: 0,
    twice: 0,
    unreadable: 0,
    mended: 0,
  }
  const examples: { key: string; what: string }[] = []
  const looked = new Set<string>()
  const progress = (done: boolean): Reconciliation => ({
    ...counted,
    examples: [...examples],
    cameras: looked.size,
    done,
  })
  const note = (
    what: Exclude<keyof typeof counted, 'objects' | 'rows' | 'mended'>,
    key: string,
    why: string,
  ) => {
    counted[what] += 1
    if (examples.length < EXAMPLES_MAX) examples.push({ key, what: why })
  }

  const inBucket = new Map<AnyKind, ReadonlySet<string>>()
  for (const kind of KINDS) {
    const found = cameras(bucket as Parameters<typeof cameras>[0], signal, kind)
    inBucket.set(kind, new Set(await Array.fromAsync(found)))
  }
  const inDatabase = (await database.cameras(EVERYTHING)).map(
    ({ site, device, camera }) => `${site}/${device}/${camera}/`,
  )
  const emptied = [...inBucket.values()].every(({ size }) => size === 0)

  /** @param prefix of the camera's objects of that kind */
  const compareDay = async (kind: AnyKind, prefix: string, day: number) => {
    signal?.throwIfAborted()
    const nowMs = Date.now()
    // Of clips, each one that goes is announced.
    const horizonMs = kind === CROP ? await database.horizon(subscriber) : 0
    const lately = nowMs - lateMsMax
    // The bucket first: what is announced between the two is in the database only, and too new to be missed.
    const objects = new Map<string, ListedObject>()
    for await (const object of bucket.list(`${prefix}${dayPath(day)}/`, signal)) {
      const parsed = parseObjectKey(object.key)
      if (parsed) objects.set(parsed.id, object)
    }
    const rows = new Map<string, IndexedObject>()
    const path = prefix.slice(kind.root.length, -1)
    for await (const row of database.objects(path, day * DAY_MS, (day + 1) * DAY_MS, kind))
      rows.set(row.id, row)
    counted.objects += objects.size
    counted.rows += rows.size

    const toRead: ListedObject[] = []
    const strange = [...objects].filter(([id, { key, bytes }]) => {
      const row = rows.get(id)
      return row?.key !== key || row.bytes !== bytes
    })
    const elsewhere = await database.which(strange.map(([id]) => id))
    for (const [id, object] of strange) {
      const row = rows.get(id)
      if (object.modifiedAtMs > lately || hourOfKey(object.key) < horizonMs) continue
      if (row?.key === object.key) note('different', object.key, 'of another size than the database says')
      else if (row || elsewhere.has(id)) {
        note('twice', object.key, 'a second object of an id that the database has under another key')
        continue
      } else note('missingInDatabase', object.key, 'not in the database')
      toRead.push(object)
    }
    const gone: IndexedObject[] = []
    await inTurns(
      [...rows.values()].filter(({ id, key }) => objects.get(id)?.key !== key),
      READS_MAX,
      async (row) => {
        if (row.storedAtMs > lately || row.atMs < horizonMs) return
        if (await bucket.read(row.key, signal)) return
        note('missingInBucket', row.key, 'not in the bucket')
        gone.push(row)
      },
    )
    const stored: Stored[] = []
    await inTurns(fix ? toRead : [], READS_MAX, async (object) => {
      const reading = await storedOf(bucket, object, signal)
      if (!reading) return // removed meanwhile
      if ('stored' in reading) stored.push(reading.stored)
      else note('unreadable', object.key, reading.fault)
    })
    if (!fix) return
    if (gone.length > 0 && emptied)
      throw failure(
        'BUCKET_REFUSED',
        `The ${bucket.description} is empty, but the database has detections or recordings. Nothing was changed. Check "bucket".`,
      )
    const different = stored.filter(({ id }) => rows.has(id))
    const removals = [...gone, ...different].map(
      ({ id, key }): Announcement => ({ v: 1, is: 'removed', id, key, why: 'expired' }),
    )
    const { removed, removedClips } = await database.apply(removals, subscriber)
    // What was said to be removed, long enough ago, and is there all the same.
    const { added, addedClips } = await database.restore(stored, subscriber)
    counted.mended +=
      added.length + addedClips.length + removed.length + removedClips.length - different.length
  }

  for (const kind of KINDS) {
    const there = inBucket.get(kind) ?? new Set()
    const known = inDatabase.map((camera) => `${kind.root}${camera}`)
    for (const prefix of [...new Set([...there, ...known])].sort()) {
      const camera = cameraIn(prefix, kind)
      const days = new Set(await database.days(prefix.slice(kind.root.length, -1), kind))
      if (there.has(prefix)) for await (const day of daysOf(bucket, prefix, signal)) days.add(day)
      await inTurns(
        [...days].sort((a, b) => a - b),
        DAYS_MAX,
        (day) => compareDay(kind, prefix, day),
      )
      const kept = kind === CLIP && fix ? await keptOf(bucket, camera, signal) : undefined
      if (kept) await database.apply([kept], subscriber)
      looked.add(prefix.slice(kind.root.length))
      onProgress?.(progress(false))
    }
  }
  const result = progress(true)
  await database.saveProgress(NAME, result)
  return result
}

const dayPath = (day: number) => new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll('-', '/')

/** Days since 1970 that a camera has a folder of. */
async function* daysOf(bucket: ReadBucket, camera: string, signal?: AbortSignal): AsyncGenerator<number> {
  for await (const year of bucket.folders(camera, signal)) {
    if (!/^\d{4}$/.test(year)) continue
    for await (const month of bucket.folders(`${camera}${year}/`, signal)) {
      if (!/^\d\d$/.test(month)) continue
      for await (const day of bucket.folders(`${camera}${year}/${month}/`, signal)) {
        const atMs = Date.UTC(Number(year), Number(month) - 1, Number(day))
        // Not the 31st of February: the folder of a day is found again by its number.
        if (/^\d\d$/.test(day) && dayPath(atMs / DAY_MS) === `${year}/${month}/${day}`) yield atMs / DAY_MS
      }
    }
  }
}
