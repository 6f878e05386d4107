import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey, readStreams } from '../../device/listen/streams-file.ts'
import { convertBlazeface } from '../../models/convert.ts'
import { sharedData } from '../kit/data.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'

/** Another model, and streams, from afar. */

t.test(
  'a model of the catalogue takes over while cameras run on; one that cannot be had changes nothing',
  async (t) => {
    const { url, eye, say, applied, refused } = await broker(t)
    const modelFolder = join(temporaryFolder(t), 'models')
    mkdirSync(modelFolder)
    writeFileSync(join(modelFolder, 'mine.onnx'), await convertBlazeface())
    writeFileSync(join(modelFolder, 'broken.onnx'), 'no model')
    const entry = (name: string) => `  - {name: ${name}, file: ${name}.onnx}\n`
    writeFileSync(
      join(modelFolder, 'catalog.yaml'),
      `models:\n${['mine', 'broken', 'absent'].map(entry).join('')}`,
    )
    const settings = {
      detect: { modelFolder, provider: 'cpu', threads: 1 },
      remote: { folder: temporaryFolder(t) },
    }
    const device = await startDevice(t, url, settings)
    const models = () =>
      eye.of('crop').map(({ payload }) => /"model":"([^"]*)"/.exec(payload.toString('latin1'))?.[1])
    await until('crops', () => models().includes('blazeface'))
    await say(1, { detect: { model: 'mine', sizeMin: 10 } })
    t.match(await applied(1), {
      effective: { detect: { model: 'mine', sizeMin: 10 }, cameras: { card: { sizeMin: 10 } } },
    })
    await until('crops of the other model', () => models().at(-1) === 'mine')
    const count = models().length
    t.equal(
      device.log.filter(({ msg }) => msg === 'camera opened').length,
      1,
      'of the same input: nothing is opened',
    )
    await until('only of that', () => models().length > count + 5)
    t.ok(
      models()
        .slice(count)
        .every((it) => it === 'mine'),
    )
    const state = () => eye.of('state').length
    for (const [version, model, code, says] of [
      [2, 'broken', 'MODEL_UNUSABLE', /broken/],
      [3, 'absent', 'MODEL_NOT_FOUND', /has no sources/],
      [4, 'unheard-of', 'MODEL_NOT_FOUND', /Unknown model/],
    ] as const) {
      await say(version, { detect: { model }, cameras: { card: { paused: true } } })
      t.match(await refused(version), {
        applied: { version: 1 },
        refused: { code, path: ['detect', 'model'], message: says },
        effective: { detect: { model: 'mine' }, cameras: { card: { paused: false } } },
      })
    }
    t.ok(state() > 0)
    await say(5, { detect: { scoreMin: 0.95 } })
    t.match(await applied(5), { effective: { detect: { model: 'blazeface', scoreMin: 0.95 } } })
    await eye.stateBecomes('the threshold of all', ({ scoreMin }) => scoreMin === 0.95)
    await device.kill()

    // At its start: the model is gone, and the device's own is there.
    const other = await startDevice(t, url, settings)
    await say(6, { detect: { model: 'mine' } })
    await applied(6)
    await other.kill()
    writeFileSync(join(modelFolder, 'mine.onnx'), 'no model any more')
    eye.came.length = 0
    await startDevice(t, url, settings)
    t.match(await refused(6), {
      applied: null,
      refused: { code: 'MODEL_UNUSABLE' },
      effective: { detect: { model: 'blazeface' } },
    })
  },
)

const yunet = sharedData('models/yunet_n_320_320.onnx')
const skip = yunet ? false : 'no shared test data'

t.test('a model with another input opens all cameras again', { skip }, async (t) => {
  const { url, eye, say, applied } = await broker(t)
  const modelFolder = temporaryFolder(t)
  copyFileSync(yunet as string, join(modelFolder, 'other.onnx'))
  writeFileSync(join(modelFolder, 'catalog.yaml'), 'models:\n  - {name: other, file: other.onnx}\n')
  const cameras = ['card', 'yard'].map((name) => ({ name, source: 'testcard' }))
  const device = await startDevice(t, url, { cameras, detect: { modelFolder, provider: 'cpu', threads: 1 } })
  const models = (camera: string) =>
    eye.of('crop', camera).map(({ payload }) => /"model":"([^"]*)"/.exec(payload.toString('latin1'))?.[1])
  const names = cameras.map(({ name }) => name)
  await until('crops of both', () => names.every((it) => models(it).includes('blazeface')), 30_000)
  await say(1, { detect: { model: 'other' } })
  t.match(await applied(1), { effective: { detect: { model: 'other' } } })
  await until('by the other model', () => names.every((it) => models(it).at(-1) === 'other'), 30_000)
  t.equal(device.log.filter(({ msg }) => msg === 'camera opened').length, 4)
  const firstOfOther = models('card').indexOf('other')
  t.notOk(models('card').slice(firstOfOther).includes('blazeface'), 'never a mixture')
})

t.test('streams are added, changed and removed, those of its own stay as they are', async (t) => {
  const { url, eye, say, applied, refused } = await broker(t)
  const folder = temporaryFolder(t)
  const streamsFile = join(folder, 'streams.yaml')
  const hashes = Array.from({ length: 4 }, () => hashOfKey(newStreamKey()))
  const [own = '', first = '', second = '', third = ''] = hashes
  writeFileSync(streamsFile, `streams:\n  - {name: own, keyHash: "${own}"}\n`)
  const settings = { listen: { streamsFile }, remote: { folder } }
  const device = await startDevice(t, url, settings)
  const streams = () => Object.fromEntries(readStreams(streamsFile).map(({ name, ...it }) => [name, it]))
  const stateOf = (camera: string) => {
    const last = eye.of('state', camera).at(-1)?.payload.toString()
    return last ? JSON.parse(last) : undefined
  }
  await say(1, {
    streams: { bell: { keyHash: first, owner: 'anna' }, yard: { keyHash: second, active: false } },
    cameras: { bell: { scoreMin: 0.7, record: { mode: 'off' } }, own: { view: { effect: 'outline' } } },
  })
  t.match(await applied(1), {
    allows: { streams: true },
    effective: {
      cameras: {
        bell: { from: 'stream', scoreMin: 0.7 },
        yard: { from: 'stream' },
        own: { from: 'stream', view: { effect: 'outline' } },
      },
    },
  })
  t.match(streams(), {
    own: { keyHash: own },
    bell: { keyHash: first, owner: 'anna' },
    yard: { active: false },
  })
  await until('it waits', () => stateOf('bell')?.state === 'waiting' && stateOf('bell').threshold === 0.7)
  await until('its own, too, is set', () => stateOf('own')?.effect === 'outline')

  await say(2, { streams: { own: { keyHash: third } }, cameras: { bell: { scoreMin: 0.1 } } })
  t.match(await refused(2), {
    refused: { code: 'NAME_TAKEN', path: ['streams', 'own'] },
    applied: { version: 1 },
  })
  await say(3, { streams: { bell: { keyHash: first, owner: 'anna' } }, cameras: { yard: { scoreMin: 0.1 } } })
  t.match(await refused(3), { refused: { path: ['cameras', 'yard'], message: /is removed/ } })
  await say(4, { streams: { bell: { keyHash: first }, card: { keyHash: third } } })
  t.match(await refused(4), { refused: { code: 'NAME_TAKEN', path: ['streams', 'card'] } })
  // The second of two changes fails: the first is undone.
  await say(5, { streams: { bell: { keyHash: second, owner: 'anna' }, yard: { keyHash: second } } })
  t.match(await refused(5), { refused: { code: 'CONFIG_INVALID' }, applied: { version: 1 } })
  t.match(streams(), { bell: { keyHash: first }, yard: { keyHash: second, active: false } })
  await until('as before', () => stateOf('bell')?.threshold === 0.7 && stateOf('bell').state === 'waiting')

  await say(6, { streams: { bell: { keyHash: third, owner: 'anna', takeOver: true } } })
  await applied(6)
  t.strictSame(Object.keys(streams()), ['own', 'bell'])
  t.match(streams(), { own: { keyHash: own }, bell: { keyHash: third, takeOver: true, active: true } })
  await until('what is gone is cleared', () => eye.of('state', 'yard').at(-1)?.payload.length === 0)
  await device.kill()
  await startDevice(t, url, settings)
  await say(7, {})
  await applied(7)
  t.strictSame(Object.keys(streams()), ['own'], 'also those of before the restart')
})
