import { writeFileSync } from 'node:fs'
import t from 'tap'
import { ClipSender, clipsClientId } from '../../device/link/clip-sender.ts'
import { type OpenOutbox, Outbox, type OutboxOptions } from '../../device/link/outbox.ts'
import { outboxForget, outboxQuarantine } from '../../device/link/outbox-commands.ts'
import { openLog } from '../../lib/log.ts'
import { Store } from '../../store/store.ts'
import { StoreView } from '../../store/view.ts'
import { readClip } from '../../wire/clip.ts'
import { CLIP } from '../../wire/kinds.ts'
import { makeClip } from '../kit/clips.ts'
import { brokerConfig, missing, Program, type Test, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { SmallDisk } from '../kit/small-disk.ts'
import { until } from '../kit/wait.ts'

const log = openLog('test', 'silent')

async function open(t: Test, folder: string, settings: Partial<OutboxOptions> = {}) {
  const refused: string[] = []
  let opened: OpenOutbox | undefined
  const outbox = await Outbox.open(
    {
      folder,
      bytesMax: 1e9,
      entriesMax: 1e6,
      ageMsMax: 1e9,
      topicPrefix: 'sightline/v1',
      log,
      events: {
        refused: (_camera, reason) => {
          refused.push(reason)
        },
        opened: (it) => {
          opened = it
        },
        changed: () => {},
      },
      ...settings,
    },
    true,
  )
  t.after(() => outbox[Symbol.asyncDispose]())
  return { outbox, refused, opened: () => opened as OpenOutbox }
}

function send(t: Test, url: string, outbox: OpenOutbox, crops = { isBusy: false }, login = {}) {
  const sender = ClipSender.open({
    outbox,
    link: {
      url,
      clientId: clipsClientId(outbox.store, { site: 'home', device: 'pi' }),
      packetBytesMax: 1_000_000,
      keepaliveS: 10,
      connectMsMax: 5000,
      ...login,
    },
    backoff: { delayMsMin: 20, delayMsMax: 200 },
    crops: {
      get isBusy() {
        return crops.isBusy
      },
      ping: () => undefined,
    },
    log,
    acknowledged: () => {},
  })
  t.after(() => sender[Symbol.asyncDispose]())
  return sender
}

const broker = (t: Test, settings: Record<string, unknown> = {}) =>
  Program.start(
    t,
    'broker',
    brokerConfig(t, { queues: [{ clientId: 'clips', topics: ['+/+/+/+/+/clip'] }], ...settings }),
  )

/** All ids that lie in the broker's queue, read and acknowledged. */
async function idsAt(t: Test, port: number, count: number): Promise<string[]> {
  const client = await RawClient.open(t, port, 'clips')
  const ids: string[] = []
  const take = (packet: (typeof client.received)[number]) => {
    if (packet.cmd !== 'publish') return
    const reading = readClip(packet.payload as Buffer)
    ids.push('clip' in reading ? reading.clip.id : reading.fault)
    client.send({ cmd: 'puback', messageId: packet.messageId as number })
  }
  client.onPacket = take
  for (const packet of client.received) take(packet)
  await until('they have come', () => new Set(ids).size >= count, 20_000)
  return ids
}

const clipsOf = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, sequence) => makeClip({ site: 'home', device: 'pi', sequence }, bytes))

t.test('full, the oldest make way, and are counted', async (t) => {
  const { outbox, opened } = await open(t, temporaryFolder(t), { bytesMax: 1_000_000 })
  const clips = clipsOf(15, 99_000)
  for (const clip of clips) outbox.offer(clip)
  await outbox.settled()
  const [books] = outbox.books
  t.match(books, { name: 'outbox', accepted: 15, pending: 10, dropped: { 'dropped oldest': 5 } })
  const { queue } = opened()
  const first = readClip(queue.read(queue.after(0) as number)?.body as Buffer)
  t.match(first, { clip: { id: clips[5]?.metadata.id } })
})

t.test('a clip that no broker would take is refused at once', async (t) => {
  const { outbox, refused } = await open(t, temporaryFolder(t))
  outbox.offer({ ...makeClip(), payload: Buffer.alloc(CLIP.payloadBytesMax + 1) })
  t.strictSame(refused, ['too large'])
  t.match(outbox.books[0], { accepted: 1, pending: 0, dropped: { 'too large': 1 } })
})

const disk = SmallDisk.open(64 << 20)
t.test(
  'a full disk: clips are lost and counted, it is said, and it goes on when there is room',
  { skip: typeof disk === 'string' && disk },
  async (t) => {
    if (typeof disk === 'string') return
    t.after(() => disk[Symbol.dispose]())
    const { outbox, refused } = await open(t, `${disk.path}/outbox`)
    const offer = async (count: number) => {
      for (const clip of clipsOf(count, 100_000)) outbox.offer(clip)
      await until('they are kept or refused', () => {
        const [books] = outbox.books
        return books !== undefined && missing(books) === 0
      })
    }
    await offer(3)
    await until('they are on disk', () => outbox.opened?.store.fault === undefined)
    disk.fill(1_000_000)
    for (let n = 0; n < 20 && refused.length === 0; n += 1) {
      await offer(3)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    t.ok(refused.length > 0 && refused.every((it) => it === 'disk full'), refused.join())
    t.match(outbox.trouble, /full|space/i)
    const lost = refused.length
    disk.makeRoom()
    await until('it says that it has room', () => outbox.opened?.store.fault === undefined, 10_000)
    await offer(1)
    t.equal(refused.length, lost)
    await until('the trouble is over', () => outbox.trouble === undefined)
  },
)

t.test('a broker killed with -9 while clips go to it: each is there, whole', async (t) => {
  const edge = await broker(t)
  const { outbox, opened } = await open(t, temporaryFolder(t))
  const sender = send(t, edge.url, opened())
  const clips = clipsOf(20, 500_000)
  for (const clip of clips) outbox.offer(clip)
  await until('some have arrived', () => opened().queue.books.forwarded > 3, 20_000)
  await edge.kill()
  t.ok(opened().queue.size > 0 || opened().queue.books.forwarded === 20)
  await edge.start()
  await until('all have arrived', () => opened().queue.size === 0, 30_000)
  // All may have gone before the kill: then it is still connecting.
  await until('it is connected again', () => sender.trouble === undefined, 30_000)
  const ids = await idsAt(t, edge.port, 20)
  t.strictSame([...new Set(ids)].sort(), clips.map(({ metadata }) => metadata.id).sort())
  t.match(outbox.books[0], { accepted: 20, forwarded: 20, pending: 0 })
})

t.test('clips yield to crops', async (t) => {
  const edge = await broker(t)
  const { outbox, opened } = await open(t, temporaryFolder(t))
  const crops = { isBusy: true }
  const sender = send(t, edge.url, opened(), crops)
  await until('it is connected', () => sender.connected)
  for (const clip of clipsOf(3, 300_000)) outbox.offer(clip)
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(opened().queue.books.forwarded, 0)
  crops.isBusy = false
  await until('they go', () => opened().queue.size === 0)
})

t.test('what the broker will never take is set aside; forget and retry reach it', async (t) => {
  const edge = await broker(t, {
    users: [{ name: 'pi', password: 'pi', role: 'device', site: 'home' }],
  })
  const { outbox, opened } = await open(t, temporaryFolder(t))
  send(t, edge.url, opened(), { isBusy: false }, { username: 'pi', password: 'pi' })
  const [large] = clipsOf(1, 900_000)
  const [small] = clipsOf(1, 1000)
  const stranger = makeClip({ site: 'other', device: 'pi' })
  outbox.offer(stranger)
  outbox.offer(large as typeof stranger)
  outbox.offer(small as typeof stranger)
  const { store, quarantine, queue } = opened()
  await until('what may go has gone', () => queue.size === 0, 15_000)
  t.equal(quarantine.size, 1, 'what this device may not say is set aside, and holds up nothing')
  t.equal(missing(queue.books), 0)
  const header = Buffer.from(
    JSON.stringify({
      topic: 'sightline/v1/home/pi/camera/clip',
      qos: 1,
      reason: 'x',
      detail: '',
      receivedAtMs: 0,
    }),
  )
  for (const { payload } of clipsOf(2, 1000)) await store.accept({ header, body: payload }, [quarantine])
  const stop = new AbortController().signal
  for await (const _ of outboxQuarantine(store)({ action: 'retry', numbers: [quarantine.after(0)] }, stop))
    t.ok(_)
  await until('it has gone, and come back', () => queue.size === 0 && quarantine.size === 3)
  const selection = { kind: 'device', site: 'home', device: 'pi' }
  const forgotten: unknown[] = []
  for await (const it of outboxForget(store)({ selection, dryRun: false }, stop)) forgotten.push(it)
  t.match(forgotten, [
    { place: 'queue outbox', count: 0 },
    { place: 'queue quarantine', count: 2 },
  ])
})

t.test('the agent killed with -9: what it has recorded arrives when there is a broker', async (t) => {
  const folder = temporaryFolder(t)
  const edge = await broker(t)
  await edge.kill() // its port stays
  const device = await Program.waiting(
    t,
    'device',
    {
      site: 'home',
      device: 'pi',
      cameras: [{ name: 'card', source: 'testcard', record: { mode: 'always' } }],
      broker: { url: edge.url, backoff: { min: '50ms', max: '200ms' } },
      outbox: { folder },
      remote: { enabled: false },
      http: { port: 0 },
    },
    ({ msg }) => msg === 'camera opened',
  )
  const store = `${folder}/device-4-home-pi`
  const pending = async () => {
    await using view = StoreView.open(store)
    return view.queues().find(({ name }) => name === 'outbox')?.books.pending ?? 0
  }
  await until('two clips are on disk', async () => (await pending().catch(() => 0)) >= 2, 40_000)
  await device.kill()
  const before: string[] = []
  {
    await using held = await Store.open({ folder: store })
    const queue = held.queues.get('outbox')
    for (let at = queue?.after(0); at !== undefined; at = queue?.after(at)) {
      const reading = readClip(queue?.read(at)?.body as Buffer)
      before.push('clip' in reading ? reading.clip.id : reading.fault)
    }
  }
  t.ok(before.length >= 2)
  await edge.start()
  await Program.waiting(t, 'device', device.config, ({ msg }) => msg === 'clips are sent to the broker')
  const ids = await idsAt(t, edge.port, before.length)
  t.strictSame(
    ids.filter((id) => before.includes(id)),
    before,
    'each once, in order, whole',
  )
})

t.test(
  'an outbox that cannot be opened: the agent starts all the same, and says what it loses',
  async (t) => {
    const file = `${temporaryFolder(t)}/file`
    writeFileSync(file, '')
    const device = await Program.start(t, 'device', {
      cameras: [{ name: 'card', source: 'testcard', record: { mode: 'always' } }],
      broker: { url: (await broker(t)).url },
      outbox: { folder: `${file}/outbox` },
      remote: { folder: temporaryFolder(t) },
      report: { enabled: false },
      http: { port: 0 },
    })
    await until('the camera is up', async () => (await device.health()).checks['camera card'] === 'up')
    t.match((await device.health()).checks.outbox, /Cannot create the folder/)
  },
)
