import { once } from 'node:events'
import t from 'tap'
import { nobody, run, type Scripted, START_MS } from './scripted.ts'

/** `emit.first`: the first good picture at once, the best at the end. */

const FIRST = { emit: { first: true } }
type Landmarks = NonNullable<Scripted['faces'][number]['landmarks']>

/** Eyes, nose and mouth of a face that looks at the camera, or to the side. */
const looking = (
  [left, top, width, height]: readonly [number, number, number, number],
  side: boolean,
): Landmarks => [
  [left + 0.3 * width, top + 0.4 * height],
  [left + 0.7 * width, top + 0.4 * height],
  [left + (side ? 0.72 : 0.5) * width, top + 0.6 * height],
]
/** A face that grows, ten frames a second, and looks to the side in the frames that `side` says. */
const stays = (frames: number, side: (frame: number) => boolean = () => false, grow = 1): Scripted[] =>
  Array.from({ length: frames }, (_, i) => {
    const box = [200, 100, 80 + grow * i, 80 + grow * i] as const
    return { atMs: i * 100, faces: [{ box, landmarks: looking(box, side(i)) }] }
  })
const seen = (crops: Awaited<ReturnType<typeof run>>['crops']) =>
  crops.map(({ shot, capturedAtMs }) => [shot, capturedAtMs - START_MS])

t.test(
  'a good first picture goes out once the face is sure, the best at its end, under one track',
  async (t) => {
    const { crops, events, order } = await run([...stays(40), ...nobody(30, 4000)], FIRST)
    t.strictSame(seen(crops), [
      ['first', 200],
      ['best', 3900],
    ])
    t.equal(new Set(crops.map(({ track }) => track)).size, 1)
    t.strictSame(order.slice(0, 2), ['crop', 'new'])
    const end = events.find(({ type }) => type === 'end')
    t.match(end?.after, { crops: 2, crop: crops[1]?.id })
    t.ok((crops[1]?.quality?.total ?? 0) > (crops[0]?.quality?.total ?? 1))
  },
)

t.test('a poor one waits for a better one, for a quarter of a second at most', async (t) => {
  const turns = await run([...stays(40, (i) => i < 3, 0), ...nobody(30, 4000)], FIRST)
  t.strictSame(seen(turns.crops), [['first', 300]], 'it turned to the camera after 100 ms')
  const never = await run([...stays(40, () => true), ...nobody(30, 4000)], FIRST)
  t.strictSame(
    seen(never.crops),
    [
      ['first', 400],
      ['best', 3900],
    ],
    'it never did: the best of these 250 ms',
  )
})

t.test('where no picture is better than the first, nothing more is sent, and its end says so', async (t) => {
  const { crops, events } = await run([...stays(40, () => false, -1), ...nobody(30, 4000)], FIRST)
  t.strictSame(
    crops.map(({ shot }) => shot),
    ['first'],
  )
  t.match(events.at(-1), { type: 'end', after: { crops: 1, crop: crops[0]?.id } })
})

t.test('where frames are far apart it does not wait for one that would come too late', async (t) => {
  const slow = stays(10, () => true).map((it, i) => ({ ...it, atMs: i * 450 }))
  const { crops } = await run([...slow, ...nobody(30, 4500)], FIRST)
  t.strictSame(seen(crops)[0], ['first', 450], 'sure in the second frame; the third is 450 ms later')
})

t.test('where the frames of a live source stop, it goes out by the clock on the wall', async (t) => {
  const stop = new AbortController()
  const script = stays(3, () => true).map((it) => ({ ...it, afterMs: 20 }))
  let offered = 0
  const running = run(script, FIRST, {
    signal: stop.signal,
    endless: true,
    lossless: false,
    onOffer: () => {
      offered = performance.now()
      stop.abort()
    },
  })
  const startMs = performance.now()
  const watchdog = setTimeout(() => stop.abort(), 5000)
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
  clearTimeout(watchdog)
  const { crops } = await running
  t.strictSame(
    crops.map(({ shot }) => shot),
    ['first'],
  )
  t.ok(offered - startMs < 1500, `${offered - startMs} ms`)
})

t.test('who is gone before the first went out has one crop, the best', async (t) => {
  const { crops } = await run(
    stays(4, () => true),
    FIRST,
  )
  t.strictSame(
    crops.map(({ shot }) => shot),
    ['best'],
  )
})

t.test('first pictures keep to the rate; those that had to wait come as the best', async (t) => {
  const crowd: Scripted[] = Array.from({ length: 30 }, (_, i) => ({
    atMs: i * 100,
    faces: Array.from({ length: 12 }, (_, n) => ({ box: [50 * n, 100 + i, 45, 45] as const })),
  }))
  const { crops } = await run([...crowd, ...nobody(30, 3000)], { emit: { first: true, rateMax: 1 } })
  const firsts = crops.filter(({ shot }) => shot === 'first')
  t.ok(firsts.length >= 5 && firsts.length <= 7, `${firsts.length} in five seconds`)
  t.equal(new Set(crops.map(({ track }) => track)).size, 12, 'and each face has a crop')
})

t.test('who stays: the best after a while, and from then on as without a first', async (t) => {
  const script = stays(250, () => false, 0).map((it, i) => ({
    ...it,
    faces: it.faces.map((face) => ({ ...face, score: 0.8 + (i % 10) / 100 })),
  }))
  const { crops } = await run(script, { emit: { first: true, bestAfter: '10s' } })
  t.strictSame(seen(crops), [
    ['first', 200],
    ['best', 900],
    ['best', 10_900],
  ])
  const worse = await run(
    stays(250, (i) => i > 50, 0),
    { emit: { first: true, bestAfter: '10s' } },
  )
  t.strictSame(
    seen(worse.crops).map(([shot]) => shot),
    ['first', 'best'],
    'none was better in the first ten seconds: then one of the next ten',
  )
})

t.test('a first picture names its zones, and the best all of them since the beginning', async (t) => {
  const half = (name: string, from: number) => ({
    name,
    points: [
      [from, 0],
      [from + 0.5, 0],
      [from + 0.5, 1],
      [from, 1],
    ],
  })
  const script: Scripted[] = Array.from({ length: 40 }, (_, i) => ({
    atMs: i * 100,
    faces: [{ box: [60 + 12 * i, 100, 60 + i, 60 + i] as const }],
  }))
  const { crops } = await run([...script, ...nobody(30, 4000)], {
    ...FIRST,
    cameras: [{ name: 'door', source: 'script.mp4', zones: [half('left', 0), half('right', 0.5)] }],
  })
  t.strictSame(
    crops.map(({ shot, zones }) => [shot, zones]),
    [
      ['first', ['left']],
      ['best', ['left', 'right']],
    ],
  )
})

t.test('other modes publish at once anyway: nothing is called first', async (t) => {
  for (const mode of ['interval', 'every']) {
    const plain = await run(stays(20), { emit: { mode } })
    const { crops } = await run(stays(20), { emit: { mode, first: true } })
    t.equal(crops.length, plain.crops.length)
    t.notOk(
      crops.some((crop) => 'shot' in crop),
      mode,
    )
  }
})
