/** What differs between two documents, field by field, for people. Pure. */

export interface Difference {
  /** Such as `cameras.door.record.mode`. */
  readonly path: string
  /** Absent: it was not there. */
  readonly before?: unknown
  /** Absent: it is not there any more. */
  readonly after?: unknown
}

export const DIFFERENCES_MAX = 200
const DEPTH_MAX = 20

/** In the order of the fields; lists are compared as a whole. @returns the first DIFFERENCES_MAX */
export function differences(before: unknown, after: unknown): Difference[] {
  const found: Difference[] = []
  compare(before, after, [], found)
  return found
}

function compare(before: unknown, after: unknown, path: readonly string[], found: Difference[]): void {
  if (found.length >= DIFFERENCES_MAX || isSame(before, after)) return
  const [had, has] = [fieldsOf(before), fieldsOf(after)]
  const isBranch = (had && (has || after === undefined)) || (has && before === undefined)
  if (isBranch && path.length < DEPTH_MAX) {
    const names = new Set([...Object.keys(had ?? {}), ...Object.keys(has ?? {})])
    // An empty one that comes or goes has no field to tell of.
    if (names.size > 0) {
      for (const name of names) compare(ownOf(had, name), ownOf(has, name), [...path, name], found)
      return
    }
  }
  found.push({
    path: path.join('.'),
    ...(before !== undefined && { before }),
    ...(after !== undefined && { after }),
  })
}

const ownOf = (fields: Record<string, unknown> | undefined, name: string): unknown =>
  fields && Object.hasOwn(fields, name) ? fields[name] : undefined

const fieldsOf = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined

/** The order of fields does not matter. */
export function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, n) => isSame(item, b[n]))
  const [left, right] = [fieldsOf(a), fieldsOf(b)]
  if (!left || !right) return false
  const names = Object.keys(left).filter((name) => left[name] !== undefined)
  return (
    names.length === Object.keys(right).filter((name) => right[name] !== undefined).length &&
    names.every((name) => isSame(left[name], ownOf(right, name)))
  )
}
