import { setTimeout as sleep } from 'node:timers/promises'
import { deviceSchema } from '../../device/config.ts'
import type { Input, Picture } from '../../device/detect/detector.ts'
import type { Frame } from '../../device/frame.ts'
import { openSource } from '../../device/sources/open.ts'
import type { Source, SourceContext } from '../../device/sources/source.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'

/** Real pictures, decoded and scaled once, that are then played as often as need be without a decoder's work. */

/** The first frames of a video or of the test card, one of each `every`, as an agent's detector gets them. */
export async function picturesOf(
  source: string,
  input: Input,
  { count, every = 1 }: { readonly count: number; readonly every?: number },
): Promise<Picture[]> {
  const overrides = { cameras: [{ name: 'clip', source, pace: 'asfast', loop: true }] }
  const [camera] = loadConfig(deviceSchema, { overrides }).cameras
  if (!camera) throw new Error('no camera')
  const events = { skipped() {}, damaged() {} }
  const ending = new AbortController()
  const context = { input, events, log: openLog('test', 'silent') }
  const pictures: Picture[] = []
  {
    await using frames = await openSource(camera, context, ending.signal)
    let at = 0
    for await (using frame of frames) {
      if (at % every === 0) {
        // As a source's: it reaches the detector's thread without a further copy.
        const data = new Uint8Array(new SharedArrayBuffer(frame.scaled.data.length))
        data.set(frame.scaled.data)
        pictures.push({ ...frame.scaled, data })
      }
      at += 1
      if (pictures.length >= count) break
    }
    ending.abort()
  }
  return pictures
}

/**
 * Plays them to their end and back, over and over, so that nobody jumps: as a camera, which gives what is there when it is asked.
 * Ends with the signal. @param given told how many frames were due: given, or skipped
 */
export function playing(
  pictures: readonly Picture[],
  { perSecond, given }: { readonly perSecond: number; readonly given: (frames: number) => void },
  { events }: Pick<SourceContext, 'events'>,
  signal: AbortSignal,
): Source {
  return {
    name: 'played',
    live: false,
    lossless: false,
    async *[Symbol.asyncIterator]() {
      const startMs = performance.now()
      for (let sequence = 0; ; sequence += 1) {
        const dueMs = startMs + (sequence * 1000) / perSecond
        await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal }).catch(() => {})
        if (signal.aborted) return
        const late = Math.max(0, Math.floor(((performance.now() - dueMs) * perSecond) / 1000))
        if (late > 0) events.skipped('detector busy', late)
        sequence += late
        given(late + 1)
        yield frameOf(pictures, sequence, perSecond)
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}

function frameOf(pictures: readonly Picture[], sequence: number, perSecond: number): Frame {
  const round = 2 * (pictures.length - 1)
  const at = sequence % round
  const scaled = pictures[Math.min(at, round - at)] as Picture
  const { width, height, data } = scaled
  return {
    sequence,
    capturedAtMs: Date.now(),
    atMs: (sequence * 1000) / perSecond,
    ...{ width, height, scaled },
    async cut(left, top, wide, high) {
      const region = new Uint8Array(wide * high * 3)
      for (let row = 0; row < high; row += 1) {
        const from = ((top + row) * width + left) * 3
        region.set(data.subarray(from, from + wide * 3), row * wide * 3)
      }
      return region
    },
    [Symbol.dispose]() {},
  }
}
