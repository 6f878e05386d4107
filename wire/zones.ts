import { z } from 'zod'
import { NAME_PATTERN, NAME_RULE } from './names.ts'

/** Parts of a camera's picture that have a name: faces are in them, come into them, leave them and stay. Pure. */

export const ZONES_MAX = 16
export const ZONE_CORNERS_MAX = 32

const fraction = z.number().min(0).max(1)

export const zoneSchema = z
  .strictObject({
    name: z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`),
    /** Corners of a polygon, each [x, y], as fractions of the picture once it is turned. */
    points: z
      .array(z.tuple([fraction, fraction]))
      .min(3, 'must list at least three corners, each [x, y]')
      .max(ZONE_CORNERS_MAX),
    /** The height of a face, as a fraction of the picture's: smaller and larger ones are not in this zone. */
    sizeMin: fraction.optional(),
    sizeMax: fraction.optional(),
    /** A face that has been in it for so long is said to stay, seconds. Absent: that is not said. */
    stayS: z.number().positive().max(86_400).optional(),
  })
  .refine(({ sizeMin = 0, sizeMax = 1 }) => sizeMin <= sizeMax, {
    path: ['sizeMax'],
    error: 'must not be below sizeMin',
  })
export type Zone = z.infer<typeof zoneSchema>

export const zonesSchema = z
  .array(zoneSchema)
  .max(ZONES_MAX)
  .refine((list) => new Set(list.map((it) => it.name)).size === list.length, {
    error: 'must give each zone its own name',
  })

/** Names of zones, as crops and events carry them. */
export const zoneNamesSchema = z.array(z.string().regex(NAME_PATTERN)).max(ZONES_MAX)

/** Whether a point lies in a polygon (even-odd rule). Both in the same units. */
export function isInside([x, y]: readonly [number, number], points: Zone['points']): boolean {
  let inside = false
  let [px, py] = points.at(-1) as [number, number]
  for (const [qx, qy] of points) {
    if (qy > y !== py > y && x < ((px - qx) * (y - qy)) / (py - qy) + qx) inside = !inside
    ;[px, py] = [qx, qy]
  }
  return inside
}

/**
 * Whether a face is in a zone: the middle of its box is inside, and its size is within the zone's limits.
 * @param box left, top, width, height, in pixels of the frame
 * @param frame width and height, pixels
 */
export function isInZone(
  zone: Zone,
  [left, top, width, height]: readonly [number, number, number, number],
  [frameWidth, frameHeight]: readonly [number, number],
): boolean {
  const size = height / frameHeight
  if (size < (zone.sizeMin ?? 0) || size > (zone.sizeMax ?? Number.POSITIVE_INFINITY)) return false
  return isInside([(left + width / 2) / frameWidth, (top + height / 2) / frameHeight], zone.points)
}
