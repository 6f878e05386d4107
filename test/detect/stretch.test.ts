import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { type Box, overlap } from '../../device/detect/suppress.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { toFrame } from '../../device/faces/crop.ts'
import type { VideoOptions } from '../../device/sources/media.ts'
import { Photos } from '../../device/sources/photos.ts'
import type { SourceContext } from '../../device/sources/source.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { Video } from '../../device/sources/video.ts'
import { WHOLE_VIEW } from '../../device/sources/view.ts'
import { openLog } from '../../lib/log.ts'
import { sharedData } from '../kit/data.ts'
import { PORTRAIT } from './pictures.ts'

const NEVER = new AbortController().signal
const STRETCH: SourceContext = {
  input: { width: 320, height: 240, fit: 'stretch' },
  events: { skipped() {}, damaged() {} },
  log: openLog('test', 'silent'),
}
const sizeOf = ({ width, height, data }: { width: number; height: number; data: Uint8Array }) => ({
  width,
  height,
  bytes: data.length,
})
const WHOLE = { width: 320, height: 240, bytes: 320 * 240 * 3 }

t.test('every source fills an input that wants its pictures stretched, wider or taller', async (t) => {
  await using card = await Testcard.open({ frames: 1 }, STRETCH, NEVER)
  for await (using frame of card) t.same(sizeOf(frame.scaled), WHOLE, 'the testcard')
  const folder = join(t.testdir(), 'photos')
  mkdirSync(folder)
  await sharp(PORTRAIT).resize(640, 100, { fit: 'fill' }).png().toFile(join(folder, 'wide.png'))
  await sharp(PORTRAIT).resize(100, 120, { fit: 'fill' }).png().toFile(join(folder, 'small.png'))
  const options = { path: folder, isFolder: true, loop: false, rateMax: Infinity, view: WHOLE_VIEW }
  await using photos = await Photos.open(options, STRETCH, NEVER)
  for await (using frame of photos) t.same(sizeOf(frame.scaled), WHOLE, 'photos')
})

const CLIP = sharedData('video/short_hamilton_clip.mp4')
t.test('so does a video', { skip: CLIP ? false : 'the shared test data has no clips' }, async (t) => {
  const options: VideoOptions = {
    address: `file:${CLIP}`,
    name: 'clip',
    kind: 'file',
    pace: 'asfast',
    loop: false,
    rateMax: Infinity,
    intervalMs: 1000,
    timeoutMs: 5000,
    rtspTransport: 'tcp',
  }
  await using video = await Video.open(options, STRETCH, NEVER)
  for await (using frame of video) {
    t.same(sizeOf(frame.scaled), WHOLE)
    break
  }
})

const ULTRAFACE = sharedData('models/ultraface-version-RFB-320.onnx')
t.test(
  'faces seen in a stretched picture are where they are in the frame',
  { skip: ULTRAFACE ? false : 'the shared test data has no models' },
  async (t) => {
    await using detector = await openDetectorThread({ model: ULTRAFACE })
    t.same(detector.input, { width: 320, height: 240, fit: 'stretch' })
    await using card = await Testcard.open({ frames: 3 }, { ...STRETCH, input: detector.input }, NEVER)
    let found = 0
    for await (using frame of card)
      for (const face of await detector.detect(frame.scaled)) {
        const box = toFrame(face.box, frame.scaled, frame)
        const shared = Math.max(...(frame.truth as Box[]).map((drawn) => overlap(drawn, box)))
        t.ok(shared > 0.4, `IoU ${shared.toFixed(2)}`)
        found += 1
      }
    t.ok(found >= 6, `${found} faces in three frames`)
  },
)
