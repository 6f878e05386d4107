import { type Kysely, sql } from 'kysely'

/** Who is signed in, tokens, shares, and the log of who did what. Times are milliseconds since 1970, UTC. */
export interface AccessTables {
  sessions: SessionTable
  tokens: TokenTable
  shares: ShareTable
  openid_users: OpenIdUserTable
  audit: AuditTable
}

export interface SessionTable {
  /** SHA-256 of what the cookie has, in base64url. */
  id: string
  user_name: string
  /** A digest of what the user signed in with: another password ends the session. */
  credential: string
  created_at_ms: number
  seen_at_ms: number
  expires_at_ms: number
}

export interface TokenTable {
  id: string
  /** SHA-256 of the token, in base64url. */
  hash: string
  user_name: string
  name: string
  /** JSON: a list of rights. */
  rights: string
  /** JSON: lists of names; null: everything that its user sees. */
  sites: string | null
  cameras: string | null
  created_at_ms: number
  expires_at_ms: number
  used_at_ms: number | null
}

export interface ShareTable {
  id: string
  /** SHA-256 of the secret in its address, in base64url. */
  hash: string
  name: string
  /** Its maker. */
  user_name: string
  /** One of these two: an id, or a filter as JSON. */
  detection_id: string | null
  filter: string | null
  created_at_ms: number
  expires_at_ms: number
  views: number
  viewed_at_ms: number | null
}

/** Users of an OpenID provider, as they were when they last signed in. */
export interface OpenIdUserTable {
  name: string
  issuer: string
  subject: string
  role: string
  /** JSON: a list of names; null: everything. */
  sites: string | null
  signed_in_at_ms: number
}

/** Rows are added and never changed: triggers see to it. */
export interface AuditTable {
  /** UUIDv7: ids ascend. */
  id: string
  at_ms: number
  who: string
  what: string
  target: string | null
  /** JSON. */
  detail: string | null
  address: string | null
}

/** Step of a migration, on both databases alike. */
export async function createAccessTables<Schema>(db: Kysely<Schema>): Promise<void> {
  await db.schema
    .createTable('sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('user_name', 'text', (column) => column.notNull())
    .addColumn('credential', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('seen_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('sessions_user').on('sessions').column('user_name').execute()
  await db.schema
    .createTable('tokens')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('user_name', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('rights', 'text', (column) => column.notNull())
    .addColumn('sites', 'text')
    .addColumn('cameras', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('used_at_ms', 'bigint')
    .execute()
  await db.schema.createIndex('tokens_user').on('tokens').column('user_name').execute()
  await db.schema
    .createTable('shares')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('user_name', 'text', (column) => column.notNull())
    .addColumn('detection_id', 'text')
    .addColumn('filter', 'text')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('views', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('viewed_at_ms', 'bigint')
    .execute()
  await db.schema.createIndex('shares_user').on('shares').column('user_name').execute()
  await db.schema
    .createTable('openid_users')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('issuer', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('sites', 'text')
    .addColumn('signed_in_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('audit')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('who', 'text', (column) => column.notNull())
    .addColumn('what', 'text', (column) => column.notNull())
    .addColumn('target', 'text')
    .addColumn('detail', 'text')
    .addColumn('address', 'text')
    .execute()
  await db.schema.createIndex('audit_who').on('audit').columns(['who', 'id']).execute()
  await db.schema.createIndex('audit_what').on('audit').columns(['what', 'id']).execute()
}

const ONLY_GROWS = 'the audit log only grows'

/** Whoever writes to it by this program, or by a mistake in it, adds and changes nothing. */
export async function keepAuditGrowing<Schema>(
  db: Kysely<Schema>,
  type: 'sqlite' | 'postgres',
): Promise<void> {
  if (type === 'sqlite') {
    for (const act of ['update', 'delete'])
      await sql`create trigger ${sql.id(`audit_no_${act}`)} before ${sql.raw(act)} on audit
        begin select raise(abort, ${sql.lit(ONLY_GROWS)}); end`.execute(db)
    return
  }
  await sql`create function audit_only_grows() returns trigger language plpgsql as
    ${sql.lit(`begin raise exception '${ONLY_GROWS}'; end`)}`.execute(db)
  await sql`create trigger audit_only_grows before update or delete or truncate on audit
    for each statement execute function audit_only_grows()`.execute(db)
}
