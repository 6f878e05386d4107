import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { BEST_SHOTS_BYTES_MAX, CROPS_LOOKED_AT_MAX, TRACKS_MAX } from '../../device/limits.ts'
import { nobody, run, SCORE_MIN, type Scripted, START_MS, walk } from './scripted.ts'

t.test('best: one crop of each who passes, the largest, when the face has gone', async (t) => {
  const { crops, events, order, reasons } = await run([
    ...walk(40),
    ...nobody(30, 4000),
    ...walk(20, 7000),
    ...nobody(40, 9000),
  ])
  t.equal(crops.length, 2)
  t.not(crops[0]?.track, crops[1]?.track)
  t.ok((crops[0]?.box[2] ?? 0) > 98, `${crops[0]?.box}`)
  t.equal(crops[0]?.capturedAtMs, START_MS + 2000)
  t.ok((crops[0]?.quality?.total ?? 0) > 0.3)
  t.strictSame(reasons, { 'not best': 58 })
  t.strictSame(
    order.filter((it) => it !== 'update'),
    ['new', 'crop', 'end', 'new', 'crop', 'end'],
  )
  t.ok(order.filter((it) => it === 'update').length <= 12, 'at most one a second')
  const [first] = events
  const end = events.find(({ type }) => type === 'end')
  t.match(first, { type: 'new', before: { crops: 0, crop: null, endMs: null }, after: { active: true } })
  t.match(end, {
    before: { id: crops[0]?.track, endMs: null },
    after: {
      id: crops[0]?.track,
      startMs: START_MS,
      endMs: START_MS + 3900,
      crop: crops[0]?.id,
      crops: 1,
      active: false,
      site: 'home',
      device: 'laptop',
      camera: 'door',
    },
  })
  for (const [i, event] of events.entries()) {
    const previous = events.slice(0, i).findLast(({ after }) => after.id === event.after.id)
    if (previous) t.strictSame(event.before, previous.after, 'before is what was said last') || t.bailout()
  }
})

t.test('best: pixels are cut only where they could be the best', async (t) => {
  const { crops, cut } = await run([...walk(60), ...nobody(30, 6000)])
  t.equal(crops.length, 1)
  t.ok(cut < 45, `${cut} of 60`)
})

t.test('best: who stays is published after a while, and then not at once again', async (t) => {
  const stays: Scripted[] = Array.from({ length: 250 }, (_, i) => ({
    atMs: i * 100,
    faces: [{ box: [200, 100, 80, 80] as const, score: 0.8 + (i % 10) / 100 }],
  }))
  const { crops, events } = await run([...stays, ...nobody(30, 25_000)], { emit: { bestAfter: '10s' } })
  t.equal(crops.length, 2, 'after 10 s, and after 20; not once more at its end')
  t.equal(new Set(crops.map(({ track }) => track)).size, 1)
  t.ok(events.some(({ after }) => after.stationary))
  const updates = events.filter(({ type }) => type === 'update').length
  t.ok(updates < 10, `${updates} updates of a face that does not move`)
})

t.test(
  'best: when the source ends, or fails, or the agent is told to stop, nothing is left behind',
  async (t) => {
    t.equal((await run(walk(20))).crops.length, 1, 'the end of a file')
    const fails = new Error('the stream broke')
    const failed = await run(walk(20), {}, { fails })
    t.equal(failed.crops.length, 1, 'a failure')
    t.match(failed.failed, { message: /the stream broke/ })
    t.match(failed.events.at(-1), { type: 'end' })
    const stop = new AbortController()
    setTimeout(() => stop.abort(), 300)
    const stopped = await run(walk(20), {}, { signal: stop.signal, endless: true })
    t.equal(stopped.crops.length, 1, 'told to stop')
    t.equal((await run(walk(2))).crops.length, 1, 'a file of two frames')
  },
)

t.test('best: a face that only flickers, or is only doubtful, becomes no crop', async (t) => {
  const flicker = await run([...nobody(10, 0), ...walk(1, 1000), ...nobody(30, 1100)])
  t.strictSame([flicker.crops, flicker.events, flicker.reasons], [[], [], { unconfirmed: 1 }])
  const doubtful = await run([...walk(30, 0, SCORE_MIN - 0.01), ...nobody(30, 3000)])
  t.strictSame([doubtful.crops, doubtful.events, doubtful.detected], [[], [], 0])
  const between = await run([...walk(10), ...walk(30, 1000, 0.3), ...nobody(30, 4000)])
  t.equal(between.crops.length, 1)
  t.ok((between.crops[0]?.score ?? 0) >= SCORE_MIN, 'of the sure ones')
})

t.test('best: where memory runs short best shots go out sooner, and still one of each face', async (t) => {
  const faces = Array.from({ length: TRACKS_MAX }, () => ({ box: [0, 0, 640, 360] as const }))
  const frames = Array.from({ length: 10 }, (_, i) => ({ atMs: i * 100, faces }))
  const { crops, reasons } = await run([...frames, ...nobody(30, 1000)])
  t.ok(TRACKS_MAX * 640 * 360 * 3 > BEST_SHOTS_BYTES_MAX)
  t.equal(crops.length, TRACKS_MAX)
  t.equal(new Set(crops.map(({ track }) => track)).size, TRACKS_MAX)
  t.ok((reasons.memory ?? 0) > 0)
})

t.test('a second look holds up no frame, crops go out in their order, and not too many wait', async (t) => {
  const frames = 30
  let [looking, most] = [0, 0]
  const { crops, order } = await run(
    walk(frames),
    { emit: { mode: 'every', rateMax: 'unlimited' } },
    {
      processing: {
        looksAt: () => true,
        async attributes({ metadata }) {
          looking += 1
          most = Math.max(most, looking)
          // The first takes longest: what follows waits for it.
          await sleep(metadata.capturedAtMs === START_MS ? 200 : 1)
          looking -= 1
          return [{ name: 'frame', label: `${metadata.capturedAtMs - START_MS}`, score: 1 }]
        },
      },
    },
  )
  t.strictSame(
    crops.map(({ capturedAtMs, attributes }) => [capturedAtMs - START_MS, attributes?.[0]?.label]),
    Array.from({ length: frames }, (_, i) => [i * 100, `${i * 100}`]),
  )
  t.ok(order.indexOf('new') < order.indexOf('crop'), 'the face was followed before its first crop went out')
  t.ok(most > 1 && most <= CROPS_LOOKED_AT_MAX + 1, `${most} at a time`)
})

t.test('interval: one as soon as the face is followed, and then one each interval', async (t) => {
  const { crops, order } = await run([...walk(60), ...nobody(30, 6000)], {
    emit: { mode: 'interval', interval: '2s' },
  })
  t.strictSame(
    crops.map(({ capturedAtMs }) => capturedAtMs - START_MS),
    [200, 2200, 4200],
  )
  t.strictSame(order.slice(0, 2), ['crop', 'new'])
})

t.test('every: each sure face of each frame, with its track, up to the rate', async (t) => {
  const { crops } = await run([...walk(40), ...walk(10, 4000, 0.5)], { emit: { mode: 'every' } })
  t.equal(crops.length, 40)
  t.equal(new Set(crops.map(({ track }) => track)).size, 1)
  const limited = await run(walk(40), { emit: { mode: 'every', rateMax: 2 } })
  t.ok(limited.crops.length >= 8 && limited.crops.length <= 10, `${limited.crops.length}`)
})

t.test('photos: every sure face, no track, no event, in each mode', async (t) => {
  const photos: Scripted[] = Array.from({ length: 5 }, () => ({
    atMs: undefined,
    faces: [
      { box: [100, 100, 80, 80] },
      { box: [300, 100, 80, 80] },
      { box: [400, 200, 80, 80], score: 0.4 },
    ],
  }))
  for (const mode of ['best', 'interval', 'every']) {
    const { crops, events } = await run(photos, { emit: { mode, rateMax: 1 } })
    t.equal(crops.length, 10)
    t.ok(crops.every(({ track }) => track === undefined))
    t.strictSame(events, [])
  }
})

t.test(
  'a face that is too small, or of which nothing is in the picture, becomes no crop in any mode',
  async (t) => {
    for (const mode of ['best', 'interval', 'every'])
      for (const [box, reason] of [
        [[100, 100, 30, 100], 'small'],
        [[700, 100, 100, 100], 'outside'],
      ] as const) {
        const frames = Array.from({ length: 10 }, (_, i) => ({ atMs: i * 100, faces: [{ box }] }))
        const { crops, reasons } = await run(frames, { emit: { mode }, detect: { sizeMin: 40 } })
        t.strictSame([crops, reasons], [[], { [reason]: 10 }], `${mode}, ${reason}`)
      }
  },
)

t.test('without events none are said, and crops come all the same', async (t) => {
  const { crops, events } = await run(walk(20), { events: { enabled: false } })
  t.equal(crops.length, 1)
  t.strictSame(events, [])
})

t.test('a file that starts again: who was seen before is published, and followed anew', async (t) => {
  const { crops } = await run([...walk(20), ...walk(20)])
  t.equal(crops.length, 2)
  t.not(crops[0]?.track, crops[1]?.track)
})

t.test('where no frame may be lost, each crop waits for the room that the publisher has', async (t) => {
  let [rooms, offered] = [0, 0]
  const overdrawn: number[] = []
  const onOffer = () => {
    offered += 1
    if (offered > rooms) overdrawn.push(offered)
  }
  const room = async () => {
    await sleep(1)
    rooms += 1
  }
  const script = walk(30)
  const { crops } = await run(script, { emit: { mode: 'every' } }, { room, onOffer })
  t.equal(crops.length, 30)
  t.strictSame([overdrawn, rooms], [[], 30], 'one room a crop, asked for before it')
  const stop = new AbortController()
  const asked = Promise.withResolvers<void>()
  const never = async (signal: AbortSignal) => {
    asked.resolve()
    if (!signal.aborted) await once(signal, 'abort')
  }
  let offeredWithout: number | undefined
  offered = 0
  void asked.promise.then(async () => {
    await sleep(50)
    offeredWithout = offered
    stop.abort()
  })
  const stopped = await run(
    script,
    { emit: { mode: 'every' } },
    { room: never, onOffer, signal: stop.signal },
  )
  t.equal(offeredWithout, 0, 'while there is none, nothing is offered')
  t.equal(stopped.crops.length, 30, 'and told to stop it waits no longer')
})

t.test('a live source waits for no room: the publisher drops the oldest, and counts it', async (t) => {
  const room = () => Promise.reject(new Error('it asked for room'))
  const { crops, failed } = await run(walk(30), { emit: { mode: 'every' } }, { room, lossless: false })
  t.strictSame([crops.length, failed], [30, undefined])
})
