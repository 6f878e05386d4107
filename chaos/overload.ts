import { readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { storedKeys } from '../test/kit/bucket-folder.ts'
import type { Program, Test } from '../test/kit/programs.ts'
import { RawClient } from '../test/kit/raw-client.ts'
import { until } from '../test/kit/wait.ts'
import { Line, type Published } from './line.ts'
import type { LineBucket } from './line-bucket.ts'
import { Publisher } from './publisher.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/** Who wants more than there is, beside those who behave: those are served all the same, and memory stays bounded. */

const RUN_MS_MAX = 10 * 60_000
const QUIET = ['quiet-1', 'quiet-2', 'quiet-3', 'quiet-4', 'quiet-5']
/** A crop of somebody who behaves is in the bucket after this time, whatever the others do, ms. */
const SERVED_MS_MAX = 5000
/** What a broker may grow by under any load, bytes: what waits unwritten and unread is bounded (docs/architecture.md). */
const GROWTH_BYTES_MAX = 200e6

const MB = (bytes: number) => `${Math.round(bytes / 1e6)} MB`

/** Peak anonymous memory of programs, from now on. */
class MemoryWatch {
  readonly #programs: readonly Program[]
  readonly #before: readonly number[]
  readonly #peaks: number[]
  readonly #timer: NodeJS.Timeout

  constructor(programs: readonly Program[]) {
    this.#programs = programs
    this.#before = programs.map(anonymousBytes)
    this.#peaks = [...this.#before]
    this.#timer = setInterval(() => {
      this.#programs.forEach((program, n) => {
        this.#peaks[n] = Math.max(this.#peaks[n] ?? 0, anonymousBytes(program))
      })
    }, 100)
  }

  /** @returns what grew beyond the limit, and what to say of all */
  end(): { faults: string[]; said: string } {
    clearInterval(this.#timer)
    const grown = this.#peaks.map((peak, n) => peak - (this.#before[n] ?? 0))
    return {
      faults: grown.flatMap((bytes, n) =>
        bytes > GROWTH_BYTES_MAX
          ? [`the ${this.#programs[n]?.config.name ?? this.#programs[n]?.kind} grew by ${MB(bytes)}`]
          : [],
      ),
      said: `memory peaks ${this.#peaks.map(MB).join(', ')}`,
    }
  }
}

function anonymousBytes({ pid }: Program): number {
  try {
    return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1000
  } catch {
    return 0
  }
}

/** The longest time from a crop's making to its being in the bucket, ms. An id is a UUIDv7: its first 48 bits tell. */
function servedMsMax({ path: bucket = '' }: LineBucket, { acknowledged }: Published): number {
  let longest = 0
  for (const key of storedKeys(bucket)) {
    const id = basename(key, '.jpg')
    if (!acknowledged.has(id)) continue
    const madeAtMs = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
    longest = Math.max(longest, statSync(join(bucket, key)).mtimeMs - madeAtMs)
  }
  return longest
}

function together(publishers: readonly Publisher[]): Published {
  return {
    acknowledged: new Map(publishers.flatMap(({ acknowledged }) => [...acknowledged])),
    count: publishers.reduce((sum, { count }) => sum + count, 0),
  }
}

/** Five who publish a crop now and then, for about so long. */
function quietOnes(url: string, seconds: number, random: () => number): Publisher[] {
  return QUIET.map(
    (device) =>
      new Publisher({
        url,
        device,
        count: Math.ceil(seconds * 2),
        perSecond: 2,
        bytes: [5000, 20_000],
        random,
      }),
  )
}

const run = (publishers: readonly Publisher[]) =>
  Promise.all(publishers.map((publisher) => publisher.run(AbortSignal.timeout(RUN_MS_MAX))))

function servedFaults(line: Line, quiet: readonly Publisher[]): { faults: string[]; said: string } {
  const servedMs = servedMsMax(line.bucket, together(quiet))
  const resent = quiet.reduce((sum, publisher) => sum + publisher.resent, 0)
  return {
    faults: [
      ...(servedMs > SERVED_MS_MAX ? [`a crop of a quiet device took ${Math.round(servedMs)} ms`] : []),
      ...(resent > 0 ? [`quiet devices were refused: ${resent} crops sent again`] : []),
    ],
    said: `the quiet ones' slowest crop ${Math.round(servedMs)} ms`,
  }
}

async function fastPublisher({ short, random }: TrialOptions): Promise<Verdict> {
  // 100 crops of 20 KB a second go through, and a quarter of what comes fits the queue.
  const crops = short ? 1000 : 8000
  await using line = await Line.open({
    link: { latencyMs: 20, bytesMax: 40_000 },
    bridge: { bytesMax: `${crops * 5}KB` },
  })
  const { edge, cloud, subscriber } = line.keepers
  const memory = new MemoryWatch([edge, cloud, subscriber])
  const noisy = line.publisher({
    count: crops,
    perSecond: 1000,
    bytes: [19_000, 21_000],
    random,
    device: 'noisy',
  })
  const quiet = quietOnes(edge.url, crops / 110, random)
  await run([noisy, ...quiet])
  const all = together([noisy, ...quiet])
  const faults = await line.faults(all)
  const served = servedFaults(line, quiet)
  const used = memory.end()
  return {
    faults: [...faults, ...served.faults, ...used.faults],
    crops: all.acknowledged.size,
    said: `${all.acknowledged.size} acknowledged, ${noisy.resent} of the noisy one's sent again, ${served.said}, the noisy one's ${Math.round(servedMsMax(line.bucket, noisy) / 1000)} s, ${used.said}`,
  }
}

async function deafReaders({ short, random }: TrialOptions): Promise<Verdict> {
  await using line = await Line.open()
  await using own = new AsyncDisposableStack()
  const test: Test = { after: (handler) => void own.defer(handler) }
  const { cloud } = line.keepers
  for (const [id, clean, qos] of [
    ['deaf-session', false, 1],
    ['deaf-live', true, 1],
    ['deaf-casual', true, 0],
  ] as const) {
    const reader = await RawClient.open(test, cloud.port, id, { clean })
    await reader.subscribe('#', qos)
    reader.socket.pause()
  }
  const memory = new MemoryWatch([cloud])
  const seconds = short ? 5 : 40
  const fast = line.publisher({ count: seconds * 200, perSecond: 200, bytes: [19_000, 21_000], random })
  const quiet = quietOnes(line.keepers.edge.url, seconds, random)
  await run([fast, ...quiet])
  const all = together([fast, ...quiet])
  const faults = await line.faults(all)
  const served = servedFaults(line, [fast, ...quiet])
  const used = memory.end()
  return {
    faults: [...faults, ...served.faults, ...used.faults],
    crops: all.acknowledged.size,
    said: `${all.acknowledged.size} acknowledged, slowest ${Math.round(servedMsMax(line.bucket, all))} ms, ${used.said}`,
  }
}

const DEVICES = 1000

async function manyDevices({ short, random }: TrialOptions): Promise<Verdict> {
  await using line = await Line.open()
  const { edge, cloud } = line.keepers
  const memory = new MemoryWatch([edge, cloud])
  const count = short ? 2 : 10
  const start = performance.now()
  const devices = Array.from(
    { length: DEVICES },
    (_, n) =>
      new Publisher({
        url: edge.url,
        device: `cam-${n}`,
        count,
        perSecond: short ? 0.07 : 0.25,
        bytes: [5000, 15_000],
        random,
      }),
  )
  const publishing = run(devices)
  let connected = 0
  const watch = setInterval(async () => {
    connected = Math.max(connected, await connections(edge))
  }, 200)
  await publishing
  clearInterval(watch)
  const seconds = (performance.now() - start) / 1000
  const all = together(devices)
  const faults = await line.faults(all)
  const used = memory.end()
  return {
    faults: [
      ...faults,
      ...used.faults,
      ...(connected < DEVICES * 0.95 ? [`only ${connected} of ${DEVICES} were connected at once`] : []),
    ],
    crops: all.acknowledged.size,
    said: `${connected} connected at once, ${all.acknowledged.size} acknowledged in ${seconds.toFixed(0)} s, slowest in the bucket after ${Math.round(servedMsMax(line.bucket, all))} ms, ${used.said}`,
  }
}

async function connections({ http }: Program): Promise<number> {
  const text = await (await fetch(`${http}/metrics`)).text()
  return Number(/^sightline_broker_connections(?:\{[^}]*\})? (\d+)$/m.exec(text)?.[1] ?? 0)
}

const HUGE_BYTES = 100e6

async function hugePayload({ random }: TrialOptions): Promise<Verdict> {
  await using line = await Line.open()
  const { edge } = line.keepers
  const before = anonymousBytes(edge)
  const memory = new MemoryWatch([edge])
  const quiet = quietOnes(edge.url, 4, random)
  const publishing = run(quiet)
  const sent = await Promise.all(Array.from({ length: 20 }, () => sendHuge(edge.port)))
  await publishing
  const faults = await line.faults(together(quiet))
  const served = servedFaults(line, quiet)
  const used = memory.end()
  const most = Math.max(...sent)
  return {
    faults: [
      ...faults,
      ...served.faults,
      ...used.faults,
      // What stands in the kernel's buffers was sent too.
      ...(most > 10e6 ? [`${MB(most)} of a payload of ${MB(HUGE_BYTES)} were taken`] : []),
    ],
    crops: together(quiet).acknowledged.size,
    said: `20 payloads of ${MB(HUGE_BYTES)}, closed after at most ${(most / 1e6).toFixed(1)} MB, ${served.said}, ${MB(before)} before, ${used.said}`,
  }
}

/** @returns how many bytes went out before the connection was closed */
async function sendHuge(port: number): Promise<number> {
  const socket = connect(port, '127.0.0.1')
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  // CONNECT with an empty client id and clean session, then PUBLISH at QoS 1 with four digits of remaining length.
  socket.write(Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 0]))
  socket.write(Buffer.from([0x32, 0x80, 0xc2, 0xd7, 0x2f, 0, 1, 0x61, 0, 1]))
  const piece = Buffer.alloc(64 * 1024)
  let sent = 0
  while (!socket.destroyed && sent < HUGE_BYTES) {
    sent += piece.length
    if (!socket.write(piece))
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed])
  }
  socket.destroy()
  await closed
  return Math.min(sent, socket.bytesWritten)
}

async function retainedFlood({ short, random }: TrialOptions): Promise<Verdict> {
  await using line = await Line.open()
  await using own = new AsyncDisposableStack()
  const test: Test = { after: (handler) => void own.defer(handler) }
  const { edge } = line.keepers
  const memory = new MemoryWatch([edge])
  const count = short ? 20_000 : 200_000
  const quiet = quietOnes(edge.url, short ? 4 : 20, random)
  const publishing = run(quiet)
  const flood = await RawClient.open(test, edge.port, 'flood', { clean: true })
  const payload = 'x'.repeat(200)
  for (let n = 0; n < count; n += 1) {
    const messageId = (n % 60_000) + 1
    flood.publish(`sightline/v1/bench/flood/${n}`, payload, { retain: true, messageId })
    // A thousand in flight.
    if (n % 500 === 499)
      await until('they are acknowledged', () => n + 1 - flood.received.length < 1000, 60_000)
  }
  await publishing
  const faults = await line.faults(together(quiet))
  const served = servedFaults(line, quiet)
  const late = await RawClient.open(test, edge.port, 'late', { clean: true })
  await late.subscribe('sightline/v1/bench/flood/#', 0)
  // Until no more come.
  for (let before = -1; before < late.publishes.length; await sleep(2000)) before = late.publishes.length
  const retained = late.publishes.length
  const used = memory.end()
  return {
    faults: [
      ...faults,
      ...served.faults,
      ...used.faults,
      ...(retained > 18_001 || retained < 17_000 ? [`${retained} of them are retained`] : []),
    ],
    crops: together(quiet).acknowledged.size,
    said: `${count} retained messages, of which ${retained} are kept, ${served.said}, ${used.said}`,
  }
}

async function poison({ short, random }: TrialOptions): Promise<Verdict> {
  await using line = await Line.open({ cloud: { limits: { packetMax: '50KB' } } })
  const { edge } = line.keepers
  const count = short ? 30 : 200
  const quarantined = `quarantine/cloud`
  line.link.refuse()
  line.link.cut()
  const large = line.publisher({ count, perSecond: 1e4, bytes: [60_000, 200_000], random, device: 'poison' })
  await large.run(AbortSignal.timeout(RUN_MS_MAX))
  const quiet = quietOnes(edge.url, short ? 4 : 20, random)
  const publishing = run(quiet)
  await line.link.accept()
  const start = performance.now()
  await until(
    'the poison is set aside',
    async () => (await edge.books(quarantined)).pending === count,
    30_000,
  )
  const seconds = (performance.now() - start) / 1000
  await publishing
  const all = together(quiet)
  const faults = await line.faults(all, { isOverloaded: true })
  const served = servedFaults(line, quiet)
  const { dropped, forwarded } = await edge.books('bridge/cloud')
  return {
    faults: [
      ...faults,
      ...served.faults,
      ...(dropped.quarantined === count ? [] : [`the edge's books say ${JSON.stringify(dropped)}`]),
      ...(forwarded === all.count ? [] : [`${forwarded} of ${all.count} were forwarded`]),
    ],
    crops: all.acknowledged.size,
    said: `${count} at the head of the queue set aside in ${seconds.toFixed(1)} s, the other ${all.acknowledged.size} went on, ${served.said}`,
  }
}

export const OVERLOAD_TRIALS: readonly Trial[] = [
  {
    name: 'fast-publisher',
    what: 'one publishes ten times what the line takes, beside five quiet ones',
    alone: true,
    run: fastPublisher,
  },
  {
    name: 'deaf-readers',
    what: 'three subscribers that read nothing, beside the one that does',
    run: deafReaders,
  },
  { name: 'many-devices', what: `${DEVICES} devices at once`, run: manyDevices },
  { name: 'huge-payload', what: 'payloads of 100 MB', run: hugePayload },
  { name: 'retained-flood', what: 'a flood of retained messages', run: retainedFlood },
  { name: 'poison-head', what: 'what the cloud never takes is first in the queue', run: poison },
]
