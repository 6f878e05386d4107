import { QlobberTrue } from 'qlobber'
import { TOPIC_MATCHING } from './sessions.ts'

/** Topics that go over a bridge, and what they are called on the other side. */
export interface BridgeTopic {
  readonly filter: string
  /** The topic's first levels on this side, and what they become on the other. */
  readonly from: string
  readonly to: string
}

export class TopicMap {
  readonly #entries: readonly (BridgeTopic & { readonly matcher: QlobberTrue })[]

  constructor(topics: readonly BridgeTopic[]) {
    this.#entries = topics.map((topic) => {
      const matcher = new QlobberTrue(TOPIC_MATCHING)
      matcher.add(topic.filter)
      return { ...topic, matcher }
    })
  }

  has(topic: string): boolean {
    return this.#entries.some(({ matcher }) => matcher.test(topic))
  }

  /** By the first entry that matches. @returns undefined where none does */
  map(topic: string): string | undefined {
    const entry = this.#entries.find(({ matcher }) => matcher.test(topic))
    return entry && renamed(topic, entry)
  }
}

/** Read from the other side. */
export const turned = ({ filter, from, to }: BridgeTopic): BridgeTopic => ({
  filter: renamed(filter, { from, to }),
  from: to,
  to: from,
})

function renamed(topic: string, { from, to }: Pick<BridgeTopic, 'from' | 'to'>): string {
  if (from === to) return topic
  const rest = from === '' ? topic : topic.slice(from.length + 1)
  return [to, rest].filter((part) => part !== '').join('/')
}
