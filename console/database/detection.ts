import { ID_PATTERN } from '../../wire/id.ts'
import type { StoredCrop } from '../../wire/stored.ts'
import type { Scope } from './scope.ts'

/** A detection as it is read: what its announcement said of it. */
export type Detection = Omit<StoredCrop, 'v' | 'is' | 'kind' | 'filedAtMs' | 'attributes'> & {
  /** When it was, by which it is sorted: the announcement's filedAtMs. */
  readonly atMs: number
  readonly attributes: NonNullable<StoredCrop['attributes']>
  /** A best picture of the same track is there, which is shown in its place. Absent: no. */
  readonly superseded?: boolean
  /** Who announced it, and whose bucket has it. */
  readonly subscriber: string
}

/** Without a label: any. */
export interface NamedAttribute {
  readonly name: string
  readonly label?: string
}

/** What is searched for: all that is named must hold. */
export interface DetectionFilter {
  /** From, and before. */
  readonly fromMs?: number
  readonly beforeMs?: number
  /** In the bucket by then. */
  readonly storedAtMsMax?: number
  /** Any of these places: sites, devices (`site/device`), cameras (`site/device/camera`). */
  readonly sites?: readonly string[]
  readonly devices?: readonly string[]
  readonly cameras?: readonly string[]
  readonly track?: string
  /** null: not known. */
  readonly masked?: boolean | null
  /** What a classifier or a plugin said, and how sure it was at least. Links that were shared hold it as it is here. */
  readonly attribute?: NamedAttribute & {
    readonly scoreMin?: number
    /** Instead, or one of these. */
    readonly or?: readonly NamedAttribute[]
  }
  readonly scoreMin?: number
  readonly scoreMax?: number
  /** Pixels, of the box's shorter side. */
  readonly sizeMin?: number
  readonly reviewed?: { readonly by: string; readonly is: boolean }
  /** Part of the file's name, in upper or lower case (ASCII). */
  readonly file?: string
  /** In this zone. */
  readonly zone?: string
  /** Also first pictures of which a best one is there. Absent: without them. */
  readonly superseded?: boolean
}

/** A place in the order of detections, as text that goes into addresses: `<atMs>.<id>`. */
export type Cursor = string

export interface Place {
  readonly atMs: number
  readonly id: string
}

export const cursorOf = ({ atMs, id }: Place): Cursor => `${atMs}.${id}`

/** undefined where it is none. */
export function readCursor(text: string): Place | undefined {
  const [at = '', id = '', ...rest] = text.split('.')
  return /^\d{1,15}$/.test(at) && ID_PATTERN.test(id) && rest.length === 0
    ? { atMs: Number(at), id }
    : undefined
}

export const PAGE_LIMIT_MAX = 500

export interface PageQuery {
  readonly filter: DetectionFilter
  readonly scope: Scope
  /** Older than this place; or newer: then the nearest, still newest first. At most one of the two; checked by readCursor. */
  readonly before?: Cursor
  readonly after?: Cursor
  /** 1 to PAGE_LIMIT_MAX. */
  readonly limit: number
  /** After which a search takes no further step; for pages that somebody waits for it is short. */
  readonly searchMsMax?: number
}

/**
 * A page may come back short, even empty, though there is more: where no index helps, a search stops after a bounded time
 * and says how far it looked. Only an absent `next` means that there is no more.
 */
export interface Page {
  /** Newest first. */
  readonly detections: readonly Detection[]
  /** Goes on in the same direction: as `before`, or, where `after` was asked for, as `after`. */
  readonly next?: Cursor
  /** Where it came back short: everything on this side of this time was looked at. */
  readonly searchedToMs?: number
}

export interface CountsQuery {
  readonly scope: Scope
  /** Whole hours, days, weeks or months: from the one that this is in, to the one that the moment before `beforeMs` is in. */
  readonly fromMs: number
  readonly beforeMs: number
  readonly by: 'hour' | 'day' | 'week' | 'month'
  /**
   * An IANA zone, in which days begin. Where that is not at a full hour UTC (India, Nepal), a day's first part hour counts
   * to the day: it begins up to 45 minutes early.
   */
  readonly timeZone: string
  readonly sites?: readonly string[]
  readonly devices?: readonly string[]
  readonly cameras?: readonly string[]
  readonly split?: 'camera' | 'masked'
}

/** Of each hour, day, week or month, also where it is 0; split: only where it is more. */
export interface Count {
  /** When the hour, day, week (Monday) or month begins. */
  readonly fromMs: number
  readonly count: number
  /** Split by camera: `site/device/camera`. */
  readonly camera?: string
  /** Split by masked: null: not known. */
  readonly masked?: boolean | null
}

export interface Totals {
  readonly count: number
  readonly masked: number
  readonly unmasked: number
}

export interface CameraRow {
  readonly site: string
  readonly device: string
  readonly camera: string
  readonly firstSeenMs: number
  readonly lastSeenMs: number
}
