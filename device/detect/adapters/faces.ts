import { z } from 'zod'
import { failure, type SightlineError } from '../../../lib/errors.ts'
import { ADAPTER_FACES_MAX } from '../../limits.ts'
import type { Detection } from '../detector.ts'
import type { Size } from '../head.ts'
import { said } from '../remote/http.ts'
import type { ApiAnswer } from './api.ts'

/** Corners of a face's box, pixels. */
export const cornersShape = { x_min: z.number(), y_min: z.number(), x_max: z.number(), y_max: z.number() }
export const shareSchema = z.number().min(0).max(1)

interface Corners {
  readonly x_min: number
  readonly y_min: number
  readonly x_max: number
  readonly y_max: number
}

/**
 * What an answer's JSON says, checked. JSON has no NaN: a number that is none is a syntax error, or null.
 * Errors: INFERENCE_WRONG
 */
export function readJson<Schema extends z.ZodType>(
  { text, type }: ApiAnswer,
  schema: Schema,
): z.output<Schema> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw wrong(`it is no JSON${type === '' ? '' : ` but ${type}`}: ${said(text)}`, error)
  }
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [issue] = error.issues
  throw wrong(`${issue?.path.join('.') || 'it'}: ${issue?.message}`, error)
}

/**
 * The faces that an API gives. Detectors' boxes may reach beyond the edge; one that lies outside, or is larger than any face
 * can be, belongs to another picture. Errors: INFERENCE_WRONG
 */
export function facesOf<Found>(
  found: readonly Found[],
  picture: Size,
  read: (face: Found) => {
    readonly box: Corners
    readonly score: number
    readonly landmarks?: Detection['landmarks']
  },
): Detection[] {
  if (found.length > ADAPTER_FACES_MAX)
    throw wrong(`it has ${found.length} faces; ${ADAPTER_FACES_MAX} are the limit`)
  return found.map((face) => {
    const { box, score, landmarks = [] } = read(face)
    const { x_min, y_min, x_max, y_max } = box
    if (
      !isOf(picture, box) ||
      landmarks.some(([x, y]) => !isNear(x, picture.width) || !isNear(y, picture.height))
    )
      throw wrong(
        `it has a face at ${x_min}, ${y_min} to ${x_max}, ${y_max} in a picture of ${picture.width}x${picture.height}`,
      )
    return { box: [x_min, y_min, x_max - x_min, y_max - y_min], score, landmarks }
  })
}

function isOf({ width, height }: Size, { x_min, y_min, x_max, y_max }: Corners): boolean {
  const isSomewhere = x_min < x_max && y_min < y_max
  const isInside = x_max > 0 && y_max > 0 && x_min < width && y_min < height
  return (
    isSomewhere &&
    isInside &&
    [x_min, x_max].every((x) => isNear(x, width)) &&
    [y_min, y_max].every((y) => isNear(y, height))
  )
}

/** A face at the edge may be seen by half. */
const isNear = (at: number, side: number) => at >= -side && at <= 2 * side

export const wrong = (what: string, cause?: unknown): SightlineError =>
  failure('INFERENCE_WRONG', `The answer is wrong: ${what.replace(/\.$/, '')}.`, cause)
