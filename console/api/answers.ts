import { STATUS_CODES } from 'node:http'
import { z } from 'zod'
import { PROBLEM_TYPE, problemSchema } from './problem.ts'

/** What the document says of answers, beside those of success. */

/** Of every operation that takes somebody who is signed in. */
const ALWAYS = [400, 401, 403, 429, 500, 503]

/** For `response`: the problems of an operation, those that each has and `more`. */
export function problems(...more: readonly number[]): object {
  return Object.fromEntries(
    [...ALWAYS, ...more].map((status) => [
      status,
      { description: STATUS_CODES[status] ?? '', content: { [PROBLEM_TYPE]: { schema: problemSchema } } },
    ]),
  )
}

export const unchanged = z.undefined().meta({ description: 'Not changed (If-None-Match).' })
export const done = z.undefined().meta({ description: 'Done.' })

/** Bytes, or text as it is, of that media type. */
export const content = (mediaType: string, description: string, format = 'binary') => ({
  description,
  content: { [mediaType]: { schema: z.unknown().meta({ type: 'string', format }) } },
})
