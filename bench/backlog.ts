import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt-link.ts'
import { Proxy as LinkProxy } from '../test/kit/proxy.ts'
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
  /** Seconds from the link's return to the last crop, and from the first crop to the last. Medians. */
  readonly seconds: ReadonlyMap<string, { readonly all: number; readonly flowing: number }>
  /** How many times faster Sightline is, from the link's return. */
  readonly ratio: number
  /** The same from the first crop on, so without the wait before the bridge connects again. */
  readonly ratioFlowing: number
}

export async function benchBacklog(rounds = ROUNDS): Promise<BacklogResult> {
  const times = new Map<string, { all: number; flowing: number }[]>()
  for (let round = 0; round < rounds; round += 1) {
    for (const open of [sightline, (options: StackOptions) => mosquitto('received', options)]) {
      await using proxies = new AsyncDisposableStack()
      let proxy: LinkProxy | undefined
      await using stack = await open({
        subscriber: false,
        linkTo: async (port) => {
          proxy = proxies.use(await LinkProxy.open({ host: '127.0.0.1', port, latencyMs: ROUND_TRIP_MS / 2 }))
          return proxy.port
        },
      })
      const { first, all } = await measure(stack, proxy as LinkProxy)
      const name = stack.name.replace(/ \+.*/, ', its own bridge')
      times.set(name, [...(times.get(name) ?? []), { all, flowing: all - first }])
      process.stdout.write(
        `  round ${round + 1}: ${name}: first crop after ${first.toFixed(1)} s, all after ${all.toFixed(1)} s\n`,
      )
    }
  }
  const [ours, theirs] = [...times.values()] as [
    { all: number; flowing: number }[],
    { all: number; flowing: number }[],
  ]
  const ratio = (part: 'all' | 'flowing') =>
    median(theirs.map((their, at) => their[part] / (ours[at]?.[part] ?? Number.NaN)))
  const medianOf = (values: readonly { all: number; flowing: number }[]) => ({
    all: median(values.map(({ all }) => all)),
    flowing: median(values.map(({ flowing }) => flowing)),
  })
  return {
    seconds: new Map([...times].map(([name, values]) => [name, medianOf(values)])),
    ratio: ratio('all'),
    ratioFlowing: ratio('flowing'),
  }
}

/** @returns seconds from the link's return to the first crop and to the last */
async function measure(stack: Stack, proxy: LinkProxy): Promise<{ first: number; all: number }> {
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
  let firstAt = 0
  observer.on('publish', ({ messageId }) => {
    observer.puback(messageId as number)
    seen += 1
    if (seen === 1) firstAt = performance.now()
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
  return { first: (firstAt - start) / 1000, all: (performance.now() - start) / 1000 }
}

export function printBacklog({ seconds, ratio, ratioFlowing }: BacklogResult): void {
  process.stdout.write(
    `\nBacklog: ${CROPS} crops of ${BYTES / 1000} KB drain over a link of ${ROUND_TRIP_MS} ms round trip, ${ROUNDS} rounds in turn, medians\n`,
  )
  for (const [name, { all, flowing }] of seconds) {
    process.stdout.write(
      `  ${name.padEnd(36)} ${all.toFixed(1).padStart(6)} s from the link's return, ${flowing.toFixed(1)} s of it flowing\n`,
    )
  }
  process.stdout.write(
    `  Sightline is ${ratio.toFixed(1)} times as fast from the link's return (bar: 5), ${ratioFlowing.toFixed(2)} times once crops flow\n`,
  )
  process.stdout.write(
    '  (Mosquitto at its defaults, but for max_queued_messages: by default it keeps 1,000 and drops the rest)\n',
  )
}

if (import.meta.main) printBacklog(await benchBacklog(Number(process.argv[2] ?? ROUNDS)))
