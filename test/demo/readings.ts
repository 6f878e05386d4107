import type { QueueReadings, Readings } from '../../demo/readings.ts'

export function queue(settings: Partial<QueueReadings> = {}): QueueReadings {
  return { accepted: 0, forwarded: 0, pending: 0, dropped: 0, ...settings }
}

/** Readings of a line that has done nothing yet, but for what is given. */
export function readings(settings: Partial<Readings> = {}): Readings {
  return {
    atMs: 0,
    captured: 0,
    skipped: 0,
    detected: 0,
    made: 0,
    published: 0,
    publishedAtLast: settings.published ?? 0,
    waiting: 0,
    droppedByAgent: 0,
    edge: queue(),
    cloud: queue(),
    inbox: queue(),
    inboxWaiting: 0,
    stored: 0,
    clips: { made: 0, stored: 0, outbox: queue(), edge: queue(), cloud: queue(), inbox: queue() },
    alreadyThere: 0,
    duplicates: 0,
    quarantined: 0,
    linkUp: true,
    latency: new Map(),
    ...settings,
  }
}
