import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../../store/store.ts'

/** A process that holds a store and accepts messages until it is killed, naming each that is acknowledged. */
const [folder, mode] = process.argv.slice(2) as [string, 'accept' | 'hold']
const say = (line: string) => process.stdout.write(`${line}\n`)
try {
  const store = await Store.open({ folder })
  const bounds = { entriesMax: Infinity, bytesMax: Infinity, ageMsMax: Infinity, whenFull: 'reject' } as const
  const [first, second] = [store.queue('first', bounds), store.queue('second', bounds)]
  say('open')
  setInterval(() => {}, 1000)
  // Some in one queue, some in both; some released at once, so that the books move as well.
  for (let n = 0; mode === 'accept'; n += 1) {
    const at = n
    try {
      const accepted = store.accept(
        { header: Buffer.from('header'), body: Buffer.from(`message ${at}`) },
        at % 3 === 0 ? [first, second] : [first],
        { key: `key ${at}` },
      )
      accepted.then(
        () => say(`${at}`),
        (error: Error & { code: string }) => say(`refused ${error.code}`),
      )
    } catch (error) {
      say(`refused ${(error as { code: string }).code}`)
      await sleep(50)
    }
    if (at % 4 === 0) {
      await store.committed().catch(() => {})
      const oldest = second.after(0)
      if (oldest !== undefined && at % 8 === 0) void second.forwarded(oldest)
    }
  }
} catch (error) {
  say(`${(error as { code: string }).code}: ${(error as Error).message}`)
}
