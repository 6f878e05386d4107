import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { evaluateFolder } from '../../commands/detect/eval.ts'
import { classifierIn } from '../../commands/models/classifier.ts'
import { judgeLabels } from '../../device/process/judge.ts'
import { readCatalog } from '../../models/catalog.ts'
import { writeCrop } from '../../wire/crop.ts'
import { type Test, temporaryFolder } from '../kit/programs.ts'
import { COLOURS, kept, tinyModel } from '../process/tiny-models.ts'
import { sightline } from './sightline.ts'

const LABELS = ['red', 'green', 'blue']

const picture = (file: string, background: string) =>
  sharp({ create: { width: 40, height: 40, channels: 3, background } })
    .png()
    .toFile(file)

/** A folder for models with a classifier of colours, and one of labelled crops. */
function workplace(t: Test, labels = LABELS) {
  const folder = temporaryFolder(t)
  const modelFolder = join(folder, 'models')
  const bytes = tinyModel(COLOURS)
  kept(modelFolder, {
    colours: { bytes, entry: { classify: { labels, threshold: 0.6 }, input: { width: 8, height: 8 } } },
    tight: { bytes, entry: { classify: { labels, margin: 0 } } },
  })
  const crops = join(folder, 'crops')
  for (const label of labels) mkdirSync(join(crops, label), { recursive: true })
  return { folder, crops, modelFolder, env: { SIGHTLINE_DETECT__MODEL_FOLDER: modelFolder } }
}

t.test('how often a classifier is right, what it confuses, and what a threshold costs', async (t) => {
  const { crops, env } = workplace(t)
  for (const [file, colour] of Object.entries({
    'red/1.png': '#c81414',
    'red/2.png': '#c81414',
    'red/wrong.png': '#1414c8',
    'red/unsure.png': '#807f7f',
    'blue/1.png': '#1414c8',
    'blue/2.png': '#1414c8',
  }))
    await picture(join(crops, file), colour)
  writeFileSync(join(crops, 'blue', 'notes.txt'), 'not a picture')
  writeFileSync(
    join(crops, 'blue', 'cut.png'),
    (
      await sharp({ create: { width: 99, height: 99, channels: 3, background: 'red' } })
        .png()
        .toBuffer()
    ).subarray(0, 60),
  )
  writeFileSync(join(crops, 'blue', '.DS_Store'), 'hidden')
  writeFileSync(join(crops, 'README'), 'beside the folders')
  const args = ['detect', 'eval', crops, '--model', 'colours']
  const text = await sightline(t, args, env)
  t.equal(text.status, 0)
  t.match(text.stdout, /^colours@[0-9a-f]{12}, 8x8 \(stretch\), score at least 0\.6\n/)
  t.match(text.stdout, /^6 crops, 2 files passed over$/m)
  t.match(text.stdout, /^accuracy {2}0\.667 {3}4 right, 1 wrong, 1 not sure$/m)
  t.match(text.stdout, /^red +4 +0\.500 +1\.000$/m)
  t.match(text.stdout, /^green +0 +- +-$/m)
  t.match(text.stdout, /^blue +2 +1\.000 +0\.667$/m)
  t.match(text.stdout, /^is \\ told +red +green +blue +not sure$/m)
  t.match(text.stdout, /^red +2 +0 +1 +1$/m)
  t.match(text.stdout, /^0\.60 +4 +1 +1 +0\.800 +set$/m)
  for (const line of text.stdout.split('\n')) t.ok(line.length <= 80, `${line.length} columns: ${line}`)
  t.match(text.stderr, /notes\.txt is not a supported picture.*Passed over\./)
  t.match(text.stderr, /cut\.png is damaged, or cannot be read\. Passed over\./)
  const json = await sightline(t, [...args, '--json', '--score-min', '0.3'], env)
  t.match(JSON.parse(json.stdout), {
    scoreMin: 0.3,
    crops: 6,
    accuracy: 0.833,
    confusion: [{ is: 'red', said: [3, 0, 1, 0] }, {}, { is: 'blue', said: [0, 0, 2, 0] }],
    passedOver: [/cut\.png$/, /notes\.txt$/],
  })
})

t.test('a crop of Sightline’s says where the face is: a tight model sees that alone', async (t) => {
  const { crops, env } = workplace(t)
  const inner = await sharp({ create: { width: 20, height: 20, channels: 3, background: '#c81414' } })
    .png()
    .toBuffer()
  const jpeg = await sharp({ create: { width: 80, height: 80, channels: 3, background: '#1414c8' } })
    .composite([{ input: inner, left: 30, top: 30 }])
    .jpeg({ quality: 100 })
    .toBuffer()
  const metadata = {
    ...{ v: 1, id: '01932f3e-7b4a-7c00-8000-000000000001', site: 'home', device: 'd', camera: 'c' },
    ...{ capturedAtMs: 1, clockSane: true, score: 0.9, model: 'm', frame: [640, 480] },
    box: [130, 230, 20, 20],
    region: [100, 200, 80, 80],
  } as const
  writeFileSync(join(crops, 'red', 'a.jpg'), writeCrop(jpeg, metadata as never))
  const evaluated = async (model: string) =>
    JSON.parse((await sightline(t, ['detect', 'eval', crops, '--model', model, '--json'], env)).stdout)
      .accuracy
  t.equal(await evaluated('tight'), 1)
  t.equal(await evaluated('colours'), 0, 'which the whole of it is not')
})

t.test('what cannot be evaluated is a sentence', async (t) => {
  const { folder, crops, modelFolder } = workplace(t)
  const config = join(folder, 'device.yaml')
  writeFileSync(config, JSON.stringify({ detect: { modelFolder } }))
  const evaluated = (where: string, iou?: number) =>
    evaluateFolder(where, { config, model: 'colours' }, iou, false)
  await t.rejects(evaluated(join(folder, 'gone')), {
    code: 'SOURCE_NOT_FOUND',
    message: /folders named like the labels \(red, green, blue\)/,
  })
  await t.rejects(evaluated(crops), { code: 'SOURCE_UNREADABLE', message: /has no pictures/ })
  await t.rejects(evaluated(crops, 0.3), { code: 'USAGE' })
  for (const chosen of [{ input: { width: 9, height: 9 } }, { runtime: 'tfjs' }, { provider: 'cuda' }])
    await t.rejects(evaluateFolder(crops, { config, model: 'colours', ...chosen }, undefined, false), {
      code: 'USAGE',
      message: /^--(input|runtime|provider) is for detectors/,
    })
  await t.rejects(evaluateFolder(crops, { config, model: 'blazeface' }, undefined, false), {
    code: 'SOURCE_NOT_FOUND',
    message: /boxes\.json does not exist.*A classifier needs none/,
  })
  mkdirSync(join(crops, 'purple'))
  await t.rejects(evaluated(crops), {
    code: 'SOURCE_UNREADABLE',
    message: /a folder "purple", which is no label of this model.*red, green, blue/,
  })
  await t.rejects(evaluated(modelFolder), { code: 'SOURCE_UNREADABLE', message: /has no folders/ })
  await t.rejects(evaluated(config), { message: /is not a folder/ })
})

t.test('many labels: their worst confusions, within 80 columns', async (t) => {
  const labels = Array.from(
    { length: 40 },
    (_, at) => `label ${at} with a name that is too long for any table`,
  )
  const judged = labels.map((is, at) => ({ is, said: { label: labels[(at + 1) % 40] ?? '', score: 0.9 } }))
  const { right, wrong, confusion } = judgeLabels(judged, labels, 0.5)
  t.match({ right, wrong }, { right: 0, wrong: 40 })
  t.equal(confusion.length, 40)
  t.same(judgeLabels([], labels, 0.5).accuracy, 0)
})

t.test('import makes an entry of a classifier; what was not said is found out', async (t) => {
  const { folder, modelFolder, crops, env } = workplace(t)
  const file = join(folder, 'Mine.onnx')
  writeFileSync(file, tinyModel(COLOURS))
  const imported = (...more: string[]) => sightline(t, ['models', 'import', file, ...more], env)
  t.match(await imported('--labels', 'red, green, blue', '--licence', 'my own'), {
    status: 0,
    stdout: /^mine \(classifier, 8x8\) is in .*Use it: "process: \[\{ name: mine, model: mine \}\]"/,
  })
  await picture(join(crops, 'red', 'a.png'), '#c81414')
  const { stdout } = await sightline(t, ['detect', 'eval', crops, '--model', 'mine', '--json'], env)
  t.equal(JSON.parse(stdout).accuracy, 1)
  t.match(await sightline(t, ['models', 'info', 'mine'], env), {
    stdout: /kind {6}classifier\nlabels {4}red, green, blue\nscore {5}at least 0\.5\n/,
  })
  t.match(await sightline(t, ['models', 'list'], env), {
    stdout: /^mine +8x8 .* downloaded +red, green, blue$/m,
  })
  const straight = join(folder, 'straight.onnx')
  writeFileSync(straight, tinyModel({ nodes: [{ operator: 'Softmax', inputs: ['means'], output: 'out' }] }))
  copyFileSync(straight, file)
  await imported(
    '--name',
    'soft',
    '--labels',
    'a,b,c',
    '--mean',
    '123.7,116.3,103.5',
    '--scale',
    '0.017',
    '--channels',
    'bgr',
  )
  t.match(JSON.parse((await sightline(t, ['models', 'info', 'soft', '--json'], env)).stdout).classify, {
    activation: 'none',
    channels: 'bgr',
    mean: [123.7, 116.3, 103.5],
    scale: 0.017,
  })
  for (const [labels, told, code, message] of [
    ['a,b', {}, 'MODEL_UNUSABLE', /3 numbers, but 2 labels are given: a, b/],
    ['a,,c', {}, 'USAGE', /--labels needs names with commas between them.*not "a,,c"/],
    ['a,b,c', { input: '9x9' }, 'MODEL_UNUSABLE', /pictures of 8x8, not 9x9\. Correct "input" \(import: --input\)/],
    ['a,b,b', {}, 'USAGE', /--labels: must not list a label twice/],
    ['a,b,c', { activation: 'softmax' }, 'USAGE', /gives probabilities already/],
    ['a,b,c', { activation: 'relu' }, 'USAGE', /--activation/],
    ['a,b,c', { mean: 'x' }, 'USAGE', /--mean needs a number/],
    ['a,b,c', { head: 'yunet' }, 'USAGE', /--head is for detectors/],
    ['a,\u001b[31m,c', {}, 'USAGE', /--labels/],
  ] as const)
    await t.rejects(classifierIn(file, labels, told), { code, message }, message.source)
  t.match(await imported('--name', 'wrong', '--mean', '1'), {
    code: 'USAGE',
    sentence: /--mean is for classifiers/,
  })
  t.match(await imported('--name', 'wrong'), {
    code: 'MODEL_UNUSABLE',
    sentence: /For a classifier, give its labels: --labels A,B\.$/,
  })
  t.notOk(readCatalog(modelFolder).entries.has('wrong'))
})
