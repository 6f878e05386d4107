import { gauge, type Registry } from '../lib/metrics.ts'
import type { QueueBooks } from '../wire/keepers.ts'
import type { Books, Queue } from './queue.ts'
import type { Store } from './store.ts'

/** Every queue's books, for the line that a program writes when it ends. */
export function booksOf(store: Store): Record<string, Books> {
  return Object.fromEntries([...store.queues].map(([name, { books }]) => [name, books]))
}

/** Every queue's books, for the report that a program makes of itself (lib/keeper-report.ts). */
export function queueBooks(store: Store, nowMs = Date.now()): QueueBooks[] {
  return [...store.queues].map(([name, queue]) => ({
    name,
    ...queue.books,
    bytes: queue.bytes,
    oldestAtMs: queue.size === 0 ? null : nowMs - Math.round(queue.oldestAgeMs(nowMs)),
  }))
}

/** Every queue's books and bounds, and whether the store takes messages. */
export function measureQueues(registry: Registry, store: Store): void {
  gauge(registry, 'store_up', 'Whether the store accepts messages: 0 while its disk is full', [], (made) =>
    made.set(store.fault === undefined ? 1 : 0),
  )
  const make = (name: string, help: string, value: (queue: Queue) => number) => {
    gauge(registry, name, help, ['queue'], (made) => {
      made.reset()
      for (const [queue, at] of store.queues) made.set({ queue }, value(at))
    })
  }
  make('queue_accepted_total', 'Messages accepted and stored', (queue) => queue.books.accepted)
  make('queue_forwarded_total', 'Messages acknowledged by the receiver', (queue) => queue.books.forwarded)
  make('queue_pending', 'Messages waiting', (queue) => queue.size)
  make('queue_pending_bytes', 'Bytes of messages waiting', (queue) => queue.bytes)
  make(
    'queue_oldest_age_seconds',
    'How long the oldest message has waited',
    (queue) => queue.oldestAgeMs() / 1000,
  )
  make('queue_max', 'Limit of messages waiting', (queue) => queue.bounds.entriesMax)
  make('queue_bytes_max', 'Limit of bytes of messages waiting', (queue) => queue.bounds.bytesMax)
  gauge(registry, 'queue_dropped_total', 'Messages lost, by reason', ['queue', 'reason'], (made) => {
    made.reset()
    for (const [name, queue] of store.queues) {
      for (const [reason, count] of Object.entries(queue.books.dropped))
        made.set({ queue: name, reason }, count)
    }
  })
  gauge(registry, 'store_damaged', 'Whether the store has a damaged file set aside', [], (made) =>
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
