import { setTimeout as sleep } from 'node:timers/promises'
import { anonymousMemoryBytes } from '../lib/metrics.ts'
import { MqttLink } from '../lib/mqtt/link.ts'
import {
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  RUN_TOKEN,
  type Test,
} from '../test/kit/programs.ts'
import { idMinter } from '../wire/id.ts'
import { objectKey } from '../wire/object-key.ts'
import { announcementLine, type StoredCrop } from '../wire/stored.ts'
import { quantile } from './stacks.ts'

/**
 * Announcements at a steady rate to a console that many follow: how many it indexes a second, and how long after its
 * announcement a detection has reached every follower, as they read it from their event streams.
 */
const PER_SECOND = 3000
const SECONDS = 20
const WARM_UP_SECONDS = 5
const TICK_MS = 100
const FOLLOWERS = 50
const CAMERAS = 100

export interface ConsoleStreamResult {
  readonly published: number
  readonly perSecond: number
  readonly followers: number
  /** Followers that lost their stream on the way. */
  readonly lost: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
  readonly indexedPerS: number
  readonly memoryMb: number
}

export async function benchConsoleStream(): Promise<ConsoleStreamResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const broker = await Program.start(
    own,
    'broker',
    brokerConfig(own, { queues: [{ clientId: 'sightline-console', topics: ['sightline/v1/stored/+'] }] }),
  )
  const console = await Program.start(own, 'console', consoleConfig(own, broker.url), {
    env: consoleEnvironment,
  })
  const abort = new AbortController()
  stack.defer(() => abort.abort())
  const latencies: number[] = []
  let lost = 0
  let isCounting = false
  let shown = 0
  const followers = Array.from({ length: FOLLOWERS }, () =>
    follow(console.http, abort.signal, (announcedAtMs) => {
      if (!isCounting) return
      shown += 1
      if (announcedAtMs > 0) latencies.push(Date.now() - announcedAtMs)
    }).catch(() => {
      if (!abort.signal.aborted) lost += 1
    }),
  )
  await sleep(500)
  await using link = await MqttLink.open({
    url: broker.url,
    clientId: 'bench',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  const mint = idMinter()
  let published = 0
  const startedMs = performance.now()
  let countedFromMs = 0
  let before = 0
  for (let tick = 0; tick < ((SECONDS + WARM_UP_SECONDS) * 1000) / TICK_MS; tick += 1) {
    if (tick === (WARM_UP_SECONDS * 1000) / TICK_MS) {
      isCounting = true
      countedFromMs = performance.now()
      before = await indexed(console)
    }
    const lines: string[] = []
    for (let n = 0; n < (PER_SECOND * TICK_MS) / 1000; n += 1)
      lines.push(announcementLine(stored(mint(), published + n)))
    published += lines.length
    link.publish({
      topic: 'sightline/v1/stored/bench',
      payload: Buffer.from(lines.join('')),
      messageId: (tick % 65_535) + 1,
      dup: false,
    })
    await sleep(Math.max(0, startedMs + (tick + 1) * TICK_MS - performance.now()))
  }
  const seconds = (performance.now() - countedFromMs) / 1000
  const indexedPerS = ((await indexed(console)) - before) / seconds
  await sleep(2000)
  const memory = (await anonymousMemoryBytes(console.pid)) ?? 0
  abort.abort()
  await Promise.all(followers)
  latencies.sort((a, b) => a - b)
  return {
    published,
    perSecond: shown / FOLLOWERS / seconds,
    followers: FOLLOWERS,
    lost,
    p50Ms: quantile(latencies, 0.5),
    p95Ms: quantile(latencies, 0.95),
    p99Ms: quantile(latencies, 0.99),
    indexedPerS,
    memoryMb: memory / 1e6,
  }
}

async function indexed(console: Program): Promise<number> {
  const answer = await fetch(`${console.http}/metrics`, { headers: { authorization: `Bearer ${RUN_TOKEN}` } })
  return Number(/^sightline_console_indexed_total\{[^}]*\} (\d+)/m.exec(await answer.text())?.[1] ?? 0)
}

/** Reads an event stream; of a sample of its detections, when each was announced: more would be a bench of the reader. */
async function follow(
  http: string,
  signal: AbortSignal,
  onDetection: (announcedAtMs: number) => void,
): Promise<void> {
  const answer = await fetch(`${http}/api/v1/events?only=detection`, {
    headers: { authorization: `Bearer ${RUN_TOKEN}` },
    signal,
  })
  if (!answer.body) throw new Error('no stream')
  let rest = ''
  const decoder = new TextDecoder()
  for await (const bytes of answer.body) {
    rest += decoder.decode(bytes, { stream: true })
    const end = rest.lastIndexOf('\n\n')
    if (end < 0) continue
    const text = rest.slice(0, end)
    rest = rest.slice(end + 2)
    let isFirst = true
    for (let at = text.indexOf('event: detection'); at >= 0; at = text.indexOf('event: detection', at + 16)) {
      const found = isFirst ? /"storedAtMs":(\d+)/.exec(text.slice(at, at + 2000)) : undefined
      onDetection(found ? Number(found[1]) : 0)
      isFirst = false
    }
  }
  throw new Error('the stream ended')
}

function stored(id: string, n: number): StoredCrop {
  const atMs = Date.now()
  const address = { site: `site${n % 10}`, device: `device${n % 20}`, camera: `camera${n % CAMERAS}` }
  return {
    v: 1,
    is: 'stored',
    kind: 'crop',
    id,
    ...address,
    key: objectKey({ id, ...address }, atMs),
    filedAtMs: atMs,
    capturedAtMs: atMs,
    storedAtMs: atMs,
    clockSane: true,
    bytes: 20_000,
    sha256: n.toString(16).padStart(64, '0'),
    box: [100, 100, 120, 160],
    region: [80, 80, 160, 200],
    score: 0.9,
    model: 'bench',
    frame: [1920, 1080],
    masked: n % 5 === 0,
  }
}

export function printConsoleStream({
  perSecond,
  followers,
  lost,
  p50Ms,
  p95Ms,
  p99Ms,
  indexedPerS,
  memoryMb,
}: ConsoleStreamResult): void {
  process.stdout.write(
    `\nConsole, ${PER_SECOND} announcements a second, ${followers} followers for ${SECONDS} s:\n` +
      `  indexed ${indexedPerS.toFixed(0)}/s, shown to each follower ${perSecond.toFixed(0)}/s, streams lost ${lost}\n` +
      `  from stored to shown p50 ${p50Ms.toFixed(0)} ms (at most 300), p95 ${p95Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms; memory ${memoryMb.toFixed(0)} MB\n`,
  )
}
