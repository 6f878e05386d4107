import t from 'tap'
import { audit } from '../../demo/books.ts'
import type { Readings } from '../../demo/readings.ts'
import { queue, readings } from './readings.ts'

/** A run that went well: ten crops, from the agent to the bucket. */
const through = queue({ accepted: 10, forwarded: 10 })
const well = readings({ made: 10, published: 10, edge: through, cloud: through, inbox: through, stored: 10 })

const bucket = (gained = 10, before = 0) => ({ path: '/data/bucket', gained, before })
const faultsOf = (end: Partial<Readings>, objects = 10, start = readings()) =>
  audit(start, { ...well, ...end }, bucket(objects), 'best').faults

t.test('a run where everything arrived has no fault, and a line for every keeper', async (t) => {
  const { lines, faults } = audit(readings(), { ...well, detected: 10 }, bucket(), 'best')
  t.strictSame(faults, [])
  t.strictSame(lines, [
    'faces          detected 10, crops made 10',
    'agent          made 10 = published 10 + waiting 0 + dropped 0',
    'edge broker    accepted 10 = forwarded 10 + pending 0 + dropped 0',
    'cloud broker   accepted 10 = forwarded 10 + pending 0 + dropped 0',
    'subscriber     accepted 10 = forwarded 10 + pending 0 + dropped 0',
    'bucket         10 new objects',
    '               in the folder /data/bucket',
  ])
})

t.test('why fewer crops are made than faces detected is said, as the crops are chosen', async (t) => {
  const more = { ...well, detected: 35 }
  const linesOf = (choice: 'every' | 'best') => audit(readings(), more, bucket(), choice).lines.slice(0, 2)
  t.match(linesOf('best'), [
    'faces          detected 35, crops made 10',
    /in each picture; only the best one becomes a crop/,
  ])
  t.match(linesOf('every'), [
    'faces          detected 35, crops made 10',
    /in each picture; emit\.rateMax limits the crops/,
  ])
})

t.test('what a kept folder had before is told apart from what this run did', async (t) => {
  const start = readings({ edge: queue({ accepted: 104, forwarded: 100, pending: 4 }) })
  const end = { ...well, edge: queue({ accepted: 114, forwarded: 114 }) }
  const { lines } = audit(start, end, bucket(14, 100), 'best')
  t.ok(
    lines.includes('edge broker    had 4 + accepted 10 = forwarded 14 + pending 0 + dropped 0'),
    lines.join('\n'),
  )
  t.ok(lines.includes('bucket         14 new objects, plus 100 from before'))
})

t.test('what may happen is no fault', async (t) => {
  t.strictSame(faultsOf({ made: 13, droppedByAgent: 3 }), [], 'the agent dropped some, and counted them')
  const twice = queue({ accepted: 11, forwarded: 11 })
  t.strictSame(faultsOf({ edge: twice, cloud: twice, duplicates: 1 }), [], 'a hand-over was repeated')
  const less = queue({ accepted: 9, forwarded: 9 })
  t.strictSame(faultsOf({ inbox: less, quarantined: 1 }, 9), [], 'one was no crop')
})

t.test(
  'a folder that was kept brings the books of earlier runs along: only the difference counts',
  async (t) => {
    const twice = queue({ accepted: 20, forwarded: 20 })
    t.strictSame(
      faultsOf({ edge: twice, cloud: twice, inbox: twice }, 10, { ...well, made: 0, published: 0 }),
      [],
    )
    const waited = { ...readings(), edge: queue({ accepted: 4, pending: 4 }) }
    const more = queue({ accepted: 14, forwarded: 14 })
    t.strictSame(
      faultsOf({ edge: more, cloud: more, inbox: more }, 14, waited),
      [],
      'the last run left four behind',
    )
  },
)

const IMBALANCES: readonly [string, Partial<Readings>, number, RegExp][] = [
  ['the agent lost one', { made: 11 }, 10, /^agent: made 11 is not published 10 \+ waiting 0 \+ dropped 0$/],
  [
    'the edge lost one',
    { edge: queue({ accepted: 10, forwarded: 9 }) },
    10,
    /^edge broker: accepted 10 is not/,
  ],
  [
    'the cloud lost one',
    { cloud: queue({ accepted: 10, forwarded: 9 }) },
    10,
    /^cloud broker: accepted 10 is not/,
  ],
  [
    'the inbox lost one',
    { inbox: queue({ accepted: 10, forwarded: 9 }) },
    10,
    /^subscriber: accepted 10 is not/,
  ],
  [
    'the edge dropped one',
    { edge: queue({ accepted: 10, forwarded: 9, dropped: 1 }) },
    10,
    /^edge broker: dropped 1$/,
  ],
  [
    'one that the agent published never reached the edge',
    { edge: queue({ accepted: 9, forwarded: 9 }) },
    10,
    /^the edge broker accepted 9, fewer than the 10 that the agent published$/,
  ],
  [
    'one that the edge handed on never reached the cloud',
    { cloud: queue({ accepted: 9, forwarded: 9 }) },
    10,
    /^the cloud broker accepted 9, fewer than the 10 that the edge forwarded$/,
  ],
  [
    'one that the cloud handed on never reached the subscriber',
    { inbox: queue({ accepted: 9, forwarded: 9 }) },
    10,
    /^the subscriber accounts for 9, fewer than the 10 that the cloud forwarded$/,
  ],
  [
    'some are still on their way',
    { edge: queue({ accepted: 10, forwarded: 8, pending: 2 }) },
    8,
    /^2 crops are still on their way$/,
  ],
  ['an object is missing', {}, 9, /^the bucket gained 9 objects for 10 published crops$/],
  ['there is one object too many', {}, 11, /^the bucket gained 11 objects for 10 published crops$/],
]
for (const [name, end, objects, fault] of IMBALANCES) {
  t.test(`${name}: that is found, and named`, async (t) => {
    t.match(faultsOf(end, objects), [fault])
  })
}
