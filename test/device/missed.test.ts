import t from 'tap'
import type { Track } from '../../device/faces/track.ts'
import type { Frame } from '../../device/frame.ts'
import { Effects } from '../../device/view/effects.ts'
import { failure } from '../../lib/errors.ts'
import { nobody, run, type Scripted, SIZE, START_MS, walk } from './scripted.ts'

/** Frames at which nobody could look: they never say that nobody is there. */

const late = () => ({ error: failure('INFERENCE_LATE', 'too late'), times: 1 })
const missing = (script: readonly Scripted[], from: number, to: number): Scripted[] =>
  script.map((it, at) => (at >= from && at < to ? { ...it, faces: [], missed: late() } : it))

t.test('of a live camera such frames are dropped and counted; faces are followed on', async (t) => {
  for (const missed of [1, 10, 30]) {
    const script = missing(walk(60), 20, 20 + missed)
    const { events, crops, skipped, present, failed } = await run(script, {}, { lossless: false })
    t.equal(failed, undefined)
    t.same(skipped, { late: missed })
    t.same(
      events.filter(({ type }) => type !== 'update').map(({ type }) => type),
      ['new', 'end'],
      `one track, ${missed} missed`,
    )
    t.equal(crops.length, 1)
    t.same(
      present.map((it) => it?.faces),
      [0, 1, undefined],
      'nobody has gone before the end',
    )
  }
})

t.test('somebody who was hidden just then is not lost by that', async (t) => {
  const standing = Array.from({ length: 80 }, (_, i) => ({
    atMs: i * 100,
    faces: (i >= 20 && i < 24) || (i >= 55 && i < 60) ? [] : [{ box: [100, 100, 80, 80] as const }],
  }))
  const { events, present } = await run(missing(standing, 24, 55), {}, { lossless: false })
  t.same(
    events.filter(({ type }) => type !== 'update').map(({ type }) => type),
    ['new', 'end'],
  )
  t.same(
    present.map((it) => it?.faces),
    [0, 1, undefined],
  )
})

t.test('a still scene that nobody could look at is not known to be empty', async (t) => {
  const cameras = [{ name: 'door', source: 'script.mp4', motion: { enabled: true } }]
  const { skipped, present } = await run(missing(nobody(40, 0), 0, 40), { cameras }, { lossless: false })
  t.ok((skipped.late ?? 0) > 0 && (skipped['still scene'] ?? 0) > 0)
  t.same(present, [undefined])
})

t.test('where no frame may be passed over, it is looked at again', async (t) => {
  const whole = await run(walk(40))
  const script = walk(40).map((it, at) => (at % 15 === 10 ? { ...it, missed: { ...late(), times: 2 } } : it))
  const { events, skipped, detected } = await run(script)
  t.equal(detected, whole.detected)
  t.equal(events.length, whole.events.length)
  t.same(skipped, {})
})

t.test('what is answered wrongly again and again is passed over', async (t) => {
  const wrong = { error: failure('INFERENCE_WRONG', 'no answer'), times: 3 }
  const script = [...walk(20), ...nobody(1, 2000).map((it) => ({ ...it, missed: wrong }))]
  const { skipped, failed } = await run(script)
  t.equal(failed, undefined)
  t.same(skipped, { wrong: 1 })
})

t.test('what else a detector fails of ends the camera, as before', async (t) => {
  const script = [...walk(5), { ...walk(1, 600)[0], missed: { error: new Error('broken'), times: 1 } }]
  const { failed } = await run(script as Scripted[], {}, { lossless: false })
  t.match(failed, /broken/)
})

t.test('viewers: faces are hidden widely for a moment, and then everything is', async (t) => {
  const effects = new Effects(() => 'pixelate')
  const frame = (atMs: number) =>
    ({ ...SIZE, atMs, capturedAtMs: START_MS + atMs, region: undefined }) as unknown as Frame
  const noise = () =>
    Uint8Array.from({ length: SIZE.width * SIZE.height * 3 }, (_, i) => (i * 7919 * (1 + (i % 13))) & 0xff)
  const hidden = () => {
    const rgb = noise()
    effects.apply('door', rgb, SIZE)
    const was = noise()
    let changed = 0
    for (let at = 0; at < rgb.length; at += 3)
      if (rgb[at] !== was[at] || rgb[at + 1] !== was[at + 1] || rgb[at + 2] !== was[at + 2]) changed += 1
    return changed / (SIZE.width * SIZE.height)
  }
  const tracks: Track[] = []
  effects.looked(
    'door',
    frame(0),
    [{ box: [300, 150, 40, 40], score: 0.9, sure: true, track: undefined }],
    tracks,
  )
  const looked = hidden()
  effects.unlooked('door', frame(300))
  const widely = hidden()
  effects.unlooked('door', frame(700))
  const blind = hidden()
  effects.still('door')
  t.ok(looked > 0 && widely > looked * 1.5 && widely < 0.5)
  t.ok(blind > 0.95)
  t.ok(hidden() > 0.95, 'until somebody looks again')
  effects.looked('door', frame(800), [], tracks)
  t.ok(hidden() < 0.5)
})
