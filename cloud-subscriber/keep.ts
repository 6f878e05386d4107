import type { Log } from '../lib/log.ts'
import type { ReceivedPublish } from '../lib/mqtt/link.ts'
import { SteadyClock } from '../lib/steady-clock.ts'
import type { Queue } from '../store/queue.ts'
import { encodeEntry } from './entry.ts'
import { judge, type Keeping, keep, type Rules } from './judge.ts'

export interface CustodyOptions extends Keeping, Rules {
  readonly quarantine: Queue
  readonly log: Log
  readonly events: {
    readonly received: () => void
    readonly duplicate: () => void
    readonly quarantined: (reason: string) => void
  }
}

/**
 * What the intake does with each message: into the inbox, or, where it cannot be understood, into quarantine, whole and
 * with the reason.
 */
export function takeCustody(options: CustodyOptions): (packet: ReceivedPublish) => Promise<void> {
  const { store, quarantine, events, log } = options
  const clock = new SteadyClock()
  return ({ topic, payload }) => {
    events.received()
    const receivedAtMs = Date.now()
    const verdict = judge(topic, payload, options)
    if (!('reason' in verdict)) {
      const receipt = { atMs: receivedAtMs, steadyMs: clock.nowMs() }
      const { duplicate, written } = keep(verdict, payload, receipt, options)
      if (duplicate) events.duplicate()
      return written
    }
    const { reason, detail, kept } = verdict
    events.quarantined(reason)
    log.warn(
      { code: 'CROP_INVALID', topic, bytes: kept.length, reason, detail },
      'quarantined a message that is not a crop',
    )
    return store.accept(encodeEntry({ topic, receivedAtMs, reason, detail }, kept), [quarantine])
  }
}
