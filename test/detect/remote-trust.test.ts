import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { checkModel, checkServer } from '../../commands/doctor/model.ts'
import { type DeviceConfig, deviceSchema } from '../../device/config.ts'
import { openDetector } from '../../device/detect/open.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openMeters } from '../../device/meters.ts'
import { inferenceSchema } from '../../inference/config.ts'
import { InferenceServer } from '../../inference/server.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { configFile, sightline } from '../cli/sightline.ts'
import { openAuthority } from '../kit/certificates.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { openGrpc, openRest } from './oip-server.ts'
import { fitted, PORTRAIT } from './pictures.ts'

/** Who may ask whom; and the server that comes with this. */

const log = openLog('test', 'silent')

const configOf = (addresses: readonly string[], settings: object = {}, detect: object = {}): DeviceConfig =>
  deviceSchema.parse({
    detect: {
      ...{ runtime: 'remote', threads: 1, provider: 'cpu' },
      ...detect,
      servers: { addresses, local: 'none', ...settings },
    },
  })

async function open(t: Test, addresses: readonly string[], settings: object = {}, detect: object = {}) {
  const detector = await openRemoteDetector(configOf(addresses, settings, detect).detect as RemoteConfig, {
    log,
    meters: openMeters(openMetrics('test')),
  })
  t.teardown(() => detector[Symbol.asyncDispose]())
  const { picture } = await fitted(PORTRAIT, detector.input)
  return { detector, picture, look: () => detector.detect(picture) }
}

t.test('TLS: the server is known, and so is the device, over HTTP and gRPC', async (t) => {
  const authority = await openAuthority(t)
  const pair = await authority.server('inference')
  const client = await authority.client('device')
  const [ca, cert, key] = [authority.caFile, pair.certFile, pair.keyFile].map((file) =>
    readFileSync(file),
  ) as [Buffer, Buffer, Buffer]
  const rest = await openRest(t, { tls: { ca, cert, key, requestCert: true, rejectUnauthorized: true } })
  const rpc = await openGrpc(t, {
    credentials: grpc.ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true),
  })
  const addresses = [rest.address, `grpcs://127.0.0.1:${rpc.port}`]
  for (const [at, address] of addresses.entries()) {
    const { look } = await open(t, [address], { caFile: authority.caFile, ...client })
    t.equal((await look()).length, 1, address)
    const stranger = await open(t, [address], { caFile: authority.caFile })
    await t.rejects(stranger.look(), { code: 'INFERENCE_UNAVAILABLE' }, 'without a certificate')
    const trusting = await open(t, [address], client)
    await t.rejects(trusting.look(), {
      code: 'INFERENCE_UNAVAILABLE',
      message: at === 0 ? /unknown authority/ : /certificate/,
    })
  }
})

t.test("sightline's own server: the same faces, by both protocols, with a token", async (t) => {
  const modelFolder = join(temporaryFolder(t), 'models')
  const token = 'a-token-of-enough-letters'
  await using server = await InferenceServer.open(
    inferenceSchema.parse({
      ...{ modelFolder, tokens: [token] },
      models: [{ model: 'blazeface', provider: 'cpu', threads: 1 }],
      rest: { port: 0 },
      grpc: { port: 0 },
      http: { port: 0 },
    }),
    openMetrics('inference'),
    log,
  )
  await using local = await openDetector({ threads: 1 })
  const addresses = [server.rest.url, server.grpc?.url ?? ''].map((it) => it.replace(/\/$/, ''))
  for (const address of addresses) {
    const { detector, picture, look } = await open(t, [address], { token })
    t.match(detector.input, local.input)
    const [here] = await local.detect(picture)
    const [there] = await look()
    t.same(there?.box.map(Math.round), here?.box.map(Math.round))
    const strangers = await open(t, [address])
    await t.rejects(strangers.look(), { message: /refuses the token/ })
    t.match(await checkServer(configOf([address], { token }), address, new AbortController().signal), [
      { level: 'ok', found: /finds \d+ of \d+ drawn faces/ },
    ])
  }
  const both = await open(t, addresses, { token })
  for (const faces of await Promise.all(Array.from({ length: 4 }, both.look))) t.equal(faces.length, 1)

  const photo = join(temporaryFolder(t), 'portrait.svg.png')
  const { sharp } = await import('../../device/sharp.ts')
  await sharp(PORTRAIT).png().toFile(photo)
  const config = configFile(t, { detect: { servers: { addresses, token }, runtime: 'remote' } })
  const { stdout, status } = await sightline(t, ['detect', photo, '--config', config])
  t.equal(status, 0)
  t.match(JSON.parse(stdout), { model: 'blazeface', faces: [{ score: Number }] })
})

t.test('doctor: what is wrong with each server, and with who takes over', async (t) => {
  const signal = new AbortController().signal
  const server = await openRest(t)
  const found = async () => await checkServer(configOf([server.address]), server.address, signal)
  t.match(await found(), [{ level: 'ok', found: /blazeface|loads/ }])
  server.wrongs.hasModel = false
  t.match(await found(), [{ level: 'FAIL', found: /has no model blazeface/ }])
  server.wrongs.ready = false
  t.match(await found(), [{ level: 'FAIL', found: /is not ready/ }])
  await server[Symbol.asyncDispose]()
  t.match(await found(), [{ level: 'FAIL', found: /connection refused/ }])
  t.same(await checkModel(configOf([server.address]), signal), [], 'nobody takes over')
  const absent = { model: 'yunet', modelFolder: temporaryFolder(t) }
  t.match(await checkModel(configOf([server.address], { local: 'auto' }, absent), signal), [
    { level: 'warn', what: 'model yunet', todo: /detect\.servers\.local: none/ },
  ])
  t.match(await checkModel(configOf([server.address], { local: 'yunet' }, absent), signal), [
    { level: 'FAIL' },
  ])
})

t.test('a renewed client certificate is shown', async (t) => {
  const authority = await openAuthority(t)
  const pair = await authority.server('inference')
  const [ca, cert, key] = [authority.caFile, pair.certFile, pair.keyFile].map((file) =>
    readFileSync(file),
  ) as [Buffer, Buffer, Buffer]
  const server = await openRest(t, { tls: { ca, cert, key, requestCert: true, rejectUnauthorized: true } })
  const shown = new Set<string>()
  server.wrongs.http = (request) => {
    const { subject } = (
      request.socket as unknown as { getPeerCertificate(): { subject?: { CN?: string } } }
    ).getPeerCertificate()
    shown.add(subject?.CN ?? '')
    return false
  }
  const folder = temporaryFolder(t)
  const files = { certFile: join(folder, 'device.pem'), keyFile: join(folder, 'device.key') }
  const show = async (name: string) => {
    const { certFile, keyFile } = await authority.client(name)
    copyFileSync(keyFile, files.keyFile)
    copyFileSync(certFile, files.certFile)
  }
  await show('first')
  const { look } = await open(t, [server.address], { caFile: authority.caFile, ...files })
  await look()
  await show('second')
  await look()
  t.ok(shown.has('first') && shown.has('second'))
})
