import type { Handler } from '../lib/control.ts'
import { quarantineHandler } from '../store/quarantine.ts'
import type { Message, Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { readBatch } from '../wire/stored.ts'

/** `sightline quarantine retry`: lines that were no announcements are read once more, by a newer version, say. */

const TABLE = 'settings'
const KEY = 'program'
const CONSOLE = 'console'
const WHY_CHARACTERS_MAX = 300

/** As a message lies in the inbox. */
export interface InboxHeader {
  readonly topic: string
  readonly receivedAtMs: number
}

export function headerOf({ header }: Message): InboxHeader {
  return JSON.parse(header.toString()) as InboxHeader
}

/** A line that is none of ours, with the reason. */
export function faultEntry(
  { topic, receivedAtMs }: InboxHeader,
  { line, why }: { readonly line: string; readonly why: string },
): Message {
  const entry = {
    topic,
    receivedAtMs,
    reason: 'not an announcement',
    detail: why.slice(0, WHY_CHARACTERS_MAX),
  }
  return { header: Buffer.from(JSON.stringify(entry)), body: Buffer.from(line) }
}

/** Remembers whose store it is, for whoever opens it while the program is stopped. */
export function markConsoleStore(store: Store): Promise<void> {
  return store.put(TABLE, KEY, Buffer.from(CONSOLE))
}

export function isConsoleStore(store: Store): boolean {
  const program = store.get(TABLE, KEY)
  return program !== undefined && Buffer.from(program).toString() === CONSOLE
}

export function consoleQuarantine({
  store,
  inbox,
  quarantine,
}: {
  readonly store: Store
  readonly inbox: Queue
  readonly quarantine: Queue
}): Handler {
  return quarantineHandler(store, async (_queue, number, message) => {
    const header = headerOf(message)
    const { faults } = readBatch(message.body)
    const [fault] = faults
    if (fault === undefined) {
      const { topic, receivedAtMs } = header
      await store.accept(
        { header: Buffer.from(JSON.stringify({ topic, receivedAtMs })), body: message.body },
        [inbox],
        { handedOn: true },
      )
      await quarantine.forwarded(number)
      return { outcome: 'to the inbox' }
    }
    const entry = faultEntry(header, fault)
    const detail = `not an announcement: ${fault.why.slice(0, WHY_CHARACTERS_MAX)}`
    // Where nothing has changed it stays as it is: its age is that of its coming.
    if (entry.header.equals(message.header)) return { outcome: 'stays', detail }
    await store.accept(entry, [quarantine])
    await quarantine.forwarded(number)
    return { outcome: 'back in quarantine', detail }
  })
}
