import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { bucketContract } from './bucket-contract.ts'

const crop = (key: string, text = 'a face') => ({
  key,
  body: Buffer.from(text),
  contentType: 'image/jpeg',
  cacheControl: 'no-cache',
})

t.test('the folder keeps the contract', (t) => {
  bucketContract(t, {
    open: (t) => FolderBucket.open({ path: join(t.testdir(), 'crops') }),
    reopen: (t) => FolderBucket.open({ path: join(t.testdirName, 'crops') }),
    createsOnce: true,
  })
  t.end()
})

t.test('a folder below a file is refused with a sentence that names it', async (t) => {
  const path = join(t.testdir({ file: 'x' }), 'file', 'crops')
  await t.rejects(FolderBucket.open({ path }), { code: 'FOLDER_UNWRITABLE', message: path })
})

t.test('a file where the folder should be is refused', async (t) => {
  const path = join(t.testdir({ crops: 'x' }), 'crops')
  await t.rejects(FolderBucket.open({ path }), { code: 'FOLDER_UNWRITABLE' })
})

t.test(
  'a folder that this user may not write is refused',
  { skip: process.getuid?.() === 0 && 'root may write everywhere' },
  async (t) => {
    const path = t.testdir()
    mkdirSync(join(path, 'locked'), { mode: 0o500 })
    await t.rejects(FolderBucket.open({ path: join(path, 'locked') }), { code: 'FOLDER_UNWRITABLE' })
  },
)

/** A disk of 300 KB in a mount namespace of its own, for whoever may make one. */
function onSmallDisk(path: string, script: string) {
  const run = `mount -t tmpfs -o size=300k tmpfs "$0" && exec "$1" --input-type=module-typescript -e "$2"`
  return spawnSync('unshare', ['-rm', 'sh', '-c', run, path, process.execPath, script], { encoding: 'utf8' })
}
const noSmallDisk = onSmallDisk(tmpdir(), '').status !== 0 && 'this user may not mount a small disk'

t.test(
  'a full disk is called a full disk, and writing goes on when there is space',
  { skip: noSmallDisk },
  async (t) => {
    const path = t.testdir()
    const { stdout, stderr } = onSmallDisk(
      path,
      `import { FolderBucket } from '${new URL('../../lib/buckets/folder.ts', import.meta.url)}'
    import { readdirSync, rmSync } from 'node:fs'
    const path = ${JSON.stringify(path)}
    const bucket = await FolderBucket.open({ path })
    const crop = (n) => ({ key: 's/' + n + '.jpg', body: Buffer.alloc(120_000), contentType: '', cacheControl: '' })
    const codes = []
    const write = (n) => bucket.create(crop(n)).then((outcome) => codes.push(outcome), ({ code }) => codes.push(code))
    for (let n = 0; n < 4; n++) await write(n)
    await bucket.sync()
    codes.push(readdirSync(path + '/.incoming').length)
    rmSync(path + '/s/0.jpg')
    await write(4)
    await bucket[Symbol.asyncDispose]()
    console.log(JSON.stringify(codes))`,
    )
    t.same(JSON.parse(stdout || JSON.stringify(stderr)), [
      'stored',
      'stored',
      'DISK_FULL',
      'DISK_FULL',
      0,
      'stored',
    ])
  },
)

t.test('a folder that is gone (its disk unmounted) is not quietly made anew', async (t) => {
  const path = join(t.testdir(), 'crops')
  const bucket = await FolderBucket.open({ path })
  await bucket.create(crop('s/1.jpg'))
  rmSync(path, { recursive: true })
  await t.rejects(bucket.create(crop('s/2.jpg')), { code: 'BUCKET_NOT_FOUND', message: /mounted/ })
  await t.rejects(bucket.remove(['s/1.jpg']), { code: 'BUCKET_NOT_FOUND' })
  for (const prefix of ['', 's/'])
    await t.rejects(Array.fromAsync(bucket.list(prefix)), { code: 'BUCKET_NOT_FOUND' })
  t.notOk(existsSync(path))
  await bucket[Symbol.asyncDispose]()
})

t.test('a folder inside that was cleared away is made again', async (t) => {
  const path = t.testdir()
  await using bucket = await FolderBucket.open({ path })
  await bucket.create(crop('s/d/1.jpg'))
  rmSync(join(path, 's'), { recursive: true })
  t.equal(await bucket.create(crop('s/d/2.jpg')), 'stored')
  await bucket.sync()
  t.same(readdirSync(join(path, 's/d')), ['2.jpg'])
})

t.test('a list leaves out temporary files, links and names that are no keys', async (t) => {
  const path = t.testdir({
    elsewhere: { 'secret.jpg': 'x' },
    crops: { s: { '1.jpg': 'x', 'a b.jpg': 'x', '.h.jpg': 'x' } },
  })
  symlinkSync(join(path, 'elsewhere'), join(path, 'crops/linked'))
  symlinkSync(join(path, 'elsewhere/secret.jpg'), join(path, 'crops/s/2.jpg'))
  await using bucket = await FolderBucket.open({ path: join(path, 'crops') })
  writeFileSync(join(path, 'crops/.incoming/3.jpg'), 'x')
  t.same(
    (await Array.fromAsync(bucket.list(''))).map(({ key }) => key),
    ['s/1.jpg'],
  )
  t.same(await Array.fromAsync(bucket.folders('')), ['s'])
})

t.test(
  'folders that become empty go, also while another writer creates in them, and nothing fails',
  async (t) => {
    const path = t.testdir()
    await using bucket = await FolderBucket.open({ path })
    await using other = await FolderBucket.open({ path })
    await bucket.create(crop('s/d/c/1.jpg'))
    await bucket.remove(['s/d/c/1.jpg'])
    t.same(readdirSync(path), ['.incoming'])
    const inTurn = async (writer: FolderBucket, name: string) => {
      for (let i = 0; i < 150; i += 1) {
        await writer.create(crop(`s/d/c/${name}-${i}.jpg`))
        await writer.remove([`s/d/c/${name}-${i}.jpg`])
      }
      await writer.create(crop(`s/d/c/${name}.jpg`))
    }
    await Promise.all([inTurn(bucket, 'a'), inTurn(other, 'b')])
    await Promise.all([bucket.sync(), other.sync()])
    t.same(readdirSync(join(path, 's/d/c')).sort(), ['a.jpg', 'b.jpg'])
  },
)

t.test('what a power cut left of an object is written anew', async (t) => {
  const path = t.testdir({ 'empty.jpg': '', 'half.jpg': 'a fa', 'other.jpg': 'b' })
  await using bucket = await FolderBucket.open({ path })
  t.equal(await bucket.create(crop('empty.jpg')), 'stored')
  t.equal(await bucket.create(crop('half.jpg')), 'stored')
  t.equal(await bucket.create(crop('other.jpg')), 'already-there')
  t.same(
    ['empty.jpg', 'half.jpg', 'other.jpg'].map((name) => readFileSync(join(path, name), 'utf8')),
    ['a face', 'a face', 'b'],
  )
})

t.test('no temporary file stays behind, and old ones are cleared at start', async (t) => {
  const path = t.testdir({ '.incoming': { old: 'x', young: 'x' } })
  utimesSync(join(path, '.incoming/old'), new Date(0), new Date(0))
  {
    await using bucket = await FolderBucket.open({ path })
    await bucket.create(crop('a.jpg'))
    await bucket.create(crop('a.jpg'))
    await bucket.replace(crop('b.jpg'))
    await bucket.replace(crop('b.jpg'))
    await bucket.sync()
  }
  t.same(readdirSync(join(path, '.incoming')), ['young'])
  t.same(statSync(join(path, 'a.jpg')).nlink, 1)
})

t.test('more files than descriptors are kept for a sync are all synced', async (t) => {
  const path = t.testdir()
  await using bucket = await FolderBucket.open({ path })
  const open = () => readdirSync('/proc/self/fd').length
  const before = open()
  await Promise.all(Array.from({ length: 1200 }, (_, i) => bucket.create(crop(`s/${i}.jpg`))))
  t.ok(open() - before <= 522, `${open() - before} descriptors open before the sync`)
  await bucket.sync()
  t.ok(open() - before <= 10, `${open() - before} after it`)
})

t.test('a file removed between create and sync does not fail the sync', async (t) => {
  const path = t.testdir()
  await using bucket = await FolderBucket.open({ path })
  writeFileSync(join(path, 'there.jpg'), 'a face')
  await bucket.create(crop('there.jpg'))
  await bucket.create(crop('s/1.jpg'))
  rmSync(join(path, 'there.jpg'))
  rmSync(join(path, 's'), { recursive: true })
  await bucket.sync()
})

t.test('an address is below publicUrl, or a file address', async (t) => {
  const path = t.testdir()
  {
    await using bucket = await FolderBucket.open({ path, publicUrl: 'http://127.0.0.1:8080/' })
    t.equal(bucket.url('s/1.jpg'), 'http://127.0.0.1:8080/s/1.jpg')
  }
  await using bucket = await FolderBucket.open({ path })
  await bucket.create(crop('s/1.jpg'))
  t.equal(readFileSync(new URL(bucket.url('s/1.jpg')), 'utf8'), 'a face')
})

t.test(
  'open for reading alone, a folder is left as it is: nothing is made, nothing can be written',
  async (t) => {
    const path = join(t.testdir(), 'bucket')
    await using early = await FolderBucket.open({ path, access: 'read' })
    t.notOk(existsSync(path), 'the subscriber makes it')
    await t.rejects(
      Array.fromAsync(early.list('')),
      { code: 'BUCKET_NOT_FOUND' },
      'one that is not there is not an empty one',
    )
    await using writer = await FolderBucket.open({ path })
    await writer.create(crop('home/door/hall/2026/11/20/13/a.jpg'))
    await writer.sync()
    const before = readdirSync(path, { recursive: true }).sort()
    await using reader = await FolderBucket.open({ path, access: 'read' })
    const key = 'home/door/hall/2026/11/20/13/a.jpg'
    for (const bucket of [early, reader]) {
      t.match(
        (await Array.fromAsync(bucket.list(''))).map((it) => it.key),
        [key],
      )
      t.ok(await bucket.read(key))
      await t.rejects(bucket.create(crop('home/door/hall/2026/11/20/13/b.jpg')), { code: 'BUCKET_REFUSED' })
      await t.rejects(bucket.remove([key]), { code: 'BUCKET_REFUSED', message: /reading only/ })
    }
    t.strictSame(readdirSync(path, { recursive: true }).sort(), before)
  },
)
