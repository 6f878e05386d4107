import t from 'tap'
import { cameraObject, deviceSchema, processorSchema } from '../../device/config.ts'
import { Networks } from '../../device/desired/networks.ts'
import { overlay } from '../../device/desired/overlay.ts'
import { catalogEntrySchema } from '../../models/catalog.ts'
import {
  desiredCameraSchema,
  desiredContentSchema,
  desiredModelSchema,
  desiredProcessorSchema,
} from '../../wire/desired.ts'

/** Settings from afar are those of the device's own file, under the same names: two schemas that must not part. */

interface Schema {
  readonly shape?: Readonly<Record<string, unknown>>
  readonly options?: readonly unknown[]
  readonly values?: ReadonlySet<unknown>
  readonly def: { readonly type: string; readonly innerType?: unknown }
}

const inner = (schema: Schema): Schema =>
  schema.def.innerType === undefined ? schema : inner(schema.def.innerType as Schema)

/** Every setting that holds no others: `record.mode`. */
function leavesOf(schema: Schema, path = ''): ReadonlyMap<string, Schema> {
  const bare = inner(schema)
  if (!bare.shape) return new Map([[path, bare]])
  return new Map(
    Object.entries(bare.shape).flatMap(([key, of]) => [
      ...leavesOf(of as Schema, path === '' ? key : `${path}.${key}`),
    ]),
  )
}

const AFAR = leavesOf(desiredCameraSchema as unknown as Schema)
const FILE = leavesOf(cameraObject as unknown as Schema)

/** Those that only the device's own file has: what a machine has attached, and where its secrets lie. */
const FILE_ONLY = [
  'name',
  'passwordFile',
  'pace',
  'loop',
  'watch',
  'interval',
  'width',
  'height',
  'framerate',
  'inputFormat',
  'record.waitingMax',
]

t.test('each setting from afar is one of the file, and each of the file but a few is one from afar', (t) => {
  t.ok(AFAR.size > 30 && FILE.size > 40, 'the schemas are read')
  t.strictSame(
    [...AFAR.keys()].filter((path) => !FILE.has(path)),
    [],
  )
  t.strictSame(
    [...FILE.keys()].filter((path) => !AFAR.has(path)),
    FILE_ONLY,
  )
  t.end()
})

t.test('what a classifier is from afar, it is in the file', (t) => {
  const afar = Object.keys(desiredProcessorSchema.shape)
  const file = Object.keys(processorSchema.shape)
  t.strictSame(
    file.filter((key) => !afar.includes(key)),
    ['module', 'timeout', 'waitingMax', 'settings'],
  )
  t.strictSame(
    afar.filter((key) => !file.includes(key)),
    [],
  )
  t.end()
})

t.test('what a model is from afar, it is in a catalogue', (t) => {
  const [afar, entry] = [desiredModelSchema, catalogEntrySchema].map((it) => Object.keys(it.shape))
  t.strictSame(
    afar?.filter((key) => !entry?.includes(key)),
    [],
  )
  // Where it lies is the device's to say.
  t.strictSame(
    entry?.filter((key) => !afar?.includes(key)),
    ['file', 'licence', 'measured'],
  )
  t.end()
})

t.test('a choice from afar is the choice of the file', (t) => {
  const choices = (schema: Schema | undefined) => [...(schema?.values ?? schema?.options ?? [])]
  const all = [...AFAR].filter(([, { def }]) => def.type === 'enum' || def.type === 'literal')
  t.ok(all.length >= 7)
  for (const [path, schema] of all) t.strictSame(choices(schema), choices(FILE.get(path)), path)
  t.end()
})

/** Of each setting a value that is not its default. */
const EXAMPLES = {
  paused: true,
  scoreMin: 0.7,
  sizeMin: 40,
  rateMax: 5,
  timeout: '20s',
  rotate: 90,
  mirror: 'horizontal',
  aspect: '4:3',
  region: { left: 0.1, top: 0.1, width: 0.5, height: 0.5 },
  masks: [{ left: 0, top: 0, width: 0.2, height: 0.2 }],
  zones: [
    {
      name: 'till',
      points: [
        [0, 0],
        [1, 0],
        [1, 1],
      ],
    },
  ],
  motion: { enabled: true, threshold: 0.01, checkEvery: '9s' },
  record: {
    ...{ mode: 'faces', before: '2s', after: '2s', chunk: '5s', audio: true, encode: 'always' },
    ...{ bitrateMax: 1_000_000, quality: 30 },
  },
  process: ['mask'],
  view: { effect: 'pixelate', watch: false },
  emit: { mode: 'interval', first: true, bestAfter: '4s', interval: '4s', rateMax: 3 },
  crop: { margin: 0.5, quality: 70, sizeMax: 512 },
  source: 'rtsp://198.41.0.4/live',
  username: 'viewer',
  password: 'hunter2',
  rtspTransport: 'udp',
}

t.test('each setting from afar, alone, is taken by a device, and changes that and nothing else', (t) => {
  const flat = (value: unknown, path = ''): [string, unknown][] =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && path !== 'region'
      ? Object.entries(value).flatMap(([key, of]) => flat(of, path === '' ? key : `${path}.${key}`))
      : [[path, value]]
  const examples = flat(EXAMPLES)
  t.strictSame(
    examples.map(([path]) => path).toSorted(),
    [...new Set([...AFAR.keys()].map((path) => path.replace(/^region\..*/, 'region')))].toSorted(),
    'there is an example of each',
  )
  const local = deviceSchema.parse({
    cameras: [{ name: 'door', source: 'rtsp://198.41.0.4/own', username: 'own' }],
    process: [{ name: 'mask', model: 'ultraface-rfb-640-masked' }],
    remote: { desired: { cameras: true } },
  })
  const before = new Map(flat(local.cameras[0]))
  for (const [path, value] of examples) {
    const settings = path.split('.').reduceRight<unknown>((of, key) => ({ [key]: of }), value)
    const content = desiredContentSchema.parse({ cameras: { door: settings } })
    const { cameras } = overlay(content, { local, networks: new Networks([]), streams: new Set() })
    const after = new Map(flat(cameras[0]))
    const changed = [...new Set([...before.keys(), ...after.keys()])].filter(
      (key) => JSON.stringify(before.get(key)) !== JSON.stringify(after.get(key)),
    )
    // With another address the user of this one goes.
    t.strictSame(changed.toSorted(), path === 'source' ? ['source', 'username'] : [path], path)
  }
  t.end()
})
