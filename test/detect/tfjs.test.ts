import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { openDetector } from '../../device/detect/open.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { openClassifier } from '../../device/process/classifier.ts'
import { blazefaceTfjsFile } from '../../models/convert.ts'
import { floatsOf } from '../../models/runtime.ts'
import { openTfjs } from '../../models/tfjs.ts'
import { fitted, PORTRAIT } from './pictures.ts'

const BLAZEFACE = blazefaceTfjsFile()

for (const [kind, open] of Object.entries({ openDetector, openDetectorThread }))
  t.test(`${kind}: TensorFlow.js finds what ONNX Runtime finds, and says what it runs on`, async (t) => {
    await using ours = await open({ threads: 1 })
    await using named = await open({ runtime: 'tfjs', provider: 'auto', threads: 'auto' })
    await using file = await open({ model: BLAZEFACE })
    t.match(named.runtime, /^TensorFlow\.js \d+\.\d+\.\d+, /)
    t.equal(named.model, 'blazeface')
    t.same(file.input, { width: 256, height: 256, fit: 'letterbox' })
    const { picture } = await fitted(PORTRAIT, named.input)
    const [expected] = await ours.detect(picture)
    for (const detector of [named, file]) {
      for (let round = 0; round < 2; round += 1) {
        const [face, ...more] = await detector.detect(picture)
        t.same(more, [])
        t.ok(
          face?.box.every((value, at) => Math.abs(value - (expected?.box[at] as number)) < 2),
          `${face?.box} and ${expected?.box}`,
        )
        t.equal(face?.landmarks.length, 6)
      }
    }
  })

t.test(
  'a package of TensorFlow’s own is taken where it is installed, and told of where it is broken',
  async (t) => {
    const require = createRequire(import.meta.url)
    const url = (name: string) => pathToFileURL(require.resolve(name)).href
    // Stands in for @tensorflow/tfjs-node: the same functions, computed in JavaScript.
    const working = join(
      t.testdir({
        'working.mjs': `
        import '${url('@tensorflow/tfjs-backend-cpu')}'
        import core from '${url('@tensorflow/tfjs-core')}'
        import converter from '${url('@tensorflow/tfjs-converter')}'
        export const { tensor, getBackend } = core
        export const { loadGraphModel } = converter
        export const version = { 'tfjs-core': '4.0.0' }
        export const ready = () => core.setBackend('cpu')`,
        'broken.mjs': 'throw new Error("its binding was never built")',
      }),
      'working.mjs',
    )
    const broken = join(t.testdirName, 'broken.mjs')
    {
      await using runtime = await openTfjs(BLAZEFACE, ['no-such-package', pathToFileURL(working).href])
      t.match(runtime.description, /^TensorFlow\.js 4\.0\.0, .*working\.mjs \(cpu\)$/)
      t.same(runtime.outputs.map(({ shape }) => shape.join('x')).sort(), [
        '1x384x1',
        '1x384x16',
        '1x512x1',
        '1x512x16',
      ])
    }
    await using runtime = await openTfjs(BLAZEFACE, ['no-such-package', pathToFileURL(broken).href])
    t.match(runtime.description, /WebAssembly.*broken\.mjs is installed but does not load/)
  },
)

t.test('what is no model of TensorFlow.js is named', async (t) => {
  const folder = t.testdir({
    'text.json': 'no JSON',
    'other.json': '{"a": 1}',
    'layers.json': '{"format":"layers-model"}',
  })
  for (const name of ['text.json', 'other.json', 'layers.json'])
    await t.rejects(openDetector({ model: join(folder, name) }), {
      code: 'MODEL_UNUSABLE',
      message: join(folder, name),
    })
  await t.rejects(openDetector({ model: join(folder, 'none.json') }), { code: 'MODEL_NOT_FOUND' })

  const alone = join(folder, 'blazeface.json')
  copyFileSync(BLAZEFACE, alone)
  await t.rejects(openDetector({ model: alone }), { code: 'MODEL_NOT_FOUND', message: /blazeface\.bin/ })
  const weights = readFileSync(BLAZEFACE.replace(/json$/, 'bin'))
  writeFileSync(join(folder, 'blazeface.bin'), weights.subarray(0, 1000))
  await t.rejects(openDetector({ model: alone }), { code: 'MODEL_UNUSABLE', message: alone }, 'torn weights')

  const outside = JSON.parse(readFileSync(BLAZEFACE, 'utf8'))
  outside.weightsManifest[0].paths = ['../../../etc/passwd']
  writeFileSync(alone, JSON.stringify(outside))
  await t.rejects(openDetector({ model: alone }), { code: 'MODEL_UNUSABLE', message: /must lie beside it/ })
})

t.test('a model of TensorFlow.js that is no face detector says what it has', async (t) => {
  const model = BLAZEFACE.replace('blazeface.json', 'emotion.json')
  await t.rejects(openDetector({ model }), {
    code: 'MODEL_UNUSABLE',
    message: /emotion\.json.*Supported: yunet/,
  })
})

t.test('an output keeps its type: whole numbers are no floats', async (t) => {
  const shape = { shape: { dim: [{ size: '1' }, { size: '4' }] } }
  const model = {
    format: 'graph-model',
    modelTopology: {
      versions: { producer: 1, minConsumer: 0 },
      node: [
        { name: 'x', op: 'Placeholder', attr: { dtype: { type: 'DT_FLOAT' }, shape } },
        {
          name: 'axis',
          op: 'Const',
          attr: { dtype: { type: 'DT_INT32' }, value: { tensor: { dtype: 'DT_INT32', tensorShape: {} } } },
        },
        { name: 'best', op: 'ArgMax', input: ['x', 'axis'], attr: { T: { type: 'DT_FLOAT' } } },
      ],
    },
    weightsManifest: [{ paths: ['w.bin'], weights: [{ name: 'axis', shape: [], dtype: 'int32' }] }],
  }
  const folder = t.testdir({ 'best.json': JSON.stringify(model) })
  writeFileSync(join(folder, 'w.bin'), Buffer.from(Int32Array.of(1).buffer))
  await using runtime = await openTfjs(join(folder, 'best.json'))
  const data = Float32Array.of(0, 0.2, 0.7, 0.1)
  const outputs = await runtime.run(new Map([['x', { type: 'float32', shape: [1, 4], data }]]))
  const best = outputs.get('best')
  t.same([best?.type, best?.shape, [...(best?.data ?? [])]], ['int32', [1], [2]])
  t.throws(() => floatsOf(outputs, 'best'), /best is int32, not float32/)
})

t.test('what cannot look at crops because it is of TensorFlow.js is told why', async (t) => {
  const folder = t.testdir({
    'mine.json': '{}',
    'catalog.yaml': 'models:\n  - name: mine\n    file: mine.json\n    classify: { labels: [yes, no] }\n',
  })
  await t.rejects(openClassifier({ model: 'mine', modelFolder: folder }), {
    code: 'MODEL_UNUSABLE',
    message: /file of TensorFlow\.js \(mine\.json\)/,
  })
  await t.rejects(openClassifier({ model: BLAZEFACE }), {
    code: 'MODEL_UNUSABLE',
    message: /finds faces, but says nothing of them/,
  })
})
