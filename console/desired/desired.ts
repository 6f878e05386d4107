import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, failure, type SightlineError } from '../../lib/errors.ts'
import { isDeeperThan } from '../../lib/json-depth.ts'
import type { Log } from '../../lib/log.ts'
import { throttled } from '../../lib/log.ts'
import {
  DESIRED_BYTES_MAX,
  DESIRED_VERSION,
  type Desired,
  desiredContentSchema,
  desiredTopic,
  digestOf,
  isFarAhead,
  REPORTED_BYTES_MAX,
  type Reported,
  reportedSchema,
} from '../../wire/desired.ts'
import { isName } from '../../wire/names.ts'
import type { CameraSeen, Fleet } from '../context.ts'
import type { Database } from '../database/database.ts'
import { inTurns } from '../in-turns.ts'
import { compileDevice, type DevicePlace } from '../scenarios/compile.ts'
import type { Documents } from '../scenarios/documents.ts'
import type { LiveScenarios } from '../scenarios/scenarios.ts'
import { isUnopened, judge, type Told } from './judge.ts'
import type { DesiredSigner } from './signing.ts'
import { type Answer, eachAnswer, readTold, saveAnswers, saveTold } from './store.ts'

/**
 * What each device shall be: compiled of its document and the scenarios that hold, kept in the database before it is published,
 * and published until the broker has it; and what devices answer to it.
 */

/** Several changes shortly after each other are one. */
const GATHER_MS = 150
const RETRY_MS = 2_000
const PUBLISH_AT_ONCE_MAX = 32
const DEVICES_MAX = 5_000
const ANSWERS_BYTES_MAX = 128 * 1024 * 1024
/** Answers that wait for the database. */
const SAVE_AT_ONCE_MAX = 50
const REPEAT_MS = 60_000
/** Of what a device answers: settings are a few levels deep, and it says some that are not known here. */
const REPORTED_DEPTH_MAX = 32

export interface DesiredBookOptions {
  readonly topicPrefix: string
  readonly database: Database
  readonly documents: Documents
  readonly scenarios: LiveScenarios
  readonly fleet: Fleet
  /** Retained, at QoS 1. @returns when the broker has it. Errors: BROKER_UNREACHABLE, TOO_MANY */
  readonly publish: (topic: string, payload: Buffer) => Promise<void>
  readonly signer: DesiredSigner | undefined
  readonly events: {
    /** What it was told or answered, or what is wrong, has changed. */
    readonly changed: (place: DevicePlace) => void
    /** Why its configuration is not taken; undefined: it is, or it is not known. */
    readonly refused: (place: DevicePlace, why: string | undefined) => void
    /** A message that was not taken. `foreign`: it says that it is another's. */
    readonly dropped: (why: 'invalid' | 'foreign' | 'too many') => void
  }
  readonly log: Log
  readonly now?: () => number
}

interface Place extends DevicePlace {
  told: Told | undefined
  /** Without pictures, which the database has. */
  answer: Answer | undefined
  answerBytes: number
  /** The version that this connection's broker has acknowledged. */
  published: number
  /** What it shall be cannot be said: it is too large, or not valid. */
  fault: SightlineError | undefined
  repeatedAtMs: number
}

export class DesiredBook implements AsyncDisposable {
  readonly #options: Required<DesiredBookOptions>
  readonly #places = new Map<string, Place>()
  readonly #unsaved = new Map<string, Answer | undefined>()
  readonly #abort = new AbortController()
  readonly #stops: (() => void)[] = []
  #answersBytes = 0
  #by: string | undefined
  #timer: NodeJS.Timeout | undefined
  #compiling: Promise<void> | undefined
  #isStale = false
  #publishing: Promise<void> | undefined
  #saving: Promise<void> | undefined
  #isConnected = false

  private constructor(options: DesiredBookOptions) {
    this.#options = { now: Date.now, ...options }
    this.#stops.push(
      options.documents.follow((kind, _id, by) => {
        if (kind !== 'channel') this.#by = by
      }),
      options.scenarios.follow(() => this.changed()),
    )
  }

  /** Errors: those of the database */
  static async open(options: DesiredBookOptions): Promise<DesiredBook> {
    const book = new DesiredBook(options)
    for (const told of await readTold(options.database)) book.#placeAt(told).told = told
    await eachAnswer(options.database, ({ reported, receivedAtMs }) => {
      const bytes = JSON.stringify(reported).length
      book.#setAnswer(book.#placeAt(reported), { reported: withoutPictures(reported), receivedAtMs }, bytes)
    })
    book.changed()
    return book
  }

  told({ site, device }: DevicePlace): Told | undefined {
    return this.#places.get(`${site}/${device}`)?.told
  }

  /** Without pictures. */
  answer({ site, device }: DevicePlace): Answer | undefined {
    return this.#places.get(`${site}/${device}`)?.answer
  }

  /** Why nothing is said to it although something should be. */
  fault({ site, device }: DevicePlace): SightlineError | undefined {
    return this.#places.get(`${site}/${device}`)?.fault
  }

  judge(place: DevicePlace) {
    return judge(this.told(place), this.answer(place)?.reported)
  }

  /** How many devices there are of each state. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { told, answer } of this.#places.values()) {
      const { state } = judge(told, answer?.reported)
      counts.set(state, (counts.get(state) ?? 0) + 1)
    }
    return counts
  }

  /** Whether it can sign, for devices that take nothing else. */
  get signs(): boolean {
    return this.#options.signer !== undefined
  }

  /** Something has changed that may change what devices shall be. */
  changed(): void {
    this.#isStale = true
    if (this.#timer === undefined && !this.#abort.signal.aborted)
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        void this.#compileAll()
      }, GATHER_MS)
  }

  /** A camera has come or gone. */
  camera(camera: CameraSeen, before: CameraSeen | undefined): void {
    if ((camera.state === undefined) !== (before?.state === undefined)) this.changed()
  }

  /** A device has come back: what it does not have yet is said again. */
  returned(device: DevicePlace): void {
    const place = this.#places.get(`${device.site}/${device.device}`)
    if (!place?.told) return
    const { state } = judge(place.told, place.answer?.reported)
    if (state === 'refused' && place.answer && isUnopened(place.answer.reported)) {
      if (this.#mayRepeat(place)) void this.tryAgain(device, 'return of the device').catch(() => {})
    } else if (state !== 'applied' && state !== 'refused') this.#publishAgain(place)
  }

  /** Whether a change of them is in what devices were told: resolves when it is, or cannot be. */
  async settled(): Promise<void> {
    while (this.#timer !== undefined || this.#compiling) {
      await this.#compiling
      if (this.#timer !== undefined) await sleep(GATHER_MS / 3)
    }
  }

  /** The same again as a new version, so that the device tries it anew. Errors: NOT_FOUND (it was told nothing yet) */
  async tryAgain(device: DevicePlace, by: string): Promise<Told> {
    const place = this.#places.get(`${device.site}/${device.device}`)
    if (!place?.told) throw failure('NOT_FOUND', `${device.site}/${device.device} was told nothing yet.`)
    const version = this.#versionAfter(place)
    const told = { ...place.told, version, atMs: this.#options.now(), by }
    await saveTold(this.#options.database, [told])
    this.#tell(place, told)
    return told
  }

  connected(): void {
    this.#isConnected = true
    // The broker may have lost what it had: who has it already passes the same version over.
    for (const place of this.#places.values()) place.published = 0
    this.#pump()
  }

  /** What a device answers. @param place of the topic: it says whose it is, not what stands in it */
  take({ site, device }: DevicePlace, payload: Buffer): void {
    const { events, now } = this.#options
    if (!isName(site) || !isName(device)) return
    const path = `${site}/${device}`
    if (payload.length === 0) {
      const place = this.#places.get(path)
      if (!place?.answer) return
      this.#setAnswer(place, undefined, 0)
      this.#keep(place, undefined)
      return
    }
    const reported = payload.length <= REPORTED_BYTES_MAX ? readReported(payload) : undefined
    const known = this.#places.get(path)
    const bytes = this.#answersBytes - (known?.answerBytes ?? 0) + payload.length
    const isTooMany = (!known && this.#places.size >= DEVICES_MAX) || bytes > ANSWERS_BYTES_MAX
    const isForeign = reported?.site !== site || reported.device !== device
    if (!reported || isForeign || isTooMany) {
      events.dropped(!reported ? 'invalid' : isForeign ? 'foreign' : 'too many')
      return
    }
    const place = this.#placeAt({ site, device })
    const before = place.answer?.reported
    const receivedAtMs = now()
    const plain = withoutPictures(reported)
    this.#setAnswer(place, { reported: plain, receivedAtMs }, JSON.stringify(plain).length)
    this.#keep(place, { reported, receivedAtMs })
    const hadCameras = Object.keys(before?.effective.cameras ?? {}).join(' ')
    if (hadCameras !== Object.keys(reported.effective.cameras).join(' ')) this.changed()
    if (judge(place.told, plain).state === 'differs') this.#differs(place, plain)
    else if (this.#isGivenAhead(place) && this.#mayRepeat(place)) this.#repeat(place)
  }

  #keep(place: Place, answer: Answer | undefined): void {
    const { events } = this.#options
    this.#unsaved.set(pathOf(place), answer)
    this.#save()
    events.changed(place)
    const { state, why } = judge(place.told, place.answer?.reported)
    events.refused(place, state === 'refused' ? why : undefined)
  }

  /** It is told again what holds, at most once a minute. */
  #differs(place: Place, reported: Reported): void {
    const { log, now } = this.#options
    if (!this.#mayRepeat(place)) return
    const { why } = judge(place.told, reported)
    log.warn(
      { device: pathOf(place) },
      `${pathOf(place)} does not have the configuration that it was told: ${why}`,
    )
    const highest = Math.max(reported.version ?? 0, reported.applied?.version ?? 0)
    // Ours is an older one, such as from a copy of the database: a device takes what is newer than what it has.
    if (place.told && highest > place.told.version && !isFarAhead(highest, now())) this.#repeat(place)
    else if (place.told) this.#publishAgain(place)
  }

  #repeat(place: Place): void {
    void this.tryAgain(place, 'console').catch((error: unknown) =>
      this.#options.log.warn({ error: String(error) }, `${pathOf(place)} could not be told again`),
    )
  }

  #mayRepeat(place: Place): boolean {
    const nowMs = this.#options.now()
    if (nowMs - place.repeatedAtMs < REPEAT_MS && nowMs >= place.repeatedAtMs) return false
    place.repeatedAtMs = nowMs
    return true
  }

  #placeAt({ site, device }: DevicePlace): Place {
    const path = `${site}/${device}`
    const known = this.#places.get(path)
    if (known) return known
    const made: Place = {
      site,
      device,
      told: undefined,
      answer: undefined,
      answerBytes: 0,
      published: 0,
      fault: undefined,
      repeatedAtMs: Number.NEGATIVE_INFINITY,
    }
    this.#places.set(path, made)
    return made
  }

  #setAnswer(place: Place, answer: Answer | undefined, bytes: number): void {
    this.#answersBytes += bytes - place.answerBytes
    place.answer = answer
    place.answerBytes = bytes
  }

  /** It was given while our clock was ahead, and the device does not take it for that. */
  #isGivenAhead({ told, answer }: Place): boolean {
    const { refused, version } = answer?.reported ?? {}
    return (
      told !== undefined &&
      refused?.code === 'DESIRED_AHEAD' &&
      version === told.version &&
      isFarAhead(told.version, this.#options.now())
    )
  }

  #versionAfter(place: Place): number {
    const nowMs = this.#options.now()
    const { version = 0, applied } = place.answer?.reported ?? {}
    // Of what a device says only what can be so: a lie must not use the numbers up.
    const said = [version, applied?.version ?? 0].filter((it) => !isFarAhead(it, nowMs))
    const given = this.#isGivenAhead(place) ? 0 : (place.told?.version ?? 0)
    return Math.max(given + 1, nowMs, ...said.map((it) => it + 1))
  }

  #tell(place: Place, told: Told): void {
    place.told = told
    place.published = 0
    const { events } = this.#options
    events.changed(place)
    events.refused(place, undefined)
    this.#pump()
  }

  #publishAgain(place: Place): void {
    place.published = 0
    this.#pump()
  }

  /** One after the other; a change that comes meanwhile is taken up by the next. */
  #compileAll(): Promise<void> {
    this.#compiling ??= this.#compileWhileStale().finally(() => {
      this.#compiling = undefined
    })
    return this.#compiling
  }

  async #compileWhileStale(): Promise<void> {
    const { log } = this.#options
    const { signal } = this.#abort
    while (this.#isStale && !signal.aborted) {
      this.#isStale = false
      try {
        await this.#compile()
      } catch (error) {
        this.#isStale = true
        log.warn({ error: asFailure(error).message }, 'what devices shall be could not be kept; trying again')
        await sleep(RETRY_MS, undefined, { signal }).catch(() => {})
      }
    }
  }

  async #compile(): Promise<void> {
    const { database, scenarios, fleet, now, events, log } = this.#options
    const nowMs = now()
    const by = this.#by ?? 'schedule'
    this.#by = undefined
    const { devices, published } = scenarios
    const active = published.filter((it) => it.isActive(nowMs))
    const camerasOf = new Map<string, string[]>()
    for (const { site, device, camera, state } of fleet.cameras) {
      if (!state) continue // of which there are only pictures left
      const known = camerasOf.get(`${site}/${device}`)
      if (known) known.push(camera)
      else camerasOf.set(`${site}/${device}`, [camera])
    }
    const paths = new Set([...devices.keys(), ...camerasOf.keys(), ...this.#places.keys()])
    const changes: Told[] = []
    for (const path of paths) {
      const [site = '', device = ''] = path.split('/')
      const document = devices.get(path)
      const known = this.#places.get(path)
      const cameras = camerasToSet(camerasOf.get(path) ?? [], known, document?.content ?? {})
      const { content, scenarios: ids } = compileDevice({ site, device }, document, cameras, active)
      const { told } = known ?? {}
      if (!told && Object.keys(content).length === 0) continue
      if (!known && this.#places.size >= DEVICES_MAX) continue
      const place = this.#placeAt({ site, device })
      const fault = faultOf(content)
      if (fault?.message !== place.fault?.message) {
        place.fault = fault
        if (fault) log.warn({ device: path, code: fault.code }, fault.message)
        events.changed(place)
      }
      if (fault) continue
      const digest = digestOf(content)
      const isSame = told?.digest === digest
      if (isSame && told.scenarios.join(' ') === ids.join(' ')) continue
      changes.push(
        isSame
          ? { ...told, scenarios: ids }
          : {
              site,
              device,
              version: this.#versionAfter(place),
              digest,
              content,
              atMs: nowMs,
              by,
              scenarios: ids,
            },
      )
    }
    if (changes.length === 0) return
    try {
      await saveTold(database, changes)
    } catch (error) {
      this.#by ??= by
      throw error
    }
    for (const told of changes) {
      const place = this.#placeAt(told)
      if (place.told?.version === told.version) place.told = told
      else this.#tell(place, told)
    }
  }

  /** Publishes what the broker does not have yet, some at once, until it has everything or is away. */
  #pump(): void {
    if (!this.#isConnected || this.#publishing || this.#abort.signal.aborted) return
    const { log } = this.#options
    const warn = throttled((count) => log.warn({ count }, 'what devices shall be could not be published yet'))
    this.#publishing = (async () => {
      for (;;) {
        const due = [...this.#places.values()].filter((it) => it.told && it.published !== it.told.version)
        if (due.length === 0 || !this.#isConnected || this.#abort.signal.aborted) return
        try {
          await inTurns(due, PUBLISH_AT_ONCE_MAX, (place) => this.#publish(place))
        } catch (error) {
          // A connection that was lost comes back, and then all of it is said again.
          if (asFailure(error).code === 'BROKER_UNREACHABLE') return
          warn()
          await sleep(RETRY_MS, undefined, { signal: this.#abort.signal }).catch(() => {})
        }
      }
    })().finally(() => {
      this.#publishing = undefined
      if ([...this.#places.values()].some((it) => it.told && it.published !== it.told.version))
        setTimeout(() => this.#pump(), RETRY_MS).unref()
    })
  }

  async #publish(place: Place): Promise<void> {
    const { topicPrefix, publish, signer } = this.#options
    const { told } = place
    if (!told || !this.#isConnected) return
    const { site, device, version, digest, content, atMs, by } = told
    const desired: Desired = {
      v: DESIRED_VERSION,
      site,
      device,
      version,
      atMs,
      by,
      digest,
      content,
      ...(signer && { signature: signer.sign(told) }),
    }
    await publish(desiredTopic(topicPrefix, told), Buffer.from(JSON.stringify(desired)))
    if (place.told?.version === version) place.published = version
  }

  #save(): void {
    const { database, log } = this.#options
    this.#saving ??= (async () => {
      while (this.#unsaved.size > 0) {
        const due = new Map([...this.#unsaved].slice(0, SAVE_AT_ONCE_MAX))
        for (const path of due.keys()) this.#unsaved.delete(path)
        try {
          await saveAnswers(database, due)
        } catch (error) {
          for (const [path, answer] of due) if (!this.#unsaved.has(path)) this.#unsaved.set(path, answer)
          // They are retained: after a restart they come again.
          if (this.#abort.signal.aborted) return
          log.warn({ error: asFailure(error).message }, 'answers of devices wait for the database')
          await sleep(RETRY_MS, undefined, { signal: this.#abort.signal }).catch(() => {})
        }
      }
    })().finally(() => {
      this.#saving = undefined
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop()
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isConnected = false
    this.#abort.abort()
    await this.#compiling
    await this.#publishing
    await this.#saving
  }
}

const pathOf = ({ site, device }: DevicePlace) => `${site}/${device}`

/**
 * Cameras of a device that there are whatever it is told: a device refuses settings of one that it does not have, and what it has
 * only since it was told so goes with that.
 */
export function camerasToSet(
  seen: readonly string[],
  known: Pick<Place, 'told' | 'answer'> | undefined,
  content: Told['content'],
): string[] {
  const effective = known?.answer?.reported.effective.cameras ?? {}
  const before = known?.told?.content ?? {}
  const names = new Set([...seen, ...Object.keys(effective)])
  const has = (record: object | undefined, name: string) =>
    record !== undefined && Object.hasOwn(record, name)
  const isAdded = (it: Told['content'], name: string) =>
    has(it.streams, name) || (has(it.cameras, name) && it.cameras?.[name]?.source !== undefined)
  return [...names].filter((name) => {
    if (isAdded(content, name)) return true
    const isFromAfar = has(effective, name) && effective[name]?.from === 'desired'
    return !isFromAfar && !isAdded(before, name)
  })
}

function faultOf(content: unknown): SightlineError | undefined {
  const bytes = Buffer.byteLength(JSON.stringify(content))
  if (bytes > DESIRED_BYTES_MAX - 16 * 1024)
    return failure(
      'PAYLOAD_TOO_LARGE',
      `The configuration would have ${Math.ceil(bytes / 1024)} KB, which is too much for one. Use fewer zones or scenarios.`,
    )
  const { error } = desiredContentSchema.safeParse(content)
  const [issue] = error?.issues ?? []
  return (
    issue &&
    failure(
      'CONFIG_INVALID',
      `The configuration would be wrong at ${issue.path.join('.')}: ${issue.message}.`,
    )
  )
}

function readReported(payload: Buffer): Reported | undefined {
  if (isDeeperThan(payload, REPORTED_DEPTH_MAX)) return undefined
  try {
    return reportedSchema.safeParse(JSON.parse(payload.toString())).data
  } catch {
    return undefined
  }
}

function withoutPictures({ opened, ...reported }: Reported): Reported {
  if (!opened) return reported
  return {
    ...reported,
    opened: Object.fromEntries(Object.entries(opened).map(([name, { picture, ...one }]) => [name, one])),
  }
}
