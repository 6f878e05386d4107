import { z } from 'zod'
import { EFFECTS, RECORD_MODES } from './commands.ts'
import { PROCESSORS_MAX } from './desired.ts'
import { ID_PATTERN } from './id.ts'
import { NAME_PATTERN } from './names.ts'
import { streamStateSchema } from './stream.ts'
import { ZONES_MAX } from './zones.ts'

/** How a camera is and what holds for it, as JSON, retained: the answer to every command. */
export const CAMERA_STATE_VERSION = 1

const name = z.string().regex(NAME_PATTERN)

/** Whoever writes a state cuts a longer one. */
export const WHY_CHARACTERS_MAX = 2000

export const cameraStateSchema = z.object({
  v: z.literal(CAMERA_STATE_VERSION),
  site: name,
  device: name,
  camera: name,
  /** `waiting`: it comes to the device, and nobody publishes now. */
  state: z.enum(['opening', 'up', 'waiting', 'down', 'ended']),
  /** What is wrong, in a sentence; null unless it is down. */
  why: z.string().max(WHY_CHARACTERS_MAX).nullable(),
  /** Nothing is detected, published or shown. */
  paused: z.boolean(),
  /** What was set: a score, 0 to 1, or what suits the model. */
  threshold: z.union([z.number().min(0).max(1), z.literal('auto')]),
  /** What holds: what scores less is no face. */
  scoreMin: z.number().min(0).max(1),
  /** Crops a second at most. */
  rate: z.union([z.number().positive(), z.literal('unlimited')]),
  /** Crops made since the agent started. */
  crops: z.number().int().nonnegative(),
  /** The newest of them; null before the first. */
  lastCrop: z
    .object({ id: z.string().regex(ID_PATTERN), capturedAtMs: z.number().int().nonnegative() })
    .nullable(),
  /** What viewers see. Absent from earlier versions, as what follows. */
  effect: z.enum(EFFECTS).optional(),
  /** What was set; whether it records at the moment; and why it does not although it should. */
  record: z
    .object({
      mode: z.enum(RECORD_MODES),
      recording: z.boolean(),
      why: z.string().max(WHY_CHARACTERS_MAX).nullable(),
      /** Chunks made since the agent started, and their bytes. */
      clips: z.number().int().nonnegative(),
      bytes: z.number().int().nonnegative(),
    })
    .optional(),
  /** Faces that are in the picture now: all, and by zone (those that the camera has). */
  present: z
    .object({
      faces: z.number().int().nonnegative(),
      zones: z
        .record(name, z.number().int().nonnegative())
        .refine((it) => Object.keys(it).length <= ZONES_MAX),
    })
    .optional(),
  /** What is wrong with the view although pictures come, and since when. */
  view: z
    .object({
      /** `covered`: nothing is to be seen. `turned`: it looks at another scene. `frozen`: the same picture over and over. */
      is: z.enum(['clear', 'covered', 'turned', 'frozen']),
      sinceMs: z.number().int().nonnegative(),
    })
    .optional(),
  /**
   * Where its faces are looked for: by this device, by an inference server, or nowhere at the moment; and why not where they
   * should be. Of devices that have inference servers.
   */
  detect: z
    .object({
      on: z.enum(['local', 'remote', 'none']),
      why: z.string().max(WHY_CHARACTERS_MAX).nullable(),
      sinceMs: z.number().int().nonnegative(),
    })
    .optional(),
  /** Its classifiers and plugins, and why one of them does not work. */
  process: z
    .array(
      z.object({
        name,
        state: z.enum(['up', 'down']),
        why: z.string().max(WHY_CHARACTERS_MAX).nullable(),
      }),
    )
    .max(PROCESSORS_MAX)
    .optional(),
  /** Of a camera that comes to the device. */
  stream: streamStateSchema.optional(),
})

export type CameraState = z.infer<typeof cameraStateSchema>
