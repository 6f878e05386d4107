import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { checkDeviceConfig, deviceSchema } from '../../device/config.ts'
import { Detectors } from '../../device/desired/detectors.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { sightline } from '../cli/sightline.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { json, KEY, serveApi } from './api-servers.ts'
import { fitted, PORTRAIT } from './pictures.ts'

/** CompreFace and CodeProject.AI as a device and its commands use them: by the configuration, with a detector here that takes over. */

const configOf = (detect: Record<string, unknown>) => {
  const config = loadConfig(deviceSchema, { overrides: { detect } })
  checkDeviceConfig(config)
  return config.detect
}

t.test('a detector here takes over while the product fails, and is relieved', async (t) => {
  await using server = await serveApi('compreface')
  const modelFolder = temporaryFolder(t)
  const servers = { addresses: [server.url], token: KEY, deadline: '5s' }
  await using detectors = await Detectors.open(
    configOf({ runtime: 'compreface', modelFolder, provider: 'cpu', threads: 1, servers, scoreMin: 0.5 }),
    { log: openLog('test', 'silent'), meters: openMeters(openMetrics('test')) },
  )
  const detector = detectors.current
  t.match(detector, {
    model: 'compreface',
    runtime: `compreface at ${server.url}`,
    whereabouts: { on: 'remote' },
  })
  const { picture } = await fitted(PORTRAIT, detector.input)
  const [there] = await detector.detect(picture)
  t.equal(there?.landmarks.length, 6)
  t.equal(there?.model, undefined)

  server.answer = (_request, response) => json(response, 500, { code: 41, message: 'out of memory' })
  const [here, ...more] = await detector.detect(picture)
  t.equal(here?.model, 'blazeface', 'who found it is said')
  t.same(more, [])
  t.match(detector.whereabouts, { on: 'local', why: /HTTP 500: .*out of memory/ })

  server.answer = undefined
  await until(
    'the server looks again',
    async () => {
      await detector.detect(picture)
      return detector.whereabouts?.on === 'remote'
    },
    20_000,
  )
  t.equal((await detector.detect(picture))[0]?.model, undefined)
})

t.test('sightline detect asks the servers of the configuration, and says what ran', async (t) => {
  await using server = await serveApi('codeproject')
  const folder = temporaryFolder(t)
  const portrait = join(folder, 'portrait.png')
  await sharp(PORTRAIT).png().toFile(portrait)
  const env = {
    SIGHTLINE_DETECT__MODEL_FOLDER: join(folder, 'models'),
    SIGHTLINE_DETECT__RUNTIME: 'codeproject',
    SIGHTLINE_DETECT__SERVERS: JSON.stringify({ addresses: [server.url], deadline: '5s' }),
  }
  const there = await sightline(t, ['detect', portrait], env)
  t.match(there, { status: 0, stderr: '' })
  t.match(JSON.parse(there.stdout), { model: 'codeproject', runtime: `codeproject at ${server.url}` })
  t.equal(JSON.parse(there.stdout).faces.length, 1)
  t.ok(server.asked.length > 1)

  server.answer = (_request, response) => void response.writeHead(401).end()
  t.match(await sightline(t, ['detect', portrait], env), {
    status: 69,
    code: 'INFERENCE_UNAVAILABLE',
    stderr: /refuses the API key/,
  })

  const asked = server.asked.length
  const here = await sightline(t, ['detect', portrait, '--runtime', 'onnx'], env)
  t.match(JSON.parse(here.stdout), { model: 'blazeface', runtime: /ONNX Runtime/ })
  t.equal(server.asked.length, asked)
})

t.test('what cannot work is said at the start', (t) => {
  const grpc = { addresses: ['grpc://127.0.0.1:8001'] }
  t.throws(() => configOf({ runtime: 'codeproject', servers: grpc }), {
    code: 'CONFIG_INVALID',
    message: /gRPC, which codeproject does not speak/,
  })
  t.throws(() => configOf({ runtime: 'compreface' }), { code: 'CONFIG_INVALID', message: /addresses/ })
  t.end()
})
