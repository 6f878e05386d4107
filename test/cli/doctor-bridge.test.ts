import { join } from 'node:path'
import t from 'tap'
import { brokerSchema } from '../../broker/config.ts'
import { checkBridgeTopics } from '../../commands/doctor/bridge-topics.ts'
import { loadConfig } from '../../lib/config.ts'
import { configFile, sightline } from './sightline.ts'

const PREFIX = 'sightline/v1'
const COMMANDS = { filter: `${PREFIX}/home/+/+/set/+`, direction: 'down' }
const DESIRED = { filter: `${PREFIX}/home/+/desired`, direction: 'down' }
const REPORTED = { filter: `${PREFIX}/+/+/reported` }

function findings(topics: readonly object[]) {
  const [bridge] = brokerSchema.parse({ bridges: [{ url: 'mqtt://cloud.example:1883', topics }] }).bridges
  return bridge ? checkBridgeTopics(bridge, PREFIX) : []
}

t.test('a bridge of an earlier version, which brings commands alone, is told what it lacks', async (t) => {
  const [both, ...more] = findings([COMMANDS])
  t.strictSame(more, [])
  t.match(both, { level: 'warn', what: 'bridge cloud', todo: /\/desired" with .* and ".*\/reported"/ })
  t.match(findings([COMMANDS, DESIRED])[0]?.todo, /^Add to its "topics": "sightline\/v1\/\+\/\+\/reported";/)
  t.match(findings([COMMANDS, REPORTED])[0]?.todo, /^Add to its "topics": "sightline\/v1\/\+\/\+\/desired"/)
  t.strictSame(findings([COMMANDS, DESIRED, REPORTED]), [])
  t.strictSame(findings([{ filter: `${PREFIX}/+/+/+/crop` }]), [], 'nor commands: somebody wants it so')
})

t.test('the configuration that comes with Sightline lacks nothing', async (t) => {
  const file = join(import.meta.dirname, '..', '..', 'conf', 'edge-broker.yaml')
  for (const bridge of loadConfig(brokerSchema, { file, env: {} }).bridges)
    t.strictSame(checkBridgeTopics(bridge, PREFIX), [])
})

t.test('sightline doctor says it', async (t) => {
  const bridges = [{ url: 'mqtt://127.0.0.1:9', topics: [COMMANDS] }]
  const file = configFile(t, { listeners: [{ port: 0 }], http: { port: 0 }, bridges }, 'edge.yaml')
  const { stdout } = await sightline(t, ['doctor', '--config', file])
  t.match(stdout, /warn +bridge cloud.*what the console sets of devices/s)
})
