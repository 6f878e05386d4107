import { z } from 'zod'
import { attributesSchema } from './attributes.ts'
import { ID_PATTERN } from './id.ts'
import { NAME_PATTERN } from './names.ts'
import { zoneNamesSchema } from './zones.ts'

/**
 * A notice: what somebody wanted to hear of. The body of a webhook and the message on `<prefix>/notices/<scenario>`, JSON.
 * A notice may be updated (a better picture, an end): the same id with a higher revision. Pure.
 */
export const NOTICE_VERSION = 1

const name = z.string().regex(NAME_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)
export const LEVELS = ['info', 'warning', 'problem'] as const

export const noticeSchema = z.object({
  v: z.literal(NOTICE_VERSION),
  /** UUID. By it and the revision a receiver drops what it has had. */
  id: z.string().regex(ID_PATTERN),
  /** 0: it is new. */
  revision: z.number().int().nonnegative(),
  /** `test`: somebody tries the way. */
  is: z.enum(['new', 'updated', 'ended', 'test']),
  /** When it happened, by the device's clock, and when this revision was made. */
  atMs: timeMs,
  madeAtMs: timeMs,
  scenario: z.object({ id: name, name: z.string().max(200) }),
  rule: z.object({ id: name, name: z.string().max(200) }),
  level: z.enum(LEVELS),
  title: z.string().max(200),
  text: z.string().max(2000),
  site: name.optional(),
  device: name.optional(),
  camera: name.optional(),
  /** The followed face. */
  track: z.string().regex(ID_PATTERN).optional(),
  zones: zoneNamesSchema.optional(),
  masked: z.boolean().optional(),
  /** What classifiers and plugins say of the face. Their names and labels are text, whatever they look like. */
  attributes: attributesSchema.optional(),
  /** How many, where the rule counts. */
  count: z.number().int().nonnegative().optional(),
  /** The crop, by its id in the bucket; and an address at which its picture can be had for a while. */
  detection: z.string().regex(ID_PATTERN).optional(),
  picture: z.object({ url: z.string().max(4000), expiresAtMs: timeMs }).optional(),
  /** The page of it in the console, where the console has a public address. */
  url: z.string().max(2000).optional(),
  /** An object that has arrived (rules on arrivals). */
  object: z
    .object({
      kind: z.string().max(20),
      key: z.string().max(1024),
      id: z.string().regex(ID_PATTERN),
      bytes: z.number().int().nonnegative(),
      sha256: z.string().max(64),
      capturedAtMs: timeMs,
      endMs: timeMs.optional(),
      storedAtMs: timeMs,
      frame: z.tuple([z.number().int().positive(), z.number().int().positive()]),
      url: z.string().max(4000).optional(),
      expiresAtMs: timeMs.optional(),
    })
    .optional(),
})
export type Notice = z.infer<typeof noticeSchema>

/** @param scenario its id */
export const noticeTopic = (prefix: string, scenario: string) => `${prefix}/notices/${scenario}`
