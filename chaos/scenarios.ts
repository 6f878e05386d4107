import { setTimeout as sleep } from 'node:timers/promises'
import { KEEPERS, type Keeper, Line } from './line.ts'
import type { Publisher } from './publisher.ts'
import type { Trial, Verdict } from './trial.ts'

/** What is done to a line while crops flow. */

const FULL: Scale = { crops: 10_000, kills: 50, perSecond: 200 }
const SHORT: Scale = { crops: 1000, kills: 4, perSecond: 200 }
const RUN_MS_MAX = 10 * 60_000

interface Scale {
  readonly crops: number
  readonly kills: number
  readonly perSecond: number
}

interface Scenario {
  readonly name: string
  readonly what: string
  /** So many crops instead, small ones and as fast as they are taken, in place of `Scale.crops`. */
  readonly backlog?: { readonly full: number; readonly short: number }
  run(line: Line, publisher: Publisher, scale: Scale, random: () => number): Promise<void>
}

/** Between two kills, ms: long enough for crops to flow, at no moment in particular. */
const CALM_MS_MAX = 400
/** How long something that was killed stays away, ms. */
const AWAY_MS_MAX = 300

function kills(
  name: string,
  what: string,
  choose: (n: number, random: () => number) => readonly Keeper[],
): Scenario {
  return {
    name,
    what,
    async run({ keepers }, _publisher, scale, random) {
      for (let n = 0; n < scale.kills; n += 1) {
        await sleep(random() * CALM_MS_MAX)
        await Promise.all(
          choose(n, random).map(async (keeper) => {
            await sleep(random() * 20)
            await keepers[keeper].kill()
            await sleep(random() * AWAY_MS_MAX)
            await keepers[keeper].start()
          }),
        )
      }
    },
  }
}

/** Two of the three. */
const pair = (random: () => number): readonly Keeper[] => {
  const left = Math.floor(random() * KEEPERS.length)
  return KEEPERS.filter((_, at) => at !== left)
}

function link(
  name: string,
  what: string,
  act: (line: Line, random: () => number, scale: Scale) => Promise<void>,
): Scenario {
  return { name, what, run: (line, _publisher, scale, random) => act(line, random, scale) }
}

const SCENARIOS: readonly Scenario[] = [
  kills('kill-edge', 'the edge broker is killed', () => ['edge']),
  kills('kill-cloud', 'the cloud broker is killed', () => ['cloud']),
  kills('kill-subscriber', 'the subscriber is killed', () => ['subscriber']),
  kills('kill-two', 'two keepers are killed at once', (_n, random) => pair(random)),
  {
    name: 'kill-publisher',
    what: 'the publisher is cut off with crops in flight',
    async run(_line, publisher, scale, random) {
      for (let n = 0; n < scale.kills; n += 1) {
        await sleep(random() * CALM_MS_MAX)
        publisher.cut()
      }
    },
  },
  link('link-cut', 'the link is cut, or reset', async ({ link }, random, { kills }) => {
    for (let n = 0; n < kills; n += 1) {
      await sleep(random() * CALM_MS_MAX)
      if (random() < 0.5) link.cut()
      else link.reset()
    }
  }),
  link('link-puback', 'the link is cut between PUBLISH and PUBACK', async ({ link }, random, { kills }) => {
    for (let n = 0; n < kills; n += 1) {
      await sleep(random() * CALM_MS_MAX)
      const cut = link.cutWhen((packet, direction) => direction === 'down' && packet.cmd === 'puback')
      await Promise.race([cut, sleep(2000)])
    }
  }),
  link('link-stall', 'the link stalls and goes on', async ({ link }, random, { kills }) => {
    for (let n = 0; n < kills / 2; n += 1) {
      await sleep(random() * CALM_MS_MAX)
      link.stall()
      await sleep(random() * 1500)
      link.resume()
    }
  }),
  link(
    'link-half-open',
    'what is sent over the link vanishes, and nobody is told',
    async ({ link }, random, { kills }) => {
      for (let n = 0; n < Math.ceil(kills / 10); n += 1) {
        await sleep(random() * CALM_MS_MAX)
        link.halfOpen()
        await sleep(5000) // what the bridge takes to notice
      }
    },
  ),
  link(
    'link-long',
    'a round trip takes 100 ms, then 1 s, and 1 % of connections is reset',
    async ({ link }, random, { kills }) => {
      for (const latencyMs of [50, 500]) {
        link.latencyMs = latencyMs
        for (let n = 0; n < kills; n += 1) {
          await sleep(100)
          if (random() < 0.01 || n === Math.floor(kills / 2)) link.reset()
        }
      }
      link.latencyMs = 0
    },
  ),
  {
    name: 'outage',
    what: 'the link is down while all the crops come, and then they drain',
    backlog: { full: 100_000, short: 5000 },
    async run({ link }, publisher) {
      link.refuse()
      link.cut()
      await publisher.done
      await link.accept()
    },
  },
  {
    name: 'subscriber-away',
    what: 'all the crops wait in the cloud for a subscriber that is away',
    backlog: { full: 100_000, short: 5000 },
    async run({ keepers }, publisher) {
      await keepers.subscriber.kill()
      await publisher.done
      await keepers.subscriber.start()
    },
  },
]

export const LINE_TRIALS: readonly Trial[] = SCENARIOS.map((scenario) => ({
  name: scenario.name,
  what: scenario.what,
  run: ({ short, random }) => run(scenario, short, random),
}))

async function run(scenario: Scenario, short: boolean, random: () => number): Promise<Verdict> {
  const scale = short ? SHORT : FULL
  await using line = await Line.open()
  const { backlog } = scenario
  const publisher = line.publisher(
    backlog
      ? { count: short ? backlog.short : backlog.full, perSecond: 1e6, bytes: [1000, 3000], random }
      : { count: scale.crops, perSecond: scale.perSecond, bytes: [2000, 30_000], random },
  )
  const publishing = publisher.run(AbortSignal.timeout(RUN_MS_MAX))
  await scenario.run(line, publisher, scale, random)
  await publishing
  return {
    faults: await line.faults(publisher),
    crops: publisher.acknowledged.size,
    said: `${publisher.acknowledged.size} acknowledged, ${publisher.resent} sent again`,
  }
}
