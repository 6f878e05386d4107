import type { Schedule } from '../scenario-types.ts'
import { type Hours, hoursWords, scheduleWords } from './schedule-hours.ts'
import { keyOf, plain, SETTINGS, valueWords } from './setting-words.ts'

/** What is different between two documents, line by line, in words. Pure. */

export interface Change {
  /** `Rules › Visitors › Cooldown` */
  readonly where: readonly string[]
  readonly before: string | undefined
  readonly now: string | undefined
}

type Json = unknown
type Keyed = Readonly<Record<string, Json>>
const isObject = (value: Json): value is Keyed =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const WORDS: Readonly<Record<string, string>> = {
  name: 'Name',
  description: 'Description',
  cameras: 'Where',
  all: 'Every camera',
  sites: 'Sites',
  devices: 'Devices',
  labels: 'Labels',
  settings: 'Settings',
  detect: 'Settings',
  zones: 'Zones',
  rules: 'Rules',
  schedule: 'When',
  hours: 'Hours',
  timeZone: 'Time zone',
  exceptions: 'Exceptions',
  points: 'Shape',
  sizeMin: 'Smallest face',
  sizeMax: 'Largest face',
  stayS: 'Stays after, seconds',
  enabled: 'On',
  on: 'Looks at',
  conditions: 'Conditions',
  expression: 'Expression',
  holdMs: 'Has to be so for',
  cooldownMs: 'None after a notice for',
  per: 'Notices for each',
  quiet: 'Quiet hours',
  level: 'Level',
  title: 'Title',
  text: 'Text',
  notify: 'Channels',
  moreThan: 'More than',
  fewerThan: 'Fewer than',
  windowMs: 'Within',
  states: 'States',
  zoneEvents: 'Zone events',
  masked: 'With a mask',
  camera: 'Camera',
}
const SETTING_OF = new Map(SETTINGS.map((setting) => [keyOf(setting), setting]))
const LINES_MAX = 200

export function differences(before: Json, now: Json): readonly Change[] {
  const changes: Change[] = []
  compare(before, now, [], [], changes)
  return changes.slice(0, LINES_MAX)
}

function compare(
  before: Json,
  now: Json,
  where: readonly string[],
  path: readonly string[],
  changes: Change[],
): void {
  if (isSame(before, now)) return
  const setting = SETTING_OF.get(path.join('.'))
  if (setting) {
    changes.push({
      where: ['Settings', setting.title],
      before: before === undefined ? undefined : valueWords(setting, before),
      now: now === undefined ? undefined : valueWords(setting, now),
    })
    return
  }
  const isList = isNamed(before) || isNamed(now)
  const [a, b] = [keyed(before), keyed(now)]
  const isOneSided = before === undefined || now === undefined
  // A rule or a zone that is there on one side only stands as a whole; settings, and what is above them, piece by piece.
  if ((a || b) && (!isOneSided || isList || path.length < 1 || isSettings(path))) {
    for (const key of new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])) {
      const [one, two] = [a?.[key], b?.[key]]
      const title = isList ? nameOf(two ?? one, key) : (WORDS[key] ?? key)
      compare(one, two, title === where.at(-1) ? where : [...where, title], [...path, key], changes)
    }
    return
  }
  changes.push({ where, before: valueText(before, path), now: valueText(now, path) })
}

const isSettings = ([first]: readonly string[]) => first === 'settings' || first === 'detect'

const isSame = (a: Json, b: Json): boolean => sortedText(a) === sortedText(b)
const sortedText = (value: Json): string =>
  JSON.stringify(value, (_, it: Json) =>
    isObject(it) ? Object.fromEntries(Object.entries(it).toSorted(([a], [b]) => (a < b ? -1 : 1))) : it,
  ) ?? ''

/** A list of things that have names, which are found again by them. */
const isNamed = (value: Json): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((it) => isObject(it) && (typeof it.id === 'string' || typeof it.points === 'object'))

const nameOf = (value: Json, key: string) => {
  if (!isObject(value) || typeof value.name !== 'string') return key
  return typeof value.camera === 'string' ? `${value.name} (${value.camera})` : value.name
}

/** By their keys; lists of named things by name. */
function keyed(value: Json): Keyed | undefined {
  if (isObject(value)) return value
  if (!isNamed(value)) return undefined
  return Object.fromEntries(
    (value as Keyed[]).map((it) => [typeof it.id === 'string' ? it.id : `${it.camera ?? ''} ${it.name}`, it]),
  )
}

function valueText(value: Json, path: readonly string[]): string | undefined {
  if (value === undefined) return undefined
  const key = path.at(-1) ?? ''
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'number' && key.endsWith('Ms')) return `${value / 1000} s`
  if (typeof value === 'number' && (key === 'sizeMin' || key === 'sizeMax') && path[0] === 'zones')
    return `${Math.round(value * 1000) / 10} %`
  if ((key === 'schedule' || key === 'quiet') && isObject(value)) return scheduleWords(value as Schedule)
  if (key === 'hours' && Array.isArray(value))
    return value.map((it) => hoursWords(it as Hours)).join('; ') || 'every hour'
  if (key === 'exceptions' && Array.isArray(value))
    return (value as Schedule['exceptions']).map(exceptionWords).join('; ') || 'none'
  if (key === 'points' && Array.isArray(value)) return `${value.length} corners${fingerprint(value)}`
  if (Array.isArray(value) && value.every((it) => typeof it === 'string')) return value.join(', ') || 'none'
  if (isObject(value) && typeof value.name === 'string') return value.name
  return plain(value)
}

const exceptionWords = ({ from, to, is, name }: Schedule['exceptions'][number]) =>
  `${from === to ? from : `${from} to ${to}`} ${is}${name ? ` (${name})` : ''}`

/** Where it lies, so that two shapes with as many corners read differently. */
function fingerprint(points: readonly Json[]): string {
  const [first] = points
  return Array.isArray(first)
    ? `, from ${first.map((it) => `${Math.round(Number(it) * 1000) / 10} %`).join(' / ')}`
    : ''
}
