import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test as Tap } from 'tap'
import { parse } from 'yaml'
import { measurePending, openMeters } from '../../device/meters.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { objectKey } from '../../wire/object-key.ts'
import { cropFilter, TOPIC_PREFIX_DEFAULT } from '../../wire/topics.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { makeCrop } from '../kit/crops.ts'
import {
  bridgeConfig,
  brokerConfig,
  missing,
  Program,
  subscriberConfig,
  type Test,
  temporaryFolder,
} from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

type Crop = ReturnType<typeof makeCrop>

const CROPS = 300
const IN_FLIGHT_MAX = 10
const FILTER = cropFilter(TOPIC_PREFIX_DEFAULT)

/** As a device does: so many in flight, what was not acknowledged is sent again on the next connection. */
class Publisher {
  readonly acknowledged: Crop[] = []
  readonly #waiting: Crop[]
  readonly #test: Test
  readonly #port: number
  readonly #pauseMs: number
  sentAgain = 0

  constructor(test: Test, port: number, crops: readonly Crop[], pauseMs: number) {
    this.#test = test
    this.#port = port
    this.#waiting = [...crops]
    this.#pauseMs = pauseMs
  }

  async run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const client = await RawClient.open(this.#test, this.#port, 'pi', { clean: true })
      if (client.returnCode === 0) await this.#send(client)
      await client.cut()
      await sleep(30)
    }
  }

  async #send(client: RawClient): Promise<void> {
    const inFlight = new Map<number, Crop>()
    let messageId = 0
    client.onPacket = (packet) => {
      const crop = packet.cmd === 'puback' ? inFlight.get(packet.messageId as number) : undefined
      if (!crop) return
      inFlight.delete(packet.messageId as number)
      this.#waiting.splice(this.#waiting.indexOf(crop), 1)
      this.acknowledged.push(crop)
    }
    while (this.#waiting.length > 0 && !client.closed) {
      const sent = new Set(inFlight.values())
      const next = this.#waiting.find((crop) => !sent.has(crop))
      if (next && inFlight.size < IN_FLIGHT_MAX) {
        messageId += 1
        inFlight.set(messageId, next)
        client.publish(next.topic, next.payload, { messageId })
      }
      await sleep(this.#pauseMs)
    }
    this.sentAgain += inFlight.size
  }
}

const DOCS = join(import.meta.dirname, '..', '..', 'docs')

/** Alerts and documentation name exactly the metrics that the programs have. */
async function checkWhatIsWatched(t: Tap, programs: readonly Program[]): Promise<void> {
  const device = openMetrics('device')
  openMeters(device)
  measurePending(device, { pending: 0, pendingBytes: 0 })
  const texts = [
    await device.metrics(),
    ...(await Promise.all(programs.map(async ({ http }) => (await fetch(new URL('/metrics', http))).text()))),
  ]
  // Of what listens for publishers, which no device on this line does, as it names them.
  const listen = join(DOCS, '..', 'device', 'listen')
  for (const file of ['listeners.ts', 'whip.ts'])
    for (const [, name] of readFileSync(join(listen, file), 'utf8').matchAll(
      /(?:counter|gauge)\(\s*[\w.]+,\s*'(\w+)'/g,
    ))
      texts.push(`# TYPE sightline_${name} x`)
  // Of the console, which is not on this line, as its program names them.
  for (const file of ['meters.ts', 'notices/notices.ts'])
    for (const [, name] of readFileSync(join(DOCS, '..', 'console', file), 'utf8').matchAll(
      /(?:counter|gauge|histogram)\(\s*(?:metrics|registry),\s*'(\w+)'/g,
    ))
      texts.push(`# TYPE sightline_${name} x`)
  for (const [, name] of readFileSync(join(DOCS, '..', 'inference', 'meters.ts'), 'utf8').matchAll(
    /(?:counter|gauge|histogram)\(\s*registry,\s*'(\w+)'/g,
  ))
    texts.push(`# TYPE sightline_${name} x`)
  const exposed = new Set(
    texts.flatMap((text) =>
      [...text.matchAll(/^# TYPE (sightline_\w+) /gm)].map(([, name]) => name as string),
    ),
  )
  const { groups } = parse(readFileSync(join(DOCS, 'alerts.yml'), 'utf8')) as {
    groups: { rules: { alert: string; expr: string; annotations: { summary: string; action: string } }[] }[]
  }
  const rules = groups.flatMap((group) => group.rules)
  t.ok(rules.length >= 10)
  for (const { alert, expr, annotations } of rules) {
    t.match(annotations, { summary: /\w/, action: /\w/ }, alert)
    for (const [name] of expr.matchAll(/sightline_\w+/g)) t.ok(exposed.has(name), `${alert}: ${name}`)
  }
  // In a row of the table the later names are cut to what differs: `sightline_queue_accepted_total`, `_dropped_total`.
  const documented = new Set<string>()
  for (const row of readFileSync(join(DOCS, 'operations.md'), 'utf8').matchAll(/^\| (`sightline_.*?) \|/gm)) {
    const [first = '', ...rest] = [...(row[1] as string).matchAll(/`(\w+)`/g)].map(
      ([, name]) => name as string,
    )
    const [stem = ''] = /^sightline_[a-z]+/.exec(first) ?? []
    for (const name of [first, ...rest]) documented.add(name.startsWith('_') ? stem + name : name)
  }
  t.strictSame([...documented].sort(), [...exposed].sort(), 'docs/operations.md lists every metric')
}

t.test(
  'kill -9 each keeper while crops flow: every acknowledged crop is stored, once, and the books balance',
  async (t) => {
    const cloud = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        name: 'cloud',
        mustBeKept: [FILTER],
        queues: [{ clientId: 'sightline-subscriber', topics: [FILTER] }],
      }),
    )
    const link = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, latencyMs: 5 })
    t.after(() => link[Symbol.asyncDispose]())
    const bucket = temporaryFolder(t)
    const [edge, subscriber] = (await Promise.all([
      Program.start(
        t,
        'broker',
        brokerConfig(t, {
          name: 'edge',
          mustBeKept: [FILTER],
          bridges: [bridgeConfig(link.url, { topics: [{ filter: FILTER }] })],
        }),
      ),
      Program.start(
        t,
        'subscriber',
        subscriberConfig(t, cloud.url, {
          bucket: { type: 'folder', path: bucket },
          gallery: { enabled: true },
        }),
      ),
    ])) as [Program, Program]
    const crops = Array.from({ length: CROPS }, () => makeCrop())
    const publisher = new Publisher(t, edge.port, crops, 3)
    const publishing = publisher.run()
    for (const [at, keeper] of [edge, cloud, subscriber].entries()) {
      await until(`${at + 1} quarters`, () => publisher.acknowledged.length > (CROPS * (at + 1)) / 5, 20_000)
      await keeper.kill()
      if (at === 1) link.cut()
      await keeper.start()
    }
    await publishing
    t.equal(new Set(publisher.acknowledged).size, CROPS)
    t.equal(publisher.acknowledged.length, CROPS)

    const keys = crops.map(({ metadata }) => objectKey(metadata, metadata.capturedAtMs)).sort()
    await until('all are stored', () => storedKeys(bucket).length >= CROPS, 20_000)
    const books = async () => ({
      uplink: await edge.books('bridge/cloud'),
      session: await cloud.books('session/sightline-subscriber'),
      inbox: await subscriber.books('inbox'),
      quarantine: await subscriber.books('quarantine'),
    })
    await until('everybody has let go', async () =>
      Object.values(await books()).every(({ pending }) => pending === 0),
    )
    t.strictSame(storedKeys(bucket), keys, 'each once, and nothing else')
    for (const { metadata, payload } of crops) {
      const file = readFileSync(join(bucket, objectKey(metadata, metadata.capturedAtMs)))
      if (!file.equals(payload)) t.fail(`${metadata.id} was changed on its way`)
    }
    const { uplink, session, inbox, quarantine } = await books()
    for (const [name, book] of Object.entries({ uplink, session, inbox, quarantine }))
      t.equal(missing(book), 0, `${name} balances: ${JSON.stringify(book)}`)
    for (const [name, { dropped }] of Object.entries({ uplink, session, inbox, quarantine }))
      t.strictSame(dropped, {}, `${name} has lost nothing`)
    // What a broker had handed on within a second of being killed is missing from its books, on both sides.
    t.ok(uplink.accepted <= CROPS + publisher.sentAgain, 'sent again is counted again')
    t.ok(inbox.accepted >= CROPS, 'the inbox is always on disk')
    t.equal(quarantine.accepted, 0)

    await checkWhatIsWatched(t, [edge, cloud, subscriber])

    const { checks } = await subscriber.health()
    t.match(checks, { broker: 'connected', bucket: 'ok', inbox: '0 waiting' })
    for (const program of [subscriber, edge, cloud])
      t.equal(await program.stop(), 0, 'and everybody drains and ends')
    const heads = readFileSync(join(bucket, 'gallery/index/subscriber/head.json'), 'utf8')
    t.match(heads, /"v"/, 'the gallery lists them')
  },
)
