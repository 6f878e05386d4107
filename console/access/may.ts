import type { CameraAddress } from '../../wire/topics.ts'
import { EXTRA_RIGHTS_OF, type ExtraRight, type PersonRole, type User } from '../../wire/users.ts'

/**
 * Who may what: the one place that API, pages, event stream and picture addresses ask. A role says what may be done, a
 * scope (sites, cameras) whose things are seen at all, and three rights are given on their own. Pure.
 */

/** Somebody who has shown who he is: by a session, or by a token. */
export interface Person {
  readonly name: string
  readonly role: PersonRole
  readonly scope: Scope
  readonly rights: ReadonlySet<ExtraRight>
  /** What a token is limited to; undefined: everything that its user may. */
  readonly only?: ReadonlySet<Right>
}

/** What is seen: everything, or what these sites and these cameras (`site/device/camera`) have. */
export type Scope =
  | { readonly all: true }
  | { readonly all: false; readonly sites: ReadonlySet<string>; readonly cameras: ReadonlySet<string> }

export const EVERYTHING: Scope = { all: true }

/** By right: the roles that have it. Those of `EXTRA_RIGHTS` need to be given as well. */
const ROLES_OF = {
  /** Detections, their pictures, cameras and their last picture, counts. */
  see: ['viewer', 'analyst', 'operator', 'admin'],
  /** A live picture; a video that was kept; detections as a file. */
  live: ['viewer', 'analyst', 'operator', 'admin'],
  recordings: ['viewer', 'analyst', 'operator', 'admin'],
  export: ['viewer', 'analyst', 'operator', 'admin'],
  /** Marks of one's own. */
  review: ['viewer', 'analyst', 'operator', 'admin'],
  /** Links for people without an account. */
  share: ['analyst', 'operator', 'admin'],
  /** Cameras that come to a device, and their keys: one's own; all for who may command. */
  streams: ['analyst', 'operator', 'admin'],
  /** What was noticed of what he sees. */
  notices: ['viewer', 'analyst', 'operator', 'admin'],
  /** Scenarios with their rules, channels, and what devices shall be. */
  scenarios: ['operator', 'admin'],
  /** Commands to cameras. */
  command: ['operator', 'admin'],
  /** Deletes a detection everywhere. */
  forget: ['operator', 'admin'],
  /** Programs, their books, and the events of their health. */
  flow: ['operator', 'admin'],
  /** Users, everybody's tokens and shares, and the audit log. */
  people: ['admin'],
} as const satisfies Record<string, readonly PersonRole[]>

export type Right = keyof typeof ROLES_OF
export const RIGHTS = Object.keys(ROLES_OF) as readonly Right[]

const isExtra = (right: Right): right is Right & ExtraRight =>
  right === 'live' || right === 'recordings' || right === 'export'

/** @param camera whose thing it is; absent: the right as such, somewhere */
export function may(person: Person, right: Right, camera?: CameraAddress): boolean {
  if (person.only && !person.only.has(right)) return false
  if (!(ROLES_OF[right] as readonly PersonRole[]).includes(person.role)) return false
  if (isExtra(right) && !person.rights.has(right)) return false
  // Programs and people belong to no site.
  if ((right === 'flow' || right === 'people') && !person.scope.all) return false
  return camera === undefined || isInScope(person.scope, camera)
}

export function isInScope(scope: Scope, { site, device, camera }: CameraAddress): boolean {
  return scope.all || scope.sites.has(site) || scope.cameras.has(`${site}/${device}/${camera}`)
}

/** Whether anything of a device is seen. */
export function seesDevice(scope: Scope, { site, device }: Omit<CameraAddress, 'camera'>): boolean {
  return (
    scope.all || scope.sites.has(site) || [...scope.cameras].some((it) => it.startsWith(`${site}/${device}/`))
  )
}

/** @returns undefined for users who are no people */
export function personOf({ name, role, sites, cameras, rights }: User): Person | undefined {
  if (role !== 'viewer' && role !== 'analyst' && role !== 'operator' && role !== 'admin') return undefined
  const scope: Scope =
    sites === undefined && cameras === undefined
      ? EVERYTHING
      : { all: false, sites: new Set(sites), cameras: new Set(cameras) }
  return { name, role, scope, rights: new Set(rights ?? EXTRA_RIGHTS_OF[role]) }
}
