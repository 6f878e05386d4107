import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type HeadName, openDetector } from '../../device/detect/open.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { convertBlazeface } from '../../models/convert.ts'
import { encodeOnnx } from '../../models/onnx-file.ts'
import { fitted, PORTRAIT } from './pictures.ts'

const folder = t.testdir({ 'text.onnx': 'this is no model', 'empty.onnx': '', folder: {} })
const file = (name: string, bytes?: Uint8Array) => {
  const path = join(folder, name)
  if (bytes) writeFileSync(path, bytes)
  return path
}

for (const [kind, open] of Object.entries({ openDetector, openDetectorThread })) {
  t.test(`${kind}: a missing model is named, and what to give instead`, async (t) => {
    const missing = file('missing.onnx')
    await t.rejects(open({ model: missing }), { code: 'MODEL_NOT_FOUND', message: missing })
    await t.rejects(open({ model: missing }), { message: /Give the path of an ONNX file, or "blazeface"/ })
    await t.rejects(open({ model: file('folder') }), { code: 'MODEL_NOT_FOUND', message: /is a folder/ })
  })

  t.test(`${kind}: a file that is no ONNX model is named`, async (t) => {
    for (const name of ['text.onnx', 'empty.onnx'])
      await t.rejects(open({ model: file(name) }), { code: 'MODEL_UNUSABLE', message: file(name) })
    const whole = await convertBlazeface()
    const torn = file('torn.onnx', whole.subarray(0, whole.length / 2))
    await t.rejects(open({ model: torn }), { code: 'MODEL_UNUSABLE', message: torn })
  })

  t.test(`${kind}: finds the drawn portrait, and is closed once closed`, async (t) => {
    const detector = await open({ threads: 1 })
    const { picture } = await fitted(PORTRAIT, detector.input)
    const before = Buffer.from(picture.data)
    t.equal((await detector.detect(picture)).length, 1)
    t.ok(before.equals(picture.data), 'the picture is still the caller’s')
    const underway = detector.detect(picture)
    await detector[Symbol.asyncDispose]()
    t.equal((await underway).length, 1, 'what was under way is finished')
    await t.rejects(detector.detect(picture))
    await detector[Symbol.asyncDispose]()
  })

  t.test(`${kind}: a picture that does not fit is refused, the next one is looked at`, async (t) => {
    await using detector = await open({ threads: 1 })
    const { picture } = await fitted(PORTRAIT, detector.input)
    await t.rejects(detector.detect({ data: new Uint8Array(300 * 10 * 3), width: 300, height: 10 }), {
      message: /300x10 does not fit/,
    })
    await t.rejects(detector.detect({ data: new Uint8Array(10), width: 10, height: 10 }), {
      message: /10 bytes are not an RGB picture of 10x10/,
    })
    t.equal((await detector.detect(picture)).length, 1)
  })
}

t.test('a model that is no face detector says what it has and what is known', async (t) => {
  const adder = encodeOnnx({
    name: 'adder',
    producer: 'test',
    description: '',
    inputs: [{ name: 'numbers', type: 'float32', shape: [1, 5] }],
    outputs: [{ name: 'sums', type: 'float32', shape: [1, 5] }],
    constants: [],
    nodes: [{ operator: 'Add', inputs: ['numbers', 'numbers'], output: 'sums' }],
  })
  const model = file('adder.onnx', adder)
  await t.rejects(openDetector({ model }), { code: 'MODEL_UNUSABLE', message: model })
  await t.rejects(openDetector({ model }), {
    message: /numbers \[1 x 5\], sums \[1 x 5\].*yunet .*blazeface /,
  })
})

t.test('a head named in the configuration must fit the model', async (t) => {
  const model = file('blazeface.onnx', await convertBlazeface())
  for (const head of ['auto', 'blazeface'] satisfies (HeadName | 'auto')[]) {
    await using detector = await openDetector({ model, head })
    t.equal(detector.model, 'blazeface', 'named after its file')
  }
  await t.rejects(openDetector({ model, head: 'yunet' }), { code: 'MODEL_UNUSABLE', message: /yunet/ })
})

t.test('the input size must be multiples of 32', async (t) => {
  await using detector = await openDetector({ inputSize: { width: 320, height: 192 } })
  t.same(detector.input, { width: 320, height: 192, fit: 'letterbox' })
  for (const inputSize of [
    { width: 300, height: 192 },
    { width: 0, height: 32 },
    { width: 1e6, height: 32 },
  ])
    await t.rejects(openDetector({ inputSize }), { code: 'MODEL_UNUSABLE', message: /multiples of 32/ })
})

t.test('a detector in a thread of its own leaves this one free', async (t) => {
  await using detector = await openDetectorThread({ threads: 1, inputSize: { width: 1024, height: 1024 } })
  const { picture } = await fitted(PORTRAIT, detector.input)
  await detector.detect(picture)
  let turns = 0
  const counting = setInterval(() => {
    turns += 1
  }, 5)
  const startedAt = performance.now()
  await Promise.all([detector.detect(picture), detector.detect(picture)])
  const took = performance.now() - startedAt
  clearInterval(counting)
  t.ok(turns >= 3, `${turns} timer turns in ${took.toFixed(0)} ms`)
})

/** A network with the inputs and outputs of UltraFace for 64x32 that finds one face, whatever it sees. */
function oneFace(classes: number): Buffer {
  const scores = new Float32Array(2 * classes)
  scores.set([0.1, 0.2, 0.9].slice(0, classes), classes)
  const constant = (name: string, shape: number[], values: Float32Array) => ({ name, shape, values })
  return encodeOnnx({
    name: 'one-face',
    producer: 'test',
    description: '',
    inputs: [{ name: 'input', type: 'float32', shape: [1, 3, 32, 64] }],
    outputs: [
      { name: 'scores', type: 'float32', shape: [1, 2, classes] },
      { name: 'boxes', type: 'float32', shape: [1, 2, 4] },
    ],
    constants: [
      constant('s', [1, 2, classes], scores),
      constant('b', [1, 2, 4], Float32Array.of(0, 0, 0, 0, 0.25, 0.5, 0.75, 1)),
    ],
    nodes: [
      { operator: 'Identity', inputs: ['s'], output: 'scores' },
      { operator: 'Identity', inputs: ['b'], output: 'boxes' },
    ],
  })
}

t.test('a model that wants its pictures stretched takes none of another size', async (t) => {
  await using detector = await openDetector({ model: file('one-face.onnx', oneFace(3)), threads: 1 })
  t.same(detector.input, { width: 64, height: 32, fit: 'stretch' })
  const picture = (width: number, height: number) => ({
    data: new Uint8Array(width * height * 3),
    width,
    height,
  })
  t.match(await detector.detect(picture(64, 32)), [{ box: [16, 16, 32, 16], masked: true, landmarks: [] }])
  await t.rejects(detector.detect(picture(64, 30)), { message: /64x30 is not stretched/ })
})

t.test('a model of one’s own needs one entry in a catalogue, and no code', async (t) => {
  const modelFolder = t.testdir()
  const bytes = oneFace(3)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const entry = `{ name: mine, file: mine.onnx, sha256: ${sha256}, scoreMin: 0.95 }`
  writeFileSync(join(modelFolder, 'catalog.yaml'), `models:\n  - ${entry}\n`)
  const open = () => openDetector({ model: 'mine', modelFolder, threads: 1 })
  await t.rejects(open(), { code: 'MODEL_NOT_FOUND', message: /mine\.onnx/ }, 'it is not there yet')
  writeFileSync(join(modelFolder, 'mine.onnx'), bytes)
  {
    await using detector = await open()
    t.equal(detector.model, 'mine')
    t.equal(detector.scoreMin, 0.95)
    t.same(await detector.detect({ data: new Uint8Array(64 * 32 * 3), width: 64, height: 32 }), [])
  }
  writeFileSync(join(modelFolder, 'mine.onnx'), oneFace(2))
  await t.rejects(open(), { code: 'CHECKSUM_WRONG', message: /mine\.onnx/ })
  await t.rejects(openDetector({ model: 'yours', modelFolder }), {
    code: 'MODEL_NOT_FOUND',
    message: /"yours".*The catalogue has: .*mine/,
  })
  await t.rejects(openDetector({ model: 'yunet-n', modelFolder }), {
    code: 'MODEL_NOT_FOUND',
    message: /sightline models pull yunet-n/,
  })
})

t.test('a catalogue that is wrong names file, line and key', async (t) => {
  const catalog = join(t.testdir(), 'own.yaml')
  const open = () => openDetector({ model: 'mine', catalog })
  await t.rejects(open(), { code: 'CONFIG_NOT_FOUND', message: catalog })
  writeFileSync(catalog, 'models:\n  - name: mine\n    file: ../../etc/passwd\n')
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /own\.yaml:3.*models\.0\.file/ })
  writeFileSync(catalog, 'models:\n  - name: mine\n    file: a.onnx\n    sources: [https://example.org/a]\n')
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /sha256/ })
  writeFileSync(catalog, 'models:\n  - name: mine\n    file: a.onnx\n    head: retina\n')
  writeFileSync(join(t.testdirName, 'a.onnx'), oneFace(2))
  await t.rejects(openDetector({ model: 'mine', catalog, modelFolder: t.testdirName }), {
    code: 'CONFIG_INVALID',
    message: /head "retina"/,
  })
})

t.test('a model whose inputs do not fit its head is told apart', async (t) => {
  const batch = encodeOnnx({
    name: 'batch',
    producer: 'test',
    description: '',
    inputs: [{ name: 'input', type: 'float32', shape: [2, 3, 32, 64] }],
    outputs: [
      { name: 'scores', type: 'float32', shape: [1, 2, 2] },
      { name: 'boxes', type: 'float32', shape: [1, 2, 4] },
    ],
    constants: [
      { name: 's', shape: [1, 2, 2], values: new Float32Array(4) },
      { name: 'b', shape: [1, 2, 4], values: new Float32Array(8) },
    ],
    nodes: [
      { operator: 'Identity', inputs: ['s'], output: 'scores' },
      { operator: 'Identity', inputs: ['b'], output: 'boxes' },
    ],
  })
  await t.rejects(openDetector({ model: file('batch.onnx', batch) }), {
    code: 'MODEL_UNUSABLE',
    message: /input \[2 x 3 x 32 x 64\]/,
  })
  // Free sides as it says, and an addition inside that goes with 64x32 alone.
  const half = encodeOnnx({
    name: 'half',
    producer: 'test',
    description: '',
    inputs: [{ name: 'input', type: 'float32', shape: [1, 3, 'height', 'width'] }],
    outputs: [
      { name: 'scores', type: 'float32', shape: [1, 'anchors', 2] },
      { name: 'boxes', type: 'float32', shape: [1, 'anchors', 4] },
    ],
    constants: [
      { name: 'k', shape: [1, 3, 32, 64], values: new Float32Array(3 * 32 * 64) },
      { name: 'to2', shape: [3], values: BigInt64Array.of(1n, -1n, 2n) },
      { name: 'to4', shape: [3], values: BigInt64Array.of(1n, -1n, 4n) },
    ],
    nodes: [
      { operator: 'Add', inputs: ['input', 'k'], output: 'sum' },
      { operator: 'Reshape', inputs: ['sum', 'to2'], output: 'scores' },
      { operator: 'Reshape', inputs: ['sum', 'to4'], output: 'boxes' },
    ],
  })
  const model = file('half.onnx', half)
  await t.rejects(openDetector({ model, inputSize: { width: 320, height: 192 } }), {
    code: 'MODEL_UNUSABLE',
    message: /half\.onnx fails on pictures of 320x192/,
  })
})

t.test('the runtime that is named must suit the file', async (t) => {
  const onnx = file('one-face.onnx', oneFace(2))
  await t.rejects(openDetector({ model: onnx, runtime: 'tfjs' }), {
    code: 'MODEL_UNUSABLE',
    message: /detect\.runtime/,
  })
  await t.rejects(openDetector({ model: file('model.json'), runtime: 'onnx' }), {
    code: 'MODEL_UNUSABLE',
    message: /detect\.runtime/,
  })
})
