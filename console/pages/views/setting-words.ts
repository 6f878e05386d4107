import { withValue as changed } from '../device-settings.ts'
import type { ScenarioDocument } from '../scenario-types.ts'

/** Settings of cameras that a scenario may change, in words and units. Pure. */

export type SettingValue = string | number | boolean | null

interface Common {
  /** In the document: below `settings`, or `detect`. */
  readonly path: readonly string[]
  readonly group: string
  readonly title: string
  readonly text: string
}
export type SettingKind =
  | { readonly is: 'choice'; readonly choices: readonly (readonly [SettingValue, string])[] }
  | { readonly is: 'switch'; readonly on: string; readonly off: string }
  | {
      readonly is: 'number'
      readonly unit: string
      readonly min: number
      readonly max: number
      /** What is shown for 1 of what is kept: 100 for shares in percent. */
      readonly scale?: number
      readonly isWhole?: boolean
      /** A word that stands for no number. */
      readonly word?: readonly [value: string, label: string]
      readonly begin: SettingValue
    }
  | { readonly is: 'duration'; readonly begin: string }
  | { readonly is: 'model' }
export type Setting = Common & { readonly kind: SettingKind }

const FACES = 'Which faces'
const PICTURES = 'Pictures of faces'
const RECORDING = 'Recording'
const CAMERA = 'The camera'

const setting = (path: string, group: string, title: string, text: string, kind: SettingKind): Setting => ({
  ...{ path: path.split('.'), group, title, text, kind },
})
const auto = ['auto', 'as suits the model'] as const
const unlimited = ['unlimited', 'unlimited'] as const

export const SETTINGS: readonly Setting[] = [
  setting('settings.scoreMin', FACES, 'How sure it has to be', 'What is less sure is no face.', {
    ...{ is: 'number', unit: '%', min: 0, max: 1, scale: 100, word: auto, begin: 0.5 },
  }),
  setting('settings.sizeMin', FACES, 'Smallest face', 'Smaller faces are passed over.', {
    ...{ is: 'number', unit: 'pixels', min: 0, max: 65_535, begin: 40 },
  }),
  setting('detect.model', FACES, 'Model', 'What looks for faces, on the whole device.', { is: 'model' }),
  setting('settings.motion.enabled', FACES, 'Only while something moves', 'Saves work in a still scene.', {
    ...{ is: 'switch', on: 'looks only while something moves', off: 'looks all the time' },
  }),
  setting('settings.motion.threshold', FACES, 'How much has to move', 'Part of the picture.', {
    ...{ is: 'number', unit: '% of the picture', min: 0.0001, max: 1, scale: 100, begin: 0.005 },
  }),
  setting('settings.motion.checkEvery', FACES, 'In a still scene, look every', 'So that nobody is missed.', {
    ...{ is: 'duration', begin: '5s' },
  }),
  setting(
    'settings.emit.first',
    PICTURES,
    'First picture at once',
    'A first good picture within half a second, the best one at the end.',
    {
      ...{ is: 'switch', on: 'a first picture at once', off: 'the best picture only' },
    },
  ),
  setting('settings.emit.mode', PICTURES, 'Which pictures of a face', 'What becomes a crop.', {
    is: 'choice',
    choices: [
      ['best', 'the best one of each face'],
      ['interval', 'one each time that a while has passed'],
      ['every', 'each face in each frame'],
    ],
  }),
  setting(
    'settings.emit.bestAfter',
    PICTURES,
    'A face that stays, after',
    'Then its best picture so far is sent.',
    {
      ...{ is: 'duration', begin: '30s' },
    },
  ),
  setting(
    'settings.emit.interval',
    PICTURES,
    'Time between pictures',
    'For one each time that a while has passed.',
    {
      ...{ is: 'duration', begin: '5s' },
    },
  ),
  setting('settings.emit.rateMax', PICTURES, 'Pictures a second, at most', 'Of one camera.', {
    ...{ is: 'number', unit: 'a second', min: 0.01, max: 1000, word: unlimited, begin: 30 },
  }),
  setting('settings.crop.margin', PICTURES, 'Around the face', 'Added on each side.', {
    ...{ is: 'number', unit: '% of the face', min: 0, max: 4, scale: 100, begin: 0.25 },
  }),
  setting('settings.crop.quality', PICTURES, 'Quality of the picture', 'Of JPEG.', {
    ...{ is: 'number', unit: 'of 100', min: 1, max: 100, isWhole: true, begin: 85 },
  }),
  setting('settings.crop.sizeMax', PICTURES, 'Longer side, at most', 'Larger pictures are scaled down.', {
    ...{ is: 'number', unit: 'pixels', min: 16, max: 8192, isWhole: true, begin: 1024 },
  }),
  setting('settings.record.mode', RECORDING, 'Record', 'The video itself.', {
    is: 'choice',
    choices: [
      ['off', 'nothing'],
      ['faces', 'while a face is seen'],
      ['always', 'all the time'],
    ],
  }),
  setting('settings.record.before', RECORDING, 'Before a face', 'Recorded as well.', {
    ...{ is: 'duration', begin: '5s' },
  }),
  setting('settings.record.after', RECORDING, 'After a face', 'Recorded as well.', {
    ...{ is: 'duration', begin: '5s' },
  }),
  setting('settings.record.audio', RECORDING, 'Sound', 'If the camera sends any.', {
    ...{ is: 'switch', on: 'with sound', off: 'without sound' },
  }),
  setting(
    'settings.record.bitrateMax',
    RECORDING,
    'Bits a second, at most',
    'Of what is encoded on the device.',
    {
      ...{ is: 'number', unit: 'kbit/s', min: 1000, max: 1e9, scale: 0.001, isWhole: true, begin: 4_000_000 },
    },
  ),
  setting('settings.paused', CAMERA, 'Paused', 'A paused camera looks at nothing.', {
    ...{ is: 'switch', on: 'paused', off: 'running' },
  }),
  setting('settings.view.effect', CAMERA, 'What viewers see', 'Crops and recordings stay as they are.', {
    is: 'choice',
    choices: [
      ['none', 'the scene as it is'],
      ['pixelate', 'without faces'],
      ['outline', 'nothing but outlines'],
    ],
  }),
  setting('settings.rateMax', CAMERA, 'Frames a second, at most', 'That are looked at.', {
    ...{ is: 'number', unit: 'a second', min: 0.01, max: 1000, word: unlimited, begin: 10 },
  }),
  setting('settings.timeout', CAMERA, 'Counts as down after', 'Without a picture for so long.', {
    ...{ is: 'duration', begin: '10s' },
  }),
  setting('settings.rotate', CAMERA, 'Turned by', 'Clockwise.', {
    is: 'choice',
    choices: [
      [0, 'not at all'],
      [90, '90 degrees'],
      [180, '180 degrees'],
      [270, '270 degrees'],
    ],
  }),
  setting('settings.mirror', CAMERA, 'Mirrored', 'As it is mounted.', {
    is: 'choice',
    choices: [
      ['none', 'not at all'],
      ['horizontal', 'left and right'],
      ['vertical', 'top and bottom'],
    ],
  }),
]

export const keyOf = ({ path }: Pick<Setting, 'path'>) => path.join('.')

type Json = unknown
const isObject = (value: Json): value is Record<string, Json> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** With another value there; undefined takes it away, and what is empty then. */
export function withValue(
  document: ScenarioDocument,
  path: readonly string[],
  value: SettingValue | undefined,
): Pick<ScenarioDocument, 'settings' | 'detect'> {
  const { settings, detect } = document
  const next = changed<Partial<ScenarioDocument>>({ settings, detect }, path, value)
  return { settings: next.settings ?? {}, detect: next.detect }
}

/** Every setting below, as a path: `settings.emit.mode`. Lists and null are values. */
export function pathsIn(value: Json, before: readonly string[] = []): readonly (readonly string[])[] {
  if (!isObject(value)) return value === undefined ? [] : [before]
  return Object.entries(value).flatMap(([key, below]) => pathsIn(below, [...before, key]))
}

export function valueWords({ kind }: Pick<Setting, 'kind'>, value: unknown): string {
  switch (kind.is) {
    case 'choice':
      return kind.choices.find(([it]) => it === value)?.[1] ?? plain(value)
    case 'switch':
      return value === true ? kind.on : value === false ? kind.off : plain(value)
    case 'number':
      if (kind.word && kind.word[0] === value) return kind.word[1]
      return typeof value === 'number'
        ? `${Math.round(value * (kind.scale ?? 1) * 1000) / 1000} ${kind.unit}`
        : plain(value)
    case 'duration':
    case 'model':
      return plain(value)
  }
}

export const plain = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))
