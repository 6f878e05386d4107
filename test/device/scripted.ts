import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Agent } from '../../device/agent.ts'
import { deviceSchema } from '../../device/config.ts'
import type { Detection } from '../../device/detect/detector.ts'
import type { Present } from '../../device/faces/emit.ts'
import type { Frame } from '../../device/frame.ts'
import { type Meters, openMeters } from '../../device/meters.ts'
import type { Processing } from '../../device/process/processing.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics, total } from '../../lib/metrics.ts'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import { eventSchema, type FaceEvent } from '../../wire/event.ts'

/** The agent over scripted frames: what it makes of what a detector says. The detector alone is not real. */

type Box = Detection['box']
export interface Scripted {
  readonly atMs: number | undefined
  readonly faces: readonly {
    readonly box: Box
    readonly score?: number
    readonly landmarks?: Detection['landmarks']
  }[]
  /** The frame comes so long after the one before, ms. */
  readonly afterMs?: number
  /** Nobody can look at it, so often. */
  readonly missed?: { readonly error: Error; times: number }
}

export const SIZE = { width: 640, height: 360 }
export const START_MS = Date.UTC(2026, 10, 20, 13)
export const SCORE_MIN = 0.6
/** So large a region is black: drawing it would take long. */
const LARGE_PIXELS = 100_000

function frameOf({ atMs }: Scripted, sequence: number, cuts: () => void): Frame {
  return {
    sequence,
    capturedAtMs: START_MS + (atMs ?? 0),
    atMs,
    ...SIZE,
    scaled: { data: new Uint8Array(SIZE.width * SIZE.height * 3), ...SIZE },
    async cut(_left, _top, width, height) {
      cuts()
      if (width * height > LARGE_PIXELS) return new Uint8Array(width * height * 3)
      return Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919 * (1 + (i % 13))) & 0xff)
    },
    [Symbol.dispose]() {},
  }
}

export async function run(
  script: readonly Scripted[],
  settings: Record<string, unknown> = {},
  more: {
    signal?: AbortSignal
    endless?: boolean
    fails?: Error
    lossless?: boolean
    room?: (signal: AbortSignal) => Promise<void>
    onOffer?: () => void
    meters?: Meters
    processing?: Processing | Pick<Processing, 'attributes' | 'looksAt'>
  } = {},
) {
  const crops: CropMetadata[] = []
  const events: FaceEvent[] = []
  const order: string[] = []
  const present: (Present | undefined)[] = []
  /** When each crop was offered, ms since the start. */
  const offeredMs: number[] = []
  const startMs = performance.now()
  const { meters = openMeters(openMetrics('test')), processing } = more
  const { signal = new AbortController().signal } = more
  let at = 0
  let cut = 0
  const agent = new Agent({
    config: loadConfig(deviceSchema, {
      overrides: { cameras: [{ name: 'door', source: 'script.mp4' }], ...settings },
    }),
    detector: {
      model: 'script',
      runtime: 'none',
      scoreMin: SCORE_MIN,
      input: { ...SIZE, fit: 'letterbox' },
      async detect() {
        const { faces = [], missed } = script[at] ?? {}
        if (missed && missed.times > 0) {
          missed.times -= 1
          if (!(more.lossless ?? true)) at += 1
          throw missed.error
        }
        at += 1
        return faces.map(({ box, score = 0.9, landmarks = [] }) => ({ box, score, landmarks }))
      },
      async [Symbol.asyncDispose]() {},
    },
    meters,
    log: openLog('test', 'silent'),
    open: async () => ({
      name: 'script',
      live: false,
      lossless: more.lossless ?? true,
      async *[Symbol.asyncIterator]() {
        for (const [sequence, it] of script.entries()) {
          if (it.afterMs) await sleep(it.afterMs)
          yield frameOf(it, sequence, () => {
            cut += 1
          })
        }
        if (more.fails) throw more.fails
        if (more.endless && !signal.aborted) await once(signal, 'abort')
      },
      async [Symbol.asyncDispose]() {},
    }),
    publisher: {
      offer({ payload }) {
        const reading = readCrop(payload)
        if (!('crop' in reading)) throw new Error(reading.detail)
        crops.push(reading.crop)
        order.push('crop')
        offeredMs.push(performance.now() - startMs)
        more.onOffer?.()
      },
      room: more.room ?? (async () => {}),
      say({ topic, payload }) {
        const event = eventSchema.parse(JSON.parse(payload))
        t.equal(topic, 'sightline/v1/home/laptop/door/event')
        events.push(event)
        order.push(event.type)
      },
    },
    ...(processing && { processing, watchers: 'see' in processing ? [processing] : [] }),
    onPresent: (_camera, now) => present.push(now),
    onState: () => {},
  })
  const failed = await agent.run(signal).catch((error: unknown) => error)
  const [detected, made, passedOver] = [
    await total(meters.facesDetected),
    await total(meters.cropsMade),
    await total(meters.facesPassedOver),
  ]
  t.equal(detected, made + passedOver, 'each face became a crop, or was passed over for a reason')
  t.equal(made, crops.length)
  t.equal(await total(meters.tracksStarted), await total(meters.tracksEnded), 'all tracks have ended')
  const reasons = Object.fromEntries(
    (await meters.facesPassedOver.get()).values.map(({ labels, value }) => [labels.reason, value]),
  )
  const skipped = Object.fromEntries(
    (await meters.framesSkipped.get()).values.map(({ labels, value }) => [labels.reason, value]),
  )
  return { crops, events, order, reasons, cut, failed, detected, present, offeredMs, skipped }
}

/** A face that walks by, ten frames a second, largest in the middle. */
export const walk = (frames: number, from = 0, score = 0.9): Scripted[] =>
  Array.from({ length: frames }, (_, i) => {
    const side = 60 + 40 * Math.sin((Math.PI * i) / frames)
    return {
      atMs: from + i * 100,
      faces: [{ box: [100 + 6 * i, 100, side, side] as const, score }],
    }
  })
export const nobody = (frames: number, from: number): Scripted[] =>
  Array.from({ length: frames }, (_, i) => ({ atMs: from + i * 100, faces: [] }))
