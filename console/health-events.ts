import { asFailure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { newId } from '../wire/id.ts'
import type { KeeperReport } from '../wire/keepers.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { CameraSeen, DeviceSeen, KeeperSeen } from './context.ts'
import type { Database } from './database/database.ts'
import { isWithoutServers } from './rules/looked.ts'

/**
 * What went wrong, and for how long: opened and closed by what programs, devices and cameras say. One event lasts as long as
 * its cause, so that a camera that flickers is a line each time, and one that is down for a week is one.
 */

type HealthKind =
  | 'camera-down'
  | 'recording-stopped'
  | 'not-looking'
  | 'servers-away'
  | 'processor-down'
  | 'device-offline'
  | 'desired-refused'
  | 'keeper-silent'
  | 'keeper-unwell'
  | 'queue-growing'
  | 'quarantine'
  | 'dropped'
  | 'certificate-ends'

/** The oldest entry of a queue waits for longer: something is stuck. Shorter than that again: it is not. */
const WAITS_MS_MAX = 60_000
const WAITS_MS_OVER = 30_000
const CERTIFICATE_MS_MIN = 21 * 24 * 3_600_000
/** A queue that is meant to wait. */
const SET_ASIDE = /^quarantine(\/|$)/
/** What left a queue so was not lost. */
const HARMLESS = new Set(['replaced', 'session discarded', 'forgotten', 'quarantined'])
const TEXT_MAX = 500
/** What passes sooner is no event: each start of a program would be one. */
const PATIENCE_MS = 5_000
const LOOK_INTERVAL_MS = 1_000
/** Of all together, and of one program: names in reports are its own. */
const LASTING_MAX = 10_000
const OF_KEEPER_MAX = 100
const MOMENTS_MAX = 1_000
/** What ended longer ago is deleted. */
const KEPT_MS_MAX = 90 * 24 * 3_600_000
const TIDY_INTERVAL_MS = 24 * 3_600_000

const CHANGING: ReadonlySet<HealthKind> = new Set([
  ...(['camera-down', 'recording-stopped', 'desired-refused'] as const),
  ...(['not-looking', 'servers-away', 'processor-down'] as const),
])

interface Cause {
  readonly kind: HealthKind
  readonly subject: string
  readonly level: 'info' | 'warning' | 'problem'
  readonly text: string
  readonly camera?: CameraAddress
  readonly site?: string
}

/** Of what lasts; it is written once it has lasted for a while. */
interface Lasting {
  readonly id: string
  readonly cause: Cause
  readonly sinceMs: number
  /** The text that the database has; undefined: it has no event yet. */
  written: string | undefined
}

export interface HealthEventsOptions {
  readonly database: Database
  /** An event was opened, changed or closed. */
  readonly onChange: (id: string, camera: CameraAddress | undefined) => void
  readonly log: Log
  /** Default PATIENCE_MS. */
  readonly patienceMs?: number
}

export class HealthEvents implements AsyncDisposable {
  readonly #options: HealthEventsOptions
  /** By kind and subject. */
  readonly #lasting = new Map<string, Lasting>()
  /** Of each program, the keys of what lasts: what its next report does not name is over. */
  readonly #ofKeeper = new Map<string, Set<string>>()
  /** What the database does not have yet: what is over, by id, and what happened in a moment. */
  readonly #over = new Map<string, { readonly atMs: number; readonly camera: CameraAddress | undefined }>()
  #moments: { readonly cause: Cause; readonly atMs: number }[] = []
  readonly #timer: NodeJS.Timeout
  #writing: Promise<void> | undefined
  #failing = false
  #tidiedAtMs = Number.NEGATIVE_INFINITY

  private constructor(options: HealthEventsOptions) {
    this.#options = options
    const { patienceMs = PATIENCE_MS } = options
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_INTERVAL_MS, patienceMs)).unref()
  }

  static async open(options: HealthEventsOptions): Promise<HealthEvents> {
    const events = new HealthEvents(options)
    for (const row of await options.database.read
      .selectFrom('health_events')
      .selectAll()
      .where('ended_at_ms', 'is', null)
      .orderBy('at_ms', 'desc')
      .limit(LASTING_MAX)
      .execute()) {
      const { id, at_ms: sinceMs, text } = row
      const cause = { kind: row.kind as HealthKind, subject: row.subject, level: row.level, text }
      events.#lasting.set(keyOf(cause), { id, cause, sinceMs, written: text })
      const [keeper = ''] = row.subject.split(' ')
      if (row.camera === null && row.site === null) events.#keysOf(keeper).add(keyOf(cause))
    }
    return events
  }

  camera(seen: CameraSeen): void {
    const { site, device, camera, state } = seen
    const subject = `${site}/${device}/${camera}`
    this.#is(seen.is === 'down', {
      kind: 'camera-down',
      subject,
      level: 'problem',
      text: state?.why ?? 'No picture from the camera.',
      camera: { site, device, camera },
    })
    // Why it does not record although it should: no room, no budget, a codec that cannot be kept. A camera that is down says so itself.
    const record = state?.record
    const isStopped =
      record !== undefined && record.mode !== 'off' && !record.recording && record.why !== null
    this.#is(isStopped && seen.is === 'live', {
      kind: 'recording-stopped',
      subject,
      level: 'problem',
      text: record?.why ?? 'It does not record.',
      camera: { site, device, camera },
    })
    // Where nobody looks for long the camera is down, which says why.
    const { on, why: whyThere } = state?.detect ?? { on: undefined, why: null }
    this.#is(on === 'none' && seen.is === 'live', {
      kind: 'not-looking',
      subject,
      level: 'problem',
      text: `Nobody looks for faces. ${whyThere ?? ''}`.trim(),
      camera: { site, device, camera },
    })
    this.#is(isWithoutServers(state) && seen.is === 'live', {
      kind: 'servers-away',
      subject,
      level: 'warning',
      text: `Its device looks for faces itself. ${whyThere ?? ''}`.trim(),
      camera: { site, device, camera },
    })
    const broken = (state?.process ?? []).filter((one) => one.state === 'down')
    this.#is(broken.length > 0 && seen.is === 'live', {
      kind: 'processor-down',
      subject,
      level: 'problem',
      text: broken.map(({ name, why }) => `"${name}" does not work. ${why ?? ''}`.trim()).join(' '),
      camera: { site, device, camera },
    })
  }

  device({ site, device, isOnline }: DeviceSeen): void {
    this.#is(!isOnline, {
      kind: 'device-offline',
      subject: `${site}/${device}`,
      level: 'problem',
      text: 'The device is not connected.',
      site,
    })
  }

  /** @param why what a device was told is not taken; undefined: it is, or that is not known */
  desired(
    { site, device }: { readonly site: string; readonly device: string },
    why: string | undefined,
  ): void {
    this.#is(why !== undefined, {
      kind: 'desired-refused',
      subject: `${site}/${device}`,
      level: 'problem',
      text: why ?? '',
      site,
    })
  }

  keeper(seen: KeeperSeen, before: KeeperSeen | undefined): void {
    const { report, isSilent } = seen
    const { keeper: subject } = report
    const seconds = Math.round((3 * report.everyMs) / 1000)
    if (isSilent && !report.ended) {
      this.#is(true, {
        kind: 'keeper-silent',
        subject,
        level: 'problem',
        text: `${report.program} ${report.name} has sent no report for more than ${seconds} s.`,
      })
      this.#keysOf(subject).add(`keeper-silent ${subject}`)
      return
    }
    const causes = report.ended ? [] : causesOf(seen, (key) => this.#lasting.has(key))
    const keys = new Set<string>()
    for (const cause of causes.slice(0, OF_KEEPER_MAX)) {
      keys.add(keyOf(cause))
      this.#is(true, cause)
    }
    this.#replace(subject, keys)
    if (before && before.report.startedAtMs === report.startedAtMs)
      for (const cause of lossesOf(report, before.report).slice(0, OF_KEEPER_MAX)) this.#was(cause)
  }

  /** Somebody has taken its report away. */
  gone({ report: { keeper } }: KeeperSeen): void {
    this.#replace(keeper, new Set())
    this.#ofKeeper.delete(keeper)
  }

  #keysOf(keeper: string): Set<string> {
    const known = this.#ofKeeper.get(keeper)
    if (known) return known
    const keys = new Set<string>()
    this.#ofKeeper.set(keeper, keys)
    return keys
  }

  #replace(keeper: string, keys: Set<string>): void {
    for (const key of this.#ofKeeper.get(keeper) ?? []) if (!keys.has(key)) this.#end(key)
    if (keys.size === 0) this.#ofKeeper.delete(keeper)
    else this.#ofKeeper.set(keeper, keys)
  }

  #is(lasts: boolean, cause: Cause): void {
    const key = keyOf(cause)
    const known = this.#lasting.get(key)
    if (!lasts) this.#end(key)
    else if (known) {
      // How long something waits changes with each report; why a camera is down, or not recorded, is worth a change.
      if (CHANGING.has(cause.kind)) this.#lasting.set(key, { ...known, cause })
    } else if (this.#lasting.size < LASTING_MAX)
      this.#lasting.set(key, { id: newId(), cause, sinceMs: Date.now(), written: undefined })
  }

  #end(key: string): void {
    const known = this.#lasting.get(key)
    if (!known) return
    this.#lasting.delete(key)
    if (known.written !== undefined)
      this.#over.set(known.id, { atMs: Date.now(), camera: known.cause.camera })
  }

  /** It happened, in a moment. */
  #was(cause: Cause): void {
    if (this.#moments.length < MOMENTS_MAX) this.#moments.push({ cause, atMs: Date.now() })
  }

  /** What the database does not have yet is written, one after the other; what fails is tried again. */
  #look(): void {
    this.#writing ??= this.#write()
      .then(
        () => {
          this.#failing = false
        },
        (error: unknown) => {
          const { code, message } = asFailure(error)
          if (!this.#failing)
            this.#options.log.warn({ code }, `events of health wait for the database: ${message}`)
          this.#failing = true
        },
      )
      .finally(() => {
        this.#writing = undefined
      })
  }

  async #write(): Promise<void> {
    const { database, onChange, patienceMs = PATIENCE_MS } = this.#options
    const now = Date.now()
    for (const [key, lasting] of [...this.#lasting]) {
      const { id, cause, sinceMs, written } = lasting
      const text = cause.text.slice(0, TEXT_MAX)
      if (written === undefined) {
        if (now - sinceMs < patienceMs) continue
        await this.#insert(id, cause, sinceMs, null)
      } else if (written !== text && CHANGING.has(cause.kind))
        await database.write.updateTable('health_events').set({ text }).where('id', '=', id).execute()
      else continue
      // It may be over meanwhile: then that is to be written too.
      const current = this.#lasting.get(key)
      if (current?.id === id) current.written = text
      else this.#over.set(id, { atMs: Date.now(), camera: cause.camera })
      onChange(id, cause.camera)
    }
    for (const [id, { atMs, camera }] of [...this.#over]) {
      await database.write
        .updateTable('health_events')
        .set({ ended_at_ms: atMs })
        .where('id', '=', id)
        .execute()
      this.#over.delete(id)
      onChange(id, camera)
    }
    for (let moment = this.#moments[0]; moment; moment = this.#moments[0]) {
      const id = newId()
      await this.#insert(id, moment.cause, moment.atMs, moment.atMs)
      this.#moments.shift()
      onChange(id, moment.cause.camera)
    }
    if (performance.now() - this.#tidiedAtMs < TIDY_INTERVAL_MS) return
    await database.write
      .deleteFrom('health_events')
      .where('ended_at_ms', '<', now - KEPT_MS_MAX)
      .execute()
    this.#tidiedAtMs = performance.now()
  }

  async #insert(
    id: string,
    { kind, subject, level, text, camera, site }: Cause,
    atMs: number,
    endedAtMs: number | null,
  ): Promise<void> {
    await this.#options.database.write
      .insertInto('health_events')
      .values({
        id,
        at_ms: atMs,
        kind,
        subject,
        site: camera?.site ?? site ?? null,
        camera: camera ? `${camera.site}/${camera.device}/${camera.camera}` : null,
        level,
        text: text.slice(0, TEXT_MAX),
        ended_at_ms: endedAtMs,
        reviewed_by: null,
        reviewed_at_ms: null,
      })
      .onConflict((it) => it.column('id').doNothing())
      .execute()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#writing
    this.#look()
    await this.#writing
  }
}

/** What is wrong with a program, by its report. @param isOpen whether something lasts already: it ends later than it begins */
function causesOf({ report }: KeeperSeen, isOpen: (key: string) => boolean): Cause[] {
  const { keeper: subject, checks, queues, certificates = [], atMs } = report
  const causes: Cause[] = []
  if (!report.ok) {
    const text = Object.entries(checks)
      .map(([name, check]) => `${name}: ${check}`)
      .join('; ')
    causes.push({
      kind: 'keeper-unwell',
      subject,
      level: 'problem',
      text: text === '' ? 'It reports that it is unhealthy.' : text,
    })
  }
  for (const queue of queues) {
    const name = `${subject} ${queue.name}`
    const waitsMs = queue.oldestAtMs === null ? 0 : atMs - queue.oldestAtMs
    if (SET_ASIDE.test(queue.name)) {
      if (queue.pending > 0)
        causes.push({
          kind: 'quarantine',
          subject: name,
          level: 'warning',
          text: `${queue.pending} messages in ${queue.name}. See: sightline quarantine`,
        })
    } else if (waitsMs > (isOpen(`queue-growing ${name}`) ? WAITS_MS_OVER : WAITS_MS_MAX))
      causes.push({
        kind: 'queue-growing',
        subject: name,
        level: 'warning',
        text: `${queue.pending} wait in ${queue.name}, the oldest for ${Math.round(waitsMs / 1000)} s.`,
      })
  }
  for (const { name, endsAtMs } of certificates)
    if (endsAtMs - atMs < CERTIFICATE_MS_MIN)
      causes.push({
        kind: 'certificate-ends',
        subject: `${subject} ${name}`,
        level: endsAtMs < atMs ? 'problem' : 'warning',
        text: `The certificate ${name} ${endsAtMs < atMs ? 'ended' : 'ends'} on ${new Date(endsAtMs).toISOString().slice(0, 10)}.`,
      })
  return causes
}

/** What was lost between two reports of one run. */
function lossesOf(now: KeeperReport, before: KeeperReport): Cause[] {
  return now.queues.flatMap((queue) => {
    const earlier = before.queues.find(({ name }) => name === queue.name)
    if (!earlier) return []
    return Object.entries(queue.dropped).flatMap(([reason, count]): Cause[] => {
      const more = count - (earlier.dropped[reason] ?? 0)
      if (more <= 0 || HARMLESS.has(reason)) return []
      return [
        {
          kind: 'dropped',
          subject: `${now.keeper} ${queue.name}`,
          level: 'problem',
          text: `${more} messages of ${queue.name} were dropped: ${reason}.`,
        },
      ]
    })
  })
}

const keyOf = ({ kind, subject }: Pick<Cause, 'kind' | 'subject'>) => `${kind} ${subject}`
