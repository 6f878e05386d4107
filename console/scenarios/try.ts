import type { FaceEvent, FollowedFace } from '../../wire/event.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { isInZone, type Zone } from '../../wire/zones.ts'
import type { Database } from '../database/database.ts'
import type { Detection } from '../database/detection.ts'
import type { Scope } from '../database/scope.ts'
import { ruleProblems } from '../rules/conditions.ts'
import { RuleEngine } from '../rules/engine.ts'
import type { Fact, NewNotice } from '../rules/fact.ts'
import type { Outcome } from '../rules/journal.ts'
import type { Rule } from '../rules/rule.ts'
import { zonesOf } from './compile.ts'
import type { Scenario } from './document.ts'
import { type Excluded, Exclusions } from './excluded.ts'
import { publishedOf } from './scenarios.ts'
import { isActive } from './schedule.ts'
import { type LabelsOf, pathOf } from './selection.ts'

/**
 * What a scenario would have told of, had it held: its rules are run over what is stored, the faces in its zones as they are
 * drawn now. What is not stored cannot be tried, and that is said.
 */

export const TRY_HOURS_MAX = 7 * 24
const DETECTIONS_MAX = 20_000
const HEALTH_EVENTS_MAX = 2_000
const LOOK_MS_MAX = 8_000
const EXAMPLES_MAX = 10
/** Rules run in one go; in between others have their turn. */
const FACTS_A_TURN = 500
const ID = 'tried'

export interface TriedRule {
  readonly id: string
  readonly count: number
  readonly examples: readonly {
    readonly atMs: number
    /** `site/device/camera`; of a device without its cameras `site/device`. */
    readonly camera: string
    readonly detection?: string
    readonly why: string
  }[]
  /** Faces, cameras or devices that it looked at. */
  readonly looked: number
  /** What kept out most of them; undefined: nothing did. */
  readonly excludedBy?: Excluded
  /** Why there is nothing, or only a part, to try it on. */
  readonly untried?: string
}

export interface Tried {
  readonly rules: readonly TriedRule[]
  /** Detections and events of health that were looked at. */
  readonly looked: number
  /** From then on; later than asked for where there was too much. */
  readonly fromMs: number
}

export interface TryOptions {
  readonly database: Database
  readonly cameras: readonly CameraAddress[]
  readonly labelsOf: LabelsOf
  readonly scope: Scope
  readonly nowMs: number
  readonly signal?: AbortSignal
}

interface Timed {
  readonly atMs: number
  readonly fact: Fact
}

/** @param hours back from now, at most TRY_HOURS_MAX. Errors: those of the database */
export async function tryScenario(document: Scenario, hours: number, options: TryOptions): Promise<Tried> {
  const { cameras, labelsOf, nowMs } = options
  const published = publishedOf({ id: ID, revision: 1, document }, labelsOf)
  const covered = cameras.filter((it) => published.covers(it))
  const wantedMs = nowMs - hours * 3_600_000
  if (covered.length === 0)
    return {
      rules: document.rules.map((rule) => ({ id: rule.id, count: 0, examples: [], looked: 0 })),
      looked: 0,
      fromMs: wantedMs,
    }
  const { detections, fromMs } = await detectionsOf(covered, wantedMs, options)
  const health = await healthOf(covered, fromMs, options)
  const seen = inZones(document, detections)
  const facts: Timed[] = [
    ...seen.map((detection) => ({ atMs: detection.atMs, fact: { is: 'face', detection } satisfies Fact })),
    ...eventsOf(seen),
    ...health,
  ].sort((a, b) => a.atMs - b.atMs)
  const engine = new RuleEngine({ holds: isActive, cameras: () => covered })
  engine.setScenarios([published])
  const found = new Map(document.rules.map((it) => [it.id, new Map<string, NewNotice>()]))
  // What cannot be published is not tried: nothing of it can be compiled.
  const exclusions = new Map(
    document.rules
      .filter((rule) => rule.enabled && ruleProblems(rule).length === 0)
      .map((rule) => [rule.id, new Exclusions(rule)]),
  )
  for (const [n, { atMs, fact }] of facts.entries()) {
    if (n % FACTS_A_TURN === 0) {
      await new Promise(setImmediate)
      options.signal?.throwIfAborted()
    }
    for (const rule of exclusions.values()) rule.look(fact)
    take(engine.run([fact], atMs))
  }
  take(engine.run([], nowMs))
  function take({ notices, decisions }: Outcome) {
    for (const notice of notices) {
      const ofRule = found.get(notice.notice.rule.id)
      if (ofRule && !ofRule.has(notice.key)) ofRule.set(notice.key, notice)
    }
    for (const decision of decisions) exclusions.get(decision.rule)?.decided(decision)
  }
  return {
    rules: document.rules.map((rule) =>
      triedOf(rule, [...(found.get(rule.id)?.values() ?? [])], exclusions.get(rule.id)),
    ),
    looked: detections.length + health.length,
    fromMs,
  }
}

function triedOf(rule: Rule, notices: readonly NewNotice[], exclusions: Exclusions | undefined): TriedRule {
  const excludedBy = exclusions?.most(notices.length)
  const untried = rule.enabled ? untriedOf(rule) : 'It is turned off.'
  return {
    id: rule.id,
    count: notices.length,
    // The newest.
    examples: notices
      .slice(-EXAMPLES_MAX)
      .reverse()
      .map(({ notice, camera }) => ({
        atMs: notice.atMs,
        camera: camera ? pathOf(camera) : [notice.site, notice.device].filter(Boolean).join('/'),
        ...(notice.detection !== undefined && { detection: notice.detection }),
        why: notice.text === '' ? notice.title : notice.text,
      })),
    looked: exclusions?.looked ?? 0,
    ...(excludedBy && { excludedBy }),
    ...(untried !== undefined && { untried }),
  }
}

function untriedOf({ on, conditions, holdMs }: Rule): string | undefined {
  switch (on) {
    case 'presence':
      return 'How many faces were in a picture at once is not stored.'
    case 'keeper':
      return 'What programs reported is not stored.'
    case 'arrival':
      return ofPart(conditions.kinds, 'crop', 'Only faces are looked at here, no recordings.')
    case 'track':
      return (
        ofPart(conditions.trackEvents, 'new', 'Only when a face was first seen is stored.') ?? ofHold(holdMs)
      )
    case 'zone':
      return (
        ofPart(
          conditions.zoneEvents,
          'enter',
          'Only the pictures of a face are stored, and not when it left or for how long it stayed.',
        ) ?? ofHold(holdMs)
      )
    case 'camera':
      return ofPart(conditions.states ?? [], 'down', 'Of cameras only is stored when they were down.')
    default:
      return undefined
  }
}

/** @param wanted absent: all @param known what alone is stored of it */
function ofPart<Name extends string>(
  wanted: readonly Name[] | undefined,
  known: Name,
  why: string,
): string | undefined {
  if (wanted?.every((it) => it === known) && wanted.length > 0) return undefined
  return wanted && !wanted.includes(known) ? why : `This was tried only in part. ${why}`
}

const ofHold = (holdMs: number) =>
  holdMs > 0 ? 'This was tried only in part. For how long it was so is not stored.' : undefined

/** The newest, oldest first. */
async function detectionsOf(
  covered: readonly CameraAddress[],
  wantedMs: number,
  { database, scope, nowMs, signal }: TryOptions,
): Promise<{ readonly detections: Detection[]; readonly fromMs: number }> {
  const detections: Detection[] = []
  const endMs = performance.now() + LOOK_MS_MAX
  const filter = { cameras: covered.map(pathOf), fromMs: wantedMs, beforeMs: nowMs, superseded: true }
  for await (const page of database.export(filter, scope, signal)) {
    detections.push(...page)
    if (detections.length < DETECTIONS_MAX && performance.now() < endMs) continue
    return { detections: detections.toReversed(), fromMs: detections.at(-1)?.atMs ?? wantedMs }
  }
  return { detections: detections.toReversed(), fromMs: wantedMs }
}

/** The zones of the scenario as they are drawn now; others as the device said. */
function inZones(document: Scenario, detections: readonly Detection[]): Detection[] {
  const drawn = new Map<string, readonly Zone[]>()
  return detections.map((detection) => {
    const path = pathOf(detection)
    const zones = drawn.get(path) ?? zonesOf(document, detection)
    drawn.set(path, zones)
    if (zones.length === 0) return detection
    const names = new Set(zones.map(({ name }) => name))
    const others = (detection.zones ?? []).filter((name) => !names.has(name))
    const inside = zones
      .filter((zone) => isInZone(zone, detection.box, detection.frame))
      .map(({ name }) => name)
    return { ...detection, zones: [...others, ...inside] }
  })
}

/** What was said live of faces that were followed, as far as their pictures tell: that they came, and into which zones. */
function eventsOf(detections: readonly Detection[]): Timed[] {
  const tracks = new Map<string, { readonly startMs: number; readonly zones: Set<string> }>()
  return detections.flatMap((detection) => {
    const { track, site, device, camera, atMs, box, frame, score, zones = [], id } = detection
    if (track === undefined) return []
    const known = tracks.get(track)
    const startMs = known?.startMs ?? atMs
    const before = known?.zones ?? new Set<string>()
    tracks.set(track, { startMs, zones: new Set(zones) })
    const after: FollowedFace = {
      id: track,
      site,
      device,
      camera,
      startMs,
      seenMs: atMs,
      endMs: null,
      box,
      region: null,
      frame,
      score,
      topScore: score,
      active: true,
      stationary: false,
      crop: id,
      crops: 1,
      zones: [...zones],
    }
    const event = (type: FaceEvent['type'], zone?: string): Timed => ({
      atMs,
      fact: {
        is: 'event',
        event: { v: 1, type, before: after, after, ...(zone !== undefined && { zone, inZoneMs: 0 }) },
      },
    })
    return [
      ...(known ? [] : [event('new')]),
      ...zones.filter((zone) => !before.has(zone)).map((zone) => event('enter', zone)),
    ]
  })
}

async function healthOf(
  covered: readonly CameraAddress[],
  fromMs: number,
  { database, nowMs }: TryOptions,
): Promise<Timed[]> {
  const cameras = new Map(covered.map((it) => [pathOf(it), it]))
  const devices = new Map(covered.map((it) => [`${it.site}/${it.device}`, it]))
  const rows = await database.read
    .selectFrom('health_events')
    .select(['kind', 'subject', 'at_ms', 'ended_at_ms'])
    .where('kind', 'in', ['camera-down', 'device-offline'])
    // Also what began before, and lasted into it.
    .where((it) => it.or([it('ended_at_ms', 'is', null), it('ended_at_ms', '>', fromMs)]))
    .where('at_ms', '<', nowMs)
    .orderBy('at_ms', 'desc')
    .limit(HEALTH_EVENTS_MAX)
    .execute()
  return rows.flatMap(({ kind, subject, at_ms: atMs, ended_at_ms: endedAtMs }): Timed[] => {
    const camera = kind === 'camera-down' ? cameras.get(subject) : undefined
    const device = kind === 'device-offline' ? devices.get(subject) : undefined
    const fact = (isWell: boolean, changedAtMs: number): Fact | undefined =>
      camera
        ? {
            is: 'camera',
            camera: { ...camera, state: undefined, stateAtMs: changedAtMs, is: isWell ? 'live' : 'down' },
          }
        : device && {
            is: 'device',
            device: { site: device.site, device: device.device, isOnline: isWell, changedAtMs },
          }
    const began = fact(false, atMs)
    const ended = endedAtMs === null ? undefined : fact(true, endedAtMs)
    return [
      ...(began ? [{ atMs: Math.max(atMs, fromMs), fact: began }] : []),
      ...(ended && endedAtMs !== null ? [{ atMs: endedAtMs, fact: ended }] : []),
    ]
  })
}
