import { rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Database } from '../../console/database/database.ts'
import type { Detection } from '../../console/database/detection.ts'
import { EVERYTHING } from '../../console/database/scope.ts'
import { reconcile } from '../../console/reconcile.ts'
import { reindex } from '../../console/reindex.ts'
import { storedOf } from '../../console/stored-of.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { newId } from '../../wire/id.ts'
import { objectKey } from '../../wire/object-key.ts'
import type { StoredCrop } from '../../wire/stored.ts'
import { makeRemoved, makeStored } from '../kit/announcements.ts'
import { makeCrop } from '../kit/crops.ts'

const HOUR_MS = 3_600_000
const NOW = Date.now()
const SUBSCRIBER = 'north'

async function scene(t: Test) {
  const folder = t.testdir()
  const bucket = await FolderBucket.open({ path: join(folder, 'bucket') })
  const database = await Database.open({ type: 'sqlite', file: join(folder, 'console.db') })
  t.teardown(async () => {
    await database[Symbol.asyncDispose]()
    await bucket[Symbol.asyncDispose]()
  })
  /** Puts a crop in, an hour ago, and gives the announcement that its subscriber would have made. */
  const store = async (
    settings: Parameters<typeof makeCrop>[0] = {},
    filedAtMs?: number,
  ): Promise<StoredCrop> => {
    const { metadata, payload } = makeCrop(settings)
    const key = objectKey(metadata, filedAtMs ?? metadata.capturedAtMs)
    await bucket.create({ key, body: payload, contentType: 'image/jpeg', cacheControl: '' })
    const storedAtMs = NOW - HOUR_MS
    utimesSync(join(folder, 'bucket', key), storedAtMs / 1000, storedAtMs / 1000)
    const reading = await storedOf(bucket, { key, modifiedAtMs: storedAtMs, bytes: payload.byteLength })
    if (!reading || 'fault' in reading) throw new Error(reading?.fault ?? 'not there')
    return reading.stored as StoredCrop
  }
  const everything = async () => {
    const all: Detection[] = []
    for await (const page of database.export({}, EVERYTHING)) all.push(...page)
    return all
  }
  return { path: join(folder, 'bucket'), bucket, database, store, everything }
}

t.test('a database that is filled from the bucket has what announcements would have brought', async (t) => {
  const { bucket, database, store, everything, path } = await scene(t)
  const all: StoredCrop[] = []
  for (let n = 0; n < 12; n += 1)
    all.push(
      await store({
        camera: `c${n % 3}`,
        capturedAtMs: NOW - n * 5 * HOUR_MS,
        masked: n % 2 === 0,
        track: newId(),
        quality: { total: 0.5, size: 0.5, sharpness: 0.5, frontality: 0.5 },
        file: `p ${n}.jpg`,
        landmarks: [[1, 2]],
      }),
    )
  // Of a device whose clock was wrong: filed by receipt, within the hour that its key says.
  const wrong = await store({ capturedAtMs: 1000, clockSane: false }, NOW - HOUR_MS)
  t.equal(Math.floor(wrong.filedAtMs / HOUR_MS), Math.floor((NOW - HOUR_MS) / HOUR_MS))
  await bucket.replace({
    key: 'gallery/index.json',
    body: Buffer.from('{}'),
    contentType: 'application/json',
    cacheControl: '',
  })
  const progress: number[] = []
  const result = await reindex(database, bucket, {
    subscriber: SUBSCRIBER,
    onProgress: ({ looked }) => progress.push(looked),
  })
  t.match(result, { looked: 13, added: 13, known: 0, unreadable: 0, done: true })
  t.ok(progress.length > 0)
  const filled = await everything()

  await using announced = await Database.open({ type: 'sqlite', file: join(path, '..', 'other.db') })
  await announced.apply([...all, wrong], SUBSCRIBER)
  const brought: Detection[] = []
  for await (const page of announced.export({}, EVERYTHING)) brought.push(...page)
  t.strictSame(filled, brought)

  const again = await reindex(database, bucket, { subscriber: SUBSCRIBER })
  t.match(again, { added: 0, known: 13, done: true })
  t.strictSame(await everything(), brought)
})

t.test(
  'objects that are not what their key says are counted, each with its reason, and hold up nothing',
  async (t) => {
    const { bucket, database, store, path } = await scene(t)
    const stored = await store()
    const damaged = await store({ camera: 'b' })
    writeFileSync(join(path, damaged.key), 'no JPEG')
    const moved = objectKey({ ...stored, camera: 'elsewhere' }, stored.filedAtMs)
    await bucket.create({
      key: moved,
      body: (await bucket.read(stored.key)) as Uint8Array,
      contentType: 'image/jpeg',
      cacheControl: '',
    })
    const result = await reindex(database, bucket, { subscriber: SUBSCRIBER })
    t.match(result, { added: 1, unreadable: 2, done: true })
    t.match(
      [...result.faults].sort((a, b) => (a.key < b.key ? -1 : 1)),
      [
        { key: damaged.key, fault: /not a JPEG/ },
        { key: moved, fault: /another camera/ },
      ],
    )
  },
)

t.test('a run that was cut off is gone on with, and what was removed meanwhile stays away', async (t) => {
  const { bucket, database, store, everything } = await scene(t)
  const all: StoredCrop[] = []
  for (const camera of ['a', 'b', 'c']) for (let n = 0; n < 3; n += 1) all.push(await store({ camera }))
  let reads = 0
  const failing = {
    description: bucket.description,
    list: bucket.list.bind(bucket),
    folders: bucket.folders.bind(bucket),
    read: async (key: string) => {
      reads += 1
      if (reads > 4) throw new Error('the line is cut')
      return bucket.read(key)
    },
  }
  await t.rejects(reindex(database, failing, { subscriber: SUBSCRIBER }), /cut/)
  const [gone] = all
  await database.apply([makeRemoved(gone as StoredCrop)], SUBSCRIBER)
  await reindex(database, bucket, { subscriber: SUBSCRIBER })
  t.strictSame(
    (await everything()).map(({ id }) => id).sort(),
    all
      .slice(1)
      .map(({ id }) => id)
      .sort(),
  )
})

t.test('a reconciliation finds what differs and mends it where it may', async (t) => {
  const { bucket, database, store, everything, path } = await scene(t)
  const both = await store()
  const unannounced = await store({ camera: 'window' })
  const saidGone = await store({ camera: 'cellar' })
  const changed = await store({ camera: 'roof' })
  const vanished = makeStored({ camera: 'attic', storedAtMs: NOW - HOUR_MS })
  await database.apply([both, saidGone, { ...changed, bytes: 1 }, vanished], SUBSCRIBER)
  await database.apply([makeRemoved(saidGone)], SUBSCRIBER)
  // Just stored: its announcement is still on the way.
  const late = await store({ camera: 'gate' })
  utimesSync(join(path, late.key), NOW / 1000, NOW / 1000)

  const found = {
    missingInDatabase: 2,
    missingInBucket: 1,
    different: 1,
    twice: 0,
    unreadable: 0,
    objects: 5,
    rows: 3,
  }
  const before = await everything()
  const report = await reconcile(database, bucket, { fix: false, subscriber: SUBSCRIBER })
  t.match(report, { ...found, mended: 0, done: true })
  t.strictSame(
    report.examples.map(({ key }) => key).sort(),
    [unannounced, saidGone, changed, vanished].map(({ key }) => key).sort(),
  )
  t.strictSame(await everything(), before, 'it only looked')

  t.match(await reconcile(database, bucket, { fix: true, subscriber: SUBSCRIBER }), { ...found, mended: 4 })
  t.strictSame(
    (await everything()).map(({ id, bytes }) => [id, bytes]).sort(),
    [both, unannounced, saidGone, changed].map(({ id, bytes }) => [id, bytes]).sort(),
  )
  t.match(await reconcile(database, bucket, { fix: true, subscriber: SUBSCRIBER }), {
    missingInDatabase: 0,
    missingInBucket: 0,
    different: 0,
    mended: 0,
  })
})

t.test('a bucket with nothing in it empties no database', async (t) => {
  const { bucket, database, store, everything, path } = await scene(t)
  await database.apply([await store()], SUBSCRIBER)
  rmSync(join(path, 'home'), { recursive: true })
  await t.rejects(reconcile(database, bucket, { fix: true, subscriber: SUBSCRIBER }), {
    code: 'BUCKET_REFUSED',
    message: /is empty, but the database has detections/,
  })
  t.equal((await everything()).length, 1)
})
