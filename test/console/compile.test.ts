import t from 'tap'
import { camerasToSet } from '../../console/desired/desired.ts'
import { judge, type Told, undone } from '../../console/desired/judge.ts'
import { type Covering, compileDevice } from '../../console/scenarios/compile.ts'
import { conflictsOf, sentenceOf } from '../../console/scenarios/conflicts.ts'
import { deviceDocumentSchema, scenarioSchema } from '../../console/scenarios/document.ts'
import { publishedOf } from '../../console/scenarios/scenarios.ts'
import { labelsBy } from '../../console/scenarios/selection.ts'
import { type DesiredContent, desiredContentSchema, type Reported } from '../../wire/desired.ts'
import { makeReported } from '../kit/desired.ts'

const PI = { site: 'home', device: 'pi' }
const devices = new Map([
  ['home/pi', deviceDocumentSchema.parse({ labels: ['inside'], cameraLabels: { door: ['entrance'] } })],
])
const labelsOf = labelsBy(devices)
const triangle = (name: string, settings: Record<string, unknown> = {}) => ({
  name,
  points: [
    [0, 0],
    [1, 0],
    [1, 1],
  ],
  ...settings,
})
const scenario = (id: string, input: Record<string, unknown>): Covering =>
  publishedOf(
    { id, revision: 1, document: scenarioSchema.parse({ name: id, cameras: { all: true }, ...input }) },
    labelsOf,
  )
const document = (content: Record<string, unknown>) => deviceDocumentSchema.parse({ content })

t.test('what a device is holds, and the scenarios over it, setting by setting', async (t) => {
  const { content, scenarios } = compileDevice(
    PI,
    document({
      detect: { scoreMin: 0.4 },
      cameras: {
        door: {
          record: { mode: 'off', audio: true },
          zones: [triangle('own'), triangle('step', { stayS: 1 })],
        },
        yard: { source: 'rtsp://192.0.2.1/1', password: 'secret' },
      },
    }),
    ['door', 'desk'],
    [
      scenario('b-night', { settings: { record: { mode: 'always' } }, detect: { sizeMin: 30 } }),
      scenario('a-door', {
        cameras: { labels: ['entrance'] },
        settings: { emit: { first: true } },
        zones: [triangle('step', { stayS: 5 }), triangle('there', { camera: 'home/pi/desk' })],
      }),
      scenario('elsewhere', { cameras: { sites: ['shop'] }, settings: { paused: true } }),
    ],
  )
  t.strictSame(content, {
    detect: { scoreMin: 0.4, sizeMin: 30 },
    cameras: {
      desk: { record: { mode: 'always' } },
      door: {
        record: { mode: 'always', audio: true },
        emit: { first: true },
        zones: [triangle('own'), triangle('step', { stayS: 5 })],
      },
      yard: { source: 'rtsp://192.0.2.1/1', password: 'secret', record: { mode: 'always' } },
    },
  })
  t.strictSame(scenarios, ['a-door', 'b-night'])
  t.ok(desiredContentSchema.safeParse(content).success)
})

t.test('nothing is said of a camera that a device is not to have, and no name is special', async (t) => {
  const night = scenario('night', { settings: { paused: true } })
  const gone = compileDevice(PI, document({ removed: ['door'] }), ['door', 'constructor'], [night])
  t.equal(JSON.stringify(gone.content), '{"removed":["door"],"cameras":{"constructor":{"paused":true}}}')
  t.strictSame(compileDevice(PI, undefined, ['door'], []), { content: {}, scenarios: [] })
  const odd = compileDevice(PI, undefined, ['__proto__'], [night])
  t.equal(JSON.stringify(odd.content), '{"cameras":{"__proto__":{"paused":true}}}')
  t.equal(({} as { paused?: unknown }).paused, undefined)
})

t.test(
  'the same, whatever the order in which scenarios are given; of two that clash one is heard',
  async (t) => {
    const night = scenario('night', { settings: { record: { mode: 'always' } }, zones: [triangle('step')] })
    const shop = scenario('shop', {
      settings: { record: { mode: 'off' }, scoreMin: 0.5 },
      zones: [triangle('step', { stayS: 9 })],
    })
    const one = compileDevice(PI, undefined, ['door'], [night, shop])
    t.strictSame(one, compileDevice(PI, undefined, ['door'], [shop, night]))
    t.match(one.content.cameras?.door, {
      record: { mode: 'always' },
      scoreMin: 0.5,
      zones: [triangle('step')],
    })
    const cameras = [
      { ...PI, camera: 'door' },
      { ...PI, camera: 'desk' },
    ]
    const conflicts = conflictsOf(shop, [night, shop], cameras, 0)
    t.strictSame(
      conflicts.map(({ of, path }) => `${of} ${path}`),
      [
        'home/pi/door record.mode',
        'home/pi/door zones.step',
        'home/pi/desk record.mode',
        'home/pi/desk zones.step',
      ],
    )
    t.equal(
      conflicts[0] && sentenceOf(conflicts[0]),
      '"shop" and "night" both set record.mode of home/pi/door: off, always. "night" is heard.',
    )
    const detect = (model: string) => scenario(model, { detect: { model } })
    t.strictSame(
      conflictsOf(detect('a'), [detect('b')], cameras, 0).map(({ of, path }) => `${of} ${path}`),
      ['home/pi detect.model'],
      'of a device once',
    )
    t.strictSame(conflictsOf(detect('a'), [scenario('b', { detect: { model: 'a' } })], cameras, 0), [])
  },
)

const told = (version: number, content: DesiredContent = {}): Told => ({
  ...PI,
  version,
  digest: 'd'.repeat(64),
  content,
  atMs: 0,
  by: 'ada',
  scenarios: [],
})
const reported = (settings: Partial<Reported>): Reported =>
  makeReported(PI, { effective: { detect: { model: 'yunet' }, cameras: {} }, ...settings })
const holds = (version: number, digest = 'd'.repeat(64)) => ({ version, digest, atMs: 0 })

t.test('what a device says of what it was told is judged, and a lie is seen', async (t) => {
  const cases: [string, Told | undefined, Partial<Reported> | undefined][] = [
    ['none', undefined, undefined],
    ['none', undefined, {}],
    ['differs', undefined, { state: 'applied', version: 3, applied: holds(3) }],
    ['pending', told(5), undefined],
    ['pending', told(5), {}],
    ['pending', told(5), { state: 'applied', version: 4, applied: holds(4, 'e'.repeat(64)) }],
    ['pending', told(5), { state: 'refused', version: 4, applied: holds(3) }],
    ['applying', told(5), { state: 'applying', version: 5, applied: holds(4) }],
    ['applied', told(5), { state: 'applied', version: 5, applied: holds(5) }],
    ['refused', told(5), { state: 'refused', version: 5, applied: holds(4) }],
    ['differs', told(5), { state: 'applied', version: 5, applied: holds(5, 'e'.repeat(64)) }],
    ['differs', told(5), { state: 'applied', version: 6, applied: holds(6) }],
    ['differs', told(5), { state: 'applied', version: 5, applied: holds(4) }],
    ['differs', told(5), { state: 'refused', version: 7, applied: holds(4) }],
  ]
  for (const [state, is, says] of cases)
    t.equal(judge(is, says && reported(says)).state, state, JSON.stringify([is?.version, says]))
})

t.test('what holds is compared with what was asked for, in the words of either', async (t) => {
  const content: DesiredContent = {
    detect: { model: 'retina' },
    cameras: {
      door: { timeout: '1m', record: { mode: 'always', before: '5s' }, password: 'x', emit: { first: true } },
      yard: { source: 'rtsp://me:secret@192.0.2.1/1?token=2' },
      gone: { paused: true },
    },
    removed: ['old'],
  }
  const says = reported({
    effective: {
      detect: { model: 'yunet' },
      cameras: {
        door: {
          from: 'file',
          source: 'file',
          timeout: '60s',
          record: { mode: 'faces', before: '5000ms' },
          emit: {},
        },
        yard: { from: 'desired', source: 'rtsp://192.0.2.1/1' },
        old: { from: 'file', source: 'file' },
      },
    },
  })
  t.strictSame(
    undone(content, says).map(({ path }) => path),
    ['detect.model', 'cameras.door.record.mode', 'cameras.gone', 'removed.old'],
  )
})

t.test('settings are never for a camera that goes with what added it', async (t) => {
  const effective = (cameras: Reported['effective']['cameras']) => ({
    told: told(1, { cameras: { added: { source: 'rtsp://192.0.2.1/1' } }, streams: {} }),
    answer: { reported: reported({ effective: { detect: { model: 'm' }, cameras } }), receivedAtMs: 0 },
  })
  const known = effective({
    door: { from: 'file', source: 'file' },
    added: { from: 'desired', source: 'rtsp://192.0.2.1/1' },
  })
  t.strictSame(camerasToSet(['door', 'added'], known, {}), ['door'])
  t.strictSame(camerasToSet(['door', 'added'], known, known.told.content), ['door', 'added'])
  t.strictSame(camerasToSet(['door'], undefined, {}), ['door'])
  const before = { ...effective({}), told: told(2, {}) }
  const still = { ...before, answer: known.answer }
  t.strictSame(camerasToSet(['door', 'added'], still, {}), ['door'], 'until the device says that it is gone')
})
