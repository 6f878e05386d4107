import { join } from 'node:path'
import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import type { Frame } from '../../device/frame.ts'
import { openSource } from '../../device/sources/open.ts'
import { openLog } from '../../lib/log.ts'
import { writeCameraClip } from '../kit/camera-clip.ts'

t.test('a face is cut out of a frame whose source has been closed since', async (t) => {
  const source = join(t.testdir(), 'clip.mp4')
  await writeCameraClip({ file: source, codec: 'h264', frames: 5 })
  const [camera] = deviceSchema.parse({ cameras: [{ name: 'door', source, pace: 'asfast' }] }).cameras
  if (!camera) throw new Error('no camera')
  let last: Frame | undefined
  {
    await using opened = await openSource(
      camera,
      {
        input: { width: 320, height: 320 },
        events: { skipped: () => {}, damaged: () => {} },
        log: openLog('test', 'silent'),
      },
      new AbortController().signal,
    )
    for await (const frame of opened) {
      last?.[Symbol.dispose]()
      last = frame
    }
  }
  const cut = await last?.cut(10, 10, 64, 48)
  t.equal(cut?.length, 64 * 48 * 3)
  last?.[Symbol.dispose]()
})
