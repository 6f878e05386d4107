import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import '@tensorflow/tfjs-backend-cpu'
import { loadGraphModel } from '@tensorflow/tfjs-converter'
import { type Tensor, tensor4d } from '@tensorflow/tfjs-core'
import t from 'tap'
import { blazefaceTfjsFile, convertBlazeface, keptBlazeface } from '../../models/convert.ts'
import { openOnnx } from '../../models/onnx.ts'
import { floatsOf } from '../../models/runtime.ts'

const TFJS_NAMES = {
  scores_16: 'Identity',
  scores_32: 'Identity_1',
  boxes_16: 'Identity_2',
  boxes_32: 'Identity_3',
}

t.test('the converted BlazeFace gives what TensorFlow.js gives from the same files, to 1e-3', async (t) => {
  const file = blazefaceTfjsFile()
  const json = JSON.parse(await readFile(file, 'utf8'))
  const weights = await readFile(file.replace(/\.json$/, '.bin'))
  const original = await loadGraphModel({
    load: async () => ({
      modelTopology: json.modelTopology,
      signature: json.userDefinedMetadata.signature,
      weightSpecs: json.weightsManifest[0].weights,
      weightData: new Uint8Array(weights).buffer,
    }),
  })
  await using converted = await openOnnx(await convertBlazeface(), 'blazeface', 1)
  t.same(
    converted.outputs.map(({ name }) => name),
    Object.keys(TFJS_NAMES),
  )

  // Any picture will do, if no two of its pixels are treated alike: waves of several lengths, and noise.
  let state = 1
  const noise = () => {
    state = (state * 48271) % 0x7fffffff
    return state / 0x7fffffff - 0.5
  }
  const input = Float32Array.from(
    { length: 256 * 256 * 3 },
    (_, i) => 0.6 * Math.sin(i / 97) * Math.cos(i / 15013) + 0.5 * noise(),
  )
  const outputs = await converted.run(
    new Map([['input', { type: 'float32', shape: [1, 256, 256, 3], data: input }]]),
  )
  const picture = tensor4d(input, [1, 256, 256, 3])
  const expected = original.execute({ 'input:0': picture }, Object.values(TFJS_NAMES)) as Tensor[]
  for (const [index, name] of Object.keys(TFJS_NAMES).entries()) {
    const theirs = await (expected[index] as Tensor).data()
    const ours = floatsOf(outputs, name)
    t.equal(ours.length, theirs.length, `${name} has as many numbers`)
    let worst = 0
    let largest = 0
    for (const [i, value] of ours.entries()) {
      worst = Math.max(worst, Math.abs(value - (theirs[i] as number)))
      largest = Math.max(largest, Math.abs(value))
    }
    t.ok(worst < 1e-3, `${name} differs by at most ${worst}`)
    t.ok(largest > 0.1, `${name} is not just zeros`)
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
