import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import { decodeEntry, type QuarantineHeader } from '../../cloud-subscriber/entry.ts'
import { takeCustody } from '../../cloud-subscriber/keep.ts'
import { RecentIds } from '../../cloud-subscriber/recent-ids.ts'
import { Intake } from '../../store/intake.ts'
import { Store } from '../../store/store.ts'
import { type CropMetadata, readCrop, writeCrop } from '../../wire/crop.ts'
import { objectKey } from '../../wire/object-key.ts'
import { cropFilter, TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { makeCrop, tinyJpeg } from '../kit/crops.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import { Mosquitto, skipWithoutMosquitto } from '../kit/mosquitto.ts'
import { brokerConfig, missing, Program, subscriberConfig, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const crops = (count: number) => Array.from({ length: count }, () => makeCrop())
const keysOf = (made: readonly { metadata: CropMetadata }[]) =>
  made.map(({ metadata }) => objectKey(metadata, metadata.capturedAtMs)).sort()
const bucketOf = (program: Program) => (program.config.bucket as { path: string }).path
const idsUpTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1)

async function metric(program: Program, name: string): Promise<number> {
  const text = await (await fetch(`${program.http}/metrics`)).text()
  let sum = 0
  for (const [, value] of text.matchAll(new RegExp(`^sightline_subscriber_${name}\\{[^}]*\\} (\\d+)`, 'gm')))
    sum += Number(value)
  return sum
}

t.test('PUBACK means that it is in the inbox, on disk: killed with -9 the moment it goes out', async (t) => {
  const broker = await FakeBroker.start(t)
  const subscriber = await Program.start(t, 'subscriber', subscriberConfig(t, broker.url))
  const made = crops(60)
  broker.onPacket = (packet) => {
    if (packet.cmd === 'puback') subscriber.signal('SIGKILL')
  }
  await until('it has subscribed', () => broker.client !== undefined)
  broker.publish(made)
  await until('it was killed', () => broker.pubacks.length > 0)
  await subscriber.kill()
  const acknowledged = broker.pubacks
  t.strictSame(acknowledged, idsUpTo(acknowledged.length), 'in the order of receipt')
  broker.onPacket = undefined
  await subscriber.start() // the broker sends none of them again
  const kept = keysOf(made.slice(0, acknowledged.length))
  await until('they are in the bucket', () => {
    const there = new Set(storedKeys(bucketOf(subscriber)))
    return kept.every((key) => there.has(key))
  })
  for (const { metadata, payload } of made.slice(0, acknowledged.length)) {
    const file = readFileSync(join(bucketOf(subscriber), objectKey(metadata, metadata.capturedAtMs)))
    if (!file.equals(payload)) t.fail('a crop was changed on its way')
  }
})

t.test('with one subscriber', async (t) => {
  const broker = await FakeBroker.start(t)
  const subscriber = await Program.start(
    t,
    'subscriber',
    subscriberConfig(t, broker.url, { payloadMax: '100KB', quarantine: { bytesMax: '1MB' } }),
  )
  await until('it has subscribed', () => broker.client !== undefined)
  let acknowledged = 0
  const bad: { topic: string; payload: Buffer; reason: string }[] = []

  await t.test('a crop that comes twice is acknowledged twice and stored once', async (t) => {
    const made = crops(20)
    broker.publish([...made, ...made])
    await until('all are acknowledged', () => broker.pubacks.length === 40)
    t.strictSame(broker.pubacks, idsUpTo(40))
    await until('they are stored', () => storedKeys(bucketOf(subscriber)).length === 20)
    broker.publish(made, 41) // and once more, when they have left the inbox
    await until('all are acknowledged again', () => broker.pubacks.length === 60)
    t.equal(await metric(subscriber, 'duplicates_total'), 40)
    t.strictSame(storedKeys(bucketOf(subscriber)), keysOf(made))
    t.match(await subscriber.books('inbox'), { accepted: 20 })
    acknowledged = 60
  })

  await t.test(
    'what is no crop goes to quarantine, acknowledged in its turn, and blocks nothing',
    async (t) => {
      const good = crops(3)
      const [one, two, three] = good as [(typeof good)[0], (typeof good)[0], (typeof good)[0]]
      const elsewhere = makeCrop()
      const write = (changed: object) => writeCrop(tinyJpeg, { ...one.metadata, ...changed } as CropMetadata)
      bad.push(
        { topic: one.topic, payload: Buffer.from('hello'), reason: 'not a JPEG' },
        { topic: one.topic, payload: Buffer.alloc(0), reason: 'not a JPEG' },
        { topic: one.topic, payload: one.payload.subarray(0, 300), reason: 'truncated JPEG' },
        { topic: one.topic, payload: tinyJpeg, reason: 'no metadata' },
        { topic: one.topic, payload: write({ format: 'other' }), reason: 'foreign metadata' },
        { topic: one.topic, payload: write({ v: 2 }), reason: 'metadata of a newer version' },
        { topic: one.topic, payload: write({ site: '../..' }), reason: 'invalid metadata' },
        { topic: 'sightline/v1/home/another/door/crop', payload: elsewhere.payload, reason: 'wrong topic' },
        { topic: 'sightline/v1/a b/pi/door/crop', payload: elsewhere.payload, reason: 'wrong topic' },
        {
          topic: one.topic,
          payload: Buffer.concat([one.payload, Buffer.alloc(100_000, 'x')]),
          reason: 'too large',
        },
      )
      broker.publish([one, ...bad.slice(0, 4), two, ...bad.slice(4), three], acknowledged + 1)
      await until('all are acknowledged', () => broker.pubacks.length === acknowledged + 13)
      t.strictSame(broker.pubacks, idsUpTo(acknowledged + 13))
      await until('the good ones are stored', () => storedKeys(bucketOf(subscriber)).length === 23)
      t.match(await subscriber.books('quarantine'), { accepted: 10, pending: 10 })
      t.equal(await metric(subscriber, 'quarantined_total'), 10)
      t.match((await subscriber.health()).checks.quarantine, '10 messages')
    },
  )

  await t.test('and lies there whole, with its topic and the reason', async (t) => {
    t.equal(await subscriber.stop(), 0)
    const store = await Store.open({ folder: (subscriber.config.inbox as { folder: string }).folder })
    t.after(() => store[Symbol.asyncDispose]())
    const quarantine = store.queues.get('quarantine')
    let at = 0
    for (const { topic, payload, reason } of bad) {
      at = quarantine?.after(at) ?? 0
      const message = quarantine?.read(at)
      if (!message) throw new Error('it is not there')
      const entry = decodeEntry<QuarantineHeader>(message)
      t.match(entry.header, { topic, reason, detail: /./, receivedAtMs: Number }, reason)
      t.ok(entry.payload.equals(payload.subarray(0, 100_000)), 'the payload as it came')
    }
    const inbox = store.queues.get('inbox')
    t.equal(missing(inbox?.books ?? { accepted: 1, forwarded: 0, pending: 0, dropped: {} }), 0)
    t.match(inbox?.books, { accepted: 23, forwarded: 23 })
  })
})

for (const [whose, claim] of [
  ['without a clock', { clockSane: false, capturedAtMs: 86_400_000 }],
  ['that says 9999', { capturedAtMs: Date.UTC(9999, 11, 31) }],
  ['that says 1970 and knows no better', { capturedAtMs: 86_400_000 }],
] as const)
  void t.test(`a crop from a device ${whose} is filed by the time of receipt, once`, async (t) => {
    const broker = await FakeBroker.start(t)
    const subscriber = await Program.start(
      t,
      'subscriber',
      subscriberConfig(t, broker.url, { recordings: { enabled: false } }),
    )
    await until('it has subscribed', () => broker.client !== undefined)
    const before = Date.now()
    const made = makeCrop(claim)
    broker.publish([made])
    await until('it is stored', () => storedKeys(bucketOf(subscriber)).length === 1)
    const [key] = storedKeys(bucketOf(subscriber))
    t.ok(
      [objectKey(made.metadata, before), objectKey(made.metadata, Date.now())].includes(key as string),
      `filed under ${key}`,
    )
    await until('it has left the inbox', async () => (await subscriber.books('inbox')).forwarded === 1)
    t.equal(await metric(subscriber, 'clock_wrong_total'), 1)
    t.equal(await metric(subscriber, 'latency_seconds_count'), 0, 'years that never passed are no latency')
    await subscriber.restart()
    await until('it has subscribed again', () => broker.connections === 2 && !broker.client?.destroyed)
    await until('the session is up', async () => (await subscriber.health()).ok)
    broker.publish([made], 7)
    await until('it is acknowledged', () => broker.pubacks.includes(7))
    t.strictSame(storedKeys(bucketOf(subscriber)), [key], 'its id is remembered across a kill -9')
    t.equal(await metric(subscriber, 'duplicates_total'), 1)
  })

t.test('killed with -9 again and again: every crop of the broker’s queue is stored once', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      queues: [{ clientId: 'sightline-subscriber', topics: [cropFilter(TOPIC_PREFIX_DEFAULT)] }],
    }),
  )
  const subscriber = await Program.start(t, 'subscriber', subscriberConfig(t, broker.url))
  const made = crops(600)
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  for (const [round, from] of [0, 200, 400].entries()) {
    for (let n = from; n < from + 200; n += 1) {
      const { topic, payload } = made[n] as (typeof made)[number]
      device.publish(topic, payload, { messageId: n + 1 })
    }
    await until('some are stored', () => storedKeys(bucketOf(subscriber)).length > from + 20)
    if (round < 2) await subscriber.restart()
  }
  await until('all are stored', () => storedKeys(bucketOf(subscriber)).length === 600)
  t.strictSame(storedKeys(bucketOf(subscriber)), keysOf(made))
  const queue = 'session/sightline-subscriber'
  await until('the broker has let go', async () => (await broker.books(queue)).pending === 0)
  t.strictSame(await broker.books(queue), { accepted: 600, forwarded: 600, pending: 0, dropped: {} })
  await until('the inbox is empty', async () => (await subscriber.books('inbox')).pending === 0)
  t.strictSame(await subscriber.books('inbox'), { accepted: 600, forwarded: 600, pending: 0, dropped: {} })
})

t.test(
  'a full inbox: it leaves the broker, which keeps the rest, and comes back when there is room',
  async (t) => {
    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, { queues: [{ clientId: 'it', topics: ['#'] }] }),
    )
    const store = await Store.open({ folder: temporaryFolder(t) })
    t.after(() => store[Symbol.asyncDispose]())
    const bounds = { bytesMax: 1e9, ageMsMax: Infinity } as const
    const inbox = store.queue('inbox', { ...bounds, entriesMax: 30, whenFull: 'reject' })
    const lane = { inbox, recent: new RecentIds(store, 1000) }
    const warnings: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push(line) })
    const intake = Intake.open({
      link: {
        url: broker.url,
        clientId: 'it',
        protocol: 4,
        clean: false,
        packetBytesMax: 1e6,
        keepaliveS: 30,
        connectMsMax: 5000,
      },
      filters: [cropFilter(TOPIC_PREFIX_DEFAULT)],
      reconnectMsMin: 20,
      reconnectMsMax: 100,
      store,
      inbox,
      keep: takeCustody({
        topicPrefix: TOPIC_PREFIX_DEFAULT,
        payloadBytesMax: 1e6,
        clipBytesMax: 1e6,
        store,
        lanes: { crops: lane, clips: lane },
        quarantine: store.queue('quarantine', { ...bounds, entriesMax: 10, whenFull: 'drop-oldest' }),
        log,
        events: { received: () => {}, duplicate: () => {}, quarantined: () => {} },
      }),
      log,
    })
    t.after(() => intake[Symbol.asyncDispose]())
    await intake.subscribed
    const made = crops(100)
    const device = await RawClient.open(t, broker.port, 'device', { clean: true })
    for (const [n, { topic, payload }] of made.entries()) device.publish(topic, payload, { messageId: n + 1 })
    await until('it is full and has left', () => inbox.size === 30 && !intake.connected)
    t.match(intake.fault, /"inbox" is full/)
    t.match(warnings.join(''), /Disconnecting; the broker keeps what is not acknowledged/)
    await until('the broker has the rest', async () => (await broker.books('session/it')).pending === 70)

    const taken: string[] = []
    await until('all have been taken', async () => {
      for (let at = inbox.after(0); at !== undefined; at = inbox.after(at)) {
        const message = inbox.read(at)
        const reading = message && readCrop(decodeEntry(message).payload)
        if (reading && 'crop' in reading) taken.push(reading.crop.id)
        await inbox.forwarded(at)
      }
      return taken.length >= 100
    })
    t.strictSame(
      taken,
      made.map(({ metadata }) => metadata.id),
      'each once, in order',
    )
    await until('the broker has let go', async () => (await broker.books('session/it')).forwarded === 100)
  },
)

t.test('what cannot start, or cannot work, says why', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { users: [{ name: 'pi', password: 'right', subscribe: ['other/#'] }] }),
  )
  const run = (settings: object, brokerSettings: object = {}) =>
    Program.run(t, 'subscriber', subscriberConfig(t, broker.url, { ...settings, broker: brokerSettings }))
  const cases = [
    [run({}, { username: 'pi', password: 'wrong' }), 77, /user name or the password is wrong/],
    [run({}, { username: 'pi', password: 'right' }), 77, /denies client .* the subscription to sightline/],
    [run({ http: { host: '0.0.0.0', port: 0 } }), 78, /CONFIG_UNSAFE_LISTENER: "http\.host"/],
    [run({}, { shareGroup: 'g' }), 78, /"broker\.shareGroup" needs MQTT 5/],
    [
      run({ payloadMax: '1GB', inbox: { bytesMax: '1GB' } }),
      78,
      /"inbox\.bytesMax" .* cannot hold one message/,
    ],
    [run({ bucket: { type: 'ftp' } }), 78, /subscriber\.yaml:1: "bucket\.type"/],
    [run({ bucket: { type: 'folder', path: '/dev/null/x' } }), 73, /FOLDER_UNWRITABLE/],
  ] as const
  for (const [running, status, says] of cases) {
    const result = await running
    t.equal(result.status, status, says.source)
    t.match(result.text, says)
  }
  const away = await Program.start(t, 'subscriber', subscriberConfig(t, 'mqtt://127.0.0.1:1'))
  t.match(await away.health(), { ok: false, checks: { broker: /disconnected .*connection refused/ } })
  t.equal(await away.stop(), 0, 'a broker that is away ends nothing')
})

t.test('two subscribers share the work on Mosquitto', { skip: skipWithoutMosquitto }, async (t) => {
  const broker = await Mosquitto.start(t)
  const bucket = { type: 'folder', path: temporaryFolder(t) }
  const settings = (clientId: string) =>
    subscriberConfig(t, broker.url, { bucket, broker: { clientId, mqttVersion: 5, shareGroup: 'cloud' } })
  const [one, other] = (await Promise.all(
    ['one', 'other'].map((clientId) => Program.start(t, 'subscriber', settings(clientId))),
  )) as [Program, Program]
  await until('both are there', async () => (await one.health()).ok && (await other.health()).ok)
  const made = crops(300)
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const send = (from: number, to: number) => {
    for (let n = from; n < to; n += 1) {
      const { topic, payload } = made[n] as (typeof made)[number]
      device.publish(topic, payload, { messageId: n + 1 })
    }
  }
  send(0, 200)
  await until('they are stored', () => storedKeys(bucket.path).length === 200)
  const accepted = [(await one.books('inbox')).accepted, (await other.books('inbox')).accepted] as const
  t.ok(accepted[0] > 20 && accepted[1] > 20, `${accepted.join(' and ')}`)
  t.equal(accepted[0] + accepted[1], 200, 'each went to one of them')
  await other.kill()
  send(200, 300)
  await other.start()
  await until('all are stored', () => storedKeys(bucket.path).length === 300)
  t.strictSame(storedKeys(bucket.path), keysOf(made))
})
