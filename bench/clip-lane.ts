import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { makeClip } from '../test/kit/clips.ts'
import { Program, temporaryFolder } from '../test/kit/programs.ts'
import { CLIP, CROP, keptTopic } from '../wire/kinds.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { NarrowLine } from './narrow-line.ts'

/**
 * Crops from an edge broker to a cloud broker over a slow uplink, alone, with the clips of eight cameras in their lane, and
 * with the same bytes in one lane with the crops; in one run.
 */
const CAMERAS = 8
const CLIP_MS = 3000
const CLIP_BYTES = 375_000
const CROP_MS = 2000
const CROP_BYTES = 30_000
const LINE = { bitsPerSecond: 10_000_000, queueMs: 400, roundTripMs: 20 }
/** Compiling, connecting, and finding out what the line takes. */
const WARM_UP_MS = 5000
const DRAIN_MS_MAX = 120_000

export interface LaneResult {
  readonly what: string
  readonly crops: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of clips, from publisher to the far end; and bits a second of all that came while it was measured. */
  readonly clipP50Ms: number
  readonly clipP99Ms: number
  readonly bitsPerSecond: number
  /** Clips that were not there yet when the last had been published, and how long they took, s. */
  readonly clipsBehind: number
  readonly drainS: number
}

export interface ClipLaneResult {
  readonly lanes: readonly LaneResult[]
  /** 0 where this kernel cannot make one longer. */
  readonly roundTripMs: number
}

type Mode = 'crops alone' | 'with clips, in their lane' | 'with clips, in one lane'

export async function benchClipLane(seconds: number): Promise<ClipLaneResult | string> {
  const line = NarrowLine.open(LINE)
  if (typeof line === 'string') return line
  using _line = line
  const results: LaneResult[] = []
  for (const mode of ['crops alone', 'with clips, in their lane', 'with clips, in one lane'] as const)
    results.push(await measure(line, mode, seconds * 1000))
  return { lanes: results, roundTripMs: line.hasRoundTrip ? LINE.roundTripMs : 0 }
}

async function measure(line: NarrowLine, mode: Mode, ms: number): Promise<LaneResult> {
  await using stack = new AsyncDisposableStack()
  const t = { after: (handler: () => void | Promise<void>) => void stack.defer(handler) }
  const folder = temporaryFolder(t)
  const cloud = await Program.start(
    t,
    'broker',
    {
      name: 'cloud',
      listeners: [{ host: '0.0.0.0', port: 1884, plaintext: true }],
      users: [
        { name: 'edge', password: 'edge', publish: ['#'], subscribe: [] },
        { name: 'reader', password: 'reader', publish: [], subscribe: ['#'] },
      ],
      store: { folder: `${folder}/cloud` },
      queues: [
        { clientId: 'reader', topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/crop`] },
        {
          clientId: 'reader-clips',
          topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/clip`, `${TOPIC_PREFIX_DEFAULT}/+/+/+/blob`],
        },
      ],
      http: { port: 0 },
      report: { enabled: false },
    },
    { under: line.under },
  )
  const edge = await Program.start(t, 'broker', {
    name: 'edge',
    listeners: [{ host: '127.0.0.1', port: 0 }],
    store: { folder: `${folder}/edge` },
    bridges: [
      {
        name: 'cloud',
        url: `mqtt://${line.address}:1884`,
        username: 'edge',
        password: 'edge',
        topics: ['crop', 'clip', 'blob'].map((kind) => ({
          filter: `${TOPIC_PREFIX_DEFAULT}/+/+/+/${kind}`,
        })),
      },
    ],
    http: { port: 0 },
    report: { enabled: false },
  })
  const open = async (url: string, clientId: string, user?: string) => {
    const link = await MqttLink.open({
      url,
      clientId,
      protocol: 4,
      clean: user === undefined,
      packetBytesMax: 16_000_000,
      keepaliveS: 30,
      connectMsMax: 5000,
      ...(user && { username: user, password: user }),
    })
    return stack.use(link)
  }
  const sent = new Map<
    string,
    { readonly atMs: number; readonly isClip: boolean; readonly counts: boolean }
  >()
  const took: { readonly tookMs: number; readonly isClip: boolean; readonly counts: boolean }[] = []
  let bytesCame = 0
  let measuring = false
  for (const clientId of ['reader', 'reader-clips']) {
    const reader = await open(`mqtt://${line.addressBeside}:${cloud.port}`, clientId, 'reader')
    reader.on('publish', ({ payload, messageId }) => {
      const key = payload.subarray(-16).toString('latin1')
      const was = sent.get(key)
      if (was) took.push({ ...was, tookMs: performance.now() - was.atMs })
      sent.delete(key)
      if (measuring) bytesCame += payload.length
      reader.puback(messageId as number)
    })
  }
  const publisher = await open(edge.url, 'publisher')
  let count = 0
  const publish = (camera: number, kind: string, bytes: Buffer) => {
    count += 1
    const payload = Buffer.from(bytes)
    const key = String(count).padStart(16, '0')
    payload.write(key, payload.length - 16, 'latin1')
    sent.set(key, { atMs: performance.now(), isClip: kind !== 'crop', counts: measuring })
    const topic = keptTopic(TOPIC_PREFIX_DEFAULT, { name: kind } as typeof CROP | typeof CLIP, {
      site: 'bench',
      device: `pi${camera}`,
      camera: 'cam',
    })
    publisher.publish({ topic, payload, dup: false, messageId: (count % 65_535) + 1 })
  }
  const crop = Buffer.alloc(CROP_BYTES, 1)
  const clip = makeClip({}, CLIP_BYTES).payload
  const timers: NodeJS.Timeout[] = []
  const every = (ms: number, offsetMs: number, run: () => void) => {
    timers.push(
      setTimeout(() => {
        run()
        timers.push(setInterval(run, ms))
      }, offsetMs),
    )
  }
  for (let camera = 0; camera < CAMERAS; camera += 1) {
    // Faces come when they come, but the same in each mode.
    every(CROP_MS, (camera * 0.618 * CROP_MS) % CROP_MS, () => publish(camera, CROP.name, crop))
    if (mode !== 'crops alone')
      every(CLIP_MS, (camera * CLIP_MS) / CAMERAS, () =>
        publish(camera, mode.endsWith('one lane') ? 'blob' : CLIP.name, clip),
      )
  }
  await sleep(WARM_UP_MS)
  measuring = true
  await sleep(ms)
  measuring = false
  for (const timer of timers) clearTimeout(timer)
  const behind = [...sent.values()].filter(({ isClip }) => isClip).length
  const untilMs = performance.now()
  while (sent.size > 0 && performance.now() - untilMs < DRAIN_MS_MAX) await sleep(20)
  const drainS = (performance.now() - untilMs) / 1000
  if (sent.size > 0) throw new Error(`${sent.size} messages are missing`)
  const of = (clips: boolean) =>
    took
      .filter(({ isClip, counts }) => counts && isClip === clips)
      .map(({ tookMs }) => tookMs)
      .sort((a, b) => a - b)
  const at = (all: readonly number[], share: number) => all[Math.floor(all.length * share)] ?? Number.NaN
  const [crops, clips] = [of(false), of(true)]
  return {
    what: mode,
    crops: crops.length,
    p50Ms: at(crops, 0.5),
    p99Ms: at(crops, 0.99),
    clipP50Ms: at(clips, 0.5),
    clipP99Ms: at(clips, 0.99),
    bitsPerSecond: (bytesCame * 8 * 1000) / ms,
    clipsBehind: behind,
    drainS,
  }
}

export function printClipLane(results: ClipLaneResult | string): void {
  if (typeof results === 'string') {
    console.log(`\nClip lane: left out, for want of network namespaces and tc (Linux, as root): ${results}`)
    return
  }
  const { bitsPerSecond, queueMs } = LINE
  const { lanes, roundTripMs } = results
  console.log(
    `\nClip lane: ${CAMERAS} cameras, crops of ${CROP_BYTES / 1000} KB each ${CROP_MS / 1000} s, clips of ${CLIP_BYTES / 1000} KB each ${CLIP_MS / 1000} s; uplink ${bitsPerSecond / 1e6} Mbit/s, queue ${queueMs} ms, round trip ${roundTripMs} ms`,
  )
  for (const it of lanes)
    console.log(
      `  ${it.what.padEnd(26)} crops p50 ${it.p50Ms.toFixed(0)} ms, p99 ${it.p99Ms.toFixed(0)} ms (${it.crops}); ${(it.bitsPerSecond / 1e6).toFixed(1)} Mbit/s${
        Number.isNaN(it.clipP50Ms)
          ? ''
          : `; clips p50 ${(it.clipP50Ms / 1000).toFixed(1)} s, p99 ${(it.clipP99Ms / 1000).toFixed(1)} s, ${it.clipsBehind} behind at the end, there after ${it.drainS.toFixed(1)} s`
      }`,
    )
  const [alone, laned] = lanes
  if (alone && laned)
    console.log(
      `  p99 of crops with clips: ${(laned.p99Ms / alone.p99Ms).toFixed(2)} times that without (bar 2)`,
    )
}
