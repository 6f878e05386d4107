import type { Handler } from '../lib/control.ts'
import { failure } from '../lib/errors.ts'
import { forgetEntries } from '../store/forget.ts'
import { isQuarantine } from '../store/quarantine.ts'
import type { Store } from '../store/store.ts'
import { type Forgotten, forgetRequestSchema, selectsMessage } from '../wire/forget.ts'
import { decodeMessage } from './message.ts'
import type { Persistence } from './persistence.ts'

/** `sightline forget` at a broker: every queue, what bridges have set aside, retained messages. */
export function brokerForget(store: Store, persistence: Persistence): Handler {
  return async function* (args, signal) {
    const request = forgetRequestSchema.safeParse(args)
    if (!request.success) throw failure('USAGE', 'Missing: what to forget.', request.error)
    const { selection, dryRun } = request.data
    const forgotten = (place: string, count: number): Forgotten => ({ place, count })
    for (const queue of [...store.queues.values()]) {
      const count = await forgetEntries(
        queue,
        ({ header, body }) => {
          if (isQuarantine(queue.name)) {
            const { topic, receivedAtMs } = JSON.parse(header.toString()) as {
              topic: string
              receivedAtMs: number
            }
            return selectsMessage(selection, topic, body, receivedAtMs)
          }
          return selectsMessage(selection, decodeMessage({ header, body }).topic, body)
        },
        dryRun,
        signal,
      )
      yield forgotten(`queue ${queue.name}`, count)
    }
    const { retained, receipts } = await persistence.forget(
      ({ topic, payload }) => selectsMessage(selection, topic, payload),
      dryRun,
    )
    yield forgotten('retained messages', retained)
    yield forgotten('QoS 2 messages not yet released by their senders', receipts)
  }
}
