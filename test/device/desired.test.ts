import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DESIRED_AHEAD_MS_MAX, DESIRED_BYTES_MAX, digestOf } from '../../wire/desired.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { command, metric, startDevice } from './commanded.ts'
import { broker, desired, publish } from './desired-kit.ts'

/** A device is told what it shall be, by a real broker: what it takes holds, and what it does not take is said. */

t.test('what is desired holds, without the source being opened again, and the answer says so', async (t) => {
  const { url, eye, say, applied, answers, all } = await broker(t)
  const device = await startDevice(t, url)
  t.match(await answers('at its start', ({ state }) => state === 'none'), {
    applied: null,
    refused: null,
    allows: { cameras: false, streams: false, networks: [], signed: false },
    effective: {
      detect: { model: 'blazeface' },
      cameras: { card: { from: 'file', source: 'testcard', emit: { mode: 'every' } } },
    },
    models: ['blazeface'],
  })
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  const zones = [{ name: 'left', points: [[0, 0] as [number, number], [0.5, 0], [0.5, 1]] }]
  await say(5, {
    cameras: {
      card: { scoreMin: 0.9, zones, emit: { rateMax: 3, first: true }, view: { effect: 'outline' } },
    },
  })
  t.match((await applied(5)).effective.cameras.card, {
    ...{ scoreMin: 0.9, zones, emit: { mode: 'every', first: true, rateMax: 3 } },
    ...{ view: { effect: 'outline' }, record: { chunk: '3s' } },
  })
  const as5 = { threshold: 0.9, scoreMin: 0.9, rate: 3, effect: 'outline' }
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 0.9), as5)

  // A command is a change on top, until a configuration says otherwise of the same.
  await command(eye.client, 'threshold', '0.7')
  await command(eye.client, 'rate', '2')
  await eye.stateBecomes('commanded', ({ rate, threshold }) => rate === 2 && threshold === 0.7)
  await say(6, { cameras: { card: { paused: true, emit: { rateMax: 3 } } } })
  await applied(6)
  t.match(
    await eye.stateBecomes('paused', ({ paused }) => paused),
    { threshold: 'auto', rate: 2, effect: 'none' },
    'what is not said any more is as the file says; the rate was not changed',
  )
  t.equal(device.log.filter(({ msg }) => msg === 'camera opened').length, 1)

  const before = all().length
  await say(6, { cameras: { card: { paused: true, emit: { rateMax: 3 } } } })
  await until('the same is answered again', () => all().length > before)
  t.match(all().at(-1), { state: 'applied', version: 6, applied: { version: 6 } })
  t.equal(await metric(device, 'desired_applied_total'), 2)
})

t.test('what cannot be is refused whole, with its path, and what held goes on', async (t) => {
  const { url, eye, say, applied, refused, answers } = await broker(t)
  const folder = temporaryFolder(t)
  const device = await startDevice(t, url, { remote: { folder } })
  const content = { cameras: { card: { scoreMin: 0.8 } } }
  await say(10, content)
  await applied(10)
  let version = 10
  const no = async (content: unknown, code: string, path: readonly (string | number)[], says: RegExp) => {
    version += 1
    await say(version, content)
    const { applied, refused: why, effective } = await refused(version)
    t.match(why, { code, path, message: says }, JSON.stringify(content))
    t.match(
      { applied, effective },
      { applied: { version: 10 }, effective: { cameras: { card: { scoreMin: 0.8 } } } },
    )
  }
  const card = (settings: object) => ({ cameras: { card: { scoreMin: 0.1, ...settings } } })
  const at = (...path: string[]) => ['cameras', 'card', ...path]
  await no(
    card({ record: { chunk: '10ms' } }),
    'CONFIG_INVALID',
    at('record', 'chunk'),
    /must be from 0.5 to 60/,
  )
  await no(
    card({ region: { left: 0.5, top: 0, width: 0.6, height: 1 } }),
    'CONFIG_INVALID',
    at('region', 'width'),
    /inside/,
  )
  await no(card({ aspect: '4:3' }), 'CONFIG_INVALID', at('aspect'), /square pixels/)
  await no(
    card({ hologram: true }),
    'SETTING_UNKNOWN',
    at('hologram'),
    /Version .* does not know "cameras.card.hologram"/,
  )
  await no(card({ emit: { soon: 1 } }), 'SETTING_UNKNOWN', at('emit', 'soon'), /does not know/)
  await no(card({ scoreMin: 7 }), 'CONFIG_INVALID', at('scoreMin'), /scoreMin/)
  await no(
    { cameras: { cellar: { scoreMin: 0.1 } } },
    'CONFIG_INVALID',
    ['cameras', 'cellar'],
    /no camera "cellar"/,
  )
  await no({ cameras: [] }, 'CONFIG_INVALID', ['cameras'], /cameras/)
  await no(null, 'CONFIG_INVALID', [], /./)
  // What no console ever says.
  await no(card({ source: '/etc/passwd' }), 'CONFIG_INVALID', at('source'), /must be an address/)
  await no(card({ source: '/dev/video0' }), 'CONFIG_INVALID', at('source'), /must be an address/)
  await no(card({ passwordFile: '/etc/shadow' }), 'SETTING_UNKNOWN', at('passwordFile'), /does not know/)
  await no({ detect: { model: '../../evil.onnx' } }, 'CONFIG_INVALID', ['detect', 'model'], /catalogue/)
  await no({ detect: { model: 'evil.onnx' } }, 'MODEL_NOT_FOUND', ['detect', 'model'], /Unknown model/)
  await no({ detect: { modelFolder: '/tmp' } }, 'SETTING_UNKNOWN', ['detect', 'modelFolder'], /does not know/)
  await no({ broker: { url: 'mqtt://evil' } }, 'SETTING_UNKNOWN', ['broker'], /does not know/)
  // What its own file does not allow.
  const source = 'rtsp://203.0.113.7/live'
  await no(
    { cameras: { door: { source } } },
    'NOT_ALLOWED',
    ['cameras', 'door', 'source'],
    /may not be added/,
  )
  await no(card({ source }), 'NOT_ALLOWED', at('source'), /may not be changed/)
  await no({ removed: ['card'] }, 'NOT_ALLOWED', ['removed', 0], /may not be removed/)
  const stream = { keyHash: 'a'.repeat(64) }
  await no({ streams: { bell: stream } }, 'NOT_ALLOWED', ['streams', 'bell'], /listen.streamsFile/)

  // What is not what its console wrote.
  const wrong = async (what: string, document: unknown, code: string, says: RegExp) => {
    await publish(eye.client, document)
    const { applied } = await answers(
      what,
      ({ refused }) => refused?.code === code && says.test(refused.message),
    )
    t.equal(applied?.version, 10, what)
  }
  version += 1
  await wrong(
    'tampered with',
    { ...desired(version, content), content: { cameras: { card: { paused: true } } } },
    'DESIRED_INVALID',
    /changed on its way/,
  )
  await wrong("another device's", desired(version, {}, { device: 'other' }), 'NOT_ALLOWED', /for lab\/other/)
  await wrong("another site's", desired(version, {}, { site: 'other' }), 'NOT_ALLOWED', /for other\/bench1/)
  await wrong(
    'of the far future',
    desired(Date.now() + 2 * DESIRED_AHEAD_MS_MAX, {}),
    'DESIRED_AHEAD',
    /more than a day ahead/,
  )
  await wrong(
    'the same version, another content',
    desired(10, {}),
    'DESIRED_INVALID',
    /another configuration/,
  )
  await wrong(
    'of a version after which there is none',
    desired(Number.MAX_SAFE_INTEGER, {}),
    'DESIRED_AHEAD',
    /more than a day ahead/,
  )
  await wrong('no JSON', '{"v":', 'DESIRED_INVALID', /no JSON/)
  await wrong('no document', '[]', 'DESIRED_INVALID', /no configuration of a device/)
  await wrong(
    'of a later kind',
    { ...desired(version, {}), v: 2 },
    'DESIRED_INVALID',
    /that version .* reads/,
  )
  await wrong('too large', 'x'.repeat(DESIRED_BYTES_MAX + 1), 'DESIRED_INVALID', /limit is/)

  const state = await eye.stateBecomes('as before', ({ threshold }) => threshold === 0.8)
  t.match(state, { paused: false, effect: 'none' })
  t.ok((await metric(device, 'desired_refused_total')) > 20)
  const { url: http } = await device.line(({ msg }) => msg === 'health and metrics are served')
  const health = (await (await fetch(`${http}/healthz`)).json()) as { checks: Record<string, string> }
  t.match(health.checks.desired, /refused: /)

  // What cannot be kept does not hold.
  const file = join(folder, 'desired-lab-bench1.json')
  t.equal(statSync(file).mode & 0o777, 0o600, 'nobody else reads it')
  const kept = readFileSync(file)
  rmSync(folder, { recursive: true })
  writeFileSync(folder, 'no folder')
  await no({ cameras: { card: { scoreMin: 0.3 } } }, 'FOLDER_UNWRITABLE', [], /Cannot write/)
  t.match(JSON.parse(kept.toString()), { desired: { version: 10, digest: digestOf(content) } })
})

t.test('it holds after a restart without a network, and what no longer fits is said', async (t) => {
  const { url, eye, say, applied, answers, program } = await broker(t)
  const remote = { folder: temporaryFolder(t) }
  const first = await startDevice(t, url, { remote })
  await say(3, { cameras: { card: { scoreMin: 0.85, paused: true } } })
  await applied(3)
  await first.kill()

  const { port } = program
  await program.kill()
  const alone = await startDevice(t, url, { remote, preview: { enabled: true } })
  const { url: http } = await alone.line(({ msg }) => msg === 'health and metrics are served')
  const state = async () => (await (await fetch(`${http}/preview/state.json`)).json()) as object
  t.match(await state(), { cameras: [{ name: 'card', paused: true }] }, 'without a broker')
  await alone.kill()
  await program.start()
  t.equal(program.port, port)

  await eye.client.reconnect()
  await until('somebody reads again', () => eye.client.connected)
  await eye.client.subscribeAsync('sightline/v1/#', { qos: 1 })
  eye.came.length = 0
  const cameras = [{ name: 'other', source: 'testcard' }]
  const changed = await startDevice(t, url, { remote, cameras })
  const it = await answers('it does not fit', ({ state }) => state === 'refused')
  t.match(it, {
    applied: null,
    version: 3,
    refused: { code: 'CONFIG_INVALID', path: ['cameras', 'card'] },
    effective: { cameras: { other: { scoreMin: 'auto', paused: false } } },
  })
  await changed.kill()

  eye.came.length = 0
  writeFileSync(join(remote.folder, 'desired-lab-bench1.json'), '{"v":1,"desired"')
  const corrupt = await startDevice(t, url, { remote })
  t.match((await corrupt.line(({ code }) => code === 'DESIRED_INVALID')).msg, /cannot be read/)
  await applied(3) // it is retained
  t.match((await eye.stateBecomes('again', ({ paused }) => paused)).threshold, 0.85)
})

t.test('an older one changes nothing of what holds and was said', async (t) => {
  const { url, eye, say, applied, all } = await broker(t)
  const device = await startDevice(t, url)
  await say(20, { cameras: { card: { scoreMin: 0.8 } } })
  await applied(20)
  const before = all().length
  await say(19, { cameras: { card: { paused: true } } })
  await until('what holds is said again', () => all().length > before)
  t.match(all().at(-1), { state: 'applied', version: 20, refused: null, applied: { version: 20 } })
  t.match(await device.line(({ code }) => code === 'DESIRED_OLD'), { version: 19 })
  t.equal(await metric(device, 'desired_refused_total{reason="DESIRED_OLD"'), 1)
  t.equal(eye.states().at(-1)?.paused, false)
})

t.test('a version that was taken while the clock was not set keeps nothing out', async (t) => {
  const { url, say, applied } = await broker(t)
  const remote = { folder: temporaryFolder(t) }
  const file = join(remote.folder, 'desired-lab-bench1.json')
  const first = await startDevice(t, url, { remote })
  await say(20, { cameras: { card: { scoreMin: 0.8 } } })
  await applied(20)
  await first.kill()
  const kept = JSON.parse(readFileSync(file, 'utf8'))
  kept.desired.version = Date.now() + 2 * DESIRED_AHEAD_MS_MAX
  writeFileSync(file, JSON.stringify(kept))
  await startDevice(t, url, { remote })
  t.match(await applied(kept.desired.version), { effective: { cameras: { card: { scoreMin: 0.8 } } } })
  await say(21, { cameras: { card: { scoreMin: 0.7 } } })
  t.match(await applied(21), { effective: { cameras: { card: { scoreMin: 0.7 } } } })
})

t.test('who asks for no configuration takes none', async (t) => {
  const { url, eye, say, all } = await broker(t)
  await say(1, { cameras: { card: { paused: true } } })
  const device = await startDevice(t, url, { remote: { desired: { enabled: false } } })
  await eye.stateBecomes('up', ({ state, crops }) => state === 'up' && crops > 3)
  t.strictSame(all(), [])
  t.notOk(device.log.some(({ level }) => level >= 40))
})
