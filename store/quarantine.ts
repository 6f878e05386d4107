import { z } from 'zod'
import type { Handler } from '../lib/control.ts'
import { asFailure, failure } from '../lib/errors.ts'
import type { Message, Queue } from './queue.ts'
import type { Store } from './store.ts'

/**
 * What a person does about messages in quarantine: try them again, or let them go. The same in every program: the
 * queues `quarantine` and `quarantine/...` of its store, each entry with a JSON header (topic, receivedAtMs, reason,
 * detail). The books stay balanced: what leaves by a retry counts as forwarded, what is let go as dropped `by hand`.
 */

export const isQuarantine = (queue: string) => queue === 'quarantine' || queue.startsWith('quarantine/')

/** The command's name on the control socket (lib/control.ts). */
export const QUARANTINE_COMMAND = 'quarantine'
const NUMBERS_MAX = 10_000
/** So many share a flush of the disk. */
const BATCH = 100

const requestSchema = z.strictObject({
  action: z.enum(['retry', 'drop']),
  numbers: z.union([z.literal('all'), z.array(z.number().int().positive()).min(1).max(NUMBERS_MAX)]),
})
export type QuarantineRequest = z.infer<typeof requestSchema>

export interface QuarantineOutcome {
  readonly number: number
  /** As it came: not for a terminal. Absent where there is no such message. */
  readonly topic?: string
  /** `dropped`, `stays`, `gone`, or where it went, for people: `to the inbox`. */
  readonly outcome: string
  /** Why. */
  readonly detail?: string
}

/** Takes a message out of quarantine to where it belongs. @returns what became of it */
export type Retry = (
  queue: Queue,
  number: number,
  message: Message,
) => Promise<Pick<QuarantineOutcome, 'outcome' | 'detail'>>

/** @returns the handler of the command: yields a `QuarantineOutcome` for each message, when it is on disk */
export function quarantineHandler(store: Store, retry: Retry): Handler {
  return async function* (args, signal) {
    const request = requestSchema.safeParse(args)
    if (!request.success)
      throw failure('USAGE', `Name at most ${NUMBERS_MAX} messages by their numbers, or all.`, request.error)
    const { action, numbers } = request.data
    const queues = [...store.queues.values()].filter(({ name }) => isQuarantine(name))
    const chosen = numbers === 'all' ? everything(queues) : byNumber(queues, numbers)
    for (let at = 0; at < chosen.length; at += BATCH) {
      signal.throwIfAborted()
      yield* await Promise.all(
        chosen.slice(at, at + BATCH).map(([queue, number]) => act(queue, number, action, retry)),
      )
    }
  }
}

type Choice = readonly [queue: Queue | undefined, number: number]

/** What is there now: what goes back into quarantine has a new number, and is not looked at again. */
function everything(queues: readonly Queue[]): Choice[] {
  const chosen: Choice[] = []
  for (const queue of queues)
    for (let at = queue.after(0); at !== undefined; at = queue.after(at)) chosen.push([queue, at])
  return chosen.sort(([, a], [, b]) => a - b)
}

/** Numbers are those of the store, and no two messages' are the same. */
function byNumber(queues: readonly Queue[], numbers: readonly number[]): Choice[] {
  return [...new Set(numbers)].map((number) => [
    queues.find((queue) => queue.after(number - 1) === number),
    number,
  ])
}

async function act(
  queue: Queue | undefined,
  number: number,
  action: QuarantineRequest['action'],
  retry: Retry,
): Promise<QuarantineOutcome> {
  const message = queue?.read(number)
  if (!queue || !message) return { number, outcome: 'gone' }
  const { topic } = JSON.parse(message.header.toString()) as { topic: string }
  if (action === 'drop') {
    await queue.drop(number, 'by hand')
    return { number, topic, outcome: 'dropped' }
  }
  queue.hold(number) // not dropped to make room for itself
  try {
    return { number, topic, ...(await retry(queue, number, message)) }
  } catch (error) {
    return { number, topic, outcome: 'stays', detail: asFailure(error).message }
  } finally {
    queue.letGo(number)
  }
}
