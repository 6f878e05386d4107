import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { brokerSchema } from '../../broker/config.ts'
import { demoSecrets } from '../../deploy/secrets-files.ts'
import { loadConfig } from '../../lib/config.ts'
import { desiredTopic, reportedTopic } from '../../wire/desired.ts'
import { KINDS, keptFilters } from '../../wire/kinds.ts'
import {
  commandFilter,
  eventTopic,
  filtersOverlap,
  liveTopic,
  originalTopic,
  TOPIC_PREFIX_DEFAULT as PREFIX,
  snapshotTopic,
  stateTopic,
  statusTopic,
} from '../../wire/topics.ts'
import { temporaryFolder } from '../kit/programs.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const EVERY = { site: '+', device: '+', camera: '+' }

t.test(
  'the edge brokers that come with Sightline carry all that devices publish, and what is for them',
  async (t) => {
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
        reportedTopic(PREFIX, EVERY),
      ])
        t.ok(
          up.some(({ filter }) => filtersOverlap(filter, topic)),
          `${file}: ${topic}`,
        )
      const down = bridges.flatMap(({ topics }) => topics.filter(({ direction }) => direction === 'down'))
      t.strictSame(
        down.map(({ filter }) => filter),
        [commandFilter(PREFIX, EVERY), desiredTopic(PREFIX, EVERY)],
        file,
      )
    }
  },
)

t.test(
  'the site of an edge made by docker/secrets.sh stands in the filters that go down, and in no other',
  async (t) => {
    const folder = temporaryFolder(t)
    await demoSecrets(folder)
    const file = readFileSync(join(folder, 'demo/edge/broker.env'), 'utf8')
    const env = Object.fromEntries(
      file
        .trim()
        .split('\n')
        .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
    )
    const { bridges } = loadConfig(brokerSchema, { file: join(ROOT, 'docker/edge/broker.yaml'), env })
    const here = parse(readFileSync(join(ROOT, 'docker/edge/broker.yaml'), 'utf8')) as {
      bridges: { topics: { filter: string; direction?: string }[] }[]
    }
    const expected = here.bridges[0]?.topics.map(({ filter, direction }) =>
      direction === 'down' ? filter.replace('sightline/v1/+', 'sightline/v1/SITE') : filter,
    )
    const site = /TOPICS__0__FILTER=sightline\/v1\/([^/]+)\//.exec(file)?.[1]
    t.ok(site)
    t.strictSame(
      bridges[0]?.topics.map(({ filter }) => filter),
      expected?.map((it) => it.replace('SITE', String(site))),
    )
  },
)
