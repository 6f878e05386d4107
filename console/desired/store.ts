import { type Reported, reportedSchema } from '../../wire/desired.ts'
import type { Database } from '../database/database.ts'
import type { Told } from './judge.ts'

/** What devices were told and what they answered, in the database. Errors: those of the database. */

export interface Answer {
  readonly reported: Reported
  readonly receivedAtMs: number
}

export async function readTold(database: Database): Promise<Told[]> {
  const rows = await database.write.selectFrom('desired').selectAll().execute()
  return rows.map((row) => ({
    site: row.site,
    device: row.device,
    version: row.version,
    digest: row.digest,
    content: JSON.parse(row.content_json),
    atMs: row.at_ms,
    by: row.by,
    scenarios: JSON.parse(row.scenarios_json),
  }))
}

/** In one transaction. */
export async function saveTold(database: Database, told: readonly Told[]): Promise<void> {
  await database.write.transaction().execute(async (db) => {
    for (const { site, device, version, digest, content, atMs, by, scenarios } of told) {
      const row = {
        version,
        digest,
        content_json: JSON.stringify(content),
        at_ms: atMs,
        by,
        scenarios_json: JSON.stringify(scenarios),
      }
      await db
        .insertInto('desired')
        .values({ site, device, ...row })
        .onConflict((it) => it.columns(['site', 'device']).doUpdateSet(row))
        .execute()
    }
  })
}

/** Whole, with pictures. */
export async function readAnswer(
  database: Database,
  site: string,
  device: string,
): Promise<Answer | undefined> {
  const row = await database.read
    .selectFrom('reported')
    .selectAll()
    .where('site', '=', site)
    .where('device', '=', device)
    .executeTakeFirst()
  const reported = row && reportedSchema.safeParse(JSON.parse(row.reported_json)).data
  return reported && { reported, receivedAtMs: row.received_at_ms }
}

/** One after the other: they may be large. */
export async function eachAnswer(database: Database, onAnswer: (answer: Answer) => void): Promise<void> {
  const places = await database.read.selectFrom('reported').select(['site', 'device']).execute()
  for (const { site, device } of places) {
    const answer = await readAnswer(database, site, device)
    if (answer) onAnswer(answer)
  }
}

/** @param answers undefined: it was taken away */
export async function saveAnswers(
  database: Database,
  answers: ReadonlyMap<string, Answer | undefined>,
): Promise<void> {
  await database.write.transaction().execute(async (db) => {
    for (const [path, answer] of answers) {
      const [site = '', device = ''] = path.split('/')
      if (!answer) {
        await db.deleteFrom('reported').where('site', '=', site).where('device', '=', device).execute()
        continue
      }
      // PostgreSQL keeps no NUL.
      const json = JSON.stringify(answer.reported).replaceAll('\\u0000', '\\ufffd')
      const row = { received_at_ms: answer.receivedAtMs, reported_json: json }
      await db
        .insertInto('reported')
        .values({ site, device, ...row })
        .onConflict((it) => it.columns(['site', 'device']).doUpdateSet(row))
        .execute()
    }
  })
}
