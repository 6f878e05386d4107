import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import { makeStored } from '../test/kit/announcements.ts'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, type Test } from '../test/kit/programs.ts'
import { ConsoleApi } from '../test/kit/scenario-line.ts'
import { WebhookReceiver } from '../test/kit/webhooks.ts'
import { idMinter } from '../wire/id.ts'
import { announcementLine } from '../wire/stored.ts'
import { eventTopic, TOPIC_PREFIX_DEFAULT as PREFIX } from '../wire/topics.ts'
import { cpuSeconds } from './stacks.ts'

/**
 * The whole console under the same load as `rules`: 500 cameras see 500 faces a second, half of them as events over MQTT and
 * half as announcements that are indexed; 1,000 rules look at them, two for each camera, and one fact in a hundred goes out to
 * a webhook. What of a core the program takes with the rules and without them.
 */
const CAMERAS = 500
const SCENARIOS = 50
const FACTS_A_SECOND = 500
const SECONDS = 20
const TICK_MS = 100

export interface RulesConsoleResult {
  /** Of a core. */
  readonly without: number
  readonly withRules: number
  readonly withoutExpressions: number
  readonly noticesPerS: number
  /** To publish one scenario, median, ms. */
  readonly publishMs: number
}

export async function benchRulesConsole(): Promise<RulesConsoleResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const receiver = await WebhookReceiver.open(own)
  const queues = [{ clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] }]
  const broker = await Program.start(own, 'broker', brokerConfig(own, { queues }))
  const console = await Program.start(
    own,
    'console',
    consoleConfig(own, broker.url, {
      notices: { allow: ['127.0.0.1'] },
      limits: { requestsPerMinuteMax: 1_000_000 },
    }),
    { env: consoleEnvironment },
  )
  const api = new ConsoleApi(console)
  await using link = await MqttLink.open({
    url: broker.url,
    clientId: 'bench',
    protocol: 4,
    clean: true,
    packetBytesMax: 1e6,
    keepaliveS: 60,
    connectMsMax: 5000,
  })
  await feed(link, 2) // its cameras are known
  const without = await share(console, link)
  const channel = await api.addChannel({
    type: 'webhook',
    name: 'Bench',
    url: receiver.url,
    perHourMax: 100_000,
  })
  const took: number[] = []
  const ids: string[] = []
  const publish = async (expression: boolean) => {
    for (const id of ids.splice(0)) await api.ask('POST', `scenarios/${id}/pause`)
    for (let n = 0; n < SCENARIOS; n += 1) {
      const began = performance.now()
      ids.push((await api.addScenario(scenarioOf(n, channel.id, expression))).id)
      took.push(performance.now() - began)
    }
  }
  await publish(false)
  const before = receiver.received.length
  const withoutExpressions = await share(console, link)
  const noticesPerS = (receiver.received.length - before) / SECONDS
  await publish(true)
  const withRules = await share(console, link)
  return {
    without,
    withRules,
    withoutExpressions,
    noticesPerS,
    publishMs: took.sort((a, b) => a - b)[Math.floor(took.length / 2)] ?? 0,
  }
}

/** Ten cameras, twenty rules, of which two look at each camera's faces. */
function scenarioOf(n: number, channel: string, isExpression: boolean) {
  const cameras = Array.from({ length: CAMERAS / SCENARIOS }, (_, at) => cameraOf(n * 10 + at))
  const how = (rule: number) =>
    isExpression
      ? { expression: `score >= ${0.9 + (rule % 10) / 1000} && size >= 20 && zones.exists(z, z == "door")` }
      : { conditions: { zones: ['door'], scoreMin: 0.9 + (rule % 10) / 1000, sizeMin: 20 } }
  return {
    name: `Bench ${n} ${isExpression ? 'CEL' : 'form'}`,
    cameras: { cameras: cameras.map(({ site, device, camera }) => `${site}/${device}/${camera}`) },
    zones: [
      {
        name: 'door',
        points: [
          [0, 0],
          [1, 0],
          [1, 1],
          [0, 1],
        ],
      },
    ],
    rules: Array.from({ length: 20 }, (_, rule) => ({
      id: `r${rule}`,
      name: `Rule ${rule}`,
      on: rule % 2 === 0 ? 'face' : 'track',
      per: 'camera',
      cooldownMs: 60_000,
      notify: [channel],
      ...how(rule),
    })),
  }
}

const cameraOf = (n: number) => ({ site: 'site', device: `d${n % 50}`, camera: `c${n % CAMERAS}` })

/** CPU of the console while it is fed, of a core. */
async function share(console: Program, link: MqttLink): Promise<number> {
  await feed(link, 3)
  const before = cpuSeconds(console.pid)
  const began = performance.now()
  await feed(link, SECONDS)
  return (cpuSeconds(console.pid) - before) / ((performance.now() - began) / 1000)
}

let fed = 0
let sent = 0
/** The broker acknowledges within a moment: ids come round after 65,535 messages. */
const nextId = () => (sent++ % 65_535) + 1
const mint = idMinter()

async function feed(link: MqttLink, seconds: number): Promise<void> {
  const began = performance.now()
  for (let tick = 0; tick < (seconds * 1000) / TICK_MS; tick += 1) {
    const lines: string[] = []
    for (let n = 0; n < (FACTS_A_SECOND * TICK_MS) / 1000; n += 1) {
      fed += 1
      const at = cameraOf(fed >> 1)
      const track = mint()
      const score = (fed >> 1) % 100 === 0 ? 0.95 : 0.8
      const zones = ['door', 'till']
      if (fed % 2 === 0)
        lines.push(
          announcementLine(makeStored({ id: mint(), ...at, capturedAtMs: Date.now(), track, score, zones })),
        )
      else
        link.publish({
          topic: eventTopic(PREFIX, at),
          payload: Buffer.from(eventOf(at, track, score, zones)),
          messageId: nextId(),
          dup: false,
        })
    }
    link.publish({
      topic: `${PREFIX}/stored/bench`,
      payload: Buffer.from(lines.join('')),
      messageId: nextId(),
      dup: false,
    })
    await sleep(Math.max(0, began + (tick + 1) * TICK_MS - performance.now()))
  }
}

function eventOf(
  at: ReturnType<typeof cameraOf>,
  id: string,
  score: number,
  zones: readonly string[],
): string {
  const nowMs = Date.now()
  const face = {
    ...{
      id,
      ...at,
      startMs: nowMs,
      seenMs: nowMs,
      endMs: null,
      box: [10, 20, 30, 40],
      region: null,
      frame: [640, 360],
    },
    ...{ score, topScore: score, active: true, stationary: false, crop: null, crops: 0, zones },
  }
  return JSON.stringify({ v: 1, type: 'new', before: face, after: face })
}

export function printRulesConsole(it: RulesConsoleResult): void {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  process.stdout.write(
    `\nThe console with 1,000 rules on ${CAMERAS} cameras, ${FACTS_A_SECOND} faces a second (bar: half a core)\n` +
      `  without rules ${percent(it.without)} of a core; with rules of conditions ${percent(it.withoutExpressions)} (${it.noticesPerS.toFixed(1)} notices/s out); of CEL ${percent(it.withRules)}; to save and publish one of ${SCENARIOS} scenarios ${it.publishMs.toFixed(0)} ms\n`,
  )
}
