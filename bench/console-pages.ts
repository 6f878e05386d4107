import { setTimeout as sleep } from 'node:timers/promises'
import { anonymousMemoryBytes } from '../lib/metrics.ts'
import { openChromium } from '../test/kit/chromium.ts'
import {
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  RUN_TOKEN,
  type Test,
} from '../test/kit/programs.ts'
import { median } from './stacks.ts'

/**
 * A console's pages over a database that is there (`console-database --keep FOLDER` makes one of ten million rows): each
 * page's first view in a browser that has nothing of it yet, until what it shows is there, and what was sent for it.
 */
const VISITS = 5
const PAGES = ['/', '/faces', '/cameras', '/charts', '/flow'] as const
const VIEW_MS_MAX = 20_000

export interface ConsolePagesResult {
  readonly readyInMs: number
  readonly memoryMb: number
  readonly views: readonly { readonly path: string; readonly ms: number; readonly bytes: number }[]
}

/** @param file an SQLite database of a console */
export async function benchConsolePages(file: string): Promise<ConsolePagesResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const broker = await Program.start(own, 'broker', brokerConfig(own))
  const startedMs = performance.now()
  const console = await Program.start(
    own,
    'console',
    consoleConfig(own, broker.url, { database: { type: 'sqlite', path: file } }),
    { env: consoleEnvironment },
  )
  const readyInMs = performance.now() - startedMs
  const browser = await openChromium()
  stack.defer(() => browser.close())
  const views = []
  for (const path of PAGES) {
    const times: number[] = []
    const sent: number[] = []
    for (let visit = 0; visit < VISITS; visit += 1) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 } })
      const page = await context.newPage()
      // Signed in without a page of the console's: nothing of it is in the cache.
      const signIn = await context.request.get(`${console.http}/signin?token=${RUN_TOKEN}`, {
        maxRedirects: 0,
      })
      if (signIn.status() >= 400) throw new Error(`sign-in: ${signIn.status()}`)
      let bytes = 0
      const devtools = await context.newCDPSession(page)
      await devtools.send('Network.enable')
      devtools.on('Network.loadingFinished', ({ encodedDataLength }) => {
        bytes += encodedDataLength
      })
      const from = performance.now()
      await page.goto(`${console.http}${path}`, { waitUntil: 'commit' })
      // Its heading is there, and nothing that stands in for what is being fetched.
      await page.waitForFunction(
        "document.querySelector('main h1') && !document.querySelector('[class*=waiting]')",
        undefined,
        { timeout: VIEW_MS_MAX, polling: 20 },
      )
      times.push(performance.now() - from)
      await sleep(1000)
      sent.push(bytes)
      await context.close()
    }
    views.push({ path, ms: median(times), bytes: median(sent) })
  }
  return { readyInMs, memoryMb: ((await anonymousMemoryBytes(console.pid)) ?? 0) / 1e6, views }
}

export function printConsolePages({ readyInMs, memoryMb, views }: ConsolePagesResult): void {
  process.stdout.write(
    `\nConsole: ready in ${readyInMs.toFixed(0)} ms (at most 1000); after ${VISITS} visits of each page ${memoryMb.toFixed(0)} MB (at most 250)\n`,
  )
  for (const { path, ms, bytes } of views)
    process.stdout.write(
      `  ${path.padEnd(10)} first view ${ms.toFixed(0).padStart(5)} ms (at most 1000), ${(bytes / 1000).toFixed(0).padStart(4)} KB (at most 300)\n`,
    )
}
