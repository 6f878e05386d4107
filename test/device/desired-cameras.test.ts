import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { DESIRED_ENDS_MAX } from '../../device/limits.ts'
import { type ClipMetadata, readClip } from '../../wire/clip.ts'
import { OPENED_PICTURE_BYTES_MAX } from '../../wire/desired.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { RtspServer } from '../kit/rtsp-server.ts'
import { until } from '../kit/wait.ts'
import { writeClip } from './clip.ts'
import { startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'

/** Cameras that are added, changed and removed from afar, with cameras that answer. */

const folder = t.testdir()
const clip = join(folder, 'clip.ts')
t.before(() =>
  writeClip({
    ...{ file: clip, frames: 50, width: 320, height: 180, codec: 'h264' },
    pixel: () => [200, 60, 60],
  }),
)

const PASSWORD = 'hunter-2-of-the-door'
async function camera(t: Test) {
  const server = await RtspServer.open({ clip, framerate: 25, user: { name: 'viewer', password: PASSWORD } })
  t.after(() => server[Symbol.asyncDispose]())
  return server
}

t.test('a camera is added with its picture, changed, and removed; what fails changes nothing', async (t) => {
  const { url, eye, say, applied, refused, all } = await broker(t)
  const remote = { folder: temporaryFolder(t), desired: { cameras: true, networks: ['127.0.0.1'] } }
  const door = await camera(t)
  const device = await startDevice(t, url, { remote })
  const stateOf = (camera: string) => {
    const last = eye.of('state', camera).at(-1)?.payload.toString()
    return last ? JSON.parse(last) : undefined
  }
  const cameras = (more: object = {}, masks: object[] = []) => ({
    door: { source: door.url, username: 'viewer', password: PASSWORD, masks, timeout: '3s' },
    ...more,
  })
  const half = [{ left: 0, top: 0, width: 0.5, height: 1 }]
  await say(1, { cameras: cameras({}, half) })
  const added = await applied(1)
  t.match(added, {
    allows: { cameras: true, networks: ['127.0.0.1'] },
    effective: { cameras: { card: { from: 'file' }, door: { from: 'desired', source: door.url } } },
    opened: { door: { frame: [320, 180], error: undefined } },
  })
  t.notOk(added.opened?.card, 'what was there is not tried')
  const picture = Buffer.from(added.opened?.door?.picture ?? '', 'base64')
  t.ok(picture.length > 0 && picture.length <= OPENED_PICTURE_BYTES_MAX)
  const { data, info } = await sharp(picture).raw().toBuffer({ resolveWithObject: true })
  const at = (x: number) => [...data.subarray((90 * info.width + x) * 3, (90 * info.width + x) * 3 + 3)]
  t.ok(
    at(40).every((it) => it < 20),
    'what the mask hides is black',
  )
  t.ok((at(280)[0] ?? 0) > 150 && (at(280)[1] ?? 255) < 110, `and the rest is the scene: ${at(280)}`)
  await until('it is up', () => stateOf('door')?.state === 'up')

  // One of two cannot be opened: neither is taken, and the first runs on.
  const opened = () =>
    device.log.filter(({ msg, camera }) => msg === 'camera opened' && camera === 'door').length
  await say(2, {
    cameras: cameras({ gone: { source: 'rtsp://127.0.0.1:9/live', timeout: '1s' } }, []),
  })
  const no = await refused(2)
  t.match(no, {
    refused: { code: 'SOURCE_UNAVAILABLE', path: ['cameras', 'gone', 'source'] },
    applied: { version: 1 },
    opened: { gone: { error: { code: 'SOURCE_UNAVAILABLE' }, picture: undefined } },
    effective: { cameras: { door: { masks: half } } },
  })
  t.notOk('gone' in no.effective.cameras)
  t.equal(opened(), 1, 'it was not opened again')
  t.equal(stateOf('gone'), undefined)

  // A wrong password is found out before it is kept.
  const wrong = { door: { source: door.url, username: 'viewer', password: 'wrong', timeout: '3s' } }
  await say(3, { cameras: wrong })
  t.match(await refused(3), {
    refused: { path: ['cameras', 'door', 'source'], message: /rejects the login/ },
  })

  // Settings of its picture: it begins anew, and is not tried; those of its faces: it does not.
  await say(4, { cameras: cameras({}, []) })
  t.notOk((await applied(4)).opened, 'the same source need not be tried')
  await until('opened again', () => opened() === 2)
  await say(5, { cameras: { door: { ...cameras().door, scoreMin: 0.6, motion: { enabled: true } } } })
  await applied(5)
  await until('it holds', () => stateOf('door')?.threshold === 0.6)
  t.equal(opened(), 2)

  // Networks: literally, by name, and in other clothes.
  let version = 5
  for (const source of [
    'rtsp://127.0.0.2/live',
    'rtsp://[::1]/live',
    'http://10.1.2.3/snapshot.jpg',
    'http://169.254.169.254/latest',
    'rtsp://192.168.1.20:554/live',
    'rtsp://[::ffff:192.168.1.20]/live',
    'http://0x7f000002/a.jpg',
    'http://2130706434/a.jpg',
    'rtsp://viewer@203.0.113.1/live',
    'rtsp://127.0.0.1:9@192.168.1.20/live',
    'http://127.0.0.1\\@192.168.1.20/live',
  ]) {
    version += 1
    await say(version, { cameras: { evil: { source, timeout: '1s' } } })
    t.match(
      await refused(version),
      {
        refused: { code: 'ADDRESS_NOT_ALLOWED', path: ['cameras', 'evil', 'source'] },
        applied: { version: 5 },
      },
      source,
    )
  }
  let asked = 0
  const inside = createServer((_request, response) => {
    asked += 1
    response.end()
  }).listen(0, '127.0.0.2')
  const leading = createServer((_request, response) => {
    response
      .writeHead(302, { location: `http://127.0.0.2:${(inside.address() as AddressInfo).port}/a.mp4` })
      .end()
  }).listen(0, '127.0.0.1')
  t.teardown(() => [inside, leading].map((it) => it.close()))
  await until('both listen', () => inside.listening && leading.listening)
  version += 1
  const source = `http://127.0.0.1:${(leading.address() as AddressInfo).port}/a.mp4`
  await say(version, { cameras: { evil: { source, timeout: '1s' } } })
  t.match(await refused(version), { refused: { path: ['cameras', 'evil', 'source'] } })
  t.equal(asked, 0, 'nobody is led to another address')

  // The same by RTSP: to a camera that would answer.
  const hidden = await RtspServer.open({ clip, framerate: 25 })
  t.after(() => hidden[Symbol.asyncDispose]())
  const misleading = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      const head = `CSeq: ${/CSeq: (\d+)/i.exec(bytes.toString('latin1'))?.[1]}\r\n`
      const isFirst = bytes.toString('latin1').startsWith('OPTIONS')
      const answer = isFirst
        ? `RTSP/1.0 200 OK\r\n${head}Public: DESCRIBE\r\n\r\n`
        : `RTSP/1.0 302 Moved\r\n${head}Location: ${hidden.url}\r\n\r\n`
      socket.write(answer)
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => misleading.close())
  await until('it listens', () => misleading.listening)
  version += 1
  const rtsp = `rtsp://127.0.0.1:${(misleading.address() as AddressInfo).port}/live`
  await say(version, { cameras: { evil: { source: rtsp, timeout: '2s' } } })
  t.match(await refused(version), {
    refused: { path: ['cameras', 'evil', 'source'] },
    opened: { evil: { picture: undefined } },
  })
  t.strictSame(hidden.transports, [], 'it was not played')

  // One of its own file is removed, and what was added goes.
  version += 1
  await say(version, { removed: ['card'] })
  t.strictSame((await applied(version)).effective.cameras, {})
  await until('both are gone', () =>
    ['card', 'door'].every((name) => eye.of('state', name).at(-1)?.payload.length === 0),
  )
  version += 1
  await say(version, { cameras: cameras() })
  await applied(version)
  await until('it is back', () => stateOf('door')?.state === 'up' && stateOf('card')?.state === 'up')

  t.match(readFileSync(join(remote.folder, 'desired-lab-bench1.json'), 'utf8'), PASSWORD)
  const said = [
    ...device.log,
    ...all(),
    ...eye.came.filter(({ topic }) => !topic.endsWith('/desired')).map(({ payload }) => payload.toString()),
  ]
  t.notMatch(JSON.stringify(said), PASSWORD, 'in no answer, state or log')
  await device.stop()
})

t.test('of two that follow each other the last holds, also where the first is still tried', async (t) => {
  const { url, say, applied, all } = await broker(t)
  const remote = { folder: temporaryFolder(t), desired: { cameras: true, networks: ['127.0.0.1'] } }
  const silent = createServer(() => {}).listen(0, '127.0.0.1') // takes connections, and never answers
  await until('it listens', () => silent.listening)
  t.teardown(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const device = await startDevice(t, url, { remote })
  const source = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/live.ts`
  await say(1, { cameras: { slow: { source, timeout: '30s' }, card: { scoreMin: 0.1 } } })
  await until('it is tried', () => all().some(({ state, version }) => state === 'applying' && version === 1))
  const startMs = performance.now()
  await say(2, { cameras: { card: { scoreMin: 0.2 } } })
  await say(3, { cameras: { card: { scoreMin: 0.3 } } })
  const { effective } = await applied(3)
  t.ok(performance.now() - startMs < 10_000, 'the one that is tried makes way')
  t.equal(effective.cameras.card?.scoreMin, 0.3)
  t.notOk('slow' in effective.cameras)
  await sleep(300)
  t.notOk(
    all().some(({ applied }) => applied?.version === 1),
    'the first never held',
  )
  t.match(all().at(-1), { state: 'applied', applied: { version: 3 } })
  await device.stop()
})

t.test('what brings the agent down while it is tried is not tried for ever', async (t) => {
  const { url, eye, say, answers, refused } = await broker(t)
  const silent = createServer(() => {}).listen(0, '127.0.0.1') // the try lasts as long as is needed to kill it
  await until('it listens', () => silent.listening)
  t.teardown(() => {
    silent.closeAllConnections()
    silent.close()
  })
  const remote = { folder: temporaryFolder(t), desired: { cameras: true, networks: ['127.0.0.1'] } }
  const device = await startDevice(t, url, { remote })
  const source = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/live.ts`
  await say(1, { cameras: { slow: { source, timeout: '60s' } } })
  for (let n = 0; n < DESIRED_ENDS_MAX; n += 1) {
    if (n > 0) await device.start()
    await answers('it is tried', ({ state }) => state === 'applying')
    eye.came.length = 0
    await device.kill()
    eye.came.length = 0
  }
  await device.start()
  t.match(await refused(1), { refused: { code: 'DESIRED_ENDED_AGENT' }, applied: null })
  await say(2, { cameras: { card: { scoreMin: 0.3 } } })
  await answers('another is tried', ({ state, version }) => state === 'applied' && version === 2)
  await device.stop()
})

t.test('killed at any time it runs one or the other after, and never a mixture', async (t) => {
  const { url, eye, say, answers, all } = await broker(t)
  const names = ['a', 'b', 'c']
  const settings = {
    cameras: names.map((name) => ({ name, source: 'testcard', rateMax: 5 })),
    remote: { folder: temporaryFolder(t) },
  }
  const content = (version: number) => ({
    cameras: Object.fromEntries(
      names.map((name) => [name, { scoreMin: version / 100, rotate: (version % 4) * 90 }]),
    ),
  })
  let version = 0
  const device = await startDevice(t, url, settings)
  await answers('at its start', ({ state }) => state === 'none')
  for (const afterMs of [0, 15, 40, 90, 200]) {
    version += 1
    await say(version, content(version))
    await sleep(afterMs)
    await device.kill()
    eye.came.length = 0
    // Without the network first: what is on disk.
    await device.start().catch(() => {})
    await until('it says what holds', () => all().length > 0)
    for (const { applied, effective } of all()) {
      const held = applied?.version
      for (const name of names)
        t.match(
          effective.cameras[name],
          held === undefined ? { scoreMin: 'auto', rotate: 0 } : content(held).cameras[name],
          `killed after ${afterMs} ms, ${held}`,
        )
      t.ok(held === undefined ? version === 1 : held >= version - 1, 'the newest or the one before')
    }
    await answers(
      'the newest comes again',
      ({ state, applied }) => state === 'applied' && applied?.version === version,
    )
  }
  await device.stop()
})

t.test(
  'a camera that records goes on by its new settings, with its last chunk, and the other is not touched',
  async (t) => {
    const { url, eye, say, applied } = await broker(t)
    const device = await startDevice(t, url, {
      cameras: ['card', 'other'].map((name) => ({ name, source: 'testcard', rateMax: 10 })),
      outbox: { enabled: false },
      remote: { folder: temporaryFolder(t) },
    })
    const clips = (name: string): ClipMetadata[] =>
      eye.of('clip', name).flatMap(({ payload }) => {
        const reading = readClip(payload)
        return 'clip' in reading ? [reading.clip] : []
      })
    const record = { mode: 'always', chunk: '500ms' }
    await say(1, { cameras: { card: { record }, other: { record } } })
    await applied(1)
    await until('both record', () => ['card', 'other'].every((name) => clips(name).length > 2), 30_000)
    const masks = [{ left: 0, top: 0, width: 0.5, height: 0.5 }]
    await say(2, { cameras: { card: { record, masks }, other: { record, scoreMin: 0.9 } } })
    await applied(2)
    const runsOf = (name: string) => [...new Set(clips(name).map(({ run }) => run))]
    await until('the first records anew', () => runsOf('card').length === 2, 30_000)
    const count = clips('other').length
    await until('the other records on', () => clips('other').length > count + 2, 30_000)
    t.equal(runsOf('other').length, 1, 'in the same run')
    await device.stop()
    for (const name of ['card', 'other'])
      for (const run of runsOf(name)) {
        const numbers = clips(name)
          .filter((it) => it.run === run)
          .map(({ sequence }) => sequence)
        t.strictSame(
          numbers,
          numbers.map((_, at) => (numbers[0] ?? 0) + at),
          `${name}: none is missing in a run`,
        )
      }
    t.equal(device.log.filter(({ msg, camera }) => msg === 'camera opened' && camera === 'other').length, 2)
  },
)
