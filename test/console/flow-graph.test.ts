import t from 'tap'
import { keeperOf } from '../../console/api/keepers.ts'
import { droppedOf, flowOf, lostOf, pendingWords, waiting } from '../../console/pages/views/flow-graph.ts'
import { layOut } from '../../console/pages/views/flow-layout.ts'
import { NORTH, stateOf } from './api-server.ts'
import { books, keeper, wholeLine } from './pages-server.ts'

const nowMs = Date.now()
const camera = { ...NORTH, is: 'live' as const, state: stateOf(NORTH), stateAtMs: nowMs, newest: null }
const flowFrom = (line: ReturnType<typeof wholeLine>) =>
  flowOf({
    keepers: line.map(keeperOf),
    cameras: [camera],
    cropsPerS: new Map([['north/pi/gate', 2.4]]),
    nowMs,
  })

t.test('the line is followed from a camera to bucket and database, through NAT, by client ids', async (t) => {
  const { nodes, links } = flowFrom(wholeLine())
  const titles = new Map(nodes.map(({ id, stage, title }) => [id, `${stage} ${title}`]))
  const path = links.map(({ from, to }) => `${titles.get(from)} > ${titles.get(to)}`)
  for (const step of [
    'camera gate > agent pi',
    'agent pi > edge edge-north',
    'edge edge-north > bridge cloud',
    'bridge cloud > broker cloud',
    'broker cloud > subscriber subscriber',
    'subscriber subscriber > bucket Bucket',
    'subscriber subscriber > database Database',
  ])
    t.ok(path.includes(step), step)
  t.notOk(path.includes('agent pi > broker cloud'))
})

t.test('what waits is found, with its books and its age; a link that is cut carries nothing', async (t) => {
  const flow = flowFrom(wholeLine())
  const [first, ...others] = waiting(flow, nowMs)
  t.strictSame(others, [])
  t.equal(first?.node.stage, 'bridge')
  t.equal(first?.node.books.pending, 1204)
  t.equal(first?.node.why, 'It does not reach cloud.example:8883.')
  t.equal(Math.round((nowMs - (first?.sinceMs ?? 0)) / 60_000), 10)
  const cut = flow.links.filter(({ isConnected }) => !isConnected)
  t.strictSame(
    cut.map(({ from }) => from),
    [first?.node.id],
  )
})

t.test('clips take their lanes: drawn with the programs they belong to, counted by kind', async (t) => {
  const line = wholeLine()
  const { nodes, links } = flowFrom(line)
  t.equal(nodes.filter(({ id }) => id.startsWith('unknown')).length, 0, 'no lane is taken for a program')
  t.equal(nodes.filter(({ stage }) => stage === 'bridge').length, 2, 'nor for another bridge')
  const bridge = nodes.find(({ stage, tone }) => stage === 'bridge' && tone === 'good')
  t.strictSame(
    bridge?.queues.map(({ name, kind }) => `${name} ${kind}`),
    ['bridge/cloud crops', 'bridge/cloud/clips clips', 'quarantine/cloud crops'],
  )
  for (const stage of ['agent', 'bridge', 'subscriber', 'bucket'])
    t.match(
      nodes.find((node) => node.stage === stage && node.clipsPerS > 0),
      { perS: 2.4, clipsPerS: 0.3 },
      stage,
    )
  const into = links.find(({ to }) => to === nodes.find(({ stage }) => stage === 'subscriber')?.id)
  t.match(into, { perS: 2.4, clipsPerS: 0.3 })
  const waits = { accepted: 1012, pending: 12, bytes: 9_000_000, oldestAtMs: nowMs - 60_000 }
  const edge = keeper({
    program: 'broker',
    name: 'edge',
    queues: [books('bridge/cloud'), books('bridge/cloud/clips', waits)],
    links: [
      { name: 'bridge/cloud', to: 'cloud', connected: true },
      { name: 'bridge/cloud/clips', to: 'cloud', connected: false },
    ],
  })
  const cut = flowFrom([edge]).nodes.find(({ stage }) => stage === 'bridge')
  t.match(cut, { tone: 'bad', why: 'It does not reach cloud for clips.' })
  t.equal(cut && pendingWords(cut), '12 clips')
})

t.test('what was on its way when a program spoke does not wait, however long ago that was', async (t) => {
  const said = (waitedMs: number) => {
    const atMs = nowMs - 9_000
    const inbox = {
      name: 'inbox',
      accepted: 20,
      forwarded: 2,
      pending: 18,
      dropped: { replaced: 4 },
      bytes: 1,
      oldestAtMs: atMs - waitedMs,
    }
    return flowFrom([keeper({ program: 'subscriber', name: 's', atMs, queues: [inbox] })])
  }
  t.strictSame(waiting(said(200), nowMs), [])
  t.equal(waiting(said(5_000), nowMs).length, 1)
  const [node] = said(200).nodes.filter(({ stage }) => stage === 'subscriber')
  t.equal(node && lostOf(node.books), 0, 'what a newer one replaced is not lost')
  t.equal(node && droppedOf(node.books), 4)
})

t.test(
  'a program that is silent, or was stopped, says so; the one that took its place is shown alone',
  async (t) => {
    const gone = keeper(
      { program: 'subscriber', name: 'b', startedAtMs: 1, keeper: 'subscriber-b-old' },
      { isSilent: true },
    )
    const there = keeper({ program: 'subscriber', name: 'b' })
    const stopped = keeper({ program: 'broker', name: 'c', ended: true })
    const { nodes } = flowFrom([gone, there, stopped])
    t.strictSame(
      nodes.filter(({ stage }) => stage === 'subscriber').map(({ tone }) => tone),
      ['good'],
    )
    t.match(
      nodes.find(({ title }) => title === 'c'),
      { tone: 'quiet', why: 'It was stopped.' },
    )
    const [alone] = flowFrom([gone]).nodes.filter(({ stage }) => stage === 'subscriber')
    t.match(alone, { tone: 'bad', why: 'No reports are arriving.' })
  },
)

t.test('a broker that does not report is drawn by its address', async (t) => {
  const [agent] = wholeLine()
  const { nodes, links } = flowFrom(agent ? [agent] : [])
  const unknown = nodes.find(({ title }) => title === 'edge.north:1883')
  t.match(unknown, { tone: 'quiet', sub: 'It does not report.' })
  t.ok(links.some(({ to }) => to === unknown?.id))
})

t.test('nothing is drawn over anything else, however many there are', async (t) => {
  const many = Array.from({ length: 40 }, (_, index) => [
    keeper({
      program: 'device',
      name: `site-${index % 7}/pi-${index}`,
      links: [{ name: 'broker', to: 'x', connected: true, clientId: `pi-${index}` }],
    }),
    keeper({
      program: 'broker',
      name: `edge-${index}`,
      queues: [
        {
          name: `session/pi-${index}`,
          accepted: 0,
          forwarded: 0,
          pending: 0,
          dropped: {},
          bytes: 0,
          oldestAtMs: null,
        },
      ],
      links: [{ name: 'bridge/cloud', to: 'cloud', connected: true }],
    }),
  ]).flat()
  const flow = flowFrom([...many, ...wholeLine().slice(4)])
  const { boxes, width, height } = layOut(flow)
  t.equal(boxes.size, flow.nodes.length)
  const all = [...boxes.values()]
  const over = all.flatMap((a, index) =>
    all
      .slice(index + 1)
      .filter(
        (b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height,
      ),
  )
  t.strictSame(over, [])
  t.ok(
    all.every(({ x, y, ...box }) => x >= 0 && y >= 0 && x + box.width <= width && y + box.height <= height),
  )
})
