import type { Kysely } from 'kysely'
import type { Announcement, Stored } from '../../wire/stored.ts'
import type {
  CameraRow,
  Count,
  CountsQuery,
  Detection,
  DetectionFilter,
  Page,
  PageQuery,
  Totals,
} from './detection.ts'
import type { Scope } from './scope.ts'
import type { Tables } from './tables.ts'

export type DatabaseOptions =
  | {
      readonly type: 'sqlite'
      /** The file; its folder is made where it does not exist. */
      readonly file: string
    }
  | {
      readonly type: 'postgres'
      /** `postgres://user@host:port/database`, without a password. */
      readonly url: string
      readonly password?: string
    }

/** What a batch changed. */
export interface Applied {
  /** Detections that were not there before, in the order of the batch. */
  readonly added: readonly Detection[]
  /** Ids that were there and are gone. */
  readonly removed: readonly string[]
  /** Nothing to do: there before, removed before, or below the horizon. */
  readonly repeated: number
}

/** A damaged file that was moved aside when it was opened. */
export interface Damage {
  readonly movedTo: string
  readonly why: string
  /** Rows that were saved from it, by table (tokens, shares, audit, reviews, ...): detections come anew by reindex. */
  readonly saved: Readonly<Record<string, number>>
}

/**
 * The console's database: an index of the bucket, which can be built anew, and what people keep in it (tokens, shares, audit,
 * reviews). Errors of all methods: DATABASE_UNREACHABLE, DATABASE_DENIED, DATABASE_TIMEOUT, DATABASE_BUSY (too many wait),
 * DATABASE_DAMAGED, DATABASE_REFUSED, DISK_FULL.
 */
export interface DatabaseShape extends AsyncDisposable {
  readonly engine: 'sqlite' | 'postgres'
  /** For people; without a password. */
  readonly description: string
  /** Set where the file was damaged and is a new one: reindex must fill it. */
  readonly damage: Damage | undefined
  /** For queries of one's own: what only reads ... */
  readonly read: Kysely<Tables>
  /** ... and what writes, or must see what was just written. One transaction at a time on SQLite: keep it short. */
  readonly write: Kysely<Tables>

  /** Resolves when it is safe on disk. In one transaction, idempotent by id, in any order. */
  apply(announcements: readonly Announcement[], subscriber: string): Promise<Applied>
  /** Puts back what the bucket has, though it was said to be removed. */
  restore(stored: readonly Stored[], subscriber: string): Promise<Applied>
  /** Resolves when everything that expired has been deleted (that goes on in the background). */
  swept(): Promise<void>

  page(query: PageQuery, signal?: AbortSignal): Promise<Page>
  /** undefined: not there, or not in scope. */
  detection(id: string, scope: Scope): Promise<Detection | undefined>
  /** Crops of the same track, oldest first, at most PAGE_LIMIT_MAX. */
  track(track: string, scope: Scope): Promise<readonly Detection[]>
  /** The next newer and the next older that the filter takes. */
  neighbours(
    id: string,
    filter: DetectionFilter,
    scope: Scope,
  ): Promise<{ readonly newer?: Detection; readonly older?: Detection }>
  /** All that match, newest first, page by page: any number, in constant memory. */
  export(filter: DetectionFilter, scope: Scope, signal?: AbortSignal): AsyncGenerator<readonly Detection[]>
  counts(query: CountsQuery): Promise<readonly Count[]>
  totals(scope: Scope, fromMs: number, beforeMs: number, timeZone: string): Promise<Totals>
  cameras(scope: Scope): Promise<readonly CameraRow[]>
  /** The newest of each camera. */
  newest(scope: Scope): Promise<readonly Detection[]>
  /** @returns how many marks are new; ids that are not there or not in scope are passed over */
  review(user: string, ids: readonly string[], scope: Scope, atMs: number): Promise<number>
  unreview(user: string, ids: readonly string[]): Promise<number>
  /** Which of these the user has reviewed. */
  reviewed(user: string, ids: readonly string[]): Promise<ReadonlySet<string>>
}

// Being filled: `Database.open(options)` gives a DatabaseShape.
export declare class DatabaseDraft {
  static open(options: DatabaseOptions): Promise<DatabaseShape>
}
