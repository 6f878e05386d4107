import type { BrokerConfig } from '../../broker/config.ts'
import { desiredTopic, reportedTopic } from '../../wire/desired.ts'
import { commandFilter, filtersOverlap } from '../../wire/topics.ts'
import { type Finding, warn } from './finding.ts'

/** A bridge of an earlier version brings devices their commands, and not what the console says that they shall be. */
export function checkBridgeTopics(
  { name, topics }: BrokerConfig['bridges'][number],
  topicPrefix: string,
): Finding[] {
  const any = { site: '+', device: '+' }
  const down = topics.filter(({ direction }) => direction === 'down')
  const up = topics.filter(({ direction }) => direction === 'up')
  const overlaps = (list: typeof topics, topic: string) => list.some((it) => filtersOverlap(it.filter, topic))
  // It carries no commands either: somebody wants it so.
  if (!overlaps(down, commandFilter(topicPrefix, any))) return []
  const missing = [
    ...(overlaps(down, desiredTopic(topicPrefix, any))
      ? []
      : [`"${desiredTopic(topicPrefix, any)}" with "direction: down"`]),
    ...(overlaps(up, reportedTopic(topicPrefix, any)) ? [] : [`"${reportedTopic(topicPrefix, any)}"`]),
  ]
  if (missing.length === 0) return []
  return [
    warn(
      `bridge ${name}`,
      'carries commands, but not what the console sets of devices and what they answer: scenarios do not reach devices behind it',
      `Add to its "topics": ${missing.join(' and ')}; where the user at the other broker is of one site, with that site instead of the first +.`,
    ),
  ]
}
