import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { latencyQuantile, Meter, parseMetrics, withLastWords } from '../../demo/readings.ts'
import { counter, histogram, openMetrics, total } from '../../lib/metrics.ts'
import { readings } from './readings.ts'

t.test('reads what prom-client writes: labels, quotes in them, histograms, no comments', async (t) => {
  const registry = openMetrics('test')
  const made = counter(registry, 'things_total', 'Things', ['kind'])
  made.inc({ kind: 'a "quoted", {odd} one' }, 2)
  made.inc({ kind: 'plain' }, 1.5)
  histogram(registry, 'seconds', 'Time', [0.1, 1]).observe(0.5)
  const samples = parseMetrics(await registry.metrics())
  const of = (name: string) => samples.filter((sample) => sample.name === name)
  t.strictSame(
    of('things_total').map(({ labels, value }) => [labels.kind, labels.program, value]),
    [
      ['a \\"quoted\\", {odd} one', 'test', 2],
      ['plain', 'test', 1.5],
    ],
  )
  t.strictSame(
    of('seconds_bucket').map(({ labels, value }) => [labels.le, value]),
    [
      ['0.1', 0],
      ['1', 1],
      ['+Inf', 1],
    ],
  )
  t.notOk(samples.some(({ name }) => name.includes('#')))
  t.equal(await total(made), 3.5, 'and a program adds them up for its last words')
})

t.test('a program that is gone keeps what it said last', async (t) => {
  let answer =
    'sightline_crops_published_total{camera="a"} 3\nsightline_crops_published_total{camera="b"} 4\n'
  const server = createServer((_request, response) => response.end(answer))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const meter = new Meter({ device: url, edge: url, cloud: url, subscriber: url })
  t.equal((await meter.read()).published, 7)
  answer = 'sightline_crops_published_total{camera="a"} 9\n'
  t.equal((await meter.read()).published, 9)
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  t.equal((await meter.read()).published, 9)
})

t.test(
  'the programs are asked in the direction of flow, so that no crop hides between two answers',
  async (t) => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.end('')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const meter = new Meter({
      subscriber: `${url}/subscriber`,
      cloud: `${url}/cloud`,
      edge: `${url}/edge`,
      device: `${url}/device`,
    })
    await meter.read()
    t.strictSame(
      asked.map((path) => path.split('/')[1]),
      ['device', 'edge', 'cloud', 'subscriber', 'device'],
      'and the agent once more, so that no more is stored than was published',
    )
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  },
)

t.test("the agent's last words count for more than its last reading", async (t) => {
  const last = readings({ captured: 90, detected: 60, made: 55, published: 50, waiting: 5, stored: 7 })
  t.equal(withLastWords(last, undefined, undefined), last)
  const queue = { name: 'outbox', accepted: 9, forwarded: 8, pending: 0, dropped: { 'no room': 1 } }
  t.match(
    withLastWords(
      last,
      { captured: 100, detected: 70, made: 60, published: 59, dropped: 1, clips: 9, msg: 'books' },
      { queues: [queue], msg: 'books of the outbox' },
    ),
    {
      clips: { made: 9, outbox: { accepted: 9, forwarded: 8, pending: 0, dropped: 1 } },
      captured: 100,
      detected: 70,
      made: 60,
      published: 59,
      droppedByAgent: 1,
      waiting: 0,
      stored: 7,
    },
  )
})

t.test('a quantile is interpolated within its bucket', async (t) => {
  const at = (counts: readonly [number, number][]) => readings({ latency: new Map(counts) })
  const now = at([
    [1, 10],
    [2, 20],
    [Number.POSITIVE_INFINITY, 20],
  ])
  t.equal(latencyQuantile(undefined, now, 0.5), 1)
  t.equal(latencyQuantile(undefined, now, 0.75), 1.5)
  t.equal(latencyQuantile(now, now, 0.5), undefined, 'nothing was stored in between')
  t.equal(
    latencyQuantile(
      undefined,
      at([
        [1, 0],
        [Number.POSITIVE_INFINITY, 3],
      ]),
      0.5,
    ),
    1,
    'above all limits',
  )
})
