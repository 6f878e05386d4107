import { type Log, throttled } from '../lib/log.ts'
import { describeSalvage } from './salvage.ts'
import { Store, type StoreOptions } from './store.ts'

/**
 * A program's store. The log has that it is opened (a large one takes its time), and what could not be read in it:
 * what was found now, and what is found later. Errors: as `Store.open`.
 */
export async function openStore(log: Log, options: StoreOptions): Promise<Store> {
  log.info({ folder: options.folder }, 'opening the store')
  const store = await Store.open(options)
  const { salvage } = store
  if (salvage) log.error({ code: 'STORE_DAMAGED', ...salvage }, describeSalvage(salvage))
  let last: string | undefined
  const warn = throttled((count) =>
    log.error(
      { code: 'STORE_DAMAGED', count, queue: last },
      'Entries of the store cannot be read: they are dropped and counted as "unreadable". Check the disk that holds it.',
    ),
  )
  store.onUnreadable = ({ name }) => {
    last = name
    warn()
  }
  return store
}

/** A store's state for `/healthz`: a damaged file that was dealt with is no reason to start again, and is said. */
export function storeHealth(store: Store): string {
  if (store.fault !== undefined) return store.fault
  const said = store.salvage ? [describeSalvage(store.salvage)] : []
  if (store.unreadable > 0)
    said.push(`${store.unreadable} entries could not be read since the start and were dropped.`)
  return said.length > 0 ? said.join(' ') : 'ok'
}
