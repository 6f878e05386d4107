import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { FormatContext, Packet } from 'node-av/lib'
import t, { type Test } from 'tap'
import { type Chunk, Segmenter } from '../../device/record/segmenter.ts'
import { Track } from '../../device/record/track.ts'
import { newId } from '../../wire/id.ts'
import { type ClipOptions, writeClip } from '../device/clip.ts'
import { decode } from './recording.ts'

/** Streams that do what streams should not do: real packets, with times, sizes and clocks that change. */

const folder = t.testdir()
const START_MS = Date.UTC(2026, 10, 28, 10)
const FRAME_MS = 40

/** The video packets of a clip of ours, and what its container says of them. */
async function packetsOf(name: string, options: Partial<ClipOptions> = {}) {
  const file = join(folder, name)
  if (!existsSync(file))
    await writeClip({ file, codec: 'h264', frames: 150, width: 64, height: 48, ...options })
  const format = new FormatContext()
  format.allocContext()
  await format.openInput(file)
  await format.findStreamInfo()
  const stream = format.streams[0] as FormatContext['streams'][number]
  const packets: Packet[] = []
  for (;;) {
    const packet = new Packet()
    packet.alloc()
    if ((await format.readFrame(packet)) < 0) break
    packets.push(packet)
  }
  const track = new Track(stream)
  await format.closeInput()
  return { packets, track, ticksPerMs: track.timeBase.den / track.timeBase.num / 1000 }
}

function openSegmenter() {
  const chunks: Chunk[] = []
  const segmenter = new Segmenter({
    ...{ chunkMs: 2000, chunkMsMax: 10_000, bytesMax: 15_000_000, paced: true, mint: newId },
    take: (chunk) => chunks.push(chunk),
  })
  return { chunks, segmenter }
}

const whole = ({ init, fragments }: Chunk) => Buffer.concat([init, ...fragments])
const facts = (chunks: readonly Chunk[]) => chunks.map(({ facts }) => facts)
const COPY = { rotation: 0, encoded: false } as const

/** What holds of all chunks of a camera, whatever its stream does. */
async function checkSound(t: Test, chunks: readonly Chunk[]) {
  let endMs = -Infinity
  const sequences = new Map<string, number>()
  for (const chunk of chunks) {
    const { capturedAtMs, endMs: end, durationMs, gap, run, sequence, frames, independent } = chunk.facts
    t.ok(durationMs > 0 && end > capturedAtMs, 'it lasts')
    if (gap?.why !== 'clock set') t.ok(capturedAtMs >= endMs, 'it does not overlap the one before')
    if (gap?.fromMs != null) t.ok(gap.fromMs <= capturedAtMs, 'nor does its gap')
    t.equal(sequence, sequences.get(run) ?? 0)
    sequences.set(run, sequence + 1)
    endMs = end
    if (independent) {
      const decoded = await decode(whole(chunk))
      t.equal(decoded.pictures.length, frames)
      t.equal(decoded.errors, 0)
      t.strictSame(decoded.size, chunk.facts.frame)
    }
  }
}

t.test('times that jump neither lose a frame nor overlap; only time that passed is a gap', async (t) => {
  for (const [what, byMs, passedMs] of [
    ['ahead, and no time passes', 3_600_000, 0],
    ['back, and no time passes', -50_000, 0],
    ['ahead, and as much time passes', 20_000, 20_000],
  ] as const) {
    const { packets, track, ticksPerMs } = await packetsOf('plain.mp4')
    const { chunks, segmenter } = openSegmenter()
    await segmenter.begin(track, undefined, COPY)
    for (const [index, packet] of packets.entries()) {
      const isAfter = index >= 90 // in the middle of a group
      if (isAfter) {
        packet.pts += BigInt(Math.round(byMs * ticksPerMs))
        packet.dts += BigInt(Math.round(byMs * ticksPerMs))
      }
      const atMs = START_MS + index * FRAME_MS + (isAfter ? passedMs : 0)
      await segmenter.put(packet, 'video', atMs, atMs)
    }
    await segmenter[Symbol.asyncDispose]()
    await checkSound(t, chunks)
    t.equal(
      chunks.reduce((sum, { facts }) => sum + facts.frames, 0),
      150,
      `${what}: every frame`,
    )
    t.equal(new Set(chunks.map(({ facts }) => facts.run)).size, 1)
    const decoded = await decode(
      Buffer.concat([whole(chunks[0] as Chunk), ...chunks.slice(1).flatMap(({ fragments }) => fragments)]),
    )
    t.equal(decoded.pictures.length, 150, `${what}: the run plays`)
    t.strictSame(
      facts(chunks).flatMap(({ gap }) => gap ?? []),
      [
        { fromMs: null, why: 'start' },
        ...(passedMs > 0 ? [{ fromMs: START_MS + 90 * FRAME_MS, why: 'camera down' }] : []),
      ],
      what,
    )
    t.equal(chunks.at(-1)?.facts.endMs, START_MS + 150 * FRAME_MS + passedMs, `${what}: to the end`)
  }
})

t.test('another size in mid-stream is another run, without a gap', async (t) => {
  const small = await packetsOf('small.ts', { framerate: 25 })
  const large = await packetsOf('large.ts', { width: 128, height: 72 })
  const { chunks, segmenter } = openSegmenter()
  await segmenter.begin(small.track, undefined, COPY)
  const last = small.packets.at(-1)?.dts ?? 0n
  const first = large.packets[0]?.dts ?? 0n
  for (const packet of large.packets) {
    packet.pts += last - first + 3600n
    packet.dts += last - first + 3600n
  }
  for (const [index, packet] of [...small.packets, ...large.packets].entries()) {
    const atMs = START_MS + index * FRAME_MS
    await segmenter.put(packet, 'video', atMs, atMs)
  }
  await segmenter[Symbol.asyncDispose]()
  await checkSound(t, chunks)
  const runs = [...new Set(facts(chunks).map(({ run }) => run))]
  t.equal(runs.length, 2)
  const [before, after] = runs.map((run) => facts(chunks).filter((it) => it.run === run))
  t.ok(before?.every(({ frame }) => frame[0] === 64))
  t.ok(after?.every(({ frame }) => frame[0] === 128))
  t.equal(after?.[0]?.gap, undefined)
  t.equal(after?.[0]?.capturedAtMs, before?.at(-1)?.endMs)
  t.equal(
    facts(chunks).reduce((sum, { frames }) => sum + frames, 0),
    300,
  )
  large.track[Symbol.dispose]()
})

t.test('another codec after a reconnect is another run; the same goes on in its own', async (t) => {
  const one = await packetsOf('plain.mp4')
  const again = await packetsOf('plain.mp4')
  const other = await packetsOf('other.mp4', { codec: 'hevc10' })
  const { chunks, segmenter } = openSegmenter()
  let atMs = START_MS
  for (const { track, packets } of [one, again, other]) {
    await segmenter.begin(track, undefined, COPY)
    for (const packet of packets) {
      await segmenter.put(packet, 'video', atMs, atMs)
      atMs += FRAME_MS
    }
    await segmenter.interrupt('camera down')
    atMs += 8000
  }
  await segmenter[Symbol.asyncDispose]()
  await checkSound(t, chunks)
  const codecs = facts(chunks).map(({ codec }) => codec)
  t.equal(
    new Set(
      facts(chunks)
        .filter(({ codec }) => codec === 'h264')
        .map(({ run }) => run),
    ).size,
    1,
  )
  t.equal(new Set(facts(chunks).map(({ run }) => run)).size, 2)
  t.strictSame([codecs[0], codecs.at(-1)], ['h264', 'hevc'])
  const down = (n: number) => ({ fromMs: START_MS + n * 6000 + (n - 1) * 8000, why: 'camera down' })
  t.strictSame(
    facts(chunks).flatMap(({ gap }) => gap ?? []),
    [{ fromMs: null, why: 'start' }, down(1), down(2)],
  )
})

t.test('a clock that is set is a gap, and times are those of the clock', async (t) => {
  for (const byMs of [3_600_000, -3_600_000]) {
    const { packets, track } = await packetsOf('plain.mp4')
    const { chunks, segmenter } = openSegmenter()
    await segmenter.begin(track, undefined, COPY)
    for (const [index, packet] of packets.entries()) {
      const steadyMs = index * FRAME_MS
      await segmenter.put(packet, 'video', START_MS + steadyMs + (index >= 70 ? byMs : 0), steadyMs)
    }
    await segmenter[Symbol.asyncDispose]()
    await checkSound(t, chunks)
    const set = facts(chunks).find(({ gap }) => gap?.why === 'clock set')
    t.equal(set?.capturedAtMs, START_MS + 70 * FRAME_MS + byMs, 'from the new time on')
    t.equal(set?.gap?.fromMs, byMs > 0 ? START_MS + 70 * FRAME_MS : null)
    t.equal(
      facts(chunks).reduce((sum, { frames }) => sum + frames, 0),
      150,
      'without the loss of a frame',
    )
    t.equal(new Set(facts(chunks).map(({ run }) => run)).size, 1)
  }
})

t.test(
  'times stay right over hours, although the camera’s clock runs fast or slow, and lines hiccup',
  async (t) => {
    for (const rate of [1.0005, 0.9995]) {
      const { packets, track, ticksPerMs } = await packetsOf('drift.mp4', { frames: 10, keyEvery: 10 })
      const { chunks, segmenter } = openSegmenter()
      await segmenter.begin(track, undefined, COPY)
      // An hour, of the same packets again and again.
      const [frameMs, frames] = [1000, 3600]
      let random = 1
      for (let index = 0; index < frames; index += 1) {
        const packet = packets[index % packets.length]?.clone() as Packet
        const mediaMs = index * frameMs
        packet.pts = BigInt(Math.round(mediaMs * ticksPerMs))
        packet.dts = packet.pts
        random = (random * 16_807) % 2_147_483_647
        const lateMs = (random % 100) / 2 + (index % 80 < 2 ? 1500 : 0)
        const atMs = START_MS + mediaMs * rate + lateMs
        await segmenter.put(packet, 'video', atMs, atMs)
      }
      await segmenter[Symbol.asyncDispose]()
      const last = chunks.at(-1)?.facts
      t.equal(facts(chunks).flatMap(({ gap }) => gap ?? []).length, 1, 'no gap but the first')
      const offMs = (last?.endMs ?? 0) - (START_MS + frames * frameMs * rate)
      t.ok(Math.abs(offMs) < 60, `off by ${offMs.toFixed(0)} ms after an hour`)
      const overlaps = facts(chunks).filter(
        ({ capturedAtMs }, i) => i > 0 && capturedAtMs !== chunks[i - 1]?.facts.endMs,
      )
      t.equal(overlaps.length, 0, 'each begins where the one before ended')
      for (const packet of packets) packet.free()
    }
  },
)

t.test('a first packet without a time, as RTSP has it, is not lost', async (t) => {
  const { packets, track } = await packetsOf('plain.mp4')
  const NO_TIME = -(2n ** 63n)
  const { chunks, segmenter } = openSegmenter()
  await segmenter.begin(track, undefined, COPY)
  for (const [index, packet] of packets.entries()) {
    if (index < 2) {
      packet.pts = NO_TIME
      packet.dts = NO_TIME
    }
    await segmenter.put(packet, 'video', START_MS + index * FRAME_MS, index * FRAME_MS)
  }
  await segmenter[Symbol.asyncDispose]()
  await checkSound(t, chunks)
  t.equal(
    facts(chunks).reduce((sum, { frames }) => sum + frames, 0),
    150,
  )
  t.equal(chunks.at(-1)?.facts.endMs, START_MS + 150 * FRAME_MS)
})

t.test('packets that say only when they are shown are given times to be decoded at', async (t) => {
  const pixel = (x: number, y: number, frame: number) => [(x + frame) % 256, y, (y * frame) % 256] as const
  const { packets, track } = await packetsOf('shown.mp4', { reordered: 3, pixel })
  t.ok(packets.some(({ pts, dts }) => pts !== dts))
  const { chunks, segmenter } = openSegmenter()
  await segmenter.begin(track, undefined, COPY)
  for (const [index, packet] of packets.entries()) {
    packet.dts = -(2n ** 63n)
    await segmenter.put(packet, 'video', START_MS + index * FRAME_MS, index * FRAME_MS)
  }
  await segmenter[Symbol.asyncDispose]()
  await checkSound(t, chunks)
  const was = await decode(join(folder, 'shown.mp4'))
  const is = await decode(
    Buffer.concat([whole(chunks[0] as Chunk), ...chunks.slice(1).flatMap(({ fragments }) => fragments)]),
  )
  t.strictSame(
    is.pictures.map(({ hash }) => hash),
    was.pictures.map(({ hash }) => hash),
  )
  const [first, firstWas] = [is.pictures[0]?.at ?? 0, was.pictures[0]?.at ?? 0]
  const off = is.pictures.map(({ at }, index) => at - first - ((was.pictures[index]?.at ?? 0) - firstWas))
  t.ok(Math.max(...off.map(Math.abs)) < 0.0002)
})

t.test('a chunk is cut before it is too large for a message', async (t) => {
  const { packets, track } = await packetsOf('plain.mp4')
  const chunks: Chunk[] = []
  const bytesMax = 600
  const segmenter = new Segmenter({
    ...{ chunkMs: 2000, chunkMsMax: 10_000, bytesMax, paced: true, mint: newId },
    take: (chunk) => chunks.push(chunk),
  })
  await segmenter.begin(track, undefined, COPY)
  for (const [index, packet] of packets.entries())
    await segmenter.put(packet, 'video', START_MS + index * FRAME_MS, index * FRAME_MS)
  await segmenter[Symbol.asyncDispose]()
  await checkSound(t, chunks)
  const bytes = chunks.map(({ fragments }) => Buffer.concat(fragments).length)
  t.ok(chunks.length > 4, `${chunks.length} chunks`)
  t.ok(Math.max(...bytes) < bytesMax + 5000, `${Math.max(...bytes)} bytes`)
  t.ok(chunks.some(({ facts }) => !facts.independent))
  t.equal(
    facts(chunks).reduce((sum, { frames }) => sum + frames, 0),
    150,
  )
})
