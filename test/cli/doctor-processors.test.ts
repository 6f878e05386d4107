import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkServer } from '../../commands/doctor/model.ts'
import { checkProcessor } from '../../commands/doctor/processors.ts'
import { deviceSchema } from '../../device/config.ts'
import { freePort } from '../kit/ports.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { COLOURS, kept, tinyModel } from '../process/tiny-models.ts'

t.test(
  'doctor opens classifiers and plugins as the agent does, and says what is wrong with one',
  async (t) => {
    const folder = temporaryFolder(t)
    const classify = { labels: ['red', 'green', 'blue'] }
    const { modelFolder } = kept(join(folder, 'models'), {
      colours: { bytes: tinyModel(COLOURS), entry: { classify } },
    })
    const module = join(folder, 'lamp.mjs')
    writeFileSync(module, 'export default { version: "1", open: () => ({ crop: () => [] }) }')
    const torn = join(folder, 'torn.mjs')
    writeFileSync(torn, 'export default { version: "1", open() { throw new Error("no key") } }')
    const { detect, process } = deviceSchema.parse({
      ...{
        site: 'home',
        device: 'door',
        cameras: [{ name: 'door', source: 'testcard' }],
        detect: { modelFolder },
      },
      process: [
        { name: 'hue', model: 'colours' },
        { name: 'mask', model: 'nosuch' },
        { name: 'lamp', module },
        { name: 'torn', module: torn },
      ],
    })
    const found = async (isRunning: boolean) =>
      await Promise.all(process.map((processor) => checkProcessor({ detect }, processor, isRunning)))
    t.match(await found(false), [
      { level: 'ok', what: 'classifier hue', found: /^opens in \d+ ms \(colours@[0-9a-f]{12}\)$/ },
      { level: 'FAIL', what: 'classifier mask', found: 'Unknown model "nosuch"', todo: /import FILE/ },
      { level: 'ok', what: 'plugin lamp', found: /\(lamp@1\)$/ },
      { level: 'FAIL', what: 'plugin torn', found: /no key .*torn\.mjs:1/, todo: /"process"/ },
    ])
    t.match(
      (await found(true)).slice(2),
      [{ level: 'skip' }, { level: 'skip' }],
      'what the agent has open is its own',
    )
  },
)

t.test('a server that is not there fails, with why', async (t) => {
  const address = `http://127.0.0.1:${await freePort()}`
  const config = deviceSchema.parse({
    ...{ site: 'home', device: 'door', cameras: [{ name: 'door', source: 'testcard' }] },
    detect: { runtime: 'remote', servers: { addresses: [address] } },
  })
  t.match(await checkServer(config, address, new AbortController().signal), [
    {
      level: 'FAIL',
      what: `inference server ${address}`,
      found: /^The inference server \S+ does not answer \(connection refused\)$/,
    },
  ])
})
