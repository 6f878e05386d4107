import { z } from 'zod'

/** What a classifier or a plugin says of a face: in a crop's metadata, and in whatever is made of that. Pure. */

/** Of one crop. */
export const ATTRIBUTES_MAX = 32
export const ATTRIBUTE_UNITS_MAX = 64

/** Without control characters: databases refuse U+0000 in a text, and a terminal obeys others. */
const PRINTABLE = /^[^\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]*$/u

export const attributeSchema = z.object({
  /** What it is about: `mask`, `liveness`. */
  name: z.string().min(1).max(ATTRIBUTE_UNITS_MAX).regex(PRINTABLE),
  /** What it is: `with mask`. */
  label: z.string().min(1).max(ATTRIBUTE_UNITS_MAX).regex(PRINTABLE),
  /** 0 to 1. */
  score: z.number().min(0).max(1),
  /** Who says so: the model and its version (12 digits of its SHA-256), or the plugin and its own: `liveness@0f3a5c9b1d2e`. */
  by: z.string().min(1).max(160).regex(PRINTABLE).optional(),
})
export type Attribute = z.infer<typeof attributeSchema>

export const attributesSchema = z.array(attributeSchema).max(ATTRIBUTES_MAX)
