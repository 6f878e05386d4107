import sharp from 'sharp'
import t from 'tap'
import { frontalityOf, qualityOf, sharpnessOf } from '../../device/faces/best-shot.ts'
import type { Box, Point } from '../../device/faces/crop.ts'
import { FACE_BOX, PORTRAIT_ASPECT, portraitSvg } from '../../device/sources/portrait.ts'

const FRAME = { width: 1280, height: 720 }
const box: Box = [500, 300, 120, 120]
const frontal: Point[] = [
  [530, 340],
  [590, 340],
  [560, 370],
]

t.test('larger, sharper, more frontal, surer, and whole: each is better', async (t) => {
  const of = (change: object, sharpness = 0.5) =>
    qualityOf({ box, score: 0.8, landmarks: frontal, ...change }, FRAME, sharpness).total
  const plain = of({})
  t.ok(plain > 0 && plain < 1)
  t.ok(of({ box: [500, 300, 240, 240], landmarks: frontal.map(([x, y]) => [2 * x, 2 * y]) }) > plain)
  t.ok(of({}, 0.6) > plain)
  t.ok(of({ score: 0.9 }) > plain)
  t.ok(of({ landmarks: [frontal[0], frontal[1], [580, 370]] }) < plain)
  t.ok(of({ box: [-60, 300, 120, 120], landmarks: frontal.map(([x, y]) => [x - 560, y]) }) < plain / 2)
  const most = qualityOf({ box, score: 0.8, landmarks: frontal }, FRAME).total
  t.equal(most, of({}, 1), 'without a sharpness it is the most it could be')
})

t.test('frontality: the nose between the eyes, the head upright; neutral without landmarks', async (t) => {
  t.equal(frontalityOf(frontal, 120), 1)
  t.equal(frontalityOf([], 120), 1)
  t.equal(
    frontalityOf(
      [
        [530, 340],
        [590, 340],
        [592, 370],
      ],
      120,
    ),
    0,
  )
  t.equal(
    frontalityOf(
      [
        [560, 340],
        [562, 340],
        [561, 370],
      ],
      120,
    ),
    0,
    'one eye behind the other',
  )
  const tilted = frontalityOf(
    [
      [530, 320],
      [580, 360],
      [540, 365],
    ],
    120,
  )
  t.ok(tilted > 0 && tilted < 0.9)
})

t.test('sharpness falls with blur, and hardly with size', async (t) => {
  const draw = async (width: number, blur: number) => {
    const picture = sharp(Buffer.from(portraitSvg(5, width)))
      .removeAlpha()
      .toColourspace('srgb')
    if (blur > 0) picture.blur(blur)
    const { data, info } = await picture.raw().toBuffer({ resolveWithObject: true })
    const region = { left: 100, top: 50, width: info.width, height: info.height }
    const face: Box = [
      100 + FACE_BOX.left * width,
      50 + FACE_BOX.top * width * PORTRAIT_ASPECT,
      FACE_BOX.width * width,
      FACE_BOX.height * width * PORTRAIT_ASPECT,
    ]
    return sharpnessOf(data, region, face)
  }
  const [sharpest, soft, softer] = [await draw(300, 0), await draw(300, 4), await draw(300, 10)]
  t.ok(sharpest > 0.4 && sharpest < 1, `${sharpest}`)
  t.ok(soft < 0.8 * sharpest, `${soft}`)
  t.ok(softer < 0.5 * soft, `${softer}`)
  const large = await draw(900, 0)
  t.ok(Math.abs(large - sharpest) < 0.25, `${large} at three times the size`)
  t.equal(sharpnessOf(new Uint8Array(12), { left: 0, top: 0, width: 2, height: 2 }, [0, 0, 2, 2]), 0)
})
