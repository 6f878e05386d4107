import type { Looked } from './looked.ts'
import type { FactKind, Rule } from './rule.ts'

/**
 * What a notice says where its rule has no words of its own: the name that a person has given the rule, and where; below it what
 * has happened. Pure.
 */

const TITLE_CHARACTERS_MAX = 200

export interface Told {
  /** `site/device/camera`, `site/device`, or what the program calls itself. */
  readonly place: string | undefined
  readonly states: readonly string[]
  readonly zones: readonly string[]
  /** Of a zone event. */
  readonly zone: string | undefined
  readonly event: string | undefined
  readonly count: number | undefined
  readonly masked: boolean | undefined
  readonly attributes: Looked['attributes']
  readonly kind: 'crop' | 'clip' | undefined
  readonly ended: boolean
}

export interface Words {
  readonly title: string
  readonly text: string
}

export function wordsOf(rule: Rule, told: Told): Words {
  const what = sentenceOf(rule.on, told, rule)
  const text = `${what}.`.replace(/([.!?])\.$/, '$1')
  // The rule's name says what began.
  if (told.ended) return { title: what.slice(0, TITLE_CHARACTERS_MAX), text }
  const name = told.place?.split('/').at(-1)
  return { title: (name ? `${rule.name}: ${name}` : rule.name).slice(0, TITLE_CHARACTERS_MAX), text }
}

function sentenceOf(on: FactKind, told: Told, { conditions }: Rule): string {
  const { place, zone, zones, event, count = 0, states } = told
  const at = place === undefined ? '' : ` at ${place}`
  const where = `${zone === undefined ? '' : ` in ${zone}`}${at}`
  switch (on) {
    case 'face': {
      const named = conditions.zones?.filter((it) => zones.includes(it)) ?? []
      return `Face${mask(told, conditions.masked)}${said(told, conditions.attributes)}${named.length > 0 ? ` in ${named.join(', ')}` : ''}${at}`
    }
    case 'track':
      return event === 'end' ? `A face has gone${at}` : `Face${at}`
    case 'zone':
      if (event === 'leave') return `Somebody has left ${zone ?? 'a zone'}${at}`
      return event === 'stay' ? `Somebody stays${where}` : `Somebody is${where}`
    case 'presence': {
      const inZones = conditions.zones ? ` in ${conditions.zones.join(', ')}` : ''
      return `${people(count)}${inZones}${at}`
    }
    case 'count':
      return `${people(count)} within ${duration(conditions.windowMs ?? 0)}${at}`
    case 'camera':
    case 'device':
    case 'keeper': {
      const subject = place ?? 'Something'
      if (told.ended) return `${subject} is well again`
      const wanted = conditions.states as readonly string[] | undefined
      const named = wanted ? states.filter((state) => wanted.includes(state)) : states
      return `${subject} is ${named.map((state) => SPOKEN[state] ?? state).join(', ') || 'as the rule says'}`
    }
    case 'arrival':
      return `${told.kind === 'clip' ? 'Recording' : 'Picture'} of ${place ?? 'a camera'} has arrived`
  }
}

/** States that do not read well behind "is". */
const SPOKEN: Readonly<Record<string, string>> = {
  'not looking': 'not looking for faces',
  'without servers': 'without its inference servers',
  'processor down': 'without one of its processors',
}

function mask({ masked }: Told, asked: boolean | undefined): string {
  if (asked === undefined || masked === undefined) return ''
  return masked ? ' with a mask' : ' without a mask'
}

/** Of what a rule asks for: what is said of this face. */
function said({ attributes }: Told, asked: Rule['conditions']['attributes'] = []): string {
  const named = asked.flatMap(({ name, labels }) =>
    attributes.filter((one) => one.name === name && labels.includes(one.label)).slice(0, 1),
  )
  return named.length === 0 ? '' : ` (${named.map(({ name, label }) => `${name}: ${label}`).join(', ')})`
}

const people = (count: number) => (count === 1 ? '1 person' : `${count} people`)

export function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}
