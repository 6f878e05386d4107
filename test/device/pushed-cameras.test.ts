import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Aedes } from 'aedes'
import sharp from 'sharp'
import t from 'tap'
import { changeStream, newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { type CameraState, cameraStateSchema } from '../../wire/camera-state.ts'
import { writeCameraClip } from '../kit/camera-clip.ts'
import { freePort } from '../kit/ports.ts'
import { Program } from '../kit/programs.ts'
import { RtmpPublisher } from '../kit/rtmp-publisher.ts'
import { until } from '../kit/wait.ts'

t.test('cameras come and go while the agent runs: from afar, by RTMP, by pictures', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'streams.yaml')
  const key = newStreamKey()
  await changeStream({ file }, 'bell', { do: 'add', keyHash: hashOfKey(key) })
  const states = new Map<string, CameraState>()
  const cleared = new Map<string, boolean>()
  const aedes = await Aedes.createBroker()
  aedes.on('publish', (packet) => {
    const camera = /^sightline\/v1\/lab\/one\/([^/]+)\/state$/.exec(packet.topic)?.[1]
    if (!camera) return
    if (packet.payload.length > 0)
      states.set(camera, cameraStateSchema.parse(JSON.parse(packet.payload.toString())))
    else {
      cleared.set(camera, packet.retain)
      states.delete(camera)
    }
  })
  const server = createServer((socket) => {
    socket.on('error', () => {})
    aedes.handle(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    aedes.close()
    server.close()
  })
  const ports = { rtmp: await freePort(), http: await freePort() }
  const config = {
    site: 'lab',
    device: 'one',
    cameras: [],
    listen: {
      streamsFile: file,
      grace: '1s',
      rtmp: { port: ports.rtmp },
      http: { port: ports.http, pictureMax: '100KB' },
    },
    remote: { folder },
    http: { port: 0 },
    broker: { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}` },
  }
  const start = () => Program.waiting(t, 'device', config, ({ msg }) => msg === 'takes pictures by HTTP')
  const device = await start()
  await until('the camera waits', () => states.get('bell')?.state === 'waiting')

  const picture = await sharp({ create: { width: 320, height: 240, channels: 3, background: '#888' } })
    .jpeg()
    .toBuffer()
  const send = async (init: RequestInit, query = '') => {
    const response = await fetch(`http://127.0.0.1:${ports.http}/pictures${query}`, {
      method: 'POST',
      ...init,
    })
    return { status: response.status, text: await response.text() }
  }
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'image/jpeg' }
  t.match(await send({ headers, body: picture }), { status: 204 })
  await until('a picture is a frame', () => states.get('bell')?.stream?.live?.frame?.[0] === 320)
  t.match(states.get('bell'), { state: 'up', stream: { live: { by: 'http' }, from: '127.0.0.1' } })
  t.match(await send({ headers: { 'content-type': 'image/jpeg' }, body: picture }, `?key=${key}`), {
    status: 204,
  })
  t.match(await send({ headers: { ...headers, authorization: 'Bearer no' }, body: picture }), {
    status: 401,
    text: /key is wrong/,
  })
  t.match(await send({ headers, body: 'no picture' }), { status: 415 })
  t.match(await send({ headers, body: Buffer.alloc(200_000) }), { status: 413 })

  const command = (camera: string, change: object) =>
    new Promise<void>((resolve) => {
      const topic = `sightline/v1/lab/one/${camera}/set/stream`
      const payload = Buffer.from(JSON.stringify(change))
      aedes.publish({ cmd: 'publish', qos: 1, dup: false, retain: false, topic, payload }, () => resolve())
    })
  const doorKey = newStreamKey()
  await command('door', { do: 'add', keyHash: hashOfKey(doorKey), owner: 'anna' })
  await until('the new camera waits', () => states.get('door')?.state === 'waiting')
  t.match(states.get('door')?.stream, { owner: 'anna', active: true, live: null })
  const clip = join(folder, 'clip.mp4')
  await writeCameraClip({ file: clip, codec: 'h264', frames: 50 })
  await using publisher = new RtmpPublisher(clip, `rtmp://127.0.0.1:${ports.rtmp}/live/${doorKey}`)
  t.equal(await publisher.opened, true, publisher.said.join())
  await until('it is up', () => states.get('door')?.state === 'up')
  await command('door', { do: 'deactivate' })
  await until('it is sent away', () => states.get('door')?.stream?.live === null, 3000)
  await until('it waits', () => states.get('door')?.state === 'waiting', 4000)
  await command('door', { do: 'remove' })
  await until('the broker keeps nothing of it', () => cleared.get('door') === true)
  t.notMatch(readFileSync(file, 'utf8'), 'door')

  // What a stream says of its camera holds from then on, as if it had always said so.
  const before = readFileSync(file, 'utf8')
  writeFileSync(
    file,
    `${before.trimEnd()}\n    record: {mode: always, chunk: 500ms}\n    view: {effect: pixelate}\n`,
  )
  await until('its settings have changed', () => states.get('bell')?.effect === 'pixelate')
  t.match(states.get('bell')?.record, { mode: 'always' })
  for (let n = 0; n < 20; n += 1) {
    await send({ headers, body: picture })
    await sleep(50)
  }
  await until('it records', () => (states.get('bell')?.record?.clips ?? 0) > 0, 20_000)
  // Its last chunk is made while it goes; the agent stays.
  const chunks = states.get('bell')?.record?.clips ?? 0
  await command('bell', { do: 'remove' })
  await until('the recorded one is no more', () => cleared.get('bell') === true, 10_000)
  t.ok(chunks > 0)
  await command('bell', { do: 'add', keyHash: hashOfKey(key) })
  await until('it is there again', () => states.get('bell')?.state === 'waiting')
  t.match(states.get('bell'), { effect: 'none', record: { mode: 'off' } })
  t.match(await send({ headers, body: picture }), { status: 204 })
  await until('and up', () => states.get('bell')?.state === 'up')
  const said = JSON.stringify(device.log)
  t.notMatch(said, doorKey)
  t.notMatch(said, key)
  t.notMatch(said, hashOfKey(doorKey))
  await device.stop()

  await changeStream({ file }, 'bell', { do: 'remove' })
  const again = await start()
  await until('one removed meanwhile is cleared too', () => states.get('bell') === undefined)
  await again.stop()
})
