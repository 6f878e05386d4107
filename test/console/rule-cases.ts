import type { CameraSeen, PublishedScenario } from '../../console/context.ts'
import { detectionOfStored } from '../../console/database/rows.ts'
import { RuleEngine } from '../../console/rules/engine.ts'
import type { Fact } from '../../console/rules/fact.ts'
import { ruleSchema } from '../../console/rules/rule.ts'
import { scenarioSchema } from '../../console/scenarios/document.ts'
import type { CameraState } from '../../wire/camera-state.ts'
import type { FaceEvent } from '../../wire/event.ts'
import { idMinter } from '../../wire/id.ts'
import type { StoredCrop } from '../../wire/stored.ts'
import { makeStored } from '../kit/announcements.ts'

/** Facts of one camera at a time of one's own, and an engine with rules as they are written. */

export const START_MS = Date.UTC(2026, 10, 28, 12)
export const DOOR = { site: 'home', device: 'pi', camera: 'door' }

export const trackAt = (ms: number) => idMinter(() => START_MS + ms)()

export function publish(
  rules: readonly object[],
  settings: Partial<PublishedScenario> & { readonly cameras?: object } = {},
): PublishedScenario {
  const { cameras = { all: true }, ...rest } = settings
  const scenario = scenarioSchema.parse({
    name: 'Visitors',
    cameras,
    rules: rules.map((rule, n) =>
      ruleSchema.parse({ id: `r${n}`, name: `Rule ${n}`, notify: ['c'], ...rule }),
    ),
  })
  return { id: 'visitors', revision: 1, scenario, isActive: () => true, covers: () => true, ...rest }
}

export function engineOf(rules: readonly object[], settings: Parameters<typeof publish>[1] = {}) {
  const engine = new RuleEngine({ holds: () => true, cameras: () => [DOOR] })
  engine.setScenarios([publish(rules, settings)])
  return engine
}

/** @param ms since START_MS: when it was, and by default when it came */
export function face(ms: number, settings: Partial<StoredCrop> = {}): Fact {
  const capturedAtMs = START_MS + ms
  const stored = makeStored({ id: idMinter(() => capturedAtMs)(), capturedAtMs, ...DOOR, ...settings })
  return { is: 'face', detection: detectionOfStored(stored, 'subscriber') }
}

export function event(
  ms: number,
  type: FaceEvent['type'],
  track: string,
  settings: Partial<FaceEvent> & { readonly zones?: readonly string[]; readonly score?: number } = {},
): Fact {
  const { zones, score = 0.9, ...rest } = settings
  const after = {
    id: track,
    ...DOOR,
    startMs: START_MS,
    seenMs: START_MS + ms,
    endMs: null,
    box: [10, 20, 30, 40] as [number, number, number, number],
    region: null,
    frame: [640, 360] as [number, number],
    score,
    topScore: score,
    active: true,
    stationary: false,
    crop: null,
    crops: 0,
    ...(zones && { zones: [...zones] }),
  }
  return { is: 'event', event: { v: 1, type, before: after, after, ...rest } }
}

export function camera(
  settings: Partial<CameraState> & { readonly is?: CameraSeen['is']; readonly name?: string } = {},
): Fact {
  const { is = 'live', name = 'door', ...rest } = settings
  const state: CameraState = {
    v: 1,
    ...DOOR,
    camera: name,
    state: 'up',
    why: null,
    paused: false,
    threshold: 'auto',
    scoreMin: 0.5,
    rate: 'unlimited',
    crops: 0,
    lastCrop: null,
    ...rest,
  }
  return { is: 'camera', camera: { ...DOOR, camera: name, state, stateAtMs: START_MS, is } }
}

export const present = (faces: number, zones: Record<string, number> = {}, name = 'door') =>
  camera({ present: { faces, zones }, name })
export const view = (is: 'clear' | 'covered' | 'turned' | 'frozen') =>
  camera({ view: { is, sinceMs: START_MS } })
export const device = (isOnline: boolean): Fact => ({
  is: 'device',
  device: { site: 'home', device: 'pi', isOnline, changedAtMs: START_MS },
})

/** What comes of facts, each at its time: notices as `new`, `updated`, `ended`; decisions of others by their word. */
export function story(
  engine: RuleEngine,
  ...steps: readonly (readonly [ms: number, ...facts: Fact[]])[]
): string[] {
  const told: string[] = []
  for (const [ms, ...facts] of steps) {
    // As the program does: what is due comes at its time.
    for (
      let dueMs = engine.nextDueMs;
      dueMs !== undefined && dueMs <= START_MS + ms;
      dueMs = engine.nextDueMs
    )
      tell(engine.run([], dueMs), dueMs)
    tell(engine.run(facts, START_MS + ms), START_MS + ms)
  }
  function tell({ notices, decisions }: ReturnType<RuleEngine['run']>, atMs: number) {
    const at = `${(atMs - START_MS) / 1000}s`
    for (const { notice } of notices) told.push(`${at} ${notice.is}`)
    for (const { what } of decisions) if (what !== 'sent' && what !== 'updated') told.push(`${at} ${what}`)
  }
  return told
}
