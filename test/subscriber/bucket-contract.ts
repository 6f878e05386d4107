import type { Test } from 'tap'
import { type Bucket, CACHE_REVALIDATE, cacheCrop } from '../../lib/buckets/bucket.ts'
import { isKey } from '../../lib/buckets/key.ts'

export interface BucketFactory {
  /** A bucket over a place of its own, empty. */
  open(t: Test): Promise<Bucket>
  /** The same place, opened again. */
  reopen(t: Test): Promise<Bucket>
  /** False for stores that ignore `If-None-Match`: there a second create writes over the first. */
  readonly createsOnce: boolean
}

export const HOSTILE_KEYS = [
  '',
  '/',
  '/etc/passwd',
  '..',
  '../up.jpg',
  'a/../../up.jpg',
  'a/./b.jpg',
  'a//b.jpg',
  'a/b/',
  'a\\b.jpg',
  '..\\up.jpg',
  'a/\0.jpg',
  'a/b\n.jpg',
  'a/ b.jpg',
  '.hidden/b.jpg',
  'a/.hidden',
  'a/%2e%2e/b.jpg',
  'a/é.jpg',
  'a/b?c.jpg',
  `a/${'x'.repeat(300)}.jpg`,
  Array.from({ length: 200 }, () => 'abcdef').join('/'),
]

const crop = (key: string, text = 'a face') => ({
  key,
  body: Buffer.from(text),
  contentType: 'image/jpeg',
  cacheControl: cacheCrop(false),
})
const index = (key: string, text: string) => ({
  key,
  body: Buffer.from(text),
  contentType: 'application/json',
  cacheControl: CACHE_REVALIDATE,
})

/** What every bucket must do. Give it a factory; it makes its own tests. */
export function bucketContract(t: Test, factory: BucketFactory): void {
  const text = async (bucket: Bucket, key: string) => {
    const bytes = await bucket.read(key)
    return bytes === undefined ? undefined : Buffer.from(bytes).toString()
  }

  const keysOf = async (objects: ReturnType<Bucket['list']>) =>
    (await Array.fromAsync(objects)).map(({ key }) => key)

  t.test('an object created is read back byte for byte', async (t) => {
    await using bucket = await factory.open(t)
    const body = Buffer.from(Uint8Array.from({ length: 70_000 }, (_, i) => (i * 31) % 256))
    t.equal(await bucket.create({ ...crop('s/d/c/2026/11/20/13/1.jpg'), body }), 'stored')
    t.ok(Buffer.from((await bucket.read('s/d/c/2026/11/20/13/1.jpg')) ?? []).equals(body))
  })

  t.test('an empty object is an object', async (t) => {
    await using bucket = await factory.open(t)
    t.equal(await bucket.create(crop('empty.jpg', '')), 'stored')
    t.equal(await text(bucket, 'empty.jpg'), '')
  })

  t.test('an object that is not there reads as undefined', async (t) => {
    await using bucket = await factory.open(t)
    t.equal(await bucket.read('not/there.jpg'), undefined)
    await bucket.create(crop('s/d.jpg'))
    t.equal(await bucket.read('s'), undefined, 'what looks like a folder is no object')
    t.equal(await bucket.read('s/d.jpg/e.jpg'), undefined, 'nothing lies below an object')
  })

  t.test('a second create leaves the first object as it is', { skip: !factory.createsOnce }, async (t) => {
    await using bucket = await factory.open(t)
    t.equal(await bucket.create(crop('s/1.jpg', 'first')), 'stored')
    t.equal(await bucket.create(crop('s/1.jpg', 'other')), 'already-there')
    t.equal(await bucket.create(crop('s/1.jpg', 'a longer one')), 'already-there')
    t.equal(await text(bucket, 's/1.jpg'), 'first')
  })

  t.test('of many creates of one key at once one stores', { skip: !factory.createsOnce }, async (t) => {
    await using bucket = await factory.open(t)
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => bucket.create(crop('s/1.jpg'))))
    t.equal(outcomes.filter((outcome) => outcome === 'stored').length, 1)
  })

  t.test('an object that is there survives the bucket being opened again', async (t) => {
    {
      await using bucket = await factory.open(t)
      await bucket.create(crop('s/1.jpg', 'kept'))
      await bucket.sync()
    }
    await using again = await factory.reopen(t)
    t.equal(await text(again, 's/1.jpg'), 'kept')
    if (factory.createsOnce) t.equal(await again.create(crop('s/1.jpg', 'other')), 'already-there')
  })

  t.test('replace writes over what was there, and where nothing was', async (t) => {
    await using bucket = await factory.open(t)
    await bucket.replace(index('gallery/index/a.json', 'one'))
    await bucket.replace(index('gallery/index/a.json', 'two, longer'))
    t.equal(await text(bucket, 'gallery/index/a.json'), 'two, longer')
    await bucket.create(crop('x.jpg', 'created'))
    await bucket.replace(crop('x.jpg', 'short'))
    t.equal(await text(bucket, 'x.jpg'), 'short')
  })

  t.test('a reader never sees a part of an object that is being replaced', async (t) => {
    await using bucket = await factory.open(t)
    const bodies = ['a', 'b'].map((letter) => letter.repeat(200_000))
    await bucket.replace(index('i.json', bodies[0] as string))
    let writing = true
    const writer = (async () => {
      for (let i = 0; i < 30; i += 1) await bucket.replace(index('i.json', bodies[i % 2] as string))
      writing = false
    })()
    let seen = 0
    while (writing) {
      const found = await text(bucket, 'i.json')
      if (found !== bodies[0] && found !== bodies[1]) t.fail(`a torn object of ${found?.length} bytes`)
      seen += 1
    }
    await writer
    t.ok(seen > 3, `${seen} reads`)
  })

  t.test('a body may be a view of a larger buffer, and stays the caller’s', async (t) => {
    await using bucket = await factory.open(t)
    const pool = Buffer.from('[a face]')
    await bucket.create({ ...crop('p.jpg'), body: pool.subarray(1, 7) })
    t.equal(await text(bucket, 'p.jpg'), 'a face')
    t.equal(pool.toString(), '[a face]')
  })

  t.test('200 objects at once are all there', async (t) => {
    await using bucket = await factory.open(t)
    const keys = Array.from({ length: 200 }, (_, i) => `s/d${i % 7}/c/2026/11/20/13/${i}.jpg`)
    await Promise.all(keys.map((key) => bucket.create(crop(key, key))))
    await bucket.sync()
    for (const key of keys.filter((_, i) => i % 20 === 0)) t.equal(await text(bucket, key), key)
  })

  t.test('hostile keys are refused by every operation', async (t) => {
    await using bucket = await factory.open(t)
    for (const key of HOSTILE_KEYS) {
      await t.rejects(
        bucket.create(crop(key)),
        { code: 'NAME_INVALID' },
        `create ${JSON.stringify(key.slice(0, 40))}`,
      )
      await t.rejects(bucket.replace(crop(key)), { code: 'NAME_INVALID' })
      await t.rejects(bucket.read(key), { code: 'NAME_INVALID' })
      t.throws(() => bucket.url(key), { code: 'NAME_INVALID' })
      await t.rejects(bucket.remove(['s/1.jpg', key]), { code: 'NAME_INVALID' })
      if (key === '' || isKey(key.replace(/\/$/, ''))) continue // a prefix, and a good one
      await t.rejects(keysOf(bucket.list(key)), { code: 'NAME_INVALID' }, `list ${JSON.stringify(key)}`)
      await t.rejects(Array.fromAsync(bucket.folders(key)), { code: 'NAME_INVALID' })
    }
  })

  t.test('a list shows keys that begin with the prefix, in their order, with size and time', async (t) => {
    await using bucket = await factory.open(t)
    const keys = ['s/d/c/2.jpg', 's/d/c/10.jpg', 's/d-2/c/1.jpg', 's/d.jpg', 's2/1.jpg']
    const beforeMs = Date.now()
    await Promise.all(keys.map((key) => bucket.create(crop(key, 'x'.repeat(key.length)))))
    t.same(await keysOf(bucket.list('s/')), ['s/d-2/c/1.jpg', 's/d.jpg', 's/d/c/10.jpg', 's/d/c/2.jpg'])
    t.same(await keysOf(bucket.list('s/d/')), ['s/d/c/10.jpg', 's/d/c/2.jpg'])
    t.same(await keysOf(bucket.list('s/d')), ['s/d-2/c/1.jpg', 's/d.jpg', 's/d/c/10.jpg', 's/d/c/2.jpg'])
    t.same(await keysOf(bucket.list('s2/1.jpg')), ['s2/1.jpg'])
    t.same(await keysOf(bucket.list('not/there/')), [])
    t.ok((await keysOf(bucket.list(''))).includes('s2/1.jpg'))
    for await (const { key, bytes, modifiedAtMs } of bucket.list('s/')) {
      t.equal(bytes, key.length)
      t.ok(Math.abs(modifiedAtMs - beforeMs) < 60_000, `${modifiedAtMs}`)
    }
  })

  t.test('the next level below a prefix is named, and no object in it', async (t) => {
    await using bucket = await factory.open(t)
    for (const key of ['a/d/1.jpg', 'a/e/1.jpg', 'a/1.jpg', 'b/d/1.jpg', '1.jpg'])
      await bucket.create(crop(key))
    t.same(await Array.fromAsync(bucket.folders('')), ['a', 'b'])
    t.same(await Array.fromAsync(bucket.folders('a/')), ['d', 'e'])
    t.same(await Array.fromAsync(bucket.folders('c/')), [])
  })

  t.test('what is removed is gone, what was not there is no error, and the rest stays', async (t) => {
    await using bucket = await factory.open(t)
    const keys = Array.from({ length: 150 }, (_, i) => `s/d/c/${i}.jpg`)
    await Promise.all([...keys, 's/e/1.jpg'].map((key) => bucket.create(crop(key))))
    await bucket.remove([...keys, 's/d/c/none.jpg', 'none/at/all.jpg', 's/e/1.jpg/below.jpg', 's'])
    await bucket.remove([])
    t.same(await keysOf(bucket.list('s/')), ['s/e/1.jpg'])
    t.same(await Array.fromAsync(bucket.folders('s/')), ['e'])
    await bucket.sync()
    t.equal(await bucket.create(crop('s/d/c/1.jpg')), 'stored', 'and it can be written again')
    await bucket.sync()
  })

  t.test('an aborted signal stops a write before it starts', async (t) => {
    await using bucket = await factory.open(t)
    const stopped = AbortSignal.abort(new Error('stopped'))
    await t.rejects(bucket.create(crop('s/1.jpg'), stopped))
    await t.rejects(bucket.replace(crop('s/1.jpg'), stopped))
    await t.rejects(bucket.remove(['s/1.jpg'], stopped))
    await t.rejects(keysOf(bucket.list('', stopped)))
    t.equal(await bucket.read('s/1.jpg'), undefined)
  })

  t.test('sync resolves with nothing to do, twice at once and under writing', async (t) => {
    await using bucket = await factory.open(t)
    await Promise.all([bucket.sync(), bucket.sync()])
    const writes = Array.from({ length: 50 }, (_, i) => bucket.create(crop(`w/${i}.jpg`)))
    await Promise.all([...writes, bucket.sync(), bucket.sync()])
  })

  t.test('closing twice is one closing, and a closed bucket says that it is', async (t) => {
    const bucket = await factory.open(t)
    await bucket.create(crop('s/1.jpg'))
    await Promise.all([bucket[Symbol.asyncDispose](), bucket[Symbol.asyncDispose]()])
    await t.rejects(bucket.create(crop('s/2.jpg')), { code: 'BUCKET_REFUSED', message: /closed/ })
    await t.rejects(bucket.replace(crop('s/2.jpg')), { code: 'BUCKET_REFUSED' })
    await t.rejects(bucket.remove(['s/1.jpg']), { code: 'BUCKET_REFUSED' })
    await t.rejects(bucket.sync(), { code: 'BUCKET_REFUSED' })
  })

  t.test('closing waits for what was asked for', async (t) => {
    const bucket = await factory.open(t)
    const writes = Array.from({ length: 30 }, (_, i) => bucket.create(crop(`s/${i}.jpg`)))
    if (bucket.description.startsWith('folder')) await bucket[Symbol.asyncDispose]()
    t.same(
      (await Promise.all(writes)).filter((outcome) => outcome !== 'stored'),
      [],
    )
    await bucket[Symbol.asyncDispose]()
  })

  t.test('an address ends with the key and says nothing of credentials', async (t) => {
    await using bucket = await factory.open(t)
    t.match(bucket.url('s/d/1.jpg'), /^\w+:\/\/.*\/s\/d\/1\.jpg$/)
    t.notMatch(bucket.url('s/d/1.jpg') + bucket.description, /testkey|testsecret/)
  })
}
