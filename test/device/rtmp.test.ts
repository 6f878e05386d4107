import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { changeStream, newStreamKey } from '../../device/listen/change.ts'
import { RtmpServer } from '../../device/listen/rtmp/server.ts'
import { Streams } from '../../device/listen/streams.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { Pushed } from '../../device/sources/pushed.ts'
import { WHOLE_VIEW } from '../../device/sources/view.ts'
import { openLog } from '../../lib/log.ts'
import { type CameraClipOptions, writeCameraClip } from '../kit/camera-clip.ts'
import { openAuthority } from '../kit/certificates.ts'
import { RtmpPublisher } from '../kit/rtmp-publisher.ts'
import { until } from '../kit/wait.ts'

/** Real publishers: FFmpeg, which pushes to our server. */

const folder = t.testdir()
const clip = (name: string) => join(folder, `${name}.mp4`)
const log = openLog('test', 'silent')

t.before(async () => {
  const make = (name: string, options: Omit<CameraClipOptions, 'file'>) =>
    writeCameraClip({ file: clip(name), ...options })
  await make('h264', { codec: 'h264', frames: 50, sound: true })
  await make('larger', { codec: 'h264', frames: 50, sound: true, width: 480, height: 270 })
  await make('hevc', { codec: 'hevc', frames: 50 })
  await make('av1', { codec: 'av1', frames: 50 })
})

/** A server with one stream, and a camera that counts its frames. */
async function open(
  t: Test,
  {
    takeOver = false,
    graceMs = 1500,
    goneMs,
    tls,
  }: { takeOver?: boolean; graceMs?: number; goneMs?: number; tls?: Tls } = {},
) {
  const file = join(t.testdir(), 'streams.yaml')
  const key = newStreamKey()
  await changeStream({ file }, 'door', { do: 'add', keyHash: hashOfKey(key), takeOver })
  const streams = await Streams.open({ file, taken: new Set(), graceMs, log, lookMs: 100 })
  const refused: string[] = []
  const server = await RtmpServer.open({
    host: '127.0.0.1',
    port: 0,
    tls,
    connectionsMax: 50,
    connectionsPerAddressMax: 50,
    goneMs,
    doorkeeper: streams,
    log,
    refused: (why) => refused.push(why),
  })
  const stop = new AbortController()
  const seen = {
    frames: 0,
    sizes: new Set<string>(),
    sequences: [] as number[],
    openings: 0,
    waiting: 0,
    damaged: [] as string[],
  }
  const read = async () => {
    const events = {
      skipped() {},
      damaged: (what: string) => void seen.damaged.push(what),
      waiting: () => {
        seen.waiting += 1
      },
    }
    const options = { camera: 'door', rateMax: Infinity, timeoutMs: 5000, view: WHOLE_VIEW }
    while (!stop.signal.aborted) {
      const context = { input: { width: 256, height: 256 }, log, streams, events }
      await using source = await Pushed.open(options, context, stop.signal)
      seen.openings += 1
      for await (const frame of source) {
        seen.frames += 1
        seen.sizes.add(`${frame.width}x${frame.height}`)
        seen.sequences.push(frame.sequence)
        frame[Symbol.dispose]()
      }
    }
  }
  const reading = read().catch((error: unknown) => {
    if (!stop.signal.aborted && streams.has('door')) t.fail(String(error))
  })
  t.teardown(async () => {
    stop.abort()
    await server[Symbol.asyncDispose]()
    await streams[Symbol.asyncDispose]()
    await reading
  })
  const publish = (names: string | string[], path = key, options = {}) => {
    const publisher = new RtmpPublisher([names].flat().map(clip), `${server.url}/${path}`, options)
    t.teardown(() => publisher[Symbol.asyncDispose]())
    return publisher
  }
  const frames = (more: number) => {
    const enough = seen.frames + more
    return until(`${more} more frames`, () => seen.frames >= enough, 15_000)
  }
  const change = (change: Parameters<typeof changeStream>[2]) => changeStream({ file }, 'door', change)
  return { file, key, streams, server, refused, seen, publish, frames, change }
}

type Tls = Parameters<typeof RtmpServer.open>[0]['tls']

for (const [name, codec] of [
  ['h264', 'h264'],
  ['hevc', 'hevc'],
  ['av1', 'av1'],
] as const)
  t.test(`${name} is published by FFmpeg, and seen`, async (t) => {
    const { publish, frames, seen, streams } = await open(t)
    const publisher = publish(name)
    t.equal(await publisher.opened, true, publisher.said.join())
    await frames(30)
    t.strictSame([...seen.sizes], ['320x180'])
    t.match(streams.state('door')?.live, {
      by: 'rtmp',
      codec,
      audio: name === 'h264' ? 'aac' : null,
      frame: [320, 180],
    })
    t.equal(streams.state('door')?.from, '127.0.0.1')
    t.strictSame(seen.damaged, [])
  })

t.test('a wrong, a missing, an inactive key is refused, and the publisher is told', async (t) => {
  const { publish, change, refused, streams } = await open(t)
  const wrong = publish('h264', newStreamKey())
  t.equal(await wrong.opened, false)
  t.match(wrong.said.join(), /stream key is wrong/)
  const none = publish('h264', 'x?key=')
  t.equal(await none.opened, false)
  await change({ do: 'deactivate' })
  await streams.look()
  const inactive = publish('h264')
  t.equal(await inactive.opened, false)
  t.match(inactive.said.join(), /deactivated/)
  t.strictSame(refused, ['unknown key', 'unknown key', 'inactive'])
})

t.test('a key may also stand behind a name, and another application is refused', async (t) => {
  const { key, publish, frames, server } = await open(t)
  await publish('h264', `front?key=${key}`).opened
  await frames(5)
  const other = new RtmpPublisher(clip('h264'), `${server.url.replace(/live$/, 'vod')}/${key}`)
  t.teardown(() => other[Symbol.asyncDispose]())
  t.equal(await other.opened, false)
  t.match(other.said.join(), /no application of that name/)
})

t.test('a second publisher is refused, or takes over, as the stream says', async (t) => {
  const { publish, frames, change, streams, seen } = await open(t)
  const first = publish('h264')
  await first.opened
  await frames(10)
  const second = publish('h264')
  t.equal(await second.opened, false)
  t.match(second.said.join(), /Somebody else publishes/)
  await frames(5)
  await change({ do: 'settings', takeOver: true })
  await streams.look()
  const third = publish('h264')
  t.equal(await third.opened, true)
  await first.exited
  await frames(10)
  t.equal(seen.openings, 1, 'the camera went on')
})

t.test('a publisher that comes back within the grace period: the camera stays up', async (t) => {
  const { publish, frames, seen } = await open(t, { graceMs: 4000 })
  const first = publish('h264')
  await first.opened
  await frames(10)
  await first.kill()
  const again = publish('h264')
  await again.opened
  await frames(10)
  t.equal(seen.openings, 1)
  t.equal(seen.waiting, 1, 'it waited before the first alone')
  t.strictSame(seen.sequences, [...seen.sequences.keys()], 'frames are counted on')
  await again.kill()
  await until('it waits again', () => seen.waiting === 2)
})

for (const [what, how] of [
  ['rotated', { do: 'rotate', keyHash: hashOfKey(newStreamKey()) }],
  ['deactivated', { do: 'deactivate' }],
  ['removed', { do: 'remove' }],
] as const)
  t.test(`a key that is ${what} in the file ends the live stream within 2 s`, async (t) => {
    const { publish, frames, change, streams } = await open(t)
    const publisher = publish('h264')
    await publisher.opened
    await frames(5)
    const startMs = performance.now()
    await change(how)
    await until('nobody publishes', () => !streams.state('door')?.live, 2000)
    await publisher.exited
    t.ok(performance.now() - startMs < 2500, `${performance.now() - startMs} ms`)
  })

t.test('a broken streams file changes nothing', async (t) => {
  const { publish, frames, file, streams } = await open(t)
  await publish('h264').opened
  await frames(5)
  const { writeFileSync } = await import('node:fs')
  writeFileSync(file, readFileSync(file, 'utf8').replace(/keyHash: .*/, 'keyHash: 12345'))
  await streams.look()
  await frames(20)
  t.ok(streams.state('door')?.live)
})

t.test('RTMPS, with a certificate as there are', async (t) => {
  const authority = await openAuthority(t)
  const tls = await authority.server('device')
  const { publish, frames, server, streams } = await open(t, { tls })
  t.match(server.url, /^rtmps:/)
  const publisher = publish('h264')
  t.equal(await publisher.opened, true, publisher.said.join())
  await frames(10)
  t.equal(streams.state('door')?.live?.by, 'rtmps')
})

t.test('one who is silent makes way for the next with its key', async (t) => {
  const { publish, frames, seen } = await open(t, { graceMs: 8000 })
  const first = publish('h264')
  await first.opened
  await frames(5)
  first.stop()
  await sleep(4500)
  const second = publish('h264')
  t.equal(await second.opened, true, second.said.join())
  await frames(10)
  t.equal(seen.openings, 1)
})

t.test('one whose connection stays and brings nothing is gone after a while', async (t) => {
  const { publish, frames, seen, streams, refused } = await open(t, { graceMs: 500, goneMs: 1500 })
  const publisher = publish('h264')
  await publisher.opened
  await frames(5)
  publisher.stop() // as when its power fails: no word, no end of its connection
  const startMs = performance.now()
  await until('it is gone', () => streams.state('door')?.live === null, 6000)
  t.ok(performance.now() - startMs > 1000, 'not at once')
  t.strictSame(refused, ['gone'])
  await until('the camera waits', () => seen.waiting === 2)
})

t.test('a size that changes on one connection: frames of both, and nothing damaged', async (t) => {
  const { publish, seen, streams } = await open(t)
  const publisher = publish(['h264', 'larger'])
  t.equal(await publisher.opened, true, publisher.said.join())
  await until('the larger frames', () => seen.sizes.size === 2, 15_000)
  t.match(streams.state('door')?.live?.frame, [480, 270])
  const larger = seen.frames
  await until('and so on', () => seen.frames > larger + 60, 15_000)
  t.strictSame([...seen.sizes].sort(), ['320x180', '480x270'])
  t.equal(seen.openings, 1)
  t.strictSame(seen.damaged, [])
  t.strictSame(seen.sequences, [...seen.sequences.keys()])
})

t.test('times that begin at a large number, beyond 24 bits and the end of 32', async (t) => {
  const { publish, frames, seen } = await open(t)
  for (const offsetMs of [0xffffff - 500, 2 ** 31 - 500]) {
    const publisher = publish('h264', undefined, { offsetMs })
    t.equal(await publisher.opened, true, publisher.said.join())
    await frames(35)
    await publisher.kill()
  }
  t.strictSame(seen.damaged, [])
})

t.test('a codec that changes: the camera goes on', async (t) => {
  const { publish, frames, seen, streams } = await open(t, { takeOver: true })
  await publish('h264').opened
  await frames(10)
  await publish('hevc').opened
  await until('it is the other codec', () => streams.state('door')?.live?.codec === 'hevc', 15_000)
  await frames(10)
  t.equal(seen.openings, 1)
})
