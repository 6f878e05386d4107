import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { QueueBounds } from '../../store/queue.ts'
import { Store } from '../../store/store.ts'

const BOUNDS: QueueBounds = {
  entriesMax: Infinity,
  bytesMax: Infinity,
  ageMsMax: Infinity,
  whenFull: 'reject',
}
export const LIVED_QUEUES = ['a', 'b', 'c'] as const
export const LIVED_MESSAGES = 300

/**
 * Makes a store that has lived: bodies below and above a page, some in several queues, some let go, and a table.
 * @param older where a copy of its file goes as it was a while before
 * @returns checksum of each message that there ever was, by sequence number
 */
export async function makeLivedStore(
  folder: string,
  older: string,
  random: () => number,
): Promise<Map<number, number>> {
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T
  const checksums = new Map<number, number>()
  await using store = await Store.open({ folder })
  const queues = LIVED_QUEUES.map((name) => store.queue(name, BOUNDS))
  for (let n = 1; n <= LIVED_MESSAGES; n += 1) {
    const header = Buffer.from(`header ${n} ${'x'.repeat(random() * 60)}`)
    const body = Buffer.alloc(random() ** 3 * 12_000, `${n} `)
    const wanting = queues.filter(() => random() < 0.5)
    const accepted = store.accept({ header, body }, wanting.length > 0 ? wanting : [pick(queues)], {
      key: `key ${n}`,
    })
    checksums.set(n, crc32(body, crc32(header)))
    if (n % 10 === 0) await accepted
    const queue = pick(queues)
    const oldest = queue.after(0)
    if (oldest !== undefined && random() < 0.5) void queue.forwarded(oldest)
    if (n % 8 === 0) void store.put('table', `key ${n % 30}`, Buffer.alloc(random() * 3000, `${n}`))
    if (n === 240) {
      await store.committed()
      cpSync(join(folder, 'store.mdb'), older)
    }
  }
  return checksums
}
