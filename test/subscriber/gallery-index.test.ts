import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t, { type Test } from 'tap'
import { type IndexEntry, IndexWriter } from '../../cloud-subscriber/gallery/index-files.ts'
import type { Bucket, ObjectToStore } from '../../lib/buckets/bucket.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { failure } from '../../lib/errors.ts'
import { objectKey } from '../../wire/object-key.ts'

const log = pino({ level: 'silent' })
const NOON_MS = Date.UTC(2026, 10, 20, 12)

function entry(n: number, at: Partial<IndexEntry> = {}): IndexEntry {
  const id = `01a1fb59-${String(n).padStart(4, '0')}-7000-8000-000000000000`
  const filedAtMs = at.filedAtMs ?? NOON_MS + n * 1000
  const place = { site: 'berlin', device: 'porch', camera: 'front', ...at }
  return {
    ...place,
    id,
    key: objectKey({ ...place, id }, filedAtMs),
    capturedAtMs: filedAtMs,
    filedAtMs,
    storedAtMs: filedAtMs + 300,
    score: 0.91,
    width: 80,
    height: 90,
    ...at,
  }
}

interface Head {
  stopped: boolean
  run: string
  days: Record<string, { chunks: number; entries: number; last: number; revision: number }>
  devices: string[]
}
const open = (t: Test) => FolderBucket.open({ path: join(t.testdirName, 'crops') })
const json = <T>(t: Test, name: string) =>
  JSON.parse(readFileSync(join(t.testdirName, 'crops/gallery/index', name), 'utf8')) as T
const ids = (t: Test, name: string) => json<IndexEntry[]>(t, name).map(({ id }) => id)

/** A bucket that can be made to fail, around a real one. */
function fragile(bucket: Bucket): Bucket & { failing: (key: string) => boolean; writes: string[] } {
  const around = {
    failing: (_key: string) => false,
    writes: [] as string[],
    description: bucket.description,
    create: bucket.create.bind(bucket),
    read: bucket.read.bind(bucket),
    list: bucket.list.bind(bucket),
    folders: bucket.folders.bind(bucket),
    remove: bucket.remove.bind(bucket),
    sync: bucket.sync.bind(bucket),
    url: bucket.url.bind(bucket),
    async replace(object: ObjectToStore) {
      if (around.failing(object.key)) throw failure('BUCKET_UNREACHABLE', 'it is away')
      await bucket.replace(object)
      around.writes.push(object.key)
    },
    [Symbol.asyncDispose]: () => bucket[Symbol.asyncDispose](),
  }
  return around
}

t.test('an entry is in the bucket when add resolves, about a second later', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  const startedMs = performance.now()
  await Promise.all([index.add(entry(1)), index.add(entry(2, { device: 'gate' }))])
  t.ok(performance.now() - startedMs < 2500)
  t.same(ids(t, 'one/2026-11-20/0.json'), [entry(1).id, entry(2).id])
  const head = json<Head>(t, 'one/head.json')
  t.same(head.days, { '2026-11-20': { chunks: 1, entries: 2, last: 2, revision: 0 } })
  t.same(head.devices, ['berlin/gate', 'berlin/porch'])
  t.equal(head.stopped, false)
  t.equal(index.waiting, 0)
})

t.test('a burst is one flush, in chunks of which only the last is written again', async (t) => {
  t.testdir()
  await using under = await open(t)
  const bucket = fragile(under)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  await Promise.all(Array.from({ length: 601 }, (_, n) => index.add(entry(n))))
  t.same(json<Head>(t, 'one/head.json').days['2026-11-20'], {
    chunks: 3,
    entries: 601,
    last: 101,
    revision: 0,
  })
  bucket.writes.length = 0
  await index.add(entry(601))
  t.same(bucket.writes, ['gallery/index/one/2026-11-20/2.json', 'gallery/index/one/head.json'])
  t.same(
    [0, 1, 2].flatMap((n) => ids(t, `one/2026-11-20/${n}.json`)),
    Array.from({ length: 602 }, (_, n) => entry(n).id),
  )
})

t.test('entries go to the UTC day they are filed under, also late ones', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  const lastMs = Date.UTC(2026, 10, 20, 23, 59, 59, 999)
  await Promise.all(
    [lastMs, lastMs + 1, lastMs - 86_400_000 * 9].map((filedAtMs, n) => index.add(entry(n, { filedAtMs }))),
  )
  t.same(Object.keys(json<Head>(t, 'one/head.json').days), ['2026-11-11', '2026-11-20', '2026-11-21'])
  const [first, ...more] = json<IndexEntry[]>(t, 'one/2026-11-21/0.json')
  t.match(first?.key, '/2026/11/21/')
  t.same(more, [])
})

t.test('an entry added twice is listed once: at once, later, and after a restart', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  {
    await using index = await IndexWriter.open({ bucket, writer: 'one', log })
    await Promise.all(Array.from({ length: 700 }, (_, n) => index.add(entry(n % 350))))
    await index.add(entry(0))
  }
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  await Promise.all([index.add(entry(3)), index.add(entry(349)), index.add(entry(350))])
  t.equal(json<Head>(t, 'one/head.json').days['2026-11-20']?.entries, 351)
  t.same(ids(t, 'one/2026-11-20/1.json').at(-1), entry(350).id)
})

t.test('a crash after a chunk and before the head loses and repeats nothing', async (t) => {
  t.testdir()
  await using under = await open(t)
  const bucket = fragile(under)
  {
    // The writer that crashes: it is never closed, and its head stays behind its chunks.
    const index = await IndexWriter.open({ bucket, writer: 'one', log })
    await Promise.all(Array.from({ length: 100 }, (_, n) => index.add(entry(n))))
    bucket.failing = (key) => key.endsWith('head.json')
    for (let n = 100; n < 600; n += 1) void index.add(entry(n))
    await t.rejects(index.flush(), { code: 'BUCKET_UNREACHABLE' })
    await t.rejects(index[Symbol.asyncDispose](), { code: 'BUCKET_UNREACHABLE' })
  }
  t.equal(json<Head>(t, 'one/head.json').days['2026-11-20']?.entries, 100)
  await using index = await IndexWriter.open({ bucket: under, writer: 'one', log })
  for (let n = 590; n < 601; n += 1) void index.add(entry(n))
  await index.flush()
  t.same(json<Head>(t, 'one/head.json').days['2026-11-20'], {
    chunks: 3,
    entries: 601,
    last: 101,
    revision: 0,
  })
  const all = [0, 1, 2].flatMap((n) => ids(t, `one/2026-11-20/${n}.json`))
  t.equal(new Set(all).size, 601)
  t.equal(all.length, 601)
})

t.test('while the bucket fails entries wait, in order, and are written when it comes back', async (t) => {
  t.testdir()
  await using under = await open(t)
  const bucket = fragile(under)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  bucket.failing = () => true
  const first = index.add(entry(1))
  await t.rejects(index.flush(), { code: 'BUCKET_UNREACHABLE' })
  const second = index.add(entry(2))
  t.equal(index.waiting, 2)
  bucket.failing = () => false
  await Promise.all([first, second])
  t.same(ids(t, 'one/2026-11-20/0.json'), [entry(1).id, entry(2).id])
})

t.test('closing with the bucket away tells those who wait', async (t) => {
  t.testdir()
  await using under = await open(t)
  const bucket = fragile(under)
  const index = await IndexWriter.open({ bucket, writer: 'one', log })
  bucket.failing = () => true
  const added = index.add(entry(1))
  await t.rejects(index[Symbol.asyncDispose](), { code: 'BUCKET_UNREACHABLE' })
  await t.rejects(added, { code: 'BUCKET_UNREACHABLE' })
  await t.rejects(index.add(entry(2)), { code: 'QUEUE_FULL' })
})

t.test('what waits is bounded, and the one too many is told', async (t) => {
  t.testdir()
  await using under = await open(t)
  const bucket = fragile(under)
  const index = await IndexWriter.open({ bucket, writer: 'one', log })
  bucket.failing = () => true
  for (let n = 0; n < 20_000; n += 1) void index.add(entry(n))
  await t.rejects(index.add(entry(20_000)), { code: 'QUEUE_FULL' })
  await index[Symbol.asyncDispose]().catch(() => {})
})

t.test('closing writes what waits and says that it stopped; opening says that it runs', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  {
    await using index = await IndexWriter.open({ bucket, writer: 'one', log })
    void index.add(entry(1))
  }
  t.equal(json<Head>(t, 'one/head.json').stopped, true)
  t.equal(json<Head>(t, 'one/head.json').days['2026-11-20']?.entries, 1)
  await using _again = await IndexWriter.open({ bucket, writer: 'one', log })
  t.equal(json<Head>(t, 'one/head.json').stopped, false)
})

t.test('two writers keep apart and are both in the list of writers', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  await using one = await IndexWriter.open({ bucket, writer: 'one', log })
  await using two = await IndexWriter.open({ bucket, writer: 'two', log })
  await Promise.all([one.add(entry(1)), two.add(entry(2))])
  t.same(json(t, 'writers.json'), { v: 1, writers: ['one', 'two'] })
  t.same(ids(t, 'one/2026-11-20/0.json'), [entry(1).id])
  t.same(ids(t, 'two/2026-11-20/0.json'), [entry(2).id])
})

t.test('a writer that a concurrent start pushed off the list comes back', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  await using _one = await IndexWriter.open({ bucket, writer: 'one', log })
  writeFileSync(join(t.testdirName, 'crops/gallery/index/writers.json'), '{"v":1,"writers":["two"]}')
  for (let waited = 0; waited < 8000; waited += 200) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    if (json<{ writers: string[] }>(t, 'writers.json').writers.length === 2) break
  }
  t.same(json(t, 'writers.json'), { v: 1, writers: ['one', 'two'] })
})

t.test('damaged index files stop nothing and a damaged chunk is not written over', async (t) => {
  const path = t.testdir()
  const folder = join(path, 'crops/gallery/index/one')
  mkdirSync(join(folder, '2026-11-20'), { recursive: true })
  writeFileSync(join(folder, '../writers.json'), 'no json')
  writeFileSync(join(folder, 'head.json'), '{"v":1,"days":{"../..":{}}}')
  writeFileSync(join(folder, '2026-11-20/0.json'), '[{"id":')
  await using bucket = await open(t)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  await index.add(entry(1))
  t.equal(readFileSync(join(folder, '2026-11-20/0.json'), 'utf8'), '[{"id":')
  t.same(ids(t, 'one/2026-11-20/1.json'), [entry(1).id])
})

t.test('entries can be taken out again, and open pages are told by the revision', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  await using index = await IndexWriter.open({ bucket, writer: 'one', log })
  for (let n = 0; n < 300; n += 1) void index.add(entry(n, { device: n % 3 ? 'porch' : 'gate' }))
  void index.add(entry(900, { device: 'gate', filedAtMs: NOON_MS - 86_400_000 }))
  t.equal(await index.remove(({ device }) => device === 'gate'), 101)
  const head = json<Head>(t, 'one/head.json')
  t.same(head.days, { '2026-11-20': { chunks: 2, entries: 200, last: 34, revision: 1 } })
  t.notMatch(readFileSync(join(t.testdirName, 'crops/gallery/index/one/2026-11-20/0.json'), 'utf8'), 'gate')
  await index.add(entry(901))
  t.equal(json<Head>(t, 'one/head.json').days['2026-11-20']?.entries, 201)
})

t.test('a name that cannot be a folder is refused', async (t) => {
  t.testdir()
  await using bucket = await open(t)
  for (const writer of ['', '../x', 'a/b', 'a b', '.hidden'])
    await t.rejects(IndexWriter.open({ bucket, writer, log }), { code: 'NAME_INVALID' })
  t.same(readdirSync(join(t.testdirName, 'crops')), ['.incoming'])
})
