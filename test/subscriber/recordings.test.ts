import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { linkTo } from '../../commands/link/address.ts'
import { callProgram } from '../../lib/control.ts'
import type { ClipMetadata } from '../../wire/clip.ts'
import { FORGET_COMMAND } from '../../wire/forget.ts'
import { idMinter, newId } from '../../wire/id.ts'
import { KEEP_VERSION, type KeepMessage, keepKey, keepTopic } from '../../wire/keep.ts'
import { CLIP, keptTopic } from '../../wire/kinds.ts'
import { objectKey } from '../../wire/object-key.ts'
import { type Announcement, readBatch, storedTopic } from '../../wire/stored.ts'
import { TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { configFile } from '../cli/sightline.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { makeClip } from '../kit/clips.ts'
import { makeCrop } from '../kit/crops.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, missing, Program, subscriberConfig, type Test } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { emptyS3Bucket, makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { S3Proxy } from '../kit/s3-proxy.ts'
import { until } from '../kit/wait.ts'

// They wait for programs to start.
t.jobs = 4

const DAY_MS = 24 * 3_600_000
const AT = { site: 'home', device: 'pi', camera: 'door' } as const
const KEEP = keepTopic(TOPIC_PREFIX_DEFAULT, 'subscriber')

function clip(settings: Partial<ClipMetadata> = {}, bytes?: number) {
  const { metadata, payload } = makeClip({ ...AT, ...settings }, bytes)
  return {
    metadata,
    payload,
    topic: keptTopic(TOPIC_PREFIX_DEFAULT, CLIP, metadata),
    key: objectKey(metadata, metadata.capturedAtMs, CLIP),
  }
}
/** Minted when it was captured. */
const oldClip = (atMs: number, settings: Partial<ClipMetadata> = {}) =>
  clip({ ...settings, capturedAtMs: atMs, id: idMinter(() => atMs)() })

const bucketOf = (program: Program) => (program.config.bucket as { path: string }).path
const folderOf = (program: Program) => (program.config.inbox as { folder: string }).folder
const keeping = (t: Test, url: string, settings: Parameters<typeof subscriberConfig>[2] = {}) =>
  subscriberConfig(t, url, { announce: { enabled: true }, retention: { ageMax: 'forever' }, ...settings })

async function started(t: Test, config: Record<string, unknown>): Promise<Program> {
  const subscriber = await Program.start(t, 'subscriber', config)
  await until('crops and clips come', async () => {
    const { ok, checks } = await subscriber.health()
    return ok && checks.recordings?.startsWith('connected') === true
  })
  return subscriber
}

/** What is announced, as a console would hear it. */
async function listen(t: Test, port: number): Promise<Announcement[]> {
  const said: Announcement[] = []
  const client = await RawClient.open(t, port, 'keeper')
  client.onPacket = (packet) => {
    if (packet.cmd !== 'publish') return
    const { announcements, faults } = readBatch(packet.payload as Buffer)
    if (faults.length > 0) throw new Error(faults.map(({ why }) => why).join())
    said.push(...announcements)
    client.send({ cmd: 'puback', messageId: packet.messageId })
  }
  await client.subscribe(storedTopic(TOPIC_PREFIX_DEFAULT, 'subscriber'), 1)
  return said
}

const put = (bucket: string, { key, payload }: { key: string; payload: Buffer }) => {
  mkdirSync(dirname(join(bucket, key)), { recursive: true })
  writeFileSync(join(bucket, key), payload)
}

async function metric(program: Program, name: string, kind: string): Promise<number> {
  const text = await (await fetch(`${program.http}/metrics`)).text()
  return Number(new RegExp(`^sightline_${name}\\{[^}]*kind="${kind}"[^}]*\\} (\\d+)`, 'm').exec(text)?.[1])
}

t.test('clips are stored once and whole, killed with -9 as often as you like', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      queues: [
        { clientId: 'sightline-subscriber', topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/crop`] },
        { clientId: 'sightline-subscriber-clips', topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/clip`] },
      ],
    }),
  )
  const said = await listen(t, broker.port)
  const clips = Array.from({ length: 60 }, (_, n) => clip({ camera: `c${n % 3}`, sequence: n }, 300_000))
  const crops = Array.from({ length: 20 }, () => makeCrop(AT))
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  for (const [n, { topic, payload }] of [...clips, ...crops].entries())
    device.publish(topic, payload, { messageId: n + 1 })
  await until(
    'the broker has them',
    async () => (await broker.books('session/sightline-subscriber-clips')).pending === 60,
  )
  const subscriber = await Program.start(t, 'subscriber', keeping(t, broker.url))
  const there = () => storedKeys(bucketOf(subscriber), 'mp4')
  for (const least of [1, 15, 35]) {
    await until('some are in the bucket', () => there().length >= least)
    await subscriber.restart()
  }
  await until('all are in the bucket', () => there().length === 60)
  await until('both inboxes are empty', async () => {
    const [crop, clip] = [await subscriber.books('inbox'), await subscriber.books('clips')]
    return clip.accepted > 0 && clip.pending === 0 && crop.pending === 0
  })
  t.strictSame(there(), clips.map(({ key }) => key).sort())
  for (const { key, payload } of clips)
    if (!readFileSync(join(bucketOf(subscriber), key)).equals(payload)) t.fail(key)
  t.equal(storedKeys(bucketOf(subscriber)).length, 20)
  t.equal(missing(await subscriber.books('clips')), 0)
  for (const session of ['sightline-subscriber', 'sightline-subscriber-clips'])
    t.match(await broker.books(`session/${session}`), { pending: 0 })
  await until('all are announced', () => new Set(said.map((it) => 'key' in it && it.key)).size === 80)
  const [first] = clips
  const stored = said.find((it) => it.is === 'stored' && it.id === first?.metadata.id)
  t.match(stored, {
    kind: 'clip',
    key: first?.key,
    durationMs: 3000,
    frame: [640, 360],
    bytes: first?.payload.length,
  })
})

t.test('a full inbox of clips stops no crop, and nor does a bucket that takes no clip', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const config = keeping(t, broker.url, { recordings: { inbox: { entriesMax: 5 } } })
  const { path } = config.bucket as { path: string }
  writeFileSync(join(path, 'recordings.private'), 'in the way')
  const subscriber = await started(t, config)
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const clips = Array.from({ length: 12 }, () => clip())
  for (const [n, { topic, payload }] of clips.entries()) device.publish(topic, payload, { messageId: n + 1 })
  await until('its inbox of clips is full', async () => (await subscriber.books('clips')).pending === 5)
  await until('it has left the clips', async () => {
    const { checks } = await subscriber.health()
    return /disconnected|"clips" is full/.test(checks.recordings ?? '')
  })
  const crops = Array.from({ length: 30 }, () => makeCrop(AT))
  for (const [n, { topic, payload }] of crops.entries())
    device.publish(topic, payload, { messageId: 100 + n })
  await until('the crops are in the bucket', () => storedKeys(path).length === 30)
  const { ok, checks } = await subscriber.health()
  t.ok(ok, 'it is well as far as crops go')
  t.match(checks, { broker: 'connected', bucket: 'ok', recordings: /5 waiting/ })
  rmSync(join(path, 'recordings.private'))
  await until('then all clips are there', () => storedKeys(path, 'mp4').length === 12)
  t.equal(missing(await subscriber.books('clips')), 0)
})

t.test('a broker that lets no clips come is asked again and again, and crops come', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'old', password: 'secret', subscribe: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/crop`], publish: [] },
        { name: 'pi', password: 'secret', publish: ['#'] },
      ],
    }),
  )
  const subscriber = await Program.start(
    t,
    'subscriber',
    subscriberConfig(t, broker.url, { broker: { username: 'old', password: 'secret' } }),
  )
  await until('it is well', async () => (await subscriber.health()).ok)
  const crop = makeCrop(AT)
  const login = { username: 'pi', password: Buffer.from('secret') }
  const device = await RawClient.open(t, broker.port, 'device', { clean: true, ...login })
  device.publish(crop.topic, crop.payload, { messageId: 1 })
  await until('the crop is in the bucket', () => storedKeys(bucketOf(subscriber)).length === 1)
  await until('it is said', async () =>
    /denies client "sightline-subscriber-clips"/.test((await subscriber.health()).checks.recordings ?? ''),
  )
  t.equal(subscriber.exitStatus, null)
})

t.test('without recordings no clips are asked for, and those accepted before are stored', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const config = keeping(t, broker.url)
  const { path } = config.bucket as { path: string }
  writeFileSync(join(path, 'recordings.private'), 'in the way')
  const subscriber = await started(t, config)
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const one = clip()
  device.publish(one.topic, one.payload, { messageId: 1 })
  await until('it has it', async () => (await subscriber.books('clips')).pending === 1)
  await subscriber.stop()
  rmSync(join(path, 'recordings.private'))
  subscriber.config.recordings = { enabled: false }
  await subscriber.start()
  await until('it is stored', () => storedKeys(path, 'mp4').length === 1)
  t.match((await subscriber.health()).checks.recordings, /^off/)
})

t.test('what is too old goes, is announced first, and what somebody keeps stays', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const said = await listen(t, broker.port)
  const config = keeping(t, broker.url, {
    recordings: {
      retention: { ageMax: '3d', cameras: [{ camera: '*/*/long', ageMax: '30d' }] },
    },
  })
  const { path } = config.bucket as { path: string }
  const now = Date.now()
  const [old, kept, young, long] = [
    oldClip(now - 5 * DAY_MS),
    oldClip(now - 6 * DAY_MS),
    oldClip(now - 2 * DAY_MS),
    oldClip(now - 20 * DAY_MS, { camera: 'long' }),
  ]
  for (const one of [old, kept, young, long]) put(path, one)
  const { capturedAtMs } = kept.metadata
  const stretch = { fromMs: capturedAtMs, toMs: capturedAtMs + 1000, by: 'ada', atMs: now }
  writeFileSync(join(path, keepKey(AT)), JSON.stringify({ v: KEEP_VERSION, stretches: [stretch] }))
  const subscriber = await started(t, config)
  await until('one is gone', () => storedKeys(path, 'mp4').length === 3)
  await until('it is announced', () => said.length > 0)
  t.match(said, [{ is: 'removed', key: old.key, id: old.metadata.id, why: 'expired' }])
  t.strictSame(storedKeys(path, 'mp4'), [kept.key, young.key, long.key].sort())
  t.equal(await metric(subscriber, 'subscriber_expired_total', 'clip'), 1)
  t.equal(said.length, 1)
})

t.test('keep, as asked for over the broker: written, announced, and taken back', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const said = await listen(t, broker.port)
  const subscriber = await started(t, keeping(t, broker.url))
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  let messageId = 0
  const ask = (message: Partial<KeepMessage> & { fromMs: number; toMs: number }) => {
    const request = { v: KEEP_VERSION, request: newId(), ...AT, keep: true, by: 'ada', atMs: 5, ...message }
    messageId += 1
    device.publish(KEEP, Buffer.from(JSON.stringify(request)), { messageId })
    return request.request
  }
  /** One that is newer: what was announced before a kill may be announced again. */
  const answer = async (request: string, afterMs = 0) => {
    const newer = () => said.find((it) => it.is === 'kept' && it.request === request && it.atMs > afterMs)
    await until('it is answered', () => newer() !== undefined)
    return newer() as Extract<Announcement, { is: 'kept' }>
  }
  const first = ask({ fromMs: 1000, toMs: 9000 })
  const kept = await answer(first)
  t.match(kept, { ...AT, stretches: [{ fromMs: 1000, toMs: 9000, by: 'ada', atMs: 5 }] })
  const file = () => JSON.parse(readFileSync(join(bucketOf(subscriber), keepKey(AT)), 'utf8'))
  t.match(file(), { v: KEEP_VERSION, stretches: [{ fromMs: 1000, toMs: 9000 }] })
  await answer(ask({ keep: false, fromMs: 4000, toMs: 5000 }))
  t.match(file().stretches, [
    { fromMs: 1000, toMs: 4000 },
    { fromMs: 5000, toMs: 9000 },
  ])
  // The same again, as a broker may send it: what was asked for since holds.
  ask({ request: first, fromMs: 1000, toMs: 9000 })
  const again = await answer(first, kept.atMs)
  t.match(again, { stretches: [{ toMs: 4000 }, { toMs: 9000 }] })
  await subscriber.restart()
  await until('it is well', async () => (await subscriber.health()).ok)
  ask({ request: first, fromMs: 1000, toMs: 9000 })
  t.match(
    await answer(first, again.atMs),
    { stretches: [{ toMs: 4000 }, { toMs: 9000 }] },
    'across a kill too',
  )
  device.publish(KEEP, Buffer.from('{"v":1,"site":"../x"}'), { messageId: 60 })
  const many = Array.from({ length: 1000 }, (_, n) => ({ fromMs: 2 * n, toMs: 2 * n + 1, by: 'x', atMs: 1 }))
  writeFileSync(join(bucketOf(subscriber), keepKey(AT)), JSON.stringify({ v: 1, stretches: many }))
  t.match(await answer(ask({ fromMs: 5000, toMs: 5001 })), { error: { code: 'TOO_MANY' } })
  t.equal(file().stretches.length, 1000)
  const times = said.flatMap((it) => (it.is === 'kept' ? [it.atMs] : []))
  t.strictSame(times, times.toSorted(), 'none is earlier than the one before')
  // A request leaves the queue after its answer has been acknowledged.
  await until('none is left', async () => (await subscriber.books('keep requests')).pending === 0)
})

t.test('forget takes clips and marks, by camera, day and id, running', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const said = await listen(t, broker.port)
  const subscriber = await started(t, keeping(t, broker.url))
  const path = bucketOf(subscriber)
  const forget = async (selection: object) => {
    const answer = await callProgram(folderOf(subscriber), FORGET_COMMAND, { selection, dryRun: false })
    return Array.fromAsync(answer ?? [])
  }
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const day = new Date(Date.now() - DAY_MS).toISOString().slice(0, 10)
  const dayMs = Date.parse(day)
  const [yesterday, two, three, other] = [
    clip({ capturedAtMs: dayMs + 5000 }),
    clip(),
    clip(),
    clip({ camera: 'yard' }),
  ]
  const crop = makeCrop(AT)
  for (const [n, { topic, payload }] of [yesterday, two, three, other, crop].entries())
    device.publish(topic, payload, { messageId: n + 1 })
  await until('all are there', () => storedKeys(path, 'mp4').length === 4 && storedKeys(path).length === 1)
  await until('all are announced', async () => {
    const [crops, clips] = [await subscriber.books('inbox'), await subscriber.books('clips')]
    return crops.forwarded === 1 && clips.forwarded === 4
  })
  const stretch = { by: 'ada', atMs: 1, fromMs: dayMs - 1000, toMs: dayMs + 2000 }
  writeFileSync(join(path, keepKey(AT)), JSON.stringify({ v: 1, stretches: [stretch] }))
  t.match(await forget({ kind: 'id', id: three.metadata.id }), [{ count: 0 }, { count: 0 }, { count: 1 }])
  t.notOk(existsSync(join(path, three.key)))
  t.match((await forget({ kind: 'day', day })).at(-1), { place: 'marks of what is kept', count: 1 })
  t.notOk(existsSync(join(path, yesterday.key)))
  t.match(JSON.parse(readFileSync(join(path, keepKey(AT)), 'utf8')).stretches, [{ toMs: dayMs }])
  await forget({ kind: 'camera', ...AT })
  t.strictSame(storedKeys(path, 'mp4'), [other.key])
  t.strictSame(storedKeys(path), [])
  t.notOk(existsSync(join(path, keepKey(AT))))
  const gone = () => said.flatMap((it) => (it.is === 'removed' ? [it.key] : []))
  await until('all are announced', () => gone().length >= 4)
  t.strictSame(
    gone()
      .filter((key) => key.endsWith('.mp4'))
      .sort(),
    [yesterday.key, two.key, three.key].sort(),
  )
  await until('marks are announced too', () => said.filter(({ is }) => is === 'kept').length >= 2)
  t.match(
    said.filter(({ is }) => is === 'kept'),
    [{ stretches: [{ toMs: dayMs }] }, { stretches: [] }],
  )
  device.publish(two.topic, two.payload, { messageId: 50 })
  await until(
    'it is known',
    async () => (await metric(subscriber, 'subscriber_duplicates_total', 'clip')) === 1,
  )
  t.strictSame(storedKeys(path, 'mp4'), [other.key], 'a copy that comes later is not stored again')
})

t.test('arrivals are logged on request, with an address that opens them, and no other secret', async (t) => {
  const users = [
    { name: 'reader', password: 'the-password', role: 'subscriber' },
    { name: 'pi', password: 'secret', publish: ['#'] },
  ]
  const broker = await Program.start(t, 'broker', brokerConfig(t, { users }))
  const port = await freePort()
  const config = subscriberConfig(t, broker.url, {
    broker: { username: 'reader', password: 'the-password' },
    http: { port },
    gallery: { enabled: true },
    bucket: { ...(subscriberConfig(t, '').bucket as object), publicRead: true },
    arrivals: { log: true, signedUrl: '1h' },
  })
  const subscriber = await started(t, config)
  const login = { username: 'pi', password: Buffer.from('secret') }
  const device = await RawClient.open(t, broker.port, 'device', { clean: true, ...login })
  const [one, crop] = [clip(), makeCrop(AT)]
  for (const [n, { topic, payload }] of [one, crop].entries())
    device.publish(topic, payload, { messageId: n + 1 })
  const line = await subscriber.line((it) => it.msg === 'arrived' && it.kind === 'clip')
  t.match(line, {
    key: one.key,
    camera: 'home/pi/door',
    bytes: one.payload.length,
    durationMs: 3000,
    resolution: '640x360',
    codec: 'h264',
  })
  const whole = await fetch(String(line.url))
  t.equal(whole.status, 200)
  t.equal(whole.headers.get('content-type'), 'video/mp4')
  t.match(whole.headers.get('cache-control'), /^private/)
  t.ok(Buffer.from(await whole.arrayBuffer()).equals(one.payload))
  const part = await fetch(String(line.url), { headers: { range: 'bytes=4-7' } })
  t.equal(part.status, 206)
  t.equal(await part.text(), 'ftyp')
  const picture = await subscriber.line((it) => it.msg === 'arrived' && it.kind === 'crop')
  t.match(picture, { bytes: crop.payload.length, resolution: '40x60' })
  t.notMatch(String(picture.url), /signature/, 'a crop of a public bucket needs none')
  t.equal((await fetch(String(picture.url))).status, 200)

  t.equal((await fetch(String(line.url).replace(/\?.*/, ''))).status, 404, 'a recording is public nowhere')
  t.equal((await fetch(String(line.url).replace(/.$/, 'x'))).status >= 400, true)
  const link = await linkTo(one.metadata.id, '1h', configFile(t, subscriber.config))
  t.equal((await fetch(link.address)).status, 200)
  t.match(link, { address: /signature=/, note: /the clip until/ })
  await sleep(50)
  const text = JSON.stringify(subscriber.log)
  t.notMatch(text, /the-password/)
  const key = readFileSync(join(folderOf(subscriber), 'link.key'))
  for (const form of ['hex', 'base64', 'base64url'] as const) t.notOk(text.includes(key.toString(form)))
})

t.test(
  'a bucket that is slow for clips delays no crop; in a public one recordings are not public',
  { skip: skipWithoutS3 },
  async (t) => {
    await using proxy = await S3Proxy.open(s3Endpoint ?? '')
    proxy.fault = ({ method, path }) =>
      method === 'PUT' && path.includes('recordings.private') ? { slowMs: 1500 } : undefined
    const bucket = await makeS3Bucket()
    t.after(() => emptyS3Bucket(bucket))
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const subscriber = await started(
      t,
      keeping(t, broker.url, {
        bucket: { type: 's3', bucket, endpoint: proxy.url, publicRead: true, writesMax: 8 },
        recordings: { writesMax: 2 },
      }),
    )
    const device = await RawClient.open(t, broker.port, 'device', { clean: true })
    const clips = Array.from({ length: 8 }, () => clip({}, 100_000))
    const crops = Array.from({ length: 40 }, () => makeCrop(AT))
    const sentMs = performance.now()
    for (const [n, { topic, payload }] of [...clips, ...crops].entries())
      device.publish(topic, payload, { messageId: n + 1 })
    await until('crops are stored', async () => (await subscriber.books('inbox')).forwarded === 40)
    const tookMs = performance.now() - sentMs
    const { forwarded } = await subscriber.books('clips')
    t.ok(forwarded < 8, `${forwarded} clips after ${tookMs} ms`)
    await until('clips too', async () => (await subscriber.books('clips')).forwarded === 8, 20_000)
    t.ok(performance.now() - sentMs >= 4 * 1500, 'two at a time')
    const [one] = clips
    const [crop] = crops
    const address = (key: string) => `${proxy.url}/${bucket}/${key}`
    const keyOfCrop = crop && objectKey(crop.metadata, crop.metadata.capturedAtMs)
    t.equal((await fetch(address(keyOfCrop ?? ''))).status, 200)
    t.equal((await fetch(address(one?.key ?? ''))).status, 403)
  },
)

t.test('nothing is logged of arrivals by default', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const subscriber = await started(t, subscriberConfig(t, broker.url))
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const one = clip()
  device.publish(one.topic, one.payload, { messageId: 1 })
  await until('it is stored', async () => (await subscriber.books('clips')).forwarded === 1)
  t.notOk(subscriber.log.some(({ msg }) => msg === 'arrived'))
  t.notOk(JSON.stringify(subscriber.log).includes(one.metadata.id))
})
