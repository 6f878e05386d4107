import { join } from 'node:path'
import t from 'tap'
import { HlsServer } from '../kit/hls-server.ts'
import { RtmpServer } from '../kit/rtmp-server.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

/** RTMP and HLS from real servers, and the formats of V4L2 cameras. RTSP has a file of its own. */

const folder = t.testdir()
const FRAMERATE = 25
/** All that must be written as %.. in an address. */
const USER = { name: 'the viewer', password: 'p@ss/w:rd%20"x\'?#' }
const moving = (x: number, y: number, frame: number) =>
  [(x * 3 + frame * 5) % 256, (y * 5) % 256, (x + y) % 256] as const
const clip = (ending: string) => join(folder, `clip.${ending}`)

t.before(async () => {
  const options = { frames: 2 * FRAMERATE, width: 320, height: 180, pixel: moving }
  await writeClip({ ...options, file: clip('mkv'), codec: 'h264' })
  await writeClip({ ...options, frames: 9 * FRAMERATE, file: clip('m3u8'), codec: 'h264' })
})

const live = { pace: 'realtime', timeout: '2s' }

t.test('RTMP', async (t) => {
  await using server = await RtmpServer.open(clip('mkv'))
  const seen = await play(camera(server.url, { ...live, timeout: '8s' }), async (frame, source) => {
    if (frame.sequence === 0) t.equal(source.live, true)
    if (frame.sequence === 20) await server.kill()
  })
  t.ok(seen.frames > 20)
  t.match(seen.fault, { code: 'SOURCE_UNAVAILABLE', message: /Reopening it/ })
})

t.test('HLS: a recording is played to its end, a live one goes on with its playlist', async (t) => {
  {
    await using server = await HlsServer.open({ playlist: clip('m3u8'), user: USER })
    const credentials = { username: USER.name, password: USER.password }
    const seen = await play(camera(server.url, credentials), (frame, source) => {
      if (frame.sequence === 0) t.equal(source.live, false)
    })
    t.equal(seen.fault, undefined)
    t.equal(seen.frames, 9 * FRAMERATE)
    t.match((await play(camera(server.url))).fault, { message: /requires a login/ })
  }
  await using server = await HlsServer.open({ playlist: clip('m3u8'), live: true })
  const token = `${server.url}?token=s3cret`
  const seen = await play(camera(token, { ...live, timeout: '4s' }), (frame, source) => {
    if (frame.sequence === 0) {
      t.equal(source.live, true)
      t.equal(source.name, server.url)
    }
    // Further than the first playlist reached.
    return frame.sequence > 4 * FRAMERATE
  })
  t.equal(seen.fault, undefined)
  t.ok(seen.sequences.at(-1) as number, `${seen.frames} frames`)
  t.ok((seen.sequences.at(-1) ?? 0) > 4 * FRAMERATE)
})

t.test('what V4L2 cameras send comes out with its colours: MJPEG and raw', async (t) => {
  // There may be no camera here; its packets are the same in a file.
  const colours = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 255],
  ] as const
  for (const codec of ['mjpeg', 'raw', 'h264'] as const) {
    const file = join(folder, `${codec}.mkv`)
    const pixel = (x: number) => colours[Math.floor(x / 80)] as (typeof colours)[number]
    await writeClip({ file, frames: 10, width: 320, height: 180, codec, pixel })
    const seen = await play(camera(file), async (frame) => {
      for (const [i, colour] of colours.entries()) {
        const rgb = await frame.cut(80 * i + 21, 91, 38, 5)
        const scaled = frame.scaled.data.subarray((90 * 320 + 80 * i + 40) * 3)
        const worst = Math.max(
          ...rgb.map((value, at) => Math.abs(value - (colour[at % 3] as number))),
          ...colour.map((value, at) => Math.abs(value - (scaled[at] as number))),
        )
        t.ok(worst <= 12, `${codec} ${colour}: off by ${worst}`)
      }
      return true
    })
    t.equal(seen.fault, undefined)
  }
})
