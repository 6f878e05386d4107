import type { z } from 'zod'
import {
  DESIRED_VERSION,
  type DesiredContent,
  type DesiredProcessor,
  mayLookAgain,
  type Reported,
} from '../../wire/desired.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { ZONES_MAX } from '../../wire/zones.ts'
import { ruleProblems } from '../rules/conditions.ts'
import type { Rule } from '../rules/rule.ts'
import { type Covering, detectOf, settingsOf, zonesOf } from './compile.ts'
import { conflictsOf, sentenceOf } from './conflicts.ts'
import { type DeviceDocument, deviceDocumentSchema, type Scenario, scenarioSchema } from './document.ts'
import { isActive, nextChange } from './schedule.ts'
import { isSelected, type LabelsOf, pathOf } from './selection.ts'

/** What is wrong with a document as it is written, before it holds: with it alone, and with what there is beside it. Pure. */

export interface Problem {
  /** In the document: `zones.2.name`, `rules.0.conditions.zones`. */
  readonly path: string
  readonly message: string
  /** `error`: it cannot be published so. `conflict`: another one says otherwise. */
  readonly kind: 'error' | 'conflict' | 'warning'
}

/** What there is. */
export interface World {
  readonly cameras: readonly CameraAddress[]
  readonly devices: readonly { readonly site: string; readonly device: string }[]
  readonly labelsOf: LabelsOf
  /** Of devices and cameras, all. */
  readonly labels: ReadonlySet<string>
  readonly channels: ReadonlySet<string>
  /** The last that a device answered. */
  readonly reportedOf: (site: string, device: string) => Reported | undefined
  /** What a device is beside scenarios. */
  readonly documentOf?: (site: string, device: string) => DeviceDocument | undefined
  /** Whether what devices are told is signed. */
  readonly signs: boolean
  /** Those that are published. */
  readonly published: readonly Covering[]
  readonly nowMs: number
}

export interface Checked<Document> {
  /** Absent: it has not the form of one. */
  readonly document?: Document
  readonly problems: readonly Problem[]
  readonly cameras: readonly CameraAddress[]
}

export const PROBLEMS_MAX = 100

/** @param id of the scenario that it is a change of; absent: it is new */
export function checkScenario(input: unknown, world: World, id = ''): Checked<Scenario> {
  const read = scenarioSchema.safeParse(input)
  if (!read.success) return { problems: issuesOf(read.error), cameras: [] }
  const document = read.data
  const { labelsOf } = world
  const covers = (camera: CameraAddress) => isSelected(document.cameras, camera, labelsOf)
  const cameras = world.cameras.filter(covers)
  const problems: Problem[] = []
  const say = (kind: Problem['kind'], path: string, message: string) => {
    if (problems.length < PROBLEMS_MAX) problems.push({ kind, path, message })
  }
  checkSelection(document, world, say)
  if (cameras.length === 0) say('warning', 'cameras', 'It has no camera now.')
  checkSchedule(document, world, say)
  checkZones(document, world, cameras, say)
  checkDevices(document, world, cameras, say)
  checkTwice(document, '', say)
  const byId = new Map<string, number>()
  for (const [n, rule] of document.rules.entries()) {
    const at = `rules.${n}`
    const same = byId.get(rule.id)
    if (same !== undefined) say('error', `${at}.id`, `Rule ${same + 1} has the id "${rule.id}" too.`)
    byId.set(rule.id, n)
    checkRule(rule, at, document, world, cameras, say)
  }
  const self: Covering = { id, scenario: document, covers }
  for (const conflict of conflictsOf(self, world.published, world.cameras, world.nowMs))
    say('conflict', pathIn(document, conflict.path), sentenceOf(conflict))
  return { document, problems, cameras }
}

function pathIn({ process = [], models = [] }: Scenario, path: string): string {
  const [what = '', ...of] = path.split('.')
  const at = (list: readonly { readonly name: string }[]) =>
    list.findIndex(({ name }) => name === of.join('.'))
  if (what === 'zones') return 'zones'
  if (what === 'look') return `process.${at(process)}`
  if (what === 'model') return `models.${at(models)}`
  return what === 'detect' ? path : `settings.${path}`
}

type Say = (kind: Problem['kind'], path: string, message: string) => void

function checkSelection(
  { cameras: { sites, devices, cameras, labels } }: Scenario,
  world: World,
  say: Say,
): void {
  const known = {
    sites: new Set([...world.devices, ...world.cameras].map((it) => it.site)),
    devices: new Set([...world.devices, ...world.cameras].map((it) => `${it.site}/${it.device}`)),
    cameras: new Set(world.cameras.map(pathOf)),
    labels: world.labels,
  }
  const of = { sites: 'site', devices: 'device', cameras: 'camera', labels: 'label' } as const
  for (const [list, names = []] of Object.entries({ sites, devices, cameras, labels }))
    for (const [n, name] of names.entries())
      if (!known[list as keyof typeof known].has(name))
        say('error', `cameras.${list}.${n}`, `There is no ${of[list as keyof typeof of]} "${name}".`)
}

function checkSchedule({ schedule }: Scenario, { nowMs }: World, say: Say): void {
  if (!schedule) return
  for (const [n, { from, to }] of schedule.exceptions.entries())
    if (from > to) say('error', `schedule.exceptions.${n}.to`, `It ends before it begins: ${from} to ${to}.`)
  const holds = isActive(schedule, nowMs)
  const next = nextChange(schedule, nowMs)
  if (next === undefined && !holds) say('error', 'schedule', 'It never holds within the next 400 days.')
}

function checkZones(document: Scenario, world: World, cameras: readonly CameraAddress[], say: Say): void {
  const selected = new Set(cameras.map(pathOf))
  const known = new Set(world.cameras.map(pathOf))
  const seen = new Map<string, number>()
  for (const [n, { name, camera }] of document.zones.entries()) {
    const key = `${camera ?? ''} ${name}`
    const same = seen.get(key)
    if (same !== undefined) say('error', `zones.${n}.name`, `Zone ${same + 1} has the name "${name}" too.`)
    seen.set(key, n)
    if (camera === undefined) continue
    if (!known.has(camera)) say('error', `zones.${n}.camera`, `There is no camera "${camera}".`)
    else if (!selected.has(camera))
      say(
        'error',
        `zones.${n}.camera`,
        `The zone "${name}" is on ${camera}, which is none of the scenario's cameras.`,
      )
    if (seen.has(` ${name}`))
      say(
        'error',
        `zones.${n}.name`,
        `There is a zone "${name}" for every camera already; ${camera} would have two.`,
      )
  }
  for (const camera of cameras) {
    const names = new Set(zonesOf(document, camera).map(({ name }) => name))
    for (const { scenario, covers } of world.published)
      if (covers(camera)) for (const { name } of zonesOf(scenario, camera)) names.add(name)
    if (names.size <= ZONES_MAX) continue
    say(
      'warning',
      'zones',
      `${pathOf(camera)} would have ${names.size} zones together with those of other scenarios; a camera has at most ${ZONES_MAX} at once.`,
    )
    break
  }
}

/** What the devices of its cameras say that they can. */
function checkDevices(document: Scenario, world: World, cameras: readonly CameraAddress[], say: Say): void {
  const { zones, process = [], models = [] } = document
  const asks =
    settingsOf(document).length + detectOf(document).length + zones.length + process.length + models.length >
    0
  if (!asks) return
  const devices = new Map(cameras.map((it) => [`${it.site}/${it.device}`, it]))
  const without: string[] = []
  for (const [path, { site, device }] of devices) {
    const reported = world.reportedOf(site, device)
    if (!reported) without.push(path)
    else {
      const own = world.documentOf?.(site, device)?.content
      checkReported(path, reported, document, '', world, say, own)
      const known = looksOn(reported, own, process)
      for (const [n, name] of (document.settings.process ?? []).entries())
        if (!known.has(name)) say('error', `settings.process.${n}`, unknownLook(path, name, known))
    }
  }
  if (without.length > 0)
    say(
      'warning',
      'cameras',
      without.length === 1
        ? `${listed(without)} has never said what it takes from afar: it is of an earlier version, has never been connected, or does not allow it ("remote.desired").`
        : `${listed(without)} have never said what they take from afar: they are of an earlier version, have never been connected, or do not allow it ("remote.desired").`,
    )
}

/** Processors that a device has whatever scenarios do, and these. */
function looksOn(
  { effective }: Reported,
  own: DesiredContent | undefined,
  brought: readonly DesiredProcessor[],
): ReadonlySet<string> {
  const ofFile = (effective.process ?? []).filter(({ from }) => from === 'file')
  return new Set([...ofFile, ...(own?.process ?? []), ...brought].map(({ name }) => name))
}

const unknownLook = (path: string, name: string, known: ReadonlySet<string>) =>
  `${path} has no second look "${name}". It has: ${listed([...known]) || 'none'}.`

type Asked = Pick<DesiredContent, 'detect' | 'process' | 'models'>

/** Names that are there twice. @param at where the lists are: `content.` */
function checkTwice({ process = [], models = [] }: Asked, at: string, say: Say): void {
  for (const [key, list] of Object.entries({ process, models }))
    for (const [n, { name }] of list.entries())
      if (list.findIndex((it) => it.name === name) < n)
        say('error', `${at}${key}.${n}.name`, `There are two of the name "${name}". Keep one.`)
}

/** @param own what the device is asked for beside it */
function checkReported(
  path: string,
  { understands, allows, models, program, effective }: Reported,
  asked: Asked,
  at: string,
  { signs }: World,
  say: Say,
  own: Asked = {},
): void {
  const brought = [...(asked.models ?? []), ...(own.models ?? [])]
  if (understands < DESIRED_VERSION)
    say(
      'error',
      'cameras',
      `${path} (version ${program}) does not know configurations of this kind. Update it.`,
    )
  if (allows.signed && !signs)
    say(
      'error',
      'cameras',
      `${path} takes only what is signed, and this console does not sign. See "desired.signing" in its configuration.`,
    )
  const checkModel = (model: string, where: string) => {
    if (models && !models.includes(model) && !brought.some(({ name }) => name === model))
      say('error', where, `${path} has no model "${model}". It has: ${listed(models)}.`)
  }
  if (asked.detect?.model !== undefined) checkModel(asked.detect.model, `${at}detect.model`)
  if (asked.models?.length && !allows.models)
    say(
      'error',
      `${at}models`,
      allows.models === undefined
        ? `${path} (version ${program}) does not know models by address. Update it.`
        : `${path} does not take models by address ("remote.desired.models" in its file).`,
    )
  if (asked.process?.length && !effective.process)
    say('error', `${at}process`, `${path} (version ${program}) does not know second looks. Update it.`)
  for (const [n, { name, model }] of (asked.process ?? []).entries()) {
    if (effective.process?.some((it) => it.name === name && it.kind === 'plugin'))
      say(
        'error',
        `${at}process.${n}.name`,
        `"${name}" is a plugin of ${path}; no classifier takes its place. Choose another name.`,
      )
    checkModel(model, `${at}process.${n}.model`)
    const entry = brought.find((it) => it.name === model)
    if (entry && !mayLookAgain(entry))
      say(
        'error',
        `${at}process.${n}.model`,
        `The model "${model}" finds faces, and tells nothing of them: it says no labels, and is not of the family "ultraface", of which some tell masked faces.`,
      )
  }
}

function checkRule(
  rule: Rule,
  at: string,
  document: Scenario,
  world: World,
  cameras: readonly CameraAddress[],
  say: Say,
): void {
  for (const { path, message } of ruleProblems(rule)) say('error', `${at}.${path}`, message)
  const { conditions, on, notify, quiet } = rule
  for (const [n, channel] of notify.entries())
    if (!world.channels.has(channel)) say('error', `${at}.notify.${n}`, `There is no channel "${channel}".`)
  const own = zonesThere(document, world, cameras)
  for (const [n, zone] of (conditions.zones ?? []).entries())
    if (!own.has(zone))
      say('error', `${at}.conditions.zones.${n}`, `None of the scenario's cameras has a zone "${zone}".`)
  const { moreThan, fewerThan } = conditions
  if (moreThan !== undefined && fewerThan !== undefined && fewerThan - moreThan < 2)
    say(
      'error',
      `${at}.conditions.fewerThan`,
      `No number is more than ${moreThan} and fewer than ${fewerThan}: it can never be so.`,
    )
  if (on === 'zone' && own.size === 0)
    say('error', `${at}.on`, 'None of its cameras has a zone, so that nothing can come into one.')
  if (conditions.zoneEvents?.every((it) => it === 'stay')) {
    const named = conditions.zones ?? [...own.keys()]
    if (named.length > 0 && named.every((zone) => own.has(zone) && !own.get(zone)))
      say(
        'error',
        `${at}.conditions.zoneEvents`,
        `A face is said to stay only in a zone that has a time for it ("stayS"), and ${listed(named)} has none.`,
      )
  }
  checkAttributes(rule, at, document, world, cameras, say)
  const { settings, detect } = document
  const watches = on === 'face' || on === 'track' || on === 'zone' || on === 'presence' || on === 'count'
  if (watches && settings.paused === true)
    say('error', `${at}.on`, 'The scenario pauses its cameras: no face is found on them.')
  // `auto` is of the model.
  const least = settings.scoreMin ?? detect?.scoreMin
  const { sizeMin } = conditions
  if (watches && typeof least === 'number' && least > 0.99)
    say('warning', 'settings.scoreMin', 'Hardly any face has such a score.')
  if (sizeMin !== undefined && settings.crop?.sizeMax !== undefined && sizeMin > settings.crop.sizeMax)
    say('warning', `${at}.conditions.sizeMin`, 'It asks for larger faces than the pictures that are sent.')
  if (conditions.states?.includes('paused') && settings.paused === false && conditions.states.length === 1)
    say('error', `${at}.conditions.states`, 'The scenario keeps its cameras from being paused.')
  if (on === 'arrival' && settings.record?.mode === 'off' && conditions.kinds?.every((it) => it === 'clip'))
    say('error', `${at}.conditions.kinds`, 'The scenario turns recordings off: no clip arrives.')
  if (quiet && isActive(quiet, world.nowMs) && nextChange(quiet, world.nowMs) === undefined)
    say('error', `${at}.quiet`, 'Its quiet hours never end.')
}

/** An attribute that nobody gives is never there. */
function checkAttributes(
  { conditions }: Rule,
  at: string,
  { process = [], settings }: Scenario,
  world: World,
  cameras: readonly CameraAddress[],
  say: Say,
): void {
  for (const [n, { name }] of (conditions.attributes ?? []).entries()) {
    const where = `${at}.conditions.attributes.${n}`
    const isBrought = process.some((it) => it.name === name)
    const isChosen = settings.process?.includes(name) ?? true
    if (!isChosen)
      say(
        'warning',
        where,
        `The scenario's cameras do not have the second look "${name}": it is not among "settings.process".`,
      )
    if (isBrought) continue
    const without = [...new Set(cameras.map(({ site, device }) => `${site}/${device}`))].filter((path) => {
      const [site = '', device = ''] = path.split('/')
      const reported = world.reportedOf(site, device)
      const { effective = { process: [] } } = reported ?? {}
      // A plugin says what it likes.
      if (effective.process?.some((it) => it.name === name || it.kind === 'plugin')) return false
      return !world.documentOf?.(site, device)?.content.process?.some((it) => it.name === name)
    })
    const [first] = without
    const isOfAnother = world.published.some(
      ({ scenario, covers }) => scenario.process?.some((it) => it.name === name) && cameras.some(covers),
    )
    if (isOfAnother) continue
    if (cameras.length === 0)
      say(
        'warning',
        where,
        `The scenario has no second look "${name}", and no camera yet that could have one.`,
      )
    else if (first !== undefined)
      say(
        'warning',
        where,
        `Nobody tells "${name}" on ${listed(without)}: neither this scenario nor the device has such a second look.`,
      )
  }
}

/** By name, whether one of them has a time after which a face stays. Zones of the device itself and of others count. */
function zonesThere(
  document: Scenario,
  world: World,
  cameras: readonly CameraAddress[],
): Map<string, boolean> {
  const there = new Map<string, boolean>()
  const add = (name: string, stays: boolean) => there.set(name, stays || there.get(name) === true)
  for (const camera of cameras) {
    for (const { name, stayS } of zonesOf(document, camera)) add(name, stayS !== undefined)
    const effective = world.reportedOf(camera.site, camera.device)?.effective.cameras[camera.camera]
    const zones: unknown = effective?.zones
    if (Array.isArray(zones))
      for (const zone of zones as { name?: unknown; stayS?: unknown }[])
        if (typeof zone?.name === 'string') add(zone.name, zone.stayS !== undefined)
    for (const { scenario, covers } of world.published)
      if (covers(camera))
        for (const { name, stayS } of zonesOf(scenario, camera)) add(name, stayS !== undefined)
  }
  // Of a scenario that has no camera yet.
  if (cameras.length === 0) for (const { name, stayS } of document.zones) add(name, stayS !== undefined)
  return there
}

/** @param place whose document it is */
export function checkDevice(
  input: unknown,
  { site, device }: { readonly site: string; readonly device: string },
  world: World,
): Checked<DeviceDocument> {
  const cameras = world.cameras.filter((it) => it.site === site && it.device === device)
  const read = deviceDocumentSchema.safeParse(input)
  if (!read.success) return { problems: issuesOf(read.error), cameras }
  const document = read.data
  const problems: Problem[] = []
  const say: Say = (kind, path, message) => {
    if (problems.length < PROBLEMS_MAX) problems.push({ kind, path, message })
  }
  const { content } = document
  const path = `${site}/${device}`
  const reported = world.reportedOf(site, device)
  const isAsked = Object.keys(content).length > 0
  checkTwice(content, 'content.', say)
  if (!reported && isAsked)
    say(
      'warning',
      'content',
      `${path} has never said what it takes from afar: it is of an earlier version, has never been connected, or does not allow it ("remote.desired").`,
    )
  if (reported) {
    checkReported(path, reported, content, 'content.', world, say)
    const looks = looksOn(reported, content, [])
    for (const [name, { process = [] }] of Object.entries(content.cameras ?? {}))
      for (const [n, look] of process.entries())
        if (!looks.has(look))
          say('error', `content.cameras.${name}.process.${n}`, unknownLook(path, look, looks))
    const { allows, effective } = reported
    for (const [name, { source, username, password }] of Object.entries(content.cameras ?? {})) {
      const isSource = source !== undefined || username !== undefined || password !== undefined
      if (isSource && !allows.cameras)
        say(
          'error',
          `content.cameras.${name}`,
          `${path} does not let cameras be added or moved from afar ("remote.desired.cameras" in its file).`,
        )
      if (
        source === undefined &&
        !Object.hasOwn(effective.cameras, name) &&
        !Object.hasOwn(content.streams ?? {}, name)
      )
        say(
          'error',
          `content.cameras.${name}`,
          `${path} has no camera "${name}"; to be added, it needs a source.`,
        )
    }
    for (const [n, name] of (content.removed ?? []).entries())
      if (!allows.cameras)
        say(
          'error',
          `content.removed.${n}`,
          `${path} does not let its cameras be removed from afar ("remote.desired.cameras" in its file).`,
        )
      else if (!Object.hasOwn(effective.cameras, name) && !cameras.some((it) => it.camera === name))
        say('warning', `content.removed.${n}`, `${path} has no camera "${name}" now.`)
    if (content.streams && Object.keys(content.streams).length > 0 && !allows.streams)
      say(
        'error',
        'content.streams',
        `${path} does not let its streams be changed from afar ("listen.remote" in its file).`,
      )
  }
  for (const [n, name] of (content.removed ?? []).entries())
    if (Object.hasOwn(content.cameras ?? {}, name))
      say('error', `content.removed.${n}`, `"${name}" is both removed and set. Keep one.`)
  return { document, problems, cameras }
}

export const issuesOf = (error: z.ZodError): Problem[] =>
  error.issues.slice(0, PROBLEMS_MAX).map(({ path, message, ...issue }) => ({
    kind: 'error' as const,
    path: [...path, ...('keys' in issue && Array.isArray(issue.keys) ? issue.keys.slice(0, 1) : [])].join(
      '.',
    ),
    message:
      issue.code === 'unrecognized_keys'
        ? 'There is no such setting.'
        : `It ${message.startsWith('must ') ? message : `is not as it should be: ${message}`}.`,
  }))

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(', ')
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown
}
