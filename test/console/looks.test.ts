import t from 'tap'
import { undone } from '../../console/desired/judge.ts'
import { checkDevice, checkScenario, type Problem, type World } from '../../console/scenarios/check.ts'
import { type Covering, compileDevice } from '../../console/scenarios/compile.ts'
import { conflictsOf, sentenceOf } from '../../console/scenarios/conflicts.ts'
import {
  type DeviceDocument,
  deviceDocumentSchema,
  scenarioSchema,
} from '../../console/scenarios/document.ts'
import { PROVIDED } from '../../console/scenarios/provided.ts'
import { publishedOf } from '../../console/scenarios/scenarios.ts'
import { desiredContentSchema, type Reported } from '../../wire/desired.ts'
import { makeReported } from '../kit/desired.ts'

/** Second looks and models by address in what operators write: to what devices are told, and what is wrong before. */

const PI = { site: 'home', device: 'pi' }
const CAMERAS = ['door', 'desk'].map((camera) => ({ ...PI, camera }))
const SHA = 'a'.repeat(64)
const MASK = { name: 'mask', model: 'masked' }
const GATE = {
  name: 'gate',
  sources: ['https://models.example/gate.onnx'],
  sha256: SHA,
  classify: { labels: ['a', 'b'] },
}

const scenario = (id: string, input: object): Covering =>
  publishedOf(
    { id, revision: 1, document: scenarioSchema.parse({ name: id, cameras: { all: true }, ...input }) },
    () => [],
  )
const document = (content: object) => deviceDocumentSchema.parse({ content })
const compile = (active: readonly Covering[], own?: DeviceDocument) => {
  const { content, scenarios } = compileDevice(PI, own, ['door', 'desk'], active)
  return { content: desiredContentSchema.parse(content), scenarios }
}
const DOOR = { cameras: ['home/pi/door'] }

t.test('what scenarios bring to a device is together, over its own; each by its name once', (t) => {
  const own = document({
    process: [
      { ...MASK, scoreMin: 0.3 },
      { name: 'hat', model: 'hats' },
    ],
  })
  const { content, scenarios } = compile(
    [
      scenario('b', { process: [{ name: 'gate', model: 'gate' }], models: [GATE] }),
      scenario('a', { process: [MASK], models: [GATE] }),
      scenario('elsewhere', { cameras: { sites: ['shop'] }, process: [{ name: 'x', model: 'x' }] }),
    ],
    own,
  )
  t.strictSame(content, {
    process: [{ name: 'hat', model: 'hats' }, MASK, { name: 'gate', model: 'gate' }],
    models: [GATE],
  })
  t.strictSame(scenarios, ['a', 'b'])
  t.strictSame(compile([], own).content, own.content, 'and when none holds, its own')
  t.end()
})

t.test('a camera has what any scenario wants of it', (t) => {
  const looks = (...active: Covering[]) => compile(active).content.cameras ?? {}
  t.strictSame(looks(scenario('a', { process: [MASK] })), {}, 'nobody says which: all')
  t.strictSame(looks(scenario('a', { cameras: DOOR, settings: { process: ['mask'] }, process: [MASK] })), {
    door: { process: ['mask'] },
  })
  t.strictSame(
    looks(
      scenario('a', { cameras: DOOR, settings: { process: ['hat'] } }),
      scenario('b', { process: [MASK] }),
      scenario('c', { settings: { process: ['age'] } }),
    ),
    { desk: { process: ['age', 'mask'] }, door: { process: ['hat', 'mask', 'age'] } },
  )
  t.strictSame(looks(scenario('a', { settings: { process: [] } })), {
    desk: { process: [] },
    door: { process: [] },
  })
  t.end()
})

t.test('two that bring different things by one name are named; those of the same are not', (t) => {
  const said = (one: object, other: object) =>
    conflictsOf(scenario('one', one), [scenario('other', other)], CAMERAS, 0).map(sentenceOf)
  t.strictSame(said({ process: [MASK] }, { process: [{ ...MASK, scoreMin: 0.5 }] }), [
    '"one" and "other" both have a second look "mask" on home/pi: {"model":"masked"}, {"model":"masked","scoreMin":0.5}. "one" is heard.',
  ])
  t.match(said({ process: [MASK] }, { process: [{ ...MASK, model: 'other' }] }), [/second look "mask"/])
  t.match(said({ models: [GATE] }, { models: [{ ...GATE, sha256: 'b'.repeat(64) }] }), [
    /bring a model "gate" to home\/pi, and not the same one/,
  ])
  t.match(said({ models: [GATE] }, { models: [{ ...GATE, sources: ['https://x.example/'] }] }), [
    /model "gate"/,
  ])
  t.strictSame(said({ models: [GATE] }, { models: [{ ...GATE, about: 'The same.' }] }), [])
  t.strictSame(said({ process: [MASK] }, { process: [MASK, { name: 'hat', model: 'hats' }] }), [])
  t.strictSame(said({ settings: { process: ['mask'] } }, { settings: { process: ['hat'] } }), [])
  t.end()
})

const reportedBy = (settings: Partial<Reported> = {}): Reported =>
  makeReported(PI, {
    allows: { cameras: true, streams: false, networks: [], signed: false, models: true },
    effective: {
      detect: { model: 'yunet' },
      process: [
        { name: 'shape', kind: 'plugin', from: 'file' },
        { name: 'hat', kind: 'classifier', from: 'file', model: 'hats' },
      ],
      cameras: { door: { from: 'file', source: 'file' } },
    },
    models: ['yunet', 'masked', 'hats'],
    classifiers: ['hats'],
    ...settings,
  })
const worldOf = (reported: Reported | undefined, more: Partial<World> = {}): World => ({
  cameras: CAMERAS,
  devices: [PI],
  labelsOf: () => [],
  labels: new Set(),
  channels: new Set(),
  reportedOf: () => reported,
  signs: false,
  published: [],
  nowMs: Date.now(),
  ...more,
})
const told = ({ kind, path, message }: Problem) => `${kind} ${path}: ${message}`
const checked = (input: object, world = worldOf(reportedBy())) =>
  checkScenario({ name: 'x', cameras: { all: true }, ...input }, world).problems.map(told)

t.test('what a device cannot take is said when a scenario is written', (t) => {
  t.strictSame(checked({ process: [MASK, { name: 'gate', model: 'gate' }], models: [GATE] }), [])
  for (const [input, wanted, world] of [
    [
      { process: [{ name: 'x', model: 'absent' }] },
      'error process.0.model: home/pi has no model "absent". It has: yunet, masked, hats.',
    ],
    [
      { process: [{ name: 'shape', model: 'hats' }] },
      'error process.0.name: "shape" is a plugin of home/pi; no classifier takes its place. Choose another name.',
    ],
    [{ process: [MASK, MASK] }, 'error process.1.name: There are two of the name "mask". Keep one.'],
    [{ models: [GATE, GATE] }, 'error models.1.name: There are two of the name "gate". Keep one.'],
    [
      { process: [{ name: 'x', model: 'gate' }], models: [{ ...GATE, classify: undefined }] },
      'error process.0.model: The model "gate" finds faces, and tells nothing of them: it says no labels, and is not of the family "ultraface", of which some tell masked faces.',
    ],
    [
      { settings: { process: ['mask', 'hat', 'gone'] }, process: [MASK] },
      'error settings.process.2: home/pi has no second look "gone". It has: shape, hat, mask.',
    ],
    [
      { models: [GATE] },
      'error models: home/pi does not take models by address ("remote.desired.models" in its file).',
      { allows: { ...reportedBy().allows, models: false } },
    ],
    [
      { models: [GATE] },
      'error models: home/pi (version 0.1.0) does not know models by address. Update it.',
      { allows: makeReported(PI).allows },
    ],
    [
      { process: [MASK] },
      'error process: home/pi (version 0.1.0) does not know second looks. Update it.',
      { effective: makeReported(PI).effective },
    ],
  ] as const)
    t.strictSame(checked(input, worldOf(reportedBy(world))), [wanted])
  t.strictSame(checked({ detect: { model: 'gate' }, models: [{ ...GATE, classify: undefined }] }), [])
  t.match(checked({ process: [{ ...MASK, model: 'two words' }] }), [
    /error process.0.model: It must be the name of a model/,
  ])
  t.match(checked({ models: [{ ...GATE, sources: ['ftp://x'] }] }), [/error models.0.sources.0/])
  t.match(checked({ models: [{ ...GATE, sha256: 'abc' }] }), [/error models.0.sha256/])
  const other = scenario('other', { process: [{ ...MASK, model: 'hats' }] })
  t.match(checked({ process: [MASK] }, worldOf(reportedBy(), { published: [other] })), [
    /conflict process.0: /,
  ])
  t.end()
})

t.test('a rule that asks for what nobody tells is warned of', (t) => {
  const asks = (name: string) => ({
    rules: [{ id: 'r', name: 'r', on: 'face', conditions: { attributes: [{ name, labels: ['a'] }] } }],
  })
  const bare = reportedBy({
    effective: { ...reportedBy().effective, process: [{ name: 'hat', kind: 'classifier', from: 'file' }] },
  })
  const AT = 'warning rules.0.conditions.attributes.0'
  t.strictSame(checked(asks('mask'), worldOf(bare)), [
    `${AT}: Nobody tells "mask" on home/pi: neither this scenario nor the device has such a second look.`,
  ])
  t.strictSame(checked(asks('hat'), worldOf(bare)), [], 'the device does')
  t.strictSame(checked({ ...asks('mask'), process: [MASK] }, worldOf(bare)), [], 'the scenario does')
  t.strictSame(checked(asks('mask')), [], 'a plugin may')
  const own = { documentOf: () => document({ process: [MASK] }) }
  t.strictSame(checked(asks('mask'), worldOf(bare, own)), [], 'the document of the device does')
  const others = { published: [scenario('other', { process: [MASK] })] }
  t.strictSame(checked(asks('mask'), worldOf(bare, others)), [], 'another scenario does')
  t.strictSame(checked({ ...asks('mask'), process: [MASK], settings: { process: ['hat'] } }, worldOf(bare)), [
    `${AT}: The scenario's cameras do not have the second look "mask": it is not among "settings.process".`,
  ])
  t.end()
})

t.test('a document of a device is looked at in the same way', (t) => {
  const problems = (content: object, reported = reportedBy()) =>
    checkDevice({ content }, PI, worldOf(reported)).problems.map(told)
  t.strictSame(problems({ process: [MASK], cameras: { door: { process: ['mask', 'hat'] } } }), [])
  t.match(problems({ process: [{ name: 'x', model: 'absent' }] }), [/error content.process.0.model: /])
  t.match(problems({ cameras: { door: { process: ['hat', 'gone'] } } }), [
    /error content.cameras.door.process.1: home\/pi has no second look "gone"/,
  ])
  t.match(problems({ models: [GATE] }, reportedBy({ allows: makeReported(PI).allows })), [
    /error content.models: /,
  ])
  t.end()
})

t.test('what holds is compared with what was asked for', (t) => {
  const content = desiredContentSchema.parse({
    process: [MASK, { name: 'hat', model: 'hats', scoreMin: 0.5 }, { name: 'shape', model: 'hats' }],
    models: [GATE],
    cameras: { door: { process: ['mask'] } },
  })
  const says = reportedBy()
  t.strictSame(
    undone(content, {
      ...says,
      effective: {
        ...says.effective,
        cameras: { door: { from: 'file', source: 'file', process: ['hat'] } },
      },
    }).map(({ path }) => path),
    ['process.mask', 'process.hat.scoreMin', 'process.shape', 'models.gate', 'cameras.door.process'],
  )
  t.end()
})

t.test('those that are provided to begin with bring what their rules ask for', (t) => {
  const model = 'ultraface-rfb-640-masked'
  for (const id of ['with-mask', 'without-mask']) {
    const provided = PROVIDED.find((it) => it.id === id)?.document
    t.match(provided, { process: [{ name: 'mask', model }] })
    t.strictSame(
      checked(provided ?? {}, worldOf(reportedBy({ models: ['yunet', model] }))),
      [],
      `${id} can be published`,
    )
  }
  t.end()
})
