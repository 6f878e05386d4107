import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { openChromium } from '../test/kit/chromium.ts'
import {
  bridgeConfig,
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  RUN_TOKEN,
  type Test,
  temporaryFolder,
} from '../test/kit/programs.ts'
import { quantile } from './stacks.ts'

/**
 * A live picture from the camera's frame to the pixels on the console's page, through edge broker, bridge, cloud broker and
 * console, in a real browser on the same machine: one clock.
 */
const SECONDS = 20
const WARM_UP_MS = 5000

export interface ConsoleLiveResult {
  readonly pictures: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p95Ms: number
}

export async function benchConsoleLive(): Promise<ConsoleLiveResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const cloud = await Program.start(own, 'broker', brokerConfig(own, { name: 'cloud' }))
  const topic = (filter: string) => `sightline/v1/${filter}`
  const edge = await Program.start(
    own,
    'broker',
    brokerConfig(own, {
      name: 'edge',
      bridges: [
        bridgeConfig(cloud.url, {
          topics: [
            ...['+/+/+/crop', '+/+/status', '+/+/+/state', '+/+/+/live'].map((filter) => ({
              filter: topic(filter),
            })),
            { filter: topic('+/+/+/set/+'), direction: 'down' },
          ],
        }),
      ],
    }),
  )
  const console = await Program.start(own, 'console', consoleConfig(own, cloud.url), {
    env: consoleEnvironment,
  })
  const device = {
    site: 'home',
    device: 'laptop',
    broker: { url: edge.url },
    http: { port: 0 },
    remote: { folder: temporaryFolder(own) },
    cameras: [{ name: 'testcard', source: 'testcard' }],
  }
  await Program.waiting(own, 'device', device, ({ msg }) => msg === 'camera opened')
  const browser = await openChromium()
  stack.defer(() => browser.close())
  const page = await browser.newPage()
  await page.goto(`${console.http}/signin?token=${RUN_TOKEN}`)
  await page.addInitScript({ content: WATCH_PICTURES })
  await page.goto(`${console.http}/cameras/home/laptop/testcard`)
  await page.waitForSelector('canvas', { timeout: 20_000 })
  await sleep(WARM_UP_MS)
  await ages(page)
  await sleep(SECONDS * 1000)
  const shown = (await ages(page)).sort((a, b) => a - b)
  return {
    pictures: shown.length,
    perSecond: shown.length / SECONDS,
    p50Ms: quantile(shown, 0.5),
    p95Ms: quantile(shown, 0.95),
  }
}

/** In the page: how old each picture is when the frame after its drawing begins. */
const WATCH_PICTURES = `
  const shown = []
  const taken = new WeakMap()
  globalThis.takeAges = () => shown.splice(0)
  const decode = globalThis.createImageBitmap
  globalThis.createImageBitmap = async (blob) => {
    const head = await blob.slice(0, 1200).text()
    const bitmap = await decode(blob)
    const at = /"capturedAtMs":(\\d+)/.exec(head)?.[1]
    if (at !== undefined) taken.set(bitmap, Number(at))
    return bitmap
  }
  const { prototype } = CanvasRenderingContext2D
  const draw = prototype.drawImage
  prototype.drawImage = function (...args) {
    draw.apply(this, args)
    const at = taken.get(args[0])
    if (at !== undefined) requestAnimationFrame(() => shown.push(Date.now() - at))
  }
`

const ages = (page: Page) => page.evaluate('takeAges()') as Promise<number[]>

export function printConsoleLive({ pictures, perSecond, p50Ms, p95Ms }: ConsoleLiveResult): void {
  process.stdout.write(
    `\nLive picture, from frame to pixel, ${pictures} pictures (${perSecond.toFixed(1)}/s): p50 ${p50Ms.toFixed(0)} ms (at most 200), p95 ${p95Ms.toFixed(0)} ms\n`,
  )
}
