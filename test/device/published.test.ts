import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { Aedes } from 'aedes'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { portraitSvg } from '../../device/sources/portrait.ts'
import { readClip } from '../../wire/clip.ts'
import { type CropMetadata, readCrop } from '../../wire/crop.ts'
import { writeCameraClip } from '../kit/camera-clip.ts'
import { FAKE_CAMERA, openChromium, openPage, skipWithoutChromium } from '../kit/chromium.ts'
import { Program, temporaryFolder } from '../kit/programs.ts'
import { RtmpPublisher } from '../kit/rtmp-publisher.ts'
import { until } from '../kit/wait.ts'
import { publishFrom } from '../kit/whip.ts'
import { decode, joined, type RecordedClip } from '../record/recording.ts'

/** The agent as a program: what is published to it becomes crops and recordings, like any camera's. */

const STREAM = 'guest'
const CHUNKS = 3

interface Agent {
  readonly key: string
  readonly whip: string
  readonly rtmp: string
  readonly crops: readonly CropMetadata[]
  readonly clips: readonly RecordedClip[]
}

/** With one stream that is recorded, with sound. */
async function openAgent(t: Test): Promise<Agent> {
  const folder = temporaryFolder(t)
  const key = newStreamKey()
  const streamsFile = join(folder, 'streams.yaml')
  const record = { mode: 'always', audio: true, chunk: '1s' }
  writeFileSync(streamsFile, JSON.stringify({ streams: [{ name: STREAM, keyHash: hashOfKey(key), record }] }))
  const crops: CropMetadata[] = []
  const clips: RecordedClip[] = []
  const aedes = await Aedes.createBroker()
  aedes.on('publish', ({ topic, payload }) => {
    const bytes = Buffer.from(payload)
    if (topic.endsWith(`/${STREAM}/crop`)) {
      const reading = readCrop(bytes)
      if (!('crop' in reading)) throw new Error(reading.detail)
      crops.push(reading.crop)
    } else if (topic.endsWith(`/${STREAM}/clip`)) {
      const reading = readClip(bytes)
      if (!('clip' in reading)) throw new Error(reading.detail)
      clips.push({ metadata: reading.clip, payload: bytes })
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
  const agent = await Program.waiting(
    t,
    'device',
    {
      cameras: [],
      listen: { streamsFile, rtmp: { port: 0 }, whip: { port: 0 } },
      emit: { mode: 'interval', interval: '1s' },
      remote: { folder },
      outbox: { folder: join(folder, 'outbox') },
      http: { port: 0 },
      broker: { url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}` },
    },
    ({ msg }) => msg === 'takes streams by WHIP',
  )
  const whip = agent.log.find(({ msg }) => msg === 'takes streams by WHIP')
  const rtmp = agent.log.find(({ msg }) => msg === 'takes streams by RTMP')
  return { key, whip: String(whip?.page), rtmp: String(rtmp?.url), crops, clips }
}

/** A drawn head that moves, as a file that Chromium takes for a camera. */
async function writeFace(file: string): Promise<void> {
  const head = await sharp(Buffer.from(portraitSvg(7, 240))).toBuffer()
  const pictures: Buffer[] = []
  for (let number = 0; number < 20; number += 1)
    pictures.push(
      await sharp({ create: { width: 640, height: 480, channels: 3, background: '#889' } })
        .composite([{ input: head, left: 150 + Math.abs(10 - number) * 4, top: 90 }])
        .jpeg()
        .toBuffer(),
    )
  writeFileSync(file, Buffer.concat(pictures))
}

const chunks = (agent: Agent) =>
  until(`${CHUNKS} chunks`, () => agent.clips.length >= CHUNKS, 20_000).then(() =>
    agent.clips.slice(0, CHUNKS).map(({ metadata, payload }) => ({ metadata, payload })),
  )

t.test(
  "a browser's picture and sound become crops and a recording",
  { skip: skipWithoutChromium },
  async (t) => {
    const file = join(temporaryFolder(t), 'face.mjpeg')
    await writeFace(file)
    const browser = await openChromium([...FAKE_CAMERA, `--use-file-for-fake-video-capture=${file}`])
    t.teardown(() => browser.close())
    for (const codec of ['video/H264', 'video/VP8'] as const)
      t.test(codec, async (t) => {
        const agent = await openAgent(t)
        const { page } = await openPage(t, browser, { width: 400, height: 300 })
        await publishFrom(page, `${agent.whip}/whip`, { key: agent.key, codec, audio: true })
        await until('crops', () => agent.crops.length >= 2, 20_000)
        t.match(agent.crops[0], { camera: STREAM, frame: [640, 480] })
        const recorded = await chunks(agent)
        const encoded = codec === 'video/VP8'
        for (const { metadata } of recorded)
          t.match(metadata, { codec: 'h264', encoded, frame: [640, 480], audio: { codec: 'opus' } })
        const { pictures, samples, errors } = await decode(joined(recorded))
        t.equal(errors, 0)
        t.equal(
          pictures.length,
          recorded.reduce((sum, { metadata }) => sum + metadata.frames, 0),
        )
        const seconds = recorded.reduce((sum, { metadata }) => sum + metadata.durationMs, 0) / 1000
        t.ok(Math.abs(samples / 48_000 - seconds) < 0.5, `${samples / 48_000} s of sound in ${seconds} s`)
      })
  },
)

t.test('what comes by RTMP is recorded as it is, with its sound', async (t) => {
  const agent = await openAgent(t)
  const clip = join(temporaryFolder(t), 'clip.mp4')
  await writeCameraClip({ file: clip, codec: 'h264', frames: 125, sound: true })
  await using publisher = new RtmpPublisher(clip, `${agent.rtmp}/${agent.key}`)
  t.equal(await publisher.opened, true, publisher.said.join())
  const recorded = await chunks(agent)
  for (const { metadata } of recorded)
    t.match(metadata, { codec: 'h264', encoded: false, frame: [320, 180], audio: { codec: 'aac' } })
  const sent = new Set((await decode(clip)).pictures.map(({ hash }) => hash))
  const { pictures, samples, errors } = await decode(joined(recorded))
  t.equal(errors, 0)
  t.ok(pictures.length >= 60, `${pictures.length} pictures`)
  t.equal(
    pictures.find(({ hash }) => !sent.has(hash)),
    undefined,
    'every picture is one that was sent',
  )
  const seconds = recorded.reduce((sum, { metadata }) => sum + metadata.durationMs, 0) / 1000
  t.ok(Math.abs(samples / 48_000 - seconds) < 0.5, `${samples / 48_000} s of sound in ${seconds} s`)
})
