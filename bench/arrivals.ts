import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { makeStored } from '../test/kit/announcements.ts'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, type Test } from '../test/kit/programs.ts'
import { ConsoleApi } from '../test/kit/scenario-line.ts'
import { until } from '../test/kit/wait.ts'
import { WebhookReceiver } from '../test/kit/webhooks.ts'
import { announcementLine, storedTopic } from '../wire/stored.ts'
import { TOPIC_PREFIX_DEFAULT as PREFIX } from '../wire/topics.ts'
import { quantile } from './stacks.ts'

/**
 * A rule on arrivals, which tells of every stored object: announced at a rate, and received as webhooks by one receiver that
 * answers at once. How many a second go out, what of the console's CPU each one takes, and that none is missing.
 */
const OBJECTS = 10_000
const PER_SECOND = 500
const TICK_MS = 100
const WAIT_MS_MAX = 600_000
/** Of Linux, always. */
const CLOCK_TICKS_A_SECOND = 100

export interface ArrivalsResult {
  readonly objects: number
  /** Announced and heard of, from the first to the last, a second. */
  readonly announcedPerS: number
  readonly receivedPerS: number
  readonly missing: number
  readonly twice: number
  /** Of the console: receiving, indexing, the rule, delivering. */
  readonly cpuMsEach: number
  /** From announced to received. */
  readonly p50Ms: number
  readonly p99Ms: number
}

export async function benchArrivals(objects = OBJECTS, perSecond = PER_SECOND): Promise<ArrivalsResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const broker = await Program.start(
    own,
    'broker',
    brokerConfig(own, { queues: [{ clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] }] }),
  )
  const console = await Program.start(
    own,
    'console',
    consoleConfig(own, broker.url, { notices: { allow: ['127.0.0.0/8'] } }),
    { env: consoleEnvironment },
  )
  const api = new ConsoleApi(console)
  const receiver = await WebhookReceiver.open(own)
  const { id: channel } = await api.addChannel({ type: 'webhook', name: 'Arrivals', url: receiver.url })
  await api.addScenario({
    name: 'Arrivals',
    cameras: { all: true },
    rules: [{ id: 'all', name: 'All', on: 'arrival', conditions: { kinds: ['crop'] }, notify: [channel] }],
  })
  const link = await MqttLink.open({
    url: broker.url,
    clientId: 'announcer',
    protocol: 4,
    clean: true,
    packetBytesMax: 1024 * 1024,
    keepaliveS: 30,
    connectMsMax: 5000,
  })
  stack.defer(() => link.destroy())

  const announcedAtMs = new Map<string, number>()
  const cpuBefore = cpuMsOf(console.pid)
  const startMs = nowMs()
  for (let messageId = 1; announcedAtMs.size < objects; messageId += 1) {
    const due = Math.min(objects, Math.ceil(((nowMs() - startMs + TICK_MS) / 1000) * perSecond))
    const batch = Array.from({ length: due - announcedAtMs.size }, (_, n) =>
      makeStored({ site: 'bench', device: `d${n % 10}`, camera: `c${n % 50}`, capturedAtMs: Date.now() }),
    )
    for (const { id } of batch) announcedAtMs.set(id, nowMs())
    if (batch.length > 0)
      link.publish({
        topic: storedTopic(PREFIX, 'bench'),
        payload: Buffer.from(batch.map(announcementLine).join('')),
        messageId: ((messageId - 1) % 65_535) + 1,
        dup: false,
      })
    await sleep(TICK_MS)
  }
  const announcedMs = nowMs() - startMs
  const heard = () => new Set(receiver.received.map(({ notice }) => notice.object?.id)).size
  await until('all were heard of', () => heard() >= objects, WAIT_MS_MAX).catch(() => {})
  const cpuMs = cpuMsOf(console.pid) - cpuBefore
  const lastMs = receiver.received.at(-1)?.atMs ?? startMs
  const delays = receiver.received
    .map(({ notice, atMs }) => atMs - (announcedAtMs.get(notice.object?.id ?? '') ?? atMs))
    .sort((a, b) => a - b)
  return {
    objects,
    announcedPerS: (objects * 1000) / announcedMs,
    receivedPerS: (heard() * 1000) / (lastMs - startMs),
    missing: objects - heard(),
    twice: receiver.received.length - heard(),
    cpuMsEach: cpuMs / objects,
    p50Ms: quantile(delays, 0.5),
    p99Ms: quantile(delays, 0.99),
  }
}

const nowMs = () => performance.timeOrigin + performance.now()

/** Of all its threads. */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / CLOCK_TICKS_A_SECOND
}

export function printArrivals(it: ArrivalsResult): void {
  process.stdout.write(
    `\nArrivals: ${it.objects} stored objects, a webhook for each\n  announced ${it.announcedPerS.toFixed(0)}/s, received ${it.receivedPerS.toFixed(0)}/s, p50 ${it.p50Ms.toFixed(0)} ms, p99 ${it.p99Ms.toFixed(0)} ms, ${it.cpuMsEach.toFixed(2)} ms CPU of the console each, ${it.missing} missing, ${it.twice} twice\n`,
  )
}

if (import.meta.main)
  printArrivals(
    await benchArrivals(Number(process.argv[2] ?? OBJECTS), Number(process.argv[3] ?? PER_SECOND)),
  )
