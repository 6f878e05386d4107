import { z } from 'zod'
/** What the four programs say of themselves at /metrics, gathered and put side by side. */

export interface Readings {
  readonly atMs: number
  readonly captured: number
  readonly skipped: number
  readonly detected: number
  readonly made: number
  readonly published: number
  /** Asked again after all the others: no fewer than they have of it, for people who look at one beside the other. */
  readonly publishedAtLast: number
  readonly waiting: number
  readonly droppedByAgent: number
  /** Of the bridge: crops, and beside them states, events and reports. */
  readonly edge: QueueReadings
  readonly cloud: QueueReadings
  readonly inbox: QueueReadings
  /** Crops in the inbox that are not in the bucket yet. */
  readonly inboxWaiting: number
  readonly stored: number
  /** Chunks of recordings, which take lanes of their own. */
  readonly clips: ClipReadings
  readonly alreadyThere: number
  readonly duplicates: number
  readonly quarantined: number
  readonly linkUp: boolean
  /** Crops stored within each latency, seconds, cumulative, as Prometheus histograms are. */
  readonly latency: ReadonlyMap<number, number>
}

export interface ClipReadings {
  readonly made: number
  readonly stored: number
  readonly outbox: QueueReadings
  readonly edge: QueueReadings
  readonly cloud: QueueReadings
  readonly inbox: QueueReadings
}

/** The agent's last words of what it recorded. */
const outboxBooks = z.object({
  queues: z.array(
    z.object({
      name: z.string(),
      accepted: z.number(),
      forwarded: z.number(),
      pending: z.number(),
      dropped: z.record(z.string(), z.number()),
    }),
  ),
})

export interface QueueReadings {
  readonly accepted: number
  readonly forwarded: number
  readonly pending: number
  readonly dropped: number
}

export interface MetricsAddresses {
  readonly device: string
  readonly edge: string
  readonly cloud: string
  readonly subscriber: string
}

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const FETCH_MS_MAX = 2000

/** A program that is away (it has ended) gives nothing; what it said last is the caller's to keep. */
export async function readMetrics(url: string): Promise<Sample[] | undefined> {
  try {
    const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(FETCH_MS_MAX) })
    return response.ok ? parseMetrics(await response.text()) : undefined
  } catch {
    return undefined
  }
}

/** What a program's health says of its one camera: `up`, `opening`, `down: why`. Undefined where it says nothing. */
export async function readCamera(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(FETCH_MS_MAX) })
    const { checks } = (await response.json()) as { checks: Readonly<Record<string, string>> }
    return Object.entries(checks).find(([name]) => name.startsWith('camera '))?.[1]
  } catch {
    return undefined
  }
}

/** Prometheus' text format, as far as prom-client writes it. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (!match?.[1]) continue
    const labels = Object.fromEntries(
      [...(match[2] ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [
        key as string,
        value as string,
      ]),
    )
    samples.push({ name: match[1].replace(/^sightline_/, ''), labels, value: Number(match[3]) })
  }
  return samples
}

export class Meter {
  readonly #addresses: MetricsAddresses
  readonly #last = new Map<keyof MetricsAddresses, Sample[]>()

  constructor(addresses: MetricsAddresses) {
    this.#addresses = addresses
  }

  /**
   * One after the other in the direction of flow: what a keeper had handed on when it was asked, the next one has
   * when its turn comes, so that a crop between two of them is never seen in neither.
   */
  async read(): Promise<Readings> {
    for (const name of ['device', 'edge', 'cloud', 'subscriber'] as const) {
      const samples = await readMetrics(this.#addresses[name])
      if (samples) this.#last.set(name, samples)
    }
    const of = (program: keyof MetricsAddresses) => this.#last.get(program) ?? []
    const last = (await readMetrics(this.#addresses.device)) ?? of('device')
    const sumOf = (samples: readonly Sample[], name: string) =>
      samples.reduce((total, sample) => (sample.name === name ? total + sample.value : total), 0)
    const sum = (program: keyof MetricsAddresses, name: string) => sumOf(of(program), name)
    const ofKind = (kind: string, name: string) =>
      sumOf(
        of('subscriber').filter(({ labels }) => labels.kind === kind),
        name,
      )
    const queue = (program: keyof MetricsAddresses, name: string): QueueReadings => {
      const value = (metric: string) =>
        of(program).reduce(
          (total, sample) =>
            sample.name === metric && sample.labels.queue === name ? total + sample.value : total,
          0,
        )
      const replaced = of(program).reduce(
        (total, { name: metric, labels, value: count }) =>
          metric === 'queue_dropped_total' && labels.queue === name && labels.reason === 'replaced'
            ? total + count
            : total,
        0,
      )
      return {
        accepted: value('queue_accepted_total'),
        // A state for which there is a newer one is not lost: the newer one goes in its place.
        forwarded: value('queue_forwarded_total') + replaced,
        pending: value('queue_pending'),
        dropped: value('queue_dropped_total') - replaced,
      }
    }
    return {
      atMs: Date.now(),
      captured: sum('device', 'frames_captured_total'),
      skipped: sum('device', 'frames_skipped_total'),
      detected: sum('device', 'faces_detected_total'),
      made: sum('device', 'crops_made_total'),
      published: sum('device', 'crops_published_total'),
      publishedAtLast: sumOf(last, 'crops_published_total'),
      waiting: sum('device', 'crops_pending'),
      droppedByAgent: sum('device', 'crops_dropped_total'),
      edge: queue('edge', 'bridge/cloud'),
      cloud: queue('cloud', 'session/sightline-subscriber'),
      inbox: queue('subscriber', 'inbox'),
      inboxWaiting: sum('subscriber', 'subscriber_waiting'),
      stored: ofKind('crop', 'subscriber_stored_total'),
      clips: {
        made: sum('device', 'clips_made_total'),
        stored: ofKind('clip', 'subscriber_stored_total'),
        outbox: queue('device', 'outbox'),
        edge: queue('edge', 'bridge/cloud/clips'),
        cloud: queue('cloud', 'session/sightline-subscriber-clips'),
        inbox: queue('subscriber', 'clips'),
      },
      alreadyThere: ofKind('crop', 'subscriber_already_there_total'),
      duplicates: ofKind('crop', 'subscriber_duplicates_total'),
      quarantined: sum('subscriber', 'subscriber_quarantined_total'),
      linkUp: sum('edge', 'bridge_up') > 0,
      latency: new Map(
        of('subscriber')
          .filter(({ name }) => name === 'subscriber_latency_seconds_bucket')
          .map(({ labels, value }) => [
            labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le),
            value,
          ]),
      ),
    }
  }
}

/** What has happened since `start`: a kept folder's queues go on counting where an earlier run left them. */
export function since(start: Readings, now: Readings): Readings {
  const less = (key: 'stored' | 'alreadyThere' | 'duplicates' | 'quarantined') => now[key] - start[key]
  const moved = (from: QueueReadings, to: QueueReadings): QueueReadings => ({
    accepted: to.accepted - from.accepted,
    forwarded: to.forwarded - from.forwarded,
    pending: to.pending,
    dropped: to.dropped - from.dropped,
  })
  const queue = (key: 'edge' | 'cloud' | 'inbox') => moved(start[key], now[key])
  const clips = (key: 'outbox' | 'edge' | 'cloud' | 'inbox') => moved(start.clips[key], now.clips[key])
  return {
    ...now,
    edge: queue('edge'),
    cloud: queue('cloud'),
    inbox: queue('inbox'),
    stored: less('stored'),
    clips: {
      made: now.clips.made - start.clips.made,
      stored: now.clips.stored - start.clips.stored,
      outbox: clips('outbox'),
      edge: clips('edge'),
      cloud: clips('cloud'),
      inbox: clips('inbox'),
    },
    alreadyThere: less('alreadyThere'),
    duplicates: less('duplicates'),
    quarantined: less('quarantined'),
  }
}

/**
 * With the agent's own last words, where it has ended: nobody answers at its address then, and what it did since the
 * last reading would be missing.
 */
export function withLastWords(
  readings: Readings,
  books: Readonly<Record<string, unknown>> | undefined,
  outbox: Readonly<Record<string, unknown>> | undefined,
): Readings {
  if (!books) return readings
  const count = (key: string) => (typeof books[key] === 'number' ? books[key] : 0)
  const clips = outboxBooks.safeParse(outbox).data?.queues.find(({ name }) => name === 'outbox')
  return {
    ...readings,
    clips: {
      ...readings.clips,
      made: count('clips'),
      ...(clips && {
        outbox: { ...clips, dropped: Object.values(clips.dropped).reduce((sum, it) => sum + it, 0) },
      }),
    },
    captured: count('captured'),
    detected: count('detected'),
    made: count('made'),
    published: count('published'),
    publishedAtLast: count('published'),
    droppedByAgent: count('dropped'),
    waiting: 0,
  }
}

/**
 * A quantile of what was stored between two readings, seconds, interpolated within its bucket.
 * @returns undefined where nothing was stored
 */
export function latencyQuantile(
  before: Readings | undefined,
  now: Readings,
  quantile: number,
): number | undefined {
  const counts = [...now.latency].map(
    ([limit, count]) => [limit, count - (before?.latency.get(limit) ?? 0)] as const,
  )
  const total = counts.at(-1)?.[1] ?? 0
  if (total <= 0) return undefined
  let lower = 0
  let below = 0
  for (const [limit, count] of counts) {
    if (count >= total * quantile) {
      if (limit === Number.POSITIVE_INFINITY) return lower
      const share = count === below ? 1 : (total * quantile - below) / (count - below)
      return lower + (limit - lower) * share
    }
    lower = limit
    below = count
  }
  return lower
}
