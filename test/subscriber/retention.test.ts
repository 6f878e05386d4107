import { existsSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t, { type Test } from 'tap'
import { checkSubscriberConfig, subscriberSchema } from '../../cloud-subscriber/config.ts'
import { IndexWriter, removeIndexDays } from '../../cloud-subscriber/gallery/index-files.ts'
import { DAY_MS, Retention, sweepDays } from '../../cloud-subscriber/retention.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { S3Bucket } from '../../lib/buckets/s3.ts'
import { failure } from '../../lib/errors.ts'
import { newId } from '../../wire/id.ts'
import { dayOf, objectKey } from '../../wire/object-key.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { emptyS3Bucket, makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { until } from '../kit/wait.ts'

const log = pino({ level: 'silent' })
const place = { site: 'berlin', device: 'porch', camera: 'front' }

async function filled(t: Test) {
  const path = join(t.testdir(), 'crops')
  const bucket = await FolderBucket.open({ path })
  t.teardown(() => bucket[Symbol.asyncDispose]())
  const put = async (key: string) => {
    await bucket.create({ key, body: Buffer.from('a face'), contentType: '', cacheControl: '' })
    return key
  }
  const crop = (filedAtMs: number, at: Partial<typeof place> = {}) =>
    put(objectKey({ ...place, ...at, id: newId() }, filedAtMs))
  return { bucket, path, put, crop }
}
/** The bucket's methods, for one that does some of them otherwise. */
function bound(bucket: Bucket): Bucket {
  return {
    description: bucket.description,
    create: bucket.create.bind(bucket),
    replace: bucket.replace.bind(bucket),
    read: bucket.read.bind(bucket),
    list: bucket.list.bind(bucket),
    folders: bucket.folders.bind(bucket),
    remove: bucket.remove.bind(bucket),
    sync: bucket.sync.bind(bucket),
    url: bucket.url.bind(bucket),
    [Symbol.asyncDispose]: async () => {},
  }
}

const indexEntry = (filedAtMs: number) => {
  const id = newId()
  const key = objectKey({ ...place, id }, filedAtMs)
  const sizes = { score: 0.9, width: 8, height: 8 }
  return { ...place, ...sizes, id, key, filedAtMs, capturedAtMs: filedAtMs, storedAtMs: filedAtMs }
}

const over = (endedBeforeMs: number) => ({ nowMs: Date.now(), endedBeforeMs })

t.test('a day goes whole when its last moment is older, of every camera, and no other day', async (t) => {
  const { bucket, path, crop } = await filled(t)
  const limitMs = Date.UTC(2026, 10, 20) // the 20th begins
  await crop(Date.UTC(2026, 10, 19))
  await crop(Date.UTC(2026, 10, 19, 23, 59, 59, 999), { camera: 'back' })
  await crop(Date.UTC(2025, 11, 31), { site: 'gallery' })
  const kept = [await crop(limitMs), await crop(Date.UTC(2027, 0, 1), { site: 'oslo' })]
  t.same(
    await sweepDays(bucket, over(limitMs - 1), () => {}),
    { crops: 1, days: 1 },
    'the 19th has not ended',
  )
  let counted = 0
  const sum = await sweepDays(bucket, over(limitMs), (crops) => {
    counted += crops
  })
  t.same(sum, { crops: 2, days: 2 })
  t.equal(counted, 2)
  t.same(storedKeys(path), kept.sort())
  t.notOk(existsSync(join(path, 'gallery')), 'empty folders are gone')
  t.same(await sweepDays(bucket, over(limitMs), () => {}), { crops: 0, days: 0 })
})

t.test('a day that has not come goes by when its crops were written, and no other day with it', async (t) => {
  const { bucket, path, crop } = await filled(t)
  const nowMs = Date.now()
  const filed = [Date.UTC(9999, 11, 31), nowMs + DAY_MS + 15 * 60_000, Date.UTC(2099, 0)]
  for (const ms of filed) await crop(ms)
  const kept = [await crop(nowMs), await crop(nowMs - DAY_MS)]
  const aged = (ageMs: number, atMs = nowMs) => ({ nowMs: atMs, endedBeforeMs: atMs - ageMs })
  t.same(await sweepDays(bucket, aged(2 * DAY_MS), () => {}), { crops: 0, days: 0 }, 'written just now')
  t.same(
    await sweepDays(bucket, aged(2 * DAY_MS, nowMs - 40 * DAY_MS), () => {}),
    { crops: 0, days: 0 },
    'by a clock that is behind nothing is old',
  )
  // Written a month ago, by the bucket's clock, or, where that was ahead as well, by their ids.
  const old: Bucket = {
    ...bound(bucket),
    async *list(prefix) {
      for await (const object of bucket.list(prefix))
        yield {
          ...object,
          modifiedAtMs: object.key.includes('/2099/') ? nowMs + 400 * DAY_MS : nowMs - 31 * DAY_MS,
        }
    },
  }
  t.same(await sweepDays(old, aged(30 * DAY_MS), () => {}), { crops: 2, days: 2 })
  const byId = (await Array.fromAsync(bucket.list(''))).find(({ key }) => key.includes('/2099/'))
  t.same(storedKeys(path), [...kept, byId?.key].sort(), 'its id was minted today')
  t.same(await sweepDays(old, aged(30 * DAY_MS, nowMs + 31 * DAY_MS), () => {}), { crops: 3, days: 3 })
})

t.test('so it is in S3, where the store’s clock says when', { skip: skipWithoutS3 }, async (t) => {
  const name = await makeS3Bucket()
  t.teardown(() => emptyS3Bucket(name))
  await using bucket = await S3Bucket.open({ bucket: name, endpoint: s3Endpoint, publicRead: false })
  const nowMs = Date.now()
  const file = { body: Buffer.from('a face'), contentType: 'image/jpeg', cacheControl: '' }
  const keys = [nowMs, Date.UTC(9999, 11, 31)].map((ms) => objectKey({ ...place, id: newId() }, ms))
  for (const key of keys) await bucket.create({ key, ...file })
  await bucket.replace({ key: 'gallery/index/one/9999-12-31/0.json', ...file })
  const left = async () =>
    (await Array.fromAsync(bucket.list(''))).map(({ key }) => key).filter((key) => key.includes('/'))
  await removeIndexDays(bucket, { nowMs, endedBeforeMs: nowMs - DAY_MS })
  t.same(await sweepDays(bucket, { nowMs, endedBeforeMs: nowMs - DAY_MS }, () => {}), { crops: 0, days: 0 })
  t.same(await left(), keys, 'the index forgets that day, the crop is not a day old')
  const over = { nowMs: nowMs + 60_000, endedBeforeMs: nowMs + 60_000 }
  if (dayOf(over.nowMs) !== dayOf(nowMs)) return
  t.same(await sweepDays(bucket, over, () => {}), { crops: 1, days: 1 })
  t.same(await left(), keys.slice(0, 1), 'today’s stays')
})

t.test(
  'index files of a day that has not come go at once, but not where the clock here is behind',
  async (t) => {
    const { bucket } = await filled(t)
    const file = { body: Buffer.from('[]'), contentType: '', cacheControl: '' }
    const days = ['9999-12-31', '2099-01-01', dayOf(Date.now())]
    for (const day of days) await bucket.replace({ key: `gallery/index/one/${day}/0.json`, ...file })
    const left = async () => (await Array.fromAsync(bucket.folders('gallery/index/one/'))).sort()
    const nowMs = Date.now()
    await removeIndexDays(bucket, { nowMs: nowMs - 40 * DAY_MS, endedBeforeMs: nowMs - 70 * DAY_MS })
    t.same(await left(), [dayOf(Date.now())], 'today was written today')
    await removeIndexDays(bucket, { nowMs, endedBeforeMs: nowMs - 30 * DAY_MS })
    t.same(await left(), [dayOf(Date.now())])
  },
)

t.test('what is no crop of a day stays', async (t) => {
  const { bucket, put } = await filled(t)
  const keys = [
    'gallery/index/one/2020-01-01/0.json',
    'gallery/index.html',
    'site/device/camera/2020/01/01/00/note.txt',
    'site/device/camera/2020/01/1.jpg',
    'site/device/camera/later/01/01/1.jpg',
    'site/device/2020/01/01/00/1.jpg',
    'video/site/device/camera/2020/01/01/1.jpg',
  ]
  for (const key of keys) await put(key)
  await sweepDays(bucket, over(Date.now()), () => {})
  t.same(
    (await Array.fromAsync(bucket.list(''))).map(({ key }) => key),
    keys.sort(),
  )
})

t.test(
  'the subscriber sweeps at start, more crops than it holds keys, and the gallery forgets their days',
  async (t) => {
    const { bucket, path, crop } = await filled(t)
    await using index = await IndexWriter.open({ bucket, writer: 'one', log })
    const [oldMs, newMs] = [Date.now() - 31 * DAY_MS, Date.now() - 29 * DAY_MS]
    const entries = [indexEntry(oldMs), indexEntry(oldMs), indexEntry(newMs)]
    for (const entry of entries) void index.add(entry)
    await index.flush()
    // Of a subscriber that never comes back.
    const gone = { body: Buffer.from('[]'), contentType: '', cacheControl: '' }
    await bucket.replace({ key: 'gallery/index/gone/2020-01-01/0.json', ...gone })
    await Promise.all(Array.from({ length: 520 }, (_, i) => crop(oldMs - (i % 3) * DAY_MS)))
    const kept = await crop(newMs)
    let expired = 0
    await using retention = Retention.open({
      bucket,
      ageMsMax: 30 * DAY_MS,
      index,
      log,
      events: {
        expired: (crops) => {
          expired += crops
        },
      },
    })
    await until('all are deleted', () => expired >= 520)
    t.equal(expired, 520)
    t.equal(retention.fault, undefined)
    t.same(storedKeys(path), [kept])
    const days = [newMs].map((ms) => new Date(ms).toISOString().slice(0, 10))
    t.same(await Array.fromAsync(bucket.folders('gallery/index/one/')), days)
    t.same(await Array.fromAsync(bucket.folders('gallery/index/')), ['one'])
    const head = JSON.parse(Buffer.from((await bucket.read('gallery/index/one/head.json')) ?? []).toString())
    t.same(Object.keys(head.days), days)
  },
)

t.test('a bucket that fails is tried again and said, and the end does not wait for it', async (t) => {
  const { bucket } = await filled(t)
  const away: Bucket = {
    ...bound(bucket),
    folders: () => {
      throw failure('BUCKET_UNREACHABLE', 'it is away')
    },
  }
  const retention = Retention.open({
    bucket: away,
    ageMsMax: 30 * DAY_MS,
    index: undefined,
    log,
    events: { expired: () => {} },
  })
  await until('it fails', () => retention.fault !== undefined)
  t.match(retention.fault, 'it is away')
  await retention[Symbol.asyncDispose]()
})

t.test(
  'a store with rules is given them for the sites there are, and for one whose first crop comes',
  async (t) => {
    const { bucket, crop } = await filled(t)
    await crop(Date.now())
    await crop(Date.now(), { site: 'gallery' })
    const asked: { sites: string[]; days: number | undefined }[] = []
    const ruling: Bucket = {
      ...bound(bucket),
      expire: async (sites, days) => {
        asked.push({ sites: [...sites].sort(), days })
        return true
      },
    }
    const options = { bucket: ruling, index: undefined, log, events: { expired: () => {} } }
    {
      await using retention = Retention.open({ ...options, ageMsMax: 1.5 * DAY_MS })
      await until('the store is asked', () => asked.length === 1)
      retention.seen('berlin')
      retention.seen('oslo')
      await until('it is asked again', () => asked.length === 2)
    }
    t.same(asked, [
      { sites: ['berlin'], days: 2 },
      { sites: ['berlin', 'oslo'], days: 2 },
    ])
    await using forever = Retention.open({ ...options, ageMsMax: Number.POSITIVE_INFINITY })
    await until('it is asked a third time', () => asked.length === 3)
    t.equal(asked[2]?.days, undefined, 'forever takes them back')
    t.equal(forever.fault, undefined)
  },
)

t.test('retention is 30 days unless said otherwise, a day at least, or forever in so many words', (t) => {
  const ageMax = (retention: unknown) => subscriberSchema.parse({ retention }).retention.ageMax
  t.equal(ageMax(undefined), 30 * DAY_MS)
  t.equal(ageMax({ ageMax: 'forever' }), Number.POSITIVE_INFINITY)
  t.throws(() => ageMax({ ageMax: 'never' }), /30d, or forever/)
  t.throws(() => checkSubscriberConfig(subscriberSchema.parse({ retention: { ageMax: '30m' } })), {
    code: 'CONFIG_INVALID',
    message: /whole days/,
  })
  t.end()
})
