import type { IconName } from '../parts/icons.tsx'
import type { Rule, ScenarioDocument } from '../scenario-types.ts'
import { duration, share } from '../words.ts'

/** Rules in words: what they look at, what has to be so, and who hears of it. Pure. */

export type Conditions = Rule['conditions']
export type Condition = keyof Conditions
export type Camera = NonNullable<Conditions['states']>[number]

export interface RuleKind {
  readonly on: Rule['on']
  readonly title: string
  readonly text: string
  readonly icon: IconName
  /** Which conditions it knows. */
  readonly knows: readonly Condition[]
  /** It is about something that lasts, so that it may have to be so for a while. */
  readonly lasts: boolean
  /** As it begins. */
  readonly begin: Partial<Rule>
}

export const RULE_KINDS: readonly RuleKind[] = [
  {
    on: 'face',
    title: 'A face is stored',
    text: 'With its picture, once it is safe in the bucket. One notice for each face.',
    icon: 'faces',
    knows: ['zones', 'masked', 'scoreMin', 'qualityMin', 'sizeMin', 'attributes'],
    lasts: false,
    begin: {},
  },
  {
    on: 'track',
    title: 'Faces at once',
    text: 'As soon as a camera is sure of a face, without waiting for a picture.',
    icon: 'overview',
    knows: ['trackEvents', 'zones', 'scoreMin', 'sizeMin'],
    lasts: true,
    begin: { conditions: { trackEvents: ['new'] } },
  },
  {
    on: 'zone',
    title: 'Comes into a zone',
    text: 'Somebody comes into a zone, leaves it, or stays in it.',
    icon: 'zone',
    knows: ['zoneEvents', 'zones', 'scoreMin', 'sizeMin'],
    lasts: true,
    begin: { conditions: { zoneEvents: ['enter'] } },
  },
  {
    on: 'presence',
    title: 'How many are there',
    text: 'More, or fewer, faces are in the picture or in a zone now.',
    icon: 'people',
    knows: ['moreThan', 'fewerThan', 'zones'],
    lasts: true,
    begin: { conditions: { moreThan: 5 }, per: 'camera', holdMs: 5000, cooldownMs: 600_000 },
  },
  {
    on: 'count',
    title: 'How many came',
    text: 'More different faces than a number came within a time.',
    icon: 'charts',
    knows: ['moreThan', 'windowMs', 'zones', 'masked', 'scoreMin', 'qualityMin', 'sizeMin', 'attributes'],
    lasts: true,
    begin: { conditions: { moreThan: 20, windowMs: 600_000 }, per: 'camera', cooldownMs: 600_000 },
  },
  {
    on: 'camera',
    title: 'Camera health',
    text: 'A camera gives no picture, is covered, turned away or frozen, or what looks for faces does not work.',
    icon: 'cameras',
    knows: ['states'],
    lasts: true,
    begin: { conditions: { states: ['down', 'offline'] }, per: 'camera', holdMs: 60_000, level: 'problem' },
  },
  {
    on: 'device',
    title: 'Device gone',
    text: 'A device has lost its connection.',
    icon: 'streams',
    knows: ['states'],
    lasts: true,
    begin: { conditions: { states: ['offline'] }, per: 'camera', holdMs: 60_000, level: 'problem' },
  },
  {
    on: 'keeper',
    title: 'Program unwell',
    text: 'An agent, a broker, a subscriber or the console says that something is wrong, or nothing at all.',
    icon: 'health',
    knows: ['states', 'programs'],
    lasts: true,
    begin: {
      conditions: { states: ['unwell', 'silent'] },
      per: 'scenario',
      holdMs: 60_000,
      level: 'problem',
    },
  },
  {
    on: 'arrival',
    title: 'Each object',
    text: 'Every face or piece of recording that arrives in the bucket, for other systems.',
    icon: 'flow',
    knows: ['kinds'],
    lasts: false,
    begin: { conditions: { kinds: ['crop'] } },
  },
]
export const kindOf = (on: Rule['on']): RuleKind =>
  RULE_KINDS.find((kind) => kind.on === on) ?? (RULE_KINDS[0] as RuleKind)

/** States that can be asked for, and what people call them. */
export const STATES = {
  camera: {
    down: 'gives no picture',
    offline: 'its device is not connected',
    paused: 'is paused',
    waiting: 'nobody publishes',
    ended: 'has ended',
    covered: 'is covered',
    turned: 'is turned away',
    frozen: 'is frozen',
    'not recording': 'does not record',
    'not looking': 'finds no faces: nobody looks for them',
    'without servers': 'has no inference server, so that its device looks itself',
    'processor down': 'has a classifier or plugin that does not work',
  },
  device: { offline: 'is not connected' },
  keeper: { unwell: 'says that something is wrong', silent: 'says nothing any more' },
} as const satisfies Readonly<Record<string, Partial<Record<Camera, string>>>>

export const PROGRAMS = {
  device: 'Agents',
  broker: 'Brokers',
  subscriber: 'Subscribers',
  console: 'The console',
} as const
export const KINDS = { crop: 'Faces', clip: 'Pieces of recordings' } as const
export const ZONE_EVENTS = {
  enter: 'comes in',
  leave: 'leaves',
  stay: 'stays longer than the zone’s time',
} as const
export const TRACK_EVENTS = { new: 'appears', update: 'goes on', end: 'has gone' } as const
export const LEVELS = { info: 'Note', warning: 'Warning', problem: 'Problem' } as const
export const PER = {
  track: 'one for each face',
  camera: 'one for each camera',
  scenario: 'one for the whole scenario',
} as const

const list = (words: readonly string[], last = 'or') =>
  words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`

/** What it waits for, in a sentence. */
export function ruleWords({ on, conditions, expression, holdMs }: Rule): string {
  const c = conditions
  const inZones = c.zones?.length ? ` in ${list(c.zones)}` : ''
  const what = ((): string => {
    switch (on) {
      case 'face': {
        const mask = c.masked === undefined ? '' : c.masked ? ' with a mask' : ' without a mask'
        return `A face${mask}${inZones} is stored`
      }
      case 'track':
        return `A face${inZones} ${list((c.trackEvents ?? ['new']).map((it) => TRACK_EVENTS[it]))}`
      case 'zone':
        return `A face ${list((c.zoneEvents ?? ['enter']).map((it) => (it === 'stay' ? 'stays' : ZONE_EVENTS[it])))}${c.zones?.length ? `: ${list(c.zones)}` : ', any zone'}`
      case 'presence':
        return `${amount(c)} faces are${inZones || ' in the picture'}`
      case 'count':
        return `${amount(c)} different faces came${inZones} within ${duration(c.windowMs ?? 0)}`
      case 'camera':
        return `A camera ${list((c.states ?? []).map((it) => stateWords('camera', it)))}`
      case 'device':
        return `A device ${list((c.states ?? ['offline']).map((it) => stateWords('device', it)))}`
      case 'keeper': {
        const who = c.programs?.length ? list(c.programs.map((it) => PROGRAMS[it])) : 'A program'
        return `${who} ${list((c.states ?? []).map((it) => stateWords('keeper', it)))}`
      }
      case 'arrival':
        return `${list(
          (c.kinds ?? ['crop', 'clip']).map((it) => KINDS[it]),
          'and',
        )} arrive, each one`
    }
  })()
  const limits = [
    c.scoreMin !== undefined && `sure to at least ${share(c.scoreMin)}`,
    c.qualityMin !== undefined && `quality at least ${share(c.qualityMin)}`,
    c.sizeMin !== undefined && `at least ${c.sizeMin} pixels`,
    ...(c.attributes ?? []).map(
      ({ name, labels, scoreMin }) =>
        `${name}: ${list(labels)}${scoreMin === undefined ? '' : ` (sure to at least ${share(scoreMin)})`}`,
    ),
    expression !== undefined && 'and its expression holds',
    holdMs > 0 && `for ${duration(holdMs)}`,
  ].filter((it) => it !== false)
  return `${what}${limits.length > 0 ? `, ${limits.join(', ')}` : ''}.`
}

const amount = ({ moreThan, fewerThan }: Conditions) =>
  moreThan !== undefined && fewerThan !== undefined
    ? `More than ${moreThan} and fewer than ${fewerThan}`
    : moreThan !== undefined
      ? `More than ${moreThan}`
      : fewerThan !== undefined
        ? `Fewer than ${fewerThan}`
        : 'Any number of'

const stateWords = (of: keyof typeof STATES, state: Camera): string =>
  (STATES[of] as Partial<Record<Camera, string>>)[state] ?? state

/** A picture for a scenario that is provided: of what its first rule looks at. */
export function iconOf({ rules }: ScenarioDocument): IconName {
  const [rule] = rules
  if (!rule) return 'zone'
  return rule.conditions.masked === undefined ? kindOf(rule.on).icon : 'mask'
}
