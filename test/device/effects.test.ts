import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import type { Detection } from '../../device/detect/detector.ts'
import { openDetector } from '../../device/detect/open.ts'
import { readPhoto } from '../../device/detect/photo.ts'
import { type Box, overlap } from '../../device/detect/suppress.ts'
import { fitInto, toFrame } from '../../device/faces/crop.ts'
import type { Frame } from '../../device/frame.ts'
import { HIDDEN_MAX, HIDDEN_MS, SCORE_LOW } from '../../device/limits.ts'
import { openMeters } from '../../device/meters.ts'
import { Effects } from '../../device/view/effects.ts'
import { Live } from '../../device/view/live.ts'
import type { SeenFace, Watcher } from '../../device/view/watcher.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { Effect } from '../../wire/commands.ts'
import { type LiveMetadata, readLive } from '../../wire/live.ts'
import { sharedData } from '../kit/data.ts'
import { until } from '../kit/wait.ts'

const log = openLog('test', 'silent')
const SIZE = { width: 640, height: 360 }

/** Noise: what is hidden is flat, and what is not is as it was. */
const scene = Uint8Array.from(
  { length: SIZE.width * SIZE.height * 3 },
  (_, i) => (i * 7919 * (1 + (i % 13))) & 0xff,
)

const frameAt = (atMs: number, more: Partial<Frame> = {}): Frame => ({
  sequence: 0,
  capturedAtMs: 1_700_000_000_000 + atMs,
  atMs,
  ...SIZE,
  scaled: { data: new Uint8Array(SIZE.width * SIZE.height * 3), ...SIZE },
  cut: async () => scene.slice(),
  [Symbol.dispose]() {},
  ...more,
})

const face = (box: Box, score = 0.9, track?: string): SeenFace => ({ box, score, sure: score >= 0.6, track })

/** The part of a box whose pixels are not as they were, 0 to 1. */
function changedIn(rgb: Uint8Array, [left, top, width, height]: Box): number {
  let changed = 0
  for (let y = top; y < top + height; y += 1)
    for (let x = left; x < left + width; x += 1) {
      const at = (y * SIZE.width + x) * 3
      if (rgb[at] !== scene[at] || rgb[at + 1] !== scene[at + 1]) changed += 1
    }
  return changed / (width * height)
}
const isHidden = (rgb: Uint8Array, box: Box) => changedIn(rgb, box) > 0.98
const isAsItWas = (rgb: Uint8Array, box: Box) => changedIn(rgb, box) === 0

function shown(effects: Effects, camera = 'door') {
  const rgb = scene.slice()
  effects.apply(camera, rgb, SIZE)
  return rgb
}

const A: Box = [100, 100, 40, 40]
const B: Box = [400, 200, 40, 40]
const FAR: Box = [560, 20, 40, 40]

t.test(
  'no detector finds a face in what viewers see, and the rest of the picture is as it was',
  {
    skip: sharedData('photos/boxes/boxes.json')
      ? false
      : 'the shared test data has no photos/boxes/boxes.json',
  },
  async (t) => {
    const folder = sharedData('photos/boxes') as string
    const truth = JSON.parse(await readFile(join(folder, 'boxes.json'), 'utf8')) as Record<string, Box[]>
    await using detector = await openDetector({ model: 'blazeface', scoreLow: SCORE_LOW })
    let faces = 0
    for (const [name, boxes] of Object.entries(truth).slice(0, 12)) {
      const photo = await readPhoto(join(folder, name), detector.input)
      const detect = async (rgb: Uint8Array) => {
        const fitted = fitInto(photo, detector.input)
        const raw = { width: photo.width, height: photo.height, channels: 3 } as const
        const data = await sharp(rgb, { raw })
          .resize({ ...fitted, fit: 'fill' })
          .raw()
          .toBuffer()
        const found = await detector.detect({ data, ...fitted })
        return found
          .filter(({ score }) => score >= detector.scoreMin)
          .map(({ box }) => toFrame(box, fitted, photo))
      }
      const seen = (await detector.detect(photo.scaled)).map(({ box, score }) =>
        face(toFrame(box, photo.scaled, photo), score),
      )
      const before = await detect(photo.data)
      faces += before.length
      for (const effect of ['pixelate', 'outline'] as const) {
        const effects = new Effects(() => effect)
        effects.looked('door', { ...frameAt(0), width: photo.width, height: photo.height }, seen, [])
        const rgb = Uint8Array.from(photo.data)
        effects.apply('door', rgb, photo)
        const after = await detect(rgb)
        for (const box of before)
          t.notOk(
            after.some((it) => overlap(it, box) > 0.3),
            `${name}, ${effect}: a face is still found`,
          )
        if (effect === 'outline') {
          t.ok(new Set(rgb).size <= 3, 'three greys, and no texture')
          continue
        }
        let [same, outside] = [0, 0]
        for (let at = 0; at < rgb.length; at += 3) {
          const [x, y] = [(at / 3) % photo.width, Math.floor(at / 3 / photo.width)]
          const isNear = seen.some(
            ({ box: [l, t_, w, h] }) => x >= l - w && x <= l + 2 * w && y >= t_ - h && y <= t_ + 2 * h,
          )
          if (isNear) continue
          outside += 1
          if (rgb[at] === photo.data[at] && rgb[at + 1] === photo.data[at + 1]) same += 1
        }
        t.equal(same, outside, `${name}: what is no face is as it was`)
      }
      t.ok(boxes.length > 0)
    }
    t.ok(faces >= 12, `${faces} faces were there to be hidden`)
  },
)

t.test('a face is hidden with a margin, also one that scores low, and nothing else', (t) => {
  const effects = new Effects(() => 'pixelate')
  effects.looked('door', frameAt(0), [face(A), face(B, 0.3)], [])
  const rgb = shown(effects)
  t.ok(isHidden(rgb, [80, 80, 80, 80]), 'with half its size around it')
  t.ok(isHidden(rgb, [380, 180, 80, 80]))
  t.ok(isAsItWas(rgb, FAR))
  t.end()
})

t.test('without an effect the picture is as it was', (t) => {
  let effect: Effect = 'none'
  const effects = new Effects(() => effect)
  effects.looked('door', frameAt(0), [face(A)], [])
  t.same(shown(effects), scene)
  effect = 'pixelate'
  t.ok(isHidden(shown(effects), A), 'what was seen before it was switched on is hidden at once')
  t.end()
})

t.test(
  'a face that is not detected any more stays hidden for a while, and one that moved leaves its place',
  (t) => {
    const effects = new Effects(() => 'pixelate')
    effects.looked('door', frameAt(0), [face(A), face(B, 0.9, 'b')], [])
    effects.looked('door', frameAt(100), [face(FAR, 0.9, 'b')], [])
    t.ok(isHidden(shown(effects), A), 'missed in one frame')
    t.ok(isHidden(shown(effects), FAR))
    t.ok(isAsItWas(shown(effects), B), 'the same face is elsewhere now')
    effects.looked('door', frameAt(HIDDEN_MS + 1), [face(FAR, 0.9, 'b')], [])
    t.ok(isAsItWas(shown(effects), A))
    t.end()
  },
)

t.test('in a still scene, which is not looked at, faces stay hidden, and with more around them', (t) => {
  const effects = new Effects(() => 'pixelate')
  effects.looked('door', frameAt(0), [face(A)], [])
  for (let n = 0; n < 100; n += 1) effects.still('door')
  t.ok(isHidden(shown(effects), [60, 60, 120, 120]))
  t.end()
})

t.test(
  'where nobody looked everything is hidden: before the first detection, outside the region, too many',
  (t) => {
    const effects = new Effects(() => 'pixelate')
    t.ok(isHidden(shown(effects), FAR), 'nothing was looked at')
    effects.looked('door', { ...frameAt(0), width: 320, height: 180 }, [], [])
    t.ok(isHidden(shown(effects), FAR), 'of another size')
    effects.looked('door', frameAt(0, { region: { left: 0, top: 0, width: 320, height: 360 } }), [], [])
    t.ok(isHidden(shown(effects), FAR), 'outside the region')
    t.ok(isAsItWas(shown(effects), A))
    const many = Array.from({ length: HIDDEN_MAX }, () => face(A))
    effects.looked('door', frameAt(0), many, [])
    t.ok(isHidden(shown(effects), FAR))
    t.end()
  },
)

/** The agent over scripted detections, and what a watcher of it is shown. */
async function run(
  script: readonly (readonly Detection[])[],
  effects: Effects,
  watcher: Watcher,
  settings = {},
) {
  let at = 0
  const agent = new Agent({
    config: loadConfig(deviceSchema, {
      overrides: { cameras: [{ name: 'door', source: 'script.mp4', ...settings }] },
    }),
    effects,
    detector: {
      model: 'script',
      runtime: 'none',
      scoreMin: 0.6,
      input: { ...SIZE, fit: 'letterbox' },
      detect: async () => [...(script[at++] ?? [])],
      async [Symbol.asyncDispose]() {},
    },
    meters: openMeters(openMetrics('test')),
    log,
    watchers: [watcher],
    open: async () => ({
      name: 'script',
      live: false,
      lossless: true,
      async *[Symbol.asyncIterator]() {
        for (let n = 0; n < script.length; n += 1) yield frameAt(n * 100)
      },
      async [Symbol.asyncDispose]() {},
    }),
    publisher: { offer: () => {}, room: async () => {}, say: () => {} },
    onState: () => {},
  })
  await agent.run(new AbortController().signal)
}

t.test('a face that is followed and not detected is hidden where it is expected by now', async (t: Test) => {
  const effects = new Effects(() => 'pixelate')
  const at = (n: number): Box => [60 + 30 * n, 100, 40, 40]
  const found = (n: number): Detection[] => [{ box: at(n), score: 0.9, landmarks: [] }]
  // Seen six times as it walks, then turned away for four frames.
  const script = Array.from({ length: 10 }, (_, n) => (n < 6 ? found(n) : []))
  let n = 0
  const hidden: boolean[] = []
  await run(script, effects, {
    wants: () => true,
    see: async () => {
      hidden.push(isHidden(shown(effects), at(n)))
      n += 1
    },
  })
  t.strictSame(hidden, new Array(10).fill(true))
})

t.test('frames that detection skipped show no face', async (t: Test) => {
  const effects = new Effects(() => 'pixelate')
  const hidden: boolean[] = []
  let looked = 0
  await run(
    Array.from({ length: 40 }, () => [{ box: A, score: 0.9, landmarks: [] } as Detection]),
    {
      of: effects.of.bind(effects),
      apply: effects.apply.bind(effects),
      looked: (...args: Parameters<Effects['looked']>) => {
        looked += 1
        effects.looked(...args)
      },
      still: effects.still.bind(effects),
    } as unknown as Effects,
    {
      wants: () => true,
      see: async () => {
        hidden.push(isHidden(shown(effects), A))
      },
    },
    { motion: { enabled: true } },
  )
  t.equal(hidden.length, 40)
  t.ok(looked < 40, `${looked} of 40 were looked at`)
  t.ok(hidden.every(Boolean))
})

/** Live pictures on a line that takes them all, or none. */
function openLive(t: Test, effectOf: () => Effect) {
  const effects = new Effects(effectOf)
  effects.looked('door', frameAt(0), [face(A)], [])
  const sent: { topic: string; payload: Buffer }[] = []
  const line = {
    mayShow: true,
    show: (topic: string, payload: Buffer, beside?: { topic: string; payload: Buffer }) => {
      sent.push({ topic, payload }, ...(beside ? [beside] : []))
      return undefined
    },
  }
  const live = new Live({
    config: loadConfig(deviceSchema, { overrides: { cameras: [{ name: 'door', source: 'testcard' }] } }),
    publisher: line,
    effects,
    isPaused: () => false,
    meters: openMeters(openMetrics('test')),
    log,
  })
  t.teardown(() => live[Symbol.dispose]())
  const see = async (atMs: number) => {
    await until('it is time', () => live.wants('door'))
    await live.see('door', frameAt(atMs), [])
  }
  const of = (kind: string) =>
    sent.filter(({ topic }) => topic.endsWith(`/${kind}`)).map(({ payload }) => payload)
  return { live, see, of, sent, effects }
}

/** How much its neighbours differ, around a face: of noise much, of what is hidden little. */
async function textureOf(jpeg: Buffer): Promise<number> {
  const { data, info } = await sharp(jpeg).greyscale().raw().toBuffer({ resolveWithObject: true })
  const scale = info.width / SIZE.width
  let [sum, count] = [0, 0]
  for (let y = Math.round(95 * scale); y < 145 * scale; y += 1)
    for (let x = Math.round(95 * scale); x < 145 * scale; x += 1) {
      const at = y * info.width + x
      sum += Math.abs((data[at] as number) - (data[at + 1] as number))
      count += 1
    }
  return sum / count
}

t.test('the original goes only while it is asked for, of the same frames as the processed one', async (t) => {
  const { live, see, of, sent } = openLive(t, () => 'pixelate')
  live.look('door', 60)
  await see(0)
  await until('a picture', () => of('live').length === 1)
  t.equal(of('original').length, 0)
  live.look('door', 60, 'original')
  for (let n = 1; n < 4; n += 1) {
    await see(n * 100)
    await until('both', () => of('live').length === n + 1 && of('original').length === n)
  }
  const times = (kind: string) => of(kind).map((it) => (readLive(it) as LiveMetadata).capturedAtMs)
  t.strictSame(times('original'), times('live').slice(1))
  t.match(readLive(of('live').at(-1) as Buffer), { effect: 'pixelate' })
  t.equal(readLive(of('original').at(-1) as Buffer)?.effect, undefined)
  const [processed, original] = [
    await textureOf(of('live').at(-1) as Buffer),
    await textureOf(of('original').at(-1) as Buffer),
  ]
  t.ok(original > 3 * processed, `${original.toFixed(1)} and ${processed.toFixed(1)}`)
  live.look('door', 0, 'original')
  await see(900)
  await until('the processed one alone', () => of('live').length === 5)
  t.equal(of('original').length, 3)
  live.look('door', 0)
  live.look('door', 60, 'original')
  await see(1000)
  await until('the original alone', () => of('original').length === 4)
  t.equal(of('live').length, 5)
  t.equal(sent.length, 9)
})

t.test('a picture that was made before the effect was switched on does not go out after', async (t) => {
  let effect: Effect = 'none'
  const { live, see, of } = openLive(t, () => effect)
  live.look('door', 60)
  await see(0)
  effect = 'pixelate' // while its JPEG is made
  await sleep(300)
  t.equal(of('live').length, 0)
  await see(200)
  await until('the next', () => of('live').length === 1)
  t.match(readLive(of('live')[0] as Buffer), { effect: 'pixelate' })
  effect = 'outline'
  await see(400)
  await until('and the next', () => of('live').length === 2)
  t.match(readLive(of('live')[1] as Buffer), { effect: 'outline' })
})
