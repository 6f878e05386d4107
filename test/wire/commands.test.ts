import t from 'tap'
import { COMMAND_NAMES, type CommandName, isCommandName, readCommand } from '../../wire/commands.ts'
import { selectsMessage } from '../../wire/forget.ts'
import {
  commandFilter,
  commandTopic,
  discoveryId,
  discoveryTopic,
  parseCommandTopic,
} from '../../wire/topics.ts'

const read = (name: CommandName, text: string) => readCommand(name, Buffer.from(text))

t.test('each command takes what it says, in any case and with spaces around it', async (t) => {
  const pause = (paused: boolean) => ({ is: 'pause', paused })
  for (const text of ['', 'ON', 'on', ' On\n']) t.strictSame(read('pause', text), pause(true), text)
  t.strictSame(read('pause', 'OFF'), pause(false))
  for (const text of ['', 'ON']) t.strictSame(read('resume', text), pause(false))
  for (const [text, threshold] of [
    ['auto', 'auto'],
    ['0', 0],
    ['1', 1],
    ['0.75', 0.75],
    ['.5', 0.5],
    ['1.000', 1],
  ] as const)
    t.strictSame(read('threshold', text), { is: 'threshold', threshold })
  for (const [text, rate] of [
    ['unlimited', 'unlimited'],
    ['0.1', 0.1],
    ['30', 30],
    ['1000', 1000],
  ] as const)
    t.strictSame(read('rate', text), { is: 'rate', rate })
  for (const text of ['', 'PRESS', 'ON']) t.strictSame(read('snapshot', text), { is: 'snapshot' })
})

t.test('anything else is wrong, and what is taken is said', async (t) => {
  for (const [name, texts] of [
    ['pause', ['0', '1', 'true', 'ONN', 'O N', '{"state":"ON"}']],
    ['resume', ['OFF', 'x']],
    ['threshold', ['', '-0.1', '1.01', '2', '1e-1', 'NaN', 'Infinity', '0,5', '0x1', 'automatic', '٠.٥']],
    ['rate', ['', '0', '0.0', '-1', '1001', '1e2', 'Infinity', 'none']],
    ['snapshot', ['OFF', '1']],
  ] as const)
    for (const text of texts) t.match(read(name, text), { is: 'wrong', takes: /\w/ }, `${name} ${text}`)
  for (const name of COMMAND_NAMES) {
    t.match(readCommand(name, Buffer.alloc(1_000_000, ' ')), { is: 'wrong' }, 'not even looked at')
    t.match(readCommand(name, Buffer.from([0xff, 0xfe, 0])), { is: 'wrong' })
  }
  for (const name of ['', 'Pause', 'constructor', '__proto__', 'toString']) t.notOk(isCommandName(name), name)
})

t.test('a topic commands one camera of one device, or nothing', async (t) => {
  const device = { site: 'home', device: 'pi' }
  const topic = commandTopic('sightline/v1', { ...device, camera: 'door' }, 'pause')
  t.equal(topic, 'sightline/v1/home/pi/door/set/pause')
  t.equal(commandFilter('sightline/v1', device), 'sightline/v1/home/pi/+/set/+')
  const parse = (topic: string) => parseCommandTopic('sightline/v1', device, topic)
  t.strictSame(parse(topic), { camera: 'door', command: 'pause' })
  for (const other of [
    'sightline/v1/home/pi2/door/set/pause',
    'sightline/v1/home/pi/door/set/pause/x',
    'sightline/v1/home/pi/door/set',
    'sightline/v1/home/pi/door/get/pause',
    'sightline/v2/home/pi/door/set/pause',
    'door/set/pause',
    '',
  ])
    t.equal(parse(other), undefined, other)
})

t.test('no two devices share a discovery topic, whatever underscores their names hold', async (t) => {
  const ids = new Set<string>()
  const names = ['a', 'a_b', 'b', '_', '__', 'b_c', '1_a', 'a_1_b']
  for (const site of names) for (const device of names) ids.add(discoveryId({ site, device }))
  t.equal(ids.size, names.length ** 2)
  for (const id of ids) t.match(id, /^[a-zA-Z0-9_-]+$/, 'what Home Assistant takes')
  t.equal(
    discoveryTopic('homeassistant', { site: 'home', device: 'pi' }),
    'homeassistant/device/sightline_4_home_pi/config',
  )
})

t.test('forgetting a camera forgets what its state and its snapshots tell', async (t) => {
  const camera = { kind: 'camera', site: 'home', device: 'pi', camera: 'door' } as const
  for (const kind of ['crop', 'event', 'state', 'snapshot']) {
    t.ok(selectsMessage(camera, `sightline/v1/home/pi/door/${kind}`, Buffer.from('{}')), kind)
    t.notOk(selectsMessage(camera, `sightline/v1/home/pi/yard/${kind}`, Buffer.from('{}')), kind)
  }
})
