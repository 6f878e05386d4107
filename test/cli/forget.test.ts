import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import { brokerForget } from '../../broker/forget.ts'
import { encodeMessage, packMessage, unpackMessage } from '../../broker/message.ts'
import { Persistence } from '../../broker/persistence.ts'
import { Pump } from '../../broker/pump.ts'
import { Sessions } from '../../broker/sessions.ts'
import { encodeEntry, inboxHeader } from '../../cloud-subscriber/entry.ts'
import { IndexWriter, readIndex } from '../../cloud-subscriber/gallery/index-files.ts'
import { RecentIds } from '../../cloud-subscriber/recent-ids.ts'
import { forgetCrops } from '../../commands/forget/crops.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import type { Selection } from '../../wire/forget.ts'
import { selectsMessage } from '../../wire/forget.ts'
import { objectKey } from '../../wire/object-key.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { makeCrop, received } from '../kit/crops.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import { brokerConfig, missing, Program, subscriberConfig, type temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { configFile } from './sightline.ts'

type Tap = Parameters<typeof temporaryFolder>[0]
type Crop = ReturnType<typeof makeCrop>

const BOUNDS: QueueBounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity, whenFull: 'reject' }
const log = pino({ level: 'silent' })
const PI: Selection = { kind: 'device', site: 'home', device: 'pi' }
const DAY: Selection = { kind: 'day', day: '2026-11-20' }
const [ON_THE_DAY, DAY_BEFORE] = [Date.UTC(2026, 10, 20, 13), Date.UTC(2026, 10, 19, 23, 59)]

async function forget(
  t: Tap,
  configs: readonly Record<string, unknown>[],
  selection: Selection,
  settings: { dryRun?: boolean; yes?: boolean } = {},
): Promise<string> {
  let text = ''
  const print = (more: string) => {
    text += more
  }
  const files = configs.map((config) => configFile(t, config))
  await forgetCrops({ selection, files, dryRun: false, yes: true, env: {}, print, ...settings })
  return text
}

t.test('a message belongs to a device, camera, day or id by its topic or by its metadata', async (t) => {
  const { metadata, topic, payload } = makeCrop({ capturedAtMs: ON_THE_DAY })
  const cut = payload.subarray(0, 500)
  const is = (selection: Selection, as = topic, bytes: Buffer = payload, receivedAtMs?: number) =>
    selectsMessage(selection, as, bytes, receivedAtMs)
  const camera = (camera: string): Selection => ({ kind: 'camera', site: 'home', device: 'pi', camera })
  const id = (id: string): Selection => ({ kind: 'id', id })
  for (const [as, bytes] of [
    [topic, cut],
    ['x/y/z', payload],
    ['another/prefix/home/pi/door/crop', Buffer.from('no crop')],
  ] as const) {
    t.ok(is(PI, as, bytes))
    t.ok(is(camera('door'), as, bytes))
    t.notOk(is(camera('yard'), as, bytes))
    t.notOk(is({ ...PI, device: 'p' }, as, bytes))
  }
  t.ok(is(PI, 'sightline/v1/home/pi/status', Buffer.from('{}')), 'its status is the device’s too')
  t.notOk(is(camera('door'), 'sightline/v1/home/pi/status', Buffer.from('{}')))
  for (const own of ['desired', 'reported']) {
    t.ok(is(PI, `sightline/v1/home/pi/${own}`, Buffer.from('{}')), own)
    t.notOk(is(PI, `sightline/v1/home/jetson/${own}`, Buffer.from('{}')), own)
  }
  t.ok(is(id(metadata.id)) && is(id(metadata.id), topic, cut), 'also where the picture is cut off')
  t.notOk(is(id(makeCrop().metadata.id)))
  t.ok(is(DAY))
  t.notOk(is({ kind: 'day', day: '2026-11-19' }))
  t.ok(is(DAY, topic, cut, ON_THE_DAY), 'the day of receipt where the metadata cannot be read')
  t.notOk(is(DAY, topic, cut, DAY_BEFORE))
})

t.test('a broker lets go of it in every queue, in flight too, and the books say so', async (t) => {
  const config = brokerConfig(t)
  const { folder } = config.store as { folder: string }
  const [mine, other] = [makeCrop(), makeCrop({ device: 'jetson' })]
  const fill = async (store: Store) => {
    const [uplink, session] = [store.queue('bridge/cloud', BOUNDS), store.queue('session/reader', BOUNDS)]
    const quarantine = store.queue('quarantine/cloud', BOUNDS)
    for (const { topic, payload } of [mine, other, mine]) {
      await store.accept(encodeMessage({ topic, payload, qos: 1 }), [uplink, session])
      const header = { topic, qos: 1, receivedAtMs: 1, reason: 'too large', detail: '' }
      await store.accept({ header: Buffer.from(JSON.stringify(header)), body: payload }, [quarantine])
      await store.put('retained', topic, packMessage({ topic, payload, qos: 0 }))
      await store.put('incoming', receiptOf(topic), packMessage({ topic, payload, qos: 2 }))
    }
    return { uplink, session, quarantine }
  }
  let store = await Store.open({ folder })
  t.after(() => store[Symbol.asyncDispose]())
  await fill(store)
  await store[Symbol.asyncDispose]()
  const counted = await forget(t, [config], PI, { dryRun: true })
  t.match(counted, /queue bridge\/cloud: 2 to remove/)
  const text = await forget(t, [config], PI)
  for (const line of [
    'queue bridge/cloud: 2 removed',
    'queue session/reader: 2 removed',
    'queue quarantine/cloud: 2 removed',
    'retained messages: 1 removed',
    'QoS 2 messages not yet released by their senders: 1 removed',
    'Removed in total: 8.',
    'edge before cloud',
  ])
    t.match(text, line)
  t.match(await forget(t, [config], PI), 'Removed in total: 0.', 'and then there is nothing more')

  store = await Store.open({ folder })
  t.strictSame([...store.queues.keys()].sort(), ['bridge/cloud', 'quarantine/cloud', 'session/reader'])
  for (const [name, queue] of store.queues) {
    t.match(queue.books, { accepted: 3, pending: 1, dropped: { forgotten: 2 } }, name)
    t.equal(missing(queue.books), 0)
    t.ok(queue.read(queue.after(0) ?? 0)?.body.equals(other.payload), 'and the other device’s stays')
  }
  t.strictSame(
    [...store.entries('retained')].map(({ key }) => key),
    [other.topic],
  )
  const receipt = store.get('incoming', receiptOf(mine.topic))
  t.match(
    receipt && unpackMessage(receipt),
    { topic: mine.topic, payload: { length: 0 } },
    'a receipt stays one',
  )

  await t.test('what is in flight is acknowledged as ever, and not sent again', async (t) => {
    const queue = store.queue('bridge/second', BOUNDS)
    const pump = new Pump(queue, 10)
    const sent: { topic: string; messageId: number }[] = []
    const farEnd = {
      publish: ({ topic }: { topic: string }, messageId: number) => sent.push({ topic, messageId }) > 0,
      release: () => true,
    }
    for (const { topic, payload } of [mine, mine, other])
      await store.accept(encodeMessage({ topic, payload, qos: 1 }), [queue])
    pump.attach(farEnd)
    t.equal(sent.length, 3)
    const sessions = Sessions.open({ store, declared: [], bounds: BOUNDS, inFlightMax: 1 })
    const persistence = new Persistence({
      store,
      sessions,
      retained: { entriesMax: 2, bytesMax: 1e6 },
      senderOf: () => '',
      userOf: () => undefined,
    })
    const retain = (topic: string) =>
      persistence.retain({ topic, payload: mine.payload, qos: 0, retain: true })
    await retain(mine.topic)
    t.throws(() => void retain('another/topic'), { code: 'RETAINED_FULL' })
    const request = { selection: PI, dryRun: false }
    await Array.fromAsync(brokerForget(store, persistence)(request, new AbortController().signal))
    await t.resolves(retain('another/topic'), 'and there is room again for what others retain')
    pump.acknowledge(sent[0]?.messageId as number)
    pump.detach(farEnd)
    sent.length = 0
    pump.attach(farEnd)
    t.match(sent, [{ topic: other.topic }])
    pump.acknowledge(sent[0]?.messageId as number)
    t.equal(pump.flights.size, 0)
    await store.committed()
    t.strictSame(queue.books, { accepted: 3, forwarded: 1, pending: 0, dropped: { forgotten: 2 } })
  })
})

/** As a client's receipt is named in the store. */
const receiptOf = (topic: string) => `${topic.length}:${topic}:1`

const keyOf = (metadata: CropMetadata, filedAtMs = metadata.capturedAtMs) => objectKey(metadata, filedAtMs)

/** A bucket with crops that two subscribers have listed. */
async function filledBucket(
  path: string,
  crops: readonly { crop: Crop; filedAtMs?: number; writer: string }[],
) {
  await using bucket = await FolderBucket.open({ path })
  for (const name of ['subscriber', 'second']) {
    await using index = await IndexWriter.open({ bucket, writer: name, log })
    for (const { crop, filedAtMs, writer } of crops.filter(({ writer }) => writer === name)) {
      const atMs = filedAtMs ?? crop.metadata.capturedAtMs
      const clockSane = filedAtMs === undefined
      const header = inboxHeader({ ...crop.metadata, clockSane }, received(atMs))
      await bucket.create({
        key: header.key,
        body: crop.payload,
        contentType: 'image/jpeg',
        cacheControl: writer,
      })
      void index.add({ ...header, storedAtMs: Date.now() })
    }
  }
}

async function listed(path: string, writer: string): Promise<string[]> {
  await using bucket = await FolderBucket.open({ path })
  return (await Array.fromAsync(readIndex(bucket, writer, log))).map(({ id }) => id).sort()
}

t.test('a stopped subscriber: inbox, quarantine, bucket and its own index', async (t) => {
  const config = subscriberConfig(t, 'mqtt://127.0.0.1:1', { gallery: {} })
  const { folder } = config.inbox as { folder: string }
  const { path } = config.bucket as { path: string }
  const stored = makeCrop({ capturedAtMs: ON_THE_DAY })
  const late = makeCrop({ capturedAtMs: 1000, clockSane: false })
  const before = makeCrop({ capturedAtMs: DAY_BEFORE })
  const second = makeCrop({ capturedAtMs: ON_THE_DAY })
  await filledBucket(path, [
    { crop: stored, writer: 'subscriber' },
    { crop: late, filedAtMs: ON_THE_DAY, writer: 'subscriber' },
    { crop: before, writer: 'subscriber' },
    { crop: second, writer: 'second' },
  ])
  writeFileSync(join(path, 'note.jpg'), 'no crop of ours')
  const waiting = makeCrop({ capturedAtMs: ON_THE_DAY })
  const store = await Store.open({ folder })
  const [inbox, quarantine] = [store.queue('inbox', BOUNDS), store.queue('quarantine', BOUNDS)]
  for (const { metadata, payload } of [waiting, makeCrop({ capturedAtMs: DAY_BEFORE })])
    await store.accept(
      encodeEntry(inboxHeader(metadata, received(metadata.capturedAtMs)), payload),
      [inbox],
      { key: metadata.id },
    )
  const odd = { topic: 'x', receivedAtMs: ON_THE_DAY, reason: 'not a JPEG', detail: '' }
  await store.accept(encodeEntry(odd, Buffer.from('?')), [quarantine])
  await store[Symbol.asyncDispose]()

  await t.rejects(forget(t, [config], DAY, { yes: false }), { code: 'USAGE', message: /--yes/ })
  t.match(await forget(t, [config], DAY, { dryRun: true }), 'To remove in total: 7.')
  t.equal(storedKeys(path).length, 5, 'counting removes nothing')
  const text = await forget(t, [config], DAY)
  for (const line of [
    'inbox: 1 removed',
    'quarantine: 1 removed',
    'gallery index of subscriber: 2 removed',
    `folder ${path}: 3 removed`,
    'gallery index of second: 1 listed by another subscriber',
    'Removed in total: 7.',
  ])
    t.match(text, line)
  t.strictSame(storedKeys(path), [keyOf(before.metadata), 'note.jpg'].sort())
  t.strictSame(await listed(path, 'subscriber'), [before.metadata.id])
  t.strictSame(await listed(path, 'second'), [second.metadata.id], 'which is not ours to write')
  await forget(t, [{ ...config, name: 'second' }], DAY)
  t.strictSame(await listed(path, 'second'), [])

  const after = await Store.open({ folder })
  t.after(() => after[Symbol.asyncDispose]())
  const recent = new RecentIds(after, 1000)
  for (const { metadata } of [stored, late, second, waiting]) t.ok(recent.has(metadata.id))
  t.notOk(recent.has(before.metadata.id))
  t.strictSame([...after.queues.keys()].sort(), ['clips', 'inbox', 'quarantine'])
  for (const queue of after.queues.values())
    if (queue.name !== 'clips') t.match(queue.books, { dropped: { forgotten: 1 } })
})

t.test('one crop is found by its id, also that of a device whose clock was not set', async (t) => {
  const config = subscriberConfig(t, 'mqtt://127.0.0.1:1', { gallery: {} })
  const { path } = config.bucket as { path: string }
  await (await Store.open(config.inbox as { folder: string }))[Symbol.asyncDispose]()
  const [one, late, stays] = [makeCrop(), makeCrop(), makeCrop()]
  await filledBucket(path, [
    { crop: one, writer: 'subscriber' },
    { crop: late, filedAtMs: ON_THE_DAY, writer: 'subscriber' },
    { crop: stays, writer: 'subscriber' },
  ])
  for (const { metadata } of [one, late])
    t.match(await forget(t, [config], { kind: 'id', id: metadata.id }), 'Removed in total: 2.')
  t.strictSame(storedKeys(path), [keyOf(stays.metadata)])
  t.strictSame(await listed(path, 'subscriber'), [stays.metadata.id])
})

t.test('a subscriber that runs does it itself, and stores no copy that comes later', async (t) => {
  const broker = await FakeBroker.start(t)
  const subscriber = await Program.start(t, 'subscriber', subscriberConfig(t, broker.url, { gallery: {} }))
  const { path } = subscriber.config.bucket as { path: string }
  await until('it has subscribed', () => broker.client !== undefined)
  const mine = Array.from({ length: 30 }, () => makeCrop())
  const other = makeCrop({ device: 'jetson' })
  broker.publish([...mine, other])
  await until('they are acknowledged', () => broker.pubacks.length === 31)
  // Some are in the bucket, some on their way to it.
  const text = await forget(t, [subscriber.config], PI)
  t.match(text, /^Removed in total: \d+\.$/m)
  t.strictSame(storedKeys(path), [keyOf(other.metadata)])
  broker.publish(mine.slice(0, 5), 32)
  await until('the copies are acknowledged', () => broker.pubacks.length === 36)
  await until('the inbox is empty', async () => (await subscriber.books('inbox')).pending === 0)
  t.strictSame(storedKeys(path), [keyOf(other.metadata)])
  const books = await subscriber.books('inbox')
  t.equal(books.accepted, 31)
  t.equal(missing(books), 0)
  t.equal(await subscriber.stop(), 0)
  t.strictSame(await listed(path, 'subscriber'), [other.metadata.id])
  const head = JSON.parse(readFileSync(join(path, 'gallery/index/subscriber/head.json'), 'utf8'))
  t.strictSame(head.devices, ['home/jetson'])
})
