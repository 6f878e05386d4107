import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { KINDS, keptFilters } from '../../wire/kinds.ts'
import {
  eventTopic,
  filtersOverlap,
  liveTopic,
  originalTopic,
  TOPIC_PREFIX_DEFAULT as PREFIX,
  snapshotTopic,
  stateTopic,
  statusTopic,
} from '../../wire/topics.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const EVERY = { site: '+', device: '+', camera: '+' }

t.test('the edge brokers that come with Sightline carry all that devices publish', async (t) => {
  for (const file of ['conf/edge-broker.yaml', 'docker/edge/broker.yaml']) {
    const { bridges } = parse(readFileSync(join(ROOT, file), 'utf8')) as {
      bridges: { topics: { filter: string; direction?: string }[] }[]
    }
    const up = bridges.flatMap(({ topics }) => topics.filter(({ direction }) => direction !== 'down'))
    const cameras = [eventTopic, stateTopic, snapshotTopic, liveTopic, originalTopic]
    for (const topic of [
      ...keptFilters(PREFIX, KINDS),
      ...cameras.map((of) => of(PREFIX, EVERY)),
      statusTopic(PREFIX, EVERY),
    ])
      t.ok(
        up.some(({ filter }) => filtersOverlap(filter, topic)),
        `${file}: ${topic}`,
      )
  }
})
