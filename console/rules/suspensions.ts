import type { Database } from '../database/database.ts'
import type { Suspension } from './held-back.ts'

/** Rules that shall be silent for a while: of a scenario, one of its rules, or one camera. In the database, so that a restart ends none. */

export const SUSPENSION_MS_MAX = 31 * 86_400_000
export const SUSPENSIONS_MAX = 10_000

export interface KeptSuspension extends Suspension {
  readonly by: string
}

/** Those that still hold, the longest first. */
export async function listSuspensions(database: Database, nowMs: number): Promise<KeptSuspension[]> {
  const rows = await database.write
    .selectFrom('suspensions')
    .selectAll()
    .where('until_ms', '>', nowMs)
    .orderBy('until_ms', 'desc')
    .orderBy('scenario')
    .orderBy('rule')
    .orderBy('camera')
    .limit(SUSPENSIONS_MAX)
    .execute()
  return rows.map(({ scenario, rule, camera, until_ms, by }) => ({
    scenario,
    ...(rule !== '' && { rule }),
    ...(camera !== '' && { camera }),
    untilMs: until_ms,
    by,
  }))
}

/** In place of one of the same. */
export async function writeSuspension(
  database: Database,
  { scenario, rule = '', camera = '', untilMs, by }: KeptSuspension,
  nowMs: number,
): Promise<void> {
  await database.write.deleteFrom('suspensions').where('until_ms', '<=', nowMs).execute()
  await database.write
    .insertInto('suspensions')
    .values({ scenario, rule, camera, until_ms: untilMs, by })
    .onConflict((it) => it.columns(['scenario', 'rule', 'camera']).doUpdateSet({ until_ms: untilMs, by }))
    .execute()
}

/** @returns false where there is none */
export async function endSuspension(
  database: Database,
  { scenario, rule = '', camera = '' }: Omit<Suspension, 'untilMs'>,
): Promise<boolean> {
  const gone = await database.write
    .deleteFrom('suspensions')
    .where('scenario', '=', scenario)
    .where('rule', '=', rule)
    .where('camera', '=', camera)
    .returning('scenario')
    .execute()
  return gone.length > 0
}
