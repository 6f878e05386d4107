import t from 'tap'
import { brokerConfig, consoleConfig, consoleEnvironment, Program, RUN_TOKEN } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

t.test('a broker that knows less of a console: what it refuses is said, and the rest goes on', async (t) => {
  const prefix = 'sightline/v1'
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        {
          name: 'console',
          password: 'secret',
          publish: [`${prefix}/+/+/+/set/+`, `${prefix}/keepers/+`],
          subscribe: [
            `${prefix}/stored/+`,
            `${prefix}/keepers/+`,
            `${prefix}/+/+/status`,
            `${prefix}/+/+/+/state`,
          ],
        },
        { name: 'all', password: 'secret', publish: ['#'], subscribe: ['#'] },
      ],
    }),
  )
  const login = { username: 'console', password: 'secret' }
  const console = await Program.start(t, 'console', consoleConfig(t, broker.url, { broker: login }), {
    env: consoleEnvironment,
  })
  const line = async () => (await console.health()).checks.line ?? ''
  await until('it says so', async () =>
    /^connected; .* denies client .* the subscription to /.test(await line()),
  )
  const device = await RawClient.open(t, broker.port, 'device', {
    clean: true,
    username: 'all',
    password: Buffer.from('secret'),
  })
  const camera = { site: 'home', device: 'pi', camera: 'door' }
  const state = {
    ...{ v: 1, ...camera, state: 'up', why: null, paused: false },
    ...{ threshold: 'auto', scoreMin: 0.5, rate: 'unlimited', crops: 0, lastCrop: null },
  }
  device.publish(`${prefix}/home/pi/door/state`, JSON.stringify(state), { retain: true })
  const cameras = async () => {
    const headers = { authorization: `Bearer ${RUN_TOKEN}` }
    const answer = await fetch(`${console.http}/api/v1/cameras`, { headers })
    return ((await answer.json()) as { items: object[] }).items
  }
  await until('the camera is there', async () => (await cameras()).length === 1)
  t.match(await cameras(), [camera])
  t.ok((await console.health()).ok)
})
