import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { act } from '../../commands/quarantine/entries.ts'
import { MqttLink } from '../../lib/mqtt/link.ts'
import { forgetMessageSchema } from '../../wire/forget.ts'
import { newId } from '../../wire/id.ts'
import { KEEPER_VERSION, type KeeperReport } from '../../wire/keepers.ts'
import { type LiveMetadata, writeLive } from '../../wire/live.ts'
import { objectKey } from '../../wire/object-key.ts'
import { type Announcement, announcementLine, type StoredCrop } from '../../wire/stored.ts'
import {
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  missing,
  Program,
  RUN_TOKEN,
  temporaryFolder,
} from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** The console as it runs: a real broker, announcements and states as programs send them, and its own API to look. */

const PREFIX = 'sightline/v1'
const CAMERA = { site: 'home', device: 'pi', camera: 'door' }
const HEADERS = { authorization: `Bearer ${RUN_TOKEN}` }

interface Line {
  readonly console: Program
  /** Publishes at QoS 1. Resolves when it is acknowledged. */
  publish(topic: string, payload: string | Buffer, retain?: boolean): Promise<void>
  /** What the console has published since it was asked for, by topic below the prefix. */
  heard(filter: string): Promise<{ topic: string; text: string }[]>
  get<T>(path: string): Promise<T>
}

async function open(t: Test, settings: Record<string, unknown> = {}): Promise<Line> {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { queues: [{ clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] }] }),
  )
  const console = await Program.start(t, 'console', consoleConfig(t, broker.url, settings), {
    env: consoleEnvironment,
  })
  const connect = (clientId: string) =>
    MqttLink.open({
      url: broker.url,
      clientId,
      protocol: 4,
      clean: true,
      packetBytesMax: 1e6,
      keepaliveS: 30,
      connectMsMax: 5000,
    })
  const link = await connect('someone')
  t.teardown(() => link.destroy())
  let messageId = 0
  const acknowledged = new Map<number, () => void>()
  link.on('puback', (id) => acknowledged.get(id)?.())
  let ears = 0
  return {
    console,
    async publish(topic, payload, retain = false) {
      messageId += 1
      const id = messageId
      const done = new Promise<void>((resolve) => acknowledged.set(id, resolve))
      link.publish({
        topic: `${PREFIX}/${topic}`,
        payload: Buffer.from(payload),
        messageId: id,
        dup: false,
        retain,
      })
      await done
    },
    async heard(filter) {
      ears += 1
      const ear = await connect(`ear-${ears}`)
      t.teardown(() => ear.destroy())
      const came: { topic: string; text: string }[] = []
      ear.on('publish', ({ topic, payload, messageId: id }) => {
        came.push({ topic: topic.slice(PREFIX.length + 1), text: payload.toString() })
        if (id !== undefined) ear.puback(id)
      })
      await ear.subscribe(`${PREFIX}/${filter}`, 1)
      return came
    },
    async get(path) {
      return (await (await fetch(`${console.http}/api/v1/${path}`, { headers: HEADERS })).json()) as never
    },
  }
}

function stored(changed: Partial<StoredCrop> = {}): StoredCrop {
  const id = newId()
  const atMs = Date.now()
  const address = { ...CAMERA, ...changed }
  return {
    v: 1,
    is: 'stored',
    kind: 'crop',
    id,
    ...CAMERA,
    key: objectKey({ id, site: address.site, device: address.device, camera: address.camera }, atMs),
    filedAtMs: atMs,
    capturedAtMs: atMs,
    storedAtMs: atMs,
    clockSane: true,
    bytes: 12,
    sha256: 'a'.repeat(64),
    box: [1, 2, 30, 40],
    region: [0, 0, 50, 60],
    score: 0.9,
    model: 'test',
    frame: [640, 480],
    ...changed,
  }
}

const state = (changed: object = {}) =>
  JSON.stringify({
    v: 1,
    ...CAMERA,
    state: 'up',
    why: null,
    paused: false,
    threshold: 'auto',
    scoreMin: 0.5,
    rate: 'unlimited',
    crops: 0,
    lastCrop: null,
    ...changed,
  })

const report = (changed: Partial<KeeperReport> = {}): string =>
  JSON.stringify({
    v: KEEPER_VERSION,
    keeper: 'broker-edge-1',
    program: 'broker',
    name: 'edge',
    version: '0.1.0',
    startedAtMs: 1,
    atMs: Date.now(),
    everyMs: 10_000,
    ok: true,
    checks: { store: 'ok' },
    queues: [],
    links: [],
    ...changed,
  } satisfies KeeperReport)

const total = async ({ get }: Line) => (await get<{ today: { total: number } }>('overview')).today.total

t.test('what was acknowledged is in the database, also where the console is killed at once', async (t) => {
  const line = await open(t)
  const made = Array.from({ length: 300 }, () => stored())
  await line.publish('stored/sub', made.map(announcementLine).join(''))
  await line.console.kill()
  await line.publish('stored/sub', announcementLine(stored())) // the broker keeps it meanwhile
  await line.console.start()
  await until('all are there', async () => (await total(line)) === 301)
  // The same once more, in another order, and what is gone: nothing twice, nothing comes back.
  const [first, second] = made as [StoredCrop, StoredCrop]
  const gone = { v: 1, is: 'removed', id: first.id, key: first.key, why: 'forgotten' } as const
  await line.publish('stored/sub', [gone, ...made].map(announcementLine).join(''))
  await until('one is gone', async () => (await total(line)) === 300)
  t.equal(
    (await fetch(`${line.console.http}/api/v1/detections/${first.id}`, { headers: HEADERS })).status,
    404,
  )
  t.match(await line.get(`detections/${second.id}`), { id: second.id, ...CAMERA })
  const books = await line.console.books('inbox')
  t.equal(missing(books), 0)
  t.equal(books.pending, 0)
})

t.test('lines that are no announcements go to quarantine, and hold nothing up', async (t) => {
  const folder = temporaryFolder(t)
  const line = await open(t, { inbox: { folder } })
  const good = stored()
  await line.publish(
    'stored/sub',
    `${announcementLine(good)}{"v":1,"is":"stored"}\nnot json\n${announcementLine({ ...stored(), v: 2 } as never)}`,
  )
  await line.publish('stored/sub', Buffer.from([0xff, 0xfe, 0x00]))
  await line.publish('stored/sub', announcementLine(stored()))
  await until('the good ones are there', async () => (await total(line)) === 2)
  await until('the others are set aside', async () => (await line.console.books('quarantine')).pending === 2)
  t.match(
    line.console.log.find(({ msg }) => msg?.startsWith('quarantined')),
    { level: 40, topic: 'sightline/v1/stored/sub', lines: 3 },
  )
  t.equal((await line.console.health()).ok, true)
  // What runs does it, and what is stopped knows whose store it is.
  const said: string[] = []
  const retry = () => act(folder, { action: 'retry', numbers: 'all' }, false, (text) => void said.push(text))
  t.equal(await retry(), 0)
  t.match(said.at(-1), '2 messages: 2 stays.')
  t.equal(await line.console.stop(), 0)
  t.equal(await retry(), 0)
  t.match(said.at(-1), '2 messages: 2 stays.')
  t.match(said.join(''), /not an announcement: .*not JSON/)
})

t.test('who runs is known by what it says on its own topic, and by nothing else', async (t) => {
  const line = await open(t)
  await line.publish('keepers/broker-edge-1', report(), true)
  await line.publish('keepers/broker-other', report(), true) // says that it is another
  const subscriber = { keeper: 'device-4-home-pi', program: 'subscriber', name: '+' } as const
  await line.publish('keepers/device-4-home-pi', report(subscriber), true) // and that it is another's program
  await line.publish('home/pi/status', JSON.stringify({ v: 1, state: 'online' }), true)
  await line.publish('home/pi/door/state', state(), true)
  await line.publish('home/pi/yard/state', state(), true) // says that it is the door
  await line.publish('home/pi/gate/state', '{"v":1', true)
  type Items<T> = { items: T[] }
  await until('it is seen', async () => (await line.get<Items<object>>('cameras')).items.length > 0)
  await until('a keeper', async () =>
    (await line.get<Items<{ keeper: string }>>('keepers')).items.some(
      ({ keeper }) => keeper === 'broker-edge-1',
    ),
  )
  const { items } = await line.get<Items<{ camera: string; is: string }>>('cameras')
  t.strictSame(
    items.map(({ camera, is }) => [camera, is]),
    [['door', 'live']],
  )
  const keepers = async () =>
    (await line.get<Items<{ keeper: string }>>('keepers')).items.map(({ keeper }) => keeper).sort()
  await until('it knows of itself', async () => (await keepers()).includes('console-console'))
  t.strictSame(await keepers(), ['broker-edge-1', 'console-console'])
  await line.publish(
    'home/pi/status',
    JSON.stringify({ v: 1, state: 'offline', why: 'connection lost' }),
    true,
  )
  await until('it is offline', async () =>
    (await line.get<Items<{ is: string }>>('cameras')).items.every(({ is }) => is === 'offline'),
  )
  await line.console.restart()
  t.match(
    await line.get('cameras'),
    { items: [{ camera: 'door', is: 'offline' }] },
    'and known at the next start',
  )
})

t.test('a command is answered with the state that shows it', async (t) => {
  const line = await open(t)
  const command = (name: string, value: string) =>
    fetch(`${line.console.http}/api/v1/cameras/home/pi/door/commands`, {
      method: 'POST',
      headers: { ...HEADERS, 'content-type': 'application/json' },
      body: JSON.stringify({ command: name, value }),
    })
  t.equal((await command('pause', 'on')).status, 404, 'there is no such camera yet')
  await line.publish('home/pi/status', JSON.stringify({ v: 1, state: 'online' }), true)
  await line.publish('home/pi/door/state', state(), true)
  await until('it is seen', async () => (await line.get<{ items: object[] }>('cameras')).items.length === 1)
  const heard = await line.heard('home/pi/door/set/+')
  const answer = command('pause', 'on')
  await until('the agent hears of it', () => heard.length === 1)
  t.match(heard, [{ topic: 'home/pi/door/set/pause', text: 'on' }])
  await line.publish('home/pi/door/state', state({ crops: 3 }), true) // of something else
  await line.publish('home/pi/door/state', state({ paused: true }), true)
  t.match(await (await answer).json(), { is: 'paused', state: { paused: true } })
  await line.publish('home/pi/status', JSON.stringify({ v: 1, state: 'offline' }), true)
  await until('it is offline', async () =>
    (await line.get<{ items: { is: string }[] }>('cameras')).items.every(({ is }) => is === 'offline'),
  )
  const refused = await command('pause', 'off')
  t.equal(refused.status, 409)
  t.match(await refused.json(), { code: 'CAMERA_OFFLINE' })
})

t.test(
  'live pictures are asked for while somebody looks, once for all of them, and then no more',
  async (t) => {
    const line = await open(t)
    await line.publish('home/pi/status', JSON.stringify({ v: 1, state: 'online' }), true)
    await line.publish('home/pi/door/state', state(), true)
    await until('it is seen', async () => (await line.get<{ items: object[] }>('cameras')).items.length === 1)
    const heard = await line.heard('home/pi/door/set/live')
    const jpeg = Buffer.from([0xff, 0xd8, 0xff, 0xfe, 0, 4, 1, 2, 0xff, 0xd9])
    const look = async () => {
      const gone = new AbortController()
      const answer = await fetch(`${line.console.http}/api/v1/cameras/home/pi/door/live.mjpg`, {
        headers: HEADERS,
        signal: gone.signal,
      })
      const reader = answer.body?.getReader()
      return { gone, reader, type: answer.headers.get('content-type') }
    }
    const viewers = await Promise.all([look(), look(), look()])
    await until('the agent is asked', () => heard.length > 0)
    await sleep(200)
    t.equal(heard.length, 1, 'once for three viewers')
    t.ok(Number(heard[0]?.text) > 0)
    await line.publish('home/pi/door/live', jpeg)
    for (const { reader, type } of viewers) {
      t.match(type, 'multipart/x-mixed-replace')
      let bytes = Buffer.alloc(0)
      while (!bytes.includes(jpeg)) {
        const { value, done } = (await reader?.read()) ?? { done: true, value: undefined }
        if (done) break
        bytes = Buffer.concat([bytes, value as Uint8Array])
      }
      t.ok(bytes.includes(jpeg), 'each sees it')
    }
    await line.publish('home/pi/door/live', Buffer.from('no picture'))
    for (const { gone } of viewers) gone.abort()
    await until('the agent is told that nobody looks', () => heard.at(-1)?.text === '0')
  },
)

t.test('no picture from before an effect or a pause is shown once the camera is told to hide', async (t) => {
  const line = await open(t)
  await line.publish('home/pi/status', JSON.stringify({ v: 1, state: 'online' }), true)
  const told = async (changed: object) => {
    await line.publish('home/pi/door/state', state(changed), true)
    await until('the console knows', async () => {
      const { items } = await line.get<{ items: { state: object }[] }>('cameras')
      return Object.entries(changed).every(
        ([name, value]) => Reflect.get(items[0]?.state ?? {}, name) === value,
      )
    })
  }
  const picture = (capturedAtMs: number, more: Partial<LiveMetadata> = {}) =>
    writeLive(Buffer.from([0xff, 0xd8, 0xff, 0xd9]), { v: 1, capturedAtMs, faces: 0, paused: false, ...more })
  const look = async () => {
    const answer = await fetch(`${line.console.http}/api/v1/cameras/home/pi/door/picture.jpg?maxAge=3600`, {
      headers: HEADERS,
    })
    return answer.ok ? Number(answer.headers.get('x-captured-at-ms')) : answer.status
  }
  const heard = await line.heard('home/pi/door/set/live')
  /** What somebody is shown who looks now, while these come. */
  const shown = async (topic: string, ...pictures: readonly Buffer[]) => {
    const asked = () => heard.filter(({ text }) => text !== '0').length
    const before = asked()
    const seen = look()
    await until('the agent is asked', () => asked() > before)
    for (const payload of pictures) await line.publish(`home/pi/door/${topic}`, payload)
    return seen
  }

  await told({ paused: false })
  t.equal(await shown('live', picture(1)), 1)
  t.equal(await look(), 1, 'it is kept for a while')
  await told({ effect: 'pixelate' })
  t.equal(
    await shown('live', picture(2), picture(3, { effect: 'outline' }), picture(4, { effect: 'pixelate' })),
    4,
    'neither the one before nor those that were on their way',
  )
  t.equal(await look(), 4)
  await told({ effect: 'outline' })
  t.equal(await shown('snapshot', picture(5), picture(6, { effect: 'outline' })), 6, 'snapshots too')
  await told({ effect: 'outline', paused: true })
  t.equal(await shown('live', picture(7, { effect: 'outline' }), picture(8, { paused: true })), 8)
})

t.test(
  'a face is deleted by who has it: its subscriber is asked, and its answer is the answer',
  async (t) => {
    const line = await open(t)
    await line.publish(
      'keepers/subscriber-sub',
      report({ keeper: 'subscriber-sub', program: 'subscriber', name: 'sub' }),
      true,
    )
    const face = stored()
    await line.publish('stored/sub', announcementLine(face))
    await until('it is there', async () => (await total(line)) === 1)
    const heard = await line.heard('forget/+')
    const answer = fetch(`${line.console.http}/api/v1/detections/${face.id}`, {
      method: 'DELETE',
      headers: HEADERS,
    })
    await until('the subscriber is asked', () => heard.length === 1)
    t.equal(heard[0]?.topic, 'forget/sub')
    const { request, selection, by } = forgetMessageSchema.parse(JSON.parse(heard[0]?.text ?? ''))
    t.match({ selection, by }, { selection: { kind: 'id', id: face.id }, by: 'demo' })
    const removed: Announcement = { v: 1, is: 'removed', id: face.id, key: face.key, why: 'forgotten' }
    const forgot: Announcement = { v: 1, is: 'forgot', request, places: [{ place: 'folder', count: 1 }] }
    await line.publish('stored/sub', [removed, forgot].map(announcementLine).join(''))
    t.match(await (await answer).json(), { places: [{ place: 'folder', count: 1 }] })
    t.equal(await total(line), 0)
  },
)
