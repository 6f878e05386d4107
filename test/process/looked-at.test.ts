import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { openMeters } from '../../device/meters.ts'
import { openProcessor } from '../../device/process/open.ts'
import { Processing } from '../../device/process/processing.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import { PORTRAIT } from '../detect/pictures.ts'
import { sharedData } from '../kit/data.ts'
import { counted } from './plugged.ts'
import { COLOURS, kept, NAN_AT_A_QUARTER, number, tinyModel } from './tiny-models.ts'

/** The agent over photos, with a real detector and real classifiers: what its crops say. */
async function published(source: string, settings: Record<string, unknown>) {
  const config = loadConfig(deviceSchema, { overrides: { cameras: [{ name: 'door', source }], ...settings } })
  const log = openLog('test', 'silent')
  const meters = openMeters(openMetrics('test'))
  await using detector = await openDetectorThread({
    ...config.detect,
    ...{ runtime: 'auto', head: 'auto' },
    scoreMin: undefined,
  })
  await using processing = await Processing.open({
    processors: config.process,
    camera: () => config.cameras[0],
    open: (it) => openProcessor(it, config.detect, log),
    meters,
    log,
  })
  const crops: { metadata: CropMetadata; payload: Buffer }[] = []
  const agent = new Agent({
    ...{ config, detector, meters, log, processing },
    publisher: {
      offer({ payload }) {
        const reading = readCrop(payload)
        if (!('crop' in reading)) throw new Error(reading.detail)
        crops.push({ metadata: reading.crop, payload: Buffer.from(payload) })
      },
      room: async () => {},
      say: () => {},
    },
    onState: () => {},
  })
  await agent.run(new AbortController().signal)
  return { crops, unprocessed: await counted(meters.cropsUnprocessed) }
}

async function portraitFolder(folder: string): Promise<string> {
  mkdirSync(folder)
  await sharp(PORTRAIT).jpeg({ quality: 95 }).toFile(join(folder, 'portrait.jpg'))
  return folder
}

t.test(
  'a crop says what a classifier makes of it; who else fails is counted, and the crop goes out',
  async (t) => {
    const folder = t.testdir()
    const photos = await portraitFolder(join(folder, 'photos'))
    const modelFolder = join(folder, 'models')
    const labels = ['red', 'green', 'blue']
    kept(modelFolder, { colours: { bytes: tinyModel(COLOURS), entry: { classify: { labels } } } })
    const detect = { modelFolder }
    const { crops } = await published(photos, {
      detect,
      process: [
        { name: 'alive', model: 'liveness', scoreMin: 0 },
        { name: 'colour', model: 'colours', scoreMin: 0 },
      ],
    })
    t.equal(crops.length, 1)
    const [crop] = crops
    t.match(crop?.metadata.attributes, [
      { name: 'alive', label: /^(fake|real)$/, by: /^liveness@[0-9a-f]{12}$/ },
      { name: 'colour', label: 'red', by: /^colours@[0-9a-f]{12}$/ },
    ])
    // No number for a crop as red as this one.
    const { channels } = await sharp(crop?.payload).stats()
    const red = (channels[0]?.mean ?? 0) / 255
    const constants = [number('quarter', red), number('near', 0.0001)]
    const bytes = tinyModel({ ...NAN_AT_A_QUARTER, constants })
    kept(modelFolder, { nan: { bytes, entry: { classify: { labels } } } })
    const failed = await published(photos, {
      detect,
      process: [
        { name: 'broken', model: 'nan', scoreMin: 0 },
        { name: 'alive', model: 'liveness', scoreMin: 0 },
      ],
    })
    t.equal(failed.crops.length, 1, 'the crop goes out')
    t.match(failed.crops[0]?.metadata.attributes, [{ name: 'alive' }], 'with what the other says')
    t.equal(failed.crops[0]?.metadata.attributes?.length, 1)
    t.same(failed.unprocessed, { INFERENCE_WRONG: 1 })
  },
)

t.test('masks are told by a detector that looks at crops of another one', async (t) => {
  const source = sharedData('photos/mask/linzaer-mask-img2.jpeg')
  const model = sharedData('models/ultraface-RFB-640-masked_face-v2.onnx')
  const finder = sharedData('models/yunet_n_640_640.onnx')
  if (!source || !model || !finder) return t.pass('left out, for want of test data')
  const { crops } = await published(source, {
    detect: { model: finder },
    process: [{ name: 'mask', model, timeout: '60s' }],
  })
  const said = crops.flatMap(({ metadata }) => metadata.attributes ?? [])
  t.ok(crops.length >= 8, `${crops.length} crops`)
  t.ok(said.length >= crops.length / 2, `${said.length} of ${crops.length} crops say`)
  for (const it of said)
    t.match(it, { name: 'mask', label: 'with mask', by: 'ultraface-RFB-640-masked_face-v2@27ca3e5985f7' })
})
