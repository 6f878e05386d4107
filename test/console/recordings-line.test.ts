import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Cameras } from '../../console/api/cameras.ts'
import type { KeptStretches } from '../../console/api/keeps.ts'
import type { RecordedCameras } from '../../console/api/recordings.ts'
import type { Stream, StreamKey, Streams } from '../../console/api/stream-keys.ts'
import type { CameraTimeline, Timeline } from '../../console/api/timeline.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { keepKey } from '../../wire/keep.ts'
import { storedKeys } from '../kit/bucket-folder.ts'
import { writeCameraClip } from '../kit/camera-clip.ts'
import { cheapHash } from '../kit/passwords.ts'
import { freePort } from '../kit/ports.ts'
import {
  brokerConfig,
  consoleConfig,
  consoleEnvironment,
  Program,
  RUN_TOKEN,
  subscriberConfig,
  temporaryFolder,
} from '../kit/programs.ts'
import { RtmpPublisher } from '../kit/rtmp-publisher.ts'
import { until } from '../kit/wait.ts'

/** Recordings and streams by the console's API, over a real broker, at a real subscriber and a real agent. */

const PREFIX = 'sightline/v1'
const CARD = { site: 'lab', device: 'one', camera: 'card' }
const CARD_PATH = 'lab/one/card'
const PASSWORD = 'correct horse battery'

t.test('recordings and streams, from the console to whom it asks and back', async (t) => {
  const bucket = temporaryFolder(t)
  const folder = temporaryFolder(t)
  const usersFile = join(folder, 'users.yaml')
  const people = [
    { name: 'anna', role: 'analyst' },
    { name: 'otto', role: 'operator' },
    { name: 'vera', role: 'viewer' },
  ] as const
  writeFileSync(usersFile, usersText(people.map((it) => ({ ...it, password: cheapHash(PASSWORD) }))), {
    mode: 0o600,
  })
  const CROPS = `${PREFIX}/+/+/+/crop`
  const CLIPS = `${PREFIX}/+/+/+/clip`
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      mustBeKept: [CROPS, CLIPS],
      queues: [
        { clientId: 'sightline-subscriber', topics: [CROPS] },
        { clientId: 'sightline-subscriber-clips', topics: [CLIPS] },
        { clientId: 'sightline-console', topics: [`${PREFIX}/stored/+`] },
      ],
    }),
  )
  const rtmp = await freePort()
  const streamsFile = join(folder, 'streams.yaml')
  writeFileSync(streamsFile, 'streams: []\n', { mode: 0o600 })
  const [console] = await Promise.all([
    Program.start(
      t,
      'console',
      consoleConfig(t, broker.url, {
        bucket: { type: 'folder', path: bucket },
        access: { usersFile },
      }),
      { env: consoleEnvironment },
    ),
    Program.start(
      t,
      'subscriber',
      subscriberConfig(t, broker.url, {
        bucket: { type: 'folder', path: bucket },
        announce: { enabled: true },
        retention: { ageMax: 'forever' },
        report: { enabled: true },
      }),
    ),
  ])
  const device = await Program.waiting(
    t,
    'device',
    {
      site: 'lab',
      device: 'one',
      cameras: [{ name: 'card', source: 'testcard', record: { mode: 'always', chunk: '500ms' }, rateMax: 2 }],
      listen: { streamsFile, grace: '1s', rtmp: { port: rtmp } },
      broker: { url: broker.url, backoff: { min: '50ms', max: '200ms' } },
      remote: { folder },
      outbox: { folder: join(folder, 'outbox') },
      report: { enabled: false },
      http: { port: 0 },
    },
    ({ msg }) => msg === 'takes streams by RTMP',
  )
  const api = `${console.http}/api/v1`
  const cookies = new Map<string, string>()
  for (const { name } of people) {
    const answer = await fetch(`${api}/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: console.http },
      body: JSON.stringify({ name, password: PASSWORD }),
    })
    cookies.set(name, answer.headers.getSetCookie()[0]?.split(';')[0] ?? '')
  }
  /** As a person, or with the run's token. */
  const ask = (method: string, path: string, body?: object, user = 'admin') => {
    const cookie = cookies.get(user)
    return fetch(`${api}${path}`, {
      method,
      headers: {
        ...(cookie === undefined
          ? { authorization: `Bearer ${RUN_TOKEN}` }
          : { cookie, origin: console.http, 'sec-fetch-site': 'same-origin' }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    })
  }
  const get = async <T>(path: string, user?: string) =>
    (await (await ask('GET', path, undefined, user)).json()) as T
  const timeline = async (fromMs: number, toMs: number) =>
    (await get<Timeline>(`/timeline?camera=${CARD_PATH}&from=${fromMs}&to=${toMs}`))
      .cameras[0] as CameraTimeline
  const recorded = async () =>
    (await get<RecordedCameras>('/recordings')).items.find(({ camera }) => camera === 'card')
  const chunks = async () => {
    const nowMs = Date.now()
    return (await timeline(nowMs - 600_000, nowMs + 60_000))?.chunks ?? []
  }
  await until('chunks come to the console', async () => ((await recorded())?.clips ?? 0) >= 6, 30_000)

  await t.test('a stretch is kept in the bucket, and kept no longer', async (t) => {
    const [, second, third] = await chunks()
    if (!second || !third) throw new Error('no chunks')
    const wanted = { camera: CARD_PATH, fromMs: second.atMs, toMs: third.endMs }
    const file = join(bucket, keepKey(CARD))
    const kept = await ask('POST', '/recordings/kept', { ...wanted, keep: true })
    t.equal(kept.status, 200, 'it is confirmed')
    const stretch = { fromMs: wanted.fromMs, toMs: wanted.toMs }
    t.match((await kept.json()) as KeptStretches, { isConfirmed: true, items: [stretch] })
    t.match(JSON.parse(readFileSync(file, 'utf8')), { stretches: [stretch] })
    t.match((await timeline(wanted.fromMs, wanted.toMs)).kept, [stretch])
    const again = await ask('POST', '/recordings/kept', { ...wanted, keep: false })
    t.match([again.status, await again.json()], [200, { isConfirmed: true, items: { length: 0 } }])
    t.match(JSON.parse(readFileSync(file, 'utf8')), { stretches: { length: 0 } })
    t.strictSame((await timeline(wanted.fromMs, wanted.toMs)).kept, [])
    const denied = await ask('POST', '/recordings/kept', { ...wanted, keep: true }, 'anna')
    t.equal(denied.status, 403)
  })

  await t.test('one chunk is forgotten, and a stretch, at the bucket and in the console', async (t) => {
    const [first, second, third, fourth, fifth] = await chunks()
    if (!first || !second || !third || !fourth || !fifth) throw new Error('no chunks')
    const inBucket = (id: string) => storedKeys(bucket, 'mp4').some((key) => key.includes(id))
    t.ok(inBucket(first.id) && inBucket(third.id))
    t.equal((await ask('DELETE', `/recordings/${first.id}`, undefined, 'anna')).status, 403)
    const one = await ask('DELETE', `/recordings/${first.id}`)
    t.equal(one.status, 200)
    t.notOk(inBucket(first.id))
    await until('the console knows', async () => !(await chunks()).some(({ id }) => id === first.id))
    t.equal((await ask('GET', `/recordings/${first.id}/file`)).status, 404)

    const keep = { camera: CARD_PATH, fromMs: third.atMs, toMs: fourth.endMs, keep: true }
    t.equal((await ask('POST', '/recordings/kept', keep)).status, 200)
    const query = `camera=${CARD_PATH}&from=${third.atMs + 1}&to=${fourth.endMs - 1}`
    t.equal((await ask('DELETE', `/recordings?${query}`, undefined, 'anna')).status, 403)
    const stretch = await ask('DELETE', `/recordings?${query}`)
    t.match([stretch.status, await stretch.json()], [200, { places: Array }])
    t.strictSame(
      [second, third, fourth, fifth].map(({ id }) => inBucket(id)),
      [true, false, false, true],
      'what has any part in it, kept or not, and nothing else',
    )
    await until('the console knows', async () => !(await chunks()).some(({ id }) => id === fourth.id))
    const { gaps } = await timeline(second.atMs, fifth.endMs)
    t.match(gaps, [{ why: 'missing' }])
    const audit = await get<{ items: { action: string; subject: string }[] }>(
      '/audit?action=recording.forget',
    )
    t.match(audit.items, [{ subject: CARD_PATH }, { subject: first.id }])
  })

  await t.test('recording is switched, and the picture changed, from afar', async (t) => {
    const command = async (name: string, value: string, user?: string) => {
      const answer = await ask('POST', `/cameras/${CARD_PATH}/commands`, { command: name, value }, user)
      return { status: answer.status, body: (await answer.json()) as { state: object } }
    }
    t.match(await command('record', 'off'), { status: 200, body: { state: { record: { mode: 'off' } } } })
    t.match(await command('effect', 'pixelate'), { status: 200, body: { state: { effect: 'pixelate' } } })
    t.match(await command('record', 'always'), {
      status: 200,
      body: { state: { record: { mode: 'always' } } },
    })
    t.equal((await command('record', 'off', 'anna')).status, 403)
    const picture = async (user: string) => {
      const leaving = new AbortController()
      const cookie = cookies.get(user) ?? ''
      const answer = await fetch(`${api}/cameras/${CARD_PATH}/original.mjpg`, {
        headers: { cookie },
        signal: leaving.signal,
      })
      if (!answer.ok || !answer.body) return answer.status
      let read = Buffer.alloc(0)
      for await (const part of answer.body) {
        read = Buffer.concat([read, part])
        if (read.includes(Buffer.from([0xff, 0xd8, 0xff])) && read.includes(Buffer.from([0xff, 0xd9]))) break
      }
      leaving.abort()
      return 'a picture'
    }
    t.equal(await picture('otto'), 'a picture', 'without the effect, for who may')
    t.equal(await picture('vera'), 403)
  })

  await t.test('a stream: its key, another one, deactivated, removed, and added once more', async (t) => {
    const phone = { site: 'lab', device: 'one', camera: 'phone' }
    const path = '/streams/lab/one/phone'
    const clip = join(folder, 'clip.mp4')
    await writeCameraClip({ file: clip, codec: 'h264', frames: 50 })
    const publish = (key: string) => {
      const publisher = new RtmpPublisher(clip, `rtmp://127.0.0.1:${rtmp}/live/${key}`)
      t.teardown(() => publisher[Symbol.asyncDispose]())
      return publisher
    }
    const seen = async (user = 'anna') =>
      (await get<Streams>('/streams', user)).items.find(({ camera }) => camera === 'phone')
    const added = await ask('POST', '/streams', phone, 'anna')
    t.equal(added.status, 201)
    const { key, stream } = (await added.json()) as StreamKey
    t.match(stream, { owner: 'anna', isOwn: true, active: true })
    t.notMatch(JSON.stringify(await get('/streams')), key, 'told once')
    t.equal((await ask('POST', '/streams', phone, 'anna')).status, 409)
    await ask('POST', '/streams', { ...phone, camera: 'hers' }, 'otto')
    t.strictSame(
      (await get<Streams>('/streams', 'anna')).items.map(({ camera }) => camera),
      ['phone'],
      'her own alone',
    )
    t.equal((await get<Streams>('/streams', 'otto')).items.length, 2)
    t.equal((await ask('DELETE', '/streams/lab/one/hers', undefined, 'anna')).status, 404)

    const first = publish(key)
    t.equal(await first.opened, true, first.said.join())
    await until('it is live', async () => (await seen())?.live?.by === 'rtmp')
    const turned = performance.now()
    const rotated = (await (await ask('POST', `${path}/key`, undefined, 'anna')).json()) as StreamKey
    await first.exited
    const tookMs = performance.now() - turned
    t.ok(tookMs < 2000, `who publishes with the old key is cut off: after ${Math.round(tookMs)} ms`)
    t.equal(await publish(key).opened, false, 'the old key is none')
    const second = publish(rotated.key)
    t.equal(await second.opened, true, second.said.join())
    await until('it is live', async () => (await seen())?.live?.by === 'rtmp')
    const changed = await ask('PATCH', path, { active: false, takeOver: true }, 'anna')
    t.match((await changed.json()) as Stream, { active: false, takeOver: true })
    await second.exited
    t.equal(await publish(rotated.key).opened, false)
    t.match((await (await ask('PATCH', path, { active: true }, 'anna')).json()) as Stream, { active: true })

    t.equal((await ask('DELETE', path, undefined, 'anna')).status, 204)
    await until('it is in no list', async () => !(await seen('otto')))
    await until(
      'nor among the cameras',
      async () => !(await get<Cameras>('/cameras')).items.some(({ camera }) => camera === 'phone'),
    )
    const again = await ask('POST', '/streams', phone, 'anna')
    t.equal(again.status, 201, 'its name is free')
    t.equal(await publish(((await again.json()) as StreamKey).key).opened, true)
    t.notMatch(readFileSync(streamsFile, 'utf8'), key)
    for (const { log } of [device, console, broker]) t.notMatch(JSON.stringify(log), key)
  })
})
