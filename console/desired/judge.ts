import type { DesiredContent, Reported } from '../../wire/desired.ts'
import { type Difference, isSame } from '../scenarios/diff.ts'

/** What a device was told, and what it says of it. Pure. */

/** The last that a device was told. */
export interface Told {
  readonly site: string
  readonly device: string
  readonly version: number
  readonly digest: string
  readonly content: DesiredContent
  readonly atMs: number
  readonly by: string
  /** Ids of the scenarios in it. */
  readonly scenarios: readonly string[]
}

/**
 * `pending`: it has not said anything of this one. `applying`: it tries it. `differs`: it says of a version that it was never
 * told, or that holds something else.
 */
export const DESIRED_STATES = ['none', 'pending', 'applying', 'applied', 'refused', 'differs'] as const
export type DesiredState = (typeof DESIRED_STATES)[number]

export interface Judgement {
  readonly state: DesiredState
  /** For people; undefined where there is nothing to say. */
  readonly why: string | undefined
}

/** @param told undefined: nothing yet */
export function judge(told: Told | undefined, reported: Reported | undefined): Judgement {
  const applied = reported?.applied ?? undefined
  if (!told)
    return applied
      ? { state: 'differs', why: `It says that version ${applied.version} holds, and it was told none.` }
      : { state: 'none', why: undefined }
  if (!reported) return { state: 'pending', why: undefined }
  const { version } = told
  const isOf = reported.version ?? applied?.version ?? 0
  const highest = Math.max(isOf, applied?.version ?? 0)
  if (highest > version)
    return { state: 'differs', why: `It says something of version ${highest}, and it was told ${version}.` }
  if (applied?.version === version && applied.digest !== told.digest)
    return { state: 'differs', why: `It says that version ${version} holds with another content.` }
  if (isOf < version || reported.state === 'none') return { state: 'pending', why: undefined }
  if (reported.state === 'refused')
    return { state: 'refused', why: reported.refused?.message ?? 'It gives no reason.' }
  if (reported.state === 'applying') return { state: 'applying', why: undefined }
  return applied?.version === version
    ? { state: 'applied', why: undefined }
    : { state: 'differs', why: `It says that version ${version} is applied, and that another one holds.` }
}

/** Whether it was refused since a camera gave no picture: what may be otherwise at another time. */
export const isUnopened = ({ state, opened = {} }: Reported): boolean =>
  state === 'refused' && Object.values(opened).some(({ error }) => error !== undefined)

/** Settings of which nothing is ever answered, or which say where rather than what. */
const UNANSWERED = new Set(['password', 'username'])

/** Where what holds is not what was asked for, setting by setting: `cameras.door.record.mode`. */
export function undone(content: DesiredContent, reported: Reported): Difference[] {
  const { effective } = reported
  const found: Difference[] = []
  const { cameras = {}, detect = {}, removed = [], process = [], models = [] } = content
  compare(detect, effective.detect, ['detect'], found)
  for (const { name, ...wanted } of process) {
    const holds = effective.process?.find((it) => it.name === name)
    if (!holds) found.push({ path: `process.${name}`, before: 'a second look' })
    else if (holds.kind === 'plugin')
      found.push({ path: `process.${name}`, before: wanted.model, after: 'a plugin' })
    else {
      compare(wanted, holds, ['process', name], found)
      if (wanted.scoreMin !== undefined && holds.scoreMin === undefined)
        found.push({ path: `process.${name}.scoreMin`, before: wanted.scoreMin })
    }
  }
  for (const { name } of models)
    if (reported.models && !reported.models.includes(name))
      found.push({ path: `models.${name}`, before: 'a model' })
  for (const [name, { source, ...settings }] of Object.entries(cameras)) {
    const holds = Object.hasOwn(effective.cameras, name) ? effective.cameras[name] : undefined
    if (!holds) found.push({ path: `cameras.${name}`, before: 'a camera' })
    else {
      compare(settings, holds, ['cameras', name], found)
      if (source !== undefined && plainAddress(source) !== plainAddress(holds.source))
        found.push({ path: `cameras.${name}.source`, before: plainAddress(source), after: holds.source })
    }
  }
  for (const name of removed)
    if (Object.hasOwn(effective.cameras, name)) found.push({ path: `removed.${name}`, after: 'a camera' })
  return found
}

/** `before`: what was asked for; `after`: what holds. What the device does not tell of it has not to be right. */
function compare(wanted: object, holds: object, path: readonly string[], found: Difference[]): void {
  for (const [name, value] of Object.entries(wanted) as [string, unknown][]) {
    if (value === undefined || UNANSWERED.has(name)) continue
    const is: unknown = Object.hasOwn(holds, name) ? (holds as Record<string, unknown>)[name] : undefined
    if (is === undefined) continue
    const isSection = isObject(value) && isObject(is) && name !== 'region'
    if (isSection) compare(value, is, [...path, name], found)
    else if (!isSame(value, is) && !isSameDuration(value, is))
      found.push({ path: [...path, name].join('.'), before: value, after: is })
  }
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const MS_OF: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `1m` and `60s`. */
function isSameDuration(a: unknown, b: unknown): boolean {
  const [first, second] = [a, b].map((text) => {
    const [, count, unit = ''] =
      typeof text === 'string' ? (/^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []) : []
    return count === undefined ? undefined : Number(count) * (MS_OF[unit] ?? Number.NaN)
  })
  return first !== undefined && first === second
}

/** Without user, password and what is asked for. */
function plainAddress(address: string): string {
  return address.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1').replace(/\?.*$/s, '')
}
