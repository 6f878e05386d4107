import t from 'tap'
import { brokerConfig, consoleConfig, consoleEnvironment, Program } from '../kit/programs.ts'
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
          publish: [`${prefix}/+/+/+/set/+`],
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
  await until('it says so', async () => /^connected; .* denies client .*\/reported/.test(await line()))
  const device = await RawClient.open(t, broker.port, 'device', {
    clean: true,
    username: 'all',
    password: Buffer.from('secret'),
  })
  device.publish(`${prefix}/home/pi/status`, JSON.stringify({ v: 1, state: 'online', cameras: [] }), {
    retain: true,
  })
  t.ok((await console.health()).ok)
})
