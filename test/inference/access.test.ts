import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import t from 'tap'
import { checkInferenceConfig, inferenceSchema } from '../../inference/config.ts'
import { openAuthority } from '../kit/certificates.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { ask, binaryRequest, identityModel, openServer } from './kit.ts'

const TOKEN = 'one-token-of-many-0001'
const OTHER = 'one-token-of-many-0002'

t.test(
  'others than this machine are served over TLS, to those who are known, or where the file says otherwise',
  async (t) => {
    const tls = { certFile: 'a.pem', keyFile: 'a.key' }
    const check = (settings: object) => checkInferenceConfig(inferenceSchema.parse(settings))
    const far = { host: '0.0.0.0' }
    for (const rest of [{ host: '127.0.0.1' }, { host: '::1' }, { host: 'localhost' }]) check({ rest })
    check({ rest: { ...far, tls }, tokens: [TOKEN] })
    check({ rest: { ...far, tls: { ...tls, clientCaFile: 'ca.pem' } } })
    check({ rest: { ...far, plaintext: true }, tokensFile: 'tokens' })
    check({ rest: { ...far, plaintext: true }, anonymous: true })
    const unsafe = { code: 'CONFIG_UNSAFE_LISTENER' }
    t.throws(() => check({ rest: far, tokens: [TOKEN] }), unsafe)
    t.throws(() => check({ rest: { ...far, tls } }), unsafe)
    t.throws(() => check({ rest: { ...far, plaintext: true } }), unsafe)
    t.throws(() => check({ grpc: { ...far, tls } }), unsafe)
    t.throws(() => check({ grpc: far, anonymous: true }), unsafe)
    t.throws(() => check({ http: far }), unsafe)
    t.throws(() => check({ models: [{ model: 'blazeface' }, { model: 'blazeface' }] }), {
      code: 'CONFIG_INVALID',
    })
    t.throws(() => check({ payloadMax: '10MB', waitingBytesMax: '9MB' }), { code: 'CONFIG_INVALID' })
    t.throws(() => check({ tokens: ['short'] }))
    t.throws(() => check({ models: [] }))
  },
)

t.test(
  'with tokens nobody else is answered, but health; wrong ones are counted, and become slow',
  async (t) => {
    const file = join(temporaryFolder(t), 'tokens')
    writeFileSync(file, `# one a line\n\n${OTHER}\n`)
    const { url, registry } = await openServer(t, {
      models: [{ model: identityModel(t) }],
      tokens: [TOKEN],
      tokensFile: file,
    })
    const request = binaryRequest('input', [1, 4], Float32Array.of(1, 2, 3, 4))
    const infer = (authorization?: string) =>
      ask(`${url}/v2/models/same/infer`, {
        ...request,
        headers: { ...request.headers, ...(authorization !== undefined && { authorization }) },
      })
    for (const path of ['/v2/health/live', '/v2/health/ready'])
      t.equal((await ask(`${url}${path}`)).status, 200)
    for (const path of ['/v2', '/v2/models/same', '/v2/models/same/ready', '/v2/models/nobody'])
      t.equal((await ask(`${url}${path}`)).status, 401, path)
    for (const token of [TOKEN, OTHER]) t.equal((await infer(`Bearer ${token}`)).status, 200)
    for (const authorization of [undefined, '', 'Bearer', `Basic ${TOKEN}`, TOKEN]) {
      const answer = await infer(authorization)
      t.equal(answer.status, 401)
      t.match(answer.headers['www-authenticate'], /Bearer/)
      t.strictSame(Object.keys(answer.json), ['error'])
    }
    for (let tries = 0; tries < 10; tries += 1)
      t.equal((await infer('Bearer an-old-token-of-a-device')).status, 401)
    const late = await infer('Bearer an-old-token-of-a-device')
    t.equal(late.status, 429)
    t.equal(late.headers['retry-after'], '60')
    // An old token of one does not keep out the others behind the same address.
    t.equal((await infer(`Bearer ${TOKEN}`)).status, 200)
    for (let tries = 0; tries < 95; tries += 1) await infer(`Bearer guess-number-${tries}-of-many`)
    t.equal((await infer(`Bearer ${TOKEN}`)).status, 429)
    t.match(await registry.metrics(), /sightline_inference_refused_total\{code="TOKEN"/)
  },
)

t.test('a file of tokens that has none, or one that is none, is said', async (t) => {
  const file = join(temporaryFolder(t), 'tokens')
  const open = () => openServer(t, { models: [{ model: identityModel(t) }], tokensFile: file })
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /cannot be read/ })
  writeFileSync(file, '# none\n')
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /has no token/ })
  writeFileSync(file, `${TOKEN}\ntoo short\n`)
  await t.rejects(open(), { code: 'CONFIG_INVALID', message: /tokens:2: a token must be/ })
})

t.test('over TLS only a client with a certificate of the authority gets through', async (t) => {
  const authority = await openAuthority(t)
  const own = await authority.client('camera')
  const { url } = await openServer(t, {
    models: [{ model: identityModel(t) }],
    rest: { tls: { ...(await authority.server('inference')), clientCaFile: authority.caFile } },
  })
  const get = (files: object) =>
    new Promise<number | undefined>((done, failed) => {
      const agent = new Agent({ ca: readFileSync(authority.caFile), ...files })
      httpsRequest(`${url}/v2/models/same`, { agent }, (response) => {
        response.resume()
        done(response.statusCode)
      })
        .once('error', failed)
        .end()
    })
  t.equal(await get({ cert: readFileSync(own.certFile), key: readFileSync(own.keyFile) }), 200)
  await t.rejects(get({}))
  const stranger = await (await openAuthority(t)).client('camera')
  await t.rejects(get({ cert: readFileSync(stranger.certFile), key: readFileSync(stranger.keyFile) }))
})

t.test('health and metrics of the program say how its models are', async (t) => {
  const { server } = await openServer(t, { models: [{ model: identityModel(t) }, { model: 'blazeface' }] })
  const { json } = await ask(`${server.http.url}/healthz`)
  t.match(json, { ok: true, checks: { 'model same': /ready/, 'model blazeface': /ready/ } })
  const metrics = (await ask(`${server.http.url}/metrics`)).body.toString()
  t.match(metrics, /sightline_inference_model_up\{model="blazeface"[^}]*\} 1/)
  t.match(metrics, /sightline_inference_waiting\{model="same"[^}]*\} 0/)
  server.service.drain()
  t.equal((await ask(`${server.http.url}/healthz`)).status, 503)
  t.equal((await ask(`${server.rest.url}/v2/health/live`)).status, 200)
  t.equal((await ask(`${server.rest.url}/v2/health/ready`)).status, 400)
  t.equal((await ask(`${server.rest.url}/v2/models/same/ready`)).status, 400)
  const refused = await ask(
    `${server.rest.url}/v2/models/same/infer`,
    binaryRequest('input', [1, 4], new Float32Array(4)),
  )
  t.match(refused, { status: 503, headers: { 'retry-after': '1', connection: 'close' } })
})
