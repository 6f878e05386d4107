import t from 'tap'
import { SceneWatch } from '../../device/faces/scene.ts'
import {
  SCENE_COVERED_DARK_MS,
  SCENE_COVERED_MS,
  SCENE_FROZEN_MS,
  SCENE_TURNED_MS,
} from '../../device/limits.ts'
import { sharp } from '../../device/sharp.ts'
import { sharedData } from '../kit/data.ts'
import { seeded } from '../kit/wait.ts'
import { camera, play } from './playing.ts'

/** The watch over a camera's view: no alarm on real scenes, whatever the light; and one when they are covered or turned away. */

const [WIDTH, HEIGHT] = [320, 180]
const SIZE = { width: WIDTH, height: HEIGHT }
const BYTES = WIDTH * HEIGHT * 3
const LOOK_MS = 500
const START_MS = Date.UTC(2026, 10, 28)
const LEARN_MS = 12_000
type Picture = Uint8Array

const random = seeded(7)
/** Of each pixel a new value, from its own and its place, with noise of so many grey levels. */
function changed(
  picture: Picture,
  noise: number,
  of: (value: number, x: number, y: number) => number,
): Picture {
  const result = new Uint8Array(BYTES)
  for (let i = 0; i < BYTES; i += 3) {
    const off = (random() + random() + random() - 1.5) * 2 * noise
    const pixel = i / 3
    for (let c = 0; c < 3; c += 1)
      result[i + c] = Math.max(
        0,
        Math.min(255, of(picture[i + c] as number, pixel % WIDTH, Math.floor(pixel / WIDTH)) + off),
      )
  }
  return result
}
/** What the camera sees when it points elsewhere. */
function moved(picture: Picture, dx: number, dy: number): Picture {
  const result = new Uint8Array(BYTES)
  for (let y = 0; y < HEIGHT; y += 1)
    for (let x = 0; x < WIDTH; x += 1) {
      const from = (((y + dy + HEIGHT) % HEIGHT) * WIDTH + ((x + dx + WIDTH) % WIDTH)) * 3
      result.set(picture.subarray(from, from + 3), (y * WIDTH + x) * 3)
    }
  return result
}
const blurred = async (picture: Picture): Promise<Picture> =>
  new Uint8Array(
    await sharp(picture, { raw: { ...SIZE, channels: 3 } })
      .blur(30)
      .raw()
      .toBuffer(),
  )
const readPhoto = async (file: string): Promise<Picture> =>
  new Uint8Array(
    await sharp(file)
      .removeAlpha()
      .toColourspace('srgb')
      .resize({ ...SIZE, fit: 'cover' })
      .raw()
      .toBuffer(),
  )
/** Some frames of a clip, a few seconds' worth. */
async function readClip(file: string, framesMax: number): Promise<Picture[]> {
  const pictures: Picture[] = []
  await play(camera(file, { rateMax: 2 }), (frame) => {
    pictures.push(frame.scaled.data.slice())
    return pictures.length >= framesMax
  })
  return pictures
}

/** Shows each for its time, its pictures in turn. @returns when the view changed, ms, and to what */
function watch(
  parts: readonly (readonly [pictures: readonly Picture[], ms: number])[],
  scene = new SceneWatch(),
) {
  const said: [is: string, atMs: number, sinceMs: number][] = []
  let atMs = 0
  let shown = 0
  for (const [pictures, ms] of parts)
    for (const endMs = atMs + ms; atMs < endMs; atMs += LOOK_MS) {
      const data = pictures[shown++ % pictures.length] as Picture
      const before = scene.view
      scene.take({ data, ...SIZE }, atMs, START_MS + atMs)
      if (scene.view && scene.view !== before) said.push([scene.view.is, atMs, scene.view.sinceMs - START_MS])
    }
  return said
}
const isAbout = (ms: number | undefined, expectedMs: number) => Math.abs((ms ?? -1) - expectedMs) <= 3000

/** A room, drawn: a window, a shelf of books, a table with things on it. None of it repeats. */
const ROOM = changed(new Uint8Array(BYTES), 0, (_, x, y) => {
  const wall = 90 + x / 8 + (y > 120 ? -40 : 0)
  const any = (column: number, row: number) =>
    ((Math.imul(column * 73 + row * 179 + 11, 0x9e3779b1) >>> 8) % 140) - 70
  const window = x > 40 && x < 110 && y > 20 && y < 80 ? any(x > 71 ? 1 : 0, y > 47 ? 1 : 0) + 60 : 0
  const books = x > 170 && y > 15 && y < 120 ? any(Math.floor(x / 9), Math.floor(y / 26)) : 0
  const table = x > 20 && x < 180 && y > 125 ? any(Math.floor(x / 17), Math.floor(y / 19) + 50) : 0
  return wall + window + books + table
})
const noisy = (picture: Picture, noise = 3) => [0, 1].map(() => changed(picture, noise, (it) => it))
const CALM = noisy(ROOM)

t.test('a camera that is covered is said to be, and to be clear when it is uncovered', async (t) => {
  const covers = {
    'a grey cloth': noisy(new Uint8Array(BYTES).fill(70)),
    'a hand, out of focus': noisy(await blurred(ROOM), 2),
    'a hand that leaves a tenth free': noisy(
      changed(await blurred(ROOM), 0, (it, x) => (x < 0.9 * WIDTH ? it * 0.6 : (ROOM[x * 3] as number))),
    ),
  }
  for (const [name, cover] of Object.entries(covers)) {
    const said = watch([
      [CALM, LEARN_MS],
      [cover, 20_000],
      [CALM, 10_000],
    ])
    t.strictSame(
      said.map(([is]) => is),
      ['clear', 'covered', 'clear'],
      name,
    )
    t.ok(isAbout(said[1]?.[1], LEARN_MS + SCENE_COVERED_MS), `${said[1]}`)
    t.ok(isAbout(said[1]?.[2], LEARN_MS), 'since when, is when it began')
  }
})

t.test('a dark scene is not covered; one in which nothing at all is seen is, after a while', async (t) => {
  const night = [0, 1, 2, 3].map(() => changed(ROOM, 5, (it) => it * 0.12))
  t.strictSame(
    watch([
      [CALM, LEARN_MS],
      [night, 120_000],
      [CALM, 5000],
    ]).map(([is]) => is),
    ['clear'],
    'a tenth of the light, and noise',
  )
  const black = [0, 1, 2, 3].map(() => changed(new Uint8Array(BYTES), 3, () => 5))
  const said = watch([
    [CALM, LEARN_MS],
    [black, 60_000],
  ])
  t.strictSame(
    said.map(([is]) => is),
    ['clear', 'covered'],
  )
  t.ok(isAbout(said[1]?.[1], LEARN_MS + SCENE_COVERED_DARK_MS), `${said[1]}`)
})

t.test('a camera that looks elsewhere is turned away, and clear when it is turned back', async (t) => {
  for (const [name, elsewhere] of Object.entries({
    'by 40 % of the width': moved(ROOM, 0.4 * WIDTH, 0),
    'by 40 % of the height': moved(ROOM, 0, 0.4 * HEIGHT),
  })) {
    const said = watch([
      [CALM, LEARN_MS],
      [noisy(elsewhere), 50_000],
      [CALM, 10_000],
    ])
    t.strictSame(
      said.map(([is]) => is),
      ['clear', 'turned', 'clear'],
      name,
    )
    t.ok(isAbout(said[1]?.[1], LEARN_MS + SCENE_TURNED_MS), `${said[1]}`)
  }
})

t.test('light, infrared, a tremble, and who stands or parks before it are no alarm', async (t) => {
  const person = changed(new Uint8Array(BYTES), 20, (_, x, y) => 60 + ((x * 13 + y * 7) % 90))
  const scenes: Record<string, readonly Picture[]> = {
    'a lamp goes out': [0, 1].map(() => changed(ROOM, 5, (it) => it * 0.35)),
    'a cloud': [0, 1].map(() => changed(ROOM, 3, (it) => it * 0.8 + 20)),
    infrared: [0, 1].map(() =>
      changed(ROOM, 8, (it, x, y) => {
        const fromMiddle = ((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) / 20_000
        return 255 * (it / 255) ** 0.7 * Math.exp(-fromMiddle)
      }),
    ),
    'it trembles': [0, 1, 2, 3].map((n) => moved(CALM[n % 2] as Picture, [3, -3, 0, 2][n] ?? 0, n % 2)),
    'somebody stands there': [0, 1].map((n) =>
      changed(ROOM, 3, (it, x, y) =>
        x > 150 + 9 * n && x < 280 + 9 * n ? (person[(y * WIDTH + x) * 3] as number) : it,
      ),
    ),
    'something is put down': [0, 1].map(() =>
      changed(ROOM, 3, (it, x, y) =>
        x > 30 && x < 150 && y > 90 ? (person[(y * WIDTH + x) * 3] as number) : it,
      ),
    ),
  }
  for (const [name, pictures] of Object.entries(scenes))
    t.strictSame(
      watch([
        [CALM, LEARN_MS],
        [pictures, 90_000],
        [CALM, 5000],
      ]).map(([is]) => is),
      ['clear'],
      name,
    )
})

t.test('the same picture, byte by byte, is a frozen one; noise is none', async (t) => {
  const [one] = CALM as [Picture]
  const said = watch([
    [CALM, LEARN_MS],
    [[one], SCENE_FROZEN_MS + 5000],
    [CALM, 5000],
  ])
  t.strictSame(
    said.map(([is]) => is),
    ['clear', 'frozen', 'clear'],
  )
  t.ok(isAbout(said[1]?.[2], LEARN_MS), 'since when, is when it began')
})

t.test('masks do not hide that it is covered', async (t) => {
  const masked = (picture: Picture) =>
    changed(picture, 0, (it, x, y) => ((x > 50 && x < 130 && y > 40 && y < 90) || y > 130 ? 0 : it))
  const cover = noisy(new Uint8Array(BYTES).fill(70)).map(masked)
  const parts = [
    [CALM.map(masked), LEARN_MS],
    [cover, 20_000],
  ] as const
  t.strictSame(
    watch(parts, new SceneWatch({ hasMasks: true })).map(([is]) => is),
    ['clear', 'covered'],
  )
})

t.test('times without pictures, clocks that jump, another size, and one pixel, harm nothing', async (t) => {
  const scene = new SceneWatch()
  watch([[CALM, LEARN_MS]], scene)
  const [data] = CALM as [Picture]
  const times = [86_400_000, 86_400_500, 0, 500, 1000, -5000, Number.MAX_SAFE_INTEGER]
  for (const atMs of times) scene.take({ data, ...SIZE }, atMs, START_MS)
  scene.take({ data: new Uint8Array(3), width: 1, height: 1 }, 0, START_MS)
  scene.take({ data: new Uint8Array(999 * 3), width: 999, height: 1 }, 600, START_MS)
  t.match(scene.view, { is: 'clear' })
})

const clips = ['one-by-one-person-detection.mp4', 'facenet-pytorch-video.mp4', 'short_hamilton_clip.mp4']
const skip = sharedData('video') ? false : 'no shared test data'

t.test('real clips: no alarm; each turned into the next is one, and so is a cover', { skip }, async (t) => {
  const read = await Promise.all(clips.map((name) => readClip(sharedData(`video/${name}`) as string, 60)))
  for (const [n, pictures] of read.entries()) {
    const name = clips[n]
    t.strictSame(
      watch([[pictures, pictures.length * LOOK_MS]]).map(([is]) => is),
      ['clear'],
      `${name}, as it is`,
    )
    const one = pictures.slice(0, 8)
    const other = read[(n + 1) % read.length]?.slice(0, 8) as Picture[]
    t.strictSame(
      watch([
        [one, LEARN_MS],
        [other, 45_000],
        [one, 8000],
      ]).map(([is]) => is),
      ['clear', 'turned', 'clear'],
      `${name}, turned`,
    )
    const cover = await Promise.all(one.slice(0, 4).map(blurred))
    t.strictSame(
      watch([
        [one, LEARN_MS],
        [
          cover.flatMap((it) =>
            noisy(
              changed(it, 0, (value) => value * 0.6 + 10),
              2,
            ),
          ),
          15_000,
        ],
        [one, 8000],
      ]).map(([is]) => is),
      ['clear', 'covered', 'clear'],
      `${name}, covered`,
    )
  }
})

t.test('real photos as scenes, by day and by night: no alarm', { skip }, async (t) => {
  const names = [
    'single/astronaut.png',
    'single/obama-240p.jpg',
    'group/linzaer-2.jpg',
    'negative/rocket.jpg',
  ]
  for (const name of names) {
    const picture = await readPhoto(sharedData(`photos/${name}`) as string)
    const night = [0, 1, 2, 3].map(() => changed(picture, 5, (it) => it * 0.12))
    t.strictSame(
      watch([
        [noisy(picture), 20_000],
        [night, 60_000],
      ]).map(([is]) => is),
      ['clear'],
      name,
    )
  }
})
