import { z } from 'zod'
import { failure } from '../../lib/errors.ts'
import { ATTRIBUTES_MAX, attributeSchema } from '../../wire/attributes.ts'
import {
  PLUGIN_DATA_BYTES_MAX,
  PLUGIN_EVENTS_MAX,
  type PluginSaid,
  pluginSaidSchema,
} from '../../wire/event.ts'
import { FRAME_ATTRIBUTES_MAX } from '../limits.ts'

/**
 * What a plugin answers, held against the contract. It is done twice: in the plugin's thread, so that what is far too much
 * never leaves it, and by the agent, which believes no thread that runs code of somebody else's. Pure.
 */

const attribute = attributeSchema.omit({ by: true })
export type PluginAttribute = z.infer<typeof attribute>

export interface FrameSaid {
  readonly events: readonly (PluginSaid & { readonly face?: number })[]
  readonly attributes: readonly (PluginAttribute & { readonly face: number })[]
}

const NOTHING: FrameSaid = { events: [], attributes: [] }
const face = z.number().int().nonnegative()
const eventsSchema = z.array(pluginSaidSchema.extend({ face: face.optional() }))
const frameAttributesSchema = z.array(attribute.extend({ face }))
const attributesSchema = z.array(attribute)

/** Errors: PROCESSOR_FAILED. */
export function readAttributes(said: unknown): PluginAttribute[] {
  if (said === undefined || said === null) return []
  return read(attributesSchema, list(said, 'attributes', ATTRIBUTES_MAX), 'attributes')
}

/** @param faces how many there were in the frame. Errors: PROCESSOR_FAILED. */
export function readFrameSaid(said: unknown, faces: number): FrameSaid {
  if (said === undefined || said === null) return NOTHING
  if (typeof said !== 'object') throw wrong(`frame() gave ${kindOf(said)}, not { events, attributes }`)
  const { events, attributes } = said as { readonly events?: unknown; readonly attributes?: unknown }
  const answer: FrameSaid = {
    events:
      events === undefined ? [] : read(eventsSchema, list(events, 'events', PLUGIN_EVENTS_MAX), 'events'),
    attributes:
      attributes === undefined
        ? []
        : read(frameAttributesSchema, list(attributes, 'attributes', FRAME_ATTRIBUTES_MAX), 'attributes'),
  }
  for (const { face } of [...answer.events, ...answer.attributes])
    if (face !== undefined && face >= faces)
      throw wrong(
        `it speaks of face ${face}, but the frame has ${faces === 0 ? 'none' : `0 to ${faces - 1}`}`,
      )
  for (const { data } of answer.events) {
    const bytes = data === undefined ? 0 : Buffer.byteLength(JSON.stringify(data))
    if (bytes > PLUGIN_DATA_BYTES_MAX)
      throw wrong(`an event's data are ${bytes} bytes of JSON; at most ${PLUGIN_DATA_BYTES_MAX} are taken`)
  }
  return answer
}

/** Errors: PROCESSOR_FAILED. */
export function readPicture(said: unknown, width: number, height: number): Uint8Array {
  if (!(said instanceof Uint8Array)) throw wrong(`picture() gave ${kindOf(said)}, not a Uint8Array`)
  if (said.length !== width * height * 3)
    throw wrong(
      `picture() gave ${said.length} bytes, but an RGB picture of ${width}x${height} has ${width * height * 3}`,
    )
  return said
}

function list(said: unknown, what: string, max: number): unknown[] {
  if (!Array.isArray(said)) throw wrong(`${what} are ${kindOf(said)}, not a list`)
  if (said.length > max) throw wrong(`it gave ${said.length} ${what} at once; at most ${max} are taken`)
  return said
}

function read<T>(schema: z.ZodType<T>, said: unknown, what: string): T {
  const { data, error } = schema.safeParse(said)
  if (data !== undefined) return data
  const [issue] = error?.issues ?? []
  const where = issue?.path.map((it) => (typeof it === 'number' ? `[${it}]` : `.${String(it)}`)).join('')
  throw wrong(`its ${what}${where ?? ''} cannot be taken: ${issue?.message ?? 'wrong'}`)
}

const wrong = (sentence: string) => failure('PROCESSOR_FAILED', `Wrong answer: ${sentence}.`)

const kindOf = (value: unknown) =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : value === undefined
        ? 'nothing'
        : `a ${typeof value}`
