import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import '@tensorflow/tfjs-backend-cpu'
import { loadGraphModel } from '@tensorflow/tfjs-converter'
import { type Tensor, tensor4d } from '@tensorflow/tfjs-core'
import t from 'tap'
import { convertBlazeface, convertModel, keptBlazeface, MADE, tfjsFileOf } from '../../models/convert.ts'
import { openOnnx } from '../../models/onnx.ts'
import { floatsOf } from '../../models/runtime.ts'

const MODELS = {
  blazeface: {
    side: 256,
    input: 'input:0',
    names: {
      scores_16: 'Identity',
      scores_32: 'Identity_1',
      boxes_16: 'Identity_2',
      boxes_32: 'Identity_3',
    },
    differMax: 1e-3,
  },
  liveness: { side: 32, input: 'conv2d_1_input', names: { probabilities: 'Identity' }, differMax: 1e-5 },
  antispoof: { side: 128, input: 'conv2d_input', names: { probability: 'Identity' }, differMax: 1e-5 },
} as const

for (const name of MADE)
  t.test(`the converted ${name} gives what TensorFlow.js gives from the same files`, async (t) => {
    const { side, input: inputName, names, differMax } = MODELS[name]
    const file = tfjsFileOf(name)
    const json = JSON.parse(await readFile(file, 'utf8'))
    const weights = await readFile(file.replace(/\.json$/, '.bin'))
    const original = await loadGraphModel({
      load: async () => ({
        modelTopology: json.modelTopology,
        signature: json.signature ?? json.userDefinedMetadata.signature,
        weightSpecs: json.weightsManifest[0].weights,
        weightData: new Uint8Array(weights).buffer,
      }),
    })
    await using converted = await openOnnx(await convertModel(name), name, 1)
    t.same(
      converted.outputs.map((it) => it.name),
      Object.keys(names),
    )

    // Any pictures will do, if no two of their pixels are treated alike: waves of several lengths, and noise.
    let state = 1
    const noise = () => {
      state = (state * 48271) % 0x7fffffff
      return state / 0x7fffffff - 0.5
    }
    const values = side * side * 3
    const both = Float32Array.from(
      { length: 2 * values },
      (_, i) => 0.6 * Math.sin(i / 97) * Math.cos(i / 15013) + 0.5 * noise(),
    )
    const shape = [2, side, side, 3]
    const outputs = await converted.run(new Map([['input', { type: 'float32', shape, data: both }]]))
    for (const picture of [0, 1]) {
      const pixels = both.subarray(picture * values, (picture + 1) * values)
      const expected = [
        original.execute({ [inputName]: tensor4d(pixels, [1, side, side, 3]) }, Object.values(names)),
      ].flat() as Tensor[]
      for (const [index, output] of Object.keys(names).entries()) {
        const theirs = await (expected[index] as Tensor).data()
        const ours = floatsOf(outputs, output).subarray(
          picture * theirs.length,
          (picture + 1) * theirs.length,
        )
        t.equal(floatsOf(outputs, output).length, 2 * theirs.length, `${output} has as many numbers for each`)
        let worst = 0
        let largest = 0
        for (const [i, value] of ours.entries()) {
          worst = Math.max(worst, Math.abs(value - (theirs[i] as number)))
          largest = Math.max(largest, Math.abs(value))
        }
        t.ok(
          worst < differMax,
          `${output} of picture ${picture + 1} in a batch of two differs by at most ${worst}`,
        )
        t.ok(largest > 0.1, `${output} is not just zeros`)
      }
    }
  })

t.test('converting twice gives the same bytes', async (t) => {
  t.ok(Buffer.from(await convertBlazeface()).equals(await convertBlazeface()))
})

t.test(
  'the default model is made on first use, kept, and made again where the kept file is damaged',
  async (t) => {
    const folder = join(t.testdir(), 'models')
    const made = await keptBlazeface(folder)
    const [name] = readdirSync(folder) as [string]
    t.equal(readdirSync(folder).length, 1, 'one file, and no temporary one')
    t.ok(Buffer.from(made).equals(readFileSync(join(folder, name))))
    const before = statSync(join(folder, name)).mtimeMs
    t.ok(Buffer.from(await keptBlazeface(folder)).equals(Buffer.from(made)))
    t.equal(statSync(join(folder, name)).mtimeMs, before, 'it is not made a second time')
    truncateSync(join(folder, name), 1000)
    t.ok(Buffer.from(await keptBlazeface(folder)).equals(Buffer.from(made)), 'a torn file is not taken')
    t.equal(statSync(join(folder, name)).size, made.length)
    writeFileSync(join(t.testdirName, 'file'), '')
    await t.rejects(keptBlazeface(join(t.testdirName, 'file', 'models')), { code: 'FOLDER_UNWRITABLE' })
  },
)
