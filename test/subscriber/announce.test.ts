import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import mqtt, { type IPublishPacket } from 'mqtt-packet'
import pino from 'pino'
import t from 'tap'
import { Announcer } from '../../cloud-subscriber/announce.ts'
import { Announcements, batches } from '../../cloud-subscriber/announcements.ts'
import { forgetCrops } from '../../commands/forget/crops.ts'
import { callProgram } from '../../lib/control.ts'
import { Store } from '../../store/store.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { FORGET_COMMAND } from '../../wire/forget.ts'
import { newId } from '../../wire/id.ts'
import { objectKey } from '../../wire/object-key.ts'
import {
  type Announcement,
  forgetTopic,
  readBatch,
  STORED_BATCH_BYTES_MAX,
  storedTopic,
} from '../../wire/stored.ts'
import { TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { configFile } from '../cli/sightline.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { makeCrop } from '../kit/crops.ts'
import { FakeBroker } from '../kit/fake-broker.ts'
import {
  brokerConfig,
  missing,
  Program,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

// They wait for programs to start.
t.jobs = 5

const STORED = storedTopic(TOPIC_PREFIX_DEFAULT, 'subscriber')
const FORGET = forgetTopic(TOPIC_PREFIX_DEFAULT, 'subscriber')
const PI = { kind: 'device', site: 'home', device: 'pi' } as const
const DAY_MS = 24 * 3_600_000

const crops = (count: number, settings: Partial<CropMetadata> = {}) =>
  Array.from({ length: count }, () => makeCrop(settings))
const keyOf = ({ metadata }: { metadata: CropMetadata }) => objectKey(metadata, metadata.capturedAtMs)
const bucketOf = (program: Program) => (program.config.bucket as { path: string }).path
const folderOf = (program: Program) => (program.config.inbox as { folder: string }).folder
const announcing = (t: Test, url: string, settings: Parameters<typeof subscriberConfig>[2] = {}) =>
  subscriberConfig(t, url, { announce: { enabled: true }, retention: { ageMax: 'forever' }, ...settings })

/** Subscribed, so that what is published from now on comes to it. */
async function started(t: Test, config: Record<string, unknown>): Promise<Program> {
  const subscriber = await Program.start(t, 'subscriber', config)
  await until('it has subscribed', async () => (await subscriber.health()).ok)
  return subscriber
}

async function metric(program: Program, name: string): Promise<number> {
  const text = await (await fetch(`${program.http}/metrics`)).text()
  return Number(new RegExp(`^sightline_subscriber_${name}\\{[^}]*\\} (\\d+)`, 'm').exec(text)?.[1])
}

/** Reads announcements as the console does: a persistent session that acknowledges what it has. */
class Keeper {
  readonly announcements: Announcement[] = []
  readonly faults: string[] = []
  readonly client: RawClient

  private constructor(client: RawClient) {
    this.client = client
  }

  static async open(t: Test, port: number): Promise<Keeper> {
    const client = await RawClient.open(t, port, 'keeper')
    const keeper = new Keeper(client)
    client.onPacket = (packet) => {
      if (packet.cmd !== 'publish') return
      const { announcements, faults } = readBatch(packet.payload as Buffer)
      keeper.announcements.push(...announcements)
      keeper.faults.push(...faults.map(({ why }) => why))
      client.send({ cmd: 'puback', messageId: packet.messageId })
    }
    await client.subscribe(STORED, 1)
    return keeper
  }

  /** Of one kind, those of `stored` by their keys. */
  keys(is: 'stored' | 'removed'): string[] {
    return this.announcements.flatMap((it) => (it.is === is ? [it.key] : []))
  }
}

/** Batches that a FakeBroker has, with the connection each came over; acknowledged only where that is asked for. */
function withheld(broker: FakeBroker) {
  const batches: { packet: IPublishPacket; socket: Socket; announcements: readonly Announcement[] }[] = []
  let acknowledges = false
  const acknowledge = ({ packet, socket }: { packet: IPublishPacket; socket: Socket }) =>
    mqtt.writeToStream({ cmd: 'puback', messageId: packet.messageId }, socket)
  broker.onPacket = (packet, socket) => {
    if (packet.cmd !== 'publish') return
    const batch = { packet, socket, announcements: readBatch(packet.payload as Buffer).announcements }
    batches.push(batch)
    if (acknowledges) acknowledge(batch)
  }
  return {
    batches,
    get said() {
      return batches.flatMap(({ announcements }) => announcements)
    },
    /** From now on, and those of the connections that are open. */
    acknowledge() {
      acknowledges = true
      for (const batch of batches) if (!batch.socket.destroyed) acknowledge(batch)
    },
  }
}

const said = (announcements: readonly Announcement[]) =>
  announcements.map((it) => ('key' in it ? `${it.is} ${it.key}` : it.is))

t.test('what the bucket has is announced with all that is known of it, and leaves the inbox', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const keeper = await Keeper.open(t, broker.port)
  const subscriber = await started(t, announcing(t, broker.url))
  const track = newId()
  const made = [
    makeCrop({
      landmarks: [[1, 2]],
      masked: true,
      track,
      shot: 'first',
      zones: ['counter', 'door'],
      attributes: [{ name: 'mask', label: 'with mask', score: 0.9, by: 'mask@0f3a5c9b1d2e' }],
      file: 'Gäste.jpg',
    }),
    ...crops(49, { camera: 'yard' }),
  ]
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  for (const [n, { topic, payload }] of made.entries()) device.publish(topic, payload, { messageId: n + 1 })
  await until('they have left the inbox', async () => (await subscriber.books('inbox')).forwarded === 50)
  await until('all are announced', () => keeper.announcements.length === 50)
  t.strictSame(keeper.faults, [])
  t.strictSame(keeper.keys('stored').sort(), made.map(keyOf).sort())
  const first = made[0] as (typeof made)[number]
  const announced = keeper.announcements.find((it) => it.is === 'stored' && it.id === first.metadata.id)
  const { landmarks: _, ...metadata } = first.metadata
  const object = readFileSync(join(bucketOf(subscriber), keyOf(first)))
  t.match(announced, {
    ...metadata,
    is: 'stored',
    kind: 'crop',
    filedAtMs: metadata.capturedAtMs,
    bytes: object.length,
    sha256: createHash('sha256').update(object).digest('hex'),
  })
  t.notOk(announced && 'landmarks' in announced)
  t.equal(await metric(subscriber, 'announced_total'), 50)
  t.ok((await metric(subscriber, 'announced_batches_total')) <= 50)
  t.match((await subscriber.health()).checks.announcements, '0 waiting')
})

t.test('without a keeper of announcements nothing waits', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const subscriber = await started(t, announcing(t, broker.url))
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  for (const [n, { topic, payload }] of crops(100).entries())
    device.publish(topic, payload, { messageId: n + 1 })
  await until('the inbox is empty', async () => (await subscriber.books('inbox')).forwarded === 100)
  t.equal(await metric(subscriber, 'announced_total'), 100)
})

t.test('by default nothing is said, and no request is taken', async (t) => {
  const broker = await FakeBroker.start(t)
  const subscriber = await Program.start(
    t,
    'subscriber',
    subscriberConfig(t, broker.url, { recordings: { enabled: false } }),
  )
  await until('it has subscribed', () => broker.client !== undefined)
  const made = makeCrop()
  // As a session would bring it that was made while announcements were on.
  const request = { v: 1, request: newId(), selection: PI }
  broker.publish([made, { topic: FORGET, payload: Buffer.from(JSON.stringify(request)) }])
  await until('both are acknowledged', () => broker.pubacks.length === 2)
  await until('it is stored', async () => (await subscriber.books('inbox')).forwarded === 1)
  t.equal(broker.connections, 1)
  const filters = broker.received.flatMap((packet) =>
    packet.cmd === 'subscribe' ? packet.subscriptions : [],
  )
  t.equal(filters.length, 1)
  t.strictSame(storedKeys(bucketOf(subscriber)), [keyOf(made)], 'nothing is forgotten')
  t.equal((await subscriber.books('quarantine')).accepted, 0)
  t.equal((await subscriber.health()).checks.announcements, 'off')
})

t.test(
  'killed with -9 between flush and acknowledgement, and started while the broker is away: announced again',
  async (t) => {
    const broker = await FakeBroker.start(t)
    const heard = withheld(broker)
    const proxy = await TcpProxy.open({ host: '127.0.0.1', port: Number(new URL(broker.url).port) })
    t.after(() => proxy[Symbol.asyncDispose]())
    const subscriber = await started(t, announcing(t, proxy.url))
    await until('it has subscribed', () => broker.client !== undefined)
    const made = crops(30)
    const keys = made.map(keyOf).sort()
    broker.publish(made.slice(0, 20))
    await until('they are announced', () => heard.said.length === 20)
    broker.publish(made.slice(20), 21)
    await until('storing goes on meanwhile', () => heard.said.length === 30)
    t.strictSame(storedKeys(bucketOf(subscriber)), keys)
    t.match(await subscriber.books('inbox'), { accepted: 30, pending: 30 }, 'all of them are still there')
    t.match((await subscriber.health()).checks.announcements, '30 waiting')
    await subscriber.kill()
    proxy.refuse()
    await subscriber.start()
    await until(
      'it has looked at the bucket',
      async () => (await metric(subscriber, 'already_there_total')) === 30,
    )
    t.match(await subscriber.books('inbox'), { accepted: 30, pending: 30 })
    t.match((await subscriber.health()).checks.announcements, /^disconnected/)
    const before = heard.said.length
    heard.acknowledge()
    await proxy.accept()
    await until('the inbox is empty', async () => (await subscriber.books('inbox')).pending === 0)
    const again = heard.said.slice(before)
    t.strictSame(again.map((it) => ('key' in it ? it.key : '')).sort(), keys, 'each once more')
    t.strictSame(await subscriber.books('inbox'), { accepted: 30, forwarded: 30, pending: 0, dropped: {} })
  },
)

t.test(
  'a link that breaks over an acknowledgement: it is announced again, and nothing is lost',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const keeper = await Keeper.open(t, broker.port)
    const proxy = await TcpProxy.open({ host: '127.0.0.1', port: broker.port, mqtt: true })
    t.after(() => proxy[Symbol.asyncDispose]())
    const subscriber = await started(t, announcing(t, proxy.url))
    const swallowed = proxy.cutWhen(({ cmd }, direction) => cmd === 'puback' && direction === 'down')
    const made = crops(40)
    const device = await RawClient.open(t, broker.port, 'device', { clean: true })
    for (const [n, { topic, payload }] of made.entries()) device.publish(topic, payload, { messageId: n + 1 })
    await swallowed
    await until('the inbox is empty', async () => (await subscriber.books('inbox')).forwarded === 40)
    await until('it was said twice', () => keeper.announcements.length > 40)
    t.strictSame([...new Set(keeper.keys('stored'))].sort(), made.map(keyOf).sort())
    t.equal(missing(await subscriber.books('inbox')), 0)
  },
)

t.test('a broker that acknowledges nothing is left, and told again in the same order', async (t) => {
  const broker = await FakeBroker.start(t)
  const heard = withheld(broker)
  const subscriber = await started(
    t,
    announcing(t, broker.url, { announce: { enabled: true, acknowledgeTimeout: '1s' } }),
  )
  await until('it has subscribed', () => broker.client !== undefined)
  const made = crops(3)
  for (const [n, crop] of made.entries()) {
    broker.publish([crop], n + 1)
    await until('it is announced', () => heard.batches.length === n + 1)
  }
  const first = said(heard.said)
  await until('all are announced again', () => heard.batches.length >= 6)
  t.strictSame(said(heard.said).slice(3, 6), first)
  t.not(heard.batches[3]?.socket, heard.batches[2]?.socket, 'over a connection of its own')
  t.ok((await subscriber.health()).ok, 'crops come all the time')
  heard.acknowledge()
  await until('the inbox is empty', async () => (await subscriber.books('inbox')).forwarded === 3)
})

t.test('a batch has at most 256 KB, and so many are in flight and no more', async (t) => {
  const lines = Array.from({ length: 12_000 }, (_, n) => `${'ä'.repeat(200)}${n}\n`)
  const made = [...batches(lines)]
  t.equal(made.map(({ payload }) => payload.toString()).join(''), lines.join(''))
  t.equal(
    made.reduce((sum, { count }) => sum + count, 0),
    lines.length,
  )
  for (const { payload } of made) t.ok(payload.length <= STORED_BATCH_BYTES_MAX)
  t.equal(
    made.length,
    Math.ceil(made.reduce((sum, { payload }) => sum + payload.length, 0) / STORED_BATCH_BYTES_MAX),
  )
  t.ok(made.length > 16, `${made.length} batches`)
  t.strictSame([...batches([])], [])

  const broker = await FakeBroker.start(t)
  const heard = withheld(broker)
  const store = await Store.open({ folder: temporaryFolder(t) })
  t.after(() => store[Symbol.asyncDispose]())
  let counted = 0
  const announcer = Announcer.open({
    link: {
      url: broker.url,
      clientId: 'it',
      protocol: 4,
      clean: true,
      packetBytesMax: 1000,
      keepaliveS: 30,
      connectMsMax: 5000,
    },
    topic: STORED,
    acknowledgeMsMax: 20_000,
    reconnectMsMin: 20,
    reconnectMsMax: 100,
    queue: Announcements.open(store).queue,
    log: pino({ level: 'silent' }),
    events: {
      acknowledged: (count) => {
        counted += count
      },
    },
  })
  t.after(() => announcer[Symbol.asyncDispose]())
  let done = false
  const all = announcer.stored(lines).then(() => {
    done = true
  })
  await until('as many as may be are in flight', () => heard.batches.length === 16)
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(heard.batches.length, 16)
  t.notOk(done)
  heard.acknowledge()
  await all
  t.equal(heard.batches.length, made.length)
  t.equal(counted, lines.length)
  t.equal(announcer.waiting, 0)
  const never = announcer.stored(['x\n'])
  broker.onPacket = undefined
  await Promise.all([t.rejects(never, { code: 'BROKER_UNREACHABLE' }), announcer[Symbol.asyncDispose]()])
})

t.test('what is forgotten is announced as removed, behind its announcement in flight', async (t) => {
  const broker = await FakeBroker.start(t)
  const heard = withheld(broker)
  const subscriber = await started(t, announcing(t, broker.url))
  await until('it has subscribed', () => broker.client !== undefined)
  const [mine, other] = [makeCrop(), makeCrop({ device: 'jetson' })]
  broker.publish([mine, other])
  await until('they are announced', () => heard.said.length === 2)
  const answer = await callProgram(folderOf(subscriber), FORGET_COMMAND, { selection: PI, dryRun: false })
  await Array.fromAsync(answer ?? [])
  t.strictSame(storedKeys(bucketOf(subscriber)), [keyOf(other)])
  const isRemoval = (it: Announcement) => it.is === 'removed' && it.key === keyOf(mine)
  await until('its removal is said', () => heard.said.some(isRemoval))
  t.match(heard.said.find(isRemoval), { id: mine.metadata.id, why: 'forgotten' })
  const before = heard.batches.length
  heard.batches[0]?.socket.destroy()
  await until('all is said again', () => heard.batches.length === before * 2)
  const again = said(heard.batches.slice(before).flatMap(({ announcements }) => announcements))
  t.ok(again.includes(`stored ${keyOf(mine)}`), 'it was in flight')
  t.ok(again.lastIndexOf(`stored ${keyOf(mine)}`) < again.indexOf(`removed ${keyOf(mine)}`))
  heard.acknowledge()
  await until('all are acknowledged', async () => (await subscriber.books('announcements')).pending === 0)
  await until('the inbox is empty', async () => (await subscriber.books('inbox')).pending === 0)
  t.match(await subscriber.books('inbox'), { accepted: 2, forwarded: 1, dropped: { forgotten: 1 } })
})

t.test(
  'removals outlive a kill, and a forget of the stopped program is announced at its next start',
  async (t) => {
    const broker = await FakeBroker.start(t)
    const heard = withheld(broker)
    const subscriber = await started(t, announcing(t, broker.url))
    await until('it has subscribed', () => broker.client !== undefined)
    const [one, two] = [makeCrop({ device: 'one' }), makeCrop({ device: 'two' })]
    broker.publish([one, two])
    await until('they are announced', () => heard.said.length === 2)
    const selection = (device: string) => ({ ...PI, device })
    const answer = await callProgram(folderOf(subscriber), FORGET_COMMAND, {
      selection: selection('one'),
      dryRun: false,
    })
    await Array.fromAsync(answer ?? [])
    await subscriber.kill()
    const files = [configFile(t, subscriber.config)]
    await forgetCrops({
      selection: selection('two'),
      files,
      dryRun: true,
      yes: true,
      env: {},
      print: () => {},
    })
    await forgetCrops({
      selection: selection('two'),
      files,
      dryRun: false,
      yes: true,
      env: {},
      print: () => {},
    })
    const before = heard.said.length
    heard.acknowledge()
    await subscriber.start()
    await until('nothing waits', async () => (await subscriber.books('announcements')).pending === 0)
    const now = said(heard.said.slice(before))
    for (const crop of [one, two]) t.ok(now.includes(`removed ${keyOf(crop)}`))
    t.notOk(now.some((it) => it.startsWith('stored')))
    t.equal(missing(await subscriber.books('announcements')), 0)
  },
)

t.test(
  'what retention deletes is announced: a moment, and one by one what lies in days to come',
  async (t) => {
    const broker = await FakeBroker.start(t)
    const heard = withheld(broker)
    heard.acknowledge()
    const config = announcing(t, broker.url, { retention: { ageMax: '30d' } })
    const { path } = config.bucket as { path: string }
    const put = (filedAtMs: number, writtenAtMs: number) => {
      const key = keyOf(makeCrop({ capturedAtMs: filedAtMs }))
      const file = join(path, key)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, 'a face')
      utimesSync(file, writtenAtMs / 1000, writtenAtMs / 1000)
      return key
    }
    const now = Date.now()
    put(now - 40 * DAY_MS, now - 40 * DAY_MS)
    const ahead = put(Date.UTC(2099, 0), now - 40 * DAY_MS)
    const kept = put(Date.UTC(2099, 0), now)
    await Program.start(t, 'subscriber', config)
    await until('the sweep is over', () => storedKeys(path).length === 1)
    t.strictSame(storedKeys(path), [kept])
    await until('both are said', () => heard.said.length >= 2)
    t.match(heard.said, [
      { is: 'expired', filedBeforeMs: Math.floor((now - 30 * DAY_MS) / DAY_MS) * DAY_MS },
      { is: 'removed', key: ahead, why: 'expired' },
    ])
    t.equal(heard.said.length, 2)
  },
)

t.test(
  'announcements without an inbox entry are bounded: none is lost, and retention’s moment is one',
  async (t) => {
    const store = await Store.open({ folder: temporaryFolder(t) })
    t.after(() => store[Symbol.asyncDispose]())
    const announcements = Announcements.open(store)
    for (let day = 1; day <= 20; day += 1) await announcements.expired(day * DAY_MS)
    t.match(announcements.queue.books, { accepted: 20, pending: 1, dropped: { replaced: 19 } })
    await announcements.removed(['gallery/index.html', 'x/y'], 'expired')
    t.equal(announcements.queue.size, 1, 'other keys are no announcement')
    const key = keyOf(makeCrop())
    await Promise.all(Array.from({ length: 9_999 }, () => announcements.removed([key], 'forgotten')))
    await t.rejects(announcements.removed([key], 'forgotten'), {
      code: 'QUEUE_FULL',
      message: /nothing more is removed until/,
    })
    t.match(announcements.queue.books, { pending: 10_000, dropped: { replaced: 19 } })
    await Announcements.discard(store)
    t.notOk(store.queues.has('announcements'), 'where they are turned off nothing is left')
  },
)

t.test('forget from afar', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const keeper = await Keeper.open(t, broker.port)
  const subscriber = await started(t, announcing(t, broker.url))
  const device = await RawClient.open(t, broker.port, 'device', { clean: true })
  const store = async (made: readonly ReturnType<typeof makeCrop>[]) => {
    const before = storedKeys(bucketOf(subscriber)).length
    for (const [n, { topic, payload }] of made.entries()) device.publish(topic, payload, { messageId: n + 1 })
    await until('they are stored', () => storedKeys(bucketOf(subscriber)).length === before + made.length)
    await until('and announced', async () => (await subscriber.books('inbox')).pending === 0)
  }
  const ask = (payload: object | string, messageId = 1000) =>
    keeper.client.publish(FORGET, typeof payload === 'string' ? payload : JSON.stringify(payload), {
      messageId,
    })
  const answers = (request: string) =>
    keeper.announcements.filter((it) => it.is === 'forgot').filter((it) => it.request === request)
  const mine = crops(5)
  const other = makeCrop({ device: 'jetson' })
  await store([...mine, other])
  const request = newId()

  await t.test('removes as the command does, says so of each, and then answers', async (t) => {
    ask({ v: 1, request, selection: PI, by: 'ann' })
    await until('it is answered', () => answers(request).length > 0)
    t.strictSame(storedKeys(bucketOf(subscriber)), [keyOf(other)])
    const [answer] = answers(request)
    t.notOk(answer?.error)
    t.match(
      answer?.places.filter(({ count }) => count > 0),
      [{ place: /^folder /, count: 5 }],
    )
    t.strictSame(keeper.keys('removed').sort(), mine.map(keyOf).sort())
    t.equal(keeper.announcements.at(-1)?.is, 'forgot', 'behind what it removed')
    await subscriber.line(({ msg, by }) => /forget, as asked/.test(msg ?? '') && by === 'ann')
  })

  await t.test(
    'one that comes again removes nothing that has come since, and is answered again',
    async (t) => {
      const later = makeCrop()
      await store([later])
      ask({ v: 1, request, selection: PI })
      await until('it is answered again', () => answers(request).length === 2)
      t.strictSame(answers(request)[1], answers(request)[0])
      await subscriber.restart()
      ask({ v: 1, request, selection: PI })
      await until('also after a kill', () => answers(request).length === 3)
      t.ok(storedKeys(bucketOf(subscriber)).includes(keyOf(later)))
    },
  )

  await t.test('damaged ones are answered where they say whom, and crops come all the time', async (t) => {
    const [wrong, newer, open] = [newId(), newId(), newId()]
    ask('not JSON')
    ask({ v: 1, request: '../..', selection: PI })
    ask(`{"v":1,"request":"${newId()}","by":"${'x'.repeat(5000)}"}`)
    ask({ v: 1, request: wrong, selection: { kind: 'everything' } })
    ask({ v: 2, request: newer, selection: PI })
    ask({ v: 1, request: open, selection: { ...PI, site: '+' } })
    for (const id of [wrong, newer, open]) {
      await until('it is answered', () => answers(id).length === 1)
      t.match(answers(id)[0], { places: [], error: { code: 'USAGE', message: /^Not a request to forget/ } })
    }
    await store(crops(1))
    t.equal((await subscriber.books('quarantine')).accepted, 0)
    t.ok((await subscriber.health()).ok)
  })

  await t.test('those sent while it is stopped, or together, are each answered', async (t) => {
    await subscriber.stop()
    const ids = Array.from({ length: 5 }, () => newId())
    for (const [n, id] of ids.entries()) ask({ v: 1, request: id, selection: PI }, 100 + n)
    await subscriber.start()
    for (const id of ids) await until('it is answered', () => answers(id).length === 1)
    const removed = ids.map((id) => answers(id)[0]?.places.reduce((sum, { count }) => sum + count, 0))
    t.strictSame(removed, [2, 0, 0, 0, 0], 'one after the other')
    t.strictSame(storedKeys(bucketOf(subscriber)), [keyOf(other)])
    t.equal((await subscriber.books('forget requests')).pending, 0)
  })
})

t.test('a broker that refuses announcements and requests gets none, and keeps no crop away', async (t) => {
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
  const subscriber = await started(
    t,
    announcing(t, broker.url, { broker: { username: 'old', password: 'secret' } }),
  )
  const device = await RawClient.open(t, broker.port, 'device', {
    clean: true,
    username: 'pi',
    password: Buffer.from('secret'),
  })
  const made = crops(20)
  for (const [n, { topic, payload }] of made.entries()) device.publish(topic, payload, { messageId: n + 1 })
  await until('they are in the bucket', () => storedKeys(bucketOf(subscriber)).length === 20)
  await subscriber.line(({ msg }) => /check that this user has the right to publish there/.test(msg ?? ''))
  const { ok, checks } = await subscriber.health()
  t.ok(ok)
  t.match(checks.announcements, /20 waiting.*denies client .* the subscription to .*forget/)
  t.match(await subscriber.books('inbox'), { accepted: 20, pending: 20 }, 'until somebody was told')
  t.equal(subscriber.log.filter(({ msg }) => msg === 'subscribed').length, 1, 'the crops’ connection stays')
})
