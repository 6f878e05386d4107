import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { readKeeper } from '../../wire/keepers.ts'
import { readLive } from '../../wire/live.ts'
import { command, startDevice, watch } from '../device/commanded.ts'
import { bridgeConfig, brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** What a console at the cloud's broker asks for and sees, with the topics that edges come with. */

const EDGE = resolve(import.meta.dirname, '..', '..', 'conf', 'edge-broker.yaml')
const { bridges } = parse(readFileSync(EDGE, 'utf8')) as { bridges: { topics: object[] }[] }

t.test('a live picture asked for at the cloud comes through edge broker and bridge', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud' }))
  const bridge = bridgeConfig(cloud.url, { topics: bridges[0]?.topics })
  const report = { enabled: true, every: '1s' }
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', report, bridges: [bridge] }))
  await startDevice(t, edge.url, { report })
  const eye = await watch(t, cloud.url)
  const ages: number[] = []
  eye.client.on('message', (topic, payload) => {
    const live = topic.endsWith('/live') ? readLive(payload) : undefined
    if (live) ages.push(Date.now() - live.capturedAtMs)
  })
  await eye.client.subscribeAsync(['sightline/v1/+/+/+/+', 'sightline/v1/keepers/+'], { qos: 1 })
  await eye.stateBecomes('the camera is up', ({ state }) => state === 'up')
  await until('device and edge broker are heard of', () => {
    const names = eye.came.flatMap(({ topic, payload }) =>
      topic.includes('/keepers/') ? (readKeeper(payload)?.name ?? []) : [],
    )
    return ['lab/bench1', 'edge'].every((name) => names.includes(name))
  })
  const pictures = Number(process.env.SIGHTLINE_TEST_LIVE_PICTURES ?? 12)
  const renew = setInterval(() => void command(eye.client, 'live', '5'), 2000)
  t.after(() => clearInterval(renew))
  await command(eye.client, 'live', '5')
  await until('pictures', () => ages.length >= pictures, 60_000)
  clearInterval(renew)
  await command(eye.client, 'live', '0')
  const sorted = ages.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] as number
  t.comment(`from capture to arrival: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms of ${sorted.length}`)
  t.ok(at(0.5) < 2000, `p50 ${at(0.5)} ms`)
  t.ok(eye.of('live').every(({ retain }) => !retain))
})
