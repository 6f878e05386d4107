import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { SceneWatch } from '../device/faces/scene.ts'
import { sharp } from '../device/sharp.ts'
import { camera, play } from '../test/device/playing.ts'
import { sharedData } from '../test/kit/data.ts'
import { seeded } from '../test/kit/wait.ts'

/**
 * The watch over a camera's view (`view.watch`): what a look costs, CPU time, and false alarms over all clips and photos of
 * the test data, as they are, at night, by infrared, in falling snow, and with people who hide 60 % of the picture.
 */
export interface ViewResult {
  readonly cost: readonly { readonly width: number; readonly height: number; readonly msPerLook: number }[]
  readonly alarms: readonly {
    readonly what: string
    readonly scenes: number
    readonly alarms: readonly string[]
  }[]
}

const [WIDTH, HEIGHT] = [320, 180]
const BYTES = WIDTH * HEIGHT * 3
const LOOK_MS = 500
const LOOKS = 5000
const LEARN_MS = 15_000
const PEOPLE_PART = 0.6
const PEOPLE_MS = 36_000
const FLAKES = 600
const CLIP_PICTURES_MAX = 400
const random = seeded(11)
type Picture = Uint8Array

export async function benchView(): Promise<ViewResult> {
  const folder = sharedData('photos')
  const videos = sharedData('video')
  if (!folder || !videos) throw new Error('Set SIGHTLINE_TEST_DATA to the folder with photos/ and video/.')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((it) =>
    /\.(jpe?g|png)$/.test(it),
  )
  const photos = new Map<string, Picture>()
  for (const file of files.sort()) photos.set(file, await readPhoto(join(folder, file), WIDTH, HEIGHT))
  const clips = new Map<string, Picture[]>()
  for (const file of readdirSync(videos).sort()) clips.set(file, await readClip(join(videos, file)))
  const [first = ''] = files
  const cost: { width: number; height: number; msPerLook: number }[] = []
  for (const [width, height] of [
    [256, 144],
    [320, 180],
    [640, 360],
  ] as const)
    cost.push({
      ...{ width, height },
      msPerLook: costOf(await readPhoto(join(folder, first), width, height), width, height),
    })

  const scenes = new Map([
    ...[...photos].map(([name, it]) => [name, noisy(it, 3)] as const),
    ...[...clips].map(([name, it]) => [name, it] as const),
  ])
  const names = [...scenes.keys()]
  /** Of another scene, so that they move and are as detailed as people are. */
  const others = (n: number) => scenes.get(names[(n + 1) % names.length] as string) as Picture[]
  const kinds: Readonly<Record<string, (pictures: readonly Picture[], n: number) => Picture[]>> = {
    'as it is': (pictures) => [...pictures],
    night: (pictures) => shown(pictures).map((it) => changed(it, 5, (value) => value * 0.12)),
    infrared: (pictures) => shown(pictures).map((it) => changed(it, 8, infrared)),
    snow: (pictures) => shown(pictures).map(snowed),
    people: (pictures, n) => shown(pictures).map((it, at) => peopled(it, others(n), at)),
  }
  const alarms = Object.entries(kinds).map(([what, make]) => ({
    what,
    scenes: scenes.size,
    alarms: [...scenes].flatMap(([name, pictures], n) => {
      const said = watch([
        [pictures, Math.max(LEARN_MS, what === 'as it is' ? pictures.length * LOOK_MS : 0)],
        [make(pictures, n), what === 'people' ? PEOPLE_MS : 90_000],
      ])
      return said.some((it) => it !== 'clear') ? [`${name}: ${said.join(', ')}`] : []
    }),
  }))
  return { cost, alarms }
}

export function printView({ cost, alarms }: ViewResult): void {
  for (const { width, height, msPerLook } of cost)
    console.log(`view: ${width}x${height}: ${msPerLook.toFixed(3)} ms of CPU a look (bar: 0.3)`)
  for (const { what, scenes, alarms: which } of alarms) {
    console.log(`view: ${what}: ${which.length} false alarms of ${scenes} scenes (bar: 0)`)
    for (const it of which) console.log(`  ${it}`)
  }
}

function costOf(picture: Picture, width: number, height: number): number {
  const pictures = [0, 1, 2, 3].map(() => picture.map((it) => Math.min(255, it + Math.floor(random() * 8))))
  const scene = new SceneWatch()
  let atMs = 0
  const look = (count: number) => {
    for (let n = 0; n < count; n += 1, atMs += LOOK_MS)
      scene.take({ data: pictures[n % 4] as Picture, width, height }, atMs, atMs)
  }
  look(LOOKS / 10)
  const before = process.cpuUsage()
  look(LOOKS)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / LOOKS
}

function watch(parts: readonly (readonly [pictures: readonly Picture[], ms: number])[]): string[] {
  const scene = new SceneWatch()
  const said: string[] = []
  let [atMs, shownAt] = [0, 0]
  for (const [pictures, ms] of parts)
    for (const endMs = atMs + ms; atMs < endMs; atMs += LOOK_MS) {
      const data = pictures[shownAt++ % pictures.length] as Picture
      if (scene.take({ data, width: WIDTH, height: HEIGHT }, atMs, atMs)) said.push(scene.view?.is ?? '')
    }
  return said
}

/** As many as are shown in turn: noise and flakes are others in each. */
const shown = (pictures: readonly Picture[]): Picture[] =>
  Array.from({ length: 16 }, (_, n) => pictures[n % pictures.length] as Picture)

const noisy = (picture: Picture, noise: number) => [0, 1, 2, 3].map(() => changed(picture, noise, (it) => it))

function changed(
  picture: Picture,
  noise: number,
  of: (value: number, x: number, y: number) => number,
): Picture {
  const result = new Uint8Array(BYTES)
  for (let i = 0; i < BYTES; i += 3) {
    const off = (random() + random() + random() - 1.5) * 2 * noise
    const [x, y] = [(i / 3) % WIDTH, Math.floor(i / 3 / WIDTH)]
    for (let c = 0; c < 3; c += 1)
      result[i + c] = Math.max(0, Math.min(255, of(picture[i + c] as number, x, y) + off))
  }
  return result
}

function infrared(value: number, x: number, y: number): number {
  const fromMiddle = ((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) / 20_000
  return 255 * (value / 255) ** 0.7 * Math.exp(-fromMiddle)
}

/** Flakes of one to four pixels, some near and out of focus; each look has others. */
function snowed(picture: Picture): Picture {
  const result = changed(picture, 3, (it) => it * 0.85 + 30)
  for (let n = 0; n < FLAKES; n += 1) {
    const size = 1 + Math.floor(random() * 4)
    const [left, top] = [Math.floor(random() * (WIDTH - size)), Math.floor(random() * (HEIGHT - size))]
    for (let y = top; y < top + size; y += 1)
      for (let x = left; x < left + size; x += 1)
        result.fill(235, (y * WIDTH + x) * 3, (y * WIDTH + x) * 3 + 3)
  }
  return result
}

/** A group, from one side to the other of that part of the picture, that sways. */
function peopled(picture: Picture, people: readonly Picture[], n: number): Picture {
  const result = changed(picture, 2, (it) => it)
  const other = people[n % people.length] as Picture
  const wide = Math.floor(WIDTH * PEOPLE_PART)
  const left = Math.floor((WIDTH - wide) / 2) + (n % 5) * 3 - 6
  for (let y = 0; y < HEIGHT; y += 1) {
    const from = (y * WIDTH + left) * 3
    result.set(other.subarray(from, from + wide * 3), from)
  }
  return result
}

async function readPhoto(file: string, width: number, height: number): Promise<Picture> {
  const image = sharp(file).removeAlpha().toColourspace('srgb').resize({ width, height, fit: 'cover' })
  return new Uint8Array(await image.raw().toBuffer())
}

/** Twice a second, cut to the size of all. */
async function readClip(file: string): Promise<Picture[]> {
  const pictures: Promise<Buffer>[] = []
  await play(camera(file, { rateMax: 2 }), (frame) => {
    const { data, width, height } = frame.scaled
    const image = sharp(Buffer.from(data), { raw: { width, height, channels: 3 } })
    pictures.push(image.resize({ width: WIDTH, height: HEIGHT, fit: 'cover' }).raw().toBuffer())
    return pictures.length >= CLIP_PICTURES_MAX
  })
  return (await Promise.all(pictures)).map((it) => new Uint8Array(it))
}

if (import.meta.main) printView(await benchView())
