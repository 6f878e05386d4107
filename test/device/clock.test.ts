import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { Clock } from '../../device/sources/clock.ts'
import { writeClip, writeSong } from './clip.ts'
import { camera, play } from './playing.ts'

/** When frames come: recordings whose times jump, passes of a loop, pictures at an address; and what is no camera. */

const folder = t.testdir()
const SIZE = { width: 64, height: 48 }

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('a clock runs forward, whatever times come', async (t) => {
  const run = (times: readonly (number | undefined)[], frameSeconds = 0.04) => {
    const clock = new Clock()
    return times.map((time) => {
      const { seconds, playSeconds, jumpSeconds } = clock.next(time, frameSeconds)
      return [seconds, playSeconds, jumpSeconds].map((it) => it && Math.round(it * 1000) / 1000)
    })
  }
  const even = [0, 0.04, 0.08].map((it) => [it, it, undefined])
  t.strictSame(run([0, 0.04, 0.08]), even)
  t.strictSame(run([36_000, 36_000.04, 36_000.08]), even, 'it begins at hours')
  t.strictSame(run([-2, -1.96, -1.92]), even, 'it begins before 0')
  t.strictSame(run([undefined, undefined, undefined]), even, 'it has no times')
  t.strictSame(run([5, undefined, 5.08]), even, 'one is missing')
  t.strictSame(
    run([0, 3, 6]),
    [0, 3, 6].map((it) => [it, it, undefined]),
    'frames are far apart',
  )
  t.strictSame(
    run([0, 0.2, 0.1, 0.3]).map(([it]) => it),
    [0, 0.2, 0.2, 0.3],
    'two are out of order',
  )
  for (const [times, jump] of [
    [[0, 0.04, 7200, 7200.04], 7199.96],
    [[500, 500.04, 0, 0.04], -500.04],
  ] as const)
    t.strictSame(
      run(times),
      [
        [0, 0, undefined],
        [0.04, 0.04, undefined],
        [0, 0.08, jump],
        [0.04, 0.12, undefined],
      ],
      'hours ahead, or back to 0',
    )
  t.strictSame(
    run([0, 60, 120], 60).map(([it]) => it),
    [0, 60, 120],
    'a time lapse',
  )
  t.strictSame(
    run([0, 2 ** 50, 2 ** 51, -(2 ** 50)]).map(([, it]) => it),
    [0, 0.04, 0.08, 0.12],
    'nonsense',
  )
  t.strictSame(
    run([0, 7200, 14_400, 21_600]).map(([it]) => it),
    [0, 0.04, 0, 0.04],
    'each frame a part of its own: time does not stand',
  )
  t.strictSame(
    run([0, 0.04, 0.08, 7200, 7200.04], 1200).map(([, it]) => it),
    [0, 0.04, 0.08, 0.12, 0.16],
    'a container that spreads its frames over the hours between them',
  )
  const clock = new Clock()
  for (const time of [0, 0.04]) clock.next(time, 0.04)
  clock.restart()
  t.match(clock.next(0, 0.04), { seconds: 0, playSeconds: 0.08, jumpSeconds: undefined }, 'another pass')
})

t.test('hours that a recording lacks are not waited for, and are counted', async (t) => {
  for (const name of ['hours.mkv', 'hours.mp4', 'hours.ts']) {
    const file = join(folder, name)
    const at = (frame: number) => frame + Math.floor(frame / 10) * 3600 * 5 * 25
    await writeClip({ ...SIZE, file, frames: 30, codec: 'h264', at })
    const times: number[] = []
    const start = performance.now()
    const seen = await play(
      camera(file, { pace: 'realtime' }),
      (frame) => void times.push(Math.round(frame.atMs ?? -1)),
      AbortSignal.timeout(6000),
    )
    const seconds = (performance.now() - start) / 1000
    t.equal(seen.fault, undefined, name)
    t.equal(seen.frames, 30, name)
    t.ok(seconds > 1 && seconds < 4, `${name}: ${seconds} s for 30 frames`)
    t.equal(seen.damaged.clock, 2, name)
    t.strictSame(times.slice(9, 12), [360, 0, 40], `${name}: each part has a clock of its own`)
  }
})

t.test('a recording whose times go back goes on, and that is counted', async (t) => {
  const part = join(folder, 'part.ts')
  await writeClip({ ...SIZE, file: part, frames: 15, codec: 'h264', at: (frame) => frame + 25 * 300 })
  const later = readFileSync(part)
  await writeClip({ ...SIZE, file: part, frames: 15, codec: 'h264' })
  const file = join(folder, 'back.ts')
  writeFileSync(file, Buffer.concat([later, readFileSync(part)]))
  const start = performance.now()
  const seen = await play(camera(file, { pace: 'realtime' }), undefined, AbortSignal.timeout(8000))
  t.ok(performance.now() - start < 4000)
  t.ok(seen.frames >= 28, `${seen.frames} frames`)
  t.equal(seen.damaged.clock, 1)
})

t.test('a short recording that is looped keeps its pace and `rateMax` from pass to pass', async (t) => {
  const file = join(folder, 'short.mkv')
  await writeClip({ ...SIZE, file, frames: 3 })
  const inTwoSeconds = async (more: Record<string, unknown>) => {
    const options = { loop: true, pace: 'realtime', ...more }
    const { frames } = await play(camera(file, options), undefined, AbortSignal.timeout(2000))
    return frames
  }
  const frames = await inTwoSeconds({})
  t.ok(frames >= 25 && frames <= 55, `${frames} frames in 2 s at 25 a second`)
  const limited = await inTwoSeconds({ rateMax: 5 })
  t.ok(limited >= 5 && limited <= 12, `${limited} frames in 2 s at 5 a second`)
  const seen = await play(camera(file, { loop: true, rateMax: 5 }), (frame) => frame.sequence >= 60)
  t.ok(Math.abs(seen.frames - 13) <= 1, `${seen.frames} frames of 60, on the clock of the video`)
})

t.test('a looped recording at an address is not asked for over and over', async (t) => {
  const file = join(folder, 'served.mkv')
  await writeClip({ ...SIZE, file, frames: 1 })
  const bytes = readFileSync(file)
  let asked = 0
  const url = await serve(t, (request, response) => {
    if (request.headers.range === undefined || request.headers.range === 'bytes=0-') asked += 1
    response.writeHead(200, { 'content-length': bytes.length, 'content-type': 'video/x-matroska' }).end(bytes)
  })
  for (const pace of ['realtime', 'asfast'])
    await play(camera(`${url}/clip.mkv`, { loop: true, pace }), undefined, AbortSignal.timeout(1500))
  t.ok(asked >= 2 && asked <= 8, `asked ${asked} times in 3 s`)
})

t.test('a picture at an address is asked for each `interval`, as it is then', async (t) => {
  const jpeg = (orientation: number, width: number) =>
    sharp({ create: { width, height: 48, channels: 3, background: 'red' } })
      .withMetadata({ orientation })
      .jpeg()
      .toBuffer()
  const pictures = [
    await jpeg(1, 64),
    await jpeg(6, 80),
    await sharp({ create: { width: 96, height: 48, channels: 3, background: 'red' } })
      .png()
      .toBuffer(),
    await sharp({ create: { width: 112, height: 48, channels: 3, background: 'red' } })
      .webp()
      .toBuffer(),
  ]
  const times: number[] = []
  const url = await serve(t, (request, response) => {
    if (request.url === '/moved') return response.writeHead(302, { location: '/snapshot?now' }).end()
    if (request.url === '/page')
      return response.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Log in</body></html>')
    if (request.headers.authorization !== `Basic ${Buffer.from('viewer:s3cret').toString('base64')}`)
      return response.writeHead(401, { 'www-authenticate': 'Basic realm="camera"' }).end()
    const picture = pictures[times.length % pictures.length] as Buffer
    times.push(performance.now())
    response.writeHead(200, { 'content-type': 'image/jpeg' })
    response.write(picture.subarray(0, 50)) // no length: in chunks
    return response.end(picture.subarray(50))
  })
  const login = { username: 'viewer', password: 's3cret', interval: '300ms' }
  for (const [path, more] of [
    ['/snapshot', {}],
    ['/moved', { loop: true, pace: 'asfast' }],
  ] as const) {
    times.length = 0
    const sizes: string[] = []
    const seen = await play(camera(`${url}${path}`, { ...login, ...more }), (frame, source) => {
      t.strictSame([source.live, source.lossless], [true, false])
      sizes.push(`${frame.width}x${frame.height}`)
      return sizes.length === 5
    })
    t.equal(seen.fault, undefined)
    t.strictSame(sizes, ['64x48', '48x80', '96x48', '112x48', '64x48'])
    const tookMs = (times[4] as number) - (times[0] as number)
    t.ok(tookMs > 1000 && tookMs < 3000, `four intervals took ${tookMs} ms`)
  }
  t.match((await play(camera(`${url}/page`, login))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /Check the address/,
  })
  t.match((await play(camera(`${url}/snapshot`))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /requires a login/,
  })
})

t.test('the picture of a record is no camera', async (t) => {
  const file = join(folder, 'song.m4a')
  const cover = await sharp({ create: { ...SIZE, channels: 3, background: 'red' } })
    .jpeg()
    .toBuffer()
  await writeSong(file, cover, SIZE)
  const seen = await play(camera(file))
  t.equal(seen.frames, 0)
  t.match(seen.fault, { code: 'SOURCE_UNREADABLE', message: /contains no video, only a cover picture/ })
})

t.test('a named pipe and a device are refused in a sentence, and nothing is taken from them', async (t) => {
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  t.match((await play(camera(pipe), undefined, AbortSignal.timeout(3000))).fault, {
    code: 'SOURCE_UNREADABLE',
    message: /is a named pipe, which is not supported\. Use a file/,
  })
  await using both = await open(pipe, 'r+') // so that neither end waits for the other
  await both.write('sightline')
  t.match((await play(camera(pipe))).fault, { code: 'SOURCE_UNREADABLE' })
  t.equal((await both.read(Buffer.alloc(20), 0, 20)).buffer.toString('latin1', 0, 9), 'sightline')
  t.match((await play(camera('/dev/zero'))).fault, { code: 'SOURCE_UNREADABLE', message: /is a device/ })
})
