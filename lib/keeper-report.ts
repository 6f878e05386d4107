import {
  KEEPER_BYTES_MAX,
  KEEPER_VERSION,
  type KeeperReport,
  keeperTopic,
  type QueueBooks,
} from '../wire/keepers.ts'
import { asFailure } from './errors.ts'
import type { Health } from './http/server.ts'
import type { Log } from './log.ts'
import { certificatesRead } from './tls/certificates.ts'
import { packageVersion } from './version.ts'

/**
 * Says how this program is and what its books are (wire/keepers.ts), for a console that cannot reach it: each `everyMs`,
 * within a second when it becomes well or unwell or a link comes or goes, and with `ended` at a clean end. One report is
 * on its way at a time, so that a broker that does not answer gets no queue of them.
 */
export interface KeeperReporterParts {
  readonly topicPrefix: string
  /** keeperName() of it: the last level of the topic. */
  readonly keeper: string
  readonly program: KeeperReport['program']
  readonly name: string
  readonly everyMs: number
  readonly health: () => Health
  readonly queues: () => readonly QueueBooks[]
  readonly links: () => KeeperReport['links']
  readonly counts?: () => Promise<Readonly<Record<string, number>>>
  /** Retained, at QoS 1. Resolves when it is out; a rejection is said in the log, and the next report is a new one. */
  readonly publish: (topic: string, payload: string) => Promise<void>
  readonly log: Log
}

/** How often it looks whether something has become well or unwell, and so the least between two reports, ms. */
const LOOK_MS = 1000
/** How long the last report may take, ms. */
const FAREWELL_MS_MAX = 500
const NAME_CHARACTERS_MAX = 300
const CHECKS_MAX = 1000
const CHECK_NAME_CHARACTERS_MAX = 100
const CHECK_CHARACTERS_MAX = 500
const LINKS_MAX = 100
const QUEUES_MAX = 1000
const CERTIFICATES_MAX = 100

export class KeeperReporter implements AsyncDisposable {
  readonly #parts: KeeperReporterParts
  readonly #startedAtMs = Date.now()
  readonly #timer: NodeJS.Timeout
  #saidAtMs = Number.NEGATIVE_INFINITY
  /** What was well at the last report. */
  #said = ''
  #saying: Promise<void> | undefined
  #failing = false

  private constructor(parts: KeeperReporterParts) {
    this.#parts = parts
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, parts.everyMs)).unref()
  }

  /** The first report goes out at once. */
  static open(parts: KeeperReporterParts): KeeperReporter {
    const reporter = new KeeperReporter(parts)
    reporter.#look()
    return reporter
  }

  #look(): void {
    if (this.#saying) return
    const { everyMs } = this.#parts
    // Half a look's tolerance: a report is due at the look that is nearest.
    const isDue = performance.now() - this.#saidAtMs >= everyMs - LOOK_MS / 2
    if (!isDue && this.#well() === this.#said) return
    this.#saying = this.#say().finally(() => {
      this.#saying = undefined
    })
  }

  #well(): string {
    const { health, links } = this.#parts
    return [health().ok, ...links().map(({ name, connected }) => `${name} ${connected}`)].join(',')
  }

  /** Never rejects. */
  async #say(ended?: true): Promise<void> {
    const { topicPrefix, keeper, publish, log } = this.#parts
    this.#saidAtMs = performance.now()
    this.#said = this.#well()
    try {
      await publish(keeperTopic(topicPrefix, keeper), keeperText(await this.#report(ended)))
      this.#failing = false
    } catch (error) {
      const { code, message } = asFailure(error)
      if (!this.#failing) log.warn({ code, keeper }, `cannot publish this program's report: ${message}`)
      this.#failing = true
    }
  }

  async #report(ended?: true): Promise<KeeperReport> {
    const { keeper, program, name, everyMs, health, queues, links, counts } = this.#parts
    const { ok, checks } = health()
    return {
      v: KEEPER_VERSION,
      keeper,
      program,
      name: name.slice(0, 200),
      version: packageVersion(),
      startedAtMs: this.#startedAtMs,
      atMs: Date.now(),
      everyMs,
      ...(ended && { ended }),
      ok,
      checks: Object.fromEntries(
        Object.entries(checks)
          .slice(0, CHECKS_MAX)
          .map(([what, text]) => [
            what.slice(0, CHECK_NAME_CHARACTERS_MAX),
            text.slice(0, CHECK_CHARACTERS_MAX),
          ]),
      ),
      // Those with most first: they are what somebody looks for.
      queues: queues()
        .map((books) => ({ ...books, name: books.name.slice(0, NAME_CHARACTERS_MAX) }))
        .sort((a, b) => b.pending - a.pending)
        .slice(0, QUEUES_MAX),
      links: links().slice(0, LINKS_MAX),
      ...(counts && { counts: await counts() }),
      certificates: [...certificatesRead()]
        .slice(0, CERTIFICATES_MAX)
        .map(([file, endsAtMs]) => ({ name: baseName(file), endsAtMs })),
    }
  }

  /** Says that it ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    const last = async () => {
      await this.#saying
      await this.#say(true)
    }
    await Promise.race([last(), new Promise((resolve) => setTimeout(resolve, FAREWELL_MS_MAX).unref())])
  }
}

/** Within KEEPER_BYTES_MAX: queues that hold little are left out where there are too many. */
export function keeperText(report: KeeperReport): string {
  for (let { queues } = report; ; queues = queues.slice(0, Math.floor(queues.length / 2))) {
    const text = JSON.stringify({ ...report, queues })
    if (queues.length === 0 || Buffer.byteLength(text) <= KEEPER_BYTES_MAX) return text
  }
}

/** A path says more of the machine than others need to know. */
const baseName = (file: string) => file.replace(/^.*[/\\]/, '').slice(-NAME_CHARACTERS_MAX)
