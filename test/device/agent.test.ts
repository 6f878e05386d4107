import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Aedes } from 'aedes'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { Testcard } from '../../device/sources/testcard.ts'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import { eventSchema, type FaceEvent } from '../../wire/event.ts'
import { until } from '../kit/wait.ts'
import { writeClip } from './clip.ts'

const ROOT = join(import.meta.dirname, '..', '..')

/** A broker that keeps every crop it is given. */
async function openBroker(t: Test) {
  const aedes = await Aedes.createBroker()
  const crops: { topic: string; payload: Buffer; metadata: CropMetadata }[] = []
  const events: FaceEvent[] = []
  aedes.on('publish', (packet, client) => {
    if (packet.topic.endsWith('/event')) events.push(eventSchema.parse(JSON.parse(packet.payload.toString())))
    if (!client || !packet.topic.endsWith('/crop')) return
    const reading = readCrop(packet.payload as Buffer)
    if (!('crop' in reading)) throw new Error(`no crop: ${reading.fault} ${reading.detail}`)
    crops.push({ topic: packet.topic, payload: packet.payload as Buffer, metadata: reading.crop })
  })
  const server = createServer((socket) => {
    socket.on('error', () => {})
    aedes.handle(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    aedes.close()
    server.close()
  })
  return { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, crops, events }
}

interface Line {
  readonly level: number
  readonly msg: string
  readonly code?: string
  readonly url?: string
}

/** The agent as a program of its own. */
function start(t: Test, settings: Record<string, unknown>) {
  const env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    SIGHTLINE_HTTP__PORT: '0',
    SIGHTLINE_EMIT__MODE: 'every',
  }
  for (const [key, value] of Object.entries(settings))
    env[`SIGHTLINE_${key}`] = typeof value === 'string' ? value : JSON.stringify(value)
  const child: ChildProcess = spawn(process.execPath, ['device/main.ts'], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: Line[] = []
  let rest = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      if (part.startsWith('{')) lines.push(JSON.parse(part) as Line)
      else if (/^[A-Z_]+: /.test(part)) lines.push({ level: 60, code: part.split(':')[0], msg: part })
      else t.comment(part)
    }
  })
  const exited = once(child, 'close').then(([status]) => status as number | null)
  const said = async (pattern: RegExp, msMax = 15_000): Promise<Line> => {
    const find = () => lines.find(({ msg }) => pattern.test(msg))
    await until(`the agent says ${pattern.source}`, () => find() !== undefined, msMax)
    return find() as Line
  }
  const get = async (path: string) => {
    const { url } = await said(/health and metrics/)
    const response = await fetch(`${url}${path}`)
    return { status: response.status, text: await response.text() }
  }
  return { child, exited, lines, said, get }
}

const metric = (text: string, name: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(`sightline_${name}`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)

t.test(
  'the test card runs until told to stop; every crop is a JPEG of a face, and the books balance',
  async (t) => {
    const broker = await openBroker(t)
    const agent = start(t, { BROKER__URL: broker.url, SITE: 'lab', DEVICE: 'bench1' })
    await until('there are crops', () => broker.crops.length >= 30, 20_000)
    const health = await agent.get('/healthz')
    t.equal(health.status, 200, health.text)
    t.match(JSON.parse(health.text), { ok: true, checks: { broker: 'connected', 'camera testcard': 'up' } })
    const metrics = (await agent.get('/metrics')).text
    const made = metric(metrics, 'crops_made_total')
    t.ok(made >= 30)
    t.equal(
      made,
      metric(metrics, 'crops_published_total') +
        metric(metrics, 'crops_pending{') +
        metric(metrics, 'crops_dropped_total'),
    )
    t.ok(metric(metrics, 'faces_detected_total') >= made)
    t.ok(metric(metrics, 'detect_seconds_count') > 0)
    t.equal(metric(metrics, 'source_up'), 1)
    agent.child.kill('SIGTERM')
    t.equal(await agent.exited, 0)
    const ids = new Set(broker.crops.map(({ metadata }) => metadata.id))
    t.equal(ids.size, broker.crops.length)
    for (const { topic, payload, metadata } of broker.crops.slice(0, 20)) {
      t.equal(topic, 'sightline/v1/lab/bench1/testcard/crop')
      const { width, height, format } = await sharp(payload).metadata()
      t.strictSame([format, width, height], ['jpeg', metadata.region[2], metadata.region[3]])
      t.match(metadata, {
        site: 'lab',
        device: 'bench1',
        camera: 'testcard',
        clockSane: true,
        frame: [1280, 720],
      })
      t.ok(Math.abs(metadata.capturedAtMs - Date.now()) < 60_000)
    }
  },
)

t.test(
  'told to stop, the agent publishes the best shot of each face it follows, then says its end',
  async (t) => {
    const broker = await openBroker(t)
    const agent = start(t, { BROKER__URL: broker.url, EMIT__MODE: 'best' })
    await until(
      'three are followed',
      () => broker.events.filter(({ type }) => type === 'new').length >= 3,
      20_000,
    )
    const metrics = (await agent.get('/metrics')).text
    t.ok(metric(metrics, 'tracks_started_total') >= 3)
    t.ok(metric(metrics, 'events_sent_total') >= 3)
    agent.child.kill('SIGTERM')
    t.equal(await agent.exited, 0)
    const ids = (type: FaceEvent['type']) =>
      broker.events.filter((event) => event.type === type).map(({ after }) => after.id)
    t.strictSame(ids('end').toSorted(), ids('new').toSorted())
    t.strictSame(broker.crops.map(({ metadata }) => metadata.track).toSorted(), ids('new').toSorted())
  },
)

t.test('photos: every face of every photo, once, from the full-size picture', async (t) => {
  const folder = t.testdir({ 'notes.txt': 'no photo', sub: {} })
  const signal = new AbortController().signal
  const card = await Testcard.open(
    {},
    { input: { width: 256, height: 256 }, log: undefined as never, events: { skipped() {}, damaged() {} } },
    signal,
  )
  let faces = 0
  const { width, height } = card.frame(0)
  for (const number of [100, 900, 1700]) {
    const frame = card.frame(number)
    await sharp(await frame.cut(0, 0, width, height), { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(folder, number === 900 ? 'sub' : '', `${number}.png`))
    faces += (frame.truth ?? []).filter(([x, , w]) => x > 60 && x + w < width - 60).length
  }
  const broker = await openBroker(t)
  const agent = start(t, {
    BROKER__URL: broker.url,
    CAMERAS: [{ name: 'album', source: folder }],
    EMIT__RATE_MAX: 1,
  })
  t.equal(await agent.exited, 0)
  await until('all faces are there', () => broker.crops.length >= faces)
  t.ok(broker.crops.length >= faces && broker.crops.length <= faces + 6, `${broker.crops.length} of ${faces}`)
  await agent.said(/is not a supported picture/)
  // A crop's pixels are the photo's: the rest is JPEG.
  for (const { payload, metadata } of broker.crops) {
    const [left, top, w, h] = metadata.region
    const seen = await sharp(payload).raw().toBuffer()
    t.match(metadata.file, /^(100|900|1700)\.png$/, 'the name of its file, without folders')
    const truth = await card.frame(Number.parseInt(metadata.file as string, 10)).cut(left, top, w, h)
    let sum = 0
    for (let i = 0; i < truth.length; i += 1) sum += Math.abs((truth[i] as number) - (seen[i] as number))
    const difference = sum / truth.length
    t.ok(difference < 4, `mean difference ${difference}`)
  }
})

t.test(
  'a video that is cut off is played, published, and ends the agent with a status that says so',
  async (t) => {
    const folder = t.testdir()
    await writeClip({ file: join(folder, 'a.mkv'), frames: 50 })
    const bytes = readFileSync(join(folder, 'a.mkv'))
    writeFileSync(join(folder, 'cut.mkv'), bytes.subarray(0, bytes.length / 2))
    const broker = await openBroker(t)
    const agent = start(t, {
      BROKER__URL: broker.url,
      CAMERAS: [{ name: 'file', source: join(folder, 'cut.mkv'), pace: 'asfast' }],
    })
    t.equal(await agent.exited, 65)
    t.match(agent.lines.at(-1), { code: 'SOURCE_UNREADABLE', msg: /cut off/ })
  },
)

t.test('a live source that is down is red, is tried again, and leaves the others alone', async (t) => {
  const broker = await openBroker(t)
  const agent = start(t, {
    BROKER__URL: broker.url,
    CAMERAS: [
      { name: 'gone', source: 'rtsp://cam:secret@127.0.0.1:1/live' },
      { name: 'card', source: 'testcard' },
    ],
  })
  await until('there are crops', () => broker.crops.length >= 5, 20_000)
  await agent.said(/Cannot connect to/)
  const health = await agent.get('/healthz')
  t.equal(health.status, 503)
  t.match(JSON.parse(health.text), {
    checks: { 'camera card': 'up', 'camera gone': /^down: .*Cannot connect to/ },
  })
  t.notMatch(health.text, /secret/)
  const tries = async () =>
    Number(/source_failures_total\{.*camera="gone".*\} (\d+)/.exec((await agent.get('/metrics')).text)?.[1])
  await until('it is tried again', async () => (await tries()) >= 3)
  t.equal(agent.lines.filter(({ msg }) => /Cannot connect to/.test(msg)).length, 1, 'said once')
  t.notMatch(JSON.stringify(agent.lines), /secret/)
  agent.child.kill('SIGTERM')
  t.equal(await agent.exited, 0)
})

t.test('without its broker the agent is red, waits, and says at the end what it lost', async (t) => {
  const agent = start(t, {
    BROKER__URL: 'mqtt://127.0.0.1:1',
    DRAIN__DEADLINE: '2s',
    CAMERAS: [{ name: 'card', source: 'testcard' }],
  })
  await agent.said(/cannot be reached/)
  await agent.said(/camera opened/)
  await sleep(500)
  const health = await agent.get('/healthz')
  t.equal(health.status, 503)
  t.match(JSON.parse(health.text), { checks: { broker: /connection refused/ } })
  agent.child.kill('SIGTERM')
  t.equal(await agent.exited, 75)
  t.match(agent.lines.at(-1), { code: 'DRAIN_TIMEOUT', msg: /crops were lost/ })
})

t.test('what is wrong from the start ends the agent with its own status and a sentence', async (t) => {
  const broker = await openBroker(t)
  const cases = [
    [66, 'SOURCE_NOT_FOUND', { CAMERAS: [{ name: 'a', source: '/nowhere.mp4' }], BROKER__URL: broker.url }],
    [66, 'MODEL_NOT_FOUND', { DETECT__MODEL: '/nowhere.onnx', BROKER__URL: broker.url }],
    [78, 'CONFIG_INVALID', { SITE: 'no name' }],
  ] as const
  for (const [status, code, settings] of cases) {
    const agent = start(t, settings)
    t.equal(await agent.exited, status)
    t.equal(agent.lines.at(-1)?.code, code)
  }
})
