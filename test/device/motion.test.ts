import t from 'tap'
import { MotionGate } from '../../device/faces/motion.ts'
import { seeded } from '../kit/wait.ts'

const SIZE = { width: 320, height: 180 }
const OPTIONS = { threshold: 0.005, checkEvery: 5000 }
const FRAME_MS = 100

interface Scene {
  /** A dark square: left, top, side. */
  readonly person?: readonly [number, number, number]
  readonly gain?: number
  readonly offset?: number
}

/** A room with some structure, seen by a sensor with noise. */
function pictures() {
  const random = seeded(5)
  return ({ person, gain = 1, offset = 0 }: Scene = {}) => {
    const data = new Uint8Array(SIZE.width * SIZE.height * 3)
    for (let y = 0, i = 0; y < SIZE.height; y += 1)
      for (let x = 0; x < SIZE.width; x += 1, i += 3) {
        let value = 60 + ((x * y) % 97) / 2 + (x > 160 ? 60 : 0) + (y > 100 ? 25 : 0)
        if (
          person &&
          x >= person[0] &&
          x < person[0] + person[2] &&
          y >= person[1] &&
          y < person[1] + person[2]
        )
          value = 20
        const noise = (random() + random() + random() - 1.5) * 16
        data.fill(Math.max(0, Math.min(255, value * gain + offset + noise)), i, i + 3)
      }
    return { data, ...SIZE }
  }
}

/** Frames from `from` for so long: which were looked at. */
function looks(
  gate: MotionGate,
  fromMs: number,
  ms: number,
  scene: (atMs: number) => Parameters<MotionGate['take']>[0],
) {
  const taken: number[] = []
  for (let at = fromMs; at < fromMs + ms; at += FRAME_MS) if (gate.take(scene(at), at)) taken.push(at)
  return taken
}

t.test('a still scene is looked at once each few seconds, noise or not', async (t) => {
  const picture = pictures()
  const gate = new MotionGate(OPTIONS)
  t.equal(gate.take(picture(), 0), true, 'the first')
  looks(gate, FRAME_MS, 5000, () => picture())
  const taken = looks(gate, 10_000, 20_000, () => picture())
  t.ok(taken.length >= 4 && taken.length <= 5, `${taken.length} of 200`)
})

t.test('a small person who walks is looked at all the time; one who has gone, no longer', async (t) => {
  const picture = pictures()
  const gate = new MotionGate(OPTIONS)
  looks(gate, 0, 10_000, () => picture())
  const walking = looks(gate, 10_000, 6000, (at) => picture({ person: [(at - 10_000) / 25, 70, 30] }))
  t.ok(walking.length >= 59, `${walking.length} of 60`)
  looks(gate, 16_000, 20_000, () => picture())
  t.ok(looks(gate, 36_000, 10_000, () => picture()).length <= 3)
})

t.test('who comes and stays becomes a part of the scene', async (t) => {
  const picture = pictures()
  const gate = new MotionGate(OPTIONS)
  const there = () => picture({ person: [100, 60, 60] })
  looks(gate, 0, 5000, () => picture())
  t.equal(looks(gate, 5000, 5000, there).length, 50)
  looks(gate, 10_000, 40_000, there)
  t.ok(looks(gate, 50_000, 10_000, there).length <= 3)
})

t.test('a change of light is no motion, slow or at once; and a person in it is', async (t) => {
  const picture = pictures()
  const gate = new MotionGate(OPTIONS)
  looks(gate, 0, 10_000, () => picture())
  const dusk = looks(gate, 10_000, 20_000, (at) => picture({ gain: 1 - (at - 10_000) / 40_000 }))
  t.ok(dusk.length <= 5, `${dusk.length} of 200`)
  const lamp = looks(gate, 30_000, 5000, () => picture({ gain: 1.2, offset: 15 }))
  t.ok(lamp.length <= 2, `${lamp.length} of 50`)
  const person = looks(gate, 35_000, 3000, (at) =>
    picture({ gain: 0.8, offset: 30, person: [(at - 35_000) / 20, 60, 36] }),
  )
  t.equal(person.length, 30)
})

t.test('another size and a clock that starts anew are looked at', async (t) => {
  const picture = pictures()
  const gate = new MotionGate(OPTIONS)
  looks(gate, 0, 10_000, () => picture())
  t.equal(gate.take({ data: new Uint8Array(100 * 100 * 3), width: 100, height: 100 }, 10_000), true)
  looks(gate, 10_000, 10_000, () => picture())
  t.equal(gate.take(picture(), 0), true)
  t.doesNotThrow(() => gate.take({ data: new Uint8Array(3), width: 1, height: 1 }, 100), 'one pixel')
})
