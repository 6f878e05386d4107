import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { Proxy as LinkProxy } from '../test/kit/proxy.ts'
import { until } from '../test/kit/wait.ts'
import { publishCrops } from './load.ts'
import { median, mosquitto, type Stack, type StackOptions, sightline } from './stacks.ts'

/**
 * A backlog of 5,000 crops of 20 KB at the edge that drains over a link of 100 ms round trip, until a subscriber of the
 * cloud broker has them all:
 *
 *   outage   they queue up while the link is down; timed from its return
 *   burst    they come faster than the link takes them, which is up all the time; timed from the first publish
 *
 * Mosquitto's bridge runs at its defaults but for `max_queued_messages`, and once more at its defaults altogether, which
 * keep 1,000 messages and drop the rest.
 */
const CROPS = 5000
const BYTES = 20_000
const ROUND_TRIP_MS = 100
const ROUNDS = 3
const WAIT_MS_MAX = 120_000
/** Nothing has come for so long: nothing will. */
const QUIET_MS_MAX = 3000

const CASES = ['outage', 'burst'] as const
type Case = (typeof CASES)[number]

interface Drained {
  readonly count: number
  /** Until the last one came. */
  readonly seconds: number
}

export interface BacklogResult {
  /** Seconds, medians, by case. */
  readonly ours: Readonly<Record<Case, number>>
  readonly theirs: Readonly<Record<Case, number>>
  /** How many times faster Sightline is, medians of neighbours' ratios. */
  readonly ratio: Readonly<Record<Case, number>>
  /** How many of the crops came out of Mosquitto at its defaults, by case. */
  readonly theirsByDefault: Readonly<Record<Case, number>>
}

export async function benchBacklog(rounds = ROUNDS): Promise<BacklogResult> {
  const rival = (queueByDefault: boolean) => (options: StackOptions) =>
    mosquitto('received', { ...options, queueByDefault })
  const ours = { outage: [] as number[], burst: [] as number[] }
  const theirs = { outage: [] as number[], burst: [] as number[] }
  const theirsByDefault = { outage: 0, burst: 0 }
  for (const name of CASES) {
    for (let round = 0; round < rounds; round += 1) {
      ours[name].push((await run(name, sightline)).seconds)
      theirs[name].push((await run(name, rival(false))).seconds)
      process.stdout.write(
        `  ${name}, round ${round + 1}: Sightline ${ours[name].at(-1)?.toFixed(1)} s, Mosquitto's bridge ${theirs[name].at(-1)?.toFixed(1)} s\n`,
      )
    }
    theirsByDefault[name] = (await run(name, rival(true))).count
  }
  const each = <T>(value: (name: Case) => T) => ({ outage: value('outage'), burst: value('burst') })
  return {
    ours: each((name) => median(ours[name])),
    theirs: each((name) => median(theirs[name])),
    ratio: each((name) => median(theirs[name].map((their, at) => their / (ours[name][at] ?? Number.NaN)))),
    theirsByDefault,
  }
}

async function run(name: Case, open: (options: StackOptions) => Promise<Stack>): Promise<Drained> {
  await using proxies = new AsyncDisposableStack()
  let proxy: LinkProxy | undefined
  await using stack = await open({
    subscriber: false,
    linkTo: async (port) => {
      proxy = proxies.use(await LinkProxy.open({ host: '127.0.0.1', port, latencyMs: ROUND_TRIP_MS / 2 }))
      return proxy.port
    },
  })
  const link = proxy as LinkProxy
  await using observer = await MqttLink.open({
    url: stack.cloudUrl,
    clientId: 'observer',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  const all = Promise.withResolvers<void>()
  let seen = 0
  let lastAt = performance.now()
  observer.on('publish', ({ messageId }) => {
    observer.puback(messageId as number)
    seen += 1
    lastAt = performance.now()
    if (seen === CROPS) all.resolve()
  })
  await observer.subscribe('sightline/#', 1)
  let start: number
  if (name === 'outage') {
    link.refuse()
    link.cut()
    await sleep(500)
    await publishCrops(stack.edgeUrl, CROPS, BYTES, 200)
    await sleep(500)
    if (seen > 0) throw new Error('crops passed a link that was down')
    start = performance.now()
    await link.accept()
  } else {
    await publishCrops(stack.edgeUrl, 1, 200, 1) // once the first has come, the bridge is up
    await until('the bridge is up', () => seen === 1, WAIT_MS_MAX)
    seen = 0
    const { startedAtMs } = await publishCrops(stack.edgeUrl, CROPS, BYTES, 200)
    start = startedAtMs - performance.timeOrigin
  }
  lastAt = performance.now()
  const isQuiet = () => performance.now() - lastAt > QUIET_MS_MAX && (seen > 0 || name === 'burst')
  const quiet = until('what is left has come', isQuiet, WAIT_MS_MAX)
  await Promise.race([all.promise, quiet])
  return { count: seen, seconds: (lastAt - start) / 1000 }
}

export function printBacklog({ ours, theirs, ratio, theirsByDefault }: BacklogResult): void {
  const write = (line: string) => process.stdout.write(`${line}\n`)
  write(
    `\nBacklog: ${CROPS} crops of ${BYTES / 1000} KB drain over a link of ${ROUND_TRIP_MS} ms round trip, ${ROUNDS} rounds in turn, medians`,
  )
  const what = {
    outage: "after an outage, from the link's return",
    burst: 'after a burst, the link being up',
  }
  for (const name of CASES) {
    write(
      `  ${what[name].padEnd(42)} Sightline ${ours[name].toFixed(1)} s, Mosquitto's bridge ${theirs[name].toFixed(1)} s: ${ratio[name].toFixed(1)} times as fast (bar: 5)`,
    )
    write(
      `  ${''.padEnd(42)} Mosquitto at its defaults altogether: ${theirsByDefault[name]} of ${CROPS} crops come out, the rest it drops`,
    )
  }
}

if (import.meta.main) printBacklog(await benchBacklog(Number(process.argv[2] ?? ROUNDS)))
