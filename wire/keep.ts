import { z } from 'zod'
import { ID_PATTERN } from './id.ts'
import { CLIP } from './kinds.ts'
import { NAME_PATTERN } from './names.ts'
import type { CameraAddress } from './topics.ts'

/**
 * Stretches of a camera's recordings that retention leaves alone. The bucket has them, in a file beside the recordings; the
 * subscriber writes it when it is asked to (on `<prefix>/keep/<subscriber>`, QoS 1), and announces what then holds. Pure.
 */
export const KEEP_VERSION = 1
export const KEEP_MESSAGE_BYTES_MAX = 4096
/** Of one camera. */
export const STRETCHES_MAX = 1000

const name = z.string().regex(NAME_PATTERN)
const timeMs = z.number().int().nonnegative().max(253_402_300_799_999)

const stretchShape = {
  /** Chunks that have any part in it are kept. */
  fromMs: timeMs,
  toMs: timeMs,
  /** Who asked, and when. */
  by: z.string().max(200),
  atMs: timeMs,
}
export const stretchSchema = z.object(stretchShape)
export type Stretch = z.infer<typeof stretchSchema>

/** The file. */
export const keptStretchesSchema = z.object({
  v: z.literal(KEEP_VERSION),
  stretches: z.array(stretchSchema).max(STRETCHES_MAX),
})

export const keepMessageSchema = z
  .object({
    v: z.literal(KEEP_VERSION),
    /** UUIDv7, minted by whoever asks; the announcement names it. */
    request: z.string().regex(ID_PATTERN),
    site: name,
    device: name,
    camera: name,
    /** False: what of it is kept is kept no longer. */
    keep: z.boolean(),
    ...stretchShape,
  })
  .refine(({ fromMs, toMs }) => fromMs < toMs, { path: ['toMs'], error: 'must be after fromMs' })
export type KeepMessage = z.infer<typeof keepMessageSchema>

export const keepTopic = (prefix: string, subscriber: string) => `${prefix}/keep/${subscriber}`

export const keepKey = ({ site, device, camera }: CameraAddress) =>
  `${CLIP.root}${site}/${device}/${camera}/keep.json`
