import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { HlsServer } from '../kit/hls-server.ts'
import { RtmpServer } from '../kit/rtmp-server.ts'
import { RtspServer } from '../kit/rtsp-server.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

/** Real servers over real sockets: what a camera at the network does, and what it does when it fails. */

const folder = t.testdir()
const FRAMERATE = 25
/** All that must be written as %.. in an address. */
const USER = { name: 'the viewer', password: 'p@ss/w:rd%20"x\'?#' }
const moving = (x: number, y: number, frame: number) =>
  [(x * 3 + frame * 5) % 256, (y * 5) % 256, (x + y) % 256] as const
const clip = (ending: string) => join(folder, `clip.${ending}`)

t.before(async () => {
  const options = { frames: 2 * FRAMERATE, width: 320, height: 180, pixel: moving }
  await writeClip({ ...options, file: clip('ts'), codec: 'h264' })
  await writeClip({ ...options, file: clip('mkv'), codec: 'h264' })
  await writeClip({ ...options, frames: 9 * FRAMERATE, file: clip('m3u8'), codec: 'h264' })
})

const openRtsp = (more = {}) => RtspServer.open({ clip: clip('ts'), framerate: FRAMERATE, ...more })
const live = { pace: 'realtime', timeout: '2s' }

t.test('RTSP over TCP and over UDP, with the password from a file', async (t) => {
  await using server = await openRtsp({ user: USER })
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, `${USER.password}\n`)
  for (const rtspTransport of ['tcp', 'udp']) {
    const seen = await play(
      camera(server.url, { ...live, rtspTransport, username: USER.name, passwordFile }),
      async (frame, source) => {
        if (frame.sequence === 0) {
          t.equal(source.live, true)
          t.equal(source.lossless, false)
          t.equal(source.name, server.url)
          t.strictSame([frame.width, frame.height], [320, 180])
        }
        return frame.sequence >= 60
      },
    )
    t.equal(seen.fault, undefined)
    t.ok(seen.frames > 20, `${rtspTransport}: ${seen.frames} frames`)
  }
  t.match(server.transports[0], /TCP;.*interleaved/)
  t.match(server.transports[1], /UDP;.*client_port/)
})

t.test('a wrong password, none, a wrong path and a missing file each have their own sentence', async (t) => {
  await using server = await openRtsp({ user: USER })
  const fault = async (source: string, more: Record<string, unknown>) => {
    const seen = await play(camera(source, { ...live, ...more }))
    t.notMatch(`${seen.fault?.stack} ${JSON.stringify(seen.fault)} ${seen.fault?.cause}`, /s3cret/)
    return seen.fault
  }
  t.match(await fault(server.url, {}), { code: 'SOURCE_UNAVAILABLE', message: /wants a user and a password/ })
  t.match(await fault(server.url, { username: 'x', password: 's3cret' }), {
    code: 'SOURCE_UNAVAILABLE',
    message: /refuses this user/,
  })
  t.match(await fault(server.url.replace('rtsp://', 'rtsp://x:s3cret@'), {}), {
    message: /refuses this user/,
  })
  t.match(await fault(`${server.url}/none`, { username: USER.name, password: USER.password }), {
    message: /no such stream/,
  })
  t.match(await fault(server.url, { username: 'x', passwordFile: join(folder, 'nowhere') }), {
    code: 'CONFIG_NOT_FOUND',
    message: /nowhere of camera "c" cannot be read/,
  })
})

t.test(
  'a camera that hangs, and one whose plug is pulled, are told apart from one that has ended',
  async (t) => {
    for (const rtspTransport of ['tcp', 'udp'])
      for (const what of ['freeze', 'kill'] as const) {
        await using server = await openRtsp()
        let stoppedMs = 0
        const seen = await play(
          camera(server.url, { ...live, timeout: '1s', rtspTransport }),
          async (frame) => {
            if (frame.sequence !== 10) return
            stoppedMs = performance.now()
            await server[what]()
          },
        )
        t.match(seen.fault, { code: 'SOURCE_UNAVAILABLE', message: /will be opened again/ })
        const tookMs = performance.now() - stoppedMs
        t.ok(tookMs < 4000, `${what} over ${rtspTransport} noticed after ${tookMs.toFixed(0)} ms`)
      }
  },
)

t.test('a line that garbles what passes costs frames, counted, and ends nothing', async (t) => {
  await using server = await openRtsp({ garbleEvery: 9 })
  const seen = await play(camera(server.url, live), (frame) => frame.sequence >= 80)
  t.equal(seen.fault, undefined)
  t.ok(seen.frames > 20, `${seen.frames} frames`)
})

t.test('RTMP', async (t) => {
  await using server = await RtmpServer.open(clip('mkv'))
  const seen = await play(camera(server.url, { ...live, timeout: '8s' }), async (frame, source) => {
    if (frame.sequence === 0) t.equal(source.live, true)
    if (frame.sequence === 20) await server.kill()
  })
  t.ok(seen.frames > 20)
  t.match(seen.fault, { code: 'SOURCE_UNAVAILABLE', message: /opened again/ })
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
    t.match((await play(camera(server.url))).fault, { message: /wants a user and a password/ })
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
