import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readClip } from '../../wire/clip.ts'
import { writeClip } from '../device/clip.ts'
import { sharedData } from '../kit/data.ts'

import { type CameraInput, decode, joined, type RecordedClip, record, remux } from './recording.ts'

/** Recordings by copy: what the camera sent, cut, and nothing else. */

const folder = t.testdir()
const hamilton = sharedData('video/short_hamilton_clip.mp4')
const street = sharedData('video/facenet-pytorch-video.mp4')
const skip = hamilton && street ? false : 'no test clips'

type Settings = NonNullable<CameraInput['record']>

const copyOf = (source: string, settings: Settings = {}) =>
  record({ source, pace: 'asfast', record: { mode: 'always', ...settings } })

/** Each begins where the one before ended, and says what is in it. */
async function checkFollows(t: Test, clips: readonly RecordedClip[]) {
  let endMs: number | undefined
  for (const [index, { metadata, payload }] of clips.entries()) {
    t.match(readClip(payload), { clip: metadata }, 'its metadata is in it')
    t.equal(metadata.sequence, index)
    t.equal(metadata.run, clips[0]?.metadata.run, 'one run')
    if (index === 0) t.strictSame(metadata.gap, { fromMs: null, why: 'start' })
    else {
      t.equal(metadata.gap, undefined)
      t.equal(metadata.capturedAtMs, endMs, 'it begins where the one before ended')
    }
    t.ok(Math.abs(metadata.endMs - metadata.capturedAtMs - metadata.durationMs) <= 1)
    endMs = metadata.endMs
    if (!metadata.independent) continue
    const alone = await decode(payload)
    t.equal(alone.pictures.length, metadata.frames, 'it plays by itself, every frame')
    t.equal(alone.errors, 0)
    const times = alone.pictures.map(({ at }) => at).sort((a, b) => a - b)
    const last = alone.pictures.at(-1)
    const spanMs = ((times.at(-1) ?? 0) + (last?.lasts ?? 0) - (times[0] ?? 0)) * 1000
    t.ok(Math.abs(spanMs - metadata.durationMs) < 1, `durationMs is exact: ${spanMs} ${metadata.durationMs}`)
    t.strictSame(alone.size, metadata.frame)
  }
}

async function checkSame(t: Test, source: string, clips: readonly RecordedClip[]) {
  const [was, is] = [await decode(source), await decode(joined(clips))]
  t.equal(is.pictures.length, was.pictures.length)
  t.strictSame(
    is.pictures.map(({ hash }) => hash),
    was.pictures.map(({ hash }) => hash),
    'the same pictures',
  )
  const [first, firstWas] = [is.pictures[0]?.at ?? 0, was.pictures[0]?.at ?? 0]
  const off = is.pictures.map(({ at }, index) => at - first - ((was.pictures[index]?.at ?? 0) - firstWas))
  t.ok(Math.max(...off.map(Math.abs)) < 0.0002, 'at the same times')
  return { was, is }
}

t.test(
  'the chunks of a run, joined, are the very frames of the source; each plays alone',
  { skip },
  async (t) => {
    const { clips } = await copyOf(hamilton as string)
    t.equal(clips.length, 3)
    await checkFollows(t, clips)
    await checkSame(t, hamilton as string, clips)
    for (const { metadata } of clips)
      t.match(metadata, { codec: 'h264', codecs: 'avc1.42c01e', encoded: false })
  },
)

t.test('frames that refer to later ones keep their order and their times', async (t) => {
  const pixel = (x: number, y: number, frame: number) => [(x + frame) % 256, y, (y * frame) % 256] as const
  const made = { codec: 'h264', frames: 200, width: 64, height: 48, reordered: 3, pixel } as const
  for (const ending of ['mp4', 'ts']) {
    const file = join(folder, `reordered.${ending}`)
    await writeClip({ ...made, file })
    const { clips } = await copyOf(file)
    t.ok(clips.length >= 3, `${clips.length} chunks`)
    await checkFollows(t, clips)
    await checkSame(t, file, clips)
  }
})

t.test('sound comes along where it is asked for, in step with the picture', { skip }, async (t) => {
  for (const source of [hamilton, street] as string[]) {
    const { clips } = await copyOf(source, { audio: true })
    t.match(clips[0]?.metadata, { audio: { codec: 'aac', channels: 2 }, codecs: /,mp4a\.40\.2$/ })
    const { was, is } = await checkSame(t, source, clips)
    // Of the sound, what lies before the first picture is left out.
    const moved = (is.pictures[0]?.at ?? 0) - (was.pictures[0]?.at ?? 0)
    const expected = was.sound.map((at) => at + moved).filter((at) => at >= 0)
    t.equal(is.sound.length, expected.length)
    const off = is.sound.map((at, index) => Math.abs(at - (expected[index] ?? 0)))
    t.ok(Math.max(...off) < 0.001, `off by ${Math.max(...off)} s`)
  }
  const { clips } = await copyOf(hamilton as string)
  t.equal(clips[0]?.metadata.audio, undefined)
  t.equal((await decode(joined(clips))).sound.length, 0, 'and does not where it is not')
})

t.test(
  'without a key frame a chunk is cut all the same, and says that it needs the one before',
  async (t) => {
    // One key frame in 26 s.
    const file = join(folder, 'one-key.mp4')
    await writeClip({ file, codec: 'h264', frames: 130, framerate: 5, width: 64, height: 48, keyEvery: 1000 })
    const { clips } = await copyOf(file)
    t.strictSame(
      clips.map(({ metadata }) => [metadata.independent, metadata.durationMs]),
      [
        [true, 10_000],
        [false, 10_000],
        [false, 6000],
      ],
    )
    await checkFollows(t, clips)
    await checkSame(t, file, clips)
  },
)

t.test('H.265 is hvc1', async (t) => {
  for (const ending of ['mp4', 'ts']) {
    const file = join(folder, `hevc.${ending}`)
    await writeClip({ file, codec: 'hevc10', frames: 100, width: 64, height: 48 })
    const { clips } = await copyOf(file)
    await checkFollows(t, clips)
    t.match(clips[0]?.metadata, { codec: 'hevc', codecs: /^hvc1\.2\./ })
    const { is } = await checkSame(t, file, clips)
    t.equal(is.tag, 'hvc1')
  }
})

t.test('AV1 is copied', async (t) => {
  const file = join(folder, 'av1.mkv')
  await writeClip({ file, codec: 'av1', frames: 100, width: 64, height: 48 })
  const { clips } = await copyOf(file)
  await checkFollows(t, clips)
  t.match(clips[0]?.metadata, { codec: 'av1', codecs: /^av01\./ })
  await checkSame(t, file, clips)
})

t.test('a stream with start codes is copied too', async (t) => {
  const file = join(folder, 'plain.ts')
  await writeClip({ file, codec: 'h264', frames: 200, width: 64, height: 48 })
  const { clips } = await copyOf(file)
  await checkFollows(t, clips)
  await checkSame(t, file, clips)
})

t.test('how the camera is mounted is for players to heed', async (t) => {
  const file = join(folder, 'turned.mp4')
  await writeClip({ file, codec: 'h264', frames: 30, width: 64, height: 48, turned: true })
  const turns = async (rotate: 0 | 90 | 180 | 270) => {
    const { clips } = await record({ source: file, pace: 'asfast', rotate, record: { mode: 'always' } })
    return clips[0]
  }
  t.equal((await turns(0))?.metadata.rotation, 90, 'as the file says')
  t.equal((await turns(90))?.metadata.rotation, 180, 'and as the settings say, on top')
  const upright = await turns(270)
  t.equal(upright?.metadata.rotation, undefined)
  const { orientation } = await decode((await turns(90))?.payload ?? '')
  t.strictSame(orientation, { quarters: 2, mirrored: false }, 'the file says so too')
  t.strictSame((await decode(upright?.payload ?? '')).orientation, { quarters: 0, mirrored: false })
})

t.test('sound whose packets each have a header of their own, as MPEG-TS has it', { skip }, async (t) => {
  const file = join(folder, 'sound.ts')
  await remux(hamilton as string, file, 5)
  const { clips } = await copyOf(file, { audio: true })
  t.match(clips[0]?.metadata, {
    audio: { codec: 'aac', sampleRate: 44_100 },
    codecs: 'avc1.42c01e,mp4a.40.2',
  })
  const [was, is] = [await decode(file), await decode(joined(clips))]
  t.equal(is.pictures.length, was.pictures.length)
  const moved = (is.pictures[0]?.at ?? 0) - (was.pictures[0]?.at ?? 0)
  const expected = was.sound.map((at) => at + moved)
  const off = is.sound.map((at) => Math.min(...expected.map((it) => Math.abs(it - at))))
  t.ok(is.sound.length > 380, `${is.sound.length} packets`)
  t.ok(Math.max(...off) < 0.002, `in step: off by ${Math.max(...off)} s`)
  t.ok(is.samples > 8.5 * 44_100, `it decodes: ${is.samples} samples`)
})

t.test(
  'sound is in step beside pictures that are encoded too, wherever the stream’s clock begins',
  { skip },
  async (t) => {
    const file = join(folder, 'late.ts')
    await remux(hamilton as string, file, 5)
    const was = await decode(file)
    t.ok((was.pictures[0]?.at ?? 0) > 4, 'its clock does not begin at 0')
    const { clips } = await copyOf(file, { audio: true, encode: 'always' })
    t.ok(clips.every(({ metadata }) => metadata.encoded && metadata.audio?.codec === 'aac'))
    const is = await decode(joined(clips))
    t.equal(is.pictures.length, was.pictures.length)
    const moved = (is.pictures[0]?.at ?? 0) - (was.pictures[0]?.at ?? 0)
    const expected = was.sound.map((at) => at + moved)
    const off = is.sound.map((at) => Math.min(...expected.map((it) => Math.abs(it - at))))
    t.ok(is.sound.length > 0.9 * was.sound.length, `${is.sound.length} of ${was.sound.length} packets`)
    t.ok(Math.max(...off) < 0.003, `off by ${Math.max(...off)} s`)
    t.ok(is.samples > 8 * 44_100, `it decodes: ${is.samples} samples`)
  },
)
