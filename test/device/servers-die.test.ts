import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { convertBlazeface } from '../../models/convert.ts'
import { openGrpc, openRest } from '../detect/oip-server.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { metric, startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'

/** A device whose faces are looked for at inference servers, and what it says when those die. */

t.test('without a detector here: nothing claims that nobody is there; then the camera is down', async (t) => {
  const { url, eye } = await broker(t)
  const servers = [await openRest(t), await openGrpc(t)]
  const device = await startDevice(t, url, {
    detect: {
      runtime: 'remote',
      servers: { addresses: servers.map(({ address }) => address), local: 'none' },
    },
  })
  const health = async () => {
    const { url } = await device.line(({ msg }) => msg === 'health and metrics are served')
    const response = await fetch(`${url}/healthz`)
    return (await response.json()) as { ok: boolean; checks: Record<string, string> }
  }
  await eye.stateBecomes('faces are found', ({ present }) => (present?.faces ?? 0) > 0)
  t.match(await eye.stateBecomes('said', (it) => it.detect !== undefined), {
    detect: { on: 'remote', why: null },
  })
  t.match(await health(), { ok: true, checks: { detector: 'remote' } })
  await servers[0]?.[Symbol.asyncDispose]()
  const before = eye.of('crop').length
  await until('the other one goes on', () => eye.of('crop').length > before + 5)

  await servers[1]?.[Symbol.asyncDispose]()
  t.match(await eye.stateBecomes('nobody looks', ({ detect }) => detect?.on === 'none'), {
    state: 'up',
    detect: { on: 'none', why: /No inference server can be asked/ },
  })
  const at = eye.states().length
  const last = eye.states().at(-1)?.present?.faces
  await until('down', () => eye.states().at(-1)?.state === 'down', 20_000)
  const since = eye.states().slice(at)
  t.ok(
    since.every(({ present }) => present === undefined || present.faces === last),
    'who was there, or nothing',
  )
  t.match(eye.states().at(-1), { state: 'down', why: /No inference server can be asked/ })
  await eye.stateBecomes('nobody is known to be there', ({ present }) => present === undefined)
  t.match(await health(), {
    ok: false,
    checks: { detector: /^none: No inference/, 'camera card': /^down: No inference/ },
  })
  t.ok((await metric(device, 'frames_skipped_total{camera="card",reason="unavailable"')) > 5)

  const crops = eye.of('crop').length
  await openRest(t, { port: servers[0]?.port })
  await until('crops again', () => eye.of('crop').length > crops + 3, 15_000)
  await eye.stateBecomes(
    'up again',
    ({ state, detect, present }) => state === 'up' && detect?.on === 'remote' && present !== undefined,
  )
})

t.test('with a detector here: each crop says which model found it', async (t) => {
  const { url, eye } = await broker(t)
  const modelFolder = temporaryFolder(t)
  writeFileSync(join(modelFolder, 'mine.onnx'), await convertBlazeface())
  writeFileSync(join(modelFolder, 'catalog.yaml'), 'models:\n  - {name: mine, file: mine.onnx}\n')
  const server = await openRest(t)
  const device = await startDevice(t, url, {
    detect: {
      ...{ runtime: 'remote', model: 'mine', modelFolder, provider: 'cpu', threads: 1 },
      servers: { addresses: [server.address], model: 'blazeface' },
    },
  })
  await device.line(({ msg }) => /different models/.test(msg ?? ''))
  const models = () =>
    eye.of('crop').map(({ payload }) => /"model":"([^"]*)"/.exec(payload.toString('latin1'))?.[1])
  await until('crops', () => models().length > 3)
  t.ok(models().every((it) => it === 'blazeface'))
  await server[Symbol.asyncDispose]()
  await until('crops of the detector here', () => models().at(-1) === 'mine')
  t.match(await eye.stateBecomes('said', ({ detect }) => detect?.on === 'local'), { state: 'up' })
  await openRest(t, { port: server.port })
  await eye.stateBecomes('said', ({ detect }) => detect?.on === 'remote')
  const count = models().length
  await until('crops', () => models().length > count + 3)
  t.equal(models().at(-1), 'blazeface')
  t.equal(await metric(device, 'frames_skipped_total{camera="card",reason="unavailable"'), 0)
})

t.test('a model set from afar is one that the servers have', async (t) => {
  const { url, eye, say, refused } = await broker(t)
  const server = await openRest(t)
  await startDevice(t, url, {
    detect: { runtime: 'remote', servers: { addresses: [server.address], local: 'none' } },
  })
  await until('crops', () => eye.of('crop').length > 0)
  await say(1, { detect: { model: 'yunet' } })
  t.match(await refused(1), {
    refused: { code: 'INFERENCE_UNAVAILABLE', message: /has no model yunet/, path: ['detect', 'model'] },
    effective: { detect: { model: 'blazeface' } },
  })
  const before = eye.of('crop').length
  await until('it goes on', () => eye.of('crop').length > before + 3)
})
