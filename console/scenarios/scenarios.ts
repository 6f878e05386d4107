import type { Log } from '../../lib/log.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { PublishedScenario, PublishedScenarios } from '../context.ts'
import type { DeviceDocument, Scenario } from './document.ts'
import type { Documents, Kept } from './documents.ts'
import { isActive, nextChange } from './schedule.ts'
import { isSelected, type LabelsOf, labelsBy } from './selection.ts'

/** What holds now: the scenarios that are published, and what devices are beside them. Kept in memory, read anew when changed. */

/** A clock that is set anew is noticed within it; no timer of Node's lasts longer than 24 days. */
const LOOK_MS_MAX = 10_000
const LOOK_MS_MIN = 10
const RETRY_MS = 2_000
/** For how long what a schedule says is not asked anew at most. */
const KNOWN_MS_MAX = 3_600_000

export interface LiveScenariosOptions {
  readonly documents: Documents
  readonly log: Log
  readonly now?: () => number
}

export class LiveScenarios implements PublishedScenarios, AsyncDisposable {
  readonly #options: Required<LiveScenariosOptions>
  readonly #followers = new Set<() => void>()
  readonly #stop: () => void
  #published: readonly PublishedScenario[] = []
  #devices: ReadonlyMap<string, DeviceDocument> = new Map()
  #active = ''
  #timer: NodeJS.Timeout | undefined
  #reading: Promise<void> | undefined
  #isStale = false
  #isClosed = false

  private constructor(options: LiveScenariosOptions) {
    this.#options = { now: Date.now, ...options }
    this.#stop = options.documents.follow((kind) => {
      if (kind === 'scenario' || kind === 'device') void this.reload().catch(() => {})
    })
  }

  /** Errors: those of the database */
  static async open(options: LiveScenariosOptions): Promise<LiveScenarios> {
    const scenarios = new LiveScenarios(options)
    await scenarios.reload()
    return scenarios
  }

  get published(): readonly PublishedScenario[] {
    return this.#published
  }

  /** By `site/device`. */
  get devices(): ReadonlyMap<string, DeviceDocument> {
    return this.#devices
  }

  /** Also where a schedule begins or ends to hold, and where labels change. */
  follow(changed: () => void): () => void {
    this.#followers.add(changed)
    return () => void this.#followers.delete(changed)
  }

  /** Resolves when what was written before the call holds. Errors: those of the database; then it is tried again. */
  async reload(): Promise<void> {
    this.#isStale = true
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined
    })
    await this.#reading
  }

  async #readAll(): Promise<void> {
    try {
      while (this.#isStale && !this.#isClosed) {
        this.#isStale = false
        await this.#read()
      }
    } catch (error) {
      this.#options.log.warn({ error: String(error) }, 'scenarios could not be read; trying again')
      this.#wait(RETRY_MS, () => void this.reload().catch(() => {}))
      throw error
    }
  }

  async #read(): Promise<void> {
    const { documents } = this.#options
    const devices = new Map((await documents.list('device')).map(({ id, document }) => [id, document]))
    const labelsOf = labelsBy(devices)
    const published = (await documents.list('scenario'))
      .filter(({ state }) => state === 'published')
      .map((kept) => publishedOf(kept, labelsOf))
    this.#devices = devices
    this.#published = published
    this.#look(true)
  }

  /** Tells of what has begun or ended to hold, and comes back when something next does. */
  #look(isChanged = false): void {
    const nowMs = this.#options.now()
    const active = this.#published.filter((it) => it.isActive(nowMs)).map(({ id }) => id)
    const before = this.#active
    this.#active = active.join(' ')
    if (isChanged || before !== this.#active) for (const changed of this.#followers) changed()
    const nextMs = Math.min(
      LOOK_MS_MAX,
      ...this.#published.map(
        ({ scenario }) => (nextChange(scenario.schedule, nowMs) ?? nowMs + LOOK_MS_MAX) - nowMs,
      ),
    )
    this.#wait(Math.max(LOOK_MS_MIN, nextMs), () => this.#look())
  }

  #wait(ms: number, then: () => void): void {
    clearTimeout(this.#timer)
    if (!this.#isClosed) this.#timer = setTimeout(then, ms).unref()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#stop()
    clearTimeout(this.#timer)
    await this.#reading?.catch(() => {})
  }
}

/** Also of one that is not published, to see what it would do. */
export function publishedOf(
  { id, revision, document }: Pick<Kept<Scenario>, 'id' | 'revision' | 'document'>,
  labelsOf: LabelsOf,
): PublishedScenario {
  // Asked with every face: what a schedule says holds until it changes.
  let known = { fromMs: Number.POSITIVE_INFINITY, toMs: Number.NEGATIVE_INFINITY, is: false }
  return {
    id,
    revision,
    scenario: document,
    isActive(atMs) {
      const { schedule } = document
      if (!schedule) return true
      if (atMs < known.fromMs || atMs >= known.toMs) {
        const latestMs = atMs + KNOWN_MS_MAX
        const toMs = Math.min(nextChange(schedule, atMs) ?? latestMs, latestMs)
        known = { fromMs: atMs, toMs, is: isActive(schedule, atMs) }
      }
      return known.is
    },
    covers: (camera: CameraAddress) => isSelected(document.cameras, camera, labelsOf),
  }
}
