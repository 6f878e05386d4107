import { asFailure } from '../lib/errors.ts'
import type { Log } from '../lib/log.ts'
import { newId } from '../wire/id.ts'
import type { CameraAddress } from '../wire/topics.ts'
import type { CameraSeen, DeviceSeen, KeeperSeen } from './context.ts'
import type { Database } from './database/database.ts'

/**
 * What went wrong, and for how long: opened and closed by what programs, devices and cameras say. One event lasts as long as
 * its cause, so that a camera that flickers is a line each time, and one that is down for a week is one.
 */

export const HEALTH_KINDS = [
  'camera-down',
  'device-offline',
  'keeper-silent',
  'keeper-unwell',
  'queue-growing',
  'quarantine',
  'dropped',
  'certificate-ends',
] as const
export type HealthKind = (typeof HEALTH_KINDS)[number]

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
/** Writes that wait for the database; more are not made: what lasts is opened again later. */
const WRITES_MAX = 1_000

interface Cause {
  readonly kind: HealthKind
  readonly subject: string
  readonly level: 'info' | 'warning' | 'problem'
  readonly text: string
  readonly camera?: CameraAddress
  readonly site?: string
}

interface Open {
  readonly id: string
  readonly cause: Cause
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
  readonly #open = new Map<string, Open>()
  /** What began and has not lasted yet. */
  readonly #begun = new Map<string, { readonly cause: Cause; readonly sinceMs: number }>()
  readonly #timer: NodeJS.Timeout
  readonly #patienceMs: number
  #writes = 0
  /** Written one after the other, so that what opens is there before it closes. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(options: HealthEventsOptions) {
    this.#options = options
    const { patienceMs = PATIENCE_MS } = options
    this.#patienceMs = patienceMs
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_INTERVAL_MS, patienceMs)).unref()
  }

  static async open(options: HealthEventsOptions): Promise<HealthEvents> {
    const events = new HealthEvents(options)
    for (const row of await options.database.read
      .selectFrom('health_events')
      .selectAll()
      .where('ended_at_ms', 'is', null)
      .execute()) {
      const cause = { kind: row.kind as HealthKind, subject: row.subject, level: row.level, text: row.text }
      events.#open.set(keyOf(cause), { id: row.id, cause })
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
  }

  device({ site, device, isOnline }: DeviceSeen): void {
    this.#is(!isOnline, {
      kind: 'device-offline',
      subject: `${site}/${device}`,
      level: 'problem',
      text: 'The agent is not connected.',
      site,
    })
  }

  keeper(seen: KeeperSeen, before: KeeperSeen | undefined): void {
    const { report, isSilent } = seen
    const { keeper: subject } = report
    const seconds = Math.round((3 * report.everyMs) / 1000)
    this.#is(isSilent && !report.ended, {
      kind: 'keeper-silent',
      subject,
      level: 'problem',
      text: `${report.program} ${report.name} has sent no report for more than ${seconds} s.`,
    })
    if (isSilent) return
    const wrong = Object.entries(report.checks).map(([name, check]) => `${name}: ${check}`)
    this.#is(!report.ok && !report.ended, {
      kind: 'keeper-unwell',
      subject,
      level: 'problem',
      text: wrong.join('; ').slice(0, TEXT_MAX) || 'It reports that it is unhealthy.',
    })
    for (const queue of report.queues) {
      const name = `${subject} ${queue.name}`
      const isAside = SET_ASIDE.test(queue.name)
      const waitsMs = queue.oldestAtMs === null ? 0 : report.atMs - queue.oldestAtMs
      const isOpen = this.#open.has(`queue-growing ${name}`)
      this.#is(!isAside && waitsMs > (isOpen ? WAITS_MS_OVER : WAITS_MS_MAX), {
        kind: 'queue-growing',
        subject: name,
        level: 'warning',
        text: `${queue.pending} wait in ${queue.name}, the oldest for ${Math.round(waitsMs / 1000)} s.`,
      })
      this.#is(isAside && queue.pending > 0, {
        kind: 'quarantine',
        subject: name,
        level: 'warning',
        text: `${queue.pending} messages in ${queue.name}. See: sightline quarantine`,
      })
      const earlier = before?.report.queues.find((it) => it.name === queue.name)
      if (!earlier || before?.report.startedAtMs !== report.startedAtMs) continue
      for (const [reason, count] of Object.entries(queue.dropped)) {
        const more = count - (earlier.dropped[reason] ?? 0)
        if (more > 0 && !HARMLESS.has(reason))
          this.#was({
            kind: 'dropped',
            subject: name,
            level: 'problem',
            text: `${more} messages of ${queue.name} were dropped: ${reason}.`,
          })
      }
    }
    for (const { name, endsAtMs } of report.certificates ?? [])
      this.#is(endsAtMs - report.atMs < CERTIFICATE_MS_MIN, {
        kind: 'certificate-ends',
        subject: `${subject} ${name}`,
        level: endsAtMs < report.atMs ? 'problem' : 'warning',
        text: `The certificate ${name} ${endsAtMs < report.atMs ? 'ended' : 'ends'} on ${new Date(endsAtMs).toISOString().slice(0, 10)}.`,
      })
  }

  /** It lasts, or it does not. */
  #is(lasts: boolean, cause: Cause): void {
    const key = keyOf(cause)
    const open = this.#open.get(key)
    if (!lasts) this.#begun.delete(key)
    if (lasts && !open) {
      const { sinceMs = Date.now() } = this.#begun.get(key) ?? {}
      this.#begun.set(key, { cause, sinceMs })
    } else if (!lasts && open) {
      this.#open.delete(key)
      this.#write(open.id, cause.camera, (database) =>
        database.write
          .updateTable('health_events')
          .set({ ended_at_ms: Date.now() })
          .where('id', '=', open.id)
          .execute(),
      )
    } else if (lasts && open && cause.kind === 'camera-down' && open.cause.text !== cause.text) {
      this.#open.set(key, { id: open.id, cause })
      this.#write(open.id, cause.camera, (database) =>
        database.write
          .updateTable('health_events')
          .set({ text: cause.text })
          .where('id', '=', open.id)
          .execute(),
      )
    }
  }

  #look(): void {
    const now = Date.now()
    for (const [key, { cause, sinceMs }] of this.#begun) {
      if (now - sinceMs < this.#patienceMs) continue
      this.#begun.delete(key)
      const id = newId()
      this.#open.set(key, { id, cause })
      this.#insert(id, cause, sinceMs, null)
    }
  }

  /** It happened, in a moment. */
  #was(cause: Cause): void {
    this.#insert(newId(), cause, Date.now(), Date.now())
  }

  #insert(
    id: string,
    { kind, subject, level, text, camera, site }: Cause,
    atMs: number,
    endedAtMs: number | null,
  ): void {
    this.#write(id, camera, (database) =>
      database.write
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
        .execute(),
    )
  }

  #write(
    id: string,
    camera: CameraAddress | undefined,
    write: (database: Database) => Promise<unknown>,
  ): void {
    const { database, onChange, log } = this.#options
    if (this.#writes >= WRITES_MAX) return
    this.#writes += 1
    this.#writing = this.#writing.then(async () => {
      try {
        await write(database)
        onChange(id, camera)
      } catch (error) {
        log.warn(
          { code: asFailure(error).code },
          `an event of health was not written: ${asFailure(error).message}`,
        )
      } finally {
        this.#writes -= 1
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#writing
  }
}

const keyOf = ({ kind, subject }: Pick<Cause, 'kind' | 'subject'>) => `${kind} ${subject}`
