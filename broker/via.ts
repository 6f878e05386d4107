import { failure } from '../lib/errors.ts'

/**
 * Which brokers a message has passed, so that none takes it twice, however they are connected. MQTT 3.1.1 has no room for
 * that in a message. Between brokers of ours it stands in front of the topic, on connections whose other end has asked for
 * it (refusals.ts, downlink.ts):
 *
 *     $sightline/via/<id>,<id>/<topic>
 *
 * A broker's id is random and lies in its store. `?` stands for a broker of another kind, which says nothing of itself.
 */

export type Via = readonly string[]

export const UNKNOWN_BROKER = '?'
export const NOWHERE: Via = []
/** Through a broker of another kind. */
export const FROM_SOMEWHERE: Via = [UNKNOWN_BROKER]
/** Brokers in a row. */
export const HOPS_MAX = 16

const PREFIX = '$sightline/via/'
const ID_PATTERN = /^(?:[A-Za-z0-9_-]{8}|\?)$/
/** Random bytes of an id, 8 characters in base64url. */
export const BROKER_ID_BYTES = 6

export const isBrokerId = (text: string) => text !== UNKNOWN_BROKER && ID_PATTERN.test(text)

export function markTopic(via: Via, topic: string): string {
  return `${PREFIX}${via.join(',')}/${topic}`
}

/** @returns undefined where the topic bears no mark. Errors: TOPIC_INVALID where the mark is not one of ours */
export function readMark(topic: string): { readonly via: Via; readonly topic: string } | undefined {
  if (!topic.startsWith(PREFIX)) return undefined
  const end = topic.indexOf('/', PREFIX.length)
  const ids = topic.slice(PREFIX.length, Math.max(PREFIX.length, end))
  return { via: READ.get(ids) ?? read(ids), topic: topic.slice(end + 1) }
}

/** Nearly all messages of a broker have come the same way: looked at once. */
const READ = new Map<string, Via>()
const READ_MAX = 1000

function read(ids: string): Via {
  const via = ids.split(',')
  if (via.length > HOPS_MAX || !via.every((id) => ID_PATTERN.test(id)))
    throw failure(
      'TOPIC_INVALID',
      `A topic that starts with ${PREFIX} names up to ${HOPS_MAX} brokers and the topic itself.`,
    )
  if (READ.size >= READ_MAX) READ.clear()
  READ.set(ids, via)
  return via
}

/** What a broker subscribes to so that another one of ours marks what it sends (downlink.ts). */
export const markedFilter = (brokerId: string, filter: string) => markTopic([brokerId], filter)
