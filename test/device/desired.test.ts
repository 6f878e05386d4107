import t from 'tap'
import { startDevice } from './commanded.ts'
import { broker } from './desired-kit.ts'

/** A device is told what it shall be, by a real broker: what it takes holds, and what it does not take is said. */

t.test('what is desired holds, without the source being opened again, and the answer says so', async (t) => {
  const { url, eye, say, applied, answers } = await broker(t)
  const device = await startDevice(t, url)
  t.match(await answers('at its start', ({ state }) => state === 'none'), {
    applied: null,
    refused: null,
    allows: { cameras: false, streams: false, networks: [], signed: false },
    effective: { detect: { model: 'blazeface' }, cameras: { card: { from: 'file', source: 'testcard' } } },
  })
  await eye.stateBecomes('up', ({ state }) => state === 'up')
  await say(5, { cameras: { card: { scoreMin: 0.9, emit: { rateMax: 3 }, view: { effect: 'outline' } } } })
  const it = await applied(5)
  t.match(it.effective.cameras.card, { scoreMin: 0.9, emit: { rateMax: 3 }, view: { effect: 'outline' } })
  t.match(await eye.stateBecomes('set', ({ threshold }) => threshold === 0.9), {
    scoreMin: 0.9,
    rate: 3,
    effect: 'outline',
  })
  await say(6, { cameras: { card: { paused: true } } })
  await applied(6)
  t.match(
    await eye.stateBecomes('paused', ({ paused }) => paused),
    { threshold: 'auto', rate: 30, effect: 'none' },
    'what is not said any more is as the file says',
  )
  t.equal(device.log.filter(({ msg }) => msg === 'camera opened').length, 1)
  await device.stop()
})

t.test('what cannot be is refused with its path, and what held goes on', async (t) => {
  const { url, eye, say, applied, refused } = await broker(t)
  await startDevice(t, url)
  await say(1, { cameras: { card: { scoreMin: 0.8 } } })
  await applied(1)
  await say(2, { cameras: { card: { scoreMin: 0.1, record: { chunk: '10ms' } } } })
  const no = await refused(2)
  t.match(no, {
    applied: { version: 1 },
    refused: { code: 'CONFIG_INVALID', path: ['cameras', 'card', 'record', 'chunk'] },
    effective: { cameras: { card: { scoreMin: 0.8 } } },
  })
  t.match(await eye.stateBecomes('as before', ({ threshold }) => threshold === 0.8), { scoreMin: 0.8 })
})
