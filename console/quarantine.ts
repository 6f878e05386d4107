import type { Handler } from '../lib/control.ts'
import { quarantineHandler } from '../store/quarantine.ts'
import type { Message, Queue } from '../store/queue.ts'
import type { Store } from '../store/store.ts'
import { announcementLine, readBatch } from '../wire/stored.ts'

/** `sightline quarantine retry`: lines that were no announcements are read once more, by a newer version, say. */

const TABLE = 'settings'
const KEY = 'program'
const CONSOLE = 'console'
const WHY_CHARACTERS_MAX = 300
const REASONS_MAX = 3

/** As a message lies in the inbox. */
export interface InboxHeader {
  readonly topic: string
  readonly receivedAtMs: number
}

export function headerOf({ header }: Message): InboxHeader {
  return JSON.parse(header.toString()) as InboxHeader
}

export interface Fault {
  readonly line: string
  readonly why: string
}

/** The lines of a message that are none of ours, with the first reasons. */
export function faultsEntry({ topic, receivedAtMs }: InboxHeader, faults: readonly Fault[]): Message {
  const entry = { topic, receivedAtMs, reason: 'not an announcement', detail: detailOf(faults) }
  return {
    header: Buffer.from(JSON.stringify(entry)),
    body: Buffer.from(faults.map(({ line }) => `${line}\n`).join('')),
  }
}

export const detailOf = (faults: readonly Fault[]) =>
  faults
    .slice(0, REASONS_MAX)
    .map(({ why }) => why)
    .join('; ')
    .slice(0, WHY_CHARACTERS_MAX)

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
    const { topic, receivedAtMs } = headerOf(message)
    const { announcements, faults } = readBatch(message.body)
    const entry = faultsEntry({ topic, receivedAtMs }, faults)
    const detail = `not an announcement: ${detailOf(faults)}`
    // Where nothing has changed it stays as it is: its age is that of its coming.
    if (announcements.length === 0 && entry.header.equals(message.header)) return { outcome: 'stays', detail }
    if (announcements.length > 0)
      await store.accept(
        {
          header: Buffer.from(JSON.stringify({ topic, receivedAtMs })),
          body: Buffer.from(announcements.map(announcementLine).join('')),
        },
        [inbox],
        { handedOn: true },
      )
    if (faults.length > 0) await store.accept(entry, [quarantine])
    await quarantine.forwarded(number)
    return faults.length > 0 ? { outcome: 'back in quarantine', detail } : { outcome: 'to the inbox' }
  })
}
