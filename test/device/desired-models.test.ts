import type { lookup } from 'node:dns/promises'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { guardedFetch } from '../../device/desired/guarded-fetch.ts'
import { Networks } from '../../device/desired/networks.ts'
import { convertBlazeface } from '../../models/convert.ts'
import { sharedData } from '../kit/data.ts'
import { serveFiles } from '../kit/file-server.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'
import { attributesOf, colourModel, LABELS, sha256 } from './desired-models-kit.ts'

/** Models by address: whatever comes, the device uses what was meant, or goes on as it was and says why. */

const colours = colourModel()
const later = colourModel(1)
const detector = Buffer.from(await convertBlazeface())
const nothing = Buffer.from('no model')
const masked = sharedData('models/ultraface-RFB-640-masked_face-v2.onnx')

const classify = { labels: LABELS, threshold: 0.1 }
const tensors = {
  inputs: [{ name: 'in', type: 'float32', shape: [1, 3, 8, 8] }],
  outputs: [{ name: 'out', type: 'float32', shape: ['batch', 3] }],
}
const looks = [{ name: 'colour', model: 'gate' }]

t.test('models by address', async (t) => {
  const { url, eye, say, applied, refused } = await broker(t)
  const files = {
    '/gate.onnx': colours,
    '/later.onnx': later,
    '/faces.onnx': detector,
    '/nothing.onnx': nothing,
    '/masked.onnx': masked ? readFileSync(masked) : nothing,
  }
  const server = await serveFiles(files)
  t.teardown(() => server[Symbol.asyncDispose]())
  /** Where the device may not go. */
  let strangers = 0
  const inside = createServer((_request, response) => {
    strangers += 1
    response.end(colours)
  })
  await new Promise<void>((resolve) => inside.listen(0, '127.0.0.2', resolve))
  t.teardown(() => new Promise((resolve) => inside.close(resolve)))
  const private_ = `http://127.0.0.2:${(inside.address() as AddressInfo).port}/gate.onnx`
  const modelFolder = temporaryFolder(t)
  const folder = join(modelFolder, 'desired', 'lab', 'bench1')
  const there = () => (existsSync(folder) ? readdirSync(folder) : [])
  const settings = {
    detect: { modelFolder, provider: 'cpu', threads: 1 },
    remote: { folder: temporaryFolder(t), desired: { models: true, networks: ['127.0.0.1'] } },
  }
  const gate = (more: object = {}) => ({
    ...{ name: 'gate', sources: [`${server.url}/gate.onnx`], sha256: sha256(colours), classify, ...more },
  })
  const device = await startDevice(t, url, settings)
  const by = () => eye.of('crop').slice(-1).flatMap(attributesOf)[0]?.by

  t.test('one is fetched, held against what was said of it, tried and used', async (t) => {
    await say(1, { models: [gate({ ...tensors, bytes: colours.length })], process: looks })
    const answer = await applied(1)
    t.match(answer, {
      allows: { models: true },
      effective: { process: [{ name: 'colour', model: 'gate', from: 'desired' }] },
    })
    t.ok(answer.models?.includes('gate') && answer.classifiers?.includes('gate'))
    t.strictSame(there(), [`${sha256(colours)}.onnx`])
    await until('crops say so', () => by() === `gate@${sha256(colours).slice(0, 12)}`)
  })

  t.test(
    'a detector that tells masked faces from others takes second looks, too',
    { skip: masked ? false : 'the shared models are not here' },
    async () => {
      const entry = { sources: [`${server.url}/masked.onnx`], sha256: sha256(files['/masked.onnx']) }
      const models = [{ name: 'gate-mask', head: 'ultraface', ...entry }]
      await say(2, { models, process: [{ name: 'mask', model: 'gate-mask' }] })
      t.match(await applied(2), { effective: { process: [{ name: 'mask', model: 'gate-mask' }] } })
      await say(3, { models: [gate()], process: looks })
      await applied(3)
    },
  )

  const wrong = sha256(Buffer.from('another'))
  const asked = () => server.asked.length
  const cases: readonly (readonly [string, object, string, readonly (string | number)[], RegExp])[] = [
    ['another checksum', gate({ sha256: wrong }), 'CHECKSUM_WRONG', ['models', 0], /send another file than/],
    [
      'no model',
      gate({ sources: [`${server.url}/nothing.onnx`], sha256: sha256(nothing) }),
      'MODEL_UNUSABLE',
      ['models', 0],
      /cannot load|can load/,
    ],
    [
      'nobody there',
      gate({ sources: [`${server.url}/absent.onnx`], sha256: wrong }),
      'DOWNLOAD_FAILED',
      ['models', 0],
      /HTTP 404/,
    ],
    [
      'another tensor',
      gate({ ...tensors, outputs: [{ name: 'out', type: 'float32', shape: [1, 4] }] }),
      'MODEL_UNUSABLE',
      ['models', 0],
      /out float32\[1 x 4\] is out float32\[1 x 3\]/,
    ],
    [
      'another name of a tensor',
      gate({ inputs: [{ name: 'picture', type: 'float32', shape: [1, 3, 8, 8] }] }),
      'MODEL_UNUSABLE',
      ['models', 0],
      /picture .* is missing/,
    ],
    [
      'another type of a tensor',
      gate({ inputs: [{ name: 'in', type: 'uint8', shape: [1, 3, 8, 8] }] }),
      'MODEL_UNUSABLE',
      ['models', 0],
      /uint8/,
    ],
    [
      'labels that do not fit',
      gate({ classify: { labels: ['yes', 'no'] } }),
      'MODEL_UNUSABLE',
      ['models', 0],
      /3 numbers, but 2 labels are given/,
    ],
    [
      'a label twice',
      gate({ classify: { labels: ['yes', 'yes', 'no'] } }),
      'CONFIG_INVALID',
      ['models', 0, 'classify', 'labels'],
      /twice/,
    ],
    [
      'a setting of no classifier',
      gate({ classify: { ...classify, colour: 'red' } }),
      'SETTING_UNKNOWN',
      ['models', 0, 'classify', 'colour'],
      /does not know/,
    ],
    [
      'a classifier as detector',
      { ...gate(), classify: undefined },
      'CONFIG_INVALID',
      ['process', 0, 'model'],
      /no labels \("classify"\)/,
    ],
    [
      'an unknown family',
      { ...gate(), classify: undefined, head: 'mine' },
      'CONFIG_INVALID',
      ['models', 0, 'head'],
      /Unknown head/,
    ],
    [
      "a name of the catalogue's",
      gate({ name: 'yunet-n' }),
      'NAME_TAKEN',
      ['models', 0, 'name'],
      /has a model "yunet-n"/,
    ],
    ['too large', gate({ bytes: 2 ** 30 }), 'TOO_MANY', ['models', 0, 'bytes'], /limit is 134217728/],
    [
      'a private address',
      gate({ sources: [`${server.url}/gate.onnx`, private_] }),
      'ADDRESS_NOT_ALLOWED',
      ['models', 0, 'sources', 1],
      /127.0.0.2 is not on the internet/,
    ],
    [
      'one written otherwise',
      gate({ sources: [private_.replace('127.0.0.2', '0x7f.2')] }),
      'ADDRESS_NOT_ALLOWED',
      ['models', 0, 'sources', 0],
      /127.0.0.2 is not on the internet/,
    ],
    [
      'with a user in it',
      gate({ sources: [server.url.replace('//', '//anna:hush@')] }),
      'ADDRESS_NOT_ALLOWED',
      ['models', 0, 'sources', 0],
      /without a user/,
    ],
    ['a file', gate({ sources: ['file:///etc/passwd'] }), 'CONFIG_INVALID', ['models', 0, 'sources', 0], /./],
    ['a name of two', [gate(), gate()], 'CONFIG_INVALID', ['models', 1, 'name'], /two models "gate"/],
  ]
  for (const [n, [what, models, code, path, says]] of cases.entries())
    t.test(`refused: ${what}`, async (t) => {
      const version = 10 + n
      const [kept] = there()
      await say(version, { models: [models].flat(), process: looks, detect: { sizeMin: 5 } })
      t.match(await refused(version), {
        applied: { version: 1 },
        refused: { code, path: [...path], message: says },
        effective: { detect: { sizeMin: 0 } },
      })
      t.strictSame(there(), [kept], 'nothing of it stays')
    })

  t.test('refused: sent to a private address, whatever leads there', async (t) => {
    server.misbehave = (_request, response) => {
      response.writeHead(302, { location: private_ }).end()
      return true
    }
    await say(40, { models: [gate({ sha256: wrong })], process: looks })
    t.match(await refused(40), {
      refused: { path: ['models', 0], message: /127.0.0.2 is not on the internet/ },
    })
    server.misbehave = (request, response) => {
      response.writeHead(302, { location: `${request.url}x` }).end()
      return true
    }
    await say(41, { models: [gate({ sha256: wrong })], process: looks })
    t.match(await refused(41), { refused: { message: /sends on more than 5 times/ } })
    t.equal(strangers, 0, 'nobody was called there')
  })

  t.test('refused: endless, and changed on the way', async (t) => {
    server.misbehave = (_request, response) => {
      const more = () =>
        void (response.destroyed || response.write(Buffer.alloc(65_536), () => setImmediate(more)))
      more()
      return true
    }
    await say(50, { models: [gate({ sha256: wrong, bytes: 1_000_000 })], process: looks })
    t.match(await refused(50), { refused: { code: 'DOWNLOAD_FAILED', message: /more than 1000000 bytes/ } })
    server.misbehave = (_request, response) => {
      response.end(later)
      return true
    }
    await say(51, {
      models: [gate({ sha256: wrong })],
      process: looks,
    })
    t.match(await refused(51), { refused: { code: 'CHECKSUM_WRONG' } })
    t.strictSame(there(), [`${sha256(colours)}.onnx`])
    server.misbehave = undefined
  })

  t.test('another file of the same name takes its place, and the first is removed', async (t) => {
    // Sent on within what is allowed.
    server.misbehave = ({ url: path }, response) => {
      if (path !== '/moved.onnx') return false
      response.writeHead(307, { location: '/later.onnx' }).end()
      return true
    }
    await say(60, {
      models: [gate({ sources: [`${server.url}/moved.onnx`], sha256: sha256(later) })],
      process: looks,
    })
    await applied(60)
    t.strictSame(there(), [`${sha256(later)}.onnx`])
    await until('crops say so', () => by() === `gate@${sha256(later).slice(0, 12)}`)
    server.misbehave = undefined
  })

  t.test('a detector by address finds faces', async (t) => {
    const faces = { name: 'faces-2', sources: [`${server.url}/faces.onnx`], sha256: sha256(detector) }
    await say(70, { models: [faces], detect: { model: 'faces-2' } })
    t.match(await applied(70), { effective: { detect: { model: 'faces-2' }, process: [] } })
    const model = () => /"model":"([^"]*)"/.exec(eye.of('crop').at(-1)?.payload.toString('latin1') ?? '')?.[1]
    await until('it is used', () => model() === 'faces-2')
    await say(71, { models: [gate()], process: looks })
    await applied(71)
    await until('and let go of', () => model() === 'blazeface')
    t.strictSame(there(), [`${sha256(colours)}.onnx`])
  })

  t.test('without a network it holds; without its file the device says so', async (t) => {
    await device.kill()
    const before = asked()
    server.misbehave = (_request, response) => {
      response.destroy()
      return true
    }
    eye.came.length = 0
    const again = await startDevice(t, url, settings)
    await until('from its start on', () => by() === `gate@${sha256(colours).slice(0, 12)}`)
    t.equal(asked(), before, 'nobody is asked')
    await again.kill()
    rmSync(join(folder, `${sha256(colours)}.onnx`))
    eye.came.length = 0
    const fallen = await startDevice(t, url, settings)
    t.match(await refused(71), { applied: null, effective: { process: [] } })
    t.ok(
      fallen.log.some(({ msg }) => /does not hold: .*came by address, is not here any more/.test(msg ?? '')),
    )
    server.misbehave = undefined
    await say(72, { models: [gate()], process: looks })
    await applied(72)
    await say(73, {})
    await applied(73)
    t.strictSame(there(), [])
    await fallen.kill()
  })

  t.test('refused where its own file does not allow them', async (t) => {
    const { desired: _desired, ...remote } = settings.remote
    await startDevice(t, url, { ...settings, remote })
    await say(80, { models: [gate()] })
    t.match(await refused(80), {
      allows: { models: false },
      refused: { code: 'NOT_ALLOWED', path: ['models'], message: /remote.desired.models/ },
    })
  })
})

t.test('a name is judged by where it leads, as it is called', async (t) => {
  let strangers = 0
  const inside = createServer((_request, response) => {
    strangers += 1
    response.end('secret')
  })
  await new Promise<void>((resolve) => inside.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => inside.close(resolve)))
  const { port } = inside.address() as AddressInfo
  const leadsTo = (...addresses: string[]) =>
    guardedFetch(
      new Networks(['192.168.1.0/24'], (async () =>
        addresses.map((address) => ({ address, family: 4 }))) as unknown as typeof lookup),
    )
  const asked = { headers: {}, signal: AbortSignal.timeout(5000) }
  for (const addresses of [['127.0.0.1'], ['198.41.0.4', '127.0.0.1'], ['192.168.2.1']])
    await t.rejects(leadsTo(...addresses)(`http://models.example:${port}/gate.onnx`, asked), {
      code: 'ADDRESS_NOT_ALLOWED',
    })
  t.equal(strangers, 0)
  const own = guardedFetch(new Networks(['localhost']))
  t.equal(
    await (await own(`http://localhost:${port}/`, asked)).text(),
    'secret',
    'what the file names is called',
  )
})
