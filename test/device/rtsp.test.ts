import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RtspServer } from '../kit/rtsp-server.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

/** A real server over real sockets: what a camera at the network does, and what it does when it fails. */

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
  t.match(await fault(server.url, {}), { code: 'SOURCE_UNAVAILABLE', message: /requires a login/ })
  t.match(await fault(server.url, { username: 'x', password: 's3cret' }), {
    code: 'SOURCE_UNAVAILABLE',
    message: /rejects the login/,
  })
  t.match(await fault(server.url.replace('rtsp://', 'rtsp://x:s3cret@'), {}), {
    message: /rejects the login/,
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
        t.match(seen.fault, { code: 'SOURCE_UNAVAILABLE', message: /Reopening it/ })
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
