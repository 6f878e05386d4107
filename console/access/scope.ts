import { EVERYTHING, isInScope, type Person, type Right, type Scope } from './may.ts'

/** What a token may narrow. Absent: as its user's. */
export interface Narrowing {
  readonly sites?: readonly string[]
  /** `site/device/camera` */
  readonly cameras?: readonly string[]
}

/** What is in both. Pure. */
export function narrowed(scope: Scope, { sites, cameras }: Narrowing): Scope {
  if (sites === undefined && cameras === undefined) return scope
  const wanted = { sites: new Set(sites), cameras: new Set(cameras) }
  if (scope.all) return { all: false, ...wanted }
  const narrow: Scope = { all: false, ...wanted }
  return {
    all: false,
    sites: new Set([...wanted.sites].filter((site) => scope.sites.has(site))),
    cameras: new Set([
      ...[...wanted.cameras].filter((path) => isInScope(scope, cameraOf(path))),
      ...[...scope.cameras].filter((path) => isInScope(narrow, cameraOf(path))),
    ]),
  }
}

/** Whether somebody with this scope has all of that. */
export function covers(scope: Scope, { sites = [], cameras = [] }: Narrowing): boolean {
  if (scope.all) return true
  return (
    sites.every((site) => scope.sites.has(site)) && cameras.every((path) => isInScope(scope, cameraOf(path)))
  )
}

function cameraOf(path: string): { site: string; device: string; camera: string } {
  const [site = '', device = '', camera = ''] = path.split('/')
  return { site, device, camera }
}

/** A person with a token: never more than he has himself at that moment. */
export function limited(person: Person, rights: readonly Right[], narrowing: Narrowing): Person {
  return { ...person, scope: narrowed(person.scope, narrowing), only: new Set(rights) }
}

/** The same for what persons may alike, whatever the order in which it was given. */
export function fingerprint({ name, role, scope, rights, only }: Person): string {
  const sorted = (set: ReadonlySet<string> | undefined) => set && [...set].sort()
  const seen = scope.all ? EVERYTHING : [sorted(scope.sites), sorted(scope.cameras)]
  return JSON.stringify([name, role, seen, sorted(rights), sorted(only)])
}
