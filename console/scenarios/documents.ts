import type { Kysely, Transaction } from 'kysely'
import { failure } from '../../lib/errors.ts'
import type { Tables } from '../database/tables.ts'
import type { Channel } from '../notices/channel.ts'
import { type Difference, differences, isSame } from './diff.ts'
import type { DeviceDocument, Scenario } from './document.ts'
import { masked, unmasked } from './secrets.ts'

/**
 * What operators write, each with all that it ever was: a document and its revision are written in one transaction, or neither.
 * Whether what is written is valid, and who may, is asked before. Errors of all methods: those of the database.
 */

export type DocumentKind = 'scenario' | 'device' | 'channel'

export interface DocumentOf {
  readonly scenario: Scenario
  readonly device: DeviceDocument
  readonly channel: Channel
}

export interface Kept<Document> {
  /** A name; of a device `site/device`. */
  readonly id: string
  readonly name: string
  /** Of a scenario: draft, published, paused. Of others `published`. */
  readonly state: string
  /** From 1. */
  readonly revision: number
  readonly createdAtMs: number
  readonly createdBy: string
  readonly changedAtMs: number
  readonly changedBy: string
  /** With its secrets. */
  readonly document: Document
}

export interface Revision {
  readonly revision: number
  readonly atMs: number
  readonly by: string
  /** `create`, `change`, `publish`, `pause`, `delete`, `roll back to 3`. */
  readonly what: string
  readonly state: string
  /** From the one before it; secrets are not in it. */
  readonly changes: readonly Difference[]
}

export interface DocumentsOptions {
  readonly read: Kysely<Tables>
  readonly write: Kysely<Tables>
  readonly now?: () => number
}

/** Of one kind. */
export const DOCUMENTS_MAX = 5000
export const DOCUMENT_BYTES_MAX = 1024 * 1024
export const REVISIONS_PAGE_MAX = 100
const ID_CHARACTERS_MAX = 40
const ID_TRIES_MAX = 100
/** Words of their own in the API's addresses: a document of that name could not be asked for. */
const RESERVED: Readonly<Record<DocumentKind, readonly string[]>> = {
  scenario: ['provided', 'check', 'try'],
  device: [],
  channel: ['preview'],
}

type Within = (transaction: Transaction<Tables>) => Promise<void>
interface Next {
  readonly document: unknown
  readonly state: string
  readonly what: string
}

export class Documents {
  readonly #read: Kysely<Tables>
  readonly #write: Kysely<Tables>
  readonly #now: () => number
  readonly #followers = new Set<(kind: DocumentKind, id: string, by: string) => void>()

  constructor({ read, write, now = Date.now }: DocumentsOptions) {
    this.#read = read
    this.#write = write
    this.#now = now
  }

  /** Called after each change, with who made it. @returns to be called by who wants to hear no more */
  follow(changed: (kind: DocumentKind, id: string, by: string) => void): () => void {
    this.#followers.add(changed)
    return () => void this.#followers.delete(changed)
  }

  /** By their names. */
  async list<Kind extends DocumentKind>(kind: Kind): Promise<Kept<DocumentOf[Kind]>[]> {
    const rows = await this.#write
      .selectFrom('documents')
      .selectAll()
      .where('kind', '=', kind)
      .orderBy('name')
      .orderBy('id')
      .limit(DOCUMENTS_MAX)
      .execute()
    return rows.map((row) => keptOf<DocumentOf[Kind]>(row))
  }

  async get<Kind extends DocumentKind>(kind: Kind, id: string): Promise<Kept<DocumentOf[Kind]> | undefined> {
    const row = await rowOf(this.#write, kind, id)
    return row && keptOf<DocumentOf[Kind]>(row)
  }

  /**
   * @param wanted `id`: absent, it is made of the document's name
   * @param within more to be written in the same transaction, such as an outbox
   * Errors: NAME_TAKEN (that id), TOO_MANY, PAYLOAD_TOO_LARGE
   */
  async create<Kind extends DocumentKind>(
    kind: Kind,
    wanted: {
      readonly document: DocumentOf[Kind]
      readonly by: string
      readonly id?: string
      readonly state?: string
      readonly what?: string
    },
    within?: Within,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const { document, by, state = 'published', what = 'create' } = wanted
    const json = jsonOf(document)
    if (wanted.id !== undefined && isReserved(kind, wanted.id))
      throw failure('NAME_TAKEN', `"${wanted.id}" is a word of the API's own. Take another id.`)
    const made = await this.#write.transaction().execute(async (db) => {
      const { count } = await db
        .selectFrom('documents')
        .select((it) => it.fn.countAll<number>().as('count'))
        .where('kind', '=', kind)
        .executeTakeFirstOrThrow()
      if (Number(count) >= DOCUMENTS_MAX)
        throw failure('TOO_MANY', `There are ${count} ${kind}s, the maximum. Delete one first.`)
      const nowMs = this.#now()
      for (let tries = 1; tries <= ID_TRIES_MAX; tries += 1) {
        const id =
          wanted.id ?? (tries === 1 ? idOf(nameOf(document, '')) : `${idOf(nameOf(document, ''))}-${tries}`)
        const last = await lastRevision(db, kind, id)
        // What was deleted keeps its name: its notices and history are still found by it.
        if (wanted.id === undefined && (last > 0 || isReserved(kind, id))) continue
        const row = await db
          .insertInto('documents')
          .values({
            kind,
            id,
            name: nameOf(document, id),
            state,
            revision: last + 1,
            document_json: json,
            created_at_ms: nowMs,
            created_by: by,
            changed_at_ms: nowMs,
            changed_by: by,
          })
          .onConflict((it) => it.columns(['kind', 'id']).doNothing())
          .returningAll()
          .executeTakeFirst()
        if (row) {
          await addRevision(db, kind, row, what)
          await within?.(db)
          return keptOf<DocumentOf[Kind]>(row)
        }
        if (wanted.id !== undefined) break
      }
      throw failure('NAME_TAKEN', `There is a ${kind} "${wanted.id ?? nameOf(document, '')}" already.`)
    })
    this.#tell(kind, made.id, by)
    return made
  }

  /**
   * Secrets that are masked in it are kept as they are.
   * @param change `revision`: which one it is a change of
   * Errors: NOT_FOUND, REVISION_CHANGED, PARAMETER_INVALID (a masked secret that is not there), PAYLOAD_TOO_LARGE
   */
  change<Kind extends DocumentKind>(
    kind: Kind,
    id: string,
    change: {
      readonly revision: number
      readonly document: DocumentOf[Kind]
      readonly by: string
      readonly what?: string
    },
    within?: Within,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const { revision, document, by, what = 'change' } = change
    return this.#step(kind, id, { by, revision }, within, ({ state, document: before }) => {
      const { document: whole, missing } = unmasked(kind, document, before)
      if (missing.length > 0)
        throw failure(
          'PARAMETER_INVALID',
          `There is no secret yet at ${missing.join(', ')}. Give it in full.`,
        )
      const isSecret = isSame(masked(kind, before), masked(kind, whole)) && !isSame(before, whole)
      return { document: whole, state, what: isSecret ? `${what} (a secret)` : what }
    })
  }

  /** @param change `revision`: only of that one. Errors: NOT_FOUND, REVISION_CHANGED */
  setState<Kind extends DocumentKind>(
    kind: Kind,
    id: string,
    change: {
      readonly state: string
      readonly what: string
      readonly by: string
      readonly revision?: number
    },
    within?: Within,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const { state, what, by, revision } = change
    return this.#step(kind, id, { by, revision }, within, ({ document }) => ({ document, state, what }))
  }

  /**
   * Makes a new revision that says what an earlier one said; its state stays.
   * Errors: NOT_FOUND (also of a revision), REVISION_CHANGED, PARAMETER_INVALID (it had a secret that is not kept any more)
   */
  async rollBack<Kind extends DocumentKind>(
    kind: Kind,
    id: string,
    change: {
      readonly to: number
      readonly by: string
      readonly revision?: number
      /** Looks at what it was before it is written; throws where it is not valid any more. */
      readonly check?: (document: unknown) => DocumentOf[Kind]
    },
    within?: Within,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const { to, by, revision, check = (document) => document as DocumentOf[Kind] } = change
    const was = await this.revision(kind, id, to)
    return this.#step(kind, id, { by, revision }, within, ({ state, document: current }) => {
      const { document, missing } = unmasked(kind, was.document, current)
      if (missing.length > 0)
        throw failure(
          'PARAMETER_INVALID',
          `Revision ${to} had a secret at ${missing.join(', ')}, and revisions keep no secrets. Change the ${kind} instead.`,
        )
      return { document: check(document), state, what: `roll back to ${to}` }
    })
  }

  /** Its revisions stay. @returns what it was. Errors: NOT_FOUND, REVISION_CHANGED */
  async remove<Kind extends DocumentKind>(
    kind: Kind,
    id: string,
    { by, revision }: { readonly by: string; readonly revision?: number },
    within?: Within,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const removed = await this.#write.transaction().execute(async (db) => {
      const before = await this.#expected(db, kind, id, revision)
      const { numDeletedRows } = await db
        .deleteFrom('documents')
        .where('kind', '=', kind)
        .where('id', '=', id)
        .where('revision', '=', before.revision)
        .executeTakeFirst()
      if (numDeletedRows === 0n) throw changedMeanwhile(kind, id)
      const row = { ...before, revision: before.revision + 1, changed_at_ms: this.#now(), changed_by: by }
      await addRevision(db, kind, row, 'delete')
      await within?.(db)
      return keptOf<DocumentOf[Kind]>(before)
    })
    this.#tell(kind, id, by)
    return removed
  }

  /** The newest first, also of what was deleted. @param before only those with a lower number */
  async revisions(kind: DocumentKind, id: string, before?: number): Promise<readonly Revision[]> {
    let query = this.#read
      .selectFrom('document_revisions')
      .selectAll()
      .where('kind', '=', kind)
      .where('id', '=', id)
    if (before !== undefined) query = query.where('revision', '<', before)
    const rows = await query
      .orderBy('revision', 'desc')
      .limit(REVISIONS_PAGE_MAX + 1)
      .execute()
    return rows.slice(0, REVISIONS_PAGE_MAX).map((row, n) => {
      const previous = rows[n + 1]
      return {
        revision: row.revision,
        atMs: row.at_ms,
        by: row.by,
        what: row.what,
        state: row.state,
        changes: previous
          ? differences(JSON.parse(previous.document_json), JSON.parse(row.document_json))
          : [],
      }
    })
  }

  /** As it was then, without secrets. Errors: NOT_FOUND */
  async revision(
    kind: DocumentKind,
    id: string,
    revision: number,
  ): Promise<Omit<Revision, 'changes'> & { readonly document: unknown }> {
    const row = await this.#read
      .selectFrom('document_revisions')
      .selectAll()
      .where('kind', '=', kind)
      .where('id', '=', id)
      .where('revision', '=', revision)
      .executeTakeFirst()
    if (!row) throw failure('NOT_FOUND', `The ${kind} "${id}" has no revision ${revision}.`)
    const { at_ms: atMs, by, what, state } = row
    return { revision, atMs, by, what, state, document: JSON.parse(row.document_json) }
  }

  async #step<Kind extends DocumentKind>(
    kind: Kind,
    id: string,
    { by, revision }: { readonly by: string; readonly revision: number | undefined },
    within: Within | undefined,
    next: (before: Kept<DocumentOf[Kind]>) => Next,
  ): Promise<Kept<DocumentOf[Kind]>> {
    const kept = await this.#write.transaction().execute(async (db) => {
      const before = await this.#expected(db, kind, id, revision)
      const { document, state, what } = next(keptOf<DocumentOf[Kind]>(before))
      const row = await db
        .updateTable('documents')
        .set({
          name: nameOf(document, id),
          state,
          revision: before.revision + 1,
          document_json: jsonOf(document),
          changed_at_ms: this.#now(),
          changed_by: by,
        })
        .where('kind', '=', kind)
        .where('id', '=', id)
        .where('revision', '=', before.revision)
        .returningAll()
        .executeTakeFirst()
      if (!row) throw changedMeanwhile(kind, id)
      await addRevision(db, kind, row, what)
      await within?.(db)
      return keptOf<DocumentOf[Kind]>(row)
    })
    this.#tell(kind, id, by)
    return kept
  }

  async #expected(db: Kysely<Tables>, kind: DocumentKind, id: string, revision: number | undefined) {
    const row = await rowOf(db, kind, id)
    if (!row) throw failure('NOT_FOUND', `There is no ${kind} "${id}".`)
    if (revision !== undefined && row.revision !== revision) throw changedMeanwhile(kind, id, row)
    return row
  }

  #tell(kind: DocumentKind, id: string, by: string): void {
    for (const changed of this.#followers) changed(kind, id, by)
  }
}

const isReserved = (kind: DocumentKind, id: string) => RESERVED[kind].includes(id)

type Row = Tables['documents']

const rowOf = (db: Kysely<Tables>, kind: DocumentKind, id: string): Promise<Row | undefined> =>
  db.selectFrom('documents').selectAll().where('kind', '=', kind).where('id', '=', id).executeTakeFirst()

async function lastRevision(db: Kysely<Tables>, kind: DocumentKind, id: string): Promise<number> {
  const row = await db
    .selectFrom('document_revisions')
    .select((it) => it.fn.max('revision').as('last'))
    .where('kind', '=', kind)
    .where('id', '=', id)
    .executeTakeFirst()
  return Number(row?.last ?? 0)
}

async function addRevision(db: Kysely<Tables>, kind: DocumentKind, row: Row, what: string): Promise<void> {
  await db
    .insertInto('document_revisions')
    .values({
      kind,
      id: row.id,
      revision: row.revision,
      at_ms: row.changed_at_ms,
      by: row.changed_by,
      what,
      state: row.state,
      document_json: JSON.stringify(masked(kind, JSON.parse(row.document_json))),
    })
    .execute()
}

function keptOf<Document>(row: Row): Kept<Document> {
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    revision: row.revision,
    createdAtMs: row.created_at_ms,
    createdBy: row.created_by,
    changedAtMs: row.changed_at_ms,
    changedBy: row.changed_by,
    document: JSON.parse(row.document_json) as Document,
  }
}

function jsonOf(document: unknown): string {
  // PostgreSQL keeps no NUL.
  const json = JSON.stringify(document).replaceAll('\\u0000', '\\ufffd')
  if (Buffer.byteLength(json) > DOCUMENT_BYTES_MAX)
    throw failure('PAYLOAD_TOO_LARGE', `A document has at most ${DOCUMENT_BYTES_MAX / 1024} KB.`)
  return json
}

function nameOf(document: unknown, otherwise: string): string {
  const name = (document as { name?: unknown }).name
  return typeof name === 'string' ? name.replaceAll('\0', '\ufffd') : otherwise
}

/** For addresses and topics: `Visitors at the door` is `visitors-at-the-door`. */
function idOf(name: string): string {
  const plain = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, ID_CHARACTERS_MAX)
    .replace(/^-+|-+$/g, '')
  return plain === '' ? 'unnamed' : plain
}

/** For who does something before a change: what is refused had better not be written down as done. Errors: REVISION_CHANGED */
export function demandRevision(
  { id, revision, changedBy }: { readonly id: string; readonly revision: number; readonly changedBy: string },
  wanted: number,
): void {
  if (revision !== wanted)
    throw failure(
      'REVISION_CHANGED',
      `"${id}" was changed meanwhile${changedBy === '' ? '' : ` by ${changedBy}`}, and is revision ${revision} now. Look at it again.`,
    )
}

const changedMeanwhile = (kind: DocumentKind, id: string, row?: Row) =>
  failure(
    'REVISION_CHANGED',
    `The ${kind} "${id}" was changed meanwhile${row ? ` by ${row.changed_by}, and is revision ${row.revision} now` : ''}. Look at it again.`,
  )
