import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { evaluate, sum } from '../../device/detect/evaluate.ts'
import { type DetectorOptions, openDetector } from '../../device/detect/open.ts'
import { readPhoto } from '../../device/detect/photo.ts'
import { type Box, overlap } from '../../device/detect/suppress.ts'
import { toFrame } from '../../device/faces/crop.ts'
import { sharedData } from '../kit/data.ts'
import { fitted, PORTRAIT, picture } from './pictures.ts'

const IOU_MIN = 0.4
const absent = (path: string) => (sharedData(path) ? false : `the shared test data has no ${path}`)

interface Case {
  readonly model: string
  readonly inputSide?: number
  readonly recallMin: number
  readonly precisionMin: number
}
/** Faces nobody labelled count against precision: the larger inputs find more of them. */
const CASES: readonly Case[] = [
  { model: 'blazeface', recallMin: 0.97, precisionMin: 1 },
  { model: 'blazeface', inputSide: 384, recallMin: 1, precisionMin: 1 },
  { model: 'models/blazeface_back_256x256_barracuda.onnx', recallMin: 0.97, precisionMin: 1 },
  { model: 'models/yunet_n_320_320.onnx', recallMin: 1, precisionMin: 0.97 },
  { model: 'models/yunet_n_dynamic.onnx', recallMin: 1, precisionMin: 0.97 },
  { model: 'models/yunet_n_dynamic.onnx', inputSide: 640, recallMin: 1, precisionMin: 0.97 },
  { model: 'models/yunet_n_640_640.onnx', recallMin: 1, precisionMin: 0.97 },
  { model: 'models/yunet_s_640_640.onnx', recallMin: 1, precisionMin: 0.97 },
  { model: 'models/ultraface-version-RFB-320.onnx', recallMin: 1, precisionMin: 1 },
  { model: 'models/ultraface-version-RFB-640.onnx', recallMin: 1, precisionMin: 0.97 },
  { model: 'models/ultraface-RFB-640-masked_face-v2.onnx', recallMin: 1, precisionMin: 1 },
]

const optionsOf = ({ model, inputSide }: Pick<Case, 'model' | 'inputSide'>): DetectorOptions => ({
  model: sharedData(model) ?? model,
  inputSize: inputSide === undefined ? undefined : { width: inputSide, height: inputSide },
})

for (const example of CASES) {
  const { model, inputSide, recallMin, precisionMin } = example
  const name = inputSide === undefined ? model : `${model} at ${inputSide}`
  const skip = absent('photos/boxes/boxes.json') || (model.endsWith('.onnx') && absent(model))
  t.test(`${name} finds at least ${recallMin * 100} % of the labelled faces`, { skip }, async (t) => {
    const folder = sharedData('photos/boxes') as string
    const truth = JSON.parse(await readFile(join(folder, 'boxes.json'), 'utf8')) as Record<string, Box[]>
    await using detector = await openDetector(optionsOf(example))
    const results = []
    for (const [name, boxes] of Object.entries(truth)) {
      const photo = await readPhoto(join(folder, name), detector.input)
      const faces = await detector.detect(photo.scaled)
      const found = faces.map((face) => ({ ...face, box: toFrame(face.box, photo.scaled, photo) }))
      results.push(evaluate(found, boxes, IOU_MIN))
    }
    const { recall, precision } = sum(results)
    t.ok(recall >= recallMin, `recall ${recall.toFixed(3)}`)
    t.ok(precision >= precisionMin, `precision ${precision.toFixed(3)}`)
  })
}

/** Of each family one: counts faces, and takes nothing else for one. */
const COUNTING = [
  'blazeface',
  'models/yunet_n_320_320.onnx',
  'models/yunet_s_640_640.onnx',
  'models/ultraface-version-RFB-320.onnx',
]
for (const model of COUNTING)
  t.test(
    `${model} counts the faces of group photos, and sees none in a page of text, bricks and a rocket`,
    { skip: absent('photos/group') || (model.endsWith('.onnx') && absent(model)) },
    async (t) => {
      await using detector = await openDetector(optionsOf({ model }))
      for (const [name, faces] of [
        ['group/linzaer-2.jpg', 4],
        ['group/linzaer-9.jpg', 8],
        ['group/linzaer-16.jpg', 9],
        ['group/linzaer-10.jpg', 19],
        ['negative/page.png', 0],
        ['negative/brick.png', 0],
        ['negative/rocket.jpg', 0],
      ] as const) {
        const photo = await readPhoto(sharedData(`photos/${name}`) as string, detector.input)
        t.equal((await detector.detect(photo.scaled)).length, faces, name)
      }
    },
  )

const MASKED = 'models/ultraface-RFB-640-masked_face-v2.onnx'
t.test(
  'a model that knows masks says of each face whether it wears one',
  { skip: absent(MASKED) || absent('photos/mask') },
  async (t) => {
    await using detector = await openDetector({ model: sharedData(MASKED) })
    const look = async (name: string) => {
      const photo = await readPhoto(sharedData(`photos/${name}`) as string, detector.input)
      return (await detector.detect(photo.scaled)).map(({ masked }) => masked)
    }
    t.same(await look('mask/linzaer-mask-img2.jpeg'), Array(10).fill(true))
    t.same(await look('single/obama.jpg'), [false])
  },
)

t.test(
  'the front BlazeFace finds a face that is near',
  {
    skip: absent('models/blazeface_front_128x128_barracuda.onnx') || absent('photos/single/obama.jpg'),
  },
  async (t) => {
    await using detector = await openDetector({
      model: sharedData('models/blazeface_front_128x128_barracuda.onnx'),
    })
    t.same(detector.input, { width: 128, height: 128, fit: 'letterbox' })
    const { picture } = await fitted(sharedData('photos/single/obama.jpg') as string, detector.input)
    const faces = await detector.detect(picture)
    t.equal(faces.length, 1)
  },
)

t.test('a relief of coins shows no faces', { skip: absent('photos/negative') }, async (t) => {
  await using detector = await openDetector()
  const photo = await readPhoto(sharedData('photos/negative/coins.png') as string, detector.input)
  t.same(await detector.detect(photo.scaled), [])
})

t.test(
  'the default model finds a drawn portrait where it is, eyes above the nose above the mouth',
  async (t) => {
    await using detector = await openDetector({ model: 'blazeface' })
    t.equal(detector.model, 'blazeface')
    t.match(detector.runtime, /^ONNX Runtime \d+\.\d+\.\d+, CPU, \d+ threads?$/)
    const { picture, scale } = await fitted(PORTRAIT, detector.input)
    const [face, ...more] = await detector.detect(picture)
    t.same(more, [])
    if (!face) return t.fail('no face found')
    t.ok(face.score > 0.8, `score ${face.score.toFixed(2)}`)
    t.equal(face.landmarks.length, 6)
    const at = (x: number, y: number) => [x * scale, y * scale] as const
    const near = (index: number, [x, y]: readonly [number, number], what: string) => {
      const [px = 0, py = 0] = face.landmarks[index] ?? []
      t.ok(
        Math.hypot(px - x, py - y) < 15 * scale,
        `${what} at ${(px / scale).toFixed(0)}, ${(py / scale).toFixed(0)}`,
      )
    }
    near(0, at(208, 177), 'the eye on the left')
    near(1, at(272, 177), 'the eye on the right')
    near(2, at(240, 215), 'the nose')
    near(3, at(240, 248), 'the mouth')
  },
)

const LETTERBOX_MODELS = ['blazeface', 'models/yunet_n_320_320.onnx', 'models/yunet_n_dynamic.onnx']
for (const model of LETTERBOX_MODELS)
  t.test(
    `${model}: boxes come back in the coordinates of the picture, wide, tall or odd`,
    {
      skip: model.endsWith('.onnx') && absent(model),
    },
    async (t) => {
      await using detector = await openDetector(optionsOf({ model }))
      const side = detector.input.width
      const face = await sharp(PORTRAIT).extract({ left: 130, top: 40, width: 220, height: 280 }).toBuffer()
      const grey = { r: 120, g: 130, b: 140 }
      const put = (width: number, height: number, left: number, top: number, faceHeight: number) =>
        sharp(face)
          .resize({ height: faceHeight })
          .toBuffer()
          .then((input) =>
            sharp({ create: { width, height, channels: 3, background: grey } })
              .composite([{ input, left, top }])
              .png()
              .toBuffer(),
          )
      // One detector for all: what an earlier, larger picture left in the input must not show.
      for (const [width, height, left, top] of [
        [side, Math.round(side / 2), Math.round(side * 0.6), 5],
        [Math.round(side / 2), side, 10, Math.round(side * 0.5)],
        [side - 1, side - 3, 21, 33],
        [side, side, 90, 60],
      ] as const) {
        const faceHeight = 110
        const image = await put(width, height, left, top, faceHeight)
        const faces = await detector.detect(await picture(sharp(image)))
        const scale = faceHeight / 280
        const drawn: Box = [left + 36 * scale, top + 70 * scale, 148 * scale, 170 * scale]
        t.equal(faces.length, 1, `${width}x${height}: one face`)
        const shared = overlap(faces[0]?.box ?? [0, 0, 0, 0], drawn)
        t.ok(shared > 0.5, `${width}x${height}: where it was put (IoU ${shared.toFixed(2)})`)
      }
    },
  )

t.test('the same picture gives the same faces, whatever was looked at before or at once', async (t) => {
  await using detector = await openDetector()
  const { picture: portrait } = await fitted(PORTRAIT, detector.input)
  const narrow = await picture(sharp(PORTRAIT).resize(100, 200, { fit: 'fill' }))
  const first = await detector.detect(portrait)
  const all = await Promise.all([
    detector.detect(portrait),
    detector.detect(narrow),
    detector.detect(portrait),
  ])
  t.same(all[0], first)
  t.same(all[2], first)
})
