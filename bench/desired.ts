import { setTimeout as sleep } from 'node:timers/promises'
import { MqttLink } from '../lib/mqtt/link.ts'
import {
  bridgeConfig,
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  type Test,
} from '../test/kit/programs.ts'
import { type Answered, ConsoleApi } from '../test/kit/scenario-line.ts'
import { until } from '../test/kit/wait.ts'
import {
  type Desired,
  type DesiredContent,
  desiredContentSchema,
  desiredSchema,
  desiredTopic,
  digestOf,
  type Reported,
  reportedSchema,
  reportedTopic,
} from '../wire/desired.ts'
import { TOPIC_PREFIX_DEFAULT as PREFIX, statusTopic } from '../wire/topics.ts'
import { SimulatedDevice } from './simulated-device.ts'
import { median } from './stacks.ts'

/**
 * How long it takes until 200 devices (simulated, each a connection of its own; half of them at edge brokers, over bridges)
 * say that they have taken up a new desired configuration, and whether any ever says a mixture. Then with devices and an edge
 * broker that were away, and with one that was tampered with on its way.
 */
const DEVICES = 200
const EDGES = 4
const ROUNDS = 5
const AWAY = 20
/** Of each camera; each device has four. */
const TRY_MS = 20
const WAIT_MS_MAX = 60_000

export interface DesiredResult {
  readonly devices: number
  /** Of one document. */
  readonly bytes: number
  /** Until the last one has said so, ms: median and worst of the rounds. */
  readonly medianMs: number
  readonly worstMs: number
  /** The same, said by the console: from the request that changes a scenario. */
  readonly consoleMedianMs: number
  readonly consoleWorstMs: number
  /** From the return of those that were away, ms. */
  readonly returnedMs: number
  readonly edgeReturnedMs: number
  readonly answers: number
  readonly mixtures: number
  /** Devices that took up what was tampered with, or an older one. */
  readonly wrong: number
}

export async function benchDesired(devicesCount = DEVICES): Promise<DesiredResult> {
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const cloud = await Program.start(own, 'broker', brokerConfig(own, { name: 'cloud' }))
  const edges: Program[] = []
  for (let at = 0; at < EDGES; at += 1) {
    const topics = [
      { filter: reportedTopic(PREFIX, { site: '+', device: '+' }) },
      { filter: statusTopic(PREFIX, { site: '+', device: '+' }) },
      { filter: desiredTopic(PREFIX, { site: `site-${at}`, device: '+' }), direction: 'down' },
    ]
    const bridges = [bridgeConfig(cloud.url, { topics })]
    edges.push(await Program.start(own, 'broker', brokerConfig(own, { name: `edge-${at}`, bridges })))
  }
  const devices = Array.from({ length: devicesCount }, (_, at) => {
    const edge = at % (2 * EDGES)
    const url = (edges[edge] ?? cloud).url
    const site = edge < EDGES ? `site-${edge}` : 'cloud'
    return stack.use(new SimulatedDevice({ url, site, device: `device-${at}`, tryMs: TRY_MS }))
  })
  const operator = stack.use(await Operator.open(cloud.url, devices))
  await until('every device has said what holds', () => operator.heardOf === devices.length, WAIT_MS_MAX)
  const all = new Set(devices)
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) times.push(await operator.publish(all))

  const away = new Set(devices.filter((_, at) => at % (devicesCount / AWAY) === 0))
  for (const device of away) device.leave()
  await until('they are gone', () => [...away].every((it) => !it.connected))
  const rest = new Set(devices.filter((it) => !away.has(it)))
  // Two: of these only the newest is to be heard of.
  await operator.publish(rest)
  await operator.publish(rest)
  const returnedMs = await timed(async () => {
    for (const device of away) device.comeBack()
    await operator.allHave(all)
  })

  const [edge] = edges
  await edge?.kill()
  const behind = new Set(devices.filter(({ site }) => site === 'site-0'))
  const others = new Set(devices.filter((it) => !behind.has(it)))
  await operator.publish(others)
  await operator.publish(others)
  await edge?.start()
  const edgeReturnedMs = await timed(() => operator.allHave(all))

  const wrong = await operator.tamper(devices)
  const said = await operator.publishByConsole(await startConsole(own, cloud), all)
  const backwards = devices.filter(({ heard }) => heard.some((it, at) => it < (heard[at - 1] ?? 0)))
  return {
    devices: devices.length,
    bytes: operator.bytes,
    medianMs: median(times),
    worstMs: Math.max(...times),
    consoleMedianMs: median(said),
    consoleWorstMs: Math.max(...said),
    returnedMs,
    edgeReturnedMs,
    answers: operator.answers,
    mixtures: operator.mixtures,
    wrong: wrong + backwards.length,
  }
}

/** A console that knows the devices by what they have answered. */
async function startConsole(own: Test, cloud: Program): Promise<ConsoleApi> {
  const console = await Program.start(own, 'console', consoleConfig(own, cloud.url), {
    env: consoleEnvironment,
  })
  return new ConsoleApi(console)
}

async function timed(run: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await run()
  return performance.now() - startMs
}

/** Publishes as a console does, and hears what devices answer: each answer is compared with what was published. */
class Operator implements AsyncDisposable {
  readonly #link: MqttLink
  readonly #devices: readonly SimulatedDevice[]
  readonly #published = new Map<string, DesiredContent>()
  readonly #last = new Map<string, Reported>()
  readonly #unacknowledged = new Set<number>()
  #messageId = 0
  #version = Date.now()
  /** Of what was published last. */
  #mark = 0
  answers = 0
  mixtures = 0
  bytes = 0

  private constructor(link: MqttLink, devices: readonly SimulatedDevice[]) {
    this.#link = link
    this.#devices = devices
    link.on('puback', (messageId) => this.#unacknowledged.delete(messageId))
    link.on('publish', ({ topic, payload, messageId }) => {
      const message: unknown = JSON.parse(payload.toString())
      if (topic.endsWith('/reported')) this.#hear(reportedSchema.parse(message))
      else this.#read(desiredSchema.parse(message))
      if (messageId !== undefined) link.puback(messageId)
    })
  }

  static async open(url: string, devices: readonly SimulatedDevice[]): Promise<Operator> {
    const link = await MqttLink.open({
      url,
      clientId: 'operator',
      protocol: 4,
      clean: true,
      packetBytesMax: 1024 * 1024,
      keepaliveS: 60,
      connectMsMax: 5000,
    })
    const operator = new Operator(link, devices)
    await link.subscribe(desiredTopic(PREFIX, { site: '+', device: '+' }), 1)
    await link.subscribe(reportedTopic(PREFIX, { site: '+', device: '+' }), 1)
    return operator
  }

  get heardOf(): number {
    return this.#last.size
  }

  /** What a console has published. One that does not fit its digest is of our own making. */
  #read({ content, digest }: Desired): void {
    if (digestOf(content) === digest) this.#published.set(digest, desiredContentSchema.parse(content))
  }

  #hear(reported: Reported): void {
    this.answers += 1
    this.#last.set(`${reported.site}/${reported.device}`, reported)
    const content = reported.applied === null ? {} : this.#published.get(reported.applied.digest)
    if (!content || !isExactly(reported.effective, content)) this.mixtures += 1
  }

  /** A new one for every device. @returns ms until these have said that they have applied it */
  async publish(to: ReadonlySet<SimulatedDevice>): Promise<number> {
    this.#version = Math.max(this.#version + 1, Date.now())
    this.#mark = markOf(this.#version)
    const content = contentOf(this.#version)
    this.#published.set(digestOf(content), content)
    return timed(async () => {
      for (const device of this.#devices) this.#send(device, this.#document(device, content))
      await this.allHave(to)
    })
  }

  #document({ site, device }: SimulatedDevice, content: DesiredContent): Desired {
    return {
      v: 1,
      site,
      device,
      version: this.#version,
      atMs: Date.now(),
      by: 'bench',
      digest: digestOf(content),
      content,
    }
  }

  #send(device: SimulatedDevice, desired: Desired): void {
    const payload = Buffer.from(JSON.stringify(desired))
    this.bytes = payload.length
    this.#messageId = (this.#messageId % 65_535) + 1
    this.#unacknowledged.add(this.#messageId)
    const topic = desiredTopic(PREFIX, device)
    this.#link.publish({ topic, payload, messageId: this.#messageId, dup: false, retain: true })
  }

  /** As scenarios, one revision after the other. @returns ms of each */
  async publishByConsole(api: ConsoleApi, to: ReadonlySet<SimulatedDevice>): Promise<number[]> {
    const times: number[] = []
    let known: Answered | undefined
    await until(
      'it knows all devices',
      async () => {
        await sleep(500)
        const { items } = await api.get<{ items: { desired: { reportedAtMs: number | null } }[] }>('devices')
        return items.filter(({ desired }) => desired.reportedAtMs !== null).length >= to.size
      },
      WAIT_MS_MAX,
    )
    for (let round = 0; round <= ROUNDS; round += 1) {
      this.#mark = markOf(Date.now() + round)
      const document = scenarioOf(this.#mark)
      const ms = await timed(async () => {
        known = known
          ? await api.ask<Answered>('PUT', `scenarios/${known.id}`, { revision: known.revision, document })
          : await api.addScenario(document)
        await this.allHave(to)
      })
      if (round > 0) times.push(ms) // the first one warms up
    }
    return times
  }

  async allHave(devices: ReadonlySet<SimulatedDevice>): Promise<void> {
    const has = ({ site, device }: SimulatedDevice) => {
      const reported = this.#last.get(`${site}/${device}`)
      const applied = this.#published.get(reported?.applied?.digest ?? '')
      return reported?.state === 'applied' && applied?.detect?.scoreMin === this.#mark
    }
    await until('all have it', () => [...devices].every(has), WAIT_MS_MAX)
  }

  /** A document whose content was changed on its way, and one of another device. @returns how many have not refused them */
  async tamper(devices: readonly SimulatedDevice[]): Promise<number> {
    const before = this.#version
    let wrong = 0
    for (const change of [
      (desired: Desired): Desired => ({ ...desired, content: { detect: { scoreMin: 0 } } }),
      (desired: Desired): Desired => ({ ...desired, device: 'somebody-else' }),
    ]) {
      this.#version += 1
      for (const device of devices)
        this.#send(device, change(this.#document(device, contentOf(this.#version))))
      const refused = ({ site, device }: SimulatedDevice) => {
        const reported = this.#last.get(`${site}/${device}`)
        return reported?.state === 'refused' && reported.version === this.#version
      }
      await until('they have answered', () => devices.every(refused), WAIT_MS_MAX).catch(() => {})
      wrong += devices.filter((it) => !refused(it)).length
    }
    await sleep(500)
    for (const { applied } of this.#last.values()) if (applied?.version !== before) wrong += 1
    return wrong
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link[Symbol.asyncDispose]()
  }
}

/** Every setting bears the version, so that a mixture of two shows. */
function contentOf(version: number): DesiredContent {
  const mark = markOf(version)
  const camera = { ...settingsOf(mark), zones: zonesOf(mark) }
  return {
    detect: { scoreMin: mark },
    cameras: { door: camera, yard: camera, added: { ...camera, source: 'rtsp://192.0.2.1/a' }, more: camera },
  }
}

const markOf = (version: number) => (version % 1_000_000) / 1_000_000

const settingsOf = (mark: number) => ({
  scoreMin: mark,
  region: { left: 0, top: 0, width: mark, height: 1 },
  masks: [],
})

const zonesOf = (mark: number) =>
  ['door', 'path', 'gate'].map((name) => ({
    name,
    points: Array.from({ length: 16 }, (_, at): [number, number] => [mark, at / 16]),
    stayS: 1 + mark,
  }))

const scenarioOf = (mark: number) => ({
  name: 'Bench',
  cameras: { all: true },
  settings: settingsOf(mark),
  detect: { scoreMin: mark },
  zones: zonesOf(mark),
})

/** Whether settings that hold are those of a document, all of them and no others. */
function isExactly({ detect, cameras }: Reported['effective'], content: DesiredContent): boolean {
  const expected = {
    detect: { model: 'yunet', ...content.detect },
    cameras: Object.fromEntries(
      Object.entries({ door: {}, yard: {}, ...content.cameras }).map(([name, settings]) => [
        name,
        { source: 'testcard', ...settings, from: name === 'door' || name === 'yard' ? 'file' : 'desired' },
      ]),
    ),
  }
  return digestOf({ detect, cameras }) === digestOf(expected)
}

export function printDesired(result: DesiredResult): void {
  const { devices, bytes, medianMs, worstMs, returnedMs, edgeReturnedMs, answers, mixtures, wrong } = result
  const { consoleMedianMs, consoleWorstMs } = result
  process.stdout.write(
    `\nDesired configurations (${bytes} bytes) to ${devices} devices, half of them over ${EDGES} bridges, until all have answered:
  median ${medianMs.toFixed(0)} ms, worst of ${ROUNDS} ${worstMs.toFixed(0)} ms (bar: 5000), of which ${4 * TRY_MS} ms are a device's own
  said by the console, from the request that changes a scenario: median ${consoleMedianMs.toFixed(0)} ms, worst of ${ROUNDS} ${consoleWorstMs.toFixed(0)} ms (bar: 5000)
  ${AWAY} devices that were away for two of them have the newest ${returnedMs.toFixed(0)} ms after their return
  devices of an edge broker that was killed for two of them ${edgeReturnedMs.toFixed(0)} ms after it is ready again
  ${answers} answers: ${mixtures} mixtures (bar: 0); ${wrong} devices heard an older one after a newer, or took what was tampered with (bar: 0)\n`,
  )
}

if (import.meta.main) printDesired(await benchDesired(Number(process.argv[2] ?? DEVICES)))
