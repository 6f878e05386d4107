import t from 'tap'
import { type KeeperReport, keeperTopic, readKeeper } from '../../wire/keepers.ts'
import { bridgeConfig, brokerConfig, Program } from '../kit/programs.ts'
import { TcpProxy } from '../kit/proxy.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const PREFIX = 'sightline/v1'
const REPORTS = keeperTopic(PREFIX, '+')

type Test = Parameters<typeof RawClient.open>[0]

/** Whoever reads the reports at a broker, as a console does. */
async function readReports(t: Test, port: number) {
  const client = await RawClient.open(t, port, 'console', { clean: true })
  await client.subscribe(REPORTS, 1)
  const all = () =>
    client.received.flatMap((packet) => {
      if (packet.cmd !== 'publish') return []
      const report = readKeeper(packet.payload as Buffer)
      return report ? [{ ...report, topic: packet.topic, retain: packet.retain }] : []
    })
  return { all, of: (name: string) => all().filter((report) => report.name === name) }
}

const report = { enabled: true, every: '1s' }

t.test('a broker behind a bridge is seen at the far broker: its books, its links, its end', async (t) => {
  const cloud = await Program.start(t, 'broker', brokerConfig(t, { name: 'cloud', report }))
  const proxy = await TcpProxy.open({ host: '127.0.0.1', port: cloud.port, mqtt: true })
  t.after(() => proxy[Symbol.asyncDispose]())
  const topics = [{ filter: `${PREFIX}/+/+/+/crop` }, { filter: REPORTS }]
  const edge = await Program.start(
    t,
    'broker',
    brokerConfig(t, { name: 'edge', report, bridges: [bridgeConfig(proxy.url, { topics })] }),
  )
  const console = await readReports(t, cloud.port)
  await until('both are heard of', () => console.of('edge').length > 1 && console.of('cloud').length > 0)
  const own = console.of('cloud')[0] as KeeperReport
  t.match(own, { program: 'broker', keeper: /^broker-cloud-[\w-]{8}$/, ok: true, everyMs: 1000, links: [] })
  const first = console.of('edge')[0] as KeeperReport & { topic: string }
  t.equal(first.topic, keeperTopic(PREFIX, first.keeper))
  t.match(first.version, /^\d+\.\d+\.\d+/)

  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  device.publish(`${PREFIX}/a/b/c/crop`, 'x'.repeat(100), { messageId: 1 })
  await until('the crop is in the books', () =>
    console
      .of('edge')
      .some(({ queues }) => queues.some(({ name, forwarded }) => name === 'bridge/cloud' && forwarded > 0)),
  )
  const latest = console.of('edge').at(-1) as KeeperReport
  for (const { accepted, forwarded, pending, dropped } of latest.queues)
    t.equal(accepted, forwarded + pending + Object.values(dropped).reduce((sum, it) => sum + it, 0))
  t.match(latest.links, [
    {
      name: 'bridge/cloud',
      to: /^127\.0\.0\.1:\d+$/,
      connected: true,
      clientId: /^sightline-bridge-edge-cloud-/,
    },
  ])
  t.notMatch(JSON.stringify(latest), /password/)

  // What is said while the line is away waits as one report, the newest.
  proxy.refuse()
  proxy.cut()
  const atEdge = await readReports(t, edge.port)
  const local = () => atEdge.of('edge').filter(({ links }) => links[0]?.connected === false).length
  await until('it says that its link is down, and goes on reporting', () => local() > 3)
  t.ok((await edge.books('bridge/cloud')).pending <= 2, 'what was on its way at the cut, and the newest')
  const before = console.of('edge').length
  await proxy.accept()
  const after = () => console.of('edge').slice(before)
  await until('it is connected again', () => after().some(({ links }) => links[0]?.connected === true))
  const caughtUp = after()
  const down = caughtUp.filter(({ links }) => links[0]?.connected === false)
  t.equal(down.length, 1, 'of the time without a line the last one came')
  t.equal(down[0]?.atMs, atEdge.of('edge').findLast(({ links }) => links[0]?.connected === false)?.atMs)

  await edge.stop()
  await until('it said that it ends', () => console.of('edge').at(-1)?.ended === true)
  const late = await readReports(t, cloud.port)
  await until('what is retained', () => late.of('edge').length > 0)
  t.match(late.of('edge')[0], { ended: true, retain: true })
})

t.test('a far broker that does not allow reports has one in the quarantine, and crops flow', async (t) => {
  const cloud = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      name: 'cloud',
      users: [{ name: 'old', password: 'secret-1', publish: [`${PREFIX}/+/+/+/crop`] }],
      queues: [{ clientId: 'reader', topics: [`${PREFIX}/+/+/+/crop`] }],
    }),
  )
  const topics = [{ filter: `${PREFIX}/+/+/+/crop` }, { filter: REPORTS }]
  const bridge = bridgeConfig(cloud.url, { topics, username: 'old', password: 'secret-1' })
  const edge = await Program.start(t, 'broker', brokerConfig(t, { name: 'edge', report, bridges: [bridge] }))
  await until('several were refused', async () => (await edge.books('quarantine/cloud')).accepted > 2)
  t.equal((await edge.books('quarantine/cloud')).pending, 1)
  const device = await RawClient.open(t, edge.port, 'device', { clean: true })
  device.publish(`${PREFIX}/a/b/c/crop`, 'x', { messageId: 1 })
  await until('the crop is there', async () => (await cloud.books('session/reader')).pending === 1)
})
