import { createInterface } from 'node:readline'
import { crc32 } from 'node:zlib'
import { Store } from '../../store/store.ts'

/**
 * Opens the store in each folder that stdin names, takes stock of it, takes custody of one more message in each queue,
 * opens it once more, and writes a line of JSON. In a process of its own, since a damaged file could end it.
 */

const BOUNDS = { entriesMax: Infinity, bytesMax: Infinity, ageMsMax: Infinity, whenFull: 'reject' } as const

export interface Stock {
  readonly code?: string
  readonly message?: string
  readonly salvage?: Store['salvage']
  /** By queue: the books after all was read, and the checksum of each entry by sequence number. */
  readonly queues?: Record<
    string,
    {
      books: Store['queues'] extends ReadonlyMap<string, infer Q>
        ? Q extends { books: infer B }
          ? B
          : never
        : never
      entries: Record<number, number>
    }
  >
  readonly table?: Record<string, string>
  /** What was accepted anew and was not there after a restart, or out of order. */
  readonly faults?: string[]
}

async function takeStock(folder: string): Promise<Stock> {
  const faults: string[] = []
  const queues: NonNullable<Stock['queues']> = {}
  const table: Record<string, string> = {}
  let salvage: Store['salvage']
  const added = new Map<string, number>()
  {
    await using store = await Store.open({ folder })
    salvage = store.salvage
    for (const [name, queue] of store.queues) {
      const entries: Record<number, number> = {}
      let last = 0
      for (let at = queue.after(0); at !== undefined; at = queue.after(at)) {
        const message = queue.read(at)
        last = at
        if (message) entries[at] = crc32(message.body, crc32(message.header))
      }
      queues[name] = { books: queue.books, entries }
      await store.accept({ header: Buffer.from('new'), body: Buffer.alloc(3000, 'new') }, [queue])
      let newest = 0
      for (let at = queue.after(0); at !== undefined; at = queue.after(at)) newest = at
      if (newest <= last) faults.push(`${name}: ${newest} after ${last}`)
      added.set(name, newest)
      // And half of what was there is let go, so that pages become free and are used again.
      for (let at = queue.after(0); at !== undefined; at = queue.after(at))
        if (at % 2 === 0) void queue.forwarded(at)
    }
    for (const { key, value } of store.entries('table'))
      table[String(key)] = Buffer.from(value).toString('latin1')
    await store.committed()
    for (let n = 0; n < 20; n += 1)
      await store.accept({ header: Buffer.from('new'), body: Buffer.alloc(5000, 'new') }, [
        store.queue('new', BOUNDS),
      ])
  }
  {
    await using store = await Store.open({ folder })
    for (const [name, sequence] of added) {
      const queue = store.queue(name, BOUNDS)
      if (sequence % 2 === 1 && !queue.read(sequence)?.body.equals(Buffer.alloc(3000, 'new')))
        faults.push(`${name}: what was accepted after the damage is lost`)
      const { accepted, forwarded, pending, dropped } = queue.books
      const rest = accepted - forwarded - pending - Object.values(dropped).reduce((a, b) => a + b, 0)
      if (rest !== 0) faults.push(`${name}: the books do not balance`)
    }
    if (store.queue('new', BOUNDS).size !== 20) faults.push('new entries are lost')
    if (salvage && store.salvage?.movedTo !== salvage.movedTo)
      faults.push('the report is not the same at the next start')
  }
  return { salvage, queues, table, faults }
}

for await (const folder of createInterface({ input: process.stdin })) {
  let stock: Stock
  try {
    stock = await takeStock(folder)
  } catch (error) {
    const { code = '', message, cause } = error as Error & { code?: string }
    stock = { code, message: `${message} ${cause instanceof Error ? cause.stack : ''}` }
  }
  process.stdout.write(`${JSON.stringify(stock)}\n`)
}
