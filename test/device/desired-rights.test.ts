import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Aedes } from 'aedes'
import t from 'tap'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { BASE, command, startDevice, watch } from './commanded.ts'
import { answers, desired, publish, TOPIC } from './desired-kit.ts'

/** Brokers that do not let a device have its configuration: its crops and commands go on. */

t.test('a user without the right to it is told, and goes on', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        {
          name: 'old',
          password: 'secret-1',
          publish: [
            `${BASE}/+/crop`,
            `${BASE}/status`,
            `${BASE}/+/event`,
            `${BASE}/+/state`,
            `${BASE}/reported`,
          ],
          subscribe: [`${BASE}/+/set/+`],
        },
        { name: 'console', role: 'console', password: 'secret-2' },
        { name: 'admin', role: 'admin', password: 'secret-3' },
      ],
    }),
  )
  const eye = await watch(t, broker.url, { username: 'console', password: 'secret-2' })
  for (const kind of ['+/state', 'reported'])
    await eye.client.subscribeAsync(`sightline/v1/+/+/${kind}`, { qos: 1 })
  await publish(eye.client, desired(1, { cameras: { card: { paused: true } } }))
  const device = await startDevice(t, broker.url, { broker: { username: 'old', password: 'secret-1' } })
  const said = await device.line(({ code }) => code === 'BROKER_REFUSED')
  t.match(said.msg, /configuration cannot be changed from the console.*role "device".*remote.desired.enabled/)
  await eye.stateBecomes('it is up', ({ state, crops }) => state === 'up' && crops > 5)
  const admin = await watch(t, broker.url, { username: 'admin', password: 'secret-3' })
  await command(admin.client, 'rate', '3')
  await eye.stateBecomes('commands are followed', ({ rate, paused }) => rate === 3 && !paused)
  t.match(await answers(eye).answers('it says what it is', () => true), { state: 'none', applied: null })
})

t.test(
  'a broker that ends the connection over it gets crops, and sends commands, all the same',
  async (t) => {
    let asked = 0
    const aedes = await Aedes.createBroker({
      authorizeSubscribe: (client, subscription, callback) => {
        if (subscription.topic !== TOPIC) return callback(null, subscription)
        asked += 1
        client.close()
        callback(new Error('no'))
      },
    })
    const came: { topic: string; text: string }[] = []
    aedes.on('publish', ({ topic, payload }, client) => {
      if (client) came.push({ topic, text: payload.toString('latin1') })
    })
    const server = createServer((socket) => {
      socket.on('error', () => {})
      aedes.handle(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
      aedes.close()
      server.close()
    })
    const device = await startDevice(t, `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const said = await device.line(({ code }) => code === 'BROKER_REFUSED')
    t.match(said.msg, /whenever this device subscribes to .*\/desired\. .*until the next connection ends/)
    t.equal(asked, 3)
    const crops = () => came.filter(({ topic }) => topic.endsWith('/crop')).length
    const before = crops()
    await until('crops', () => crops() > before + 10)
    const topic = `${BASE}/card/set/rate`
    aedes.publish(
      { cmd: 'publish', qos: 1, dup: false, retain: false, topic, payload: Buffer.from('3') },
      () => {},
    )
    await until('a command is followed', () =>
      came.some(({ topic, text }) => topic === `${BASE}/card/state` && JSON.parse(text).rate === 3),
    )
  },
)
