import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { storedKeys } from '../test/kit/bucket-folder.ts'
import { openAuthority } from '../test/kit/certificates.ts'
import {
  consoleConfig,
  consoleEnvironment,
  missing,
  Program,
  type QueueBooks,
  type Test,
  temporaryFolder,
} from '../test/kit/programs.ts'
import { SmallDisk } from '../test/kit/small-disk.ts'
import { until } from '../test/kit/wait.ts'
import { CLIP, CROP, keptFilters } from '../wire/kinds.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { Line } from './line.ts'
import { FolderBucketView } from './line-bucket.ts'
import { camerasOf, chunkFaults, consoleFaults, gapsIn, missingIn, recordedIn } from './recorded.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * Recordings take the whole line, beside crops: a real agent with two cameras, its outbox, both brokers, the subscriber, the
 * bucket, the console. The promise: every chunk that the outbox took is in the bucket, once and as the device signed it;
 * numbers and times have no hole but those that are stated; the console has the bucket's chunks and shows their gaps; the
 * books of every keeper balance.
 */

const FULL = { kills: 25, cuts: 12, awayMs: 180_000, holdMs: 10_000, cropsPerSecond: 50 }
const SHORT = { kills: 5, cuts: 2, awayMs: 3000, holdMs: 500, cropsPerSecond: 50 }
type Scale = typeof FULL

const RUN_MS_MAX = 15 * 60_000
const FIRST_CHUNKS = 4
const NOTICE_MS_MAX = 30_000
const SETTLE_MS_MAX = 5 * 60_000
/** At the end of its recording the agent has at most so many chunks that it has not sent. */
const WAITING_MAX = 6
/** Between two faults, ms. */
const CALM_MS_MAX = 800
/** How long something that was killed stays away, ms. */
const AWAY_MS_MAX = 300
const STALL_MS_MAX = 1500
const LOOK_INTERVAL_MS = 200
const CROP_BYTES = [2000, 20_000] as const
const DISK_BYTES = 64 * 1024 * 1024
const CLOUD_CLIPS = 'sightline-subscriber-clips'
const CONSOLE = 'sightline-console'
const [CROPS, CLIPS] = [keptFilters(TOPIC_PREFIX_DEFAULT, [CROP]), keptFilters(TOPIC_PREFIX_DEFAULT, [CLIP])]
const KEPT = [...CROPS, ...CLIPS]

interface Scene {
  readonly line: Line
  readonly device: Program
  readonly console: Program
  readonly bucket: string
  readonly scale: Scale
  readonly random: () => number
  readonly seen: string[]
  readonly faults: string[]
  /** Chunks that the outbox said it did not take, of agents that were killed since. */
  refused: number
}

interface Disks {
  readonly outbox?: SmallDisk
  readonly edge?: SmallDisk
}

async function run(
  { short, random }: TrialOptions,
  play: (scene: Scene) => Promise<void>,
  disks: Disks = {},
): Promise<Verdict> {
  const scale = short ? SHORT : FULL
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const bucket = temporaryFolder(own)
  const signing = await (await openAuthority(own)).signer('lab/bench1')
  const line = stack.use(
    await Line.open({
      bucket: new FolderBucketView(bucket),
      ...(disks.edge && { stores: { edge: join(disks.edge.path, 'store') } }),
      cloud: {
        mustBeKept: KEPT,
        queues: [
          { clientId: 'sightline-subscriber', topics: CROPS },
          { clientId: CLOUD_CLIPS, topics: CLIPS },
          { clientId: CONSOLE, topics: [`${TOPIC_PREFIX_DEFAULT}/stored/+`] },
        ],
      },
      edge: { mustBeKept: KEPT },
      bridge: { topics: KEPT.map((filter) => ({ filter })) },
      subscriber: { announce: { enabled: true } },
    }),
  )
  const folder = temporaryFolder(own)
  const record = { mode: 'always', chunk: '500ms' }
  const [console, device] = (await Promise.all([
    Program.start(
      own,
      'console',
      consoleConfig(own, line.keepers.cloud.url, { bucket: line.bucket.config }),
      { env: consoleEnvironment },
    ),
    Program.start(own, 'device', {
      site: 'lab',
      device: 'bench1',
      cameras: ['card1', 'card2'].map((name) => ({ name, source: 'testcard', rateMax: 6, record })),
      broker: { url: line.keepers.edge.url, backoff: { min: '50ms', max: '200ms' } },
      signing: { ...signing, folder },
      remote: { folder },
      outbox: { folder: join(disks.outbox?.path ?? folder, 'outbox') },
      report: { enabled: false },
      http: { port: 0 },
    }),
  ])) as [Program, Program]
  const publisher = line.publisher({
    ...{ count: Number.POSITIVE_INFINITY, perSecond: scale.cropsPerSecond },
    ...{ bytes: CROP_BYTES, random },
  })
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  const scene: Scene = {
    ...{ line, device, console, bucket, scale, random },
    ...{ seen: [], faults: [], refused: 0 },
  }
  await moreChunks(scene, FIRST_CHUNKS)
  await play(scene).finally(() => publisher.enough())
  await publishing
  const outbox = await theLast(scene)
  const faults = [...scene.faults, ...(await line.faults(publisher, { others: true }))]
  faults.push(...(await keepersFaults(scene)))
  const { chunks, faults: unreadable } = recordedIn(bucket)
  faults.push(...unreadable, ...chunkFaults(chunks), ...(await consoleFaults(console, chunks)))
  const lost = missingIn(chunks)
  if (outbox) {
    // What it did not take stands in its books as accepted and dropped.
    const said = scene.refused + sum(outbox.dropped)
    if (
      missing(outbox) !== 0 ||
      outbox.forwarded > chunks.length ||
      chunks.length > outbox.forwarded + said - lost
    )
      faults.push(`${chunks.length} chunks are in the bucket; the outbox: ${JSON.stringify(outbox)}`)
    // What could not be written may have been on its way already: it is said to be lost, and has come. Never the other way round.
    if (lost > said) faults.push(`by their numbers ${lost} chunks are lost, and ${said} were said to be`)
  }
  if (lost > 0 && !disks.outbox) faults.push(`${lost} chunks are lost, and nothing was full`)
  const gaps = [...camerasOf(chunks).values()].flatMap(gapsIn).length
  const runs = new Set(chunks.map(({ clip }) => clip.run)).size
  return {
    faults: faults.slice(0, 20),
    crops: publisher.acknowledged.size,
    clips: chunks.length,
    said: [
      `${chunks.length} chunks in ${runs} runs, ${gaps} gaps, ${lost} said to be lost`,
      `${publisher.acknowledged.size} crops`,
      ...scene.seen,
    ].join(', '),
  }
}

/** So many more chunks are in the bucket. */
async function moreChunks({ bucket }: Scene, count: number): Promise<void> {
  const wanted = storedKeys(bucket, 'mp4').length + count
  await until(
    `${wanted} chunks are stored`,
    async () => {
      await sleep(LOOK_INTERVAL_MS)
      return storedKeys(bucket, 'mp4').length >= wanted
    },
    SETTLE_MS_MAX,
  )
}

/** Waits until the agent has caught up, and ends it. @returns its outbox's books, of all its starts together */
async function theLast({ device, faults }: Scene): Promise<QueueBooks | undefined> {
  await until(
    'the outbox has caught up',
    async () => {
      await sleep(LOOK_INTERVAL_MS)
      return (await device.books('outbox')).pending <= WAITING_MAX
    },
    SETTLE_MS_MAX,
  )
  const status = await device.stop()
  if (status !== 0) faults.push(`the agent ended with ${status}`)
  const said = device.log.findLast(({ msg }) => msg === 'books of the outbox')?.queues
  const books = (said as (QueueBooks & { readonly name: string })[] | undefined)?.find(
    ({ name }) => name === 'outbox',
  )
  if (!books) faults.push('the agent did not say the books of its outbox')
  return books
}

/** Everybody has let go of every chunk, and the books say so. */
async function keepersFaults({ line, console }: Scene): Promise<string[]> {
  const { edge, cloud, subscriber } = line.keepers
  const books = async () => [
    { name: 'the edge broker', books: await edge.books('bridge/cloud/clips') },
    { name: 'the cloud broker', books: await cloud.books(`session/${CLOUD_CLIPS}`) },
    { name: 'the inbox of clips', books: await subscriber.books('clips') },
    { name: 'the queue of the console', books: await cloud.books(`session/${CONSOLE}`) },
    { name: "the console's inbox", books: await console.books('inbox') },
  ]
  await until(
    'all is let go',
    async () => {
      await sleep(LOOK_INTERVAL_MS)
      return (await books()).every(({ books: { pending } }) => pending === 0)
    },
    SETTLE_MS_MAX,
  ).catch(() => {})
  return (await books())
    .filter(
      ({ books }) => missing(books) !== 0 || books.pending !== 0 || Object.keys(books.dropped).length > 0,
    )
    .map(({ name, books }) => `the books of ${name}: ${JSON.stringify(books)}`)
}

/** Chunks that the outbox of the agent that runs now did not take. */
async function refusedBy(device: Program): Promise<number> {
  const text = await (await fetch(`${device.http}/metrics`)).text()
  let refused = 0
  for (const [, count] of text.matchAll(/^sightline_clips_dropped_total\{[^}]*\} ([0-9.e+-]+)$/gm))
    refused += Number(count)
  return refused
}

/** Each is killed once before any is killed again. */
async function areKilled(scene: Scene): Promise<void> {
  const { line, device, console, scale, random } = scene
  const programs: Program[] = [...Object.values(line.keepers), device, console]
  let left: Program[] = []
  for (let n = 0; n < scale.kills; n += 1) {
    if (left.length === 0) left = [...programs]
    const [program] = left.splice(Math.floor(random() * left.length), 1)
    await sleep(random() * CALM_MS_MAX)
    await program?.kill()
    await sleep(random() * AWAY_MS_MAX)
    await program?.start()
  }
  scene.seen.push(`${scale.kills} kills`)
  await moreChunks(scene, FIRST_CHUNKS)
}

/** Cut, stalled, and away for long. */
async function linkIsBad(scene: Scene): Promise<void> {
  const { line, scale, random, seen } = scene
  const { link } = line
  for (let n = 0; n < scale.cuts; n += 1) {
    await sleep(random() * CALM_MS_MAX)
    if (random() < 0.5) link.cut()
    else link.reset()
    await sleep(random() * CALM_MS_MAX)
    link.stall()
    await sleep(random() * STALL_MS_MAX)
    link.resume()
  }
  link.refuse()
  link.cut()
  await sleep(scale.awayMs)
  const { pending } = await line.keepers.edge.books('bridge/cloud/clips')
  if (pending === 0) scene.faults.push('nothing was recorded while the link was away')
  seen.push(`${pending} waited at the edge`)
  await link.accept()
  await moreChunks(scene, pending)
}

/** The agent's disk: filled while it runs, and full when it starts; then that of the edge broker. */
async function disksAreFull(scene: Scene, outbox: SmallDisk, edge: SmallDisk): Promise<void> {
  const { line, device, scale, seen, faults } = scene
  const lines = device.log.length
  outbox.fill()
  await until('the agent loses chunks', async () => (await refusedBy(device)) > 0, NOTICE_MS_MAX)
  await sleep(scale.holdMs)
  if (!device.log.slice(lines).some(({ code }) => code === 'DISK_FULL'))
    faults.push('the log of the agent has no line with DISK_FULL')
  const { outbox: said = '' } = (await device.health()).checks
  if (!/full/.test(said)) faults.push(`/healthz of the agent says of its outbox: ${said}`)
  outbox.makeRoom()
  await moreChunks(scene, FIRST_CHUNKS)
  // From here to its end no number tells of what it loses: it has none that follows.
  scene.refused = await refusedBy(device)
  seen.push(`${scene.refused} lost for want of room`)

  outbox.fill()
  await device.kill()
  outbox.fill() // the lock of the agent that was killed has left a block
  await device.start()
  await sleep(scale.holdMs)
  outbox.makeRoom()
  await moreChunks(scene, FIRST_CHUNKS)

  const { keepers } = line
  edge.fill()
  await until(
    'the edge broker says that its disk is full',
    async () => /disk .*full/.test(JSON.stringify((await keepers.edge.health()).checks)),
    NOTICE_MS_MAX,
  )
  await sleep(scale.holdMs)
  const { pending } = await device.books('outbox')
  edge.makeRoom()
  seen.push(`${pending} waited at the agent`)
  await moreChunks(scene, FIRST_CHUNKS)
}

const sum = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((total, count) => total + count, 0)

export const RECORDING_TRIALS: readonly Trial[] = [
  {
    name: 'clips-killed',
    what: 'agent, brokers, subscriber and console are killed in turn while two cameras are recorded',
    run: (options) => run(options, areKilled),
  },
  {
    name: 'clips-link',
    what: 'the link is cut, stalled and away for long while two cameras are recorded',
    run: (options) => run(options, linkIsBad),
  },
  {
    name: 'clips-disk-full',
    what: "the disk of the agent's outbox is full, then that of the edge broker",
    async run(options) {
      const outbox = SmallDisk.open(DISK_BYTES)
      if (typeof outbox === 'string') return { faults: [], said: '', leftOut: outbox }
      using first = outbox
      const edge = SmallDisk.open(DISK_BYTES)
      if (typeof edge === 'string') return { faults: [], said: '', leftOut: edge }
      using second = edge
      return await run(options, (scene) => disksAreFull(scene, first, second), {
        outbox: first,
        edge: second,
      })
    },
  },
]
