import { asFailure, failure } from '../lib/errors.ts'
import type { Queue, QueueBounds } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { parseObjectKey } from '../wire/object-key.ts'
import {
  type Announcement,
  announcementLine,
  type Removed,
  STORED_BATCH_BYTES_MAX,
  STORED_VERSION,
} from '../wire/stored.ts'

/**
 * Announcements that no inbox entry stands behind: what was removed, what is too old, and answers. They lie in a queue of
 * the store, ready-made batches, until the broker has acknowledged them: a kill loses none, and those of a command that
 * found the program stopped go out at its next start.
 *
 * What is to be removed is announced first, on disk, and removed then: a kill between the two leaves an object that the
 * next run finds again, and never an index that lists what is gone. A full queue refuses, and so nothing more is removed
 * until the broker takes announcements again: an index that never hears of a removal would show a face that somebody had
 * forgotten. (At 64 MB that is after some 300,000 objects.) Retention's moment replaces the one before, and is one entry.
 */

const QUEUE = 'announcements'
const BOUNDS: QueueBounds = {
  entriesMax: 10_000,
  bytesMax: 64 * 1024 * 1024,
  ageMsMax: Number.POSITIVE_INFINITY,
  whenFull: 'reject',
}
const EXPIRED_KEY = 'expired'

/** Of an entry of the queue. */
export interface BatchHeader {
  /** Announcements in it. */
  readonly count: number
}

export class Announcements {
  readonly queue: Queue
  readonly #store: Store

  private constructor(store: Store, queue: Queue) {
    this.#store = store
    this.queue = queue
  }

  static open(store: Store): Announcements {
    return new Announcements(store, store.queue(QUEUE, BOUNDS))
  }

  /** Where nothing is announced any more: what waits would wait for ever. An index that comes later starts with the bucket. */
  static async discard(store: Store): Promise<void> {
    const queue = store.queues.get(QUEUE)
    if (queue) await store.removeQueue(queue)
  }

  /** Before the objects are. Other keys than those of what is kept are left out. @returns when it is on disk. Errors: QUEUE_FULL, DISK_FULL, STORE_IO */
  removed(keys: readonly string[], why: Removed['why']): Promise<void> {
    return this.#add(
      keys.flatMap((key): Removed[] => {
        const id = parseObjectKey(key)?.id
        return id === undefined ? [] : [{ v: STORED_VERSION, is: 'removed', id, key, why }]
      }),
    )
  }

  /** @param filedBeforeMs the beginning of a day, UTC. Errors: as above */
  expired(filedBeforeMs: number): Promise<void> {
    return this.#add([{ v: STORED_VERSION, is: 'expired', filedBeforeMs }], EXPIRED_KEY)
  }

  /** Errors: as above */
  forgot(answer: Extract<Announcement, { is: 'forgot' }>): Promise<void> {
    return this.#add([answer])
  }

  /** Errors: as above */
  kept(what: Extract<Announcement, { is: 'kept' }>): Promise<void> {
    return this.#add([what])
  }

  async #add(announcements: readonly Announcement[], key?: string): Promise<void> {
    const written: Promise<void>[] = []
    for (const { payload, count } of batches(announcements.map(announcementLine))) {
      const header = Buffer.from(JSON.stringify({ count } satisfies BatchHeader))
      try {
        written.push(
          this.#store.accept({ header, body: payload }, [this.queue], { key, replaces: key !== undefined }),
        )
      } catch (error) {
        throw asFailure(error).code === 'QUEUE_FULL' ? full(this.queue, error) : error
      }
    }
    await Promise.all(written)
  }
}

const full = (queue: Queue, cause: unknown) =>
  failure(
    'QUEUE_FULL',
    `${queue.size} batches of announcements wait for the broker, as many as are kept: nothing more is removed until it takes them. See "announcements" in the subscriber's /healthz, then try again.`,
    cause,
  )

/** Lines together, as many as a message may have. */
export function* batches(
  lines: readonly string[],
): Generator<{ readonly payload: Buffer; readonly count: number }> {
  let from = 0
  let bytes = 0
  for (let at = 0; at < lines.length; at += 1) {
    const more = Buffer.byteLength(lines[at] as string)
    if (bytes + more > STORED_BATCH_BYTES_MAX && at > from) {
      yield { payload: Buffer.from(lines.slice(from, at).join('')), count: at - from }
      from = at
      bytes = 0
    }
    bytes += more
  }
  if (from < lines.length)
    yield { payload: Buffer.from(lines.slice(from).join('')), count: lines.length - from }
}
