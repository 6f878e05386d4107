import { z } from 'zod'

/**
 * A camera that comes to the device: what its owner may change from afar (the command `set/stream`, JSON), and what is seen
 * of it (in the camera's state). A key is never on the wire, only its hash. Pure.
 */

/** 128 random bits, base64url: what is typed into OBS. */
export const STREAM_KEY_PATTERN = /^[A-Za-z0-9_-]{22}$/
/** SHA-256 of the key's text, hex. */
export const STREAM_KEY_HASH_PATTERN = /^[0-9a-f]{64}$/
export const STREAM_CHANGE_BYTES_MAX = 1024

/** Whose it is: a user of the console. */
const owner = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{C}:]+$/u)

export const PROTOCOLS = ['rtmp', 'rtmps', 'whip', 'http'] as const
export type Protocol = (typeof PROTOCOLS)[number]

export const streamChangeSchema = z.discriminatedUnion('do', [
  /** Adds the stream of the topic's camera. Refused where there is one. */
  z.strictObject({
    do: z.literal('add'),
    keyHash: z.string().regex(STREAM_KEY_HASH_PATTERN),
    owner: owner.optional(),
    takeOver: z.boolean().optional(),
  }),
  /** Another key; the live stream ends. */
  z.strictObject({ do: z.literal('rotate'), keyHash: z.string().regex(STREAM_KEY_HASH_PATTERN) }),
  z.strictObject({ do: z.literal('activate') }),
  z.strictObject({ do: z.literal('deactivate') }),
  z.strictObject({ do: z.literal('remove') }),
  /** Whether a second publisher with the same key ends the first, or is refused. */
  z.strictObject({ do: z.literal('settings'), takeOver: z.boolean() }),
])
export type StreamChange = z.infer<typeof streamChangeSchema>

const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)

export const streamStateSchema = z.object({
  owner: owner.nullable(),
  active: z.boolean(),
  takeOver: z.boolean(),
  /** When a publisher last came with its key, from which address; null: never. */
  lastUsedMs: timeMs.nullable(),
  from: z.string().max(100).nullable(),
  /** Null while nobody publishes. */
  live: z
    .object({
      sinceMs: timeMs,
      by: z.enum(PROTOCOLS),
      bitsPerSecond: z.number().nonnegative(),
      /** As FFmpeg calls them; null until it is known. */
      codec: z.string().max(40).nullable(),
      audio: z.string().max(40).nullable(),
      frame: z.tuple([z.number().int().positive(), z.number().int().positive()]).nullable(),
    })
    .nullable(),
})
export type StreamState = z.infer<typeof streamStateSchema>
