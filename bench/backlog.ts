import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt-link.ts'
import { Proxy } from '../test/kit/proxy.ts'
import { publishCrops } from './load.ts'
import { median, mosquitto, type Stack, type StackOptions, sightline } from './stacks.ts'

/**
 * A backlog at the edge that drains over a long link: 5,000 crops of 20 KB queue up while the link is down; then it
 * comes back, with a round trip of 100 ms. Timed from there until a subscriber of the cloud broker has them all.
 */
const CROPS = 5000
const BYTES = 20_000
const ROUND_TRIP_MS = 100
const ROUNDS = 3
const WAIT_MS_MAX = 120_000

export interface BacklogResult {
  readonly seconds: ReadonlyMap<string, number>
  /** How many times faster Sightline drains. */
  readonly ratio: number
}

export async function benchBacklog(rounds = ROUNDS): Promise<BacklogResult> {
  const times = new Map<string, number[]>()
  for (let round = 0; round < rounds; round += 1) {
    for (const open of [sightline, (options: StackOptions) => mosquitto('received', options)]) {
      await using proxies = new AsyncDisposableStack()
      let proxy: Proxy | undefined
      await using stack = await open({
        subscriber: false,
        linkTo: async (port) => {
          proxy = proxies.use(await Proxy.open({ host: '127.0.0.1', port, latencyMs: ROUND_TRIP_MS / 2 }))
          return proxy.port
        },
      })
      const seconds = await measure(stack, proxy as Proxy)
      const name = stack.name.replace(/ \+.*/, ', its own bridge')
      times.set(name, [...(times.get(name) ?? []), seconds])
      process.stdout.write(`  round ${round + 1}: ${name}: ${seconds.toFixed(1)} s\n`)
    }
  }
  const [ours, theirs] = [...times.values()] as [number[], number[]]
  return {
    seconds: new Map([...times].map(([name, values]) => [name, median(values)])),
    ratio: median(theirs.map((value, at) => value / (ours[at] as number))),
  }
}

async function measure(stack: Stack, proxy: Proxy): Promise<number> {
  await using observer = await MqttLink.open({
    url: stack.cloudUrl,
    clientId: 'observer',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  const done = Promise.withResolvers<void>()
  let seen = 0
  observer.on('publish', ({ messageId }) => {
    observer.puback(messageId as number)
    seen += 1
    if (seen === CROPS) done.resolve()
  })
  await observer.subscribe('sightline/#', 1)
  proxy.refuse()
  proxy.cut()
  await sleep(500)
  await publishCrops(stack.edgeUrl, CROPS, BYTES, 200)
  await sleep(500)
  if (seen > 0) throw new Error('crops passed a link that was down')
  const start = performance.now()
  await proxy.accept()
  await Promise.race([
    done.promise,
    sleep(WAIT_MS_MAX, undefined, { ref: false }).then(() => {
      throw new Error(`${stack.name}: only ${seen} of ${CROPS} crops arrived`)
    }),
  ])
  return (performance.now() - start) / 1000
}

export function printBacklog({ seconds, ratio }: BacklogResult): void {
  process.stdout.write(
    `\nBacklog: ${CROPS} crops of ${BYTES / 1000} KB drain over a link of ${ROUND_TRIP_MS} ms round trip (reconnecting included), ${ROUNDS} rounds in turn, medians\n`,
  )
  for (const [name, time] of seconds)
    process.stdout.write(`  ${name.padEnd(48)} ${time.toFixed(1).padStart(6)} s\n`)
  process.stdout.write(`  Sightline is ${ratio.toFixed(1)} times as fast (bar: 5)\n`)
}

if (import.meta.main) printBacklog(await benchBacklog(Number(process.argv[2] ?? ROUNDS)))
