import { failure } from '../../lib/errors.ts'
import { isInScope, may, type Person, type Scope } from '../access/may.ts'
import type { Problem, World } from './check.ts'
import type { Scenario, Selection } from './document.ts'

/** What an operator who does not see everything may do with scenarios: those whose cameras are all his. Pure. */

export function isWithin({ all, sites = [], devices = [], cameras = [] }: Selection, scope: Scope): boolean {
  if (scope.all) return true
  // Labels alone may be given to any camera.
  if (all || sites.length + devices.length + cameras.length === 0) return false
  return (
    sites.every((site) => scope.sites.has(site)) &&
    devices.every((device) => scope.sites.has(siteOf(device))) &&
    cameras.every((camera) => scope.sites.has(siteOf(camera)) || scope.cameras.has(camera))
  )
}

/** Errors: NOT_ALLOWED */
export function demandWithin(document: Scenario, scope: Scope): void {
  if (scope.all) return
  const { cameras, zones, rules, detect } = document
  if (!isWithin(cameras, scope))
    throw failure(
      'NOT_ALLOWED',
      'You may make scenarios for your own sites and cameras: name those. All cameras, or a label alone, would be others too.',
    )
  if (zones.some(({ camera }) => camera !== undefined && !isWithin({ cameras: [camera] }, scope)))
    throw failure('NOT_ALLOWED', 'A zone is on a camera that is not yours.')
  if (detect !== undefined && cameras.cameras?.some((camera) => !scope.sites.has(siteOf(camera))))
    throw failure(
      'NOT_ALLOWED',
      'What a device detects with is of all its cameras, and not all of them are yours.',
    )
  if (rules.some(({ on }) => on === 'keeper'))
    throw failure(
      'NOT_ALLOWED',
      'Programs belong to no site: a rule on them needs an account that sees everything.',
    )
}

/** A notice of a recording has its address, signed: whoever lets such go out needs the right to see recordings himself. */
export function recordingProblems({ rules }: Scenario, person: Person): Problem[] {
  if (may(person, 'recordings')) return []
  return rules.flatMap(({ on, conditions: { kinds } }, n): Problem[] =>
    on === 'arrival' && (kinds === undefined || kinds.includes('clip'))
      ? [
          {
            kind: 'error',
            path: `rules.${n}.${kinds ? 'conditions.kinds' : 'on'}`,
            message: `Notices of recordings carry addresses that open them: this needs the right "recordings", which ${person.name} does not have.${kinds ? '' : ' Name the kinds: crop alone needs none.'}`,
          },
        ]
      : [],
  )
}

/** Errors: NOT_ALLOWED */
export function demandRecordings(document: Scenario, person: Person): void {
  const [problem] = recordingProblems(document, person)
  if (problem) throw failure('NOT_ALLOWED', `${problem.path}: ${problem.message}`)
}

/** What of it he may see. */
export function worldWithin(world: World, scope: Scope): World {
  if (scope.all) return world
  const cameras = world.cameras.filter((camera) => isInScope(scope, camera))
  const devices = new Set(cameras.map((it) => `${it.site}/${it.device}`))
  return {
    ...world,
    cameras,
    devices: world.devices.filter((it) => scope.sites.has(it.site) || devices.has(`${it.site}/${it.device}`)),
    labels: new Set(cameras.flatMap((camera) => world.labelsOf(camera))),
    published: world.published.map((it) =>
      isWithin(it.scenario.cameras, scope)
        ? it
        : { ...it, scenario: { ...it.scenario, name: 'another scenario' } },
    ),
  }
}

const siteOf = (path: string) => path.split('/')[0] ?? ''
