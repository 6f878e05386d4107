import { decodeMessage } from '../../broker/message.ts'
import { failure } from '../../lib/errors.ts'
import { ago, inOneLine, size, table } from '../../lib/table.ts'
import { type EntryView, type QueueView, StoreView } from '../../store/view.ts'

/** `sightline queue stats|ls`: what a program's store holds on disk, also that of a stopped one. */

/** @returns a table of the queues, or a line of JSON for each. Errors: STORE_NOT_FOUND, STORE_CORRUPT */
export async function queueStats(folder: string, json: boolean, now = Date.now()): Promise<string> {
  await using store = StoreView.open(folder)
  sayFaults(store)
  const queues = store.queues()
  if (json) return queues.map((queue) => `${JSON.stringify(queue)}\n`).join('')
  if (queues.length === 0) return `${folder} contains no queues yet.\n`
  return table([
    ['queue', 'pending', 'size', 'oldest', 'accepted', 'forwarded', 'dropped'],
    ...queues.map((queue) => row(queue, now)),
  ])
}

/** @returns a line for each entry, oldest first. Errors: STORE_NOT_FOUND, STORE_CORRUPT, QUEUE_NOT_FOUND */
export async function queueList(
  folder: string,
  name: string,
  countMax: number,
  json: boolean,
): Promise<string> {
  await using store = StoreView.open(folder)
  sayFaults(store)
  const names = store.queues().map((queue) => queue.name)
  // A client or a bridge by its name alone: the broker calls its queue session/..., or bridge/....
  const full = ['', 'session/', 'bridge/'].map((kind) => kind + name).find((it) => names.includes(it))
  const entries = full === undefined ? undefined : store.entries(full)
  if (!entries) {
    throw failure(
      'QUEUE_NOT_FOUND',
      `Queue "${name}" not found in ${folder}. ${names.length === 0 ? 'It has no queues.' : `Its queues: ${names.join(', ')}.`}`,
    )
  }
  let text = ''
  let count = 0
  for (const entry of entries) {
    if (count < countMax) {
      const { sequence, atMs, bytes } = entry
      const about = describe(entry)
      text += json
        ? `${JSON.stringify({ sequence, atMs, bytes, ...about })}\n`
        : `${new Date(atMs).toISOString()}  ${size(bytes).padStart(8)}  ${Object.values(about).join('  ')}\n`
    }
    count += 1
  }
  if (!json && count > countMax) text += `... and ${count - countMax} more (--max)\n`
  if (!json && count === 0) text = `${inOneLine(full ?? name)} is empty.\n`
  return text
}

/** What is shown is what can be read. */
function sayFaults({ faults, faultCount }: StoreView): void {
  if (faultCount === 0) return
  process.stderr.write(
    `STORE_DAMAGED: ${faultCount} places of this store cannot be read (${faults.slice(0, 3).join('; ')}). Its program recovers what it can at its next start.\n`,
  )
}

/** What an entry's keeper says of it: a broker the topic, the subscriber's inbox the key, its quarantine the reason. */
function describe({ header }: EntryView): Record<string, string> {
  if (header[0] !== 0x7b) return { topic: inOneLine(decodeMessage({ header, body: Buffer.alloc(0) }).topic) }
  const about = JSON.parse(header.toString()) as Record<string, unknown>
  const text = (key: string) => (typeof about[key] === 'string' ? { [key]: inOneLine(about[key]) } : {})
  return { ...text('key'), ...text('topic'), ...text('reason'), ...text('detail') }
}

function row({ name, books, bytes, oldestAtMs }: QueueView, now: number): string[] {
  const dropped = Object.entries(books.dropped).map(([reason, count]) => `${count} ${reason}`)
  return [
    inOneLine(name),
    String(books.pending),
    size(bytes),
    oldestAtMs === undefined ? '-' : ago(now - oldestAtMs),
    String(books.accepted),
    String(books.forwarded),
    dropped.length === 0 ? '0' : dropped.join(', '),
  ]
}
