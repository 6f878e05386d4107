import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { readLive } from '../../wire/live.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { BASE, command, startDevice, watch } from './commanded.ts'

t.test(
  'an effect is switched while the camera runs, said in its state, and holds over a restart',
  async (t) => {
    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        users: [
          { name: 'bench1', role: 'device', site: 'lab', password: 'secret-1' },
          { name: 'boss', role: 'admin', password: 'secret-2' },
          { name: 'guard', role: 'operator', rights: ['live'], password: 'secret-3' },
        ],
      }),
    )
    const eye = await watch(t, broker.url, { username: 'boss', password: 'secret-2' })
    await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
    const settings = {
      broker: { username: 'bench1', password: 'secret-1' },
      remote: { folder: temporaryFolder(t) },
      cameras: [{ name: 'card', source: 'testcard', view: { effect: 'outline' } }],
    }
    const device = await startDevice(t, broker.url, settings)
    await eye.stateBecomes(
      'what the configuration says',
      ({ state, effect }) => state === 'up' && effect === 'outline',
    )
    const effects = () => eye.of('live').map(({ payload }) => readLive(payload)?.effect)
    await command(eye.client, 'live', '60')
    await until('outlines', () => effects().includes('outline'))
    t.equal(eye.of('original').length, 0)
    await command(eye.client, 'effect', 'pixelate')
    await eye.stateBecomes('pixelate', ({ effect }) => effect === 'pixelate')
    await until('pixelated', () => effects().at(-1) === 'pixelate')
    await command(eye.client, 'effect', 'blur')
    await device.line(({ reason }) => reason === 'payload')

    // Who may see the live picture and no recordings sees it with its effect, and can neither lift that nor ask for more.
    const guard = await watch(t, broker.url, { username: 'guard', password: 'secret-3' })
    await guard.client.subscribeAsync(`${BASE}/card/live`, { qos: 0 })
    await t.rejects(guard.client.subscribeAsync(`${BASE}/card/original`, { qos: 0 }), 'refused')

    await command(eye.client, 'original', '60')
    await until('both', () => eye.of('original').length > 3)
    await command(eye.client, 'original', '0')
    await sleep(300)
    const count = eye.of('original').length
    const times = (kind: string) => eye.of(kind).map(({ payload }) => readLive(payload)?.capturedAtMs)
    const processed = new Set(times('live'))
    t.ok(
      times('original').every((it) => processed.has(it)),
      'each is of a frame that went out processed too',
    )
    t.ok(eye.of('original').every(({ payload }) => readLive(payload)?.effect === undefined))
    await sleep(500)
    t.equal(eye.of('original').length, count, 'and none when nobody asks')
    t.equal(guard.of('original').length, 0)
    t.ok(guard.of('live').length > 0)

    await device.stop()
    await startDevice(t, broker.url, settings)
    await eye.stateBecomes('up again', ({ state, effect }) => state === 'up' && effect === 'pixelate')
  },
)
