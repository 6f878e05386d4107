import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type ClipMetadata, readClip } from '../../wire/clip.ts'
import { parseObjectKey } from '../../wire/object-key.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { bridgeConfig, brokerConfig, Program, subscriberConfig, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** A recording takes the whole line: agent, edge broker, bridge, cloud broker, subscriber, bucket. */

const CROPS = 'sightline/v1/+/+/+/crop'
const CLIPS = 'sightline/v1/+/+/+/clip'

/** What of recordings is in a bucket, in order of time. */
function clipsIn(bucket: string): ClipMetadata[] {
  return storedKeys(bucket, 'mp4')
    .filter((key) => parseObjectKey(key)?.kind.name === 'clip')
    .map((key) => {
      const reading = readClip(readFileSync(join(bucket, key)))
      if ('fault' in reading) throw new Error(`${key}: ${reading.fault}, ${reading.detail}`)
      return reading.clip
    })
    .sort((a, b) => a.capturedAtMs - b.capturedAtMs)
}

t.test('what a camera records is in the bucket, chunk by chunk, through kills of every keeper', async (t) => {
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      mustBeKept: [CROPS, CLIPS],
      queues: [
        { clientId: 'sightline-subscriber', topics: [CROPS] },
        { clientId: 'sightline-subscriber-clips', topics: [CLIPS] },
      ],
    }),
  )
  const bridge = bridgeConfig(cloud.url, { topics: [{ filter: CROPS }, { filter: CLIPS }] })
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'edge', mustBeKept: [CROPS, CLIPS], bridges: [bridge] }),
  )
  const bucket = temporaryFolder(t)
  const subscriber = await Program.start(
    t,
    'subscriber',
    subscriberConfig(t, cloud.url, { bucket: { type: 'folder', path: bucket } }),
  )
  const folder = temporaryFolder(t)
  const device = await Program.start(t, 'device', {
    site: 'lab',
    device: 'bench1',
    cameras: [{ name: 'card', source: 'testcard', record: { mode: 'always', chunk: '500ms' } }],
    broker: { url: edge.url, backoff: { min: '50ms', max: '200ms' } },
    remote: { folder },
    outbox: { folder: join(folder, 'outbox') },
    report: { enabled: false },
    http: { port: 0 },
  })
  await until('the first chunks are stored', () => clipsIn(bucket).length >= 3, 60_000)
  for (const keeper of [edge, cloud, subscriber, device]) {
    await keeper.kill()
    await keeper.start()
    const before = clipsIn(bucket).length
    await until('more chunks are stored', () => clipsIn(bucket).length > before, 60_000)
  }
  await device.stop()
  await until('all has drained', async () => {
    const books = [
      await edge.books('bridge/cloud/clips'),
      await cloud.books('session/sightline-subscriber-clips'),
      await subscriber.books('clips'),
    ]
    return books.every(({ pending }) => pending === 0)
  })
  const clips = clipsIn(bucket)
  t.comment(`${clips.length} chunks, ${new Set(clips.map(({ run }) => run)).size} runs`)
  t.equal(new Set(clips.map(({ id }) => id)).size, clips.length, 'each once')
  for (const [at, clip] of clips.entries()) {
    const before = clips[at - 1]
    if (!before) continue
    t.ok(clip.capturedAtMs >= before.endMs - 1, 'none overlaps')
    // The device was killed once: there a run ends, and what was being recorded is lost, and said.
    if (clip.run === before.run) t.equal(clip.sequence, before.sequence + 1, 'none is missing')
    else t.match(clip.gap, { why: /start|camera down/ }, 'a gap is stated')
    if (clip.run === before.run && !clip.gap)
      t.equal(clip.capturedAtMs, before.endMs, 'no hole without a gap')
  }
  t.equal(new Set(clips.map(({ run }) => run)).size, 2)
})
