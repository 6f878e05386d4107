import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Database } from '../console/database/database.ts'
import { channelSchema } from '../console/notices/channel.ts'
import { scenarioSchema } from '../console/scenarios/document.ts'
import { Documents } from '../console/scenarios/documents.ts'
import { consoleConfig, consoleEnvironment, Program, RUN_TOKEN, type Test } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { noticeSchema } from '../wire/notice.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { Line } from './line.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * The console is killed while it sends a notice of each crop to a receiver that fails a third of the time. The promise: each
 * arrives at least once, under an id by which the receiver knows a second one, none is forgotten, and the books say so.
 */

const FULL = { count: 2000, perSecond: 40, kills: 50 }
const SHORT = { count: 300, perSecond: 100, kills: 6 }
const CLIENT_ID = 'sightline-console'
const RUN_MS_MAX = 10 * 60_000
const SETTLE_MS_MAX = 4 * 60_000
const CHANNEL = 'hook'

/** Takes what it answers 2xx to, and what it takes before it dies; drops what it has had. */
class Receiver implements AsyncDisposable {
  /** By the id of the notice and its revision: the object that it told of. */
  readonly taken = new Map<string, string>()
  readonly faults: string[] = []
  requests = 0
  failed = 0
  repeated = 0
  readonly #random: () => number
  readonly #server = createServer((request, response) => void this.#hear(request, response))

  private constructor(random: () => number) {
    this.#random = random
  }

  static async open(random: () => number): Promise<Receiver> {
    const receiver = new Receiver(random)
    await new Promise<void>((resolve) => receiver.#server.listen(0, '127.0.0.1', resolve))
    return receiver
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`
  }

  async #hear(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk)
    } catch {
      return // the console was killed as it sent
    }
    if (this.#random() >= 1 / 3) {
      this.#take(request, Buffer.concat(chunks))
      response.writeHead(200).end('taken')
      return
    }
    this.failed += 1
    const kind = Math.floor(this.#random() * 5)
    if (kind === 0) response.writeHead(500).end('broken')
    else if (kind === 1) response.socket?.resetAndDestroy()
    else if (kind === 2) setTimeout(() => response.writeHead(503, { 'retry-after': '1' }).end(), 1_500)
    // Hangs, until whoever asked has enough of it.
    else if (kind === 3) setTimeout(() => response.destroy(), 15_000).unref()
    else {
      // Takes it, and dies before anybody hears that it has.
      this.#take(request, Buffer.concat(chunks))
      response.destroy()
    }
  }

  #take(request: IncomingMessage, body: Buffer): void {
    const id = String(request.headers['webhook-id'])
    const notice = noticeSchema.safeParse(JSON.parse(body.toString())).data
    if (!notice?.object || id !== `${notice.id}.${notice.revision}`) {
      this.faults.push(`${id} is not a notice of an arrival`)
      return
    }
    const before = this.taken.get(id)
    if (before !== undefined) this.repeated += 1
    if (before !== undefined && before !== notice.object.id) this.faults.push(`${id} tells of two objects`)
    this.taken.set(id, notice.object.id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

interface Books {
  readonly made: number
  readonly sent: number
  readonly givenUp: number
  readonly notSent: number
  readonly waiting: number
}

async function run({ short, random }: TrialOptions): Promise<Verdict> {
  const { count, perSecond, kills } = short ? SHORT : FULL
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const line = stack.use(
    await Line.open({
      cloud: {
        queues: [
          { clientId: 'sightline-subscriber', topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/crop`] },
          { clientId: 'sightline-subscriber-clips', topics: [`${TOPIC_PREFIX_DEFAULT}/+/+/+/clip`] },
          { clientId: CLIENT_ID, topics: [`${TOPIC_PREFIX_DEFAULT}/stored/+`] },
        ],
      },
      subscriber: { announce: { enabled: true } },
    }),
  )
  const receiver = stack.use(await Receiver.open(random))
  const settings = consoleConfig(own, line.keepers.cloud.url, {
    bucket: line.bucket.config,
    notices: { allow: ['127.0.0.1'] },
  })
  await write(String((settings.database as { path: string }).path), receiver.url)
  const console = await Program.start(own, 'console', settings, { env: consoleEnvironment })
  const publisher = line.publisher({ count, perSecond, bytes: [2_000, 6_000], random })
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  for (let killed = 0; killed < kills; killed += 1) {
    await sleep(200 + random() * 600)
    await console.kill()
    await console.start()
  }
  await publishing
  const faults = await line.faults(publisher)
  let books: Books | undefined
  await until(
    'all are delivered',
    async () => {
      books = await booksOf(console).catch(() => books)
      return books !== undefined && books.made >= count && books.waiting === 0
    },
    SETTLE_MS_MAX,
  ).catch(() => faults.push(`not all were delivered: ${JSON.stringify(books)}`))
  const objects = new Set(receiver.taken.values())
  const forgotten = [...publisher.acknowledged.keys()].filter((id) => !objects.has(id))
  for (const id of forgotten.slice(0, 5)) faults.push(`nobody was told of ${id}`)
  if (forgotten.length > 5) faults.push(`nor of ${forgotten.length - 5} more`)
  if (receiver.taken.size !== objects.size)
    faults.push(`${receiver.taken.size} ids for ${objects.size} objects: a second one is not known as one`)
  if (books && (books.made !== count || books.sent !== count || books.givenUp > 0 || books.notSent > 0))
    faults.push(`the books of ${count} notices: ${JSON.stringify(books)}`)
  faults.push(...(await waitingOf(console)))
  const says = async () => {
    const metrics = await (await fetch(`${console.http}/metrics`, { headers: HEADERS })).text()
    return ['made', 'sent'].every((is) =>
      new RegExp(`^sightline_console_notices\\{[^}]*is="${is}"[^}]*\\} ${count}$`, 'm').test(metrics),
    )
  }
  await until('its metrics say so', says).catch(() =>
    faults.push(`its metrics do not say that ${count} were sent`),
  )
  return {
    faults: [...faults, ...receiver.faults.slice(0, 5)].slice(0, 20),
    crops: publisher.acknowledged.size,
    said: `${kills} kills, ${count} notices in ${receiver.requests} requests, ${receiver.failed} of them failed; ${receiver.repeated} came again and were known`,
  }
}

/** A channel, and a scenario that tells it of each crop. */
async function write(path: string, url: string): Promise<void> {
  await using database = await Database.open({ type: 'sqlite', file: path })
  const documents = new Documents(database)
  await documents.create('channel', {
    id: CHANNEL,
    by: 'chaos',
    document: channelSchema.parse({ type: 'webhook', name: 'Hook', url, perHourMax: 100_000 }),
  })
  await documents.create('scenario', {
    id: 'arrivals',
    by: 'chaos',
    state: 'published',
    document: scenarioSchema.parse({
      name: 'Arrivals',
      cameras: { all: true },
      rules: [
        { id: 'crop', name: 'A crop', on: 'arrival', conditions: { kinds: ['crop'] }, notify: [CHANNEL] },
      ],
    }),
  })
}

const HEADERS = { authorization: `Bearer ${RUN_TOKEN}` }

/** What still waits, and why, in sentences. */
async function waitingOf(console: Program): Promise<string[]> {
  const answer = await fetch(`${console.http}/api/v1/notices?state=waiting&limit=3`, { headers: HEADERS })
  const { items } = (await answer.json()) as {
    items: { id: string; deliveries: { attempts: number; dueAtMs: number; why: string | null }[] }[]
  }
  return items.flatMap(({ id, deliveries }) =>
    deliveries.map(
      ({ attempts, dueAtMs, why }) =>
        `${id} waits after ${attempts} attempts, due in ${dueAtMs - Date.now()} ms: ${why}`,
    ),
  )
}

async function booksOf(console: Program): Promise<Books> {
  const answer = await fetch(`${console.http}/api/v1/channels/${CHANNEL}`, { headers: HEADERS })
  if (!answer.ok) throw new Error(`channel: ${answer.status}`)
  return ((await answer.json()) as { books: Books }).books
}

export const NOTICES_TRIAL: Trial = {
  name: 'notices-killed',
  what: 'the console is killed while notices go out to a receiver that fails a third of the time',
  run,
}
