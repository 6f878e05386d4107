import { createHash } from 'node:crypto'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import type { ProcessorConfig } from '../../device/config.ts'
import { openDetector } from '../../device/detect/open.ts'
import { type ClassifierOptions, openClassifier } from '../../device/process/classifier.ts'
import { openProcessor } from '../../device/process/open.ts'
import { openLog } from '../../lib/log.ts'
import { classifySchema } from '../../models/catalog.ts'
import { classifierHead, guessActivation } from '../../models/classify.ts'
import { MODEL_BYTES_MAX } from '../../models/limits.ts'
import { attributesSchema } from '../../wire/attributes.ts'
import { PORTRAIT } from '../detect/pictures.ts'
import { sharedData } from '../kit/data.ts'
import {
  COLOURS,
  crop,
  FEWER_AT_A_QUARTER,
  kept,
  NAN_AT_A_QUARTER,
  number,
  SIDE,
  tinyModel,
} from './tiny-models.ts'

const LABELS = ['red', 'green', 'blue']
const RED = [200, 20, 20] as const
const BLUE = [20, 20, 200] as const

const processor = (model: string, more: Partial<ProcessorConfig> = {}): ProcessorConfig => ({
  ...{ name: 'colour', model, timeout: 2000, waitingMax: 16 },
  ...more,
})
type Detect = Parameters<typeof openProcessor>[1]
const LOG = openLog('test', 'silent')

t.test('a classifier says the best label, by its name and its file', async (t) => {
  const bytes = tinyModel(COLOURS)
  const detect = kept(t.testdir(), { colours: { bytes, entry: { classify: { labels: LABELS } } } })
  await using colours = await openProcessor(processor('colours'), detect as Detect, LOG)
  const by = `colours@${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}`
  t.match(colours, { name: 'colour', by })
  const said = await colours.attributes?.(crop(RED))
  t.match(said, [{ name: 'colour', label: 'red', by }])
  t.ok((said?.[0]?.score ?? 0) > 0.9)
  t.doesNotThrow(() => attributesSchema.parse(said))
  t.match(await colours.attributes?.(crop(BLUE)), [{ label: 'blue' }])
  t.match(
    await Promise.all([RED, BLUE, RED].map((it) => colours.attributes?.(crop(it)))),
    [[{ label: 'red' }], [{ label: 'blue' }], [{ label: 'red' }]],
    'each of several at a time gets its own',
  )
})

t.test('what scores too little is not said', async (t) => {
  const detect = kept(t.testdir(), {
    colours: { bytes: tinyModel(COLOURS), entry: { classify: { labels: LABELS, threshold: 0.8 } } },
  })
  const grey = crop([100, 100, 110])
  await using colours = await openProcessor(processor('colours'), detect as Detect, LOG)
  t.strictSame(await colours.attributes?.(grey), [], 'as the entry says')
  await using bold = await openProcessor(processor('colours', { scoreMin: 0.1 }), detect as Detect, LOG)
  t.match(await bold.attributes?.(grey), [{ label: 'blue' }], 'or as the processor does')
})

t.test('order of colours, layout, mean and scale are the entry’s', async (t) => {
  const classify = { labels: LABELS, activation: 'none' }
  const straight = { nodes: [{ operator: 'Identity', inputs: ['means'], output: 'out' }] }
  const detect = kept(t.testdir(), {
    planes: { bytes: tinyModel(straight), entry: { classify } },
    rows: { bytes: tinyModel({ ...straight, layout: 'nhwc' }), entry: { classify } },
    swapped: { bytes: tinyModel(straight), entry: { classify: { ...classify, channels: 'bgr' } } },
    shifted: {
      bytes: tinyModel(straight),
      entry: { classify: { ...classify, mean: [255, 0, 0], scale: [-1 / 255, 1 / 255, 1 / 510] } },
    },
  })
  const scores = async (model: string, rgb: readonly [number, number, number]) => {
    await using it = await openClassifier({ model, ...detect })
    return await it.look({ data: crop(rgb).rgb, width: 40, height: 40 })
  }
  const near = (score: number) => Math.round(score * 1000) / 1000
  const planes = await scores('planes', [204, 51, 0])
  t.match({ ...planes, score: near(planes?.score ?? 0) }, { label: 'red', score: 0.8 })
  t.match(await scores('rows', [204, 51, 0]), { label: 'red' })
  t.match(await scores('swapped', [204, 51, 0]), { label: 'blue' }, 'its first channel is blue')
  const { label, score } = (await scores('shifted', [51, 0, 255])) ?? { label: '', score: 0 }
  t.match(
    { label, score: near(score) },
    { label: 'red', score: 0.8 },
    '(51 - 255) * -1/255, against 0.5 of blue',
  )
})

t.test('margin: a model that was trained on tight faces sees tight faces', async (t) => {
  const entry = (margin?: number, fit?: string) => ({ classify: { labels: LABELS, margin, fit } })
  const bytes = tinyModel(COLOURS)
  const detect = kept(t.testdir(), {
    whole: { bytes, entry: entry() },
    tight: { bytes, entry: entry(0) },
    wide: { bytes, entry: entry(4) },
  })
  for (const [model, label] of [
    ['whole', 'blue'],
    ['tight', 'red'],
    ['wide', 'blue'],
  ] as const) {
    await using it = await openProcessor(processor(model), detect as Detect, LOG)
    const pixels = crop(BLUE, RED)
    const before = Buffer.from(pixels.rgb)
    t.match(await it.attributes?.(pixels), [{ label }], model)
    t.ok(before.equals(pixels.rgb), 'the crop is as it was: it is yet to be published')
  }
})

t.test('one number tells two labels', async (t) => {
  const nodes = [
    { operator: 'Sub', inputs: ['means', 'half'], output: 'from' },
    { operator: 'Mul', inputs: ['from', 'ten'], output: 'scaled' },
    { operator: 'ReduceMax', inputs: ['scaled'], output: 'out', attributes: { axes: [1], keepdims: 1 } },
  ]
  const bytes = tinyModel({ nodes, constants: [number('half', 0.5), number('ten', 10)], output: [1, 1] })
  const classify = { labels: ['dark', 'bright'], activation: 'sigmoid' }
  const detect = kept(t.testdir(), {
    light: { bytes, entry: { classify } },
    three: { bytes, entry: { classify: { ...classify, labels: LABELS } } },
    soft: { bytes, entry: { classify: { ...classify, activation: 'softmax' } } },
  })
  await using light = await openProcessor(processor('light'), detect as Detect, LOG)
  t.match(await light.attributes?.(crop([255, 255, 255])), [{ label: 'bright', score: 0.993 }])
  t.match(await light.attributes?.(crop([0, 0, 0])), [{ label: 'dark', score: 0.993 }])
  for (const model of ['three', 'soft'])
    await t.rejects(openClassifier({ model, ...detect }), {
      code: 'MODEL_UNUSABLE',
      message: /is one number, which needs two labels and "activation: sigmoid"/,
    })
})

t.test('an entry that does not fit its file is a sentence when it is opened', async (t) => {
  const colours = tinyModel(COLOURS)
  const classify = { labels: LABELS }
  const straight = tinyModel({ nodes: [{ operator: 'Softmax', inputs: ['means'], output: 'out' }] })
  const free = tinyModel({ ...COLOURS, input: [1, 3, 'height', 'width'] })
  const cases: Record<string, [{ bytes: Buffer; entry: object }, RegExp]> = {
    'too-few': [
      { bytes: colours, entry: { classify: { labels: ['red', 'green'] } } },
      /out float32\[1 x 3\] has 3 numbers, but 2 labels are given: red, green\. List one for each/,
    ],
    twice: [{ bytes: straight, entry: { classify } }, /probabilities already: "activation" must be none/],
    raw: [
      { bytes: colours, entry: { classify: { ...classify, activation: 'none' } } },
      /not 0 to 1 as "activation: none" says/,
    ],
    unknown: [
      { bytes: colours, entry: { classify: { ...classify, output: 'logits' } } },
      /no output logits \(it has out float32\[1 x 3\]\)/,
    ],
    free: [{ bytes: free, entry: { classify } }, /its input size is free. Say which .*"input: \{ width, height \}"/],
    huge: [
      { bytes: free, entry: { classify, input: { width: 50_000, height: 50_000 } } },
      /input of 50000x50000 is larger than 2048 pixels a side/,
    ],
    other: [
      { bytes: colours, entry: { classify, input: { width: 9, height: 9 } } },
      /takes pictures of 8x8, not 9x9/,
    ],
    layout: [
      { bytes: colours, entry: { classify: { ...classify, layout: 'nhwc' } } },
      /has 8 channels as nhwc; pictures have 3/,
    ],
    shape: [
      { bytes: colours, entry: { classify, outputs: [{ name: 'out', type: 'float32', shape: [1, 4] }] } },
      /not what its catalogue entry says: the output out float32\[1 x 4\] is out float32\[1 x 3\]/,
    ],
    type: [
      { bytes: colours, entry: { classify, inputs: [{ name: 'in', type: 'uint8', shape: [1, 3, 8, 8] }] } },
      /the input in uint8\[1 x 3 x 8 x 8\] is in float32/,
    ],
    name: [
      { bytes: colours, entry: { classify, inputs: [{ name: 'x', type: 'float32', shape: [1, 3, 8, 8] }] } },
      /the input x float32\[1 x 3 x 8 x 8\] is missing \(it has in float32/,
    ],
    nan: [
      {
        bytes: tinyModel({
          constants: [number('zero', 0)],
          nodes: [
            { operator: 'Mul', inputs: ['means', 'zero'], output: 'nothing' },
            { operator: 'Div', inputs: ['nothing', 'zero'], output: 'out' },
          ],
        }),
        entry: { classify },
      },
      /the output out is not a number/,
    ],
    garbage: [
      { bytes: Buffer.from('no model'), entry: { classify } },
      /is not a model that ONNX Runtime can load/,
    ],
  }
  const folder = t.testdir()
  const detect = kept(folder, Object.fromEntries(Object.entries(cases).map(([name, [it]]) => [name, it])))
  for (const [model, [, message]] of Object.entries(cases))
    await t.rejects(openClassifier({ model, ...detect }), { code: 'MODEL_UNUSABLE', message }, model)
})

t.test('a file that is not what the catalogue means, is missing, or is far too large', async (t) => {
  const folder = t.testdir()
  const entry = { classify: { labels: LABELS } }
  const bytes = tinyModel(COLOURS)
  const detect = kept(folder, { changed: { bytes, entry }, huge: { bytes, entry } })
  writeFileSync(join(folder, 'changed.onnx'), tinyModel({ ...COLOURS, constants: [number('ten', 11)] }))
  truncateSync(join(folder, 'huge.onnx'), MODEL_BYTES_MAX + 1)
  const opening = (model: string) => openClassifier({ model, ...detect })
  await t.rejects(opening('changed'), { code: 'CHECKSUM_WRONG' })
  await t.rejects(opening('huge'), { code: 'MODEL_UNUSABLE', message: /the limit is/ })
  await t.rejects(opening('gone'), { code: 'MODEL_NOT_FOUND', message: /Unknown model "gone"/ })
})

t.test('a detector that knows no masks is no classifier, and a classifier is no detector', async (t) => {
  const modelFolder = t.testdir()
  await t.rejects(openClassifier({ model: 'blazeface', modelFolder }), {
    code: 'MODEL_UNUSABLE',
    message: /blazeface finds faces, but says nothing of them/,
  })
  await t.rejects(openDetector({ model: 'liveness', modelFolder }), {
    code: 'MODEL_UNUSABLE',
    message: /is a classifier, not a face detector\. Name it under "process"/,
  })
  const file = join(modelFolder, 'colours.onnx')
  writeFileSync(file, tinyModel(COLOURS))
  await t.rejects(openClassifier({ model: file, modelFolder }), {
    code: 'MODEL_UNUSABLE',
    message: /no catalogue entry with "classify".*sightline models import FILE --labels/,
  })
})

t.test('an answer that is none is no attribute, and the next crop has its own', async (t) => {
  const QUARTER = [64, 64, 64] as const
  const classify = { labels: LABELS, threshold: 0 }
  const detect = kept(t.testdir(), {
    nan: { bytes: tinyModel(NAN_AT_A_QUARTER), entry: { classify } },
    fewer: { bytes: tinyModel(FEWER_AT_A_QUARTER), entry: { classify } },
  })
  for (const [model, message] of [
    ['nan', /answer of the model nan is none: the output out is not a number/],
    ['fewer', /answer of the model fewer is none: .*out is \[0\] for 1 picture, which is not 3 numbers each/],
  ] as const) {
    await using it = await openProcessor(processor(model), detect as Detect, LOG)
    t.equal((await it.attributes?.(crop([255, 128, 128])))?.length, 1)
    await t.rejects(async () => void (await it.attributes?.(crop(QUARTER))), {
      code: 'INFERENCE_WRONG',
      message,
    })
    t.match(await it.attributes?.(crop([255, 128, 128])), [{ label: 'red' }])
  }
})

t.test('outputs of another type are no scores', (t) => {
  const input = { name: 'in', type: 'float32', shape: [1, 3, SIDE, SIDE] }
  const output = { name: 'out', type: 'float32', shape: ['batch', 2] }
  const classify = classifySchema.parse({ labels: ['no', 'yes'] })
  const head = classifierHead({ inputs: [input], outputs: [output] }, classify, undefined, 'it')
  const integers = { type: 'int64', shape: [1, 2], data: BigInt64Array.of(1n, 2n) } as const
  t.throws(() => head.decode(new Map([['out', integers]]), 1), /out is int64, not float32/)
  t.throws(() => head.decode(new Map(), 1), /out is missing/)
  const two = { type: 'float32', shape: [2, 2], data: Float32Array.of(0, 9, 9, 0) } as const
  t.same(
    head.decode(new Map([['out', two]]), 2).map(([, yes]) => Math.round(yes ?? NaN)),
    [1, 0],
  )
  for (const bad of [
    { ...output, type: 'int64' },
    { ...output, shape: ['batch', 3] },
  ])
    t.throws(() => classifierHead({ inputs: [input], outputs: [bad] }, classify, undefined, 'it'), {
      code: 'MODEL_UNUSABLE',
    })
  t.equal(guessActivation([Float32Array.of(0.2, 0.8), Float32Array.of(1, 0)]), 'none')
  t.equal(guessActivation([Float32Array.of(0.2, 0.9), Float32Array.of(1, 0)]), 'softmax')
  t.equal(guessActivation([Float32Array.of(-2)]), 'sigmoid')
  t.end()
})

/** The drawn face, cut as a crop is. */
async function portrait() {
  const { data } = await sharp(PORTRAIT)
    .extract({ left: 120, top: 60, width: 240, height: 260 })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data, width: 240, height: 260 }
}

t.test('liveness and antispoof come with npm, and are kept once they are made', async (t) => {
  const modelFolder = t.testdir()
  for (const model of ['liveness', 'antispoof']) {
    for (const _ of [1, 2]) {
      await using it = await openClassifier({ model, modelFolder })
      t.match(it, { by: new RegExp(`^${model}@[0-9a-f]{12}$`), labels: ['fake', 'real'] })
      const said = await it.look(await portrait())
      t.ok(said && said.score >= 0.5 && said.score <= 1, `${said?.label} ${said?.score}`)
    }
  }
})

t.test('UltraFace says who wears a mask, on the crop', async (t) => {
  const model = sharedData('models/ultraface-RFB-640-masked_face-v2.onnx')
  const masked = sharedData('photos/mask/linzaer-mask-img2.jpeg')
  const bare = sharedData('photos/single/obama.jpg')
  if (!model || !masked || !bare) return t.pass('left out, for want of test data')
  const options: ClassifierOptions = { model, modelFolder: t.testdir() }
  await using mask = await openClassifier(options)
  await using faces = await openDetector({ model, threads: 1 })
  for (const [photo, label] of [
    [masked, 'with mask'],
    [bare, 'without mask'],
  ] as const) {
    const { width = 0, height = 0 } = await sharp(photo).metadata()
    const scaled = await sharp(photo).resize(640, 480, { fit: 'fill' }).raw().toBuffer()
    const [face] = await faces.detect({ data: scaled, width: 640, height: 480 })
    const [x, y, w, h] = face?.box ?? [0, 0, 0, 0]
    const [across, down] = [width / 640, height / 480]
    const left = Math.max(0, Math.round((x - w / 4) * across))
    const top = Math.max(0, Math.round((y - h / 4) * down))
    const size = {
      width: Math.min(width - left, Math.round(w * 1.5 * across)),
      height: Math.min(height - top, Math.round(h * 1.5 * down)),
    }
    const data = await sharp(photo)
      .extract({ left, top, ...size })
      .raw()
      .toBuffer()
    t.match(await mask.look({ data, ...size }), { label })
  }
  t.equal(
    await mask.look({ data: new Uint8Array(100 * 100 * 3), width: 100, height: 100 }),
    undefined,
    'nothing where it finds no face',
  )
})

t.test(
  'one that is ended while it looks takes nothing with it: what it was asked fails, and it is over',
  async (t) => {
    const model = sharedData('models/ultraface-RFB-640-masked_face-v2.onnx') ?? 'antispoof'
    const detect = { modelFolder: t.testdir() }
    const it = await openProcessor(processor(model), detect as Detect, LOG)
    const asked = Array.from({ length: 4 }, async () => await it.attributes?.(crop(RED)))
    const failed = Promise.allSettled(asked)
    await it.kill?.(new Error('it is late'))
    t.match(
      (await failed).map(({ status }) => status),
      ['rejected', 'rejected', 'rejected', 'rejected'],
    )
    t.match(await it.ended, { message: 'it is late' })
    await t.rejects(async () => void (await it.attributes?.(crop(RED))), { message: 'it is late' })
    await it[Symbol.asyncDispose]()
  },
)
