import type { Handler } from '../lib/control.ts'
import { quarantineHandler } from '../store/quarantine.ts'
import type { Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { TOPIC_PREFIX_DEFAULT } from '../wire/topics.ts'
import { decodeEntry, encodeEntry, type QuarantineHeader } from './entry.ts'
import { judge, type Keeping, keep, type Rules, TOO_LARGE } from './judge.ts'

/** `sightline quarantine retry`: what was not kept is judged once more, by the intake's rules. */

const TABLE = 'settings'

/** Remembers how the intake judges, for whoever opens the store while the program is stopped. */
export function saveRules(
  store: Store,
  { topicPrefix, payloadBytesMax, clipBytesMax }: Rules,
): Promise<void> {
  return store.put(
    TABLE,
    'rules',
    Buffer.from(JSON.stringify({ topicPrefix, payloadBytesMax, clipBytesMax })),
  )
}

const UNSAID: Rules = {
  topicPrefix: TOPIC_PREFIX_DEFAULT,
  payloadBytesMax: Number.POSITIVE_INFINITY,
  clipBytesMax: Number.POSITIVE_INFINITY,
}

/** The rules of the last run. A store that an earlier version wrote has none: then only the default prefix is known. */
export function savedRules(store: Store): Rules {
  const rules = store.get(TABLE, 'rules')
  return { ...UNSAID, ...(rules && (JSON.parse(Buffer.from(rules).toString()) as Partial<Rules>)) }
}

export function subscriberQuarantine(
  keeping: Keeping & { readonly quarantine: Queue },
  rules: Rules,
): Handler {
  const { store, quarantine } = keeping
  return quarantineHandler(store, async (_queue, number, message) => {
    const { header, payload } = decodeEntry<QuarantineHeader>(message)
    const { topic, receivedAtMs } = header
    if (header.reason === TOO_LARGE) return { outcome: 'stays', detail: 'only its beginning was kept' }
    const verdict = judge(topic, payload, rules)
    if ('kind' in verdict) {
      const receipt = { atMs: receivedAtMs, steadyMs: receivedAtMs }
      const { duplicate, written } = keep(verdict, payload, receipt, keeping)
      await written
      await quarantine.forwarded(number)
      return duplicate
        ? { outcome: 'known already', detail: `the same ${verdict.kind.name} came before` }
        : { outcome: 'to the inbox' }
    }
    const { reason, detail, kept } = verdict
    const why = `${reason}: ${detail}`
    // Where nothing has changed it stays as it is: its age is that of its coming.
    if (reason === header.reason && detail === header.detail) return { outcome: 'stays', detail: why }
    await store.accept(encodeEntry({ topic, receivedAtMs, reason, detail }, kept), [quarantine])
    await quarantine.forwarded(number)
    return { outcome: 'back in quarantine', detail: why }
  })
}
