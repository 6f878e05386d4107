import t from 'tap'
import { checkDeviceConfig, deviceSchema } from '../../device/config.ts'

/** What the configuration of `listen` refuses before anything listens. */

const check = (listen: object) => checkDeviceConfig(deviceSchema.parse({ cameras: [], listen }))
const streamsFile = 'streams.yaml'
const tls = { certFile: 'device.pem', keyFile: 'device.key' }

for (const listener of ['rtmp', 'whip', 'http'] as const)
  t.test(`${listener} beyond this machine needs TLS, or that plaintext is accepted`, async (t) => {
    t.doesNotThrow(() => check({ streamsFile, [listener]: {} }), 'this machine alone')
    t.doesNotThrow(() => check({ streamsFile, [listener]: { host: '::1' } }))
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'door.example'])
      t.throws(
        () => check({ streamsFile, [listener]: { host } }),
        {
          code: 'CONFIG_UNSAFE_LISTENER',
          message: new RegExp(`^"listen\\.${listener}" opens .*without TLS.*"plaintext: true"`),
        },
        host,
      )
    t.doesNotThrow(() => check({ streamsFile, [listener]: { host: '0.0.0.0', tls } }))
    t.doesNotThrow(() => check({ streamsFile, [listener]: { host: '0.0.0.0', plaintext: true } }))
    t.throws(() => check({ streamsFile, [listener]: { tls, plaintext: true } }), {
      code: 'CONFIG_INVALID',
      message: /"tls" and "plaintext: true"\. Keep one\./,
    })
  })

t.test('who listens needs a streams file, and without one there must be a camera', async (t) => {
  const camera = { name: 'card', source: 'testcard' }
  const parsed = deviceSchema.parse({ cameras: [camera], listen: { rtmp: {} } })
  t.throws(() => checkDeviceConfig(parsed), {
    code: 'CONFIG_INVALID',
    message: /"listen\.rtmp" needs "listen\.streamsFile".*sightline streams add streams\.yaml CAMERA/,
  })
  const said = (config: object) => deviceSchema.safeParse(config).error?.issues.map(({ message }) => message)
  t.match(
    said({ cameras: [], listen: {} })?.[0],
    /must list at least one camera, unless "listen\.streamsFile"/,
  )
  t.equal(said({ cameras: [], listen: { streamsFile } }), undefined)
  t.match(
    said({ cameras: [{ name: 'door', source: 'push:door' }] })?.[0],
    /must not be a stream that comes to/,
  )
  t.match(said({ cameras: [], listen: { streamsFile, whip: { publicAddresses: ['door.example'] } } }), [
    'must be an IP address',
  ])
  t.match(said({ cameras: [], listen: { streamsFile, whip: { udpPorts: { from: 5000, to: 4000 } } } }), [
    'must be above "from"',
  ])
})
