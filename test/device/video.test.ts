import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Frame } from '../../device/frame.ts'
import { sharedData } from '../kit/data.ts'
import { seeded } from '../kit/wait.ts'
import { writeClip } from './clip.ts'
import { camera, play } from './playing.ts'

const folder = t.testdir()
const clip = join(folder, 'clip.mkv')
const FRAMES = 60
t.before(() => writeClip({ file: clip, frames: FRAMES }))

const near = (t: Test, actual: Uint8Array, expected: readonly number[], message: string) =>
  t.ok(
    expected.every((value, i) => Math.abs(value - (actual[i] as number)) <= 8),
    `${message}: ${actual}`,
  )

t.test('a file played as fast as possible gives every frame once, in order', async (t) => {
  const seen = await play(camera(clip), (_frame, source) => {
    t.equal(source.live, false)
    t.equal(source.lossless, true)
  })
  t.equal(seen.fault, undefined)
  t.strictSame(seen.sequences, [...Array(FRAMES).keys()])
  t.strictSame(seen.skipped, {})
})

t.test('the scaled picture fits the detector; what is cut comes from the full-size picture', async (t) => {
  await play(camera(clip), async (frame) => {
    t.strictSame([frame.width, frame.height], [640, 360])
    t.strictSame([frame.scaled.width, frame.scaled.height], [320, 180])
    t.equal(frame.scaled.data.length, 320 * 180 * 3)
    near(t, frame.scaled.data.subarray((90 * 320 + 40) * 3), [255, 0, 0], 'red in the scaled picture')
    near(t, await frame.cut(80, 180, 1, 1), [255, 0, 0], 'red in the full picture')
    // Columns of one pixel: any smaller picture has grey there.
    near(t, await frame.cut(400, 180, 3, 1), [0, 0, 0, 255, 255, 255, 0, 0, 0], 'columns')
    near(t, await frame.cut(401, 181, 2, 1), [255, 255, 255, 0, 0, 0], 'columns from an odd place')
    return true
  })
})

t.test('a video from a phone held upright is turned as it asks', async (t) => {
  const file = join(folder, 'turned.mp4')
  await writeClip({ file, frames: 5, turned: true })
  const seen = await play(camera(file), async (frame) => {
    t.strictSame([frame.width, frame.height], [360, 640])
    t.strictSame([frame.scaled.width, frame.scaled.height], [180, 320])
    // What was left is on top; 233, 0, 2 is the clip's red read as BT.601, which is what MP4 leaves unsaid.
    near(t, await frame.cut(180, 100, 1, 1), [233, 0, 2], 'red on top')
    near(t, frame.scaled.data.subarray((50 * 180 + 90) * 3), [233, 0, 2], 'red on top of the scaled picture')
    near(t, await frame.cut(100, 400, 1, 3), [0, 0, 0, 255, 255, 255, 0, 0, 0], 'columns are rows now')
    return true
  })
  t.equal(seen.fault, undefined)
})

t.test('a frame that was disposed of cannot be cut', async (t) => {
  let kept: Frame | undefined
  await play(camera(clip), (frame) => {
    kept = frame
    return true
  })
  await t.rejects(async () => kept?.cut(0, 0, 1, 1), /disposed/)
})

t.test('in real time a file takes its time, and a slow taker misses frames, counted', async (t) => {
  const start = performance.now()
  const seen = await play(camera(clip, { pace: 'realtime' }), async () => {
    await new Promise((resolve) => setTimeout(resolve, 120))
  })
  const seconds = (performance.now() - start) / 1000
  t.ok(seconds > 2 && seconds < 4, `${seconds} s for 2.4 s of video`)
  t.ok(seen.frames < 30)
  t.equal(seen.frames + (seen.skipped['detector busy'] ?? 0), FRAMES)
  t.strictSame(
    seen.sequences,
    seen.sequences.toSorted((a, b) => a - b),
  )
})

t.test('a rate limit takes every so many frames, and counts the others', async (t) => {
  const seen = await play(camera(clip, { rateMax: 5 }))
  t.ok(Math.abs(seen.frames - FRAMES / 5) <= 1, `${seen.frames} frames`)
  t.equal(seen.frames + (seen.skipped.rate ?? 0), FRAMES)
  t.equal((await play(camera(clip, { rateMax: 25 }))).frames, FRAMES, 'its own rate skips nothing')
})

t.test('a looped file starts again', async (t) => {
  const seen = await play(camera(clip, { loop: true }), (frame) => frame.sequence >= FRAMES * 2.5)
  t.ok(seen.frames > FRAMES * 2)
  t.equal(seen.fault, undefined)
})

t.test('a video that is cut off plays what can be read, then says so', async (t) => {
  for (const ending of ['mkv', 'avi']) {
    const whole = join(folder, `whole.${ending}`)
    const cut = join(folder, `cut.${ending}`)
    await writeClip({ file: whole, frames: FRAMES })
    const bytes = readFileSync(whole)
    writeFileSync(cut, bytes.subarray(0, bytes.length * 0.6))
    const seen = await play(camera(cut))
    t.ok(seen.frames > FRAMES * 0.2 && seen.frames < FRAMES, `${ending}: ${seen.frames} frames`)
    t.match(seen.fault, { code: 'SOURCE_UNREADABLE', message: /cut off/ }, ending)
    t.equal(seen.damaged.truncated, 1)
  }
})

t.test('a real clip that is cut off says so too', async (t) => {
  const real = sharedData('video/short_hamilton_clip.mp4')
  if (real === undefined) {
    t.comment('skipped: the shared test data is absent')
    return
  }
  const bytes = readFileSync(real)
  const cut = join(folder, 'real-cut.mp4')
  writeFileSync(cut, bytes.subarray(0, bytes.length * 0.6))
  t.match((await play(camera(cut))).fault, { code: 'SOURCE_UNREADABLE', message: /cut off before its index/ })
  t.equal((await play(camera(real))).frames, 275)
})

t.test('a stop ends a source at once, while it plays and while it waits', async (t) => {
  for (const pace of ['realtime', 'asfast']) {
    const stop = new AbortController()
    const start = performance.now()
    const seen = await play(
      camera(clip, { pace, loop: true }),
      (frame) => {
        if (frame.sequence >= 5) stop.abort()
      },
      stop.signal,
    )
    t.equal(seen.fault, undefined)
    t.ok(performance.now() - start < 2000)
  }
})

t.test('a recording over HTTP is read to its end', async (t) => {
  const bytes = readFileSync(clip)
  const server = createServer((request, response) => {
    if (request.url !== '/clip.mkv') return response.writeHead(404).end()
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': bytes.length - from,
      'accept-ranges': 'bytes',
      'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    })
    return response.end(bytes.subarray(from))
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://user:secret@127.0.0.1:${(server.address() as AddressInfo).port}`
  const seen = await play(camera(`${url}/clip.mkv`), (_frame, source) => {
    t.notMatch(source.name, /secret/)
  })
  t.equal(seen.fault, undefined)
  t.equal(seen.frames, FRAMES)
  const missing = await play(camera(`${url}/none.mkv`))
  t.match(missing.fault, { code: 'SOURCE_UNAVAILABLE', message: /has no such stream/ })
  t.notMatch(missing.fault?.message, /secret/)
})

t.test('a camera that does not answer fails in its time, and a stop does not wait for that', async (t) => {
  const sockets: Socket[] = []
  const server = createTcpServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  for (const scheme of ['rtsp', 'rtmp', 'http']) {
    const source = `${scheme}://127.0.0.1:${port}/live`
    const start = performance.now()
    const late = await play(camera(source, { timeout: '600ms' }))
    t.match(late.fault, { code: 'SOURCE_UNAVAILABLE' }, scheme)
    t.ok(performance.now() - start < 3000, `${scheme} took ${performance.now() - start} ms`)
    const stop = new AbortController()
    setTimeout(() => stop.abort(), 100)
    const stopped = performance.now()
    await play(camera(source, { timeout: '20s' }), undefined, stop.signal)
    t.ok(performance.now() - stopped < 1500, `${scheme} stopped after ${performance.now() - stopped} ms`)
  }
})

t.test('what is not there is an error that says what to do', async (t) => {
  t.match((await play(camera(join(folder, 'none.mp4')))).fault, { code: 'SOURCE_NOT_FOUND' })
  t.match((await play(camera('rtsp://127.0.0.1:1/x'))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /Cannot connect to .*Check the address/,
  })
  t.match((await play(camera('/dev/video99'))).fault, {
    code: 'SOURCE_UNAVAILABLE',
    message: /No camera at .*video99\..*(There are: \/dev\/video\d|no \/dev\/video\*)/,
  })
})

t.test('a video with errors in it is played as far as it goes, and what is lost is counted', async (t) => {
  for (const ending of ['mkv', 'avi', 'ts']) {
    const file = join(folder, `garbled.${ending}`)
    await writeClip({ file, frames: FRAMES })
    const bytes = readFileSync(file)
    const random = seeded(9)
    for (let i = 0; i < 60; i += 1)
      bytes[Math.floor(bytes.length * (0.2 + 0.6 * random()))] = Math.floor(random() * 256)
    writeFileSync(file, bytes)
    const seen = await play(camera(file))
    t.ok(seen.frames > FRAMES / 10, `${ending}: ${seen.frames} frames`)
    if (seen.fault) t.match(seen.fault, { code: 'SOURCE_UNREADABLE', message: /garbled/ })
  }
  const noise = join(folder, 'noise.mp4')
  const random = seeded(3)
  writeFileSync(noise, Buffer.from(Array.from({ length: 20_000 }, () => Math.floor(random() * 256))))
  t.match((await play(camera(noise))).fault, { code: 'SOURCE_UNREADABLE', message: /noise\.mp4/ })
})

t.test('a video of 144 million pixels is refused before it is decoded', async (t) => {
  const file = join(folder, 'vast.y4m')
  writeFileSync(file, `YUV4MPEG2 W12000 H12000 F25:1 Ip A1:1 C420jpeg\nFRAME\n${'x'.repeat(1000)}`)
  t.match((await play(camera(file))).fault, {
    code: 'SOURCE_UNREADABLE',
    message: /vast\.y4m has pictures of 12000 x 12000 pixels; the limit is 64 million\. Make them smaller/,
  })
})

t.test('a recording that its server cuts off says so, and is not played again and again', async (t) => {
  const whole = join(folder, 'served.avi')
  await writeClip({ file: whole, frames: FRAMES })
  const bytes = readFileSync(whole).subarray(0, -Math.floor(readFileSync(whole).length * 0.4))
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const seen = await play(camera(`http://127.0.0.1:${port}/served.avi`))
  t.match(seen.fault, { code: 'SOURCE_UNREADABLE', message: /cut off/ })
  t.ok(seen.frames > FRAMES * 0.2, `${seen.frames} frames`)
})
