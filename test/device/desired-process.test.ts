import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'
import { attributesOf, colourModel, LABELS } from './desired-models-kit.ts'

/** Second looks from afar: classifiers of the catalogue over those of the device's own file, and which cameras have them. */

const PLUGIN = fileURLToPath(new URL('../process/plugins/says.ts', import.meta.url))

t.test(
  'a classifier looks from then on; what cannot be changes nothing; it holds after a restart',
  async (t) => {
    const { url, eye, say, applied, refused } = await broker(t)
    const modelFolder = temporaryFolder(t)
    for (const name of ['colours', 'others']) writeFileSync(join(modelFolder, `${name}.onnx`), colourModel())
    writeFileSync(join(modelFolder, 'broken.onnx'), 'no model')
    const entry = (name: string) =>
      `  - {name: ${name}, file: ${name}.onnx, classify: {labels: [${LABELS}], threshold: 0.1}}\n`
    writeFileSync(
      join(modelFolder, 'catalog.yaml'),
      `models:\n${['colours', 'others', 'broken', 'absent'].map(entry).join('')}`,
    )
    const settings = {
      detect: { modelFolder, provider: 'cpu', threads: 1 },
      process: [
        { name: 'shape', module: PLUGIN },
        { name: 'tint', model: 'colours', scoreMin: 0.99 },
      ],
      remote: { folder: temporaryFolder(t) },
    }
    const device = await startDevice(t, url, settings)
    const last = () => {
      const crop = eye.of('crop').at(-1)
      return crop ? attributesOf(crop) : []
    }
    const names = () => last().map(({ name }) => name)
    await until('the plugin of the file', () => names().join() === 'shape')

    await say(1, {
      process: [
        { name: 'colour', model: 'others' },
        { name: 'tint', model: 'colours' },
      ],
    })
    t.match(await applied(1), {
      effective: {
        process: [
          { name: 'shape', kind: 'plugin', from: 'file' },
          { name: 'tint', kind: 'classifier', from: 'desired', model: 'colours' },
          { name: 'colour', kind: 'classifier', from: 'desired', model: 'others' },
        ],
      },
      classifiers: ['liveness', 'antispoof', 'colours', 'others'],
    })
    await until('all three say something', () => names().toSorted().join() === 'colour,shape,tint')
    t.match(
      last().find(({ name }) => name === 'colour'),
      { by: /^others@[0-9a-f]{12}$/ },
    )
    t.ok(LABELS.includes(last().find(({ name }) => name === 'tint')?.label ?? ''))
    t.equal(device.log.filter(({ msg }) => msg === 'camera opened').length, 1, 'no camera is opened for it')

    const colour = { name: 'colour', model: 'others' }
    for (const [version, content, code, path, says] of [
      [2, { process: [{ name: 'shape', model: 'others' }] }, 'NOT_ALLOWED', ['process', 0, 'name'], /plugin/],
      [3, { process: [colour, colour] }, 'CONFIG_INVALID', ['process', 1, 'name'], /two processors/],
      [
        4,
        { process: [colour, { name: 'x', model: 'absent' }] },
        'MODEL_NOT_FOUND',
        ['process', 1, 'model'],
        /absent/,
      ],
      [5, { process: [{ name: 'x', model: 'broken' }] }, 'MODEL_UNUSABLE', ['process', 0, 'model'], /broken/],
      [
        6,
        { process: [{ name: 'x', model: 'unheard-of' }] },
        'MODEL_NOT_FOUND',
        ['process', 0, 'model'],
        /Unknown/,
      ],
      [
        7,
        { process: [{ name: 'x', model: 'blazeface' }] },
        'MODEL_UNUSABLE',
        ['process', 0, 'model'],
        /says nothing/,
      ],
      [
        8,
        { process: [colour], cameras: { card: { process: ['colour', 'hat'] } } },
        'CONFIG_INVALID',
        ['cameras', 'card', 'process', 1],
        /no processor "hat". It has: shape, tint, colour/,
      ],
      [
        9,
        { process: [{ name: 'x', module: PLUGIN }] },
        'SETTING_UNKNOWN',
        ['process', 0, 'module'],
        /does not know/,
      ],
      [
        10,
        { process: Array.from({ length: 15 }, (_, n) => ({ name: `x${n}`, model: 'others' })) },
        'TOO_MANY',
        ['process'],
        /16 processors at most, not 17/,
      ],
    ] as const) {
      await say(version, { ...content, detect: { sizeMin: 5 } })
      t.match(await refused(version), {
        applied: { version: 1 },
        refused: { code, path, message: says },
        effective: { detect: { sizeMin: 0 } },
      })
    }
    const count = eye.of('crop').length
    await until('further crops', () => eye.of('crop').length > count + 3)
    t.equal(names().toSorted().join(), 'colour,shape,tint', 'as before')

    await say(11, { process: [colour], cameras: { card: { process: ['colour'] } } })
    t.match(await applied(11), { effective: { cameras: { card: { process: ['colour'] } } } })
    await until('one alone', () => names().join() === 'colour')
    t.equal(device.log.filter(({ msg }) => msg === 'camera opened').length, 1, 'nor for which of them it has')
    await eye.stateBecomes(
      'it says so',
      ({ process }) => process?.map(({ name }) => name).join() === 'colour',
    )
    await device.kill()

    eye.came.length = 0
    const again = await startDevice(t, url, settings)
    await until('from its start on', () => eye.of('crop').length > 0)
    t.strictSame(
      eye
        .of('crop')
        .slice(0, 1)
        .flatMap(attributesOf)
        .map(({ name }) => name),
      ['colour'],
    )
    await again.kill()

    // Its model is gone: the file of the device holds.
    writeFileSync(join(modelFolder, 'others.onnx'), 'no model any more')
    eye.came.length = 0
    await startDevice(t, url, settings)
    t.match(await refused(11), { applied: null, refused: { code: 'MODEL_UNUSABLE' } })
    await until('the plugin of the file again', () => names().join() === 'shape')
    await say(12, {})
    t.match(await applied(12), {
      effective: { process: [{ name: 'shape' }, { name: 'tint', from: 'file' }] },
    })
  },
)
