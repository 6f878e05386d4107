import { cpSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Salvage } from '../store/salvage.ts'
import { DAMAGES, type Damage, damage } from '../test/kit/damage.ts'
import { missing, type Program } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import { Line } from './line.ts'
import { checksum, type Publisher } from './publisher.ts'
import type { Trial, Verdict } from './trial.ts'

/**
 * A broker is killed with a backlog, its store's file is damaged, and it is started again: it runs, says what it could
 * not read, and everything else reaches the bucket, whole.
 */

const STEP_MS_MAX = 60_000
const FULL = { times: 3, backlog: 400 }
const SHORT = { times: 1, backlog: 150 }
/** Its books can be old too, and fit what else is old: then nobody knows how many are missing. */
const OLD = 'old pages mixed in'
const NAMES = Object.keys(DAMAGES)

export const DAMAGE_TRIALS: readonly Trial[] = [
  {
    name: 'damage',
    what: 'a broker is killed with a backlog, and its file is damaged',
    run: ({ short, random }) => run(short ? SHORT : FULL, random),
  },
]

interface Site {
  readonly keeper: Program
  readonly queue: string
  /** The crops have to wait there until `resume`. */
  hold(): Promise<void>
  resume(): Promise<void>
}

async function run({ times, backlog }: typeof FULL, random: () => number): Promise<Verdict> {
  await using line = await Line.open()
  const { edge, cloud, subscriber } = line.keepers
  const sites: readonly Site[] = [
    {
      keeper: edge,
      queue: 'bridge/cloud',
      async hold() {
        line.link.refuse()
        line.link.cut()
      },
      resume: () => line.link.accept(),
    },
    {
      keeper: cloud,
      queue: 'session/sightline-subscriber',
      hold: () => subscriber.kill(),
      resume: () => subscriber.start(),
    },
  ]
  const rounds = times * NAMES.length
  const acknowledged = new Map<string, { sum: string; round: Round }>()
  const all: Round[] = []
  const faults: string[] = []
  for (let n = 0; n < rounds; n += 1) {
    const name = NAMES[n % NAMES.length] as string
    const site = sites[(n + Math.floor(n / NAMES.length)) % sites.length] as Site
    const publisher = line.publisher({ count: backlog, perSecond: 1e6, bytes: [500, 20_000], random })
    const round = await damaged(site, name, publisher, random)
    all.push(round)
    for (const fault of round.faults) faults.push(`${name}: ${fault}`)
    for (const [id, sum] of publisher.acknowledged) acknowledged.set(id, { sum, round })
  }
  const stores = [...sites, { keeper: subscriber, queue: 'inbox' }]
  await until('all is let go', () => settled(stores), STEP_MS_MAX).catch(() =>
    faults.push('crops are left over'),
  )
  const stored = new Map((await line.bucket.keys()).map((key) => [basename(key, '.jpg'), key]))
  for (const [id, { sum, round }] of acknowledged) {
    const key = stored.get(id)
    if (key === undefined) round.gone += 1
    else if (checksum(await line.bucket.read(key)) !== sum) faults.push(`${id} was changed on its way`)
  }
  for (const { name, gone, lost, unknown, report } of all)
    if (gone > lost + unknown)
      faults.push(`${name}: ${gone} acknowledged crops are gone, and ${lost} were said to be (${report})`)
  const total = (of: (round: Round) => number) => all.reduce((sum, round) => sum + of(round), 0)
  const gone = total((round) => round.gone)
  return {
    faults,
    crops: acknowledged.size - gone,
    said: `${rounds} times, ${total(({ rebuilt }) => Number(rebuilt))} files rebuilt, ${acknowledged.size} acknowledged, ${gone} lost with their pages and said to be (${total(({ lost }) => lost)} counted, ${total(({ unknown }) => unknown)} at most with books that were lost)`,
  }
}

interface Round {
  readonly name: string
  readonly faults: string[]
  readonly rebuilt: boolean
  /** Entries that the books say are lost, and those of books that were lost too: at most so many. */
  readonly lost: number
  readonly unknown: number
  readonly report: string
  /** Acknowledged crops that are not in the bucket in the end. */
  gone: number
}

async function damaged(
  { keeper, queue, hold, resume }: Site,
  name: string,
  publisher: Publisher,
  random: () => number,
): Promise<Round> {
  const { folder } = keeper.config.store as { folder: string }
  const path = join(folder, 'store.mdb')
  const older = join(folder, 'older')
  const waiting = async () => (await keeper.books(queue)).pending
  await hold()
  const publishing = publisher.run(AbortSignal.timeout(STEP_MS_MAX))
  await until('half a backlog', async () => (await waiting()) >= publisher.count / 2, STEP_MS_MAX)
  cpSync(path, older)
  await publishing
  await until('a backlog', async () => (await waiting()) >= publisher.acknowledged.size, STEP_MS_MAX)
  const before = (await keeper.books(queue)).dropped.unreadable ?? 0
  await keeper.kill()
  damage(path, DAMAGES[name] as Damage, { random, older })
  const lines = keeper.log.length
  await keeper.start()
  await resume()
  await until('the backlog is gone', async () => (await waiting()) === 0, STEP_MS_MAX)
  const faults: string[] = []
  const books = await keeper.books(queue)
  const lost = Math.max(0, (books.dropped.unreadable ?? 0) - before)
  const report = keeper.log.slice(lines).find(({ code }) => code === 'STORE_DAMAGED')
  const { ok, checks } = await keeper.health()
  if (missing(books) !== 0) faults.push(`the books do not balance: ${JSON.stringify(books)}`)
  if (!ok) faults.push(`it is not well: ${JSON.stringify(checks)}`)
  if (lost > 0 && !report) faults.push(`${lost} entries were lost, and the log does not say so`)
  if (report && checks.store === 'ok') faults.push('its health does not speak of the damage')
  const { movedTo, booksLost, isListLost } = (report ?? {}) as Partial<Salvage>
  if (movedTo !== undefined) rmSync(movedTo)
  const isUnknown = isListLost || booksLost?.includes(queue) || (movedTo !== undefined && name === OLD)
  return {
    name,
    faults,
    rebuilt: movedTo !== undefined,
    lost: isUnknown ? 0 : lost,
    unknown: isUnknown ? publisher.acknowledged.size : 0,
    report: typeof report?.msg === 'string' ? report.msg : 'nothing in the log',
    gone: 0,
  }
}

async function settled(stores: readonly Pick<Site, 'keeper' | 'queue'>[]): Promise<boolean> {
  for (const { keeper, queue } of stores) if ((await keeper.books(queue)).pending > 0) return false
  return true
}
