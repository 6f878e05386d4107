import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { anonymousMemoryBytes } from '../../lib/metrics.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

/** One leaked picture of 1080p a time would be 3 MB (YUV) or 6 MB (RGB): 100 MB and more in all. */
const BYTES_MAX = 40e6
const WARM_UP = 12
const TIMES = 40
const ROUNDS = 3

t.test('a source that is opened and closed forty times leaves no memory behind', async (t) => {
  if ((await anonymousMemoryBytes()) === undefined) {
    t.comment('skipped: this system does not tell anonymous memory')
    return
  }
  const folder = t.testdir()
  const size = { width: 1920, height: 1080 }
  const pixel = (x: number, y: number) => [x % 256, y % 256, 100] as const
  await writeClip({ file: join(folder, 'a.mkv'), frames: 8, ...size, pixel })
  await sharp({ create: { ...size, channels: 3, background: 'teal' } })
    .jpeg()
    .toFile(join(folder, 'b.jpg'))
  const masks = [{ left: 0, top: 0, width: 0.5, height: 0.5 }]
  const settings = [{}, { rotate: 90, masks }, { region: { left: 0.5, top: 0, width: 0.5, height: 1 } }]
  const openAndClose = async (times: number) => {
    for (let i = 0; i < times; i += 1)
      for (const file of ['a.mkv', 'b.jpg']) {
        const seen = await play(camera(join(folder, file), settings[i % 3]), async (frame) => {
          await frame.cut(0, 0, 200, 200)
          return frame.sequence >= 3
        })
        if (seen.fault) throw seen.fault
      }
  }
  await openAndClose(WARM_UP)
  // What leaks does so each time; what the allocator holds on to, on a busy machine, it does once.
  let grown = Infinity
  for (let round = 0; round < ROUNDS && grown >= BYTES_MAX; round += 1) {
    const before = (await anonymousMemoryBytes()) ?? 0
    await openAndClose(TIMES)
    grown = ((await anonymousMemoryBytes()) ?? 0) - before
  }
  t.ok(grown < BYTES_MAX, `${(grown / 1e6).toFixed(0)} MB more after ${TIMES} times, ${ROUNDS} times over`)
})
