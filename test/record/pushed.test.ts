import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AV_PIX_FMT_YUV420P } from 'node-av/constants'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { MOTION_HOLD_MS } from '../../device/limits.ts'
import { changeStream, newStreamKey } from '../../device/listen/change.ts'
import { hashOfKey } from '../../device/listen/streams-file.ts'
import { Testcard } from '../../device/sources/testcard.ts'
import { readClip } from '../../wire/clip.ts'
import { readCrop } from '../../wire/crop.ts'
import { writeClip } from '../device/clip.ts'
import { startDevice, watch } from '../device/commanded.ts'
import { writeCameraClip } from '../kit/camera-clip.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { RtmpPublisher } from '../kit/rtmp-publisher.ts'
import { until } from '../kit/wait.ts'
import { decode } from './recording.ts'

/** Streams that come to a device, as programs see them: what is recorded of them, what masks hide, when faces are looked for. */

const folder = t.testdir()
/** On a busy machine, ms. */
const PATIENCE_MS = 25_000
const [WIDTH, HEIGHT] = [640, 360]

/** A broker, and a device with these streams. */
async function start(t: Test, streams: readonly ({ readonly name: string } & Record<string, unknown>)[]) {
  const keys = new Map(streams.map(({ name }) => [name, newStreamKey()]))
  const key = (name: string) => keys.get(name) ?? ''
  const streamsFile = join(temporaryFolder(t), 'streams.yaml')
  const listed = streams.map((stream) => ({ ...stream, keyHash: hashOfKey(key(stream.name)) }))
  writeFileSync(streamsFile, JSON.stringify({ streams: listed }))
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  const ports = { rtmp: await freePort(), http: await freePort() }
  const device = await startDevice(t, broker.url, {
    cameras: [],
    listen: { streamsFile, rtmp: { port: ports.rtmp }, http: { port: ports.http } },
  })
  await device.line(({ msg }) => msg === 'takes pictures by HTTP')
  const clips = (camera: string) =>
    eye.of('clip', camera).map(({ payload }) => {
      const reading = readClip(payload)
      if (!('clip' in reading)) throw new Error(`${reading.fault}: ${reading.detail}`)
      return { metadata: reading.clip, payload }
    })
  const crops = (camera: string) =>
    eye.of('crop', camera).map(({ payload }) => {
      const reading = readCrop(payload)
      if (!('crop' in reading)) throw new Error(`${reading.fault}: ${reading.detail}`)
      return { metadata: reading.crop, payload }
    })
  const publish = (camera: string, files: readonly string[]) =>
    new RtmpPublisher(files, `rtmp://127.0.0.1:${ports.rtmp}/live/${key(camera)}`)
  return { streamsFile, eye, device, ports, key, clips, crops, publish }
}

/** What the card draws, faces among it, half as large. */
async function drawn(number: number): Promise<Uint8Array> {
  const context = {
    input: { width: 256, height: 256 },
    log: undefined as never,
    events: { skipped() {}, damaged() {} },
  }
  const card = await Testcard.open({}, context, new AbortController().signal)
  const frame = card.frame(number)
  const [width, height] = [frame.width, frame.height]
  const raw = { width, height, channels: 3 } as const
  return sharp(await frame.cut(0, 0, width, height), { raw })
    .resize(WIDTH, HEIGHT)
    .raw()
    .toBuffer()
}

t.test(
  'what comes by RTMP is recorded as it came, with its sound; another size is another run',
  async (t) => {
    const files = ['a', 'b'].map((name) => join(folder, `${name}.mp4`))
    await writeCameraClip({ file: files[0] ?? '', codec: 'h264', frames: 50, sound: true })
    const larger = { width: 480, height: 270 }
    await writeCameraClip({ file: files[1] ?? '', codec: 'h264', frames: 50, sound: true, ...larger })
    const it = await start(t, [{ name: 'door', record: { mode: 'always', chunk: '1s', audio: true } }])
    await using publisher = it.publish('door', files)
    t.equal(await publisher.opened, true, publisher.said.join())
    const widths = () => new Set(it.clips('door').map(({ metadata }) => metadata.frame[0]))
    await until('chunks of both sizes', () => widths().size === 2, PATIENCE_MS)
    // It is removed while it is being recorded: the last chunk comes all the same.
    const removedAtMs = Date.now()
    await changeStream({ file: it.streamsFile }, 'door', { do: 'remove' })
    await publisher.exited
    await until('its state is cleared', () => it.eye.of('state', 'door').at(-1)?.payload.length === 0)
    await until(
      'the last chunk, until it was removed',
      () => (it.clips('door').at(-1)?.metadata.endMs ?? 0) > removedAtMs - 1000,
      PATIENCE_MS,
    )
    await it.device.stop()
    const clips = it.clips('door')
    const runs = new Map<string, Set<string>>()
    for (const { metadata, payload } of clips) {
      t.match(metadata, { encoded: false, codec: 'h264' })
      const sizes = runs.get(metadata.run) ?? new Set<string>()
      runs.set(metadata.run, sizes.add(metadata.frame.join('x')))
      const found = await decode(payload)
      t.equal(found.pictures.length, metadata.frames)
      t.strictSame([...found.size], [...metadata.frame])
      t.equal(found.errors, 0)
      if (metadata.frames < 10) continue // a picture or two at the end, before any sound
      t.match(metadata.audio, { codec: 'aac' })
      t.ok(found.samples > 5000, `${found.samples} samples of sound`)
    }
    for (const sizes of runs.values()) t.equal(sizes.size, 1, 'one run, one size')
    t.ok(runs.size >= 2)
  },
)

t.test(
  'a face in a stream is a crop; a stream that is turned and masked hides what the mask says',
  async (t) => {
    const file = join(folder, 'faces.mp4')
    const upsideDown = join(folder, 'turned.mp4')
    const pictures = await Promise.all(Array.from({ length: 25 }, (_, number) => drawn(900 + number)))
    const pixelOf =
      (turned: boolean) =>
      (x: number, y: number, number: number): readonly [number, number, number] => {
        const at = (turned ? (HEIGHT - 1 - y) * WIDTH + (WIDTH - 1 - x) : y * WIDTH + x) * 3
        const [red = 0, green = 0, blue = 0] = pictures[number]?.subarray(at, at + 3) ?? []
        return [red, green, blue]
      }
    const options = { codec: 'h264', frames: 25, width: WIDTH, height: HEIGHT } as const
    await writeClip({ ...options, file, pixel: pixelOf(false) })
    await writeClip({ ...options, file: upsideDown, pixel: pixelOf(true) })
    const masks = [{ left: 0, top: 0, width: 0.5, height: 1 }]
    const it = await start(t, [
      { name: 'door' },
      { name: 'porch', rotate: 180, masks, record: { mode: 'always', chunk: '1s' } },
    ])
    await using first = it.publish('door', [file])
    await using second = it.publish('porch', [upsideDown])
    t.equal(await first.opened, true, first.said.join())
    t.equal(await second.opened, true, second.said.join())
    await until('crops and chunks', () =>
      [it.crops('door').length, it.crops('porch').length, 5 * it.clips('porch').length].every((n) => n > 4),
    )
    await it.device.stop()
    const middleOf = ([left, , width]: readonly number[]) => (left ?? 0) + (width ?? 0) / 2
    t.ok(
      it.crops('door').some(({ metadata }) => middleOf(metadata.region) < WIDTH / 2),
      'there is a face where the mask of the other is',
    )
    for (const { metadata, payload } of it.crops('porch')) {
      const { data, info } = await sharp(payload).greyscale().raw().toBuffer({ resolveWithObject: true })
      const [left] = metadata.region
      const hidden = Math.min(info.width, Math.floor(WIDTH / 2 - left) - 8) // JPEG blurs by a block
      t.ok(middleOf(metadata.region) > WIDTH / 2, 'no face behind the mask')
      for (let x = 0; x < hidden; x += 1)
        for (let y = 0; y < info.height; y += 8)
          if ((data[y * info.width + x] ?? 255) > 40) t.fail(`${x}, ${y} shows through`)
    }
    for (const { metadata, payload } of it.clips('porch')) {
      t.equal(metadata.encoded, true)
      let [worst, open] = [0, 0]
      await decode(payload, (picture) => {
        t.equal(picture.format, AV_PIX_FMT_YUV420P)
        const [luma] = picture.data ?? []
        const stride = picture.linesize[0] ?? 0
        // Players turn what says so: then what is hidden is on the right.
        for (let y = 4; y < HEIGHT; y += 16)
          for (let x = 4; x < WIDTH; x += 16) {
            const value = luma?.[y * stride + x] ?? 255
            const isHidden = metadata.rotation === 180 ? x > WIDTH / 2 + 16 : x < WIDTH / 2 - 16
            const isOpen = metadata.rotation === 180 ? x < WIDTH / 2 - 16 : x > WIDTH / 2 + 16
            if (isHidden) worst = Math.max(worst, value)
            else if (isOpen) open = Math.max(open, value)
          }
      })
      t.ok(worst < 40, `${worst} where the mask is, turned by ${metadata.rotation}`)
      t.ok(open > 60, `${open} elsewhere`)
    }
  },
)

t.test('pictures by HTTP, PNG too: with motion, a scene that stays is looked at once', async (t) => {
  const png = await sharp(await drawn(900), { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .png()
    .toBuffer()
  const it = await start(t, [
    { name: 'always' },
    { name: 'moved', motion: { enabled: true, checkEvery: '10m' } },
  ])
  const send = async (camera: string) =>
    fetch(`http://127.0.0.1:${it.ports.http}/pictures`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${it.key(camera)}`, 'content-type': 'image/png' },
      body: png,
    })
  let seen = 0
  for (let number = 1; number <= 4; number += 1) {
    for (const camera of ['moved', 'always']) t.equal((await send(camera)).status, 204)
    await until('it is looked at', () => it.crops('always').length > seen)
    seen = it.crops('always').length
    // What has moved is looked at for a while.
    if (number === 1) await sleep(MOTION_HOLD_MS + 100)
  }
  await it.device.stop()
  const looks = (camera: string) =>
    new Set(it.crops(camera).map(({ metadata }) => metadata.capturedAtMs)).size
  t.equal(looks('always'), 4)
  t.equal(looks('moved'), 1)
})
