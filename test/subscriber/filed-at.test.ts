import { join } from 'node:path'
import t from 'tap'
import { inboxHeader, isFiledByReceipt } from '../../cloud-subscriber/entry.ts'
import { filedAtMs } from '../../cloud-subscriber/filed-at.ts'
import { findCrop, keysWithId } from '../../lib/buckets/find.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { idMinter } from '../../wire/id.ts'
import { objectKey } from '../../wire/object-key.ts'
import { cropMetadata, received } from '../kit/crops.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const NOW_MS = Date.UTC(2026, 10, 20, 13, 30)
const at = (capturedAtMs: number, receipt = received(NOW_MS), clockSane = true) =>
  filedAtMs({ capturedAtMs, clockSane }, receipt)

t.test('a crop is filed under its capture, from a clock a little ahead to a backlog of weeks', (t) => {
  for (const aheadMs of [0, 15 * MINUTE_MS, -MINUTE_MS, -DAY_MS, -30 * DAY_MS, -31 * DAY_MS])
    t.equal(at(NOW_MS + aheadMs), NOW_MS + aheadMs)
  t.end()
})

t.test('a capture time that cannot be is not believed, ahead or back: the time of receipt counts', (t) => {
  const claims = [
    NOW_MS + 15 * MINUTE_MS + 1,
    NOW_MS + DAY_MS,
    Date.UTC(9999, 11, 31, 23, 59, 59, 999),
    NOW_MS - 31 * DAY_MS - 1,
    Date.UTC(2024, 0),
    0,
  ]
  for (const claim of claims) t.equal(at(claim), NOW_MS, new Date(claim).toISOString())
  t.equal(at(NOW_MS - DAY_MS, received(NOW_MS), false), NOW_MS, 'nor one of a clock that was not set')
  t.end()
})

t.test('the subscriber’s own clock may be wrong: what cameras say is not judged by it then', (t) => {
  t.equal(at(NOW_MS, received(5000)), NOW_MS, 'it was never set')
  const leapt = { atMs: NOW_MS + 400 * DAY_MS, steadyMs: NOW_MS }
  t.equal(at(NOW_MS - DAY_MS, leapt), NOW_MS - DAY_MS, 'it leapt ahead')
  const set = { atMs: NOW_MS, steadyMs: NOW_MS - 400 * DAY_MS }
  t.equal(at(NOW_MS, set), NOW_MS, 'it was behind, and has just been set right')
  t.end()
})

t.test('the entry has both times, and its key follows from the one it is filed under', (t) => {
  const claim = Date.UTC(9999, 11, 31)
  const crop = cropMetadata({ capturedAtMs: claim })
  const header = inboxHeader(crop, received(NOW_MS))
  t.match(header, {
    capturedAtMs: claim,
    filedAtMs: NOW_MS,
    key: `home/pi/door/2026/11/20/13/${crop.id}.jpg`,
  })
  t.ok(isFiledByReceipt(header))
  t.notOk(isFiledByReceipt(inboxHeader(cropMetadata({ capturedAtMs: NOW_MS }), received(NOW_MS))))
  t.end()
})

t.test('a photo’s name goes into the entry, and no field where there is none', (t) => {
  t.match(inboxHeader(cropMetadata({ file: 'IMG_1.JPG' }), received()), { file: 'IMG_1.JPG' })
  t.notOk('file' in inboxHeader(cropMetadata(), received()))
  t.end()
})

t.test('a crop that was filed twice, by its capture and by its receipt, is found twice', async (t) => {
  await using bucket = await FolderBucket.open({ path: join(t.testdir(), 'crops') })
  const crop = { site: 'home', device: 'pi', camera: 'door', id: idMinter(() => NOW_MS)() }
  const keys = [NOW_MS, NOW_MS - 3 * DAY_MS].map((ms) => objectKey(crop, ms))
  const other = objectKey({ ...crop, id: idMinter(() => NOW_MS)() }, NOW_MS)
  for (const key of [...keys, other])
    await bucket.create({ key, body: Buffer.from('a face'), contentType: '', cacheControl: '' })
  t.same(await Array.fromAsync(keysWithId(bucket, crop.id)), keys)
  t.equal(await findCrop(bucket, crop.id), keys[0])
})
