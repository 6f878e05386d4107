import pino from 'pino'
import t, { type Test } from 'tap'
import { encodeEntry, type InboxHeader, inboxHeader } from '../../cloud-subscriber/entry.ts'
import { allowedWithoutLogin, galleryRoutes } from '../../cloud-subscriber/gallery/serve.ts'
import { takeCustody } from '../../cloud-subscriber/keep.ts'
import { openLanes } from '../../cloud-subscriber/lanes.ts'
import { SignedLinks } from '../../cloud-subscriber/links.ts'
import { subscriberQuarantine } from '../../cloud-subscriber/quarantine.ts'
import { Storer } from '../../cloud-subscriber/store.ts'
import type { ObjectToStore } from '../../lib/buckets/bucket.ts'
import { FolderBucket } from '../../lib/buckets/folder.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { MqttLink } from '../../lib/mqtt/link.ts'
import { Intake } from '../../store/intake.ts'
import { Store } from '../../store/store.ts'
import { CLIP, keptTopic } from '../../wire/kinds.ts'
import { TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { makeClip } from '../kit/clips.ts'
import { makeCrop, received } from '../kit/crops.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

const log = pino({ level: 'silent' })
const topicOf = (metadata: ReturnType<typeof makeClip>['metadata']) =>
  keptTopic(TOPIC_PREFIX_DEFAULT, CLIP, metadata)

async function opened(t: Test) {
  const store = await Store.open({ folder: temporaryFolder(t) })
  t.after(() => store[Symbol.asyncDispose]())
  const bounds = { entriesMax: 1e6, bytesMax: 1e9, ageMsMax: Infinity } as const
  const quarantine = store.queue('quarantine', { ...bounds, whenFull: 'drop-oldest' })
  return { store, quarantine, lanes: openLanes(store) }
}

t.test('so many bytes of clips are written at a time, and no more, but always one', async (t) => {
  const { store, quarantine, lanes } = await opened(t)
  const bucket = await FolderBucket.open({ path: temporaryFolder(t) })
  t.after(() => bucket[Symbol.asyncDispose]())
  const gate = Promise.withResolvers<void>()
  const active: number[] = []
  let activeMax = 0
  const slow = Object.assign(Object.create(bucket) as FolderBucket, {
    sync: () => bucket.sync(),
    create: async (object: ObjectToStore) => {
      active.push(object.body.byteLength)
      activeMax = Math.max(
        activeMax,
        active.reduce((a, b) => a + b, 0),
      )
      await gate.promise
      active.splice(active.indexOf(object.body.byteLength), 1)
      return bucket.create(object)
    },
  })
  for (const bytes of [400_000, 400_000, 400_000, 2_000_000, 100_000, 100_000]) {
    const { metadata, payload } = makeClip({}, bytes)
    await store.accept(encodeEntry(inboxHeader(metadata, received(), CLIP), payload), [lanes.clips.inbox])
  }
  const storer = Storer.open({
    ...{ store, quarantine, bucket: slow, index: undefined, publicRead: false, log },
    ...lanes.clips,
    writesMax: 16,
    writingBytesMax: 1_000_000,
    topicPrefix: TOPIC_PREFIX_DEFAULT,
    events: { stored: () => {}, alreadyThere: () => {}, failed: () => {} },
  })
  t.after(() => storer[Symbol.asyncDispose]())
  await until('it writes', () => active.length > 0)
  t.equal(active.length, 3, 'the third begins below the bound, the fourth does not')
  gate.resolve()
  await until('all are stored', () => lanes.clips.inbox.size === 0)
  t.ok(activeMax < 1_000_000 + 2_000_000 + 10_000, `${activeMax} bytes`)
})

t.test('while so many bytes are on their way to disk, nothing more is read from the broker', async (t) => {
  const broker = await FakeBroker.start(t)
  const { store, lanes } = await opened(t)
  const disk = Promise.withResolvers<void>()
  let bytes = 0
  const intake = Intake.open({
    link: {
      url: broker.url,
      clientId: 'it',
      protocol: 4,
      clean: false,
      packetBytesMax: 16e6,
      keepaliveS: 30,
      connectMsMax: 5000,
    },
    filters: ['#'],
    writingBytesMax: 1_000_000,
    reconnectMsMin: 20,
    reconnectMsMax: 100,
    store,
    inbox: lanes.clips.inbox,
    keep: ({ payload }) => {
      bytes += payload.length
      return disk.promise
    },
    log,
  })
  t.after(() => intake[Symbol.asyncDispose]())
  await intake.subscribed
  const clips = Array.from({ length: 100 }, () => makeClip({}, 200_000))
  broker.publish(clips.map(({ metadata, payload }) => ({ topic: topicOf(metadata), payload })))
  await until('it has its share', () => bytes >= 1_000_000)
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.ok(bytes < 1_500_000, `${bytes} bytes of 20 MB`)
  t.strictSame(broker.pubacks, [])
  disk.resolve()
  await until('then the rest comes', () => broker.pubacks.length === 100)
  t.strictSame(
    broker.pubacks,
    clips.map((_, n) => n + 1),
    'acknowledged in order',
  )
})

t.test('a link that is paused by what came with CONNACK stays so', async (t) => {
  const broker = await FakeBroker.start(t)
  broker.onPacket = (packet, socket) => {
    if (packet.cmd !== 'connect') return
    broker.client = socket
    broker.publish(Array.from({ length: 40 }, () => ({ topic: 'a', payload: Buffer.alloc(100_000) })))
  }
  await using link = await MqttLink.open({
    url: broker.url,
    clientId: 'it',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 30,
    connectMsMax: 5000,
  })
  let came = 0
  link.on('publish', () => {
    came += 1
    link.pause()
  })
  await until('one has come', () => came > 0)
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.ok(came < 10, `${came}`)
  link.removeAllListeners('publish')
  link.on('publish', () => {
    came += 1
  })
  link.resume()
  await until('all have come', () => came === 40)
})

t.test(
  'clips and crops that cannot be understood are quarantined, and go to their own inbox by a retry',
  async (t) => {
    const { store, quarantine, lanes } = await opened(t)
    const rules = { topicPrefix: TOPIC_PREFIX_DEFAULT, payloadBytesMax: 100_000, clipBytesMax: 300_000 }
    const reasons: string[] = []
    const take = takeCustody({
      ...{ ...rules, store, lanes, quarantine, log },
      events: { received: () => {}, duplicate: () => {}, quarantined: (reason) => reasons.push(reason) },
    })
    const [clip, large, moved] = [makeClip({}, 200_000), makeClip({}, 400_000), makeClip()]
    const crop = makeCrop()
    const topic = topicOf(clip.metadata)
    await take({ topic, payload: clip.payload, qos: 1 })
    await take({ topic, payload: large.payload, qos: 1 })
    await take({ topic, payload: clip.payload.subarray(0, 150_000), qos: 1 })
    await take({ topic: topic.replace('camera', 'other'), payload: moved.payload, qos: 1 })
    await take({ topic: topic.replace('/clip', '/crop'), payload: moved.payload, qos: 1 })
    await take({ topic: crop.topic, payload: crop.payload, qos: 1 })
    t.strictSame(reasons, ['too large', 'truncated MP4', 'wrong topic', 'not a JPEG'])
    t.match([lanes.clips.inbox.size, lanes.crops.inbox.size], [1, 1])
    const [first] = [...Array(1)].map(() => lanes.clips.inbox.after(0))
    const header = JSON.parse(String(lanes.clips.inbox.read(first ?? 0)?.header)) as InboxHeader
    t.match(
      header.key,
      /^recordings\.private\/site\/device\/camera\/\d{4}\/\d\d\/\d\d\/\d\d\/[0-9a-f-]{36}\.mp4$/,
    )
    // Another prefix from now on: what came on the wrong topic is right there.
    const wrong = { receivedAtMs: 1, reason: 'wrong topic', detail: 'then' }
    await store.accept(encodeEntry({ topic: topicOf(moved.metadata), ...wrong }, moved.payload), [quarantine])
    const retry = subscriberQuarantine({ store, lanes, quarantine }, rules)
    const outcomes = await Array.fromAsync(
      retry({ action: 'retry', numbers: 'all' }, new AbortController().signal),
    )
    t.strictSame(
      outcomes.map((it) => (it as { outcome: string }).outcome),
      ['stays', 'stays', 'stays', 'stays', 'to the inbox'],
    )
    t.ok(lanes.clips.inbox.has(moved.metadata.id))
    t.match(lanes.crops.inbox.size, 1)
  },
)

t.test('a quarantine that is smaller than a clip keeps its beginning', async (t) => {
  const { store, lanes } = await opened(t)
  const quarantine = store.queue('small', {
    entriesMax: 10,
    bytesMax: 50_000,
    ageMsMax: Infinity,
    whenFull: 'drop-oldest',
  })
  const take = takeCustody({
    ...{ topicPrefix: TOPIC_PREFIX_DEFAULT, payloadBytesMax: 1e6, clipBytesMax: 1e6 },
    ...{ store, lanes, quarantine, log },
    events: { received: () => {}, duplicate: () => {}, quarantined: () => {} },
  })
  const { metadata, payload } = makeClip({}, 200_000)
  await take({ topic: topicOf(metadata), payload: payload.subarray(0, 180_000), qos: 1 })
  t.equal(quarantine.bytes, 50_000)
  t.match(JSON.parse(String(quarantine.read(quarantine.after(0) ?? 0)?.header)), {
    reason: 'too large',
    detail: /^truncated MP4: .*the first 50000 were kept/,
  })
})

t.test('the gallery serves a recording by a signed link alone, public or signed in', async (t) => {
  const bucket = await FolderBucket.open({ path: temporaryFolder(t) })
  t.after(() => bucket[Symbol.asyncDispose]())
  const key = 'recordings.private/home/pi/door/2026/11/28/10/x.mp4'
  const picture = 'recordings.private/home/pi/door/2026/11/28/10/x.jpg'
  const keepFile = 'recordings.private/home/pi/door/keep.json'
  for (const it of [key, picture, keepFile])
    await bucket.create({ key: it, body: Buffer.from('0123456789'), contentType: '', cacheControl: '' })
  const links = SignedLinks.open(temporaryFolder(t))
  for (const publicRead of [true, false]) {
    const access = { publicRead, links }
    const http = await HttpServer.open({
      host: '127.0.0.1',
      port: 0,
      metrics: openMetrics('x'),
      health: () => ({ ok: true, checks: {} }),
      allowed: allowedWithoutLogin(access),
      routes: galleryRoutes(bucket, access),
    })
    const status = async (path: string, headers = {}) =>
      (await fetch(`${http.url}/${path}`, { headers })).status
    t.equal(await status(key), 404)
    t.equal(await status(picture), 404)
    t.equal(await status(keepFile), 404)
    const signed = key + links.sign(key, Date.now() + 60_000)
    t.equal(await status(signed), 200)
    t.equal(await status(key + links.sign(key, Date.now() - 60_000)), 403)
    t.equal(await status(key + links.sign(`${key}x`, Date.now() + 60_000)), 403)
    const part = async (range: string) => {
      const answer = await fetch(`${http.url}/${signed}`, { headers: { range } })
      return [answer.status, answer.headers.get('content-range'), await answer.text()]
    }
    t.strictSame(await part('bytes=2-4'), [206, 'bytes 2-4/10', '234'])
    t.strictSame(await part('bytes=8-'), [206, 'bytes 8-9/10', '89'])
    t.strictSame(await part('bytes=-3'), [206, 'bytes 7-9/10', '789'])
    t.strictSame((await part('bytes=10-'))[0], 416)
    t.strictSame((await part('bytes=1-2,4-5'))[0], 200, 'several parts: all of it')
    await http[Symbol.asyncDispose]()
  }
  const allowed = allowedWithoutLogin({ publicRead: true, links })
  const ask = (url: string, query = {}) => allowed({ url: `/${url}`, query } as never)
  t.notOk(ask(key))
  t.notOk(ask(keepFile))
  t.notOk(ask(picture))
})
