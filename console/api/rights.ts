import { z } from 'zod'
import { isName, NAME_RULE } from '../../wire/names.ts'
import { isCameraPath } from '../../wire/users.ts'
import { RIGHTS } from '../access/may.ts'

/** What users, tokens and shares have in common. */

const SCOPE_MAX = 1000

export const rightSchema = z.enum(RIGHTS).meta({ id: 'Right', description: 'What may be done.' })

const siteSchema = z.string().refine(isName, `must be a site: ${NAME_RULE}`)
const cameraSchema = z.string().refine(isCameraPath, 'must be a camera, as site/device/camera')
export const sitesSchema = z.array(siteSchema).max(SCOPE_MAX)
export const camerasSchema = z.array(cameraSchema).max(SCOPE_MAX)

/** In answers. */
export const scopeAnswerShape = {
  sites: z
    .array(z.string())
    .nullable()
    .meta({ description: 'Only what these sites have, and the cameras; null: everything.' }),
  cameras: z.array(z.string()).nullable().meta({
    description: 'Only what these cameras have (site/device/camera), and the sites; null: everything.',
  }),
}

/** How something that a person made is called. */
export const titleSchema = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .regex(/^\P{C}*$/u, 'must be printable characters')

/** Whose are asked for, by those who may manage people. */
export const whoseParameter = z
  .enum(['mine', 'all'], 'must be mine or all')
  .default('mine')
  .meta({ description: "Yours, or everybody's, which takes the right people." })
