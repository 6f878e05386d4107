import { createHash } from 'node:crypto'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { POSTGRES_URL } from '../test/kit/postgres.ts'
import {
  consoleConfig,
  consoleEnvironment,
  missing,
  Program,
  RUN_TOKEN,
  type Test,
} from '../test/kit/programs.ts'
import { TcpProxy } from '../test/kit/proxy.ts'
import { SmallDisk } from '../test/kit/small-disk.ts'
import { until } from '../test/kit/wait.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { Line } from './line.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * The console and its database are killed, cut off and out of room while crops flow. The promise: no crop waits for it, and
 * in the end the database equals the bucket, row by row.
 */

const FULL = { count: 6000, perSecond: 200, faults: 12 }
const SHORT = { count: 1500, perSecond: 250, faults: 4 }
const RUN_MS_MAX = 5 * 60_000
const SETTLE_MS_MAX = 60_000
const CLIENT_ID = 'sightline-console'
const DISK_BYTES = 96 * 1024 * 1024
const FULL_MS = 2_000

interface Scene {
  readonly line: Line
  readonly console: Program
  readonly random: () => number
}

interface Place {
  readonly database: Record<string, unknown>
  /** Of the inbox. */
  readonly folder?: string
}

async function run(
  { short, random }: TrialOptions,
  place: (own: Test) => Promise<Place | undefined>,
  /** One of the faults: it happens, and is over. */
  fault: (scene: Scene) => Promise<void>,
): Promise<Verdict> {
  const { count, perSecond, faults: faultsMax } = short ? SHORT : FULL
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
  const at = await place(own)
  const settings = consoleConfig(own, line.keepers.cloud.url, {
    bucket: line.bucket.config,
    ...(at && { database: at.database }),
    ...(at?.folder !== undefined && { inbox: { folder: at.folder } }),
  })
  const console = await Program.start(own, 'console', settings, { env: consoleEnvironment })
  const publisher = line.publisher({ count, perSecond, bytes: [2_000, 20_000], random })
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  let happened = 0
  let isOver = false
  void publisher.done.then(() => {
    isOver = true
  })
  while (!isOver && happened < faultsMax) {
    await sleep(200 + random() * 800)
    await fault({ line, console, random })
    happened += 1
  }
  await publishing
  const found = await line.faults(publisher)
  if (console.exitStatus !== null)
    return {
      faults: [
        `the console ended: ${console.log
          .slice(-14)
          .map((line) => line.msg)
          .join(' | ')}`,
      ],
      said: 'given up',
    }
  found.push(...(await differences(line, console)))
  return {
    faults: found,
    crops: publisher.acknowledged.size,
    said: `${publisher.acknowledged.size} acknowledged, ${happened} times, and the database equals the bucket`,
  }
}

interface Row {
  readonly id: string
  readonly sha256: string
  readonly bytes: number
}

/** What the database and the bucket do not have in common, in sentences. */
async function differences(line: Line, console: Program): Promise<string[]> {
  const faults: string[] = []
  const keys = await line.bucket.keys()
  let rows: Row[] = []
  await until(
    'the database has all',
    async () => {
      rows = await exported(console).catch(() => [])
      return rows.length >= keys.length
    },
    SETTLE_MS_MAX,
  ).catch(() => faults.push(`the database has ${rows.length} of ${keys.length} objects`))
  const byId = new Map(rows.map((row) => [row.id, row]))
  if (byId.size !== rows.length) faults.push(`${rows.length - byId.size} rows are there twice`)
  for (const key of keys) {
    const id = basename(key, '.jpg')
    const row = byId.get(id)
    byId.delete(id)
    if (!row) {
      faults.push(`${id} is in the bucket and not in the database`)
      continue
    }
    const object = await line.bucket.read(key)
    if (row.bytes !== object.length || row.sha256 !== createHash('sha256').update(object).digest('hex'))
      faults.push(`the row of ${id} is not that of its object`)
  }
  for (const id of byId.keys()) faults.push(`${id} is in the database and not in the bucket`)
  const books = await console.books('inbox')
  if (missing(books) !== 0 || books.pending !== 0 || Object.keys(books.dropped).length > 0)
    faults.push(`the books of the console's inbox: ${JSON.stringify(books)}`)
  return faults.slice(0, 20)
}

async function exported(console: Program): Promise<Row[]> {
  const answer = await fetch(`${console.http}/api/v1/detections.ndjson`, {
    headers: { authorization: `Bearer ${RUN_TOKEN}` },
  })
  if (!answer.ok) throw new Error(`export: ${answer.status}`)
  return (await answer.text())
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text) as Row)
}

export const CONSOLE_TRIALS: readonly Trial[] = [
  {
    name: 'console-killed',
    what: 'the console is killed at random, with its embedded database',
    run: (options) =>
      run(
        options,
        async () => undefined,
        async ({ console, random }) => {
          await console.kill()
          await sleep(random() * 500)
          await console.start()
        },
      ),
  },
  {
    name: 'console-disk-full',
    what: 'the disk of the console is full to the last byte, again and again',
    async run(options) {
      const disk = SmallDisk.open(DISK_BYTES)
      if (typeof disk === 'string') return { faults: [], said: '', leftOut: disk }
      using _disk = disk
      return await run(
        options,
        async () => ({
          folder: join(disk.path, 'inbox'),
          database: { type: 'sqlite', path: join(disk.path, 'console.sqlite') },
        }),
        async () => {
          disk.fill()
          await sleep(FULL_MS)
          disk.makeRoom()
        },
      )
    },
  },
  {
    name: 'console-postgres',
    what: 'PostgreSQL ends its connections, and is away for a while',
    async run(options) {
      if (POSTGRES_URL === undefined)
        return { faults: [], said: '', leftOut: 'SIGHTLINE_TEST_POSTGRES names no PostgreSQL' }
      const address = POSTGRES_URL
      const admin = new pg.Client({ connectionString: address })
      await admin.connect()
      const name = `chaos_${Date.now().toString(36)}`
      await admin.query(`CREATE DATABASE ${name}`)
      const { hostname, port } = new URL(address)
      const proxy = await TcpProxy.open({ host: hostname, port: Number(port || 5432) })
      try {
        const own = new URL(address)
        own.hostname = '127.0.0.1'
        own.port = String(proxy.port)
        own.pathname = `/${name}`
        const password = decodeURIComponent(own.password)
        own.password = ''
        const database = {
          type: 'postgres',
          url: own.href,
          ...(password !== '' && { password }),
        }
        return await run(
          options,
          async () => ({ database }),
          async ({ random }) => {
            if (random() < 0.5) {
              await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [
                name,
              ])
              return
            }
            proxy.refuse()
            proxy.cut()
            await sleep(options.short ? 1_500 : 20_000)
            await proxy.accept()
          },
        )
      } finally {
        await proxy[Symbol.asyncDispose]()
        await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
        await admin.end()
      }
    },
  },
]
