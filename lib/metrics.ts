import { readFile } from 'node:fs/promises'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { certificatesRead } from './certificates.ts'
import { restartsAfterHang } from './launcher.ts'
import type { Books, Queue, Store } from './queue.ts'

export type { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Peak and present anonymous memory, bytes. LMDB maps its file, so RSS says little; RssAnon is what bounds mean. */
export async function anonymousMemoryBytes(pid: number | 'self' = 'self'): Promise<number | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const match = /^RssAnon:\s+(\d+) kB$/m.exec(status)
    return match ? Number(match[1]) * 1024 : undefined
  } catch {
    return undefined // no /proc on this system: the gauge is absent rather than wrong
  }
}

/** A registry of one program's metrics; names start with `sightline_`. */
export function openMetrics(program: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ program })
  const memory = new Gauge({
    name: 'sightline_memory_bytes',
    help: 'Memory of this process: anonymous (RssAnon, which bounds are about), JavaScript heap, buffers',
    labelNames: ['kind'],
    registers: [registry],
    async collect() {
      const { heapTotal, arrayBuffers } = process.memoryUsage()
      memory.set({ kind: 'heap' }, heapTotal)
      memory.set({ kind: 'buffers' }, arrayBuffers)
      const bytes = await anonymousMemoryBytes()
      if (bytes !== undefined) memory.set({ kind: 'anonymous' }, bytes)
    },
  })
  counter(
    registry,
    'watchdog_restarts_total',
    'How often the launcher has killed this program because it hung, and started it again',
  ).inc(restartsAfterHang())
  gauge(
    registry,
    'certificate_valid_until_seconds',
    'When a certificate that this program shows ends, seconds since 1970',
    ['file'],
    (made) => {
      for (const [file, untilMs] of certificatesRead()) made.set({ file }, untilMs / 1000)
    },
  )
  return registry
}

export function counter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[] = [],
): Counter<L> {
  return new Counter({ name: `sightline_${name}`, help, labelNames: [...labelNames], registers: [registry] })
}

export function gauge<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly L[] = [],
  collect?: (gauge: Gauge<L>) => void,
): Gauge<L> {
  const made: Gauge<L> = new Gauge({
    name: `sightline_${name}`,
    help,
    labelNames: [...labelNames],
    registers: [registry],
    collect: collect ? () => collect(made) : undefined,
  })
  return made
}

export function histogram(registry: Registry, name: string, help: string, buckets: number[]): Histogram {
  return new Histogram({ name: `sightline_${name}`, help, buckets, registers: [registry] })
}

/** What a counter counted, all labels together. */
export async function total(counter: Counter): Promise<number> {
  return (await counter.get()).values.reduce((sum, { value }) => sum + value, 0)
}

/** Every queue's books, for the line that a program writes when it ends. */
export function booksOf(store: Store): Record<string, Books> {
  return Object.fromEntries([...store.queues].map(([name, { books }]) => [name, books]))
}

/** Every queue's books and bounds, and whether the store takes messages. */
export function measureQueues(registry: Registry, store: Store): void {
  gauge(registry, 'store_up', 'Whether the store takes messages: 0 while its disk is full', [], (made) =>
    made.set(store.fault === undefined ? 1 : 0),
  )
  const make = (name: string, help: string, value: (queue: Queue) => number) => {
    gauge(registry, name, help, ['queue'], (made) => {
      made.reset()
      for (const [queue, at] of store.queues) made.set({ queue }, value(at))
    })
  }
  make('queue_accepted_total', 'Messages taken into custody', (queue) => queue.books.accepted)
  make(
    'queue_forwarded_total',
    'Messages that the next keeper has acknowledged',
    (queue) => queue.books.forwarded,
  )
  make('queue_pending', 'Messages waiting', (queue) => queue.size)
  make('queue_pending_bytes', 'Bytes of messages waiting', (queue) => queue.bytes)
  make(
    'queue_oldest_age_seconds',
    'How long the oldest message has waited',
    (queue) => queue.oldestAgeMs() / 1000,
  )
  make('queue_max', 'Messages that may wait', (queue) => queue.bounds.entriesMax)
  make('queue_bytes_max', 'Bytes of messages that may wait', (queue) => queue.bounds.bytesMax)
  gauge(registry, 'queue_dropped_total', 'Messages lost, by reason', ['queue', 'reason'], (made) => {
    made.reset()
    for (const [name, queue] of store.queues) {
      for (const [reason, count] of Object.entries(queue.books.dropped))
        made.set({ queue: name, reason }, count)
    }
  })
  gauge(registry, 'store_damaged', 'Whether a damaged file lies beside the store', [], (made) =>
    made.set(store.salvage ? 1 : 0),
  )
  gauge(
    registry,
    'store_salvaged_entries',
    'Entries of the damaged file, by whether they could be read',
    ['outcome'],
    (made) => {
      if (!store.salvage) return
      made.set({ outcome: 'read' }, store.salvage.entriesRead)
      made.set({ outcome: 'lost' }, store.salvage.entriesLost)
    },
  )
}
