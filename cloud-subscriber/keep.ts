import type { Log } from '../lib/log.ts'
import type { ReceivedPublish } from '../lib/mqtt/link.ts'
import { SteadyClock } from '../lib/steady-clock.ts'
import type { Queue } from '../store/queue.ts'
import { parseKeptTopic } from '../wire/kinds.ts'
import { encodeEntry } from './entry.ts'
import { type Fault, judge, type Keeping, keep, type Rules, TOO_LARGE } from './judge.ts'

export interface CustodyOptions extends Keeping, Rules {
  readonly quarantine: Queue
  readonly log: Log
  readonly events: {
    readonly received: (kind: string) => void
    readonly duplicate: (kind: string) => void
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
    events.received(parseKeptTopic(options.topicPrefix, topic)?.kind.name ?? 'unknown')
    const receivedAtMs = Date.now()
    const verdict = judge(topic, payload, options)
    if (!('reason' in verdict)) {
      const receipt = { atMs: receivedAtMs, steadyMs: clock.nowMs() }
      const { duplicate, written } = keep(verdict, payload, receipt, options)
      if (duplicate) events.duplicate(verdict.kind.name)
      return written
    }
    const { reason, detail, kept } = fitting(verdict, quarantine.bounds.bytesMax)
    events.quarantined(reason)
    log.warn(
      { code: 'CROP_INVALID', topic, bytes: kept.length, reason, detail },
      'quarantined a message that is neither a crop nor a clip',
    )
    return store.accept(encodeEntry({ topic, receivedAtMs, reason, detail }, kept), [quarantine])
  }
}

/** A quarantine that is smaller than a clip keeps its beginning, and stops nothing. */
function fitting(fault: Fault, bytesMax: number): Fault {
  if (fault.kept.length <= bytesMax) return fault
  return {
    reason: TOO_LARGE,
    detail: `${fault.reason}: ${fault.detail}; of ${fault.kept.length} bytes the first ${bytesMax} were kept: "quarantine.bytesMax"`,
    kept: fault.kept.subarray(0, bytesMax),
  }
}
