import type { Handler } from '../lib/control.ts'
import { failure } from '../lib/errors.ts'
import { quarantineHandler } from '../store/quarantine.ts'
import type { Store } from '../store/store.ts'
import type { QuarantineHeader } from './bridge.ts'
import { encodeMessage } from './message.ts'

/**
 * `sightline quarantine retry`: what the far broker would not take goes to it once more, behind what waits.
 * @param bridges those that the configuration names, with their lanes (`cloud`, `cloud/clips`); undefined where only the store is known
 */
export function brokerQuarantine(store: Store, bridges?: ReadonlySet<string>): Handler {
  return quarantineHandler(store, async (quarantine, number, { header, body }) => {
    const bridge = quarantine.name.slice('quarantine/'.length)
    const queue = store.queues.get(`bridge/${bridge}`)
    if (!queue || bridges?.has(bridge) === false)
      throw failure('USAGE', `Bridge "${bridge}" no longer exists.`)
    const { topic, qos, retain, via } = JSON.parse(header.toString()) as QuarantineHeader
    await store.accept(encodeMessage({ topic, payload: body, qos, retain, via }), [queue], { handedOn: true })
    await quarantine.forwarded(number)
    return { outcome: `to the queue ${queue.name}` }
  })
}
