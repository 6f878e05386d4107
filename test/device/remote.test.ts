import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import t from 'tap'
import { readLive } from '../../wire/live.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { BASE, command, type Message, metric, startDevice, watch } from './commanded.ts'

t.test('commands are followed, and the retained state says what holds', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  const device = await startDevice(t, broker.url)
  const up = await eye.stateBecomes('crops are counted', ({ state, crops }) => state === 'up' && crops > 5)
  t.match(up, { camera: 'card', why: null, paused: false, threshold: 'auto', rate: 30 })
  const ids = eye.of('crop').map(({ payload }) => payload.includes(up.lastCrop?.id ?? 'none'))
  t.ok(ids.includes(true), 'the last crop is one that was published')

  await command(eye.client, 'pause', 'ON')
  await eye.stateBecomes('paused', ({ paused }) => paused)
  await sleep(300)
  const cropsBefore = eye.of('crop').length
  await sleep(700)
  t.equal(eye.of('crop').length, cropsBefore, 'no crop while it is paused')
  await command(eye.client, 'snapshot', '')
  await device.line(({ reason }) => reason === 'paused')
  t.equal(eye.of('snapshot').length, 0, 'and no snapshot')
  await command(eye.client, 'resume', '')
  await eye.stateBecomes('resumed', ({ paused }) => !paused)
  await until('crops come again', () => eye.of('crop').length > cropsBefore)

  await command(eye.client, 'threshold', '0.99')
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 0.99), { scoreMin: 0.99 })
  await sleep(300)
  const strict = eye.of('crop').length
  await sleep(700)
  t.equal(eye.of('crop').length, strict, 'no drawn face scores as much')
  await command(eye.client, 'threshold', '0')
  const low = await eye.stateBecomes('set', ({ threshold }) => threshold === 0)
  t.ok(low.scoreMin > 0 && low.scoreMin < up.scoreMin, 'the state says what holds, not what was asked for')
  await command(eye.client, 'threshold', 'auto')
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 'auto'), { scoreMin: up.scoreMin })

  await command(eye.client, 'rate', '2')
  await eye.stateBecomes('set', ({ rate }) => rate === 2)
  await sleep(1500) // what the limit lets through at once at its beginning
  const slow = eye.of('crop').length
  await sleep(2000)
  const made = eye.of('crop').length - slow
  t.ok(made >= 2 && made <= 6, `${made} crops in two seconds`)

  await command(eye.client, 'snapshot', 'PRESS')
  await until('a snapshot', () => eye.of('snapshot').length > 0)
  const [snapshot] = eye.of('snapshot') as [Message]
  t.match(await sharp(snapshot.payload).metadata(), { format: 'jpeg', width: 1280, height: 720 })
  t.ok(snapshot.payload.length < 2e6)
  const said = readLive(snapshot.payload, 2e6)
  t.match(said, { frame: [1280, 720], paused: false, effect: undefined }, 'it says what was done to it')

  const late = await watch(t, broker.url)
  await late.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  await until('what is retained', () => late.states().length > 0)
  t.equal(late.of('state')[0]?.retain, true)
  await sleep(200)
  t.equal(late.of('snapshot').length, 0, 'a snapshot is not retained')

  const times = eye.of('state').map(({ atMs }) => atMs)
  const seconds = ((times.at(-1) as number) - (times[0] as number)) / 1000
  t.ok(times.length <= seconds + 2, `at most one state a second: ${times.length} in ${seconds} s`)
  await device.stop()
  await eye.stateBecomes('ended', ({ state }) => state === 'ended')
})

t.test('what is not understood is ignored, counted and said; what held still holds', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.publishAsync(`${BASE}/card/set/pause`, 'ON', { qos: 1, retain: true })
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const device = await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  const said = async (reason: string, text: RegExp) =>
    t.match((await device.line((line) => line.reason === reason)).msg, text)
  await said('retained', /retain flag/)
  for (const [what, payload, camera, reason, text] of [
    ['threshold', 'high', 'card', 'payload', /threshold accepts a number from 0 to 1, or auto/],
    ['explode', '', 'card', 'unknown command', /Known commands: pause, resume/],
    ['pause', 'ON', 'cellar', 'unknown camera', /This device has: card\./],
  ] as const) {
    await sleep(1100) // one line a second
    await command(eye.client, what, payload, camera)
    await said(reason, text)
  }
  for (const topic of [
    `${BASE}/set/pause`,
    `${BASE}/card/pause`,
    `${BASE}/card/set/pause/now`,
    'card/set/pause',
  ])
    await eye.client.publishAsync(topic, 'ON', { qos: 1 })
  await sleep(300)
  t.equal(await metric(device, 'commands_ignored_total'), 4)
  t.equal(await metric(device, 'commands_taken_total'), 0)
  t.match(eye.states().at(-1), { paused: false, threshold: 'auto', rate: 30 })
})

t.test('a command that is sent while the device is away arrives when it is back', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const device = await startDevice(t, broker.url)
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  await device.kill()
  await until('the will', () =>
    eye.came.some(({ topic, payload }) => topic === `${BASE}/status` && payload.includes('offline')),
  )
  await command(eye.client, 'rate', '3')
  await command(eye.client, 'pause', 'ON')
  await startDevice(t, broker.url)
  t.match(await eye.stateBecomes('paused', ({ paused }) => paused), { rate: 3 })
})

t.test('what was commanded outlives a kill; what cannot be read or kept is said', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  const folder = temporaryFolder(t)
  const start = async () => {
    eye.came.length = 0
    const device = await startDevice(t, broker.url, { remote: { folder } })
    await eye.stateBecomes('up', ({ state }) => state === 'up')
    return device
  }
  const first = await start()
  await command(eye.client, 'pause', 'ON')
  await command(eye.client, 'threshold', '0.9')
  await eye.stateBecomes('both hold', ({ paused, threshold }) => paused && threshold === 0.9)
  await first.kill()
  const second = await start()
  await second.line(({ msg, camera }) => /earlier commands still apply/.test(msg ?? '') && camera === 'card')
  t.match(eye.states().at(-1), { paused: true, threshold: 0.9, scoreMin: 0.9 })
  t.equal(eye.of('crop').length, 0)
  await command(eye.client, 'resume', '')
  await command(eye.client, 'threshold', 'auto')
  await eye.stateBecomes('neither holds', ({ paused, threshold }) => !paused && threshold === 'auto')
  await second.kill()
  const third = await start()
  t.match(eye.states().at(-1), { paused: false, threshold: 'auto' })
  t.notOk(third.log.some(({ msg }) => /earlier commands still apply/.test(msg ?? '')))
  await third.kill()

  const file = join(folder, 'commanded-lab-bench1.json')
  writeFileSync(file, '{"v":1,"cameras":{"card":{"paused":"perhaps"}}}')
  const fourth = await start()
  await fourth.line(({ msg }) => /cannot be read, so the configuration applies/.test(msg ?? ''))
  rmSync(folder, { recursive: true })
  writeFileSync(folder, 'no folder')
  await command(eye.client, 'pause', 'ON')
  await fourth.line(({ msg }) => /cannot be saved, and apply until the agent ends/.test(msg ?? ''))
  t.match(await eye.stateBecomes('it holds all the same', ({ paused }) => paused), { paused: true })
})

t.test('without remote control no command is followed and no state is published', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
  await startDevice(t, broker.url, { remote: { enabled: false } })
  await until('crops', () => eye.of('crop').length > 3)
  await command(eye.client, 'pause', 'ON')
  await sleep(300)
  const before = eye.of('crop').length
  await until('still crops', () => eye.of('crop').length > before + 3)
  t.equal(eye.of('state').length, 0)
})
