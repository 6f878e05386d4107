import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { BYTES_FREE_MIN } from '../store/disk-room.ts'
import type { Program } from '../test/kit/programs.ts'
import { SmallDisk } from '../test/kit/small-disk.ts'
import { until } from '../test/kit/wait.ts'
import { type Keeper, Line } from './line.ts'
import { FolderBucketView } from './line-bucket.ts'
import type { Publisher } from './publisher.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * The disk of a keeper, or of the bucket, gets full: slowly because the next one is away, and at once because somebody
 * else fills it to the last byte. The promise: the program lives and says so, acknowledges nothing that it cannot keep,
 * hands on what it has, starts on a full disk too, and goes on by itself when there is room.
 */

/** Fewer than a bucket on a slow disk takes: a backlog is to drain while crops come. */
const FULL = { perSecond: 100, holdMs: 10_000, diskBytes: 384 * 1024 * 1024 }
const SHORT = { perSecond: 100, holdMs: 1000, diskBytes: 96 * 1024 * 1024 }
/** What a keeper's disk has left for crops that wait. */
const BACKLOG_BYTES = 10 * 1024 * 1024
const CROP_BYTES = [30_000, 60_000] as const
const RUN_MS_MAX = 10 * 60_000
const NOTICE_MS_MAX = 20_000
const EXIT_DISK_FULL = 74

interface Scene {
  readonly line: Line
  readonly disk: SmallDisk
  readonly publisher: Publisher
  /** Whose disk it is. */
  readonly program: Program
  readonly holdMs: number
  readonly faults: string[]
  readonly seen: string[]
}

/** How the next keeper goes away, and comes back. */
interface Next {
  leave(line: Line): unknown
  comeBack(line: Line): unknown
}

const NEXT: Record<Exclude<Keeper, 'subscriber'>, Next> = {
  edge: {
    leave: ({ link }) => {
      link.refuse()
      link.cut()
    },
    comeBack: ({ link }) => link.accept(),
  },
  cloud: {
    leave: ({ keepers }) => keepers.subscriber.kill(),
    comeBack: ({ keepers }) => keepers.subscriber.start(),
  },
}

function keeperTrial(keeper: Keeper, what: string): Trial {
  return {
    name: `disk-full-${keeper}`,
    what,
    run: (options) =>
      run(
        options,
        keeper,
        ({ path }) => ({ stores: { [keeper]: join(path, 'store') } }),
        async (scene) => {
          if (keeper === 'subscriber') return isFilled(scene)
          await fillsUp(scene, keeper)
          await isFilled(scene, NEXT[keeper])
        },
      ),
  }
}

export const DISK_TRIALS: readonly Trial[] = [
  keeperTrial('edge', 'the disk of the edge broker is full: of crops, then to the last byte'),
  keeperTrial('cloud', 'the disk of the cloud broker is full: of crops, then to the last byte'),
  keeperTrial('subscriber', 'the disk of the inbox is full to the last byte'),
  {
    name: 'disk-full-bucket',
    what: 'the disk of the folder bucket is full to the last byte',
    run: (options) =>
      run(
        options,
        'subscriber',
        ({ path }) => {
          mkdirSync(join(path, 'bucket'))
          return { bucket: new FolderBucketView(join(path, 'bucket')) }
        },
        isFilled,
      ),
  },
]

async function run(
  { short, random }: TrialOptions,
  keeper: Keeper,
  place: (disk: SmallDisk) => Parameters<typeof Line.open>[0],
  play: (scene: Scene) => Promise<void>,
): Promise<Verdict> {
  const { perSecond, holdMs, diskBytes } = short ? SHORT : FULL
  const opened = SmallDisk.open(diskBytes)
  if (typeof opened === 'string') return { faults: [], said: '', leftOut: opened }
  using disk = opened
  await using line = await Line.open(place(disk))
  const publisher = line.publisher({ count: Number.POSITIVE_INFINITY, perSecond, bytes: CROP_BYTES, random })
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  const scene: Scene = {
    line,
    disk,
    publisher,
    program: line.keepers[keeper],
    holdMs,
    faults: [],
    seen: [],
  }
  await until('crops flow', () => publisher.acknowledged.size > 20, NOTICE_MS_MAX)
  await play(scene).finally(() => publisher.enough())
  await publishing
  return {
    faults: [...scene.faults, ...(await line.faults(publisher))],
    crops: publisher.acknowledged.size,
    said: `${publisher.acknowledged.size} acknowledged, ${publisher.resent} sent again, ${scene.seen.join(', ')}`,
  }
}

/** The next keeper is away and crops fill the disk; when it is back they drain, and that is room enough. */
async function fillsUp(scene: Scene, keeper: keyof typeof NEXT): Promise<void> {
  const { line, disk, program, seen, holdMs } = scene
  await NEXT[keeper].leave(line)
  disk.fill(BYTES_FREE_MIN + BACKLOG_BYTES)
  await saysSo(scene)
  await sleep(holdMs)
  await NEXT[keeper].comeBack(line)
  const backAtMs = performance.now()
  await until('it goes on by itself', async () => (await program.health()).ok, NOTICE_MS_MAX)
  seen.push(`drained and well ${seconds(backAtMs)} s after the next was back`)
  disk.makeRoom()
}

/**
 * Somebody else fills it; it is killed and started meanwhile; and then there is room.
 *
 * @param next is away until the program has noticed: room in the store's own file, from a backlog that has drained, is
 *   enough for crops that leave at once
 */
async function isFilled(scene: Scene, next?: Next): Promise<void> {
  const { line, disk, program, seen, faults, holdMs } = scene
  const lines = program.log.length
  await next?.leave(line)
  disk.fill()
  await saysSo(scene)
  await next?.comeBack(line)
  await sleep(holdMs)
  if (!program.log.slice(lines).some(({ code }) => code === 'DISK_FULL'))
    faults.push('its log has no line with DISK_FULL')
  await program.kill()
  disk.fill() // the lock of the program that was killed has left a block
  const started = await program.start().then(
    () => true,
    () => false,
  )
  if (!started) {
    const last = program.log.findLast(({ code }) => code !== undefined)
    if (program.exitStatus !== EXIT_DISK_FULL || last?.code !== 'DISK_FULL')
      faults.push(`started on the full disk it ended with ${program.exitStatus}: ${JSON.stringify(last)}`)
  }
  seen.push(started ? 'started on the full disk' : 'ended with DISK_FULL on the full disk')
  disk.makeRoom()
  const roomAtMs = performance.now()
  if (!started) await program.start()
  await until('it goes on by itself', async () => (await program.health()).ok, NOTICE_MS_MAX)
  seen.push(`well ${seconds(roomAtMs)} s after there was room`)
}

async function saysSo({ program, seen }: Scene): Promise<void> {
  const startMs = performance.now()
  await until(
    '/healthz says that the disk is full',
    async () => /disk .*full/.test(JSON.stringify((await program.health()).checks)),
    NOTICE_MS_MAX,
  )
  seen.push(`said so after ${seconds(startMs)} s`)
}

const seconds = (sinceMs: number) => ((performance.now() - sinceMs) / 1000).toFixed(1)
