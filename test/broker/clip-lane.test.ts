import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { callProgram } from '../../lib/control.ts'
import { QUARANTINE_COMMAND } from '../../store/quarantine.ts'
import { readClip } from '../../wire/clip.ts'
import { CLIP, CROP, keptTopic } from '../../wire/kinds.ts'
import { TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { makeClip } from '../kit/clips.ts'
import { bridgeConfig, brokerConfig, missing, Program, type Test } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const HERE = { site: 'home', device: 'pi', camera: 'door' }
const CLIPS = keptTopic(TOPIC_PREFIX_DEFAULT, CLIP, HERE)
const CROPS = keptTopic(TOPIC_PREFIX_DEFAULT, CROP, HERE)
const UP = [{ filter: 'sightline/v1/+/+/+/crop' }, { filter: 'sightline/v1/+/+/+/clip' }]

async function line(
  t: Test,
  bridge: Record<string, unknown> = {},
  far: Record<string, unknown> = {},
  near: Record<string, unknown> = {},
) {
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      queues: [
        { clientId: 'crops', topics: ['+/+/+/+/+/crop'] },
        { clientId: 'clips', topics: ['+/+/+/+/+/clip'] },
      ],
      ...far,
    }),
  )
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port })
  t.after(() => proxy[Symbol.asyncDispose]())
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'edge',
      bridges: [
        bridgeConfig(proxy.url, { topics: UP, connectTimeout: '5s', acknowledgeTimeout: '5s', ...bridge }),
      ],
      ...near,
    }),
  )
  return { cloud, proxy, edge }
}

/** Publishes at QoS 1; resolves when all are acknowledged. */
async function publish(t: Test, port: number, topic: string, payloads: readonly Buffer[]): Promise<void> {
  const client = await RawClient.open(t, port, 'publisher', { clean: true })
  for (const [n, payload] of payloads.entries()) client.publish(topic, payload, { messageId: n + 1 })
  await until('all are acknowledged', () => client.received.length === payloads.length, 20_000)
  await client.disconnect()
}

/** Takes and acknowledges all under a client id; notes when each came. */
async function reader(t: Test, port: number, clientId: string) {
  const client = await RawClient.open(t, port, clientId)
  const came: { atMs: number; payload: Buffer }[] = []
  const take = (packet: (typeof client.received)[number]) => {
    if (packet.cmd !== 'publish') return
    came.push({ atMs: performance.now(), payload: packet.payload as Buffer })
    client.send({ cmd: 'puback', messageId: packet.messageId as number })
  }
  client.onPacket = take
  for (const packet of client.received) take(packet)
  return came
}

const clipsOf = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, sequence) => makeClip({ ...HERE, sequence }, bytes))
const idOf = (payload: Buffer) => {
  const reading = readClip(payload)
  return 'clip' in reading ? reading.clip.id : reading.fault
}

t.test('crops overtake a backlog of clips, and both arrive whole, each once', async (t) => {
  const { cloud, proxy, edge } = await line(t)
  proxy.refuse()
  proxy.cut()
  const clips = clipsOf(30, 1_000_000)
  await publish(
    t,
    edge.port,
    CLIPS,
    clips.map(({ payload }) => payload),
  )
  const cropsCame = await reader(t, cloud.port, 'crops')
  const clipsCame = await reader(t, cloud.port, 'clips')
  t.strictSame([cropsCame.length, clipsCame.length], [0, 0])
  await proxy.accept()
  await until('clips flow', () => clipsCame.length > 0)
  const before = clipsCame.length
  await publish(
    t,
    edge.port,
    CROPS,
    Array.from({ length: 20 }, (_, n) => Buffer.alloc(30_000, n)),
  )
  await until('the crops are there', () => cropsCame.length === 20)
  const between = clipsCame.length - before
  t.ok(between < 30 - before, `${between} of ${30 - before} clips came before the last crop`)
  await until('the clips are there', () => clipsCame.length === 30, 30_000)
  t.strictSame(
    clipsCame.map(({ payload }) => idOf(payload)),
    clips.map(({ metadata }) => metadata.id),
    'in order, whole',
  )
  const last = (came: readonly { atMs: number }[]) => came.at(-1)?.atMs ?? 0
  t.ok(last(cropsCame) < last(clipsCame), 'whoever came first')
  for (const [queue, count] of [
    ['bridge/cloud', 20],
    ['bridge/cloud/clips', 30],
  ] as const) {
    await until('it is empty', async () => (await edge.books(queue)).pending === 0)
    const books = await edge.books(queue)
    t.match(books, { accepted: count, forwarded: count })
    t.equal(missing(books), 0)
  }
  const { checks } = await edge.health()
  t.match(checks['bridge cloud/clips'], /^connected, 0 waiting$/)
})

t.test('either broker killed with -9 while clips cross: none is missing', async (t) => {
  const { cloud, proxy, edge } = await line(t, { clips: { rateMax: '500KB/s' } })
  const clips = clipsOf(12, 60_000)
  await publish(
    t,
    edge.port,
    CLIPS,
    clips.map(({ payload }) => payload),
  )
  await sleep(400)
  await edge.kill()
  await edge.start()
  await sleep(400)
  await cloud.kill()
  await cloud.start()
  await until(
    'it has let go of them',
    async () => (await edge.books('bridge/cloud/clips')).pending === 0,
    30_000,
  )
  const came = await reader(t, cloud.port, 'clips')
  await until('all are there', () => new Set(came.map(({ payload }) => idOf(payload))).size === 12)
  t.strictSame(
    [...new Set(came.map(({ payload }) => idOf(payload)))].sort(),
    clips.map(({ metadata }) => metadata.id).sort(),
    'and nothing else',
  )
  t.ok(proxy.opened > 2)
})

t.test('without a filter for clips a bridge is as it was, and clips are refused, not lost', async (t) => {
  const { proxy, edge } = await line(t, { topics: [UP[0]] }, {}, { mustBeKept: [UP[1]?.filter] })
  await until('it is connected', () => proxy.connections === 1)
  const client = await RawClient.open(t, edge.port, 'publisher', { clean: true })
  client.publish(CLIPS, makeClip(HERE).payload, { messageId: 1 })
  await edge.line(({ code }) => code === 'QUEUE_MISSING')
  t.notOk(client.received.some(({ cmd }) => cmd === 'puback'))
  t.equal(proxy.connections, 1)
  t.equal((await edge.health()).checks['bridge cloud/clips'], undefined)
})

t.test('a rate is kept to, and a paused lane keeps its clips', async (t) => {
  const { cloud, edge } = await line(t, { clips: { rateMax: '500KB/s' } })
  const came = await reader(t, cloud.port, 'clips')
  const startedMs = performance.now()
  await publish(
    t,
    edge.port,
    CLIPS,
    clipsOf(4, 250_000).map(({ payload }) => payload),
  )
  await until('they are there', () => came.length === 4, 20_000)
  const tookMs = performance.now() - startedMs
  t.ok(tookMs > 1700, `1 MB at 500 KB/s in ${tookMs.toFixed(0)} ms`)
  await edge.stop()
  const bridge = (edge.config.bridges as Record<string, unknown>[])[0]
  edge.config.bridges = [{ ...bridge, clips: { rateMax: 'paused' } }]
  await edge.start()
  await publish(
    t,
    edge.port,
    CLIPS,
    clipsOf(2, 10_000).map(({ payload }) => payload),
  )
  await publish(t, edge.port, CROPS, [Buffer.from('crop')])
  await until('the crop has crossed', async () => (await cloud.books('session/crops')).accepted === 1)
  await sleep(300)
  t.equal(came.length, 4)
  t.match((await edge.health()).checks['bridge cloud/clips'], /2 waiting; paused/)
  t.match(await edge.books('bridge/cloud/clips'), { pending: 2 })
})

t.test(
  'what the other broker will never take is set aside in the lane’s quarantine, and comes back',
  async (t) => {
    const { cloud, edge } = await line(t, {}, { limits: { packetMax: '200KB' } })
    const came = await reader(t, cloud.port, 'clips')
    const [small] = clipsOf(1, 10_000)
    const [large] = clipsOf(1, 300_000)
    await publish(t, edge.port, CLIPS, [large?.payload as Buffer, small?.payload as Buffer])
    await until('the small one crosses', () => came.length === 1, 20_000)
    await until(
      'the large one is set aside',
      async () => (await edge.books('quarantine/cloud/clips')).pending === 1,
    )
    t.equal(missing(await edge.books('bridge/cloud/clips')), 0)
    cloud.config.limits = {}
    await cloud.restart()
    const again = await reader(t, cloud.port, 'clips')
    const { folder } = edge.config.store as { folder: string }
    const request = { action: 'retry', numbers: 'all' }
    const outcomes: unknown[] = []
    for await (const it of (await callProgram(folder, QUARANTINE_COMMAND, request)) ?? []) outcomes.push(it)
    t.match(outcomes, [{ outcome: 'to the queue bridge/cloud/clips' }])
    await until('it crosses', () => again.some(({ payload }) => idOf(payload) === large?.metadata.id), 20_000)
  },
)

t.test('the largest clip fits everywhere, under the longest topic that is its', async (t) => {
  const { cloud, edge } = await line(t)
  const came = await reader(t, cloud.port, 'clips')
  const names = { site: 's'.repeat(64), device: 'd'.repeat(64), camera: 'c'.repeat(64) }
  const { payload } = makeClip(names, CLIP.payloadBytesMax - 1000)
  const whole = Buffer.concat([payload, Buffer.alloc(CLIP.payloadBytesMax - payload.length)])
  await publish(t, edge.port, keptTopic(TOPIC_PREFIX_DEFAULT, CLIP, names), [whole])
  await until('it is there', () => came.length === 1, 20_000)
  t.ok(whole.equals(came[0]?.payload as Buffer))
})

t.test('a reader that takes its time has 32 MB in flight, not all of its queue', async (t) => {
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'cloud', queues: [{ clientId: 'clips', topics: ['#'] }] }),
  )
  await publish(
    t,
    cloud.port,
    CLIPS,
    clipsOf(20, 3_000_000).map(({ payload }) => payload),
  )
  const client = await RawClient.open(t, cloud.port, 'clips')
  await until('some have come', () => client.received.length >= 11, 20_000)
  await sleep(500)
  t.ok(client.received.length <= 12, `${client.received.length} of 20`)
})
