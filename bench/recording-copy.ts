import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AVSEEK_FLAG_BACKWARD } from 'node-av/constants'
import { FFmpegError, FormatContext, Packet } from 'node-av/lib'
import { deviceSchema } from '../device/config.ts'
import { PLAIN_SEAL } from '../device/link/seal.ts'
import { openMeters } from '../device/meters.ts'
import { Recorder } from '../device/record/recorder.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { anonymousMemoryBytes, openMetrics } from '../lib/metrics.ts'

/**
 * A program of its own, so that memory and CPU are of recording alone: reads a clip again and again, with times that go on,
 * records it by copy, and writes each chunk to a folder. Says what it took as JSON.
 *
 *   node bench/recording-copy.ts CLIP MINUTES FOLDER
 */
export interface CopyResult {
  readonly packets: number
  /** In chunks. */
  readonly frames: number
  readonly lost: number
  readonly chunks: number
  readonly bytes: number
  readonly seconds: number
  readonly cpuSeconds: number
  /** In equal steps of video, bytes. */
  readonly memoryBytes: readonly number[]
  /** Of V8's heap, used or not, at the same times, bytes. */
  readonly heapBytes: readonly number[]
}

/** Files of so many chunks are written over and over. */
export const CHUNK_FILES = 50
const SAMPLES = 100

if (process.argv[1] === import.meta.filename) {
  const [clip = '', minutes = '', folder = ''] = process.argv.slice(2)
  process.stdout.write(`${JSON.stringify(await copy(clip, Number(minutes), folder))}\n`)
}

async function copy(file: string, videoMinutes: number, to: string): Promise<CopyResult> {
  const input = new FormatContext()
  input.allocContext()
  check(await input.openInput(file))
  check(await input.findStreamInfo())
  const stream = input.streams.find(({ codecpar }) => codecpar.width > 0)
  if (!stream) throw new Error('there is no video in it')
  let [chunks, frames, bytes, packets] = [0, 0, 0, 0]
  const writing = new Set<Promise<void>>()
  const meters = openMeters(openMetrics('device'))
  const recorder = await Recorder.open({
    ...{ meters, seal: PLAIN_SEAL, log: openLog('bench', 'silent') },
    config: loadConfig(deviceSchema, {
      // What waits in case there are faces would be all that there is to see in the memory.
      overrides: {
        cameras: [
          { name: 'clip', source: file, pace: 'asfast', record: { mode: 'always', waitingMax: '8MB' } },
        ],
      },
    }),
    sink: {
      offer: ({ metadata, payload }) => {
        const written = writeFile(join(to, `${chunks % CHUNK_FILES}.mp4`), payload)
        writing.add(written)
        void written.finally(() => writing.delete(written))
        chunks += 1
        frames += metadata.frames
        bytes += payload.length
      },
    },
  })
  const tap = recorder.tap('clip')
  if (!tap) throw new Error('nobody records')
  const startMs = performance.now()
  const startCpu = process.cpuUsage()
  tap.opened(stream, undefined)
  const ticksASecond = stream.timeBase.den / stream.timeBase.num
  const framesInAll = videoMinutes * 60 * 25
  const memoryBytes: number[] = []
  const heapBytes: number[] = []
  using packet = new Packet()
  packet.alloc()
  let [offset, last] = [0n, 0n]
  while (packets < framesInAll) {
    if ((await input.readFrame(packet)) < 0) {
      offset += last + BigInt(Math.round(ticksASecond / 25))
      check(await input.seekFrame(stream.index, 0n, AVSEEK_FLAG_BACKWARD))
      continue
    }
    if (packet.streamIndex === stream.index) {
      if (packet.dts > last || packets === 0) last = packet.dts
      packet.pts += offset
      packet.dts += offset
      tap.packet(packet, 'video', Date.now())
      packets += 1
      if (packets % Math.ceil(framesInAll / SAMPLES) === 0) {
        memoryBytes.push((await anonymousMemoryBytes()) ?? 0)
        heapBytes.push(process.memoryUsage().heapTotal)
      }
    }
    packet.unref()
    // The system's clock goes slower than the clip: what would wait must not count as lost.
    while (writing.size > 4) await Promise.race(writing)
    if (packets % 64 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  tap.closed()
  await recorder[Symbol.asyncDispose]()
  await Promise.all(writing)
  const { user, system } = process.cpuUsage(startCpu)
  const lost = (await meters.recordLost.get()).values.reduce((sum, { value }) => sum + value, 0)
  await input.closeInput()
  return {
    ...{ packets, frames, lost, chunks, bytes, memoryBytes, heapBytes },
    seconds: (performance.now() - startMs) / 1000,
    cpuSeconds: (user + system) / 1e6,
  }
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}
