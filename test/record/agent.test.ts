import { join } from 'node:path'
import t from 'tap'
import { type ClipMetadata, readClip } from '../../wire/clip.ts'
import { writeClip } from '../device/clip.ts'
import { command, startDevice, watch } from '../device/commanded.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { RtspServer } from '../kit/rtsp-server.ts'
import { until } from '../kit/wait.ts'
import { decode } from './recording.ts'

/** The agent as a program: cameras that come and go, commands, and what arrives at the broker. */

const folder = t.testdir()

const clipsOf = (eye: Awaited<ReturnType<typeof watch>>, camera: string) =>
  eye.of('clip', camera).map(({ payload }) => {
    const reading = readClip(payload)
    if (!('clip' in reading)) throw new Error(`${reading.fault}: ${reading.detail}`)
    return { metadata: reading.clip, payload }
  })

t.test(
  'a camera that dies without a word and comes back: one run, a chunk to the end, and the gap',
  async (t) => {
    const file = join(folder, 'camera.ts')
    await writeClip({ file, codec: 'h264', frames: 50, width: 64, height: 48 })
    const server = await RtspServer.open({ clip: file, framerate: 25 })
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
    const { url, port } = server
    const record = { mode: 'always', chunk: '1s' }
    const device = await startDevice(t, broker.url, {
      cameras: [{ name: 'door', source: url, timeout: '2s', record }],
    })
    await until('chunks', () => clipsOf(eye, 'door').length >= 2)
    await server.kill()
    const killedAtMs = Date.now()
    await until('down', () => eye.of('state', 'door').at(-1)?.payload.includes('"down"') === true)
    await using _again = await RtspServer.open({ clip: file, framerate: 25, port })
    const backAtMs = Date.now()
    await until('chunks again', () =>
      clipsOf(eye, 'door').some(({ metadata }) => metadata.capturedAtMs > backAtMs + 1000),
    )
    await device.stop()
    const clips = clipsOf(eye, 'door')
    const gaps = clips.flatMap(({ metadata }) => metadata.gap ?? [])
    t.match(gaps, [{ fromMs: null, why: 'start' }, { why: 'camera down' }])
    t.equal(gaps.length, 2)
    const back = clips.find(({ metadata }) => metadata.gap?.why === 'camera down')?.metadata as ClipMetadata
    t.ok(Math.abs((back.gap?.fromMs ?? 0) - killedAtMs) < 700, 'since it died')
    t.ok(back.capturedAtMs >= backAtMs - 100, 'until it was back')
    t.equal(new Set(clips.map(({ metadata }) => metadata.run)).size, 1, 'the run goes on')
    for (const { metadata, payload } of clips) {
      t.equal(metadata.encoded, false)
      t.equal((await decode(payload)).pictures.length, metadata.frames)
    }
  },
)

t.test('record is commanded, said, kept over a restart, and ended', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  const settings = {
    cameras: [{ name: 'card', source: 'testcard', record: { chunk: '1s' } }],
    remote: { folder: temporaryFolder(t) },
  }
  const device = await startDevice(t, broker.url, settings)
  const off = await eye.stateBecomes('up', ({ state }) => state === 'up')
  t.strictSame(off.record, { mode: 'off', recording: false, why: null, clips: 0, bytes: 0 })
  await command(eye.client, 'record', 'always')
  await eye.stateBecomes('recording', ({ record }) => record?.recording === true && record.clips > 1)
  const [first] = clipsOf(eye, 'card')
  t.match(first?.metadata, { encoded: true, codec: 'h264', independent: true, frame: [1280, 720] })
  t.ok((await decode(first?.payload ?? '')).pictures.length > 2)
  await device.stop()
  t.match(clipsOf(eye, 'card').at(-1)?.metadata, { sequence: clipsOf(eye, 'card').length - 1 })

  const again = await startDevice(t, broker.url, settings)
  const still = await eye.stateBecomes('up', ({ state, record }) => state === 'up' && record?.clips === 0)
  t.equal(still.record?.mode, 'always', 'as it was commanded')
  await command(eye.client, 'record', 'off')
  await eye.stateBecomes('off', ({ record }) => record?.mode === 'off' && !record.recording)
  await again.stop()
})
