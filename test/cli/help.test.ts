import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { brokerSchema } from '../../broker/config.ts'
import { subscriberSchema } from '../../cloud-subscriber/config.ts'
import { consoleSchema } from '../../console/config.ts'
import { deviceSchema } from '../../device/config.ts'
import { inferenceSchema } from '../../inference/config.ts'
import { loadConfig } from '../../lib/config.ts'
import { sightline } from './sightline.ts'

const ROOT = resolve(import.meta.dirname, '..', '..')
const CONF = join(ROOT, 'conf')
const COLUMNS_MAX = 80

const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  demo: ['--source', '--model', '--pace', '--loop', '--for', '--lan', '--data', '--port'],
  device: ['--config'],
  preview: ['--config', '--source', '--rate', '--port'],
  broker: ['--config'],
  subscriber: ['--config'],
  inference: ['--config'],
  config: ['--for'],
  doctor: ['--config', '--json'],
  models: [
    '--config',
    '--from',
    '--all',
    '--name',
    '--head',
    '--licence',
    '--labels',
    '--activation',
    '--channels',
    '--mean',
    '--scale',
    '--input',
    '--json',
  ],
  detect: [
    '--config',
    '--model',
    '--input',
    '--runtime',
    '--provider',
    '--score-min',
    '--draw',
    '--crops',
    '--iou',
    '--json',
  ],
  plugin: ['--folder', '--photo', '--camera', '--frames', '--settings', '--timeout', '--out', '--config'],
  healthcheck: ['--config'],
  queue: ['--max', '--json'],
  quarantine: ['--max', '--json', '--out', '--all'],
  forget: ['--device', '--camera', '--day', '--id', '--from', '--to', '--config', '--dry-run', '--yes'],
  link: ['--config', '--for'],
  users: [
    '--role',
    '--site',
    '--device',
    '--sites',
    '--cameras',
    '--rights',
    '--publish',
    '--subscribe',
    '--password-file',
    '--generate',
    '--no-password',
    '--json',
  ],
  certs: ['--name', '--host', '--days', '--new-key'],
  verify: ['--certs', '--config', '--camera', '--from', '--to', '--all', '--json'],
  secrets: [],
  deploy: [
    '--host',
    '--name',
    '--identity',
    '--known-hosts',
    '--config',
    '--join',
    '--inference',
    '--cloud',
    '--ca',
    '--user-file',
    '--camera',
    '--mount',
    '--gpu',
    '--address',
    '--mqtt-port',
    '--gallery-port',
    '--console-port',
    '--inference-port',
    '--s3-credentials',
    '--images',
    '--tag',
    '--build-arg',
    '--build-network',
    '--wait',
    '--out',
    '--shared',
    '--follow',
    '--tail',
    '--purge',
  ],
}

/** They take no value. */
const SWITCHES = [
  '--loop',
  '--lan',
  '--json',
  '--all',
  '--dry-run',
  '--yes',
  '--gpu',
  '--shared',
  '--follow',
  '--purge',
  '--new-key',
]

function checkWidth(t: { ok(value: boolean, message: string): void }, text: string): void {
  for (const line of text.split('\n'))
    t.ok([...line].length <= COLUMNS_MAX, `${[...line].length} columns: ${line}`)
}

t.test('--help lists every command, and fits the terminal', async (t) => {
  const { status, stdout, stderr } = await sightline(t, ['--help'])
  t.match({ status, stderr }, { status: 0, stderr: '' })
  for (const command of Object.keys(OPTIONS)) t.match(stdout, new RegExp(`^ {2}${command} +\\S`, 'm'))
  t.match(stdout, 'sightline demo', 'and where to start')
  checkWidth(t, stdout)
  t.equal((await sightline(t, ['help'])).stdout, stdout)
})

for (const [command, options] of Object.entries(OPTIONS)) {
  t.test(`${command} --help names exactly the options it takes`, async (t) => {
    const { status, stdout, stderr } = await sightline(t, [command, '--help'])
    t.match({ status, stderr }, { status: 0, stderr: '' })
    t.match(stdout, `Usage: sightline ${command}`)
    const named = [...stdout.matchAll(/^ {2}(--[a-z0-9-]+)/gm)].map(([, option]) => option)
    t.strictSame(named, [...options, '--help'])
    checkWidth(t, stdout)
  })
}

t.test('an option that a command is said to take is one that it takes', async (t) => {
  for (const [command, options] of Object.entries(OPTIONS)) {
    // With one that it does not take behind them nothing starts, and that one alone is complained of.
    const args = options.flatMap((option) => (SWITCHES.includes(option) ? [option] : [option, 'x']))
    const { status, sentence } = await sightline(t, [command, ...args, '--surely-not'])
    t.equal(status, 64)
    t.match(sentence, "'--surely-not'", command)
  }
})

t.test('--version says the version, and of Node', async (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const { status, stdout } = await sightline(t, ['--version'])
  t.equal(status, 0)
  t.equal(stdout, `sightline ${version} (Node ${process.versions.node})\n`)
})

/** The keys of a schema, at every depth: of objects, of the entries of lists, of each of several kinds. */
function keysOf(schema: unknown): string[] {
  const json = z.toJSONSchema(schema as z.ZodType, { io: 'input', unrepresentable: 'any' })
  const keys = new Set<string>()
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    const { properties, items, anyOf, oneOf, allOf } = node as Record<string, unknown>
    for (const [key, value] of Object.entries((properties ?? {}) as object)) {
      keys.add(key)
      visit(value)
    }
    visit(items)
    for (const several of [anyOf, oneOf, allOf]) if (Array.isArray(several)) several.forEach(visit)
  }
  visit(json)
  return [...keys]
}

t.test(
  'conf/ holds one reference a program: it parses to the defaults, and explains every key',
  async (t) => {
    for (const [file, schema] of [
      ['broker.yaml', brokerSchema],
      ['subscriber.yaml', subscriberSchema],
      ['console.yaml', consoleSchema],
      ['device.yaml', deviceSchema],
      ['inference.yaml', inferenceSchema],
    ] as const) {
      const path = join(CONF, file)
      t.strictSame(loadConfig(schema as z.ZodType, { file: path }), schema.parse({}), file)
      const text = readFileSync(path, 'utf8')
      const keys = keysOf(schema)
      t.ok(keys.length > 30, `${keys.length} keys`)
      // As a key of its own, in a comment, or within braces.
      for (const key of keys)
        t.match(text, new RegExp(`(^[ #-]*|[{,] *|: )${key}:`, 'm'), `${file} explains ${key}`)
    }
  },
)

t.test('every file in conf/ passes the check', async (t) => {
  const files = readdirSync(CONF)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
  t.ok(files.length >= 5)
  for (const file of files) {
    const { status, stdout, stderr } = await sightline(t, ['config', 'check', join(CONF, file)])
    t.match({ status, stderr }, { status: 0, stderr: '' })
    const program = file.replace('.yaml', '').replace(/^(edge|cloud)-/, '')
    t.match(stdout, `${file} is a valid configuration of the ${program}.`)
  }
})
