import type {
  CameraSettingsFromAfar,
  DesiredContent,
  DesiredModel,
  DesiredProcessor,
} from '../../wire/desired.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Zone } from '../../wire/zones.ts'
import type { PublishedScenario } from '../context.ts'
import type { DeviceDocument, Scenario } from './document.ts'
import { pathOf } from './selection.ts'

/**
 * What devices are, and the scenarios that hold, to what each device shall be. Where two scenarios say different things, the one
 * whose id comes first is heard, and the other is named (conflicts.ts). Pure.
 */

/** A scenario, and which cameras it is about. */
export type Covering = Pick<PublishedScenario, 'id' | 'scenario' | 'covers'>

export interface Compiled {
  readonly content: DesiredContent
  /** Ids of the scenarios in it. */
  readonly scenarios: readonly string[]
}

export interface DevicePlace {
  readonly site: string
  readonly device: string
}

/** Settings of one camera or of a device's detector that a scenario asks for, one by one. */
export interface Setting {
  readonly path: readonly string[]
  readonly value: unknown
}

/**
 * @param document what the device is beside scenarios; undefined: nothing is said of it
 * @param cameras that it has, and those that it is to have
 * @param active scenarios that hold
 */
export function compileDevice(
  place: DevicePlace,
  document: DeviceDocument | undefined,
  cameras: readonly string[],
  active: readonly Covering[],
): Compiled {
  const content = structuredClone(document?.content ?? {}) as DesiredContent & Record<string, unknown>
  const names = camerasToSet(document, cameras)
  const heard = new Set<string>()
  const claimed = new Set<string>()
  const zones = new Map<string, Map<string, Zone>>()
  /** By camera: which processors look at its faces. */
  const looks = new Map<string, Set<string>>()
  const processors = new Map<string, DesiredProcessor>()
  const models = new Map<string, DesiredModel>()
  for (const { id, scenario, covers } of byId(active)) {
    const covered = names.filter((camera) => covers({ ...place, camera }))
    if (covered.length === 0) continue
    for (const camera of covered) {
      const wanted = looksOf(scenario)
      if (wanted.length > 0) looks.set(camera, new Set([...(looks.get(camera) ?? []), ...wanted]))
      for (const setting of settingsOf(scenario))
        claim(['cameras', camera, ...setting.path], setting.value, id)
      for (const zone of zonesOf(scenario, { ...place, camera })) {
        const known = zones.get(camera) ?? new Map<string, Zone>()
        if (!known.has(zone.name)) known.set(zone.name, zone)
        zones.set(camera, known)
        heard.add(id)
      }
    }
    for (const { path, value } of detectOf(scenario)) claim(['detect', ...path], value, id)
    bring(processors, scenario.process, id)
    bring(models, scenario.models, id)
  }
  for (const [camera, wanted] of looks) {
    const said = content.cameras?.[camera]?.process
    if (said) setAt(content, ['cameras', camera, 'process'], [...new Set([...said, ...wanted])])
  }
  if (processors.size > 0) content.process = laidOver(content.process, processors)
  if (models.size > 0) content.models = laidOver(content.models, models)
  for (const [camera, added] of zones) {
    const own = content.cameras?.[camera]?.zones ?? []
    const all = [...own.filter(({ name }) => !added.has(name)), ...added.values()]
    setAt(content, ['cameras', camera, 'zones'], all)
  }
  return { content, scenarios: [...heard] }

  function bring<It extends { readonly name: string }>(
    all: Map<string, It>,
    brought: readonly It[] | undefined,
    id: string,
  ): void {
    for (const it of brought ?? []) {
      heard.add(id)
      if (!all.has(it.name)) all.set(it.name, it)
    }
  }

  function claim(path: readonly string[], value: unknown, id: string): void {
    const key = path.join('/')
    if (claimed.has(key)) return
    claimed.add(key)
    heard.add(id)
    setAt(content, path, value)
  }
}

/** By name: one of the same name takes its place. */
const laidOver = <It extends { readonly name: string }>(
  own: readonly It[] | undefined,
  added: ReadonlyMap<string, It>,
): It[] => [...(own ?? []).filter(({ name }) => !added.has(name)), ...added.values()]

/** Those of a device that settings can be for: a device refuses those of cameras that it does not have. */
function camerasToSet(document: DeviceDocument | undefined, cameras: readonly string[]): readonly string[] {
  const { content } = document ?? {}
  const added = Object.entries(content?.cameras ?? {}).flatMap(([name, { source }]) => (source ? [name] : []))
  const names = new Set([...cameras, ...added, ...Object.keys(content?.streams ?? {})])
  for (const name of content?.removed ?? []) names.delete(name)
  return [...names].sort()
}

export const byId = <It extends { readonly id: string }>(list: readonly It[]): It[] =>
  [...list].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))

/** Of each of its cameras, without zones. */
export const settingsOf = ({ settings }: Scenario): Setting[] =>
  leavesOf(settings satisfies CameraSettingsFromAfar)

/** Which processors a scenario wants to look at the faces of its cameras: where it does not say, those that it brings. */
export const looksOf = ({ settings, process = [] }: Scenario): readonly string[] =>
  settings.process ?? process.map(({ name }) => name)

export const detectOf = ({ detect = {} }: Scenario): Setting[] => leavesOf(detect)

export function zonesOf({ zones }: Scenario, camera: CameraAddress): Zone[] {
  const path = pathOf(camera)
  return zones
    .filter((zone) => zone.camera === undefined || zone.camera === path)
    .map(({ camera: _of, ...zone }) => zone)
}

/** A list, and a rectangle, are one setting. */
function leavesOf(value: object, path: readonly string[] = []): Setting[] {
  return Object.entries(value).flatMap(([name, item]: [string, unknown]) => {
    if (item === undefined) return []
    const at = [...path, name]
    const isSection = typeof item === 'object' && item !== null && !Array.isArray(item) && name !== 'region'
    return isSection ? leavesOf(item, at) : [{ path: at, value: item }]
  })
}

function setAt(content: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = content
  for (const name of path.slice(0, -1)) {
    const below = Object.hasOwn(at, name) ? at[name] : undefined
    if (typeof below === 'object' && below !== null) at = below as Record<string, unknown>
    else {
      const made: Record<string, unknown> = {}
      Object.defineProperty(at, name, { value: made, enumerable: true, writable: true, configurable: true })
      at = made
    }
  }
  Object.defineProperty(at, path.at(-1) as string, {
    value: structuredClone(value),
    enumerable: true,
    writable: true,
    configurable: true,
  })
}
