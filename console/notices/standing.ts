import type { Database } from '../database/database.ts'

/** How channels stand now: what became of the notices of the last hour, and since when nothing gets through. */

const HOUR_MS = 3_600_000
/** What failed longer ago is not looked for. */
const FAILED_WITHIN_MS = 24 * HOUR_MS

export interface ChannelStanding {
  /** Deliveries that were made in the last hour. */
  readonly hour: {
    readonly sent: number
    readonly waiting: number
    readonly givenUp: number
    readonly notSent: number
  }
  /** Since when there is one that was tried in vain, and none that was sent after it; null: it works, as far as is known. */
  readonly failingSinceMs: number | null
  /** Why the newest of these waits or was given up. */
  readonly lastError: string | null
}

export const NO_STANDING: ChannelStanding = {
  hour: { sent: 0, waiting: 0, givenUp: 0, notSent: 0 },
  failingSinceMs: null,
  lastError: null,
}

const COUNTED = { sent: 'sent', waiting: 'waiting', 'given up': 'givenUp', 'not sent': 'notSent' } as const

/** By channel; those of which nothing was made for a day are left out. Errors: those of the database */
export async function channelStandings(
  { read }: Pick<Database, 'read'>,
  nowMs = Date.now(),
): Promise<ReadonlyMap<string, ChannelStanding>> {
  const counts = await read
    .selectFrom('deliveries')
    .select(({ fn }) => ['channel', 'state', fn.countAll<number>().as('count')])
    .where('made_at_ms', '>', nowMs - HOUR_MS)
    .groupBy(['channel', 'state'])
    .execute()
  const sent = await read
    .selectFrom('deliveries')
    .select(({ fn }) => ['channel', fn.max('done_at_ms').as('atMs')])
    .where('made_at_ms', '>', nowMs - FAILED_WITHIN_MS)
    .where('state', '=', 'sent')
    .groupBy('channel')
    .execute()
  const standings = new Map<string, ChannelStanding>()
  const of = (channel: string) => standings.get(channel) ?? NO_STANDING
  for (const { channel, state, count } of counts) {
    const { hour } = of(channel)
    standings.set(channel, { ...of(channel), hour: { ...hour, [COUNTED[state]]: Number(count) } })
  }
  const lastSent = new Map(sent.map(({ channel, atMs }) => [channel, Number(atMs ?? 0)]))
  const failing = await read
    .selectFrom('deliveries')
    .select(({ fn }) => ['channel', fn.max('made_at_ms').as('lastMs')])
    .where('made_at_ms', '>', nowMs - FAILED_WITHIN_MS)
    .where('state', 'in', ['waiting', 'given up'])
    .where('attempts', '>', 0)
    .groupBy('channel')
    .execute()
  for (const { channel, lastMs } of failing) {
    const since = lastSent.get(channel) ?? 0
    if (Number(lastMs) < since) continue
    const [oldest, newest] = await Promise.all(
      (['asc', 'desc'] as const).map((order) =>
        read
          .selectFrom('deliveries')
          .select(['made_at_ms', 'why'])
          .where('channel', '=', channel)
          .where('made_at_ms', '>', Math.max(since, nowMs - FAILED_WITHIN_MS))
          .where('state', 'in', ['waiting', 'given up'])
          .where('attempts', '>', 0)
          .orderBy('made_at_ms', order)
          .limit(1)
          .executeTakeFirst(),
      ),
    )
    if (!oldest) continue
    standings.set(channel, {
      ...of(channel),
      failingSinceMs: oldest.made_at_ms,
      lastError: newest?.why ?? null,
    })
  }
  return standings
}
