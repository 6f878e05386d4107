import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { hashOfKey } from '../device/listen/streams-file.ts'
import { FAKE_CAMERA, openChromium } from '../test/kit/chromium.ts'
import { brokerConfig, Program, type Test, temporaryFolder } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { BITS, HEIGHT, SQUARE, WIDTH, watchClock } from './clock-picture.ts'
import { cpuSeconds, quantile } from './stacks.ts'

/**
 * WHIP: a browser draws the time into its picture and publishes it; how old is it when a viewer of the agent's preview has
 * the picture with what was found in it? One machine, one clock. And what a stream costs the agent.
 */
const SECONDS = 10
const WARM_UP_MS = 5000
const SERVED = 'health and metrics are served'
const STREAMS = [1, 4] as const
/** Pages behind others draw on. */
const ALL_AWAKE = [
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
]

export interface WhipResult {
  readonly codec: string
  readonly pictures: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of one core, of the whole agent with detection, by number of streams. */
  readonly cpu: Readonly<Record<number, number>>
}

export async function benchWhip(): Promise<readonly WhipResult[]> {
  const results: WhipResult[] = []
  for (const codec of ['video/H264', 'video/VP8']) results.push(await benchCodec(codec))
  return results
}

async function benchCodec(codec: string): Promise<WhipResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const folder = temporaryFolder(own)
  const most = Math.max(...STREAMS)
  const keys = Array.from({ length: most }, () => randomBytes(16).toString('base64url'))
  const streamsFile = join(folder, 'streams.yaml')
  const streams = keys.map((key, index) => ({ name: `browser${index}`, keyHash: hashOfKey(key) }))
  writeFileSync(streamsFile, JSON.stringify({ streams }))
  const broker = await Program.start(own, 'broker', brokerConfig(own, { name: 'edge' }))
  const config = {
    broker: { url: broker.url },
    cameras: [],
    listen: { streamsFile, whip: { port: 0 } },
    preview: { enabled: true, rateMax: 30 },
    http: { port: 0 },
  }
  const agent = await Program.waiting(own, 'device', config, ({ msg }) => msg === 'takes streams by WHIP')
  const page = agent.log.find(({ msg }) => msg === 'takes streams by WHIP')?.page
  await until('the preview', () => agent.log.some(({ msg }) => msg === SERVED))
  const http = agent.log.find(({ msg }) => msg === SERVED)?.url
  if (typeof page !== 'string') throw new Error('the agent does not say where it listens')
  const browser = await openChromium([...FAKE_CAMERA, ...ALL_AWAKE])
  stack.defer(() => browser.close())
  const cpu: Record<number, number> = {}
  const ages: number[] = []
  let published = 0
  for (const count of STREAMS) {
    for (; published < count; published += 1)
      await publishClock(await browser.newPage(), page, keys[published] ?? '', codec)
    await sleep(WARM_UP_MS)
    const stop = new AbortController()
    const watching =
      count === STREAMS[0] ? watchClock(`${http}/preview/browser0.mjpeg`, ages, stop.signal) : undefined
    const before = cpuSeconds(agent.pid)
    await sleep(SECONDS * 1000)
    cpu[count] = (cpuSeconds(agent.pid) - before) / SECONDS
    stop.abort()
    await watching
  }
  ages.sort((a, b) => a - b)
  return {
    codec,
    pictures: ages.length,
    perSecond: ages.length / SECONDS,
    p50Ms: quantile(ages, 0.5),
    p99Ms: quantile(ages, 0.99),
    cpu,
  }
}

/** A page whose picture is the time. */
async function publishClock(page: Page, at: string, key: string, codec: string): Promise<void> {
  await page.goto(at)
  await page.evaluate(`(async () => {
    const { Publisher } = await import('/publish/publisher.js')
    const canvas = Object.assign(document.createElement('canvas'), { width: ${WIDTH}, height: ${HEIGHT} })
    const context = canvas.getContext('2d')
    const draw = () => {
      const now = Date.now() % 2 ** ${BITS}
      context.fillStyle = '#777'
      context.fillRect(0, 0, ${WIDTH}, ${HEIGHT})
      for (let bit = 0; bit < ${BITS}; bit += 1) {
        context.fillStyle = Math.floor(now / 2 ** bit) % 2 ? '#fff' : '#000'
        context.fillRect(bit * ${SQUARE}, 0, ${SQUARE}, ${SQUARE * 2})
      }
    }
    draw()
    setInterval(draw, 1000 / 30)
    const stream = canvas.captureStream(30)
    globalThis.live = new Promise((resolve) => {
      new Publisher({ url: new URL('/whip', location.href).href, key: ${JSON.stringify(key)}, codec: ${JSON.stringify(codec)},
        stream, onState: ({ is }) => is === 'live' && resolve() }).start()
    })
    await live
  })()`)
}

export function printWhip(results: readonly WhipResult[]): void {
  for (const { codec, pictures, perSecond, p50Ms, p99Ms, cpu } of results) {
    const costs = Object.entries(cpu).map(([streams, share]) => `${streams}: ${(share * 100).toFixed(0)} %`)
    process.stdout.write(
      `\n${codec} by WHIP, from publisher's frame to the viewer's picture, ${pictures} pictures (${perSecond.toFixed(1)}/s): ` +
        `p50 ${p50Ms.toFixed(0)} ms (below 250), p99 ${p99Ms.toFixed(0)} ms\n  CPU of the agent with detection, of one core, by streams: ${costs.join(', ')}\n`,
    )
  }
}
