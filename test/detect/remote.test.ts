import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { openDetector } from '../../device/detect/open.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { BYTES_EXTENSION } from '../../wire/inference.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { MODEL, type OipServer, openGrpc, openRest } from './oip-server.ts'
import { fitted, PORTRAIT } from './pictures.ts'

/** Faces looked for at servers that do right, and at servers that do not. The model is real. */

async function open(t: Test, servers: readonly OipServer[], settings: Record<string, unknown> = {}) {
  const { detect } = loadConfig(deviceSchema, {
    overrides: {
      detect: {
        ...{ runtime: 'remote', threads: 1, provider: 'cpu' },
        servers: {
          ...{ addresses: servers.map(({ address }) => address), local: 'none', deadline: '2s' },
          ...settings,
        },
      },
    },
  })
  const meters = openMeters(openMetrics('test'))
  const detector = await openRemoteDetector(detect as RemoteConfig, {
    log: openLog('test', 'silent'),
    meters,
  })
  t.teardown(() => detector[Symbol.asyncDispose]())
  const failed = async () =>
    (await meters.inferenceFailed.get()).values.map(({ labels, value }) => `${labels.reason} ${value}`)
  const { picture } = await fitted(PORTRAIT, detector.input)
  return { detector, failed, picture, look: () => detector.detect(picture) }
}

const rounded = (faces: Awaited<ReturnType<Awaited<ReturnType<typeof open>>['look']>>) =>
  faces.map(({ box, score, landmarks }) => ({
    box: box.map(Math.round),
    score: Math.round(score * 1000),
    points: landmarks.flat().map(Math.round),
  }))

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc })) {
  t.test(`${kind}: the same faces as here, floats or bytes`, async (t) => {
    await using local = await openDetector({ threads: 1 })
    for (const bytes of [false, true]) {
      const server = await start(t)
      if (bytes) server.wrongs.extensions.push(BYTES_EXTENSION)
      const { detector, picture, look } = await open(t, [server])
      t.match(detector, {
        model: MODEL,
        input: { ...local.input },
        scoreMin: local.scoreMin,
        whereabouts: { on: 'remote', why: null },
      })
      t.same(rounded(await look()), rounded(await local.detect(picture)))
      t.match(server.asked[0]?.inputs, [{ datatype: bytes ? 'UINT8' : 'FP32' }])
    }
  })
}

t.test('a server that does not know binary tensors gets JSON', async (t) => {
  const server = await openRest(t)
  server.wrongs.extensions = [BYTES_EXTENSION]
  const { look } = await open(t, [server])
  t.equal((await look()).length, 1)
  t.match(server.asked[0], { binaryOutput: false, inputs: [{ datatype: 'FP32' }] })
})

const [FIRST, REST] = [0, 1]
const wrongAnswers: Record<string, [OipServer['wrongs']['answer'], RegExp]> = {
  'another model': [(it) => ({ ...it, model: 'yunet' }), /of the model "yunet", not blazeface/],
  "another request's": [(it) => ({ ...it, id: '999999' }), /answer to another request/],
  'a missing output': [(it) => ({ ...it, outputs: it.outputs.slice(REST) }), /output .* is missing/],
  'another type': [
    (it) => ({ ...it, outputs: it.outputs.map((out) => ({ ...out, datatype: 'INT32' })) }),
    /is INT32, not float32/,
  ],
  'another shape': [
    (it) => ({
      ...it,
      outputs: it.outputs.map(({ shape, ...out }) => ({ ...out, shape: [...shape, 1] })),
    }),
    /is \[.*\], not \[/,
  ],
  'half of it': [
    (it) => ({
      ...it,
      outputs: it.outputs.map(({ shape: [one = 1, anchors = 2, ...more], data, ...out }) => ({
        ...out,
        shape: [one, anchors / 2, ...more],
        data: data.subarray(0, data.length / 2),
      })),
    }),
    /which fit no 256x/,
  ],
  NaN: [
    (it) => {
      const [first] = it.outputs
      const data = new Uint8Array(first?.data ?? [])
      new Float32Array(data.buffer)[5] = Number.NaN
      return { ...it, outputs: it.outputs.map((out, at) => (at === FIRST ? { ...out, data } : out)) }
    },
    /a number that is none/,
  ],
  'a long one': [
    (it) => ({
      ...it,
      outputs: it.outputs.map((out) => ({
        ...out,
        shape: [1, 4_000_000, 1],
        data: new Uint8Array(16_000_000),
      })),
    }),
    /more than 33554432 bytes/,
  ],
}

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc }))
  t.test(`${kind}: an answer that is none is no "nobody is here"`, async (t) => {
    for (const [what, [answer, says]] of Object.entries(wrongAnswers)) {
      const server = await start(t)
      const { look, failed, detector } = await open(t, [server])
      server.wrongs.answer = answer
      await t.rejects(look(), { code: 'INFERENCE_WRONG', message: says }, what)
      t.same(await failed(), ['wrong 1'], what)
      t.match(detector.whereabouts, { on: 'none', why: says }, what)
      await detector[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    }
  })

t.test('HTTP that is no answer', async (t) => {
  const infer = (response: (it: Parameters<OipServer['wrongs']['http']>[1]) => void) =>
    ((request, it) => {
      if (!request.url?.endsWith('/infer')) return false
      response(it)
      return true
    }) satisfies OipServer['wrongs']['http']
  const cases: Record<string, [OipServer['wrongs']['http'], string, RegExp]> = {
    redirect: [
      infer((it) => it.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()),
      'INFERENCE_UNAVAILABLE',
      /redirect \(HTTP 302\), which is not followed/,
    ],
    'an error': [
      infer((it) => it.writeHead(500).end('{"error":"out of\\nmemory"}')),
      'INFERENCE_UNAVAILABLE',
      /HTTP 500: out of memory/,
    ],
    refused: [infer((it) => it.writeHead(400).end('{"error":"no"}')), 'INFERENCE_WRONG', /HTTP 400: no/],
    'no token': [infer((it) => it.writeHead(401).end()), 'INFERENCE_UNAVAILABLE', /refuses the token/],
    busy: [infer((it) => it.writeHead(503, { 'retry-after': '1' }).end()), 'INFERENCE_LATE', /busy/],
    'a page': [infer((it) => it.end('<html>')), 'INFERENCE_WRONG', /not JSON/],
    'half of it': [
      infer((it) => {
        it.writeHead(200, { 'content-length': 1000 }).write('{"model_name":')
        setTimeout(() => it.destroy(), 20)
      }),
      'INFERENCE_UNAVAILABLE',
      /does not answer/,
    ],
    'cut off': [infer((it) => it.destroy()), 'INFERENCE_UNAVAILABLE', /does not answer/],
    'a gigabyte': [
      infer((it) => {
        const more = () => {
          while (!it.destroyed && it.write(Buffer.alloc(1_000_000)));
        }
        it.on('drain', more)
        more()
      }),
      'INFERENCE_WRONG',
      /more than 33554432 bytes/,
    ],
  }
  for (const [what, [http, code, message]] of Object.entries(cases)) {
    const server = await openRest(t)
    const { look, detector } = await open(t, [server])
    await look()
    server.wrongs.http = http
    await t.rejects(look(), { code, message }, what)
    await detector[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  }
})

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc })) {
  t.test(`${kind}: too late, never, and again`, async (t) => {
    const server = await start(t)
    const { look, failed, detector } = await open(t, [server], { deadline: '200ms' })
    await look()
    server.wrongs.answer = (it) => sleep(400, it)
    await t.rejects(look(), { code: 'INFERENCE_LATE', message: /200 ms/ })
    await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /did not answer within 200 ms/ })
    server.wrongs.answer = () => new Promise(() => {})
    await until('it is asked again', () => detector.whereabouts?.on === 'remote')
    await t.rejects(look(), { code: 'INFERENCE_LATE' })
    server.wrongs.answer = (it) => it
    await until('it is asked again', () => detector.whereabouts?.on === 'remote')
    t.equal((await look()).length, 1)
    t.same(await failed(), ['late 2'])
  })

  t.test(`${kind}: a server that restarts, and one that loses its model`, async (t) => {
    const server = await start(t)
    const { look, detector } = await open(t, [server])
    await look()
    await server[Symbol.asyncDispose]()
    await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /127\.0\.0\.1/ })
    const again = await start(t, { port: server.port })
    await until('it is back', () => detector.whereabouts?.on === 'remote', 15_000)
    t.equal((await look()).length, 1)
    again.wrongs.hasModel = false
    await until('it is missed', () => detector.whereabouts?.on === 'none', 15_000)
    t.match(detector.whereabouts?.why, /has no model blazeface/)
    again.wrongs.hasModel = true
    await until('it is back', () => detector.whereabouts?.on === 'remote', 15_000)
  })
}

t.test('all servers serve the same; another kind of model is none', async (t) => {
  const [one, other] = [await openRest(t), await openGrpc(t)]
  other.wrongs.metadata = (it) => ({
    ...it,
    inputs: it.inputs.map((input) => ({ ...input, shape: [1, 128, 128, 3] })),
  })
  const { detector, look } = await open(t, [one, other])
  t.equal((await look()).length, 1)
  t.equal(other.asked.length, 0)
  await detector[Symbol.asyncDispose]()
  one.wrongs.metadata = (it) => ({ ...it, outputs: it.outputs.slice(REST) })
  const none = await open(t, [one])
  await t.rejects(none.look(), { code: 'INFERENCE_UNAVAILABLE', message: /is not a face detector/ })
  await none.detector[Symbol.asyncDispose]()
  one.wrongs.metadata = (it) => ({ ...it, name: 'yunet' })
  const renamed = await open(t, [one])
  await t.rejects(renamed.look(), { message: /asked about the model blazeface, it tells of "yunet"/ })
})

t.test('where no server is ready at the start, they may come', async (t) => {
  const server = await openRest(t)
  server.wrongs.ready = false
  const { detector, look } = await open(t, [server])
  t.match(detector, {
    input: { width: 256, height: 256, fit: 'letterbox' },
    whereabouts: { on: 'none', why: /is not ready/ },
  })
  await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /is not ready/ })
  server.wrongs.ready = true
  await until('it is ready', () => detector.whereabouts?.on === 'remote')
  t.equal((await look()).length, 1)
  server.wrongs.ready = false
  await t.rejects(open(t, [server], { model: 'mine' }), {
    code: 'INFERENCE_UNAVAILABLE',
    message: /set "detect.inputSize"/,
  })
})

t.test('a detector here takes over, at once, and gives back', async (t) => {
  const server = await openRest(t)
  const { detector, look } = await open(t, [server], { local: 'auto' })
  t.equal((await look()).length, 1)
  await server[Symbol.asyncDispose]()
  t.equal((await look()).length, 1, 'the very frame on which it failed')
  t.match(detector.whereabouts, { on: 'local', why: /No inference server can be asked/ })
  const again = await openRest(t, { port: server.port })
  again.wrongs.answer = () => new Promise(() => {}) // it says that it is ready, and hangs
  const startMs = performance.now()
  while (performance.now() - startMs < 3000) {
    t.equal((await look()).length, 1)
    await sleep(100)
  }
  t.ok(again.asked.length > 0, 'it was tried')
  t.equal(detector.whereabouts?.on, 'local', 'and no frame was lost by that')
  again.wrongs.answer = (it) => it
  await until(
    'it is given back',
    async () => {
      t.equal((await look()).length, 1)
      return detector.whereabouts?.on === 'remote'
    },
    20_000,
  )
})

t.test('a token is shown, and taken anew from its file; never over plain text', async (t) => {
  const file = join(temporaryFolder(t), 'token')
  writeFileSync(file, 'secret-1\n')
  for (const start of [openRest, openGrpc]) {
    const server = await start(t)
    const { look } = await open(t, [server], { tokenFile: file })
    await look()
    t.ok(server.headers.every(({ authorization }) => authorization === 'Bearer secret-1'))
  }
  const plain = { address: 'http://192.0.2.1:8500' } as OipServer
  await t.rejects(open(t, [plain], { tokenFile: file }), {
    code: 'CONFIG_INVALID',
    message: /192\.0\.2\.1:8500 unencrypted/,
  })
  writeFileSync(file, 'two words')
  await t.rejects(open(t, [plain], { tokenFile: file, plaintext: true }), { message: /one line: the token/ })
})
