import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { detect } from '../../commands/detect/detect.ts'
import { evaluateFolder } from '../../commands/detect/eval.ts'
import { PORTRAIT } from '../detect/pictures.ts'
import { readCrop } from '../../wire/crop.ts'
import { sharedData } from '../kit/data.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { sightline } from './sightline.ts'

/** Where the drawn face is: left, top, width, height. */
const FACE = [166, 110, 148, 170] as const

async function workplace(t: Test) {
  const folder = temporaryFolder(t)
  const portrait = join(folder, 'portrait.png')
  await sharp(PORTRAIT).png().toFile(portrait)
  return { folder, portrait, env: { SIGHTLINE_DETECT__MODEL_FOLDER: join(folder, 'models') } }
}

t.test('boxes as lines of JSON, in pixels of the picture', async (t) => {
  const { folder, portrait, env } = await workplace(t)
  const large = join(folder, 'large.jpg')
  await sharp(portrait).resize(1920, 1440).jpeg().toFile(large)
  // A photo as phones take it: it lies on its side and says so.
  const turned = join(folder, 'turned.jpg')
  await sharp(portrait).rotate(-90).jpeg().withMetadata({ orientation: 6 }).toFile(turned)
  const { status, stdout, stderr } = await sightline(t, ['detect', portrait, large, turned], env)
  t.match({ status, stderr }, { status: 0, stderr: '' })
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.equal(lines.length, 3)
  for (const [at, [file, width, height, scale]] of (
    [
      [portrait, 480, 360, 1],
      [large, 1920, 1440, 4],
      [turned, 480, 360, 1],
    ] as const
  ).entries()) {
    t.match(lines[at], { file, width, height, model: 'blazeface' })
    t.equal(lines[at].faces.length, 1)
    const [{ box, score, landmarks }] = lines[at].faces
    t.ok(score > 0.6 && score <= 1)
    t.equal(landmarks.length, 6)
    const middle = [box[0] + box[2] / 2, box[1] + box[3] / 2]
    const expected = [FACE[0] + FACE[2] / 2, FACE[1] + FACE[3] / 2]
    for (const axis of [0, 1])
      t.ok(Math.abs(middle[axis] / scale - (expected[axis] as number)) < 30, `${box} in ${file}`)
  }
})

t.test('--draw draws the boxes: on one picture, or on several in a folder', async (t) => {
  const { folder, portrait, env } = await workplace(t)
  const out = join(folder, 'out.png')
  const { status, stdout } = await sightline(t, ['detect', portrait, '--draw', out], env)
  t.equal(status, 0)
  const [{ box }] = JSON.parse(stdout).faces
  const at = async (file: string, x: number, y: number) => [
    ...(await sharp(file).removeAlpha().extract({ left: x, top: y, width: 1, height: 1 }).raw().toBuffer()),
  ]
  const edge = [Math.round(box[0]), Math.round(box[1] + box[3] / 2)] as const
  const [red = 0, green = 0, blue = 0] = await at(out, ...edge)
  t.ok(green > 200 && red < 100 && blue < 200, `the box is green at its edge: ${red} ${green} ${blue}`)
  t.same(await at(out, 5, 5), await at(portrait, 5, 5), 'the rest is as it was')

  const second = join(folder, 'second.jpg')
  await sharp(portrait).jpeg().toFile(second)
  const many = join(folder, 'drawn')
  t.equal((await sightline(t, ['detect', portrait, second, '--draw', many], env)).status, 0)
  t.ok(existsSync(join(many, 'portrait.png')) && existsSync(join(many, 'second.jpg')))

  const before = readFileSync(portrait)
  t.match(await sightline(t, ['detect', portrait, '--draw', portrait], env), { status: 64, code: 'USAGE' })
  for (const args of [
    [portrait, '--draw', folder],
    [portrait, second, '--draw', out],
  ])
    await t.rejects(detect.run(args), { code: 'USAGE' }, args.join(' '))
  t.ok(readFileSync(portrait).equals(before), 'no picture is drawn over itself')
})

t.test('--crops cuts faces out as the device does, ready to be sorted by label', async (t) => {
  const { folder, portrait, env } = await workplace(t)
  const out = join(folder, 'crops')
  const { status, stdout } = await sightline(t, ['detect', portrait, '--crops', out], env)
  t.equal(status, 0)
  const { faces, crops } = JSON.parse(stdout)
  t.same(crops, [join(out, 'portrait-0.jpg')])
  const bytes = readFileSync(crops[0])
  const reading = readCrop(bytes)
  t.match(reading, {
    crop: { camera: 'photos', file: 'portrait.png', frame: [480, 360], model: 'blazeface', box: faces[0].box },
  })
  const { width, height } = await sharp(bytes).metadata()
  t.ok('crop' in reading)
  if ('crop' in reading) t.same([width, height], reading.crop.region.slice(2), 'the face and its margin')
  const twin = join(folder, 'twin', 'portrait.jpg')
  await t.rejects(detect.run([portrait, twin, '--crops', out]), { code: 'USAGE', message: /portrait-0\.jpg/ })
  await t.rejects(detect.run(['bench', '--crops', out]), { code: 'USAGE' })
  const taken = join(portrait, 'crops')
  await t.rejects(detect.run([portrait, '--crops', taken]), { code: 'FOLDER_UNWRITABLE' })
})

t.test('pictures that cannot be read are named, and the others are looked at', async (t) => {
  const { folder, portrait, env } = await workplace(t)
  const file = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }
  const whole = await sharp(portrait).jpeg().toBuffer()
  const huge = join(folder, 'huge.png')
  await sharp({
    create: { width: 30_000, height: 30_000, channels: 3, background: '#fff' },
    limitInputPixels: false,
  })
    .png({ compressionLevel: 1 })
    .toFile(huge)
  const bad: [string, RegExp][] = [
    [file('empty.jpg', ''), /empty\.jpg is empty/],
    [file('text.jpg', 'no picture'), /text\.jpg is not a supported picture/],
    [
      file('torn.jpg', whole.subarray(0, whole.length / 2)),
      /torn\.jpg is not a readable picture, or it is damaged/,
    ],
    [huge, /huge\.png has 30000 x 30000 pixels; the limit is 64 million/],
    [join(folder, 'none.jpg'), /none\.jpg does not exist/],
    [folder, /is a folder/],
  ]
  const { status, stdout, stderr } = await sightline(
    t,
    ['detect', ...bad.map(([path]) => path), portrait],
    env,
  )
  const told = stderr.trim().split('\n')
  t.equal(told.length, bad.length)
  for (const [at, [, sentence]] of bad.entries()) t.match(told[at], sentence)
  t.equal(status, 65, 'the first one’s')
  t.equal(JSON.parse(stdout).faces.length, 1, 'the one that is a picture is looked at')
  // Long and thin it may be.
  const thin = join(folder, 'thin.png')
  await sharp({ create: { width: 30_000, height: 2, channels: 3, background: '#fff' } })
    .png()
    .toFile(thin)
  t.match(await sightline(t, ['detect', thin], env), { status: 0, stdout: /"faces":\[\]/ })
})

t.test('eval says recall, precision and average precision', async (t) => {
  const { folder, portrait, env } = await workplace(t)
  const photos = join(folder, 'photos')
  mkdirSync(photos)
  await sharp(portrait).toFile(join(photos, 'a.png'))
  await sharp(portrait).flop().toFile(join(photos, 'b.png'))
  const evaluate = (...more: string[]) => sightline(t, ['detect', 'eval', photos, ...more], env)
  const refused = (expected: { code: string; message: RegExp }) =>
    t.rejects(evaluateFolder(photos, {}, 0.4, true), expected)
  await refused({ code: 'SOURCE_NOT_FOUND', message: /boxes\.json does not exist/ })
  const boxes = (content: unknown) => writeFileSync(join(photos, 'boxes.json'), JSON.stringify(content))
  boxes({ 'a.png': [[1, 2, 3]] })
  await refused({ code: 'SOURCE_UNREADABLE', message: /boxes\.json must be JSON of the form/ })
  boxes({ '../portrait.png': [] })
  await refused({ code: 'SOURCE_UNREADABLE', message: /outside its folder/ })
  boxes({ 'c.png': [FACE] })
  t.match(await evaluate(), { status: 66, code: 'SOURCE_NOT_FOUND', sentence: /c\.png does not exist/ })

  // One of three faces is where nothing is, and one picture's face is not labelled.
  boxes({ 'a.png': [FACE, [0, 0, 20, 20]], 'b.png': [] })
  const { stdout, status } = await evaluate()
  t.equal(status, 0)
  t.match(stdout, /^recall +0\.500 +1 found, 1 missed$/m)
  t.match(stdout, /^precision +0\.500 +1 detections without a labelled face$/m)
  boxes({ 'a.png': [FACE], 'b.png': [FACE] })
  t.match(JSON.parse((await evaluate('--json')).stdout), {
    model: 'blazeface',
    photos: 2,
    faces: 2,
    recall: 1,
    precision: 1,
    averagePrecision: 1,
    scoreMin: 0.6,
  })
  t.match(JSON.parse((await evaluate('--json', '--score-min', '0.99')).stdout), {
    recall: 0,
    averagePrecision: 1,
  })
  t.match(JSON.parse((await evaluate('--json', '--iou', '0.99')).stdout), { recall: 0, iou: 0.99 })
})

t.test(
  'bench times every provider, remembers the verdict, and says how much is not the network',
  async (t) => {
    const { env } = await workplace(t)
    const { status, stdout, stderr } = await sightline(t, ['detect', 'bench'], env)
    t.match({ status, stderr }, { status: 0, stderr: '' })
    const rows = [...stdout.matchAll(/^cpu +\d+ +(\d+\.\d\d) +(\d+\.\d\d)/gm)]
    t.ok(rows.length > 0)
    for (const [row, network, detection] of rows)
      t.ok(Number(network) <= Number(detection), `no detection takes less than its network: ${row}`)
    t.equal(stdout.match(/taken$/gm)?.length, 1)
    t.match(
      stdout,
      /^A detection takes \d+\.\d\d ms .*, of which the network takes \d+\.\d\d ms; \d+ % is not the network\.$/m,
    )
    const json = JSON.parse(
      (await sightline(t, ['detect', 'bench', '--input', '320x320', '--json'], env)).stdout,
    )
    t.match(json, { head: 'blazeface', input: { width: 320, height: 320 } })
    t.ok(json.networkMs < json.detectMs)
    t.equal(json.networkMs, json.fastest.ms, 'the row that is taken is what was measured')
    t.ok(json.beyondNetwork < 0.25, `${(json.beyondNetwork * 100).toFixed(0)} % at 320`)
    const tfjs = await sightline(t, ['detect', 'bench', '--runtime', 'tfjs'], env)
    t.match(tfjs, { status: 0, stdout: /on TensorFlow\.js/ })
  },
)

const YUNET = 'models/yunet_n_320_320.onnx'
t.test(
  'at 320 at most a quarter of a detection is not the network',
  { skip: sharedData(YUNET) ? false : 'the shared test data has no models' },
  async (t) => {
    const { env } = await workplace(t)
    const args = ['detect', 'bench', '--model', sharedData(YUNET) as string, '--json']
    const { beyondNetwork } = JSON.parse((await sightline(t, args, env)).stdout)
    t.ok(beyondNetwork < 0.25, `${(beyondNetwork * 100).toFixed(0)} %`)
  },
)

t.test('wrong use is told', async (t) => {
  const { portrait, env } = await workplace(t)
  for (const args of [
    [],
    ['eval'],
    ['bench', 'x'],
    ['bench', '--draw', 'x'],
    [portrait, '--iou', '0.5'],
    [portrait, '--score-min', 'much'],
    [portrait, '--input', 'large'],
  ])
    await t.rejects(detect.run(args), { code: 'USAGE' }, args.join(' '))
  t.match(await sightline(t, ['detect', portrait, '--runtime', 'caffe'], env), {
    status: 78,
    code: 'CONFIG_INVALID',
  })
  t.match(await sightline(t, ['detect', portrait, '--provider', 'coreml'], env), {
    status: process.platform === 'darwin' ? 0 : 69,
  })
  t.match(await sightline(t, ['detect', portrait, '--model', portrait], env), {
    status: 65,
    code: 'MODEL_UNUSABLE',
  })
})
