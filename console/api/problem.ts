import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyInstance } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { asFailure, type ErrorCode, SightlineError } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'

/** What is answered instead of what was asked for: problem details (RFC 9457). */

export const PROBLEM_TYPE = 'application/problem+json'
/** Of one request; a body of 64 KB could be wrong in thousands of places. */
const ERRORS_MAX = 20
/** When to try again what cannot be answered now. */
const RETRY_AFTER_S = 5

export const problemSchema = z
  .object({
    type: z.string().meta({ description: 'Always about:blank: "code" tells them apart.' }),
    title: z.string().meta({ description: 'What the status means.' }),
    status: z.number().int(),
    code: z
      .string()
      .meta({ description: 'Stays the same over versions; for programs.', examples: ['NOT_FOUND'] }),
    detail: z.string().meta({ description: 'A sentence for people.' }),
    errors: z
      .array(
        z.object({
          parameter: z.string().meta({ description: 'Of the path, the query or the body.' }),
          detail: z.string(),
        }),
      )
      .optional()
      .meta({ description: 'Which parameters are wrong, and what they must be.' }),
  })
  .meta({ id: 'Problem', description: 'Problem details, RFC 9457.' })

export type Problem = z.infer<typeof problemSchema>

/** By code; any other is a 500. */
const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  PARAMETER_INVALID: 400,
  NAME_INVALID: 400,
  NOT_SIGNED_IN: 401,
  PASSWORD_WRONG: 403,
  NOT_ALLOWED: 403,
  CROSS_SITE: 403,
  NOT_FOUND: 404,
  USER_UNKNOWN: 404,
  CAMERA_OFFLINE: 409,
  NAME_TAKEN: 409,
  REVISION_CHANGED: 409,
  ADDRESS_NOT_ALLOWED: 400,
  SCENARIO_INVALID: 409,
  PAYLOAD_TOO_LARGE: 413,
  FOLDER_UNWRITABLE: 409,
  CONFIG_SYNTAX: 409,
  CONFIG_INVALID: 409,
  USERS_NOT_FOUND: 409,
  USER_EXISTS: 409,
  LAST_ADMIN: 409,
  TOO_MANY: 429,
  FORGET_FAILED: 502,
  KEEP_FAILED: 502,
  RECORDING_CHANGES: 409,
  RECORDING_TOO_LONG: 409,
  RECORDING_UNREADABLE: 409,
  CERTIFICATE_NOT_FOUND: 409,
  CERTIFICATE_UNUSABLE: 409,
  OPENID_REFUSED: 502,
  OPENID_UNREACHABLE: 503,
  TOO_MANY_VIEWERS: 503,
  BROKER_UNREACHABLE: 503,
  NOT_CONFIRMED: 504,
}
/** What these say names folders and hosts of the console: it goes to the log, and not to who asks. */
const INSIDE = /^(DATABASE|BUCKET|STORE|DISK)_|^BROKER_(REFUSED|PROTOCOL)$/
const NOT_NOW = 'The console cannot answer now. Try again in a moment; its log says why.'

/** Errors of Fastify's, by status. */
const FRAMEWORK_CODES: Readonly<Record<number, string>> = {
  400: 'BODY_INVALID',
  404: 'NOT_FOUND',
  413: 'BODY_TOO_LARGE',
  415: 'MEDIA_TYPE_UNKNOWN',
}

/** From here on each error of the app's routes, and each address that leads nowhere, is answered with a problem. */
export function answerProblems(app: FastifyInstance, log: Log): void {
  let unforeseen: unknown
  const complain = throttled((count) =>
    log.error({ count, error: describe(unforeseen) }, 'could not answer a request to the API'),
  )
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const problem = problemOf(error)
    const { status } = problem
    if (status >= 500) {
      unforeseen = error
      complain()
    }
    if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', RETRY_AFTER_S)
    if (status === 401 && !reply.hasHeader('www-authenticate')) reply.header('www-authenticate', 'Bearer')
    reply.removeHeader('etag') // of what was to be answered
    return reply
      .code(status)
      .header('cache-control', 'no-store')
      .type(PROBLEM_TYPE)
      .send(Buffer.from(JSON.stringify(problem)))
  })
  app.setNotFoundHandler(() => {
    throw new SightlineError('NOT_FOUND', 'There is nothing at this address.')
  })
}

/** Pure. */
export function problemOf(error: FastifyError | Error): Problem {
  if (hasZodFastifySchemaValidationErrors(error)) {
    const errors = error.validation.flatMap(({ instancePath, message, params }) => {
      const path = instancePath.split('/').filter(Boolean)
      const { keys } = params as { keys?: readonly string[] }
      const detail = message ?? 'is not valid'
      return keys
        ? keys.map((key) => ({ parameter: [...path, key].join('.'), detail: 'is not known here' }))
        : [{ parameter: path.join('.') || 'the body', detail: clean(detail) }]
    })
    const [first] = errors
    return problem(
      400,
      'PARAMETER_INVALID',
      `"${short(first?.parameter)}" ${first?.detail ?? 'is not valid'}.`,
      errors.slice(0, ERRORS_MAX).map((it) => ({ ...it, parameter: short(it.parameter) })),
    )
  }
  if (error instanceof SightlineError) {
    const { code, message } = error
    if (INSIDE.test(code)) return problem(503, code, NOT_NOW)
    const status = STATUS_OF[code]
    if (status !== undefined) return problem(status, code, message)
  } else if ('statusCode' in error && error.statusCode !== undefined && error.statusCode < 500) {
    const code = FRAMEWORK_CODES[error.statusCode]
    return problem(error.statusCode, code ?? 'BODY_INVALID', short(error.message))
  }
  return problem(500, 'UNEXPECTED', 'Unexpected error. The log of the console says more.')
}

function problem(status: number, code: string, detail: string, errors?: Problem['errors']): Problem {
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, code, detail, errors }
}

/** Names of parameters come from who asks. */
const NAME_CHARACTERS_MAX = 100
const short = (text = '') =>
  text.length > NAME_CHARACTERS_MAX ? `${text.slice(0, NAME_CHARACTERS_MAX)}...` : text
/** zod's own sentences, beside ours. */
const clean = (text: string) => text.charAt(0).toLowerCase() + text.slice(1)

function describe(error: unknown): string {
  const { code, message } = asFailure(error)
  const cause = error instanceof Error && error.cause !== undefined ? ` (${String(error.cause)})` : ''
  return `${code}: ${message}${cause}`
}
