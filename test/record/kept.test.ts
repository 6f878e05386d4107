import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AV_PIX_FMT_YUV420P } from 'node-av/constants'
import { type Frame as AvFrame, FormatContext, Packet } from 'node-av/lib'
import t from 'tap'
import type { Frame } from '../../device/frame.ts'
import type { Recorder } from '../../device/record/recorder.ts'
import { writeClip } from '../device/clip.ts'
import { until } from '../kit/wait.ts'
import { type CameraInput, decode, joined, openRecorder, type RecordedClip, record } from './recording.ts'

/** What is encoded, what is hidden, and what is kept of it all. */

const folder = t.testdir()
const grey = () => [150, 150, 150] as const
type Settings = NonNullable<CameraInput['record']>

/** Of a picture, luma at these fractions of it. */
function lumaAt(picture: AvFrame, places: readonly (readonly [number, number])[]): number[] {
  const plane = picture.data?.[0]
  const stride = picture.linesize[0] ?? 0
  return places.map(
    ([x, y]) => plane?.[Math.floor(y * picture.height) * stride + Math.floor(x * picture.width)] ?? -1,
  )
}

async function lumaOf(clip: Buffer, places: readonly (readonly [number, number])[]) {
  const seen: number[][] = []
  await decode(clip, (picture) => {
    if (picture.format !== AV_PIX_FMT_YUV420P) throw new Error('other pixels than expected')
    seen.push(lumaAt(picture, places))
  })
  return seen
}

t.test('what MP4 and browsers do not take is encoded as H.264, every frame, at its time', async (t) => {
  for (const [codec, ending] of [
    ['mjpeg', 'mkv'],
    ['raw', 'avi'],
    ['vp8', 'mkv'],
  ] as const) {
    const file = join(folder, `${codec}.${ending}`)
    await writeClip({ file, codec, frames: 100, width: 128, height: 96, pixel: grey })
    const { clips } = await record({ source: file, pace: 'asfast', record: { mode: 'always', chunk: '1s' } })
    t.equal(clips.length, 4, codec)
    for (const { metadata, payload } of clips) {
      t.match(metadata, { encoded: true, codec: 'h264', independent: true, frames: 25, frame: [128, 96] })
      const alone = await decode(payload)
      t.equal(alone.pictures.length, 25)
      t.equal(alone.errors, 0)
    }
    const { pictures } = await decode(joined(clips))
    const steps = pictures.slice(1).map(({ at }, index) => at - (pictures[index]?.at ?? 0))
    t.ok(
      steps.every((step) => Math.abs(step - 0.04) < 0.002),
      'at the pace of the source',
    )
    const [luma] = await lumaOf(clips[0]?.payload ?? Buffer.alloc(0), [[0.5, 0.5]])
    t.ok(Math.abs((luma?.[0] ?? 0) - 145) < 8, `grey stays grey: ${luma}`)
  }
})

t.test('what a mask hides is in no recording, however the camera is mounted', async (t) => {
  const file = join(folder, 'grey.mp4')
  await writeClip({ file, codec: 'h264', frames: 30, width: 128, height: 96, pixel: grey })
  // The upper left quarter of the picture as people see it.
  const masks = [{ left: 0, top: 0, width: 0.5, height: 0.5 }]
  const places = [
    [0.1, 0.1],
    [0.9, 0.1],
    [0.1, 0.9],
    [0.9, 0.9],
  ] as const
  for (const [mounted, hidden] of [
    [{}, 0],
    // Turned clockwise, what was lower left is upper left.
    [{ rotate: 90 }, 2],
    [{ rotate: 180 }, 3],
    [{ mirror: 'horizontal' }, 1],
    [{ mirror: 'vertical' }, 2],
  ] as const) {
    const { clips } = await record({
      source: file,
      pace: 'asfast',
      masks,
      ...mounted,
      record: { mode: 'always' },
    })
    t.equal(clips.length, 1)
    t.match(clips[0]?.metadata, { encoded: true })
    const luma = await lumaOf(clips[0]?.payload ?? Buffer.alloc(0), places)
    t.equal(luma.length, 30)
    for (const [index] of places.entries()) {
      const all = luma.map((values) => values[index] ?? -1)
      if (index === hidden) t.ok(Math.max(...all) < 30, `${JSON.stringify(mounted)}: hidden in every frame`)
      else t.ok(Math.min(...all) > 120, `${JSON.stringify(mounted)}: nothing else is`)
    }
  }
})

t.test('a mask also holds where there is nothing but frames, and they are turned already', async (t) => {
  const stop = new AbortController()
  const { clips } = await record(
    {
      source: 'testcard',
      rotate: 90,
      masks: [{ left: 0, top: 0, width: 0.5, height: 0.5 }],
      record: { mode: 'always' },
    },
    {
      signal: stop.signal,
      see: async (frame, recorder) => {
        await recorder.see('door', frame, [])
        if (frame.sequence > 20) stop.abort()
      },
    },
  )
  t.match(clips[0]?.metadata, { encoded: true, rotation: undefined, frame: [720, 1280] })
  const luma = await lumaOf(clips[0]?.payload ?? Buffer.alloc(0), [[0.25, 0.25]])
  t.ok(luma.length > 5)
  t.ok(Math.max(...luma.flat()) < 30)
})

t.test('a device that shall encode always does, up to its bitrate', async (t) => {
  const file = join(folder, 'noise.mp4')
  let random = 1
  const noise = () => {
    random = (random * 16_807) % 2_147_483_647
    return [random % 256, (random >> 8) % 256, (random >> 16) % 256] as const
  }
  await writeClip({ file, codec: 'h264', frames: 100, width: 128, height: 96, pixel: noise })
  const sizeOf = async (bitrateMax: number) => {
    const settings: Settings = { mode: 'always', encode: 'always', bitrateMax, quality: 10 }
    const { clips } = await record({ source: file, pace: 'asfast', record: settings })
    t.ok(clips.every(({ metadata }) => metadata.encoded))
    return joined(clips).length
  }
  const [much, little] = [await sizeOf(50_000_000), await sizeOf(200_000)]
  t.ok(little < (200_000 / 8) * 4 * 1.7, `${little} bytes in 4 s`)
  t.ok(much > little * 3, `${much} bytes where there is room`)
})

/** A camera of a hundred frames a second, with four key frames. */
const quick = join(folder, 'quick.mp4')

t.before(() =>
  writeClip({
    ...{ file: quick, codec: 'h264', frames: 400, framerate: 100, keyEvery: 25 },
    ...{ width: 64, height: 48, pixel: grey },
  }),
)

/** Sends its packets at its pace. */
async function play(
  recorder: Recorder,
  { frames, at }: { frames: number; at?: (index: number, atMs: number) => void },
) {
  const format = new FormatContext()
  format.allocContext()
  await format.openInput(quick)
  await format.findStreamInfo()
  const [stream] = format.streams
  const tap = recorder.tap('door')
  if (!stream || !tap) throw new Error('nothing to play')
  tap.opened(stream, undefined)
  using packet = new Packet()
  packet.alloc()
  const startMs = performance.now()
  for (let index = 0; index < frames && (await format.readFrame(packet)) >= 0; index += 1) {
    await sleep(Math.max(0, startMs + index * 10 - performance.now()))
    at?.(index, Date.now())
    tap.packet(packet, 'video', Date.now())
    packet.unref()
  }
  tap.closed()
  await format.closeInput()
}

const looked = (atMs: number) => ({ capturedAtMs: atMs, atMs, width: 1, height: 1 }) as unknown as Frame
const face = { box: [0, 0, 1, 1], score: 0.9, sure: true } as const

t.test('faces: what was before and after is kept, and nothing else; the gaps say so', async (t) => {
  const { recorder, clips } = await openRecorder({
    source: quick,
    record: { mode: 'faces', before: '300ms', after: '300ms', chunk: '500ms' },
  })
  const seenMs: number[] = []
  await play(recorder, {
    frames: 400,
    at: (index, atMs) => {
      // Somebody from 1.6 to 1.9 s, and nobody sure at 3 s.
      const isSomebody = index >= 160 && index < 190
      if (isSomebody) seenMs.push(atMs)
      const faces = isSomebody ? [face] : index === 300 ? [{ ...face, sure: false }] : []
      void recorder.see('door', looked(atMs), faces)
    },
  })
  await recorder[Symbol.asyncDispose]()
  const [first, last] = [clips[0]?.metadata, clips.at(-1)?.metadata]
  const [from, to] = [(seenMs[0] ?? 0) - 300, (seenMs.at(-1) ?? 0) + 300]
  t.ok((first?.capturedAtMs ?? Infinity) <= from, 'what was before the first face is in it')
  t.ok((first?.capturedAtMs ?? 0) > from - 600, 'and not a chunk more')
  t.ok((last?.endMs ?? 0) >= to && (last?.endMs ?? Infinity) < to + 600, 'and what came after the last')
  t.strictSame(first?.gap, { fromMs: null, why: 'no faces' })
  t.ok(clips.every(({ metadata }) => metadata.because === 'faces'))
  t.equal(clips.filter(({ metadata }) => metadata.gap).length, 1)
  t.ok(clips.some(({ metadata }) => metadata.faces === 1))
  t.ok((first?.sequence ?? 0) > 0, 'chunks that are not kept are counted')
})

t.test('a second face after a pause: the gap is exactly what was not kept', async (t) => {
  const { recorder, clips } = await openRecorder({
    source: quick,
    record: { mode: 'faces', before: '0s', after: '0s', chunk: '500ms' },
  })
  await play(recorder, {
    frames: 240,
    at: (index, atMs) => void recorder.see('door', looked(atMs), index === 10 || index === 220 ? [face] : []),
  })
  await recorder[Symbol.asyncDispose]()
  t.equal(clips.length, 2)
  t.strictSame(clips[1]?.metadata.gap, { fromMs: clips[0]?.metadata.endMs, why: 'no faces' })
})

t.test('always: what detection and the motion gate saw is in the metadata', async (t) => {
  const { recorder, clips } = await openRecorder({
    source: quick,
    record: { mode: 'always', chunk: '500ms' },
  })
  await play(recorder, {
    frames: 150,
    at: (index, atMs) => {
      recorder.moved('door', atMs, index % 4 === 0)
      void recorder.see('door', looked(atMs), index === 10 ? [face, face] : [])
    },
  })
  await recorder[Symbol.asyncDispose]()
  t.equal(clips[0]?.metadata.faces, 2)
  t.equal(clips[1]?.metadata.faces, 0)
  t.ok(Math.abs((clips[0]?.metadata.motion ?? 0) - 0.25) < 0.1, `${clips[0]?.metadata.motion}`)
})

t.test('pausing ends a recording with what there is; going on says since when', async (t) => {
  const { recorder, clips } = await openRecorder({ source: quick, record: { mode: 'always', chunk: '10s' } })
  t.equal(recorder.state('door')?.recording, true)
  await play(recorder, {
    frames: 100,
    at: (index) => {
      if (index === 30) recorder.set('door', 'always', true)
      if (index === 31) t.equal(recorder.state('door')?.recording, false)
      if (index === 60) recorder.set('door', 'always', false)
    },
  })
  await recorder[Symbol.asyncDispose]()
  t.equal(clips.length, 2)
  t.equal(clips[0]?.metadata.frames, 30, 'the last partial chunk is flushed')
  t.strictSame(clips[1]?.metadata.gap, { fromMs: clips[0]?.metadata.endMs, why: 'paused' })
  t.equal(clips[1]?.metadata.independent, true)
  t.equal(recorder.state('door')?.clips, 2)
  t.equal(recorder.state('door')?.bytes, joined(clips).length + (clips[1]?.metadata.initBytes ?? 0))
})

t.test('chunks that could not be kept: the next one says since when, and that they are lost', async (t) => {
  const lost: RecordedClip[] = []
  const { recorder, clips } = await openRecorder(
    { source: quick, record: { mode: 'always', chunk: '500ms' } },
    (clip) => ![1, 2].includes(clip.metadata.sequence) || lost.push(clip) === 0,
  )
  await play(recorder, { frames: 300 })
  await recorder[Symbol.asyncDispose]()
  const [before, next, after] = clips.map(({ metadata }) => metadata)
  t.equal(lost.length, 2, `${clips.length} kept: ${clips.map(({ metadata }) => metadata.sequence)}`)
  t.strictSame(next?.gap, { fromMs: lost[0]?.metadata.capturedAtMs, why: 'lost' }, 'all of them')
  t.equal(next?.gap?.fromMs, before?.endMs)
  t.equal(next?.sequence, 3, 'they are counted')
  t.equal(after?.gap, undefined)
})

t.test('a camera that is off records nothing, until it is told to', async (t) => {
  const { recorder, clips } = await openRecorder({ source: quick })
  await play(recorder, {
    frames: 60,
    at: (index) => {
      if (index === 20) recorder.set('door', 'always', false)
    },
  })
  await recorder[Symbol.asyncDispose]()
  t.equal(clips.length, 1)
  t.equal(clips[0]?.metadata.frames, 35, 'from the next key frame on')
  t.strictSame(clips[0]?.metadata.gap, { fromMs: null, why: 'start' })
})

t.test(
  'the memory for the seconds before is bounded: the oldest go, and the gap says that they are lost',
  async (t) => {
    const { recorder, clips, meters } = await openRecorder({
      source: quick,
      record: { mode: 'faces', before: '1h', after: '0s', chunk: '500ms', waitingMax: '4KB' },
    })
    await play(recorder, {
      frames: 400,
      at: (index, atMs) => void recorder.see('door', looked(atMs), index === 399 ? [face] : []),
    })
    await recorder[Symbol.asyncDispose]()
    const lost =
      (await meters.recordLost.get()).values.find(({ labels }) => labels.what === 'chunk')?.value ?? 0
    t.ok(lost > 2, `${lost} chunks lost`)
    t.equal(clips[0]?.metadata.gap?.why, 'lost')
    t.equal(clips[0]?.metadata.sequence, lost, 'those that are lost are counted')
  },
)

t.test('packets that come faster than they can be kept are counted, and the gap says lost', async (t) => {
  const file = join(folder, 'large.mp4')
  await writeClip({ file, codec: 'h264', frames: 30, width: 320, height: 240, keyEvery: 5 })
  const { recorder, clips, meters } = await openRecorder({ source: file, record: { mode: 'always' } })
  const tap = recorder.tap('door')
  const format = new FormatContext()
  format.allocContext()
  await format.openInput(file)
  await format.findStreamInfo()
  const [stream] = format.streams
  if (!stream || !tap) throw new Error('nothing to play')
  tap.opened(stream, undefined)
  using packet = new Packet()
  packet.alloc()
  await format.readFrame(packet)
  // Without a pause in which any could be taken: 40 MB and more wait at once.
  const times = Math.ceil(40_000_000 / packet.size)
  const startMs = Date.now()
  for (let index = 0; index < times; index += 1) {
    packet.pts += 512n
    packet.dts += 512n
    tap.packet(packet, 'video', startMs + index * 40)
  }
  const lostSoFar = async () =>
    (await meters.recordLost.get()).values.find(({ labels }) => labels.what === 'packet')?.value ?? 0
  const kept = () => clips.reduce((sum, { metadata }) => sum + metadata.frames, 0)
  const lostAtOnce = await lostSoFar()
  await until('all that had room are chunks', () => kept() === times - lostAtOnce)
  packet.pts += 512n
  packet.dts += 512n
  tap.packet(packet, 'video', startMs + times * 40)
  tap.closed()
  await recorder[Symbol.asyncDispose]()
  await format.closeInput()
  t.ok(lostAtOnce > 0, `${lostAtOnce} packets`)
  t.equal(clips.at(-1)?.metadata.gap?.why, 'lost')
  t.equal(kept(), times - (await lostSoFar()) + 1, 'every packet is in a chunk or counted')
})
