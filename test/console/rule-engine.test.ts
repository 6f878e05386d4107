import t from 'tap'
import type { NewNotice } from '../../console/rules/fact.ts'
import { ID_PATTERN, mintedAtMs } from '../../wire/id.ts'
import { noticeSchema } from '../../wire/notice.ts'
import {
  camera,
  DOOR,
  device,
  engineOf,
  event,
  face,
  present,
  publish,
  START_MS,
  story,
  trackAt,
  view,
} from './rule-cases.ts'

const A = trackAt(0)
const B = trackAt(1)
const quality = (total: number) => ({ quality: { total, size: total, sharpness: total, frontality: total } })

t.test('a face that is followed makes one notice, and better pictures of it update that', async (t) => {
  const engine = engineOf([{ on: 'face' }])
  t.strictSame(
    story(
      engine,
      [0, face(0, { track: A, shot: 'first', ...quality(0.5) })],
      [1000, face(1000, { track: A, ...quality(0.4) })],
      [2000, face(2000, { track: B })],
      [3000, face(3000, { track: A, shot: 'best', ...quality(0.3) })],
      [4000, face(4000, { track: A, ...quality(0.9) })],
    ),
    ['0s new', '2s new', '3s updated'],
    'a worse one does not, and nothing goes before the best',
  )
})

t.test('photos, which nothing follows, make one each', async (t) => {
  t.strictSame(story(engineOf([{ on: 'face' }]), [0, face(0)], [1, face(1)]), ['0s new', '0.001s new'])
})

t.test('conditions: all that are given', async (t) => {
  const cases: [name: string, rule: object, fact: Parameters<typeof face>[1], is: boolean][] = [
    ['zone', { zones: ['door', 'till'] }, { zones: ['till'] }, true],
    ['other zone', { zones: ['door'] }, { zones: ['till'] }, false],
    ['no zones', { zones: ['door'] }, {}, false],
    ['score', { scoreMin: 0.9 }, { score: 0.9 }, true],
    ['score below', { scoreMin: 0.9 }, { score: 0.89 }, false],
    ['quality', { qualityMin: 0.5 }, quality(0.5), true],
    ['quality not known', { qualityMin: 0.5 }, {}, false],
    ['size', { sizeMin: 30 }, { box: [0, 0, 30, 90] }, true],
    ['size below', { sizeMin: 31 }, { box: [0, 0, 30, 90] }, false],
    ['masked', { masked: true }, { masked: true }, true],
    ['not masked', { masked: false }, { masked: false }, true],
    ['mask not known', { masked: false }, {}, false],
    [
      'attribute',
      { attributes: [{ name: 'glasses', labels: ['yes', 'sun'], scoreMin: 0.5 }] },
      { attributes: [{ name: 'glasses', label: 'sun', score: 0.6 }] },
      true,
    ],
    [
      'attribute too unsure',
      { attributes: [{ name: 'glasses', labels: ['sun'], scoreMin: 0.7 }] },
      { attributes: [{ name: 'glasses', label: 'sun', score: 0.6 }] },
      false,
    ],
    ['two of which one fails', { scoreMin: 0.5, zones: ['door'] }, { score: 0.9, zones: [] }, false],
  ]
  for (const [name, conditions, settings, is] of cases)
    t.equal(
      engineOf([{ on: 'face', conditions }]).run([face(0, settings)], START_MS).notices.length,
      is ? 1 : 0,
      name,
    )
})

t.test('an expression holds beside the conditions', async (t) => {
  const engine = engineOf([
    { on: 'face', conditions: { scoreMin: 0.5 }, expression: '"door" in zones && unmasked && size >= 30' },
  ])
  const at = (settings: Parameters<typeof face>[1]) =>
    engine.run([face(0, settings)], START_MS).notices.length
  t.equal(at({ zones: ['door'], masked: false }), 1)
  t.equal(at({ zones: ['door'], masked: true }), 0)
  t.equal(at({ zones: ['door'], masked: false, score: 0.4 }), 0)
})

t.test('a notice says what classifiers say', async (t) => {
  const by = 'mask@0f3a5c9b1d2e'
  const attributes = [
    { name: 'mask', label: 'with mask', score: 0.967, by },
    { name: '<b>', label: '=1+1', score: 0.5 },
  ]
  const masked = { on: 'face', conditions: { attributes: [{ name: 'mask', labels: ['with mask'] }] } }
  const [told, worded] = engineOf([masked, { ...masked, text: '{attributes}' }]).run(
    [face(0, { attributes })],
    START_MS,
  ).notices
  t.match(told?.notice, { text: 'Face (mask: with mask) at home/pi/door.', attributes })
  t.equal(worded?.notice.text, 'mask: with mask (97 %), <b>: =1+1 (50 %)')
})

t.test('an expression that cannot be evaluated is false, which is said once', async (t) => {
  const engine = engineOf([{ on: 'face', expression: 'labels.glasses == "yes"' }])
  t.strictSame(story(engine, [0, face(0)], [1000, face(1000)]), ['0s rule error'])
  const labelled = face(2000, { attributes: [{ name: 'glasses', label: 'yes', score: 1 }] })
  t.strictSame(story(engine, [2000, labelled]), ['2s new'])
})

t.test('cooldown is of each track, camera or scenario, and is told with its end', async (t) => {
  const other = { ...DOOR, camera: 'yard' }
  const steps = [
    [0, face(0, { track: A })],
    [1000, face(1000, { track: B })],
    [2000, face(2000, other)],
    [60_000, face(60_000)],
  ] as const
  t.strictSame(story(engineOf([{ on: 'face', per: 'track', cooldownMs: 60_000 }]), ...steps), [
    '0s new',
    '1s new',
    '2s new',
    '60s new',
  ])
  t.strictSame(story(engineOf([{ on: 'face', per: 'camera', cooldownMs: 60_000 }]), ...steps), [
    '0s new',
    '1s cooldown',
    '2s new',
    '60s new',
  ])
  const engine = engineOf([{ on: 'face', per: 'scenario', cooldownMs: 60_000 }])
  t.strictSame(story(engine, ...steps), ['0s new', '1s cooldown', '2s cooldown', '60s new'])
  const [decision] = engine.run([face(61_000)], START_MS + 61_000).decisions
  t.match(decision, { what: 'cooldown', untilMs: START_MS + 120_000 })
})

t.test('a face that was held back does not become new when the cooldown is over', async (t) => {
  const engine = engineOf([{ on: 'face', per: 'camera', cooldownMs: 10_000 }])
  t.strictSame(
    story(
      engine,
      [0, face(0, { track: A })],
      [9000, face(9000, { track: B, shot: 'first' })],
      [12_000, face(12_000, { track: B, shot: 'best' })],
    ),
    ['0s new', '9s cooldown'],
  )
})

t.test('a face that is heard of late makes no notice; an object that arrives late does', async (t) => {
  const dayMs = 86_400_000
  const faces = engineOf([{ on: 'face' }])
  t.strictSame(story(faces, [dayMs, face(0, { track: A })]), ['86400s too late'])
  t.strictSame(story(faces, [dayMs + 1, face(dayMs - 3_599_000)]), ['86400.001s new'], 'within the hour')
  t.strictSame(story(engineOf([{ on: 'arrival' }]), [dayMs, face(0)]), ['86400s new'])
  t.strictSame(story(engineOf([{ on: 'face', conditions: { scoreMin: 1 } }]), [dayMs, face(0)]), [])
})

t.test('an event speaks at once, and the first crop of the same face brings its picture', async (t) => {
  const engine = engineOf([{ on: 'track', conditions: { scoreMin: 0.8 } }])
  const notices: NewNotice[] = []
  const take = (ms: number, fact: ReturnType<typeof face>) =>
    notices.push(...engine.run([fact], START_MS + ms).notices)
  take(0, event(0, 'new', A, { score: 0.7 }))
  t.equal(notices.length, 0)
  take(100, event(100, 'update', A))
  take(200, event(200, 'update', A))
  take(500, face(400, { track: A, shot: 'first' }))
  take(900, event(900, 'end', A))
  t.strictSame(
    notices.map(({ notice }) => [notice.is, notice.detection !== undefined]),
    [
      ['new', false],
      ['updated', true],
    ],
  )
  t.equal(notices[0]?.key, notices[1]?.key)
  t.equal(notices[0]?.notice.id, notices[1]?.notice.id)
})

t.test('zones: coming, leaving, staying; hold is broken by leaving', async (t) => {
  const enter = event(0, 'enter', A, { zone: 'till', zones: ['till'] })
  const leave = (ms: number) => event(ms, 'leave', A, { zone: 'till', zones: [] })
  const conditions = { zones: ['till'], zoneEvents: ['enter'] }
  t.strictSame(story(engineOf([{ on: 'zone', conditions }]), [0, enter], [100, leave(100)]), ['0s new'])
  t.strictSame(
    story(engineOf([{ on: 'zone', conditions: { zoneEvents: ['leave'] } }]), [0, enter], [100, leave(100)]),
    ['0.1s new'],
  )
  t.strictSame(story(engineOf([{ on: 'zone', conditions: { zones: ['door'] } }]), [0, enter]), [])
  const held = { on: 'zone', conditions, holdMs: 5000 }
  t.strictSame(story(engineOf([held]), [0, enter], [9000]), ['0s holding', '5s new'])
  t.strictSame(story(engineOf([held]), [0, enter], [4000, leave(4000)], [9000]), ['0s holding'])
  t.strictSame(story(engineOf([held]), [0, enter], [4000, event(4000, 'end', A)], [9000]), ['0s holding'])
  t.strictSame(
    story(engineOf([held]), [0, enter], [4000, device(false)], [9000]),
    ['0s holding'],
    'nobody knows whether it is still there',
  )
  const elsewhere = event(3000, 'leave', A, { zone: 'door', zones: ['till'] })
  t.strictSame(story(engineOf([held]), [0, enter], [3000, elsewhere], [9000]), ['0s holding', '5s new'])
})

t.test('presence: more than so many, for so long without a break, and when it is over', async (t) => {
  const rule = { on: 'presence', conditions: { moreThan: 2 }, holdMs: 10_000 }
  t.strictSame(
    story(
      engineOf([rule]),
      [0, present(2)],
      [1000, present(3)],
      [5000, present(2)],
      [6000, present(4)],
      [12_000, present(5)],
      [20_000],
      [30_000, present(1)],
    ),
    ['1s holding', '6s holding', '16s new', '30s ended'],
  )
  const zoned = { on: 'presence', conditions: { moreThan: 1, zones: ['till'] } }
  t.strictSame(story(engineOf([zoned]), [0, present(9, { till: 1 })], [1000, present(9, { till: 2 })]), [
    '1s new',
  ])
  t.strictSame(story(engineOf([zoned]), [0, present(9)]), [], 'a camera that has no such zone')
  const few = { on: 'presence', conditions: { fewerThan: 1 } }
  t.strictSame(
    story(
      engineOf([few]),
      [0, present(0)],
      [1, camera({ is: 'offline', present: { faces: 0, zones: {} } })],
      [2, present(1)],
    ),
    ['0s new', '0.001s ended'],
    'of a camera that is away nobody knows',
  )
  const all = { on: 'presence', per: 'scenario', conditions: { moreThan: 4 } }
  t.strictSame(
    story(engineOf([all]), [0, present(3)], [1000, present(2, {}, 'yard')], [2000, present(1)]),
    ['1s new', '2s ended'],
    'together',
  )
  const counted = { on: 'presence', expression: 'count == 2 && faces == 2' }
  t.strictSame(story(engineOf([counted]), [0, present(3)], [1000, present(2)]), ['1s new'])
})

t.test('count: different faces within a time, once until there are fewer', async (t) => {
  const rule = { on: 'count', per: 'camera', conditions: { moreThan: 2, windowMs: 60_000 } }
  const c = trackAt(2)
  t.strictSame(
    story(
      engineOf([rule]),
      [0, face(0, { track: A })],
      [1000, face(1000, { track: A })],
      [2000, face(2000, { track: B })],
      [3000, face(3000, { track: c })],
      [4000, face(4000)],
      [100_000],
      [110_000, face(110_000), face(110_001), face(110_002)],
    ),
    ['3s new', '110s new'],
  )
  t.strictSame(
    story(engineOf([rule]), [0, face(0)], [50_000, face(50_000)], [70_000, face(70_000)]),
    [],
    'the first is too old by then',
  )
})

t.test('a clock that is ahead: nothing counts for ever, and nothing was later than now', async (t) => {
  const rule = { on: 'count', per: 'scenario', conditions: { moreThan: 1, windowMs: 60_000 } }
  const ahead = Date.UTC(9999, 0) - START_MS
  const engine = engineOf([rule])
  const late = face(ahead)
  t.strictSame(
    story(
      engine,
      [0, late],
      [1000, face(1000)],
      // The window has gone by: it counts from none.
      [120_000, face(120_000)],
      [121_000, face(121_000)],
    ),
    ['1s new', '121s new'],
  )
  const recalled = engineOf([rule])
  if (late.is === 'face') recalled.recall(late.detection, START_MS)
  t.strictSame(story(recalled, [61_000, face(61_000)], [62_000, face(62_000)]), ['62s new'])
  for (const fact of [face(ahead), event(ahead, 'new', A)]) {
    const on = fact.is === 'face' ? 'face' : 'track'
    const [notice] = engineOf([{ on }]).run([fact], START_MS).notices
    t.equal(notice?.notice.atMs, START_MS, on)
  }
})

t.test('a camera that is covered, and clear again', async (t) => {
  const rule = { on: 'camera', conditions: { states: ['covered', 'turned'] }, holdMs: 2000 }
  const engine = engineOf([rule])
  t.strictSame(
    story(
      engine,
      [0, view('clear')],
      [1000, view('covered')],
      [2000, view('covered')],
      [9000, view('clear')],
    ),
    ['1s holding', '3s new', '9s ended'],
  )
  const { notices } = engine.run([view('turned')], START_MS + 10_000)
  t.equal(notices.length, 0)
  const [made] = engine.run([], START_MS + 12_000).notices
  t.match(made?.notice, { title: /^.+: door$/, text: 'home/pi/door is turned.' })
})

t.test('a camera whose faces nobody looks for as they should be', async (t) => {
  const away = 'No inference server can be asked.'
  const detect = (on: 'local' | 'remote' | 'none', why: string | null = null) =>
    camera({ detect: { on, why, sinceMs: START_MS } })
  const process = (...down: string[]) =>
    camera({
      process: ['mask', 'glasses'].map((name) => ({
        ...{ name, state: down.includes(name) ? ('down' as const) : ('up' as const), why: null },
      })),
    })
  for (const [states, ...facts] of [
    ['not looking', detect('remote'), detect('none', away), detect('local')],
    ['without servers', detect('local'), detect('local', away), detect('remote')],
    ['processor down', process(), process('glasses'), process()],
  ] as const)
    t.strictSame(
      story(
        engineOf([{ on: 'camera', conditions: { states: [states] } }]),
        ...facts.map((fact, n) => [n * 1000, fact] as const),
      ),
      ['1s new', '2s ended'],
      states,
    )
  const looking = { on: 'camera', expression: 'detect == "local" || "mask" in processorsDown' }
  const { notices } = engineOf([looking]).run([process('mask')], START_MS)
  t.equal(notices.length, 1)
  const [made] = engineOf([{ on: 'camera', conditions: { states: ['processor down'] } }]).run(
    [process('mask')],
    START_MS,
  ).notices
  t.match(made?.notice, { text: 'home/pi/door is without one of its processors.' })
})

t.test('a device that goes away is told once, whatever its cameras say', async (t) => {
  const names = Array.from({ length: 40 }, (_, n) => `c${n}`)
  const away = names.map((name) => camera({ is: 'offline', name }))
  const back = names.map((name) => camera({ name }))
  const rules = [
    { on: 'device', conditions: { states: ['offline'] } },
    { on: 'camera', conditions: { states: ['down', 'covered'] } },
  ]
  t.strictSame(story(engineOf(rules), [0, device(false), ...away], [9000, device(true), ...back]), [
    '0s new',
    '9s ended',
  ])
  const ofCameras = [{ on: 'camera', conditions: { states: ['down', 'offline'] } }]
  t.strictSame(story(engineOf(ofCameras), [0, ...away], [9000, ...back]), ['0s new', '9s ended'])
  const down = camera({ is: 'down', state: 'down', why: 'no route' })
  t.strictSame(
    story(
      engineOf([rules[1] as object]),
      [0, down],
      [1, camera({ is: 'offline' })],
      [2, down],
      [3, camera()],
    ),
    ['0s new', '0.003s ended'],
    'what was wrong before goes on',
  )
})

t.test(
  'quiet hours, suspension and schedule: what lasts is told when they are over, a face is not',
  async (t) => {
    const rules = [{ on: 'camera', conditions: { states: ['covered'] } }, { on: 'face' }]
    let isQuiet = true
    let isActive = true
    const engine = engineOf(rules, { isActive: () => isActive })
    engine.setSuspensions([
      { scenario: 'visitors', rule: 'r0', camera: 'home/pi/door', untilMs: START_MS + 5000 },
    ])
    t.strictSame(story(engine, [0, view('covered'), face(0)], [4000], [6000]), [
      '0s new',
      '0s suspended',
      '5s new',
    ])

    const quiet = { quiet: { timeZone: 'UTC' } }
    const held = engineOf(rules.map((rule) => ({ ...rule, ...quiet })))
    // The engine asks whether the schedule holds.
    const asked = new (Object.getPrototypeOf(held).constructor)({
      holds: () => isQuiet,
      cameras: () => [DOOR],
    })
    asked.setScenarios([publish(rules.map((rule) => ({ ...rule, ...quiet })))])
    const first = story(asked, [0, view('covered'), face(0, { track: A })], [25_000])
    isQuiet = false
    t.strictSame(
      [...first, ...story(asked, [31_000, face(31_000, { track: A })])],
      ['0s quiet hours', '0s quiet hours', '30s new'],
      'said once',
    )

    isActive = false
    const off = engineOf(rules, { isActive: () => isActive })
    const before = story(off, [0, view('covered'), face(0)])
    isActive = true
    t.strictSame(
      [...before, ...story(off, [10_000])],
      ['0s outside schedule', '0s outside schedule', '10s new'],
    )
  },
)

t.test('a draft that is rolled back never was', async (t) => {
  const engine = engineOf([
    { on: 'face', per: 'camera', cooldownMs: 60_000 },
    { on: 'camera', conditions: { states: ['covered'] }, holdMs: 1000 },
    { on: 'count', conditions: { moreThan: 1, windowMs: 60_000 } },
  ])
  const facts = [face(0, { track: A }), face(0, { track: B }), view('covered')]
  const attempt = () => {
    const draft = engine.draft()
    for (const fact of facts) draft.take(fact, START_MS)
    return draft
  }
  const first = attempt()
  const notices = first.outcome.notices.map(({ notice }) => notice)
  first.rollback()
  const second = attempt()
  t.strictSame(
    second.outcome.notices.map(({ notice }) => notice),
    notices,
    'the same comes of the same',
  )
  t.equal(notices.length, 2, 'a face and a count')
  second.commit()
  const due = engine.draft()
  due.look(START_MS + 1000)
  t.equal(due.outcome.notices.length, 1)
  due.rollback()
  t.equal(engine.run([], START_MS + 1000).notices.length, 1, 'what was due is due again')
})

t.test('after a restart: cooldown, what holds, and which faces were told', async (t) => {
  const rules = [
    { on: 'face', per: 'camera', cooldownMs: 60_000 },
    { on: 'camera', conditions: { states: ['covered'] } },
  ]
  const first = engineOf(rules).run([face(0, { track: A }), view('covered')], START_MS)
  t.equal(first.notices.length, 2)
  const engine = engineOf(rules)
  engine.load(first.states, START_MS + 1000)
  t.strictSame(
    story(
      engine,
      [1000, view('covered'), face(1000, { track: B })],
      [2000, face(2000, { track: A, shot: 'best' })],
      [3000, view('clear')],
    ),
    ['1s cooldown', '2s updated', '3s ended'],
  )
  const counting = engineOf([{ on: 'count', conditions: { moreThan: 1, windowMs: 60_000 } }])
  const before = face(0)
  if (before.is === 'face') counting.recall(before.detection, START_MS)
  t.strictSame(story(counting, [1000, face(1000)]), ['1s new'], 'faces of before are counted')
})

t.test('rules that are published anew go on where they ask for the same', async (t) => {
  const rule = { on: 'camera', conditions: { states: ['covered'] }, holdMs: 5000 }
  const engine = engineOf([rule])
  t.strictSame(story(engine, [0, view('covered')]), ['0s holding'])
  engine.setScenarios([publish([{ ...rule, level: 'problem' }])])
  t.strictSame(story(engine, [9000]), ['5s new'])
  engine.setScenarios([publish([{ ...rule, conditions: { states: ['covered', 'turned'] } }])])
  t.strictSame(
    story(engine, [10_000, view('covered')]),
    ['10s holding'],
    'one that asks for more begins anew',
  )
  engine.setScenarios([])
  t.strictSame(story(engine, [20_000, view('clear')]), [])
})

t.test('a notice is what the wire says, its id of its time and of what it is about', async (t) => {
  const seen = face(5, { track: A, zones: ['door'], masked: false })
  const [made] = engineOf([{ on: 'face', title: 'Hello', level: 'warning' }]).run(
    [seen],
    START_MS + 10,
  ).notices
  t.ok(made)
  if (!made) return
  const parsed = noticeSchema.safeParse({ v: 1, revision: 0, madeAtMs: START_MS, ...made.notice })
  t.equal(parsed.error, undefined)
  t.match(made.notice.id, ID_PATTERN)
  t.equal(mintedAtMs(made.notice.id), mintedAtMs(A))
  t.match(made, { key: `visitors/r0/${A}`, channels: ['c'], camera: DOOR })
  t.match(made.notice, { title: 'Hello', level: 'warning', zones: ['door'], masked: false, track: A })
  const [again] = engineOf([{ on: 'face' }]).run([seen], START_MS + 99_000).notices
  t.equal(again?.notice.id, made.notice.id, 'whenever it is come to')
  const [arrived] = engineOf([{ on: 'arrival', conditions: { kinds: ['crop'] } }]).run(
    [seen],
    START_MS,
  ).notices
  t.match(arrived?.notice.object, { kind: 'crop', bytes: 20_000, frame: [640, 360] })
})

t.test(
  'a clock that is set back an hour holds nothing back for that hour; nor one set forward a day',
  async (t) => {
    const HOUR = 3_600_000
    const hold = { on: 'camera', conditions: { states: ['covered'] }, holdMs: 10_000 }
    t.strictSame(
      story(
        engineOf([hold]),
        [HOUR, view('covered')],
        [1_000, present(0)], // the clock went back; the view is said no more
        [1_000, view('covered')],
        [12_000, view('covered')],
      ).filter((it) => !it.endsWith('holding')),
      ['11s new'],
    )
    t.strictSame(
      story(
        engineOf([hold]),
        [0, view('covered')],
        [24 * HOUR, view('covered')],
        [24 * HOUR + 1, view('clear')],
      ),
      ['0s holding', '10s new', '86400.001s ended'],
    )
    const cool = { on: 'face', per: 'camera', cooldownMs: 60_000 }
    const cooling = (...ms: number[]) => story(engineOf([cool]), ...ms.map((at) => [at, face(at)] as const))
    t.strictSame(cooling(HOUR, 10_000, 50_000, 71_000), [
      '3600s new',
      '10s cooldown',
      '50s cooldown',
      '71s new',
    ])
    t.strictSame(cooling(0, 24 * HOUR, 24 * HOUR + 1), ['0s new', '86400s new', '86400.001s cooldown'])
    t.strictSame(
      cooling(0, 24 * HOUR, 59_000, 120_000),
      ['0s new', '86400s new', '59s cooldown', '120s new'],
      'forward, and right again',
    )
    const restarted = engineOf([cool])
    restarted.load(engineOf([cool]).run([face(HOUR)], START_MS + HOUR).states, START_MS)
    t.strictSame(
      story(restarted, [1_000, face(1_000)], [61_000, face(61_000)]),
      ['1s cooldown', '61s new'],
      'also while the program was away',
    )
    const zone = engineOf([{ on: 'zone', conditions: { zoneEvents: ['enter'] }, holdMs: 5_000 }])
    t.strictSame(
      story(
        zone,
        [HOUR, event(HOUR, 'enter', A, { zone: 'door', zones: ['door'] })],
        [0, event(HOUR + 1_000, 'update', A, { zones: ['door'] })],
        [6_000],
      ),
      ['3600s holding', '5s new'],
    )
  },
)

t.test('what arrives is told each, however many; of others a flood is cut, and that is said', async (t) => {
  const many = (rule: object) => {
    const engine = engineOf([rule])
    const { notices, decisions } = engine.run(
      Array.from({ length: 6_100 }, (_, n) => face(n)),
      START_MS + 7_000,
    )
    return [notices.length, decisions.filter(({ what }) => what === 'too many').length]
  }
  t.strictSame(many({ on: 'arrival', conditions: { kinds: ['crop'] } }), [6_100, 0])
  t.strictSame(many({ on: 'face' }), [6_000, 100])
})
