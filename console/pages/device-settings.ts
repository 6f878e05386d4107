import { number, share } from './words.ts'

/** Settings of a camera that may be changed from afar, in people's words: the one place that tables and forms ask. Pure. */

export type Kind =
  /** 0 to 1, or `auto`. */
  | { readonly is: 'share'; readonly auto?: boolean }
  | {
      readonly is: 'number'
      readonly min: number
      readonly max: number
      readonly step?: number
      readonly unit?: string
    }
  /** As in configuration files: `5s`. */
  | { readonly is: 'duration' }
  /** A second; or `unlimited`. */
  | { readonly is: 'rate' }
  | { readonly is: 'choice'; readonly options: readonly (readonly [value: string | number, words: string])[] }
  | { readonly is: 'switch' }
  | { readonly is: 'text' }
  /** Drawn on the picture. */
  | { readonly is: 'zones' | 'masks' | 'region' }
  /** Names of second looks. */
  | { readonly is: 'looks' }

export interface Setting {
  /** Within a camera's settings. */
  readonly path: readonly string[]
  readonly title: string
  readonly hint?: string
  readonly kind: Kind
}

export interface SettingGroup {
  readonly title: string
  readonly settings: readonly Setting[]
}

const MODES = [
  ['every', 'every face in every frame'],
  ['best', 'the best picture of each face'],
  ['interval', 'one picture each interval'],
] as const

export const CAMERA_SETTINGS: readonly SettingGroup[] = [
  {
    title: 'Faces',
    settings: [
      {
        path: ['scoreMin'],
        title: 'A face counts from',
        hint: 'What scores less is no face. Automatic: what suits the model.',
        kind: { is: 'share', auto: true },
      },
      {
        path: ['sizeMin'],
        title: 'Smallest face',
        hint: 'The shorter side of its box.',
        kind: { is: 'number', min: 0, max: 65_535, unit: 'pixels' },
      },
      { path: ['process'], title: 'Second looks', kind: { is: 'looks' } },
      { path: ['emit', 'mode'], title: 'Sends', kind: { is: 'choice', options: MODES } },
      {
        path: ['emit', 'first'],
        title: 'First picture at once',
        hint: 'A good one within half a second, and the best one when the face has left.',
        kind: { is: 'switch' },
      },
      {
        path: ['emit', 'bestAfter'],
        title: 'Best picture after at most',
        hint: 'A face that stays is sent after this time.',
        kind: { is: 'duration' },
      },
      { path: ['emit', 'interval'], title: 'Interval', kind: { is: 'duration' } },
      { path: ['emit', 'rateMax'], title: 'Crops a second, at most', kind: { is: 'rate' } },
      {
        path: ['rateMax'],
        title: 'Frames a second that are looked at, at most',
        kind: { is: 'rate' },
      },
    ],
  },
  {
    title: 'Picture',
    settings: [
      { path: ['zones'], title: 'Zones', kind: { is: 'zones' } },
      {
        path: ['masks'],
        title: 'Masks',
        hint: 'Blacked out before anything is looked for or kept.',
        kind: { is: 'masks' },
      },
      {
        path: ['region'],
        title: 'Looked at',
        hint: 'A part of the picture; the rest is passed over.',
        kind: { is: 'region' },
      },
      {
        path: ['rotate'],
        title: 'Turned by',
        kind: {
          is: 'choice',
          options: [
            [0, 'not turned'],
            [90, '90°'],
            [180, '180°'],
            [270, '270°'],
          ],
        },
      },
      {
        path: ['mirror'],
        title: 'Mirrored',
        kind: {
          is: 'choice',
          options: [
            ['none', 'no'],
            ['horizontal', 'left and right'],
            ['vertical', 'top and bottom'],
          ],
        },
      },
      {
        path: ['view', 'effect'],
        title: 'Faces in live pictures and recordings',
        kind: {
          is: 'choice',
          options: [
            ['none', 'as they are'],
            ['pixelate', 'pixelated'],
            ['outline', 'outlined'],
          ],
        },
      },
    ],
  },
  {
    title: 'Recording',
    settings: [
      {
        path: ['record', 'mode'],
        title: 'Records',
        kind: {
          is: 'choice',
          options: [
            ['off', 'nothing'],
            ['always', 'always'],
            ['faces', 'while there are faces'],
          ],
        },
      },
      { path: ['record', 'before'], title: 'From before a face', kind: { is: 'duration' } },
      { path: ['record', 'after'], title: 'To after a face', kind: { is: 'duration' } },
      { path: ['record', 'audio'], title: 'With sound', kind: { is: 'switch' } },
    ],
  },
  {
    title: 'Motion',
    settings: [
      {
        path: ['motion', 'enabled'],
        title: 'Looks only where something moves',
        kind: { is: 'switch' },
      },
      {
        path: ['motion', 'threshold'],
        title: 'Moves from',
        hint: 'The part of the picture that has to change.',
        kind: { is: 'number', min: 0.0001, max: 1, step: 0.0001 },
      },
      { path: ['motion', 'checkEvery'], title: 'Looks all the same every', kind: { is: 'duration' } },
    ],
  },
  {
    title: 'Crops',
    settings: [
      {
        path: ['crop', 'margin'],
        title: 'Margin around a face',
        hint: 'For each side, as a part of the face.',
        kind: { is: 'number', min: 0, max: 4, step: 0.05 },
      },
      { path: ['crop', 'quality'], title: 'JPEG quality', kind: { is: 'number', min: 1, max: 100 } },
      {
        path: ['crop', 'sizeMax'],
        title: 'Largest side',
        kind: { is: 'number', min: 16, max: 8192, unit: 'pixels' },
      },
    ],
  },
  {
    title: 'Connection',
    settings: [
      { path: ['paused'], title: 'Paused', kind: { is: 'switch' } },
      {
        path: ['timeout'],
        title: 'Down when there is no picture for',
        kind: { is: 'duration' },
      },
    ],
  },
]

export const ALL_SETTINGS: readonly Setting[] = CAMERA_SETTINGS.flatMap(({ settings }) => settings)

export function valueAt(of: unknown, path: readonly string[]): unknown {
  let value = of
  for (const name of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}

/** With that value there; undefined takes it away, and what is empty then. */
export function withValue<Of extends object>(of: Of, path: readonly string[], value: unknown): Of {
  const [name, ...rest] = path
  if (name === undefined) return of
  const next = { ...of } as Record<string, unknown>
  const inner = next[name]
  const changed =
    rest.length === 0
      ? value
      : withValue(typeof inner === 'object' && inner !== null ? inner : {}, rest, value)
  const isEmpty = rest.length > 0 && Object.keys(changed as object).length === 0
  if (changed === undefined || isEmpty) delete next[name]
  else next[name] = changed
  return next as Of
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/** A duration of a configuration file, ms; undefined where it is none. */
export function durationMs(text: string): number | undefined {
  const [, value, unit] = DURATION.exec(text.trim()) ?? []
  return value === undefined || unit === undefined ? undefined : Number(value) * (UNITS[unit] ?? 1)
}

/** Whether two say the same: `5s` and 5000 do, and `unlimited` and what JSON makes of infinity. */
export function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(plain(a)) === JSON.stringify(plain(b))
}

function plain(value: unknown): unknown {
  if (typeof value === 'string') return durationMs(value) ?? value
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, it]) => it !== undefined)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, it]) => [name, plain(it)]),
    )
  return value
}

export function valueWords({ kind }: Setting, value: unknown): string {
  if (value === undefined) return '–'
  switch (kind.is) {
    case 'share':
      return typeof value === 'number' ? share(value) : 'Automatic'
    case 'number':
      return typeof value === 'number' ? `${number(value)}${kind.unit ? ` ${kind.unit}` : ''}` : String(value)
    case 'rate':
      return typeof value === 'number' ? number(value) : 'Unlimited'
    case 'switch':
      return value ? 'Yes' : 'No'
    case 'choice':
      return capital(kind.options.find(([option]) => option === value)?.[1] ?? String(value))
    case 'zones':
      return listWords(value, (zone) => String(valueAt(zone, ['name'])))
    case 'looks':
      return listWords(value, String)
    case 'masks':
      return Array.isArray(value) && value.length > 0 ? `${value.length}` : 'None'
    case 'region':
      return value === null ? 'All of it' : regionWords(value)
    case 'duration':
      return typeof value === 'number' ? durationText(value) : String(value)
    default:
      return String(value)
  }
}

function listWords(value: unknown, of: (item: unknown) => string): string {
  return Array.isArray(value) && value.length > 0 ? value.map(of).join(', ') : 'None'
}

const regionWords = (value: unknown) =>
  `${share(Number(valueAt(value, ['width'])))} × ${share(Number(valueAt(value, ['height'])))} of it`

/** As it would be written: `5s`. */
export function durationText(ms: number): string {
  for (const unit of ['h', 'm', 's'] as const) {
    const size = UNITS[unit] ?? 1
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** A path of the desired configuration as people read it: `cameras.door.record.mode` is "door: Records". */
export function pathWords(path: readonly (string | number)[]): string {
  const [first, second, ...rest] = path.map(String)
  if (first === 'cameras' && second !== undefined) {
    const setting = ALL_SETTINGS.find(
      ({ path: known }) => known.every((name, index) => rest[index] === name) && known.length <= rest.length,
    )
    if (setting) return `${second}: ${setting.title.toLowerCase()}`
    return rest.length === 0 ? second : `${second}: ${rest.join('.')}`
  }
  if (first === 'detect') {
    const title = ALL_SETTINGS.find((it) => it.path.join('.') === second)?.title.toLowerCase()
    return second === undefined ? 'the detector' : `the detector: ${title ?? second}`
  }
  if (first === 'process')
    return second === undefined ? 'the second looks' : `second look ${numbered(second)}`
  if (first === 'models')
    return second === undefined ? 'the models by address' : `model by address ${numbered(second)}`
  return path.join('.')
}

/** Of a list, as people count; by its name where it has one. */
const numbered = (text: string) => (/^\d+$/.test(text) ? String(Number(text) + 1) : text)
