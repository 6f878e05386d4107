import { z } from 'zod'
import { cameraSettingsSchema, desiredContentSchema } from '../../wire/desired.ts'
import { NAME_PATTERN, NAME_RULE } from '../../wire/names.ts'
import { isCameraPath } from '../../wire/users.ts'
import { zoneSchema } from '../../wire/zones.ts'
import { ruleSchema } from '../rules/rule.ts'
import { scheduleSchema } from './schedule.ts'

/** What operators write: scenarios, and what a device is beside them. Each has revisions (documents.ts). */

const name = z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`)
const cameraPath = z.string().refine(isCameraPath, 'must be a camera, as site/device/camera')
const devicePath = z.string().refine((text) => isCameraPath(`${text}/x`), 'must be a device, as site/device')
/** No pattern in the API's document: few readers of JSON Schema know properties of characters. */
export const labelSchema = z
  .string()
  .max(40)
  .refine(
    (text) => /^[\p{L}\p{N}][\p{L}\p{N} _-]*$/u.test(text),
    'must be up to 40 letters, digits, spaces, dashes',
  )

/** Cameras: all that any of these lists names; with labels, only those of them that have one of the labels. */
export const selectionSchema = z
  .strictObject({
    all: z.boolean().optional(),
    sites: z.array(name).max(200).optional(),
    devices: z.array(devicePath).max(500).optional(),
    cameras: z.array(cameraPath).max(1000).optional(),
    labels: z.array(labelSchema).max(50).optional(),
  })
  .refine(
    (it) => it.all || [it.sites, it.devices, it.cameras, it.labels].some((list) => list && list.length > 0),
    {
      error: 'must name at least one site, device, camera or label, or all: true',
    },
  )
export type Selection = z.infer<typeof selectionSchema>

export const scenarioSchema = z.strictObject({
  name: z.string().min(1).max(200),
  description: z.string().max(2000).default(''),
  cameras: selectionSchema,
  /** Absent: always. */
  schedule: scheduleSchema.optional(),
  /** Of each of its cameras while it holds. */
  settings: cameraSettingsSchema.omit({ zones: true }).default({}),
  /** Of the devices of its cameras. */
  detect: desiredContentSchema.shape.detect,
  /** Second looks that its devices have while it holds, beside their own; `settings.process` says which of them its cameras have. */
  process: desiredContentSchema.shape.process,
  /** Models by address that `detect` and `process` may name. */
  models: desiredContentSchema.shape.models,
  /** Drawn on a camera's picture; without `camera`, on each. */
  zones: z
    .array(z.strictObject({ camera: cameraPath.optional(), ...zoneSchema.shape }))
    .max(1000)
    .default([]),
  rules: z.array(ruleSchema).max(50).default([]),
})
export type Scenario = z.output<typeof scenarioSchema>

/** `draft`: does nothing yet. `paused`: for now. */
export const SCENARIO_STATES = ['draft', 'published', 'paused'] as const
export type ScenarioState = (typeof SCENARIO_STATES)[number]

/** What a device is whatever scenarios say: its desired configuration is this, and the scenarios that hold, over it. */
export const deviceDocumentSchema = z.strictObject({
  /** For selections; not sent to the device. */
  labels: z.array(labelSchema).max(50).default([]),
  cameraLabels: z.record(name, z.array(labelSchema).max(50)).default({}),
  content: desiredContentSchema.default({}),
})
export type DeviceDocument = z.output<typeof deviceDocumentSchema>
