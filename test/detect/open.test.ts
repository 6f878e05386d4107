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
      message: /10 bytes are no RGB picture of 10x10/,
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
  t.same(detector.input, { width: 320, height: 192 })
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
