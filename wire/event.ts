import { z } from 'zod'
import { attributeSchema } from './attributes.ts'
import { ID_PATTERN } from './id.ts'
import { NAME_PATTERN } from './names.ts'
import { zoneNamesSchema } from './zones.ts'

/**
 * What happens to a face that is followed, as JSON beside the crops: it is `new`, it is in an `update`, it has come to
 * its `end`; it has come into a zone (`enter`), has left it (`leave`), or has been in it for its time (`stay`). `before` is what the last event of this face said (in `new`: how it was first seen), `after` how it is now.
 * Events are live: nobody keeps them for a reader that is away. Crops are what is kept.
 */
export const EVENT_VERSION = 1

const pixels = z.number().finite()
const name = z.string().regex(NAME_PATTERN)
const id = z.string().regex(ID_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)

export const followedFaceSchema = z.object({
  /** The track: the same as `track` in its crops. */
  id,
  site: name,
  device: name,
  camera: name,
  /** Milliseconds since 1970, by the device's clock: first seen, last seen, and (once it is over) ended. */
  startMs: timeMs,
  seenMs: timeMs,
  endMs: timeMs.nullable(),
  /** Full-frame pixels: left, top, width, height, where it was last detected. */
  box: z.tuple([pixels, pixels, pixels, pixels]),
  /** What a crop would show of the frame: the box and its margin. Null where the face has left the picture. */
  region: z.tuple([pixels, pixels, pixels, pixels]).nullable(),
  /** Width and height of the frame, pixels. */
  frame: z.tuple([z.number().int().positive(), z.number().int().positive()]),
  /** The detector's confidence, 0 to 1: last, and the highest so far. */
  score: z.number().min(0).max(1),
  topScore: z.number().min(0).max(1),
  /** Whether it is in the picture now: false while it is hidden, and once it has ended. */
  active: z.boolean(),
  /** It has not moved for some seconds. */
  stationary: z.boolean(),
  /** The newest crop of it that was published, by its id; null before the first. */
  crop: id.nullable(),
  /** How many crops of it were published. */
  crops: z.number().int().nonnegative(),
  /** The zones that it is in. Absent where the camera has none. */
  zones: zoneNamesSchema.optional(),
})

export const eventSchema = z.object({
  v: z.literal(EVENT_VERSION),
  type: z.enum(['new', 'update', 'end', 'enter', 'leave', 'stay']),
  /** Of `enter`, `leave` and `stay`: the zone, and how long it has been in it, ms. */
  zone: name.optional(),
  inZoneMs: z.number().int().nonnegative().optional(),
  before: followedFaceSchema,
  after: followedFaceSchema,
})

/** What a plugin may say happened: so much at once, and JSON of so many bytes in each. */
export const PLUGIN_EVENTS_MAX = 16
export const PLUGIN_DATA_BYTES_MAX = 2048

/** In a plugin's words. */
export const pluginSaidSchema = z.object({
  /** What happened: `dark`. */
  name: attributeSchema.shape.name,
  label: attributeSchema.shape.label.optional(),
  score: attributeSchema.shape.score.optional(),
  /** The plugin's own: up to `PLUGIN_DATA_BYTES_MAX` as JSON. */
  data: z.json().optional(),
})

/** What a plugin says happened in front of a camera, on the same topic as what happens to faces. */
export const pluginEventSchema = pluginSaidSchema.extend({
  v: z.literal(EVENT_VERSION),
  type: z.literal('plugin'),
  site: name,
  device: name,
  camera: name,
  /** When the frame was captured, ms since 1970. */
  atMs: timeMs,
  /** The plugin, as the device's configuration names it; and with its version. */
  plugin: name,
  by: attributeSchema.shape.by.unwrap(),
  /** The followed face that it is about. */
  track: id.optional(),
})

/** Whatever comes on a topic of events. */
export const anyEventSchema = z.discriminatedUnion('type', [eventSchema, pluginEventSchema])

export type PluginSaid = z.infer<typeof pluginSaidSchema>
export type PluginEvent = z.infer<typeof pluginEventSchema>
export type AnyEvent = z.infer<typeof anyEventSchema>
export type FollowedFace = z.infer<typeof followedFaceSchema>
export type FaceEvent = z.infer<typeof eventSchema>
