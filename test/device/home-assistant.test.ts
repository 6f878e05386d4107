import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { discovery } from '../../device/link/home-assistant.ts'
import { brokerConfig, Program } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { BASE, metric, startDevice, watch } from './commanded.ts'

/**
 * The discovery message against what the documentation of Home Assistant's MQTT integration asks for: "Device discovery
 * payload", and the options of the platforms image, sensor, switch, number and button.
 */

type Options = Readonly<Record<string, unknown>>

const COMMON = [
  'platform',
  'unique_id',
  'name',
  'icon',
  'entity_category',
  'json_attributes_topic',
  'json_attributes_template',
]
const PLATFORMS: Readonly<
  Record<string, { readonly required: readonly string[]; readonly optional: readonly string[] }>
> = {
  image: { required: ['image_topic'], optional: ['content_type'] },
  sensor: {
    required: ['state_topic'],
    optional: ['value_template', 'device_class', 'state_class', 'options', 'unit_of_measurement'],
  },
  switch: {
    required: ['command_topic'],
    optional: ['state_topic', 'value_template', 'payload_on', 'payload_off', 'state_on', 'state_off'],
  },
  number: {
    required: ['command_topic'],
    optional: ['state_topic', 'value_template', 'min', 'max', 'step', 'mode', 'unit_of_measurement'],
  },
  button: { required: ['command_topic'], optional: ['payload_press'] },
}
const SHARED = [
  'device',
  'origin',
  'components',
  'availability_topic',
  'availability_template',
  'payload_available',
  'payload_not_available',
  'qos',
]

interface Payload {
  readonly device: Options
  readonly origin: Options
  readonly components: Readonly<Record<string, Options>>
  readonly availability_topic: string
}

function configure(settings: object) {
  return deviceSchema.parse({ homeAssistant: { enabled: true }, ...settings })
}

t.test('the message has what the documentation asks for, and no key that it does not know', async (t) => {
  const cameras = ['door', 'door_face', 'yard'].map((name) => ({ name, source: 'testcard' }))
  const { topic, payload } = discovery(configure({ site: 'my_home', device: 'pi_1', cameras }), 'blazeface')
  t.match(topic, /^homeassistant\/device\/[a-zA-Z0-9_-]+\/config$/)
  const { device, origin, components, ...shared } = JSON.parse(payload) as Payload
  for (const key of Object.keys(shared)) t.ok(SHARED.includes(key), key)
  t.strictSame(device.identifiers, ['sightline_7_my_home_pi_1'])
  t.type(device.name, 'string')
  t.type(origin.name, 'string')
  t.equal(Object.keys(components).length, cameras.length * 11)
  for (const [key, options] of Object.entries(components)) {
    const platform = PLATFORMS[String(options.platform)]
    if (!platform) return t.fail(`${key}: ${options.platform} is no platform`)
    for (const needed of ['unique_id', ...platform.required])
      t.type(options[needed], 'string', `${key}.${needed}`)
    for (const option of Object.keys(options))
      t.ok([...COMMON, ...platform.required, ...platform.optional].includes(option), `${key}.${option}`)
    if (options.platform === 'number') {
      t.ok(Number(options.min) < Number(options.max) && Number(options.step) >= 0.001, key)
      t.ok(['auto', 'box', 'slider'].includes(String(options.mode)), key)
    }
    if (options.device_class === 'enum') t.ok(Array.isArray(options.options) && !options.state_class, key)
    if (options.device_class === 'timestamp') t.notOk(options.state_class ?? options.unit_of_measurement, key)
    if (options.entity_category !== undefined)
      t.ok(['config', 'diagnostic'].includes(String(options.entity_category)), key)
    // A sensor or a picture has nothing to configure.
    if (options.entity_category === 'config') t.ok(options.command_topic, key)
  }
  const ids = Object.values(components).map(({ unique_id }) => unique_id)
  t.equal(new Set(ids).size, ids.length, 'unique ids are unique')
})

t.test('who looks for faces is a sensor where there are inference servers', async (t) => {
  const cameras = [{ name: 'door', source: 'testcard' }]
  const detect = { runtime: 'remote', servers: { addresses: ['http://127.0.0.1:8500'] } }
  const of = (settings: object) => {
    const { payload } = discovery(
      configure({ site: 'home', device: 'pi', cameras, ...settings }),
      'blazeface',
    )
    return (JSON.parse(payload) as Payload).components
  }
  t.notOk(of({}).door_detect)
  const options = of({ detect }).door_detect
  t.match(options, { platform: 'sensor', device_class: 'enum', options: ['local', 'remote', 'none'] })
  for (const key of Object.keys(options ?? {}))
    t.ok(
      [...COMMON, ...(PLATFORMS.sensor?.required ?? []), ...(PLATFORMS.sensor?.optional ?? [])].includes(key),
      key,
    )
})

t.test('unique ids are unique across devices whose names hold underscores', async (t) => {
  const ids = new Set<unknown>()
  let count = 0
  for (const [site, device, camera] of [
    ['a', 'b_c', 'd'],
    ['a', 'b', 'c_d'],
    ['a_b', 'c', 'd'],
    ['a', 'b', 'c_d_face'],
  ] as const) {
    const config = configure({ site, device, cameras: [{ name: camera, source: 'testcard' }] })
    const { components } = JSON.parse(discovery(config, 'm').payload) as Payload
    for (const { unique_id } of Object.values(components)) {
      ids.add(unique_id)
      count += 1
    }
  }
  t.equal(ids.size, count)
})

t.test('over a broker: what it names is published, and what it commands is followed', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      users: [
        { name: 'bench1', role: 'device', site: 'lab', password: 'secret-1' },
        { name: 'ha', role: 'operator', password: 'secret-2' },
      ],
    }),
  )
  const device = await startDevice(t, broker.url, {
    homeAssistant: { enabled: true },
    broker: { username: 'bench1', password: 'secret-1' },
  })
  const eye = await watch(t, broker.url, { username: 'ha', password: 'secret-2' })
  // As Home Assistant subscribes, late: the message is retained.
  await until('the message is retained', async () => {
    await eye.client.subscribeAsync(['homeassistant/+/+/config', 'homeassistant/+/+/+/config'])
    return eye.came.length > 0
  })
  const [message] = eye.came
  t.equal(message?.topic, 'homeassistant/device/sightline_3_lab_bench1/config')
  const { components, availability_topic } = JSON.parse(String(message?.payload)) as Payload

  const named = new Set([availability_topic])
  for (const options of Object.values(components))
    for (const [key, value] of Object.entries(options))
      if (key.endsWith('_topic') && key !== 'command_topic') named.add(String(value))
  t.strictSame([...named].sort(), [
    `${BASE}/card/crop`,
    `${BASE}/card/snapshot`,
    `${BASE}/card/state`,
    `${BASE}/status`,
  ])
  for (const topic of named) await eye.client.subscribeAsync(topic, { qos: 1 })
  await eye.stateBecomes('crops', ({ crops }) => crops > 0)

  let commands = 0
  for (const { platform, command_topic, ...options } of Object.values(components)) {
    if (command_topic === undefined) continue
    const payloads =
      platform === 'switch'
        ? [options.payload_on, options.payload_off]
        : platform === 'number'
          ? [options.min, options.max]
          : [options.payload_press]
    for (const payload of payloads) {
      await eye.client.publishAsync(String(command_topic), String(payload), { qos: 1 })
      commands += 1
      const atLeast = commands
      await until(`${command_topic} ${payload} is followed`, async () => {
        return (await metric(device, 'commands_taken_total')) === atLeast
      })
    }
    // A threshold of 1 lets no face through, a picture still.
    if (platform === 'button') await until('the snapshot', () => eye.of('snapshot').length > 0)
  }
  t.equal(commands, 7)
  const state = await eye.stateBecomes(
    'the last of each',
    ({ threshold, rate }) => threshold === 1 && rate === 1000,
  )
  const fields = Object.values(components).flatMap(({ value_template: template }) =>
    [...String(template ?? '').matchAll(/value_json\.(\w+)/g)].map(([, field]) => String(field)),
  )
  t.ok(fields.length >= 5, fields.join(' '))
  for (const field of fields) t.ok(Object.hasOwn(state, field), `the state has ${field}`)
  const status = eye.came.filter(({ topic }) => topic === availability_topic).at(-1)
  t.equal(JSON.parse(String(status?.payload)).state, 'online')
  for (const topic of named)
    t.ok(
      eye.came.some((it) => it.topic === topic),
      `${topic} is published`,
    )
})

t.test('without remote control there is nothing to set, and what is seen is told all the same', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t))
  const eye = await watch(t, broker.url)
  await eye.client.subscribeAsync('#', { qos: 1 })
  await startDevice(t, broker.url, {
    homeAssistant: { enabled: true, prefix: 'ha/own' },
    remote: { enabled: false },
  })
  await eye.stateBecomes('crops', ({ crops }) => crops > 0)
  const found = eye.came.find(({ topic }) => topic === 'ha/own/device/sightline_3_lab_bench1/config')
  const { components } = JSON.parse(String(found?.payload)) as Payload
  t.strictSame(
    Object.values(components).map(({ platform }) => platform),
    ['image', ...Array(5).fill('sensor')],
  )
})
