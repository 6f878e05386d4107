import { counter, gauge, histogram, type Registry } from '../lib/metrics.ts'
import { DESIRED_STATES } from './desired/judge.ts'

/** What the console counts, and what is measured of it. */

/** From the bucket to the database, and so to the pages that are open. */
const LATENCY_SECONDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 60, 600, 3600]

export function openMeters(registry: Registry) {
  return {
    received: counter(registry, 'console_received_total', 'Messages of announcements received'),
    indexed: counter(registry, 'console_indexed_total', 'Detections that are new in the database'),
    indexedClips: counter(
      registry,
      'console_indexed_clips_total',
      'Chunks of recordings that are new in the database',
    ),
    repeated: counter(registry, 'console_repeated_total', 'Announcements of what was known already'),
    removed: counter(
      registry,
      'console_removed_total',
      'Detections and chunks of recordings that left the database',
    ),
    invalid: counter(registry, 'console_invalid_total', 'Lines that are no announcements, in quarantine'),
    latency: histogram(registry, 'console_latency_seconds', 'From bucket to database', LATENCY_SECONDS),
    answersDropped: counter(
      registry,
      'console_reported_dropped_total',
      'Answers of devices that were not taken',
      ['why'],
    ),
  }
}

export interface Measured {
  readonly isConnected: () => boolean
  /** Whether the database takes what arrives. */
  readonly isWritten: () => boolean
  readonly readers: () => number
  readonly viewers: () => number
  /** Devices by what they say; undefined: none is told anything. */
  readonly desired: () => ReadonlyMap<string, number> | undefined
  readonly eventsDropped: () => number
}

export function measureConsole(registry: Registry, of: Measured): void {
  gauge(registry, 'console_up', 'Whether the broker is connected', [], (it) =>
    it.set(of.isConnected() ? 1 : 0),
  )
  gauge(registry, 'console_database_up', 'Whether the database takes what arrives', [], (it) =>
    it.set(of.isWritten() ? 1 : 0),
  )
  gauge(registry, 'console_streams', 'Event streams and live pictures that are open', ['kind'], (it) => {
    it.set({ kind: 'events' }, of.readers())
    it.set({ kind: 'live' }, of.viewers())
  })
  gauge(
    registry,
    'console_desired',
    'Devices by what they answer to their desired configuration',
    ['state'],
    (it) => {
      const counts = of.desired()
      for (const state of DESIRED_STATES) it.set({ state }, counts?.get(state) ?? 0)
    },
  )
  gauge(registry, 'console_events_dropped', 'Events of faces that were malformed, or too many', [], (it) =>
    it.set(of.eventsDropped()),
  )
}
