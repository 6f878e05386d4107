import t from 'tap'
import { deviceSchema, pushedCamera } from '../../device/config.ts'
import { hostOf, Networks } from '../../device/desired/networks.ts'
import {
  type Effective,
  effectiveOf,
  isToBeTried,
  overlay,
  overlayStream,
} from '../../device/desired/overlay.ts'
import { writeReported } from '../../device/desired/report.ts'
import { stepsTo } from '../../device/desired/streams.ts'
import { streamSchema } from '../../device/listen/streams-file.ts'
import { REPORTED_BYTES_MAX, reportedSchema } from '../../wire/desired.ts'

/** What a device makes of its file and of what it is told, without a device. */

const local = (settings: object = {}, desired: object = {}) =>
  deviceSchema.parse({
    cameras: [
      { name: 'door', source: 'rtsp://viewer@cam/live', record: { chunk: '5s', before: '2s' } },
      {
        name: 'yard',
        source: 'rtsp://yard/live',
        username: 'u',
        passwordFile: '/run/secret',
        width: 640,
        height: 480,
      },
    ],
    remote: { desired: { cameras: true, networks: ['192.168.1.0/24', 'cam.lan'], ...desired } },
    ...settings,
  })
const lay = (content: object, config = local(), streams: string[] = []): Effective =>
  overlay(content, {
    local: config,
    networks: new Networks(config.remote.desired.networks),
    streams: new Set(streams),
  })
const named = ({ cameras }: Effective, name: string) => cameras.find((it) => it.name === name)

t.test('what is said is laid over what the file says, and the rest stays', async (t) => {
  const config = local()
  const [door, yard] = config.cameras
  t.strictSame(lay({}, config), effectiveOf(config))
  const laid = lay(
    {
      cameras: {
        door: { record: { chunk: '10s', mode: 'faces' }, region: { left: 0, top: 0, width: 1, height: 0.5 } },
      },
    },
    config,
  )
  t.match(named(laid, 'door'), {
    record: { chunk: 10_000, before: 2000, mode: 'faces' },
    region: { height: 0.5 },
  })
  t.equal(named(laid, 'yard'), yard, 'the other is the same')
  t.strictSame(
    named(lay({ cameras: { door: { region: null } } }, config), 'door'),
    door,
    'there was no region',
  )
  const withRegion = local({
    cameras: [{ name: 'a', source: 'testcard', region: { left: 0, top: 0, width: 1, height: 0.5 } }],
  })
  t.notOk('region' in (named(lay({ cameras: { a: { region: null } } }, withRegion), 'a') ?? {}))
  t.match(named(lay({ detect: { sizeMin: 40 }, cameras: { yard: { sizeMin: 9 } } }, config), 'yard'), {
    sizeMin: 9,
  })
  t.match(named(lay({ detect: { sizeMin: 40 } }, config), 'door'), { sizeMin: 40 })
  const tuned = local({
    detect: {
      model: 'models/own.onnx',
      head: 'yunet',
      inputSize: { width: 320, height: 320 },
      scoreMin: 0.7,
    },
  })
  t.match(lay({ detect: { model: 'blazeface' } }, tuned).detect, {
    model: 'blazeface',
    head: 'auto',
    inputSize: undefined,
    scoreMin: 0.7,
  })
})

t.test('no other address is told the password of the file', async (t) => {
  const other = named(lay({ cameras: { yard: { source: 'rtsp://198.41.0.4/live' } } }), 'yard')
  t.match(other, { source: 'rtsp://198.41.0.4/live', name: 'yard' })
  for (const key of ['username', 'password', 'passwordFile', 'width', 'height'])
    t.notOk(key in (other ?? {}), key)
  const renewed = named(lay({ cameras: { yard: { password: 'new' } } }), 'yard')
  t.match(renewed, { source: 'rtsp://yard/live', username: 'u', password: 'new' })
  t.notOk('passwordFile' in (renewed ?? {}))
  const [, yard] = local().cameras
  t.equal(yard && renewed && isToBeTried(yard, renewed), true)
  t.equal(yard && isToBeTried(yard, { ...yard, rotate: 90 }), false)
})

t.test('what contradicts itself or goes too far is refused', async (t) => {
  const source = 'rtsp://192.168.1.9/live'
  const no = (content: object, code: string, path: (string | number)[], streams: string[] = []) =>
    t.throws(() => lay(content, local({ listen: { streamsFile: 'streams.yaml' } }), streams), { code, path })
  no({ cameras: { door: {} }, removed: ['door'] }, 'CONFIG_INVALID', ['cameras', 'door'])
  no({ cameras: { new: { source, password: 'alone' } } }, 'CONFIG_INVALID', ['cameras', 'new', 'username'])
  no({ cameras: { bell: { source } } }, 'NOT_ALLOWED', ['cameras', 'bell', 'source'], ['bell'])
  no({ cameras: { new: { source } }, streams: { new: { keyHash: 'a'.repeat(64) } } }, 'NOT_ALLOWED', [
    'cameras',
    'new',
    'source',
  ])
  no({ streams: { door: { keyHash: 'a'.repeat(64) } } }, 'NAME_TAKEN', ['streams', 'door'])
  no({ cameras: { new: { source: 'rtsp://192.168.2.9/live' } } }, 'ADDRESS_NOT_ALLOWED', [
    'cameras',
    'new',
    'source',
  ])
  const many = Object.fromEntries(Array.from({ length: 63 }, (_, n) => [`c${n}`, { source }]))
  no({ cameras: many }, 'TOO_MANY', ['cameras'])
  t.doesNotThrow(() => lay({ removed: ['long-gone'] }), 'what is not there need not be removed')
})

t.test('a stream that comes to the device is set like any other camera', async (t) => {
  const bell = pushedCamera('bell', { rotate: 90 })
  const it = overlayStream(
    bell,
    lay({ detect: { sizeMin: 7 }, cameras: { bell: { emit: { bestAfter: '9s' } } } }, local(), ['bell']),
  )
  t.match(it, { source: 'push:bell', rotate: 90, emit: { bestAfter: 9000 }, sizeMin: 7 })
})

t.test('this machine and its link are called only where they are named themselves', (t) => {
  const judged = (list: string[], host: string) => () => new Networks(list).judge(`rtsp://${host}/live`)
  const refused = { code: 'ADDRESS_NOT_ALLOWED' }
  t.doesNotThrow(judged([], '8.8.8.8'))
  t.throws(judged([], '10.0.0.1'), refused)
  t.doesNotThrow(judged(['0.0.0.0/0'], '10.0.0.1'))
  t.throws(judged(['0.0.0.0/0'], '127.0.0.1'), refused)
  t.doesNotThrow(judged(['127.0.0.1'], '127.0.0.1'))
  t.throws(judged(['0.0.0.0/0'], '127.1'), refused, 'an address must be written as one')
  t.end()
})

t.test('a name is looked up, and each of its addresses must be one that may be called', async (t) => {
  const found: Record<string, string[]> = {
    'cam.lan': ['192.168.7.7'],
    'own.lan': ['127.0.0.1'],
    'public.example': ['8.8.8.8'],
    'both.example': ['8.8.8.8', '10.0.0.1'],
  }
  const look = async (name: string) => {
    const addresses = found[name]
    if (!addresses) throw new Error('ENOTFOUND')
    return addresses.map((address) => ({ address, family: 4 }))
  }
  const networks = new Networks(['cam.lan', 'own.lan'], look as never)
  await t.resolves(networks.check('rtsp://cam.lan:554/live'))
  await t.resolves(networks.check('rtsp://CAM.lan./live'))
  await t.resolves(networks.check('http://public.example/a'))
  await t.rejects(networks.check('http://both.example/a'), {
    code: 'ADDRESS_NOT_ALLOWED',
    message: /10\.0\.0\.1/,
  })
  await t.rejects(networks.check('http://own.lan/a'), { code: 'ADDRESS_NOT_ALLOWED' })
  await t.rejects(networks.check('http://nowhere.example/a'), { code: 'SOURCE_UNAVAILABLE' })
  t.match(hostOf('rtsp://[fd00::1]:554/live'), { name: 'fd00::1', address: 'fd00::1' })
  for (const text of [
    'rtsp://a@b/c',
    'rtsp://a:b:c/',
    'rtsp:///x',
    'rtsp://a\\b/',
    'rtsp://a b/',
    'rtsp://[::1/x',
    'rtsp://a/x y',
  ])
    t.equal(hostOf(text), undefined, text)
})

t.test('streams of the device are left alone, and each step can be undone', async (t) => {
  const stream = (name: string, more: object = {}) =>
    streamSchema.parse({ name, keyHash: name.repeat(64).slice(0, 64), ...more })
  const [a, b] = ['a'.repeat(64), 'b'.repeat(64)]
  t.strictSame(stepsTo({}, [stream('a')], new Set()), [])
  t.throws(() => stepsTo({ a: { keyHash: b } }, [stream('a')], new Set()), {
    code: 'NAME_TAKEN',
    path: ['streams', 'a'],
  })
  t.strictSame(stepsTo({ a: { keyHash: a } }, [stream('a')], new Set(['a'])), [])
  t.strictSame(stepsTo({ a: { keyHash: b, active: false } }, [stream('a')], new Set(['a'])), [
    { stream: 'a', change: { do: 'rotate', keyHash: b }, undo: [{ do: 'rotate', keyHash: a }] },
    { stream: 'a', change: { do: 'deactivate' }, undo: [{ do: 'activate' }] },
  ])
  t.strictSame(stepsTo({}, [stream('a', { active: false, owner: 'anna' })], new Set(['a'])), [
    {
      stream: 'a',
      change: { do: 'remove' },
      undo: [{ do: 'add', keyHash: a, takeOver: false, owner: 'anna' }, { do: 'deactivate' }],
    },
  ])
  t.strictSame(
    stepsTo({ a: { keyHash: a, owner: 'ben' } }, [stream('a', { owner: 'anna' })], new Set(['a'])).map(
      ({ change }) => change.do,
    ),
    ['remove', 'add'],
    'another owner is another stream',
  )
})

t.test('an answer is never too large, and holds no secret', async (t) => {
  const points = Array.from({ length: 64 }, (_, n) => [n / 64, 0.123456789123])
  const config = local({
    cameras: Array.from({ length: 64 }, (_, n) => ({
      name: `camera-${n}`,
      source: n === 0 ? '/home/anna/secret.mp4' : `rtsp://user:hunter2@cam-${n}/live?token=hunter2`,
      masks: Array.from({ length: 32 }, () => ({ points })),
    })),
  })
  const parts = {
    ...{ local: config, model: 'blazeface', effective: effectiveOf(config), atMs: 1 },
    ...{ cameras: config.cameras, models: ['blazeface'], classifiers: [] },
  }
  const picture = 'a'.repeat(32_000)
  const told = {
    ...{ applied: null, state: 'refused' as const, version: 3 },
    refused: { code: 'X', message: 'm'.repeat(2000), path: [] },
    opened: Object.fromEntries(
      config.cameras.map(({ name }) => [name, { picture, frame: [1, 1] as [number, number] }]),
    ),
  }
  const text = writeReported(told, parts)
  t.ok(Buffer.byteLength(text) <= REPORTED_BYTES_MAX, `${text.length} bytes`)
  t.notMatch(text, /hunter2|anna|secret/)
  const it = reportedSchema.parse(JSON.parse(text))
  t.match(it.effective.cameras['camera-0'], { source: 'file', timeout: '10s', record: { chunk: '3s' } })
  t.match(it.effective.cameras['camera-1'], { source: 'rtsp://cam-1/live' })
  t.equal(it.effective.shortened, true)
  const small = reportedSchema.parse(JSON.parse(writeReported(told, { ...parts, cameras: [] })))
  t.notOk(small.opened?.['camera-1']?.picture, 'pictures go first')
  t.ok(small.opened?.['camera-1']?.frame)
})
