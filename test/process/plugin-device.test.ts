import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { readCrop } from '../../wire/crop.ts'
import { anyEventSchema } from '../../wire/event.ts'
import { BASE, command, startDevice, watch } from '../device/commanded.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { moduleOf } from './plugged.ts'

t.test(
  'a device with plugins: attributes, events and its state at the broker; one that dies is started again',
  async (t) => {
    const broker = await Program.start(t, 'broker', brokerConfig(t))
    const eye = await watch(t, broker.url)
    await eye.client.subscribeAsync(`${BASE}/#`, { qos: 1 })
    const dies = moduleOf(
      t,
      `import { existsSync, writeFileSync } from 'node:fs'
      export default { version: '1', open({ folder }) {
        if (existsSync(folder + '/broken')) throw new Error('it is broken')
        let n = 0
        return { crop() {
          n += 1
          if (n < 4 || existsSync(folder + '/died')) return [{ name: 'n', label: 'x', score: 1 }]
          for (const mark of ['/broken', '/died']) writeFileSync(folder + mark, '')
          process.exit(1)
        } }
      } }`,
    )
    await startDevice(t, broker.url, {
      process: [
        { name: 'says', module: 'test/process/plugins/says.ts' },
        {
          name: 'brightness',
          module: 'plugins/brightness.ts',
          settings: { darkBelow: 250, lightAbove: 254 },
        },
        { name: 'blur', module: 'plugins/face-blur.ts' },
        { name: 'dies', module: dies, timeout: '10s' },
      ],
    })
    await until('the device runs', () => eye.of('crop').length > 4, 30_000)
    const down = await eye.stateBecomes(
      'the state says that one is down',
      ({ process = [] }) => process[3]?.state === 'down',
    )
    t.match(down.process, [
      { name: 'says', state: 'up', why: null },
      {},
      {},
      { name: 'dies', why: /ended by itself|it is broken/ },
    ])
    rmSync(join(dirname(dies), 'broken'))
    await until('and up again', () => eye.states().at(-1)?.process?.[3]?.state === 'up', 30_000)
    const crops = () => eye.of('crop').map(({ payload }) => readCrop(payload))
    const before = crops().length
    await until('crops go on', () => crops().length > before + 3)
    const said = crops().map((it) => ('crop' in it ? it.crop.attributes?.map(({ by }) => by) : undefined))
    t.ok(
      said.some((by) => by?.includes('says@1.2') && by.includes('dies@1')),
      'both have spoken',
    )
    await until('an event', () =>
      eye.of('event').some(({ payload }) => JSON.parse(`${payload}`).type === 'plugin'),
    )
    const events = eye.of('event').map(({ payload }) => anyEventSchema.parse(JSON.parse(`${payload}`)))
    t.match(
      events.find(({ type }) => type === 'plugin'),
      {
        plugin: 'brightness',
        by: 'brightness@1',
        name: 'dark',
        site: 'lab',
        device: 'bench1',
        camera: 'card',
      },
    )
    await command(eye.client, 'snapshot', '')
    await until('a snapshot, blurred', () => eye.of('snapshot').length > 0)
  },
)

t.test('one that is not there at the start: the device does not start', async (t) => {
  const device = await startDevice(t, 'mqtt://127.0.0.1:9', {
    process: [{ name: 'gone', module: 'gone.ts' }],
  }).catch((error: unknown) => error)
  t.match(`${device}`, /PLUGIN_NOT_FOUND/)
})
