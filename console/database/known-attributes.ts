import { type Kysely, sql } from 'kysely'
import { cameraIds } from './places.ts'
import type { Scope } from './scope.ts'
import type { Tables } from './tables.ts'

/** What classifiers and plugins have said of what is there: for lists to choose from. */
export interface KnownAttribute {
  readonly name: string
  /** At most LABELS_MAX of them. */
  readonly labels: readonly string[]
  /** There are further labels. */
  readonly more: boolean
}

const NAMES_MAX = 100
const LABELS_MAX = 50
/** Of an attribute, the newest: whoever sees some cameras is not told of what only others have. */
const LOOKED_AT_MAX = 1000

/** In the order of names and labels. */
export async function knownAttributes(db: Kysely<Tables>, scope: Scope): Promise<KnownAttribute[]> {
  const cameras = await cameraIds(db, scope, {})
  if (cameras?.length === 0) return []
  const isSeen = cameras
    ? sql`exists (
        select 1 from (
          select d.camera_id from detection_attributes as d where d.attribute_id = a.id
          order by d.at_ms desc, d.id desc limit ${LOOKED_AT_MAX}) as newest
        where newest.camera_id in (${sql.join(cameras)}))`
    : sql`1 = 1`
  const { rows } = await sql<{ name: string; label: string }>`
    select name, label from (
      select a.name, a.label,
        dense_rank() over (order by a.name) as name_rank,
        row_number() over (partition by a.name order by a.label) as label_rank
      from attributes as a where ${isSeen}) as ranked
    where name_rank <= ${NAMES_MAX} and label_rank <= ${LABELS_MAX + 1}
    order by name, label`.execute(db)
  return [...Map.groupBy(rows, ({ name }) => name)].map(([name, all]) => ({
    name,
    labels: all.slice(0, LABELS_MAX).map(({ label }) => label),
    more: all.length > LABELS_MAX,
  }))
}
