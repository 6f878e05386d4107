import pino from 'pino'
import t, { type Test } from 'tap'
import { KeepMarks } from '../../cloud-subscriber/recordings/keep-marks.ts'
import { limitsOf, type RecordingsRetention } from '../../cloud-subscriber/recordings/limits.ts'
import { RecordingRetention } from '../../cloud-subscriber/recordings/retention.ts'
import type { Bucket } from '../../lib/buckets/bucket.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { failure } from '../../lib/errors.ts'
import { Store } from '../../store/store.ts'
import { idMinter, newId } from '../../wire/id.ts'
import { KEEP_VERSION, type KeepMessage, keepKey } from '../../wire/keep.ts'
import { CLIP } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

const HOUR_MS = 3_600_000
const AT = { site: 'home', device: 'pi', camera: 'door' }
const DOOR = 'recordings.private/home/pi/door/'
const BYTES = 1000

interface Counted extends Bucket {
  lists: string[]
  reads: string[]
}

/** Says what it is asked. */
function counting(bucket: FolderBucket): Counted {
  const lists: string[] = []
  const reads: string[] = []
  return {
    description: bucket.description,
    lists,
    reads,
    create: bucket.create.bind(bucket),
    replace: bucket.replace.bind(bucket),
    read: (key, signal) => {
      reads.push(key)
      return bucket.read(key, signal)
    },
    list: (prefix, signal) => {
      lists.push(prefix)
      return bucket.list(prefix, signal)
    },
    folders: bucket.folders.bind(bucket),
    remove: bucket.remove.bind(bucket),
    sync: bucket.sync.bind(bucket),
    url: bucket.url.bind(bucket),
    [Symbol.asyncDispose]: async () => {},
  }
}

async function place(t: Test) {
  const path = temporaryFolder(t)
  const folder = await FolderBucket.open({ path })
  const store = await Store.open({ folder: temporaryFolder(t) })
  t.after(() => folder[Symbol.asyncDispose]())
  t.after(() => store[Symbol.asyncDispose]())
  const bucket = counting(folder)
  const keep = KeepMarks.open({ bucket, store })
  const put = async (atMs: number, camera = AT.camera, bytes = BYTES) => {
    const key = objectKey({ ...AT, camera, id: idMinter(() => atMs)() }, atMs, CLIP)
    await folder.create({ key, body: Buffer.alloc(bytes), contentType: '', cacheControl: '' })
    return key
  }
  const removed: string[] = []
  const open = (retention: Partial<RecordingsRetention>, announcing = async (_: readonly string[]) => {}) => {
    const made = RecordingRetention.open({
      bucket,
      limitsOf: (camera) => limitsOf({ ageMax: Number.POSITIVE_INFINITY, cameras: [], ...retention }, camera),
      keep,
      announcements: {
        removed: async (keys) => {
          await announcing(keys)
          for (const key of keys) if (!left().includes(key)) throw new Error('gone before it was announced')
          removed.push(...keys)
        },
      },
      log: pino({ level: 'silent' }),
      events: { expired: () => {} },
      intervalMs: 20,
    })
    t.after(() => made[Symbol.asyncDispose]())
    return made
  }
  const left = () => storedKeys(path, 'mp4')
  const mark = (fromMs: number, toMs: number, on = true) => {
    const message: KeepMessage = {
      ...{ v: KEEP_VERSION, ...AT, by: 'ada', atMs: 1, fromMs, toMs },
      request: newId(),
      keep: on,
    }
    return keep.apply(message)
  }
  return { bucket, keep, put, open, left, removed, mark }
}

t.test('by age each chunk goes by itself, within its hour, and is announced before', async (t) => {
  const { put, open, left, removed, bucket } = await place(t)
  const now = Date.now()
  const ageMax = 10 * HOUR_MS
  const gone = []
  for (let n = 30; n > 0; n -= 1) gone.push(await put(now - ageMax - n * 3000))
  const kept = []
  for (let n = 10; n > 0; n -= 1) kept.push(await put(now - ageMax + 120_000 + n * 3000))
  kept.push(await put(now - HOUR_MS, 'yard'))
  open({ ageMax })
  await until('they are gone', () => left().length === kept.length)
  t.strictSame(left(), kept.toSorted())
  t.strictSame(removed.toSorted(), gone.toSorted())
  const lists = bucket.lists.length
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(bucket.lists.length, lists, 'another look lists nothing')
})

t.test('by bytes the oldest of a camera go until it has few enough, and only of that camera', async (t) => {
  const { put, open, left, bucket } = await place(t)
  const now = Date.now()
  const door: string[] = []
  for (let n = 20; n > 0; n -= 1) door.push(await put(now - n * 600_000))
  const yard = []
  for (let n = 8; n > 0; n -= 1) yard.push(await put(now - n * 3000 - 20 * HOUR_MS, 'yard'))
  const retention = open({ bytesMax: 12 * BYTES, cameras: [{ camera: '*/pi/yard', bytesMax: 8 * BYTES }] })
  await until('it has few enough', () => left().length === 20)
  t.strictSame(left(), [...door.slice(8), ...yard].toSorted())
  const key = await put(now)
  retention.stored({ ...AT, key }, BYTES)
  await until('what comes later counts', () => !left().includes(door[8] as string))
  t.strictSame(left(), [...door.slice(9), key, ...yard].toSorted())
  const lists = bucket.lists.length
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(bucket.lists.length, lists)
})

t.test('what is kept stays, does not count, and goes when it is kept no longer', async (t) => {
  const { put, open, left, mark } = await place(t)
  const hour = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 5 * HOUR_MS
  const chunks = []
  for (let n = 0; n < 20; n += 1) chunks.push(await put(hour + n * 150_000))
  await mark(hour + 10 * 150_000 + 1000, hour + 12 * 150_000 + 1000)
  open({ bytesMax: 4 * BYTES })
  await until('the others go', () => left().length === 7)
  t.strictSame(left(), [...chunks.slice(10, 13), ...chunks.slice(16)].toSorted())
  await mark(hour, hour + HOUR_MS, false)
  await until('then these go', () => left().length === 4)
  t.strictSame(left(), chunks.slice(16).toSorted())
  await mark(hour, hour + HOUR_MS)
  open({ ageMax: HOUR_MS })
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(left().length, 4, 'however old')
})

t.test('a mark that nobody can read keeps everything of its camera, and is said', async (t) => {
  const { put, open, left, bucket } = await place(t)
  const old = Date.now() - 50 * HOUR_MS
  const mine = await put(old)
  await put(old, 'yard')
  await bucket.replace({ key: keepKey(AT), body: Buffer.from('{'), contentType: '', cacheControl: '' })
  const retention = open({ ageMax: HOUR_MS })
  await until('the other camera’s is gone', () => left().length === 1)
  t.strictSame(left(), [mine])
  await until('it is said', () => /keep\.json .* cannot be read/.test(retention.fault ?? ''))
})

t.test(
  'a clock that was wrong: such a chunk goes by the end of the hour that it is filed under',
  async (t) => {
    const { bucket, open, left } = await place(t)
    const now = Date.now()
    const file = (filedMs: number, mintedMs: number) => {
      const key = objectKey({ ...AT, id: idMinter(() => mintedMs)() }, filedMs, CLIP)
      const object = { key, body: Buffer.alloc(10), contentType: '', cacheControl: '' }
      return bucket.create(object).then(() => key)
    }
    const young = await file(now - 60_000, Date.UTC(1971, 0))
    await file(now - 5 * HOUR_MS, now + 400 * 24 * HOUR_MS)
    open({ ageMax: 3 * HOUR_MS })
    await until('the old one is gone', () => left().length === 1)
    t.strictSame(left(), [young])
  },
)

t.test('nothing goes that cannot be announced, and it goes when it can', async (t) => {
  const { put, open, left } = await place(t)
  await put(Date.now() - 50 * HOUR_MS)
  let full = true
  const retention = open({ ageMax: HOUR_MS }, async () => {
    if (full) throw failure('QUEUE_FULL', 'Full.')
  })
  await until('it is said', () => retention.fault === 'Full.')
  t.equal(left().length, 1)
  full = false
  await until('it goes', () => left().length === 0, 15_000)
  await until('all is well', () => retention.fault === undefined)
})

t.test('for ever: nothing is listed and nothing goes; others’ files stay in any case', async (t) => {
  const { put, open, left, bucket } = await place(t)
  const old = await put(Date.now() - 5000 * HOUR_MS)
  open({})
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.strictSame(bucket.lists, [])
  t.strictSame(left(), [old])
  const foreign = `${old.slice(0, old.lastIndexOf('/'))}/holiday.mp4`
  await bucket.create({ key: foreign, body: Buffer.alloc(1), contentType: '', cacheControl: '' })
  open({ ageMax: HOUR_MS })
  await until('ours is gone', () => !left().includes(old))
  t.strictSame(left(), [foreign])
  t.ok(foreign.startsWith(DOOR))
})

t.test('the first of the cameras that fits says how much stays', (t) => {
  const retention = {
    ageMax: 7,
    bytesMax: 100,
    cameras: [
      { camera: 'home/pi/door', ageMax: 1 },
      { camera: 'home/*/*', bytesMax: 5 },
    ],
  }
  t.strictSame(limitsOf(retention, AT), { ageMsMax: 1, bytesMax: 100 })
  t.strictSame(limitsOf(retention, { ...AT, camera: 'yard' }), { ageMsMax: 7, bytesMax: 5 })
  t.strictSame(limitsOf(retention, { ...AT, site: 'x' }), { ageMsMax: 7, bytesMax: 100 })
  t.end()
})
