import { Store } from '../../lib/queue.ts'

/** A process that holds a store and accepts messages until it is killed, naming each that is acknowledged. */
const [folder, mode] = process.argv.slice(2) as [string, 'accept' | 'hold']
try {
  const store = await Store.open({ folder })
  const bounds = { entriesMax: Infinity, bytesMax: Infinity, ageMsMax: Infinity, whenFull: 'reject' } as const
  const [first, second] = [store.queue('first', bounds), store.queue('second', bounds)]
  process.stdout.write('open\n')
  setInterval(() => {}, 1000)
  if (mode === 'accept') {
    // Some in one queue, some in both; some released at once, so that the books move as well.
    for (let n = 0; ; n += 1) {
      const at = n
      const queues = at % 3 === 0 ? [first, second] : [first]
      const message = { header: Buffer.from('header'), body: Buffer.from(`message ${at}`) }
      void store.accept(message, queues, `key ${at}`).then(() => {
        process.stdout.write(`${at}\n`)
      })
      if (at % 4 === 0) {
        await store.committed()
        const oldest = second.after(0)
        if (oldest !== undefined && at % 8 === 0) void second.forwarded(oldest)
      }
    }
  }
} catch (error) {
  process.stdout.write(`${(error as { code: string }).code}: ${(error as Error).message}\n`)
}
