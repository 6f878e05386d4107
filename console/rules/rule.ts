import { z } from 'zod'
import { KINDS } from '../../wire/kinds.ts'
import { NAME_PATTERN, NAME_RULE } from '../../wire/names.ts'
import { LEVELS } from '../../wire/notice.ts'
import { scheduleSchema } from '../scenarios/schedule.ts'

/** A rule as it is written: what it looks at, what has to be so, and who hears of it. */

const name = z.string().regex(NAME_PATTERN, `must be a name: ${NAME_RULE}`)
const share = z.number().min(0).max(1)
const ms = (max: number) => z.number().int().min(0).max(max)
const DAY_MS = 86_400_000

/** What a rule looks at. */
export const FACTS = [
  /** A crop is in the bucket. */
  'face',
  /** A face that is followed appears, goes on, ends: at once, without a picture. */
  'track',
  /** It comes into a zone, leaves it, stays. */
  'zone',
  /** How many faces are in a camera's picture or zone now. */
  'presence',
  /** How many different faces came within a time. */
  'count',
  /** A camera's health and view. */
  'camera',
  'device',
  /** A program's reports. */
  'keeper',
  /** An object of a kind is in the bucket: each one. */
  'arrival',
] as const
export type FactKind = (typeof FACTS)[number]

export const EXPRESSION_CHARACTERS_MAX = 2000

/** Conditions from a form: all of those that are given. Which of them a kind of fact knows, rules/conditions.ts says. */
export const conditionsSchema = z.strictObject({
  /** In any of these zones. */
  zones: z.array(name).max(16).optional(),
  zoneEvents: z.array(z.enum(['enter', 'leave', 'stay'])).optional(),
  trackEvents: z.array(z.enum(['new', 'update', 'end'])).optional(),
  scoreMin: share.optional(),
  qualityMin: share.optional(),
  /** Shorter side of the box, pixels. */
  sizeMin: z.number().int().min(0).max(65_535).optional(),
  masked: z.boolean().optional(),
  attributes: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(64),
        labels: z.array(z.string().min(1).max(64)).min(1).max(32),
        scoreMin: share.optional(),
      }),
    )
    .max(16)
    .optional(),
  /** presence, count: more than so many. */
  moreThan: z.number().int().min(0).max(100_000).optional(),
  fewerThan: z.number().int().min(1).max(100_000).optional(),
  /** count: within this time. */
  windowMs: ms(DAY_MS).optional(),
  /** camera, device, keeper: is one of these. */
  states: z
    .array(
      z.enum([
        'down',
        'offline',
        'paused',
        'waiting',
        'ended',
        'covered',
        'turned',
        'frozen',
        'not recording',
        'not looking',
        'without servers',
        'processor down',
        'unwell',
        'silent',
      ]),
    )
    .max(16)
    .optional(),
  /** keeper: only of these programs. */
  programs: z.array(z.enum(['device', 'broker', 'subscriber', 'console'])).optional(),
  /** arrival: of these kinds. */
  kinds: z.array(z.enum(KINDS.map((it) => it.name) as ['crop', 'clip'])).optional(),
})
export type Conditions = z.infer<typeof conditionsSchema>

export const ruleSchema = z.strictObject({
  /** Within its scenario. */
  id: name,
  name: z.string().min(1).max(200),
  enabled: z.boolean().default(true),
  on: z.enum(FACTS),
  conditions: conditionsSchema.default({}),
  /** CEL, beside the conditions: both have to hold. Variables: rules/variables.ts. */
  expression: z.string().min(1).max(EXPRESSION_CHARACTERS_MAX).optional(),
  /** It has to be so for this long, without a break. */
  holdMs: ms(DAY_MS).default(0),
  /** After a notice there is none for this long, for the same `per`. */
  cooldownMs: ms(7 * DAY_MS).default(0),
  /** One notice for each. `track`: further pictures of the same face update it. */
  per: z.enum(['track', 'camera', 'scenario']).default('track'),
  /** No notice within these hours. */
  quiet: scheduleSchema.optional(),
  level: z.enum(LEVELS).default('info'),
  /** With {placeholders} (notices/template.ts); absent: a sentence of ours. */
  title: z.string().max(200).optional(),
  text: z.string().max(2000).optional(),
  /** Channels, by their ids. */
  notify: z.array(name).max(16).default([]),
})
export type Rule = z.output<typeof ruleSchema>
