import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { drawFaces, drawZones } from '../../device/view/draw.ts'
import { LETTERS } from '../../device/view/letters.ts'
import { deviceKeeper, keeperTopic, readKeeper } from '../../wire/keepers.ts'
import { LIVE_BYTES_MAX, type LiveMetadata, readLive, writeLive } from '../../wire/live.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { BASE, command, metric, startDevice, watch } from './commanded.ts'

/** Yellow as the boxes are, after JPEG. */
async function boxPixels(jpeg: Buffer): Promise<number> {
  const { data } = await sharp(jpeg).raw().toBuffer({ resolveWithObject: true })
  let count = 0
  for (let at = 0; at < data.length; at += 3)
    if ((data[at] as number) > 200 && (data[at + 1] as number) > 160 && (data[at + 2] as number) < 90)
      count += 1
  return count
}

t.test(
  'live pictures come while somebody asks for them, bounded, marked, and stop by themselves',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
    const device = await startDevice(t, broker.url)
    await eye.stateBecomes('up', ({ state, crops }) => state === 'up' && crops > 3)
    const live = () => eye.of('live')
    t.equal(live().length, 0, 'nobody has asked')

    const startMs = performance.now()
    await command(eye.client, 'live', '2')
    await until('pictures', () => live().length > 5)
    await sleep(1000)
    await command(eye.client, 'live', '2') // somebody looks on
    const renewedMs = Date.now()
    await until('pictures after the first wish was over', () =>
      live().some(({ atMs }) => atMs > startMs + 2100),
    )
    await sleep(renewedMs + 3700 - Date.now())
    const count = live().length
    const last = live().at(-1) as (typeof eye.came)[number]
    const endedMs = (readLive(last.payload)?.capturedAtMs ?? 0) - renewedMs
    t.ok(endedMs < 2700, `none when nobody renewed it: the last was taken ${endedMs} ms after that`)

    const times = live().map(({ atMs }) => atMs)
    const perSecond = count / (((times.at(-1) as number) - (times[0] as number)) / 1000)
    t.ok(perSecond > 4 && perSecond < 11, `${perSecond.toFixed(1)} pictures a second`)
    const read = live().map(({ payload }) => readLive(payload))
    t.ok(
      read.every((it) => it !== undefined),
      'each says of itself what it is',
    )
    t.match(read.at(-1), { frame: [1280, 720], paused: false })
    for (const [n, { payload }] of live().entries()) {
      t.ok(payload.length <= LIVE_BYTES_MAX, `${payload.length} bytes`)
      const ageMs =
        Date.now() - (performance.now() - (times[n] as number)) - (read[n] as LiveMetadata).capturedAtMs
      t.ok(ageMs < 2000, `${ageMs} ms old when it came`)
    }
    const marked = live().find((_, n) => (read[n]?.faces ?? 0) > 0)?.payload as Buffer
    t.match(await sharp(marked).metadata(), { format: 'jpeg', width: 960, height: 540 })
    t.ok((await boxPixels(marked)) > 100, 'with the faces marked')
    t.equal(live()[0]?.retain, false)

    await command(eye.client, 'live', '60')
    await until('pictures', () => live().length > count + 2)
    await command(eye.client, 'live', '0')
    await sleep(200)
    const ended = live().length
    await sleep(500)
    t.equal(live().length, ended, '0 ends them')
    await command(eye.client, 'live', '61')
    await device.line(({ reason }) => reason === 'payload')
    t.equal(live().length, ended)
    t.equal(await metric(device, 'live_pictures_total'), ended)
  },
)

t.test('a paused camera says so, once in a while, and shows nothing', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  await command(eye.client, 'live', '20')
  await until('pictures', () => eye.of('live').length > 2)
  await command(eye.client, 'pause', 'ON')
  await eye.stateBecomes('paused', ({ paused }) => paused)
  await sleep(400)
  const paused = eye.of('live').at(-1)?.payload as Buffer
  t.match(readLive(paused), { paused: true, faces: 0 })
  const count = eye.of('live').length
  await sleep(1000)
  t.equal(eye.of('live').length, count)
  await command(eye.client, 'resume', '')
  await until('pictures again', () => eye.of('live').length > count + 3)
  t.match(readLive(eye.of('live').at(-1)?.payload as Buffer), { paused: false })
})

t.test('a device reports itself, and that it ends', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'bench1', role: 'device', site: 'lab', password: 'secret-1' },
        { name: 'console', role: 'console', password: 'secret-2' },
      ],
    }),
  )
  const eye = await watch(t, broker.url, { username: 'console', password: 'secret-2' })
  await eye.client.subscribeAsync('sightline/v1/keepers/+', { qos: 1 })
  const device = await startDevice(t, broker.url, {
    broker: { username: 'bench1', password: 'secret-1' },
    report: { enabled: true, every: '1s' },
  })
  const topic = keeperTopic('sightline/v1', deviceKeeper({ site: 'lab', device: 'bench1' }))
  const reports = () =>
    eye.came.filter((it) => it.topic === topic).flatMap(({ payload }) => readKeeper(payload) ?? [])
  await until('crops are in its books', () => (reports().at(-1)?.queues[0]?.forwarded ?? 0) > 3)
  const latest = reports().at(-1)
  t.match(latest, {
    program: 'device',
    name: 'lab/bench1',
    ok: true,
    checks: { broker: 'connected', 'camera card': 'up' },
    links: [
      { name: 'broker', to: /^127\.0\.0\.1:\d+$/, connected: true, clientId: 'sightline-device-lab-bench1' },
    ],
  })
  for (const { accepted, forwarded, pending, dropped } of latest?.queues ?? [])
    t.equal(accepted, forwarded + pending + Object.values(dropped).reduce((sum, it) => sum + it, 0))
  await device.stop()
  await until('it says that it ends', () => reports().at(-1)?.ended === true)
})

t.test('where reports and live pictures are not allowed, crops go on', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        // As the role was before there were these topics.
        {
          name: 'old',
          password: 'secret-1',
          publish: [
            ...['crop', 'event', 'state', 'snapshot'].map((kind) => `${BASE}/+/${kind}`),
            `${BASE}/status`,
          ],
          subscribe: [`${BASE}/+/set/+`],
        },
        { name: 'boss', role: 'admin', password: 'secret-2' },
      ],
    }),
  )
  const eye = await watch(t, broker.url, { username: 'boss', password: 'secret-2' })
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  const device = await startDevice(t, broker.url, {
    broker: { username: 'old', password: 'secret-1', clientId: 'old' },
    report: { enabled: true, every: '1s' },
  })
  const left = await device.line(
    ({ code, topic }) => code === 'BROKER_REFUSED' && /keepers/.test(String(topic)),
  )
  t.match(
    left.msg,
    /publishes to sightline\/v1\/keepers\/device-3-lab-bench1, which is left out for 10 minutes/,
  )
  const crops = eye.of('crop').length
  await until('crops', () => eye.of('crop').length > crops + 20)
  for (let n = 0; n < 8; n += 1) {
    await command(eye.client, 'live', '20')
    await sleep(250)
  }
  await device.line(({ msg }) =>
    /whenever this device sends live pictures, which are left out/.test(msg ?? ''),
  )
  const before = eye.of('crop').length
  await until('crops', () => eye.of('crop').length > before + 20)
  t.equal(eye.of('live').length, 0)
  t.ok(eye.of('state').length > 0, 'and what is allowed goes out')
})

t.test('what is none of ours is no live picture', async (t) => {
  const jpeg = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .jpeg()
    .toBuffer()
  const metadata = {
    v: 1,
    capturedAtMs: 1,
    frame: [8, 8] as [number, number],
    faces: 0,
    paused: false,
  } as const
  const picture = writeLive(jpeg, metadata)
  t.strictSame(readLive(picture), metadata)
  t.match(await sharp(picture).metadata(), { format: 'jpeg', width: 8 }, 'and any reader shows it')
  t.equal(readLive(jpeg), undefined)
  t.equal(readLive(Buffer.concat([picture, Buffer.alloc(LIVE_BYTES_MAX)])), undefined, 'too large')
  for (let length = 0; length < 120; length += 1)
    t.ok([undefined, 1].includes(readLive(picture.subarray(0, length))?.v), `${length} bytes`)
  for (let at = 0; at < 100; at += 1) {
    const damaged = Buffer.from(picture)
    damaged[at] = 0x22
    readLive(damaged)
  }
  t.throws(() => writeLive(Buffer.from('GIF89a'), metadata), TypeError)
})

t.test('boxes at and beyond the edges are drawn within the picture', (t) => {
  const size = { width: 40, height: 30 }
  for (const box of [
    [-10, -10, 20, 20],
    [35, 25, 20, 20],
    [0, 0, 40, 30],
    [100, 100, 5, 5],
    [5.5, 6.5, 0.2, 0.2],
  ] as const) {
    const rgb = new Uint8Array(size.width * size.height * 3)
    drawFaces(rgb, size, [{ box, score: 0.87 }], 960)
    t.equal(rgb.length, size.width * size.height * 3)
    if (box[0] === 0) t.strictSame([...rgb.subarray(-3)], [255, 214, 10], 'its corner')
  }
  t.end()
})

t.test('zones are outlined within the picture, with every letter that names have', (t) => {
  const size = { width: 640, height: 360 }
  const rgb = new Uint8Array(size.width * size.height * 3)
  const at = (x: number, y: number) => [
    ...rgb.subarray((y * size.width + x) * 3, (y * size.width + x) * 3 + 3),
  ]
  const [from, to] = [0.25, 0.75]
  const square = [
    [from, from],
    [to, from],
    [to, to],
    [from, to],
  ] as [number, number][]
  drawZones(rgb, size, [{ name: 'l', points: square }], 640)
  t.strictSame(at(480, 200), [120, 220, 255], 'its right side')
  t.strictSame(at(300, 200), [0, 0, 0], 'and nothing within')
  // The letter l: a column, its foot, on a dark ground.
  t.strictSame(
    [at(160 + 4, 90 + 8), at(160 + 8, 90 + 8)],
    [
      [20, 20, 20],
      [120, 220, 255],
    ],
  )
  const whole = [
    [0, 0],
    [1, 0],
    [1, 1],
  ] as [number, number][]
  const name = 'abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789'
  for (const letter of name) t.match(LETTERS[letter], /^[0-9a-f]{10}$/, letter)
  drawZones(rgb, size, [{ name, points: whole }], 1)
  drawZones(new Uint8Array(3), { width: 1, height: 1 }, [{ name, points: whole }], 960)
  t.equal(rgb.length, size.width * size.height * 3)
  t.end()
})
