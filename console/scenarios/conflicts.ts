import type { CameraAddress } from '../../wire/topics.ts'
import { type Covering, detectOf, type Setting, settingsOf, zonesOf } from './compile.ts'
import { isSame } from './diff.ts'
import type { Scenario } from './document.ts'
import { firstOverlap } from './schedule.ts'
import { pathOf } from './selection.ts'

/** Where two scenarios say different things of the same camera or device. Pure. */

export interface Conflict {
  /** Their names. */
  readonly between: readonly [string, string]
  readonly ids: readonly [string, string]
  /** `site/device/camera`, or `site/device`. */
  readonly of: string
  /** Such as `record.mode`, `detect.model`, `zones.counter`, `look.mask`, `model.gate`. */
  readonly path: string
  readonly values: readonly [unknown, unknown]
  /** When both first hold at once; undefined: always from now on. */
  readonly atMs: number | undefined
  /** In which that time is said. */
  readonly timeZone: string
}

export const CONFLICTS_MAX = 50

/** Of one scenario with each of the others, as far as both can hold at once. @returns the first CONFLICTS_MAX */
export function conflictsOf(
  one: Covering,
  others: readonly Covering[],
  cameras: readonly CameraAddress[],
  nowMs: number,
): Conflict[] {
  const covered = cameras.filter((camera) => one.covers(camera))
  const found: Conflict[] = []
  const mine = ofCameras(one.scenario)
  const detect = detectOf(one.scenario)
  const looks = broughtBy('look', one.scenario.process)
  const models = broughtBy('model', one.scenario.models)
  for (const other of others) {
    if (other.id === one.id) continue
    const both = covered.filter((camera) => other.covers(camera))
    if (both.length === 0) continue
    const settings = differing(mine, ofCameras(other.scenario))
    const detectors = [
      ...differing(detect, detectOf(other.scenario)).map(
        ([path, values]) => [`detect.${path}`, values] as const,
      ),
      ...differing(looks, broughtBy('look', other.scenario.process)),
      ...differing(models, broughtBy('model', other.scenario.models)),
    ]
    const clashes: Pick<Conflict, 'of' | 'path' | 'values'>[] = []
    for (const { site, device } of both) {
      const of = `${site}/${device}`
      if (clashes.some((it) => it.of === of)) continue
      for (const [path, values] of detectors) clashes.push({ of, path, values })
    }
    for (const camera of both) {
      const of = pathOf(camera)
      for (const [path, values] of settings) clashes.push({ of, path, values })
      const theirs = new Map(zonesOf(other.scenario, camera).map((zone) => [zone.name, zone]))
      for (const zone of zonesOf(one.scenario, camera)) {
        const their = theirs.get(zone.name)
        if (their && !isSame(zone, their))
          clashes.push({ of, path: `zones.${zone.name}`, values: [zone, their] })
      }
      if (found.length + clashes.length >= CONFLICTS_MAX) break
    }
    if (clashes.length === 0) continue
    const atMs = firstOverlap(one.scenario.schedule, other.scenario.schedule, nowMs)
    if (atMs === undefined) continue
    const isAlways = !one.scenario.schedule && !other.scenario.schedule
    for (const clash of clashes)
      found.push({
        between: [one.scenario.name, other.scenario.name],
        ids: [one.id, other.id],
        ...clash,
        atMs: isAlways ? undefined : atMs,
        timeZone: (one.scenario.schedule ?? other.scenario.schedule)?.timeZone ?? 'UTC',
      })
    if (found.length >= CONFLICTS_MAX) break
  }
  return found.slice(0, CONFLICTS_MAX)
}

/** Those that look at a camera's faces are all that any scenario wants. */
const ofCameras = (scenario: Scenario): Setting[] =>
  settingsOf(scenario).filter(({ path }) => path[0] !== 'process')

/** What is said of a model for people makes it no other one. */
const broughtBy = (
  what: 'look' | 'model',
  list: readonly { readonly name: string; readonly about?: string }[] = [],
): Setting[] => list.map(({ name, about, ...value }) => ({ path: [what, name], value }))

/** For people: `"Night" and "Shop" both set record.mode of home/laptop/door: always, off`. */
export function sentenceOf({ between, of, path, values, atMs, timeZone, ids }: Conflict): string {
  const [a, b] = between
  const told = path.startsWith('zones.')
    ? `draw the zone "${path.slice(6)}" of ${of} differently`
    : path.startsWith('look.')
      ? `have a second look "${path.slice(5)}" on ${of}: ${values.map((it) => shown(it)).join(', ')}`
      : path.startsWith('model.')
        ? `bring a model "${path.slice(6)}" to ${of}, and not the same one`
        : `set ${path} of ${of}: ${values.map((it) => shown(it)).join(', ')}`
  const when = atMs === undefined ? '' : ` Their hours meet, next on ${timeWords(atMs, timeZone)}.`
  const [first = ''] = [...ids].sort()
  return `"${a}" and "${b}" both ${told}.${when} "${first === ids[0] ? a : b}" is heard.`
}

/** `28 November 2026 at 22:00 (Europe/Zurich)` */
function timeWords(atMs: number, timeZone: string): string {
  const at = new Intl.DateTimeFormat('en-GB', { timeZone, dateStyle: 'long', timeStyle: 'short' })
  return `${at.format(atMs)} (${timeZone})`
}

function differing(mine: readonly Setting[], theirs: readonly Setting[]): [string, [unknown, unknown]][] {
  const known = new Map(theirs.map(({ path, value }) => [path.join('.'), value]))
  return mine.flatMap(({ path, value }): [string, [unknown, unknown]][] => {
    const name = path.join('.')
    if (!known.has(name) || isSame(value, known.get(name))) return []
    return [[name, [value, known.get(name)]]]
  })
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
