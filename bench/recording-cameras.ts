import { setTimeout as sleep } from 'node:timers/promises'
import { FFmpegError, FormatContext, Packet } from 'node-av/lib'
import { Agent } from '../device/agent.ts'
import { type DeviceConfig, deviceSchema } from '../device/config.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { PLAIN_SEAL } from '../device/link/seal.ts'
import { openMeters } from '../device/meters.ts'
import { Recorder } from '../device/record/recorder.ts'
import type { PacketTap } from '../device/record/tap.ts'
import { openSource } from '../device/sources/open.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics } from '../lib/metrics.ts'
import type { ClipMetadata } from '../wire/clip.ts'

/**
 * A program of its own, so that its CPU is of the agent's work alone: so many cameras at an address, and what is done with
 * them. Says what it took as JSON.
 *
 *   node bench/recording-cameras.ts URL COUNT WORK MODEL
 */
export type Work =
  /** Packets are taken from the line, and let go. */
  | 'read'
  /** And recorded, as they are. */
  | 'record'
  /** And decoded; what detection asks for is scaled to its input. */
  | 'decode'
  /** And looked at for faces, followed, cut out and encoded: the whole agent but its outbox. */
  | 'detect'
  /** The same without recording. */
  | 'detect only'

export interface CamerasResult {
  readonly cameras: number
  readonly work: Work
  /** Cores that were busy, on average. */
  readonly cores: number
  /** Packets of each camera, a second. */
  readonly received: number
  /** Of each camera, a second. */
  readonly detected: number
  readonly chunks: number
  /** Frames that their times say should be in chunks, and are not. */
  readonly missing: number
  readonly lost: number
  /** Beside those of the start. */
  readonly gaps: number
}

export const FRAMES_PER_SECOND = 25
export const DETECTED_PER_SECOND = 5
/** After every camera has given a second of video. */
const WARM_UP_MS = 1000
const WARM_UP_MS_MAX = 15_000
const MEASURED_MS = 6000

if (process.argv[1] === import.meta.filename) {
  const [url = '', count = '', work = '', model = ''] = process.argv.slice(2)
  process.stdout.write(`${JSON.stringify(await measure(url, Number(count), work as Work, model))}\n`)
  process.exit(0) // a camera that is being read holds one of libuv's threads
}

async function measure(source: string, cameras: number, of: Work, modelFile: string): Promise<CamerasResult> {
  const records = of !== 'read' && of !== 'detect only'
  const config = loadConfig(deviceSchema, {
    overrides: {
      cameras: Array.from({ length: cameras }, (_, i) => ({
        name: `camera${i}`,
        source,
        rateMax: DETECTED_PER_SECOND,
        record: { mode: records ? 'always' : 'off' },
      })),
    },
  })
  const meters = openMeters(openMetrics('device'))
  const log = openLog('bench', 'silent')
  const clips: ClipMetadata[] = []
  const recorder = await Recorder.open({
    ...{ config, meters, log, seal: PLAIN_SEAL },
    sink: { offer: ({ metadata }) => clips.push(metadata) },
  })
  let received = 0
  const counted = counting(recorder, () => {
    received += 1
  })
  const stop = new AbortController()
  const running =
    of === 'detect' || of === 'detect only'
      ? detect({ ...config }, modelFile, counted, recorder, meters, stop.signal)
      : Promise.all(
          config.cameras.map((camera) =>
            of === 'decode'
              ? decode(camera, counted.tap(camera.name), stop.signal)
              : read(camera.source, counted.tap(camera.name), stop.signal),
          ),
        )
  running.catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  const detectedSoFar = () => sum(meters.framesCaptured)
  const isRunning = async () =>
    received >= cameras * FRAMES_PER_SECOND &&
    (!of.startsWith('detect') || (await detectedSoFar()) >= cameras * DETECTED_PER_SECOND)
  const startMs = performance.now()
  while (!(await isRunning()) && performance.now() - startMs < WARM_UP_MS_MAX) await sleep(100)
  await sleep(WARM_UP_MS)
  const before = { received, detected: await detectedSoFar(), cpu: process.cpuUsage(), ms: performance.now() }
  await sleep(MEASURED_MS)
  const seconds = (performance.now() - before.ms) / 1000
  const { user, system } = process.cpuUsage(before.cpu)
  const per = (now: number, then: number) => (now - then) / seconds / cameras
  const rates = {
    cores: (user + system) / 1e6 / seconds,
    received: per(received, before.received),
    detected: per(await detectedSoFar(), before.detected),
  }
  stop.abort()
  for (const { name } of config.cameras) recorder.tap(name)?.closed()
  await recorder[Symbol.asyncDispose]()
  const expected = clips.reduce((total, { durationMs }) => total + (durationMs * FRAMES_PER_SECOND) / 1000, 0)
  return {
    ...{ cameras, work: of, ...rates, chunks: clips.length },
    missing: Math.round(expected - clips.reduce((total, { frames }) => total + frames, 0)),
    lost: await sum(meters.recordLost),
    gaps: clips.filter(({ gap }) => gap && gap.why !== 'start').length,
  }

  async function sum(meter: { get(): Promise<{ values: readonly { value: number }[] }> }) {
    return (await meter.get()).values.reduce((total, { value }) => total + value, 0)
  }
}

/** The same recorder, and each packet of video is counted. */
function counting(recorder: Recorder, count: () => void) {
  const taps = new Map<string, PacketTap>()
  return {
    tap(camera: string): PacketTap {
      const own = recorder.tap(camera)
      const tap: PacketTap = taps.get(camera) ?? {
        wantsAudio: false,
        get wantsPictures() {
          return own?.wantsPictures ?? false
        },
        get wantsKeyFrame() {
          return own?.wantsKeyFrame ?? false
        },
        opened: (video, audio) => own?.opened(video, audio),
        packet: (packet, of, receivedAtMs) => {
          count()
          own?.packet(packet, of, receivedAtMs)
        },
        picture: (picture, seconds, receivedAtMs) => own?.picture(picture, seconds, receivedAtMs),
        closed: () => own?.closed(),
      }
      taps.set(camera, tap)
      return tap
    },
    set: recorder.set.bind(recorder),
    moved: recorder.moved.bind(recorder),
  }
}

async function detect(
  config: DeviceConfig,
  modelFile: string,
  counted: ReturnType<typeof counting>,
  recorder: Recorder,
  meters: ReturnType<typeof openMeters>,
  signal: AbortSignal,
): Promise<void> {
  await using detector = await openDetectorThread({ model: modelFile })
  const agent = new Agent({
    ...{ config, detector, meters, recorder: counted, watchers: [recorder] },
    publisher: { offer: () => {}, room: async () => {}, say: () => {} },
    log: openLog('bench', 'silent'),
    onState: () => {},
  })
  await agent.run(signal)
}

async function decode(
  camera: DeviceConfig['cameras'][number],
  tap: PacketTap,
  signal: AbortSignal,
): Promise<void> {
  const events = { skipped: () => {}, damaged: () => {} }
  const input = { width: 320, height: 320 }
  await using source = await openSource(
    camera,
    { input, tap, events, log: openLog('bench', 'silent') },
    signal,
  )
  for await (const frame of source) frame[Symbol.dispose]()
}

async function read(source: string, tap: PacketTap, signal: AbortSignal): Promise<void> {
  const input = new FormatContext()
  input.allocContext()
  check(await input.openInput(source))
  check(await input.findStreamInfo())
  const stream = input.streams[0]
  if (!stream) throw new Error('there is no video in it')
  tap.opened(stream, undefined)
  using packet = new Packet()
  packet.alloc()
  while (!signal.aborted && (await input.readFrame(packet)) >= 0) {
    tap.packet(packet, 'video', Date.now())
    packet.unref()
  }
}

function check(status: number): void {
  if (status < 0) throw new FFmpegError(status)
}
