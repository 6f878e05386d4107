import { asFailure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import type { PublishedScenario, PublishedScenarios } from '../context.ts'
import type { Database } from '../database/database.ts'
import { DOCUMENTS_MAX, type Documents } from '../scenarios/documents.ts'
import type { MqttNotices } from './mqtt.ts'

/**
 * Home Assistant knows each scenario that is published and tells a channel for it, from then on and before anything is seen; one
 * that is paused, deleted, or tells no such channel any more is withdrawn. What it is told is retained: at the start, and with
 * each connection, all is said again, since either side may have forgotten.
 */

export interface HomeAssistantParts {
  readonly database: Pick<Database, 'read'>
  readonly documents: Documents
  readonly scenarios: PublishedScenarios
  readonly mqtt: Pick<MqttNotices, 'announce' | 'withdraw'>
  readonly log: Log
  readonly retryMs?: number
}

const RETRY_MS = 5_000

export class HomeAssistant implements AsyncDisposable {
  readonly #parts: HomeAssistantParts
  readonly #unfollow: readonly (() => void)[]
  readonly #warn: () => void
  /** By scenario, the name under which it was told; what is not in it may have been told by an earlier run. */
  #told = new Map<string, string>()
  /** What an earlier run may have told is withdrawn, with this connection. */
  #isSwept = false
  #isConnected = false
  #isStale = false
  #isClosed = false
  #telling: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #fault = ''

  private constructor(parts: HomeAssistantParts) {
    this.#parts = parts
    const { documents, scenarios, log } = parts
    this.#warn = throttled((count) => log.warn({ count }, `Home Assistant is told later: ${this.#fault}`))
    this.#unfollow = [
      scenarios.follow(() => this.#wake()),
      documents.follow((kind) => kind === 'channel' && this.#wake()),
    ]
  }

  static open(parts: HomeAssistantParts): HomeAssistant {
    return new HomeAssistant(parts)
  }

  /** There is a connection, again: the broker may have forgotten. */
  connected(): void {
    this.#isConnected = true
    this.#told = new Map()
    this.#isSwept = false
    this.#wake()
  }

  #wake(): void {
    this.#isStale = true
    clearTimeout(this.#timer)
    if (!this.#isConnected || this.#isClosed) return
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = undefined
      if (this.#isStale && this.#timer === undefined) this.#wake()
    })
  }

  async #tellAll(): Promise<void> {
    this.#timer = undefined
    try {
      while (this.#isStale && !this.#isClosed) {
        this.#isStale = false
        await this.#tell()
      }
    } catch (error) {
      this.#fault = asFailure(error).message
      this.#warn()
      this.#isStale = true
      if (!this.#isClosed)
        this.#timer = setTimeout(() => this.#wake(), this.#parts.retryMs ?? RETRY_MS).unref()
    }
  }

  async #tell(): Promise<void> {
    const { mqtt, scenarios } = this.#parts
    const channels = await this.#channels()
    const wanted = new Map(
      scenarios.published.filter((it) => tells(it, channels)).map(({ id, scenario }) => [id, scenario.name]),
    )
    const told = this.#told
    for (const [id, name] of wanted) {
      if (this.#isClosed) return
      if (told.get(id) === name) continue
      await mqtt.announce({ id, name })
      told.set(id, name)
    }
    const gone = [...told.keys(), ...(this.#isSwept ? [] : await this.#earlier())]
    for (const id of new Set(gone.filter((it) => !wanted.has(it)))) {
      if (this.#isClosed) return
      await mqtt.withdraw(id)
      told.delete(id)
    }
    this.#isSwept = told === this.#told
  }

  /** Those that Home Assistant hears. */
  async #channels(): Promise<ReadonlySet<string>> {
    const all = await this.#parts.documents.list('channel')
    return new Set(
      all
        .filter(({ document: it }) => it.type === 'mqtt' && it.homeAssistant && it.enabled)
        .map(({ id }) => id),
    )
  }

  /** Scenarios that there are or were, as far as Home Assistant was ever to hear of any. */
  async #earlier(): Promise<string[]> {
    const revisions = () => this.#parts.database.read.selectFrom('document_revisions')
    const ever = await revisions()
      .select('id')
      .where('kind', '=', 'channel')
      .where('document_json', 'like', '%"homeAssistant":true%')
      .limit(1)
      .executeTakeFirst()
    if (!ever) return []
    const rows = await revisions()
      .select('id')
      .distinct()
      .where('kind', '=', 'scenario')
      .where('state', '=', 'published')
      .limit(DOCUMENTS_MAX)
      .execute()
    return rows.map(({ id }) => id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    for (const unfollow of this.#unfollow) unfollow()
    await this.#telling
  }
}

const tells = ({ scenario }: PublishedScenario, channels: ReadonlySet<string>) =>
  scenario.rules.some(({ enabled, notify }) => enabled && notify.some((it) => channels.has(it)))
