import type { z } from 'zod'
import { packageVersion } from '../../lib/version.ts'
import {
  DESIRED_BYTES_MAX,
  type Desired,
  type DesiredContent,
  desiredContentSchema,
  desiredSchema,
  digestOf,
} from '../../wire/desired.ts'
import { Refused, said } from './refused.ts'
import type { DesiredSigners } from './signers.ts'

/** What came as a device's configuration: whole, its own, as it was written, and by whom. */

export interface ReadOptions {
  readonly site: string
  readonly device: string
}

export interface CheckOptions {
  /** Absent: it need not be signed. */
  readonly signers?: DesiredSigners
  /** When a signer's certificate has to be valid; undefined: it was looked at when it came. */
  readonly atMs?: number
}

/** What it says of itself. Errors: DESIRED_INVALID, NOT_ALLOWED (another device's). */
export function readDesired(payload: Buffer, { site, device }: ReadOptions): Desired {
  if (payload.length > DESIRED_BYTES_MAX)
    throw new Refused(
      'DESIRED_INVALID',
      `The configuration has ${payload.length} bytes; the limit is ${DESIRED_BYTES_MAX}.`,
    )
  const read = desiredSchema.safeParse(parse(payload))
  if (!read.success) {
    const [issue] = read.error.issues
    throw new Refused(
      'DESIRED_INVALID',
      `This is no configuration of a device that version ${packageVersion()} reads: ${issue ? sentenceOf(issue) : 'it is none'}.`,
    )
  }
  const desired = read.data
  if (desired.site !== site || desired.device !== device)
    throw new Refused(
      'NOT_ALLOWED',
      `This configuration is for ${desired.site}/${desired.device}, not for ${site}/${device}.`,
    )
  return desired
}

/** Whether it is as it was written, and by whom. Errors: DESIRED_INVALID, DESIRED_UNSIGNED. */
export function checkDesired(desired: Desired, { signers, atMs }: CheckOptions): void {
  if (digestOf(desired.content) !== desired.digest)
    throw new Refused('DESIRED_INVALID', 'The configuration was changed on its way: its digest is another.')
  signers?.check(desired, atMs)
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload))
  } catch (error) {
    throw new Refused('DESIRED_INVALID', 'The configuration is no JSON.', [], error)
  }
}

/** Its settings, each known. Errors: SETTING_UNKNOWN, CONFIG_INVALID, with the path. */
export function readContent(content: unknown): DesiredContent {
  const read = desiredContentSchema.safeParse(content)
  if (read.success) return read.data
  throw refusalOf(read.error, [])
}

/** The first of what is wrong. @param at where that is in the configuration */
export function refusalOf(error: z.ZodError, at: readonly (string | number)[]): Refused {
  const issues = error.issues.map(innermost)
  const unknown = issues.find(({ code }) => code === 'unrecognized_keys')
  const issue = unknown ?? (issues[0] as z.core.$ZodIssue)
  const path = [...at, ...issue.path.map((it) => (typeof it === 'number' ? it : String(it)))]
  if (issue.code === 'unrecognized_keys') {
    const whole = [...path, issue.keys[0] ?? '']
    return new Refused(
      'SETTING_UNKNOWN',
      `Version ${packageVersion()} does not know "${said(whole)}". Update the device, or leave it out.`,
      whole.map(short),
    )
  }
  return new Refused('CONFIG_INVALID', `"${said(path)}" ${sentenceOf(issue)}.`, path.map(short))
}

/** Of a setting that may be one of several things, what is wrong with the likeliest: the one that is best understood. */
function innermost(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue
  const [likeliest] = issue.errors
    .flatMap((issues) => issues.slice(0, 1))
    .sort(
      (a, b) =>
        b.path.length - a.path.length ||
        Number(b.code === 'unrecognized_keys') - Number(a.code === 'unrecognized_keys'),
    )
  if (!likeliest || issue.message.startsWith('must ')) return issue
  return innermost({ ...likeliest, path: [...issue.path, ...likeliest.path] })
}

const sentenceOf = ({ message }: z.core.$ZodIssue) =>
  message.startsWith('must ')
    ? message
    : `is not as it should be (${message.replace(/^Invalid input: /, '')})`

const short = (part: string | number) => (typeof part === 'number' ? part : part.slice(0, 200))
