import { createHash } from 'node:crypto'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { convertBlazeface } from '../../models/convert.ts'
import { openOnnx } from '../../models/onnx.ts'
import { until } from '../kit/wait.ts'
import { ask, binaryRequest, floatsOf, identityModel, openServer } from './kit.ts'

const SIDE = 64
const pixels = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, at) => (at * 31) % 256)

t.test('the model that comes with Sightline answers as it does here, in every way of asking', async (t) => {
  const { url } = await openServer(t)
  const bytes = await convertBlazeface()
  await using local = await openOnnx(bytes, 'blazeface', 1)
  const scale = 1 / 127.5
  const values = Float32Array.from(pixels, (byte) => byte * scale - 1)
  const shape = [1, SIDE, SIDE, 3]
  const expected = await local.run(new Map([['input', { type: 'float32', shape, data: values }]]))
  const close = (a: Iterable<number>, b: Float32Array) => {
    const list = [...a]
    return list.length === b.length && list.every((it, at) => Math.abs(it - (b[at] as number)) < 1e-3)
  }

  const server = await ask(`${url}/v2`)
  t.match(server.json, {
    name: 'sightline',
    version: String,
    extensions: ['binary_tensor_data', 'sightline_bytes'],
  })
  t.equal((await ask(`${url}/v2/`)).status, 200)
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, 12)
  const model = await ask(`${url}/v2/models/blazeface`)
  t.match(model.json, {
    name: 'blazeface',
    versions: [version],
    platform: 'onnx_onnxv1',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [Number, -1, -1, 3] }],
  })
  t.strictSame((await ask(`${url}/v2/models/blazeface/versions/${version}`)).json, model.json)
  for (const path of [
    'health/live',
    'health/ready',
    'models/blazeface/ready',
    `models/blazeface/versions/${version}/ready`,
  ])
    t.equal((await ask(`${url}/v2/${path}`)).status, 200, path)

  const infer = `${url}/v2/models/blazeface/infer`
  for (const [how, request] of [
    ['floats', binaryRequest('input', shape, values, { id: 'a' })],
    ['bytes', binaryRequest('input', shape, pixels, { id: 'a', scale, offset: -1 })],
  ] as const) {
    const answer = await ask(infer, request)
    t.equal(answer.status, 200, how)
    t.match(answer.json, { model_name: 'blazeface', model_version: version, id: 'a' })
    const outputs = floatsOf(answer)
    t.strictSame([...outputs.keys()].sort(), [...expected.keys()].sort())
    for (const [name, tensor] of expected)
      t.ok(close(outputs.get(name) ?? [], tensor.data as Float32Array), `${how}: ${name}`)
  }
  const nested = Array.from({ length: SIDE }, (_, y) =>
    Array.from({ length: SIDE }, (_, x) => [...values.subarray((y * SIDE + x) * 3, (y * SIDE + x + 1) * 3)]),
  )
  for (const data of [[...values], [nested]]) {
    const inputs = [{ name: 'input', datatype: 'FP32', shape, data }]
    const body = JSON.stringify({ inputs, outputs: [{ name: 'scores_16' }] })
    const answer = await ask(`${url}/v2/models/blazeface/versions/${version}/infer`, { body })
    t.equal(answer.headers['content-type'], 'application/json')
    const [output, ...others] = answer.json.outputs as {
      name: string
      data: number[]
      shape: number[]
      datatype: string
    }[]
    t.match(output, { name: 'scores_16', datatype: 'FP32', shape: [1, Number, 1] })
    t.equal(others.length, 0)
    t.ok(close(output?.data ?? [], expected.get('scores_16')?.data as Float32Array))
  }
})

t.test(
  'whatever is wrong with a request is said as the protocol says it, and the next one is answered',
  async (t) => {
    const folder = t.testdir()
    const { url } = await openServer(t, {
      models: [{ model: identityModel(t, { folder }) }],
      payloadMax: '100KB',
    })
    const infer = `${url}/v2/models/same/infer`
    const row = Float32Array.of(1, 2, 3, 4)
    const good = () => binaryRequest('input', [1, 4], row)
    const json = (input: object, more: object = {}) => ({
      body: JSON.stringify({
        inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4], ...input }],
        ...more,
      }),
    })
    const cases: readonly (readonly [number, RegExp, string, Parameters<typeof ask>[1]?])[] = [
      [404, /no model "nobody"/, `${url}/v2/models/nobody`],
      [404, /no model "nobody"/, `${url}/v2/models/nobody/infer`, good()],
      [404, /no model "\.\.\/etc"/, `${url}/v2/models/..%2Fetc`],
      [404, /version/, `${url}/v2/models/same/versions/1/infer`, good()],
      [404, /nothing at this address/, `${url}/v2/models`],
      [404, /nothing at this address/, `${url}/`],
      [404, /nothing at this address/, `${url}/v2/health/never`],
      [400, /not encoded/, `${url}/v2/models/%ff`],
      [405, /Only GET/, `${url}/v2`, { body: '{}' }],
      [405, /Only POST/, infer],
      [400, /not JSON/, infer, { body: 'hello' }],
      [400, /not JSON/, infer, { body: '' }],
      [400, /no input "other"/, infer, json({ name: 'other' })],
      [400, /inputs/, infer, { body: JSON.stringify({ inputs: [] }) }],
      [400, /is INT32, but the model takes FP32/, infer, json({ datatype: 'INT32' })],
      [400, /or UINT8 with the parameters/, infer, json({ datatype: 'UINT8' })],
      [400, /needs the number "offset"/, infer, json({ datatype: 'UINT8', parameters: { scale: 1 } })],
      [400, /for UINT8 in the place/, infer, json({ parameters: { scale: 1, offset: 0 } })],
      [400, /BYTES/, infer, json({ datatype: 'BYTES', data: ['a', 'b', 'c', 'd'] })],
      [400, /shape \[4\], but the model takes \[-1, 4\]/, infer, json({ shape: [4] })],
      [400, /shape \[0, 4\]/, infer, json({ shape: [0, 4], data: [] })],
      [400, /no output "else"/, infer, json({}, { outputs: [{ name: 'else' }] })],
      [400, /no FP32/, infer, json({ data: [1, 2, 3, Number.NaN] })],
      [400, /number of bytes/, infer, { ...good(), headers: { 'inference-header-content-length': 'all' } }],
      [400, /but the body has/, infer, { ...good(), headers: { 'inference-header-content-length': 10_000 } }],
      [400, /compressed/, infer, { ...good(), headers: { ...good().headers, 'content-encoding': 'gzip' } }],
      [413, /limit is 100000/, infer, binaryRequest('input', [10_000, 4], new Float32Array(40_000))],
      [413, /limit is 100000/, infer, { body: `{"inputs":[${' '.repeat(200_000)}]}` }],
    ]
    for (const [status, says, where, request] of cases) {
      const answer = await ask(where, request)
      const label = `${status} ${says}`
      t.equal(answer.status, status, label)
      t.strictSame(Object.keys(answer.json), ['error'], label)
      t.match(answer.json.error, says)
    }
    t.strictSame([...(floatsOf(await ask(infer, good())).get('output') ?? [])], [...row])
  },
)

t.test(
  'what is not a number comes back as it is in bytes, and is an error in JSON; others are not touched',
  async (t) => {
    const { url } = await openServer(t, { models: [{ model: identityModel(t), delayMax: '50ms' }] })
    const infer = `${url}/v2/models/same/infer`
    const [strange, plain] = await Promise.all([
      ask(infer, binaryRequest('input', [1, 4], Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, 1, 2))),
      ask(infer, binaryRequest('input', [1, 4], Float32Array.of(5, 6, 7, 8))),
    ])
    t.strictSame([...(floatsOf(plain).get('output') ?? [])], [5, 6, 7, 8])
    t.equal(floatsOf(strange).get('output')?.[1], Number.POSITIVE_INFINITY)
    const { body, headers } = binaryRequest(
      'input',
      [1, 4],
      Float32Array.of(Number.POSITIVE_INFINITY, 0, 0, 0),
      {
        outputs: [{ name: 'output', parameters: { binary_data: false } }],
      },
    )
    const refused = await ask(infer, { body, headers })
    t.equal(refused.status, 400)
    t.match(refused.json.error, /not finite/)
  },
)

t.test('a body in parts without a length is read; one that is cut, or slow, harms nobody', async (t) => {
  const { url, registry } = await openServer(t, {
    models: [{ model: identityModel(t) }],
    payloadMax: '100KB',
  })
  const { port } = new URL(url)
  const raw = (text: string | Buffer, end = false) => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => {})
    t.after(() => void socket.destroy())
    let answered = ''
    socket.on('data', (chunk) => {
      answered += chunk
    })
    socket.write(text)
    if (end) socket.end()
    return { socket, answered: () => answered }
  }
  const body = JSON.stringify({
    inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }],
  })
  const head = 'POST /v2/models/same/infer HTTP/1.1\r\nhost: x\r\n'
  const chunked = raw(
    `${head}transfer-encoding: chunked\r\n\r\n${[...body].map((it) => `1\r\n${it}\r\n`).join('')}0\r\n\r\n`,
  )
  await until('the answer', () => chunked.answered().includes('"data":[1,2,3,4]'))
  const endless = raw(`${head}transfer-encoding: chunked\r\n\r\n`)
  const timer = setInterval(() => endless.socket.write(`4000\r\n${' '.repeat(0x4000)}\r\n`), 1)
  t.after(() => clearInterval(timer))
  await until('it is refused', () => endless.answered().startsWith('HTTP/1.1 413'))
  raw(`${head}content-length: 1000\r\n\r\n${body.slice(0, 20)}`, true)
  raw(`${head}content-length: 1000\r\n\r\n${body.slice(0, 20)}`)
  const junk = raw(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]))
  await until('what is no HTTP is refused', () => junk.answered().startsWith('HTTP/1.1 400'))
  t.equal((await ask(`${url}/v2/models/same/infer`, { body })).status, 200)
  t.match(
    await registry.metrics(),
    /sightline_inference_requests_total\{model="same",outcome="ok",program="inference"\} 2/,
  )
})

t.test('a thousand connections take no place from those who ask', async (t) => {
  const { url } = await openServer(t, {
    models: [{ model: identityModel(t) }],
    rest: { connectionsMax: 100, connectionsPerAddressMax: 60 },
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const infer = () =>
    ask(`${url}/v2/models/same/infer`, {
      ...binaryRequest('input', [1, 4], Float32Array.of(1, 2, 3, 4)),
      agent,
    })
  t.equal((await infer()).status, 200)
  const { port } = new URL(url)
  let closed = 0
  const sockets = Array.from({ length: 1000 }, () =>
    connect(Number(port), '127.0.0.1')
      .on('error', () => {})
      .on('close', () => {
        closed += 1
      }),
  )
  t.after(() => sockets.forEach((it) => void it.destroy()))
  await until('most are refused', () => closed >= 940)
  t.equal((await infer()).status, 200)
})
