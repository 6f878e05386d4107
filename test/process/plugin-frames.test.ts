import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import sharp from 'sharp'
import t from 'tap'
import type { Frame } from '../../device/frame.ts'
import { PLUGIN_EVENTS_A_SECOND_MAX } from '../../device/limits.ts'
import type { Processing } from '../../device/process/processing.ts'
import { Effects } from '../../device/view/effects.ts'
import { Live } from '../../device/view/live.ts'
import { Preview } from '../../device/view/preview.ts'
import { HttpServer } from '../../lib/http/server.ts'
import { anyEventSchema } from '../../wire/event.ts'
import { readLive } from '../../wire/live.ts'
import { nobody, run, SIZE, START_MS, walk } from '../device/scripted.ts'
import { until } from '../kit/wait.ts'
import { configOf, counted, logged, moduleOf, opening, plug } from './plugged.ts'

const frameOf = (level: number, more: Partial<Frame> = {}): Frame => ({
  sequence: 0,
  capturedAtMs: START_MS,
  atMs: 0,
  ...SIZE,
  scaled: { data: new Uint8Array(64 * 36 * 3).fill(level), width: 64, height: 36 },
  cut: async (_left, _top, width, height) => new Uint8Array(width * height * 3).fill(level),
  [Symbol.dispose]() {},
  ...more,
})
const FACE = {
  box: [100, 60, 50, 40],
  score: 0.9,
  sure: true,
  track: '0197a0a0-0000-7000-8000-000000000001',
} as const

/** Shows it a frame, once it has room for one. */
async function show(processing: Processing, frame = frameOf(10), faces = [FACE]): Promise<void> {
  await until('room', () => processing.wants('door'))
  await processing.see('door', frame, faces)
}

t.test('what is said of a face in frames is in its next crop; the newest holds', async (t) => {
  const module = moduleOf(
    t,
    opening(`let n = 0
    return { frame({ faces }) {
      n += 1
      return { attributes: faces.flatMap(({ track }, face) => (track ? [{ face, name: 'n', label: 'said', score: 1 / n }] : [])) }
    } }`),
  )
  const plugged = await plug(t, [{ module }])
  const script = [...walk(20), ...nobody(30, 2000)].map((it) => ({ ...it, afterMs: 10 }))
  const { crops } = await run(script, {}, plugged)
  const [said] = crops[0]?.attributes ?? []
  t.match(said, { name: 'n', label: 'said', by: 'mine@1' })
  t.ok((said?.score ?? 1) < 0.5, `not the first: ${said?.score}`)
})

t.test('a frame is as the detector sees it, with faces in its pixels; or full, where it asks', async (t) => {
  const body = `open: () => ({ frame: ({ width, height, rgb, faces }) => ({ events: [{ name: 'seen', data: [width, height, rgb.length, ...faces[0].box], face: 0 }] }) })`
  const scaled = moduleOf(t, `export default { version: '1', ${body} }`)
  const full = moduleOf(t, `export default { version: '1', frames: 'full', ${body} }`)
  const { processing, events } = await plug(t, [{ module: scaled }, { name: 'full', module: full }])
  const region = { left: 100, top: 60, width: 320, height: 180 }
  await show(processing, frameOf(1, { region }))
  await until('both', () => events.length === 2)
  const of = (plugin: string) => events.find((it) => it.plugin === plugin)
  t.strictSame(of('mine')?.data, [64, 36, 64 * 36 * 3, 0, 0, 10, 8])
  t.strictSame(of('full')?.data, [640, 360, 640 * 360 * 3, 100, 60, 50, 40])
  t.match(of('mine'), { type: 'plugin', camera: 'door', atMs: START_MS, by: 'mine@1', track: FACE.track })
  t.ok(anyEventSchema.safeParse({ ...of('mine'), site: 'home', device: 'laptop' }).success)
})

t.test('a busy plugin misses frames: two are on their way at most, and the others are counted', async (t) => {
  const module = moduleOf(
    t,
    opening('return { frame: () => new Promise((resolve) => setTimeout(resolve, 300)) }'),
  )
  const { processing, meters } = await plug(t, [{ module }])
  let taken = 0
  for (let n = 0; n < 50; n += 1) {
    if (!processing.wants('door')) continue
    taken += 1
    await processing.see('door', frameOf(n), [])
  }
  t.equal(taken, 2)
  t.strictSame(await counted(meters.framesUnprocessed), { busy: 48 })
})

t.test('events by the thousand: some a second go out, the others are counted', async (t) => {
  const module = moduleOf(
    t,
    opening(`return { frame: () => ({ events: Array.from({ length: 16 }, () => ({ name: 'much' })) }) }`),
  )
  const { processing, meters, events } = await plug(t, [{ module }])
  for (let n = 0; n < 10; n += 1) await show(processing)
  await until('all seen', async () => {
    const { mine = 0 } = await counted(meters.pluginEventsDropped)
    return mine + events.length === 160
  })
  t.ok(events.length >= PLUGIN_EVENTS_A_SECOND_MAX && events.length < 80, `${events.length}`)
})

t.test('of each camera only those that it has are asked', async (t) => {
  const says = 'test/process/plugins/says.ts'
  const plugged = await plug(
    t,
    [
      { name: 'a', module: says },
      { name: 'b', module: says },
    ],
    {
      camera: { process: ['b'] },
    },
  )
  const { crops } = await run([...walk(20), ...nobody(30, 2000)], {}, plugged)
  t.strictSame(
    crops[0]?.attributes?.map(({ by }) => by),
    ['b@1.2'],
  )
  t.strictSame(plugged.processing.states('door'), [{ name: 'b', state: 'up', why: null }])
})

t.test('others at run time: what is the same goes on, and a wrong one changes nothing', async (t) => {
  const counts = moduleOf(
    t,
    opening(`let n = 0; return { crop: () => [{ name: 'n', label: String(++n), score: 1 }] }`),
  )
  const says = 'test/process/plugins/says.ts'
  const { processing } = await plug(t, [{ name: 'a', module: counts }])
  t.strictSame(await processing.attributes(cropOf()), [{ name: 'n', label: '1', score: 1, by: 'a@1' }])
  await processing.use(
    [
      { name: 'b', module: says },
      { name: 'a', module: counts },
    ].map(configOf),
  )
  t.strictSame(
    (await processing.attributes(cropOf())).map(({ by, label }) => `${by} ${label}`),
    ['b@1.2 round', 'a@1 2'],
  )
  await t.rejects(processing.use([configOf({ name: 'c', module: 'nowhere.ts' })]), {
    code: 'PLUGIN_NOT_FOUND',
  })
  t.equal((await processing.attributes(cropOf())).length, 2)
  await processing.use([])
  t.strictSame(await processing.attributes(cropOf()), [])
  t.equal(processing.states('door'), undefined)
})

function cropOf() {
  const [width, height] = [8, 8]
  const metadata = {
    ...{ v: 1, id: FACE.track, site: 'home', device: 'laptop', camera: 'door', capturedAtMs: START_MS },
    ...{ clockSane: true, box: [0, 0, 8, 8], region: [0, 0, 8, 8], score: 1, model: 'm', frame: [8, 8] },
  } as const
  return {
    camera: 'door',
    rgb: new Uint8Array(192),
    width,
    height,
    metadata: structuredClone(metadata) as never,
  }
}

/** A preview and a live picture with somebody before each. */
function viewers(processing: Processing) {
  const shown: Buffer[] = []
  const { log } = logged()
  const effects = new Effects(() => 'none')
  const live = new Live({
    config: {
      topicPrefix: 'sightline/v1',
      site: 'home',
      device: 'laptop',
      cameras: [{ name: 'door' }] as never,
    },
    publisher: {
      mayShow: true,
      show: (_topic, payload) => {
        shown.push(payload)
        return undefined
      },
    },
    effects,
    redraw: processing,
    isPaused: () => false,
    meters: { livePictures: { inc() {} }, liveLost: { inc() {} } } as never,
    log,
  })
  live.look('door', 60)
  return { live, shown, effects, log }
}

const RED = opening(
  'return { picture({ rgb }) { if (rgb[0] > 100) throw new Error("too bright"); for (let at = 0; at < rgb.length; at += 3) rgb[at] = 255; return rgb } }',
)

t.test('viewers see the picture that a plugin gives, and none where it gives none', async (t) => {
  const { processing, meters } = await plug(t, [{ module: moduleOf(t, RED) }])
  const { live, shown } = viewers(processing)
  t.teardown(() => live[Symbol.dispose]())
  await live.see('door', frameOf(0), [])
  await until('a picture', () => shown.length === 1)
  const { channels } = await sharp(readLive(shown[0] as Buffer) && shown[0]).stats()
  t.ok((channels[0]?.mean ?? 0) > 200 && (channels[1]?.mean ?? 255) < 40, 'red')
  await live.see('door', frameOf(200), [])
  await until('it is counted', async () => (await counted(meters.picturesWithheld)).PROCESSOR_FAILED === 1)
  await sleep(50)
  t.equal(shown.length, 1, 'nothing went out for that frame')
  await live.see('door', frameOf(0), [])
  await until('and then again', () => shown.length === 2)
})

t.test('the preview says why there is no picture', async (t) => {
  const { processing, meters } = await plug(t, [{ module: moduleOf(t, RED) }])
  const { log, effects } = viewers(processing)
  using preview = new Preview({
    ...{ cameras: ['door'], title: 'home / laptop', rateMax: 1000, viewersMax: 1 },
    look: () => ({ state: 'up', paused: false }),
    ...{ effects, redraw: processing, meters, log },
  })
  await using server = await HttpServer.open({
    ...{ host: '127.0.0.1', port: 0, log, metrics: new Registry() },
    ...{ health: () => ({ ok: true, checks: {} }), routes: (app) => preview.routes(app) },
  })
  const state = async () =>
    ((await (await fetch(`${server.url}/preview/state.json`)).json()) as { cameras: { hidden: unknown }[] })
      .cameras[0]?.hidden
  const viewer = new AbortController()
  const stream = await fetch(`${server.url}/preview/door.mjpeg`, { signal: viewer.signal })
  t.teardown(() => viewer.abort())
  t.equal(stream.status, 200)
  await until('somebody looks', () => preview.wants('door'))
  await preview.see('door', frameOf(0), [])
  t.equal(await state(), null)
  await until('room', () => preview.wants('door'))
  await preview.see('door', frameOf(200), [])
  await until('it says why', async () => /too bright \(.*plugin\.ts:1\)/.test(`${await state()}`))
  await until('room', () => preview.wants('door'))
  await preview.see('door', frameOf(0), [])
  await until('there is one again', async () => (await state()) === null)
})
