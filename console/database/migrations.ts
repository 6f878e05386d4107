import { type Kysely, type Migration, Migrator, sql } from 'kysely'
import { failure } from '../../lib/errors.ts'
import { HOUR_COLUMNS, type Tables } from './tables.ts'

export type Engine = 'sqlite' | 'postgres'

/**
 * Changes of the schema, in order. One that has been released is never changed; a new one is added behind it. Each is applied
 * whole or not at all, and where two consoles start on one PostgreSQL, by one of them.
 */
const migrationsOf = (engine: Engine): Record<string, Migration> => ({
  '0001-first': { up: (db) => first(db, engine) },
  '0002-recordings': { up: (db) => recordings(db, engine) },
  '0003-scenarios': { up: (db) => scenarios(db) },
  '0004-attributes': { up: (db) => attributes(db) },
})

/** Errors: DATABASE_NEWER, and those of the database. */
export async function migrate(db: Kysely<Tables>, engine: Engine): Promise<void> {
  const migrations = migrationsOf(engine)
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  await refuseNewer(db, migrations)
  const { error } = await migrator.migrateToLatest()
  if (error === undefined) return
  await refuseNewer(db, migrations)
  throw error
}

/** Without changing anything. @returns how many changes of the schema are still to be made. Errors: DATABASE_NEWER, and those of the database. */
export async function pendingMigrations(db: Kysely<Tables>, engine: Engine): Promise<number> {
  const migrations = migrationsOf(engine)
  const applied = await refuseNewer(db, migrations)
  return Object.keys(migrations).length - applied
}

/** @returns how many of them were applied */
async function refuseNewer(db: Kysely<Tables>, known: Record<string, Migration>): Promise<number> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(({ name }) => name === 'kysely_migration')) return 0
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db)
  const foreign = rows.find(({ name }) => !Object.hasOwn(known, name))
  if (foreign)
    throw failure(
      'DATABASE_NEWER',
      `The database was written by a newer version of this program (its schema has "${foreign.name}"). Start that version, or name another database.`,
    )
  return rows.length
}

async function first(db: Kysely<unknown>, engine: Engine): Promise<void> {
  const sqlite = engine === 'sqlite'
  const bytes = sqlite ? 'blob' : 'bytea'
  /** Rows lie in the order of their key: what is read together is together. */
  const clustered = sqlite ? sql`without rowid` : sql``
  const flag = (column: string) => sql`${sql.ref(column)} in (0, 1)`
  const table = (name: string) => db.schema.createTable(name)
  const numbered = (name: string) =>
    table(name).addColumn('id', 'integer', (it) =>
      sqlite ? it.primaryKey() : it.primaryKey().generatedByDefaultAsIdentity(),
    )

  await numbered('cameras')
    .addColumn('site', 'text', (it) => it.notNull())
    .addColumn('device', 'text', (it) => it.notNull())
    .addColumn('camera', 'text', (it) => it.notNull())
    .addColumn('first_seen_ms', 'bigint', (it) => it.notNull())
    .addColumn('last_seen_ms', 'bigint', (it) => it.notNull())
    .addUniqueConstraint('cameras_by_name', ['site', 'device', 'camera'])
    .execute()

  await table('detections')
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('id', bytes, (it) => it.notNull())
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('captured_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('stored_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('clock_sane', 'smallint', (it) => it.notNull().check(flag('clock_sane')))
    .addColumn('score', 'double precision', (it) => it.notNull())
    .addColumn('size', 'integer', (it) => it.notNull())
    .addColumn('box_json', 'text', (it) => it.notNull())
    .addColumn('region_json', 'text', (it) => it.notNull())
    .addColumn('frame_width', 'integer', (it) => it.notNull())
    .addColumn('frame_height', 'integer', (it) => it.notNull())
    .addColumn('track', bytes)
    .addColumn('masked', 'smallint', (it) => it.check(flag('masked')))
    .addColumn('model', 'text', (it) => it.notNull())
    .addColumn('file', 'text')
    .addColumn('quality_json', 'text')
    .addColumn('attributes_json', 'text')
    .addColumn('bytes', 'bigint', (it) => it.notNull())
    .addColumn('sha256', bytes, (it) => it.notNull())
    .addColumn('key', 'text')
    .addColumn('subscriber', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('detections_by_time', ['at_ms', 'id'])
    .modifyEnd(clustered)
    .execute()
  // What filters ask for stands in each index that a search goes along, so that it reads nothing else.
  const searched = ['camera_id', 'masked', 'score', 'size']
  await db.schema.createIndex('detections_by_id').on('detections').columns(['id']).unique().execute()
  await db.schema
    .createIndex('detections_search')
    .on('detections')
    .columns(['at_ms', 'id', ...searched])
    .execute()
  await db.schema
    .createIndex('detections_search_camera')
    .on('detections')
    .columns(['camera_id', 'at_ms', 'id', 'masked', 'score', 'size'])
    .execute()
  await db.schema
    .createIndex('detections_by_track')
    .on('detections')
    .columns(['track', 'at_ms', 'id'])
    .where(sql.ref('track'), 'is not', null)
    .execute()
  await db.schema
    .createIndex('detections_by_file')
    .on('detections')
    .columns(['at_ms', 'id', ...searched, 'file'])
    .where(sql.ref('file'), 'is not', null)
    .execute()

  await numbered('attributes')
    .addColumn('name', 'text', (it) => it.notNull())
    .addColumn('label', 'text', (it) => it.notNull())
    .addUniqueConstraint('attributes_by_name', ['name', 'label'])
    .execute()
  await table('detection_attributes')
    .addColumn('attribute_id', 'integer', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('id', bytes, (it) => it.notNull())
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('masked', 'smallint')
    .addColumn('score', 'double precision', (it) => it.notNull())
    .addColumn('size', 'integer', (it) => it.notNull())
    .addPrimaryKeyConstraint('detection_attributes_by_time', ['attribute_id', 'at_ms', 'id'])
    .modifyEnd(clustered)
    .execute()

  let days = table('days')
    .addColumn('day', 'integer', (it) => it.notNull())
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('masked', 'smallint', (it) => it.notNull().check(sql`masked in (-1, 0, 1)`))
    .addColumn('total', 'integer', (it) => it.notNull())
  for (const hour of HOUR_COLUMNS) days = days.addColumn(hour, 'integer', (it) => it.notNull())
  await days
    .addPrimaryKeyConstraint('days_by_day', ['day', 'masked', 'camera_id'])
    .modifyEnd(clustered)
    .execute()
  await db.schema.createIndex('days_by_camera').on('days').columns(['camera_id', 'day', 'masked']).execute()

  await table('reviews')
    .addColumn('user', 'text', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('id', bytes, (it) => it.notNull())
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('masked', 'smallint')
    .addColumn('score', 'double precision', (it) => it.notNull())
    .addColumn('size', 'integer', (it) => it.notNull())
    .addColumn('reviewed_at_ms', 'bigint', (it) => it.notNull())
    .addPrimaryKeyConstraint('reviews_by_time', ['user', 'at_ms', 'id'])
    .modifyEnd(clustered)
    .execute()
  await db.schema.createIndex('reviews_by_id').on('reviews').columns(['id']).execute()

  await table('removed')
    .addColumn('id', bytes, (it) => it.primaryKey().notNull())
    .addColumn('why', 'text', (it) => it.notNull())
    .addColumn('removed_at_ms', 'bigint', (it) => it.notNull())
    .modifyEnd(clustered)
    .execute()
  await db.schema.createIndex('removed_by_time').on('removed').columns(['removed_at_ms']).execute()
  await table('horizons')
    .addColumn('subscriber', 'text', (it) => it.primaryKey().notNull())
    .addColumn('filed_before_ms', 'bigint', (it) => it.notNull())
    .execute()

  await table('keepers')
    .addColumn('keeper', 'text', (it) => it.primaryKey().notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('received_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('report_json', 'text', (it) => it.notNull())
    .execute()
  await table('camera_states')
    .addColumn('camera_id', 'integer', (it) => it.primaryKey())
    .addColumn('received_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('state_json', 'text', (it) => it.notNull())
    .execute()
  await table('device_statuses')
    .addColumn('site', 'text', (it) => it.notNull())
    .addColumn('device', 'text', (it) => it.notNull())
    .addColumn('received_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('status_json', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('device_statuses_by_name', ['site', 'device'])
    .execute()
  await table('health_events')
    .addColumn('id', 'text', (it) => it.primaryKey().notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('kind', 'text', (it) => it.notNull())
    .addColumn('subject', 'text', (it) => it.notNull())
    .addColumn('site', 'text')
    .addColumn('camera', 'text')
    .addColumn('level', 'text', (it) => it.notNull())
    .addColumn('text', 'text', (it) => it.notNull())
    .addColumn('ended_at_ms', 'bigint')
    .addColumn('reviewed_by', 'text')
    .addColumn('reviewed_at_ms', 'bigint')
    .execute()
  await db.schema.createIndex('health_events_by_time').on('health_events').columns(['at_ms', 'id']).execute()
  await db.schema
    .createIndex('health_events_open')
    .on('health_events')
    .columns(['kind', 'subject'])
    .where(sql.ref('ended_at_ms'), 'is', null)
    .execute()

  await table('sessions')
    .addColumn('hash', bytes, (it) => it.primaryKey().notNull())
    .addColumn('user', 'text', (it) => it.notNull())
    .addColumn('fingerprint', 'text', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addColumn('person_json', 'text')
    .addColumn('created_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('last_used_ms', 'bigint', (it) => it.notNull())
    .addColumn('expires_at_ms', 'bigint', (it) => it.notNull())
    .execute()
  await db.schema.createIndex('sessions_by_user').on('sessions').columns(['user']).execute()
  await table('tokens')
    .addColumn('id', 'text', (it) => it.primaryKey().notNull())
    .addColumn('hash', bytes, (it) => it.notNull().unique())
    .addColumn('name', 'text', (it) => it.notNull())
    .addColumn('user', 'text', (it) => it.notNull())
    .addColumn('scopes_json', 'text', (it) => it.notNull())
    .addColumn('created_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('expires_at_ms', 'bigint')
    .addColumn('last_used_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute()
  await table('shares')
    .addColumn('id', 'text', (it) => it.primaryKey().notNull())
    .addColumn('hash', bytes, (it) => it.notNull().unique())
    .addColumn('kind', 'text', (it) => it.notNull())
    .addColumn('target_json', 'text', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addColumn('created_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('expires_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('opened', 'integer', (it) => it.notNull().defaultTo(0))
    .addColumn('opened_max', 'integer')
    .addColumn('last_opened_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute()

  await table('openid_users')
    .addColumn('user', 'text', (it) => it.primaryKey().notNull())
    .addColumn('issuer', 'text', (it) => it.notNull())
    .addColumn('subject', 'text', (it) => it.notNull())
    .addColumn('role', 'text', (it) => it.notNull())
    .addColumn('sites_json', 'text')
    .addColumn('signed_in_at_ms', 'bigint', (it) => it.notNull())
    .execute()
  await table('audit')
    .addColumn('id', 'text', (it) => it.primaryKey().notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('user', 'text', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addColumn('address', 'text')
    .addColumn('action', 'text', (it) => it.notNull())
    .addColumn('subject', 'text', (it) => it.notNull())
    .addColumn('details_json', 'text')
    .execute()
  await db.schema.createIndex('audit_by_time').on('audit').columns(['at_ms', 'id']).execute()
  await keepAudit(db, sqlite)

  await table('progress')
    .addColumn('name', 'text', (it) => it.primaryKey().notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('progress_json', 'text', (it) => it.notNull())
    .execute()
}

async function recordings(db: Kysely<unknown>, engine: Engine): Promise<void> {
  const sqlite = engine === 'sqlite'
  const bytes = sqlite ? 'blob' : 'bytea'
  const clustered = sqlite ? sql`without rowid` : sql``
  const flag = (column: string) => sql`${sql.ref(column)} in (0, 1)`

  await db.schema
    .createTable('clips')
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('id', bytes, (it) => it.notNull())
    .addColumn('end_ms', 'bigint', (it) => it.notNull())
    .addColumn('captured_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('stored_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('clock_sane', 'smallint', (it) => it.notNull().check(flag('clock_sane')))
    .addColumn('duration_ms', 'double precision', (it) => it.notNull())
    .addColumn('frames', 'integer', (it) => it.notNull())
    .addColumn('frame_width', 'integer', (it) => it.notNull())
    .addColumn('frame_height', 'integer', (it) => it.notNull())
    .addColumn('rotation', 'smallint')
    .addColumn('codec', 'text', (it) => it.notNull())
    .addColumn('codecs', 'text', (it) => it.notNull())
    .addColumn('audio_json', 'text')
    .addColumn('init_bytes', 'integer', (it) => it.notNull())
    .addColumn('independent', 'smallint', (it) => it.notNull().check(flag('independent')))
    .addColumn('encoded', 'smallint', (it) => it.notNull().check(flag('encoded')))
    .addColumn('run', bytes, (it) => it.notNull())
    .addColumn('sequence', 'integer', (it) => it.notNull())
    .addColumn('gap_from_ms', 'bigint')
    .addColumn('gap_why', 'text')
    .addColumn('because', 'text', (it) => it.notNull())
    .addColumn('faces', 'integer')
    .addColumn('motion', 'double precision')
    .addColumn('signer', bytes)
    .addColumn('previous', bytes)
    .addColumn('bytes', 'bigint', (it) => it.notNull())
    .addColumn('sha256', bytes, (it) => it.notNull())
    .addColumn('key', 'text')
    .addColumn('subscriber', 'text', (it) => it.notNull())
    .addColumn('lost_at_ms', 'bigint')
    .addPrimaryKeyConstraint('clips_by_time', ['camera_id', 'at_ms', 'id'])
    .modifyEnd(clustered)
    .execute()
  await db.schema.createIndex('clips_by_id').on('clips').columns(['id']).unique().execute()
  // What a timeline reads of a day, and nothing else.
  await db.schema
    .createIndex('clips_timeline')
    .on('clips')
    .columns([
      'camera_id',
      'at_ms',
      'id',
      'end_ms',
      'run',
      'sequence',
      'gap_from_ms',
      'gap_why',
      'faces',
      'motion',
      'bytes',
      'lost_at_ms',
    ])
    .execute()

  await db.schema
    .createTable('clip_days')
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('day', 'integer', (it) => it.notNull())
    .addColumn('clips', 'integer', (it) => it.notNull())
    .addColumn('bytes', 'bigint', (it) => it.notNull())
    .addColumn('duration_ms', 'bigint', (it) => it.notNull())
    .addPrimaryKeyConstraint('clip_days_by_day', ['camera_id', 'day'])
    .modifyEnd(clustered)
    .execute()
  await db.schema
    .createTable('keeps')
    .addColumn('camera_id', 'integer', (it) => it.notNull())
    .addColumn('subscriber', 'text', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('stretches_json', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('keeps_by_camera', ['camera_id', 'subscriber'])
    .execute()
}

async function scenarios(db: Kysely<unknown>): Promise<void> {
  const table = (name: string) => db.schema.createTable(name)
  const alter = () => db.schema.alterTable('detections')
  await alter().addColumn('shot', 'text').execute()
  await alter()
    .addColumn('superseded', 'smallint', (it) => it.notNull().defaultTo(0))
    .execute()
  await alter().addColumn('zones_json', 'text').execute()
  // First pictures that a better one of their track may hide; and those that one hides, by day.
  await sql`create index detections_first on detections (track, superseded) where shot = 'first'`.execute(db)
  await sql`create index detections_best on detections (track, camera_id) where shot = 'best'`.execute(db)
  await sql`create index detections_superseded on detections (camera_id, at_ms) where superseded = 1`.execute(
    db,
  )
  for (const name of ['detection_attributes', 'reviews'])
    await db.schema
      .alterTable(name)
      .addColumn('superseded', 'smallint', (it) => it.notNull().defaultTo(0))
      .execute()
  // Searches leave out what is hidden, and read nothing beside their index for it.
  const searched = ['masked', 'score', 'size', 'superseded']
  for (const [name, columns] of [
    ['detections_search', ['at_ms', 'id', 'camera_id', ...searched]],
    ['detections_search_camera', ['camera_id', 'at_ms', 'id', ...searched]],
  ] as const) {
    await db.schema.dropIndex(name).execute()
    await db.schema
      .createIndex(name)
      .on('detections')
      .columns([...columns])
      .execute()
  }
  await db.schema.dropIndex('detections_by_file').execute()
  await db.schema
    .createIndex('detections_by_file')
    .on('detections')
    .columns(['at_ms', 'id', 'camera_id', ...searched, 'file'])
    .where(sql.ref('file'), 'is not', null)
    .execute()
  await db.schema
    .createIndex('detections_by_zone')
    .on('detections')
    .columns(['at_ms', 'id', 'camera_id', ...searched, 'zones_json'])
    .where(sql.ref('zones_json'), 'is not', null)
    .execute()

  await table('documents')
    .addColumn('kind', 'text', (it) => it.notNull())
    .addColumn('id', 'text', (it) => it.notNull())
    .addColumn('name', 'text', (it) => it.notNull())
    .addColumn('state', 'text', (it) => it.notNull())
    .addColumn('revision', 'integer', (it) => it.notNull())
    .addColumn('document_json', 'text', (it) => it.notNull())
    .addColumn('created_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('created_by', 'text', (it) => it.notNull())
    .addColumn('changed_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('changed_by', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('documents_by_id', ['kind', 'id'])
    .execute()
  await table('document_revisions')
    .addColumn('kind', 'text', (it) => it.notNull())
    .addColumn('id', 'text', (it) => it.notNull())
    .addColumn('revision', 'integer', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addColumn('what', 'text', (it) => it.notNull())
    .addColumn('state', 'text', (it) => it.notNull())
    .addColumn('document_json', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('document_revisions_by_number', ['kind', 'id', 'revision'])
    .execute()
  await table('desired')
    .addColumn('site', 'text', (it) => it.notNull())
    .addColumn('device', 'text', (it) => it.notNull())
    .addColumn('version', 'bigint', (it) => it.notNull())
    .addColumn('digest', 'text', (it) => it.notNull())
    .addColumn('content_json', 'text', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addColumn('scenarios_json', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('desired_by_device', ['site', 'device'])
    .execute()
  await table('reported')
    .addColumn('site', 'text', (it) => it.notNull())
    .addColumn('device', 'text', (it) => it.notNull())
    .addColumn('received_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('reported_json', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('reported_by_device', ['site', 'device'])
    .execute()
  await table('rule_states')
    .addColumn('scenario', 'text', (it) => it.notNull())
    .addColumn('rule', 'text', (it) => it.notNull())
    .addColumn('key', 'text', (it) => it.notNull())
    .addColumn('noticed_at_ms', 'bigint')
    .addColumn('since_ms', 'bigint')
    .addColumn('notice', 'text')
    .addPrimaryKeyConstraint('rule_states_by_key', ['scenario', 'rule', 'key'])
    .execute()
  await table('suspensions')
    .addColumn('scenario', 'text', (it) => it.notNull())
    .addColumn('rule', 'text', (it) => it.notNull())
    .addColumn('camera', 'text', (it) => it.notNull())
    .addColumn('until_ms', 'bigint', (it) => it.notNull())
    .addColumn('by', 'text', (it) => it.notNull())
    .addPrimaryKeyConstraint('suspensions_by_rule', ['scenario', 'rule', 'camera'])
    .execute()
  await table('decisions')
    .addColumn('id', 'text', (it) => it.primaryKey())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('scenario', 'text', (it) => it.notNull())
    .addColumn('rule', 'text', (it) => it.notNull())
    .addColumn('camera', 'text')
    .addColumn('track', 'text')
    .addColumn('what', 'text', (it) => it.notNull())
    .addColumn('until_ms', 'bigint')
    .addColumn('text', 'text', (it) => it.notNull())
    .addColumn('times', 'integer', (it) => it.notNull())
    .execute()
  await db.schema.createIndex('decisions_by_time').on('decisions').columns(['at_ms']).execute()
  await table('notices')
    .addColumn('id', 'text', (it) => it.primaryKey())
    .addColumn('key', 'text', (it) => it.notNull().unique())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('changed_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('revision', 'integer', (it) => it.notNull())
    .addColumn('scenario', 'text', (it) => it.notNull())
    .addColumn('rule', 'text', (it) => it.notNull())
    .addColumn('level', 'text', (it) => it.notNull())
    .addColumn('site', 'text')
    .addColumn('camera', 'text')
    .addColumn('object', 'text')
    .addColumn('notice_json', 'text', (it) => it.notNull())
    .execute()
  await sql`create index notices_by_object on notices (object) where object is not null`.execute(db)
  await db.schema.createIndex('notices_by_change').on('notices').columns(['changed_at_ms', 'id']).execute()
  await db.schema.createIndex('notices_by_time').on('notices').columns(['at_ms', 'id']).execute()
  await table('deliveries')
    .addColumn('id', 'text', (it) => it.primaryKey())
    .addColumn('notice', 'text', (it) => it.notNull())
    .addColumn('revision', 'integer', (it) => it.notNull())
    .addColumn('channel', 'text', (it) => it.notNull())
    .addColumn('target', 'text', (it) => it.notNull())
    .addColumn('line', 'text', (it) => it.notNull())
    .addColumn('state', 'text', (it) => it.notNull())
    .addColumn('attempts', 'integer', (it) => it.notNull())
    .addColumn('due_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('give_up_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('made_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('done_at_ms', 'bigint')
    .addColumn('why', 'text')
    .addColumn('is_arrival', 'smallint', (it) => it.notNull())
    .addUniqueConstraint('deliveries_once', ['notice', 'revision', 'channel', 'target'])
    .execute()
  await sql`create index deliveries_waiting on deliveries (channel, due_at_ms, id) where state = 'waiting'`.execute(
    db,
  )
  await sql`create index deliveries_in_line on deliveries (channel, target, line, id) where state = 'waiting'`.execute(
    db,
  )
  await sql`create index deliveries_oldest on deliveries (made_at_ms) where state = 'waiting'`.execute(db)
  await sql`create index deliveries_to_give_up on deliveries (give_up_at_ms) where state = 'waiting'`.execute(
    db,
  )
  await db.schema
    .createIndex('deliveries_by_channel')
    .on('deliveries')
    .columns(['channel', 'is_arrival', 'made_at_ms', 'state', 'notice'])
    .execute()
  await table('attempts')
    .addColumn('delivery', 'text', (it) => it.notNull())
    .addColumn('number', 'integer', (it) => it.notNull())
    .addColumn('at_ms', 'bigint', (it) => it.notNull())
    .addColumn('duration_ms', 'integer', (it) => it.notNull())
    .addColumn('status', 'integer')
    .addColumn('code', 'text')
    .addColumn('answer', 'text')
    .addPrimaryKeyConstraint('attempts_by_number', ['delivery', 'number'])
    .execute()
  await table('push_subscriptions')
    .addColumn('id', 'text', (it) => it.primaryKey())
    .addColumn('user', 'text', (it) => it.notNull())
    .addColumn('endpoint', 'text', (it) => it.notNull().unique())
    .addColumn('keys_json', 'text', (it) => it.notNull())
    .addColumn('name', 'text', (it) => it.notNull())
    .addColumn('created_at_ms', 'bigint', (it) => it.notNull())
    .addColumn('last_sent_ms', 'bigint')
    .execute()
  let books = table('notice_books').addColumn('channel', 'text', (it) => it.primaryKey())
  for (const column of ['made', 'sent', 'given_up', 'not_sent'])
    books = books.addColumn(column, 'bigint', (it) => it.notNull())
  await books.execute()
}

/** How sure a classifier was, beside its attribute. Rows that are there came from no classifier of ours: they count as sure. */
async function attributes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('detection_attributes')
    .addColumn('attribute_score', 'double precision', (it) => it.notNull().defaultTo(1))
    .execute()
}

/** The audit log only grows: the database itself refuses anything else. */
async function keepAudit(db: Kysely<unknown>, sqlite: boolean): Promise<void> {
  const refusal = sql.lit('the audit log only grows')
  if (sqlite) {
    for (const change of ['update', 'delete'])
      await sql`create trigger ${sql.ref(`audit_no_${change}`)} before ${sql.raw(change)} on audit
        begin select raise(abort, ${refusal}); end`.execute(db)
    // An insert over a row that is there would delete it without a word.
    await sql`create trigger audit_no_replace before insert on audit
      when exists (select 1 from audit where id = new.id)
      begin select raise(abort, ${refusal}); end`.execute(db)
    return
  }
  await sql`create function audit_only_grows() returns trigger language plpgsql as
    'begin raise exception ''the audit log only grows''; end'`.execute(db)
  await sql`create trigger audit_no_change before update or delete on audit
    for each row execute function audit_only_grows()`.execute(db)
  await sql`create trigger audit_no_truncate before truncate on audit
    for each statement execute function audit_only_grows()`.execute(db)
}
