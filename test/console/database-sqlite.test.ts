import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import { Database } from '../../console/database/database.ts'
import { EVERYTHING } from '../../console/database/scope.ts'
import { sqliteDialect } from '../../console/database/sqlite/dialect.ts'
import type { Tables } from '../../console/database/tables.ts'
import { listSuspensions, writeSuspension } from '../../console/rules/suspensions.ts'
import { scenarioSchema } from '../../console/scenarios/document.ts'
import { Documents } from '../../console/scenarios/documents.ts'
import { newId } from '../../wire/id.ts'
import { makeStored } from '../kit/announcements.ts'

const open = (file: string) => Database.open({ type: 'sqlite', file })

/** A database with a token, an entry of the audit log and some detections. */
async function filled(t: Test): Promise<string> {
  const file = join(t.testdir(), 'console.db')
  await using database = await open(file)
  await database.write
    .insertInto('tokens')
    .values({
      id: newId(),
      hash: Buffer.alloc(32, 7),
      name: 'cron',
      user: 'anna',
      scopes_json: '[]',
      created_at_ms: 1,
      expires_at_ms: null,
      last_used_ms: null,
      revoked_at_ms: null,
    })
    .execute()
  await database.write
    .insertInto('audit')
    .values({
      id: newId(),
      at_ms: 1,
      user: 'anna',
      by: 'session',
      address: null,
      action: 'sign-in',
      subject: 'anna',
      details_json: null,
    })
    .execute()
  await database.apply(
    Array.from({ length: 300 }, () => makeStored()),
    'north',
  )
  return file
}

t.test('a file that is no database is moved aside whole, and a new one made', async (t) => {
  const file = await filled(t)
  writeFileSync(file, 'this is not a database '.repeat(1000))
  await using database = await open(file)
  t.match(database.damage, { movedTo: /console\.db\.damaged-/, why: /damaged/, saved: {} })
  t.equal(statSync(database.damage?.movedTo as string).size, 23_000)
  t.equal((await database.apply([makeStored()], 'north')).added.length, 1)
})

t.test('of a damaged database, what people wrote is saved, and reindex fills the rest', async (t) => {
  const file = await filled(t)
  {
    await using database = await open(file)
    await new Documents(database).create('scenario', {
      id: 'visitors',
      by: 'otto',
      document: scenarioSchema.parse({ name: 'Visitors', cameras: { all: true } }),
    })
    await writeSuspension(database, { scenario: 'visitors', untilMs: Date.now() + 60_000, by: 'otto' }, 0)
  }
  // The root of the table of detections: the schema is read, and rows of other tables.
  const root = await (async () => {
    await using database = await open(file)
    const { rows } = await sql<{
      rootpage: number
    }>`select rootpage from sqlite_master where name = 'detections'`.execute(database.read)
    return rows[0]?.rootpage as number
  })()
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.alloc(4096, 0x5a), 0, 4096, (root - 1) * 4096)
  closeSync(handle)
  {
    await using database = await open(file)
    t.equal(database.damage, undefined, 'a start does not read all of a file of gigabytes')
    await t.rejects(database.page({ filter: {}, scope: EVERYTHING, limit: 10 }), { code: 'DATABASE_DAMAGED' })
    t.match(await database.ailment(), { code: 'DATABASE_DAMAGED' })
    t.ok(existsSync(`${file}.damage`), 'remembered for the next start')
  }
  await using database = await open(file)
  t.match(database.damage, { why: /damaged/, saved: { tokens: 1, audit: 1 } })
  t.equal((await new Documents(database).get('scenario', 'visitors'))?.document.name, 'Visitors')
  t.match(await listSuspensions(database, Date.now()), [{ scenario: 'visitors', by: 'otto' }])
  t.strictSame(
    (await database.read.selectFrom('tokens').select('name').execute()).map(({ name }) => name),
    ['cron'],
  )
  t.strictSame((await database.page({ filter: {}, scope: EVERYTHING, limit: 10 })).detections, [])
  t.equal(await database.ailment(), undefined)
  t.notOk(existsSync(`${file}.damage`))
})

t.test('a file that was cut off is moved aside with its log', async (t) => {
  const file = await filled(t)
  truncateSync(file, 5000)
  await using database = await open(file)
  t.ok(database.damage)
  t.equal(readdirSync(join(file, '..')).filter((name) => name.includes('.damaged-')).length >= 1, true)
})

t.test('a place that cannot be written is named, with what to do', async (t) => {
  const folder = t.testdir({ file: 'x', folder: { 'console.db': {} } })
  await t.rejects(open(join(folder, 'file', 'console.db')), {
    code: 'DATABASE_DENIED',
    message: /database\.path/,
  })
  await t.rejects(open(join(folder, 'folder', 'console.db')), {
    code: 'DATABASE_DENIED',
    message: /is a folder/,
  })
})

t.test('the file is for its owner alone', async (t) => {
  const file = await filled(t)
  t.equal(statSync(file).mode & 0o077, 0)
})

t.test('a query that takes too long is given up, and the next ones are answered', async (t) => {
  const file = await filled(t)
  const limited = new Kysely<Tables>({
    dialect: sqliteDialect({ file, writes: false, busyMsMax: 100, cacheKiB: 1000 }, 1, 2000),
  })
  const endless = sql`with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000000)
    select count(*) from n`
  await t.rejects(endless.execute(limited), { code: 'DATABASE_TIMEOUT' })
  const { count } = await limited
    .selectFrom('detections')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  t.equal(count, 300)
  await limited.destroy()
})

t.test('more queries than may wait are refused, not gathered', async (t) => {
  const file = await filled(t)
  await using database = await open(file)
  const asked = await Promise.allSettled(
    Array.from({ length: 1500 }, () => database.read.selectFrom('tokens').select('name').execute()),
  )
  const refused = asked.filter((it) => it.status === 'rejected')
  t.ok(refused.length > 0 && refused.length < 600, `${refused.length} refused`)
  t.match(refused[0]?.reason, { code: 'DATABASE_BUSY' })
})
