import { setTimeout as sleep } from 'node:timers/promises'
import { readMetrics } from '../demo/readings.ts'
import { Proxy as LinkProxy } from '../test/kit/proxy.ts'
import { publishCrops } from './load.ts'
import { sightline } from './stacks.ts'

/**
 * Peak anonymous memory (RssAnon, since LMDB maps its file): 10,000 crops of 20 KB queue at the edge while the link is
 * down, then drain through cloud broker and subscriber into a folder.
 */
const CROPS = 10_000
const BYTES = 20_000
const WAIT_MS_MAX = 120_000

/** Bars, bytes. */
export const MEMORY_BYTES_MAX = { 'edge broker': 200e6, 'cloud broker': 200e6, subscriber: 200e6 } as const

export async function benchMemory(): Promise<ReadonlyMap<string, number>> {
  await using proxies = new AsyncDisposableStack()
  let proxy: LinkProxy | undefined
  await using stack = await sightline({
    subscriber: true,
    watchMemory: true,
    linkTo: async (port) => {
      proxy = proxies.use(await LinkProxy.open({ host: '127.0.0.1', port }))
      return proxy.port
    },
  })
  proxy?.refuse()
  proxy?.cut()
  await publishCrops(stack.edgeUrl, CROPS, BYTES, 200)
  await proxy?.accept()
  const until = Date.now() + WAIT_MS_MAX
  for (;;) {
    const stored =
      (await readMetrics(stack.subscriberHttp))?.find(({ name }) => name === 'subscriber_stored_total')
        ?.value ?? 0
    if (stored >= CROPS) break
    if (Date.now() > until) throw new Error(`only ${stored} of ${CROPS} crops arrived`)
    await sleep(200)
  }
  return new Map(stack.memoryPeaks)
}

export function printMemory(peaks: ReadonlyMap<string, number>): void {
  process.stdout.write(
    `\nMemory: peak anonymous memory (RssAnon) while ${CROPS} queued crops of ${BYTES / 1000} KB drain\n`,
  )
  for (const [name, bytes] of peaks) {
    const bar = MEMORY_BYTES_MAX[name as keyof typeof MEMORY_BYTES_MAX]
    process.stdout.write(
      `  ${name.padEnd(16)} ${(bytes / 1e6).toFixed(0).padStart(5)} MB${bar === undefined ? '' : ` (bar: ${bar / 1e6} MB)`}\n`,
    )
  }
}

if (import.meta.main) printMemory(await benchMemory())
