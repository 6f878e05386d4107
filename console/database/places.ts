import { type Kysely, type RawBuilder, type SqlBool, sql } from 'kysely'
import type { CameraRow } from './detection.ts'
import type { Scope } from './scope.ts'
import type { Tables } from './tables.ts'

/** Sites, devices and cameras to the small numbers that stand in rows. */

export interface PlacesFilter {
  readonly sites?: readonly string[]
  readonly devices?: readonly string[]
  readonly cameras?: readonly string[]
}

/** Any of these; nothing where there is none. By their paths in one list: a thousand conditions would be nested too deep. */
function anyOf({ sites = [], devices = [], cameras = [] }: PlacesFilter): RawBuilder<SqlBool> {
  const places = [
    ...(sites.length > 0 ? [sql`site in (${sql.join(sites)})`] : []),
    ...(devices.length > 0 ? [sql`site || '/' || device in (${sql.join(devices)})`] : []),
    ...(cameras.length > 0 ? [sql`site || '/' || device || '/' || camera in (${sql.join(cameras)})`] : []),
  ]
  return places.length === 0 ? sql<SqlBool>`1 = 0` : sql<SqlBool>`(${sql.join(places, sql` or `)})`
}

function select(db: Kysely<Tables>, scope: Scope, filter: PlacesFilter) {
  let query = db.selectFrom('cameras')
  if (!scope.all) query = query.where(anyOf(scope))
  if (filter.sites || filter.devices || filter.cameras) query = query.where(anyOf(filter))
  return query
}

/** @returns undefined where neither scope nor filter leaves a camera out */
export async function cameraIds(
  db: Kysely<Tables>,
  scope: Scope,
  filter: PlacesFilter,
): Promise<readonly number[] | undefined> {
  if (scope.all && !filter.sites && !filter.devices && !filter.cameras) return undefined
  const rows = await select(db, scope, filter).select('id').orderBy('id').execute()
  return rows.map(({ id }) => id)
}

export async function listCameras(
  db: Kysely<Tables>,
  scope: Scope,
): Promise<readonly (CameraRow & { readonly id: number })[]> {
  const rows = await select(db, scope, {})
    .selectAll()
    .orderBy('site')
    .orderBy('device')
    .orderBy('camera')
    .execute()
  return rows.map(({ id, site, device, camera, first_seen_ms, last_seen_ms }) => ({
    id,
    site,
    device,
    camera,
    firstSeenMs: first_seen_ms,
    lastSeenMs: last_seen_ms,
  }))
}
