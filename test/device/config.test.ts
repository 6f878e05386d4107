import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { deviceSchema } from '../../device/config.ts'
import { loadConfig } from '../../lib/config.ts'

const REFERENCE = join(import.meta.dirname, '..', '..', 'conf', 'device.yaml')

t.test('the reference file parses to exactly the defaults', async (t) => {
  t.strictSame(loadConfig(deviceSchema, { file: REFERENCE }), loadConfig(deviceSchema, {}))
})

t.test('an error names file, line and key', async (t) => {
  const file = join(t.testdir(), 'device.yaml')
  const check = (yaml: string, expected: RegExp) => {
    writeFileSync(file, yaml)
    t.throws(() => loadConfig(deviceSchema, { file }), { code: 'CONFIG_INVALID', message: expected }, yaml)
  }
  check('site: home\nsiet: home\n', /device\.yaml:2: unknown setting "siet"/)
  check('cameras:\n  - name: a b\n    source: testcard\n', /device\.yaml:2: "cameras\.0\.name"/)
  check('cameras:\n  - name: a\n    source: gopher://x\n', /device\.yaml:3: "cameras\.0\.source".*testcard/)
  check('cameras:\n  - {name: a, source: x}\n  - {name: a, source: y}\n', /each camera its own name/)
  check('cameras: []\n', /at least one camera/)
  check('broker:\n  password: a\n  passwordFile: b\n', /device\.yaml:3: "broker\.passwordFile"/)
  check('broker: {url: "http://x"}\n', /mqtt:\/\/127/)
  check('topicPrefix: a/+/b\n', /topicPrefix/)
})

t.test('the environment sets what lies deeper', async (t) => {
  const config = loadConfig(deviceSchema, {
    env: { SIGHTLINE_BROKER__URL: 'mqtts://b:8883', SIGHTLINE_PENDING__BYTES_MAX: '1MB' },
  })
  t.equal(config.broker.url, 'mqtts://b:8883')
  t.equal(config.pending.bytesMax, 1_000_000)
})
