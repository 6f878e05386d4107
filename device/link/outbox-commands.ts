import type { Handler } from '../../lib/control.ts'
import { failure } from '../../lib/errors.ts'
import { forgetEntries } from '../../store/forget.ts'
import { quarantineHandler } from '../../store/quarantine.ts'
import type { Store } from '../../store/store.ts'
import { type Forgotten, forgetRequestSchema, selectsMessage } from '../../wire/forget.ts'
import { OUTBOX_QUEUE, type OutboxHeader } from './outbox.ts'

/** `sightline forget` at a device: clips in its outbox, and those set aside. */
export function outboxForget(store: Store): Handler {
  return async function* (args, signal) {
    const request = forgetRequestSchema.safeParse(args)
    if (!request.success) throw failure('USAGE', 'Missing: what to forget.', request.error)
    const { selection, dryRun } = request.data
    for (const queue of [...store.queues.values()]) {
      const count = await forgetEntries(
        queue,
        ({ header, body }) =>
          selectsMessage(selection, (JSON.parse(header.toString()) as OutboxHeader).topic, body),
        dryRun,
        signal,
      )
      yield { place: `queue ${queue.name}`, count } satisfies Forgotten
    }
  }
}

/** `sightline quarantine retry`: what the broker would not take goes to it once more, behind what waits. */
export function outboxQuarantine(store: Store): Handler {
  return quarantineHandler(store, async (quarantine, number, { header, body }) => {
    const queue = store.queues.get(OUTBOX_QUEUE)
    if (!queue) throw failure('USAGE', 'This store has no outbox.')
    const { topic } = JSON.parse(header.toString()) as OutboxHeader
    await store.accept({ header: Buffer.from(JSON.stringify({ topic })), body }, [queue])
    await quarantine.forwarded(number)
    return { outcome: `to the queue ${queue.name}` }
  })
}
