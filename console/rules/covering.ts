import type { CameraAddress } from '../../wire/topics.ts'
import type { PublishedScenario } from '../context.ts'
import { pathOf } from './looked.ts'
import type { Compiled } from './memory.ts'
import type { FactKind } from './rule.ts'

/** Rules that look at a kind of fact, of a camera. */
type Looking = 'face' | 'event' | 'camera' | 'clip'

const KINDS_OF: Readonly<Record<Looking, ReadonlySet<FactKind>>> = {
  // Events have no picture: the first crop of the same face brings it.
  face: new Set(['face', 'count', 'arrival', 'track', 'zone']),
  event: new Set(['track', 'zone']),
  camera: new Set(['camera', 'presence']),
  clip: new Set(['arrival']),
}
/** Cameras whose rules are known without a look. */
const INDEXED_MAX = 20_000

/** Which rules look at what a camera says. */
export class Covering {
  #compiled: readonly Compiled[] = []
  #index: Record<Looking, Map<string, readonly Compiled[]>> = emptyIndex()

  set(compiled: readonly Compiled[]): void {
    this.#compiled = compiled
    this.#index = emptyIndex()
  }

  rulesOf(looking: Looking, camera: CameraAddress): readonly Compiled[] {
    const index = this.#index[looking]
    const path = pathOf(camera)
    const known = index.get(path)
    if (known) return known
    if (index.size >= INDEXED_MAX) index.clear()
    const covered = new Map<PublishedScenario, boolean>()
    const rules = this.#compiled.filter(({ rule, published }) => {
      if (!KINDS_OF[looking].has(rule.on)) return false
      let covers = covered.get(published)
      if (covers === undefined) {
        const { site, device, camera: name } = camera
        covers = published.covers({ site, device, camera: name })
        covered.set(published, covers)
      }
      return covers
    })
    index.set(path, rules)
    return rules
  }
}

export const looksAtEvents = ({ rule }: Compiled) => KINDS_OF.event.has(rule.on)

/** @param cameras those that there are: a scenario may have a device by one of its cameras alone */
export function coversDevice(
  { scenario, covers }: PublishedScenario,
  site: string,
  device: string,
  cameras: () => readonly CameraAddress[],
): boolean {
  const { all, sites, devices, labels } = scenario.cameras
  if (!labels?.length && (all || sites?.includes(site) || devices?.includes(`${site}/${device}`))) return true
  return cameras().some((camera) => camera.site === site && camera.device === device && covers(camera))
}

const emptyIndex = (): Record<Looking, Map<string, readonly Compiled[]>> => ({
  face: new Map(),
  event: new Map(),
  camera: new Map(),
  clip: new Map(),
})
