import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { duration, loadConfig, port, readSecret, size } from '../../lib/config.ts'
import { hostileConfig, judgeLoading } from '../kit/hostile-config.ts'
import { temporaryFolder } from '../kit/programs.ts'

const schema = z.strictObject({
  name: z.string().default('thing'),
  wait: duration().prefault('10s'),
  http: z.strictObject({ port: port().default(8080) }).prefault({}),
  store: z.strictObject({ bytesMax: size().prefault('1MB'), folder: z.string().optional() }).prefault({}),
  bridges: z.array(z.strictObject({ url: z.string(), retry: duration().optional() })).default([]),
})

function load(t: Tap, yaml: string | undefined, env: NodeJS.ProcessEnv = {}, overrides = {}) {
  const file = yaml === undefined ? undefined : join(temporaryFolder(t), 'conf.yaml')
  if (file !== undefined && yaml !== undefined) writeFileSync(file, yaml)
  return loadConfig(schema, { file, env, overrides })
}
type Tap = Parameters<typeof temporaryFolder>[0]

/** Without the folder in front of the file's name. */
function faultOf(run: () => unknown): { code: string; message: string } {
  try {
    run()
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return { code, message: message.replaceAll(/\/\S*conf\.yaml/g, 'conf.yaml') }
  }
  throw new Error('no error')
}

t.test('nothing given: the defaults, with units resolved', async (t) => {
  const config = {
    name: 'thing',
    wait: 10_000,
    http: { port: 8080 },
    store: { bytesMax: 1_000_000 },
    bridges: [],
  }
  t.strictSame(load(t, undefined), config)
  t.strictSame(load(t, ''), config, 'an empty file')
  t.strictSame(load(t, '# only a comment\n'), config)
})

t.test('defaults, then the file, then the environment, then the command line', async (t) => {
  const yaml = 'name: file\nwait: 1m\nhttp:\n  port: 1\n'
  const env = { SIGHTLINE_WAIT: '2m', SIGHTLINE_HTTP__PORT: '2' }
  t.match(load(t, yaml, env, { 'http.port': 3 }), { name: 'file', wait: 120_000, http: { port: 3 } })
})

t.test('the environment reaches nested keys, camel case and entries of lists', async (t) => {
  const config = load(t, 'bridges:\n  - url: a\n  - url: b\n', {
    SIGHTLINE_STORE__BYTES_MAX: '2KiB',
    SIGHTLINE_BRIDGES__1__URL: 'c',
    SIGHTLINE_TEST_SOMETHING: 'is for the tests alone',
    OTHER: 'x',
  })
  t.equal(config.store.bytesMax, 2048)
  t.strictSame(config.bridges, [{ url: 'a' }, { url: 'c' }])
})

t.test('an unknown key names file, line and key, wherever it stands', async (t) => {
  t.match(
    faultOf(() => load(t, 'name: x\nhttp:\n  prot: 1\n')),
    { code: 'CONFIG_INVALID', message: /^conf\.yaml:3: "http\.prot" is no setting/ },
  )
  t.match(
    faultOf(() => load(t, '\n\nnmae: x\n')),
    { message: /^conf\.yaml:3: "nmae" is no setting/ },
  )
  t.match(
    faultOf(() => load(t, 'bridges:\n  - url: a\n  - url: b\n    retyr: 1s\n')),
    { message: /^conf\.yaml:4: "bridges\.1\.retyr" is no setting/ },
  )
})

t.test('everything that is wrong is said at once, each with its line', async (t) => {
  const { message } = faultOf(() => load(t, 'wait: soon\nhttp:\n  port: 70000\nstore:\n  bytesMax: 5 cows\n'))
  t.match(message, /^conf\.yaml:1: "wait" must be a duration such as .*not "soon"/m)
  t.match(message, /^conf\.yaml:3: "http\.port" must be at most 65535, not 70000\.$/m)
  t.match(message, /^conf\.yaml:5: "store\.bytesMax" must be a size such as .*not "5 cows"/m)
  t.equal(message.split('\n').length, 3)
  t.match(
    faultOf(() => load(t, 'name: 5\nhttp: yes\nbridges: {}\n')),
    {
      message:
        /^conf\.yaml:1: "name" must be a string, not 5\.\nconf\.yaml:2: "http" must be an object, not "yes"\.\nconf\.yaml:3: "bridges" must be an array, not \{\}\.$/,
    },
  )
})

t.test('a value that is none of several says which there are', async (t) => {
  const choices = z.strictObject({
    on: z.boolean().optional(),
    mode: z.enum(['every', 'best']).optional(),
    rate: z.union([z.number(), z.literal('unlimited')]).optional(),
    bucket: z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('folder') }),
      z.strictObject({ type: z.literal('s3') }),
    ]),
  })
  const fault = (yaml: string) => {
    const file = join(temporaryFolder(t), 'conf.yaml')
    writeFileSync(file, yaml)
    return faultOf(() => loadConfig(choices, { file })).message.split('\n')
  }
  t.strictSame(fault('mode: never\nrate: fast\nbucket:\n  type: ftp\non: 7\n').sort(), [
    'conf.yaml:1: "mode" must be "every" or "best", not "never".',
    'conf.yaml:2: "rate" must be a number or "unlimited", not "fast".',
    'conf.yaml:4: "bucket.type" must be "folder" or "s3", not "ftp".',
    'conf.yaml:5: "on" must be true or false, not 7.',
  ])
  t.strictSame(fault('bucket: {}\n'), ['conf.yaml:1: "bucket.type" is missing: it must be "folder" or "s3".'])
})

t.test('a missing key names the place where it should be', async (t) => {
  t.match(
    faultOf(() => load(t, 'name: x\nbridges:\n  - retry: 1s\n')),
    { code: 'CONFIG_INVALID', message: /^conf\.yaml:[23]: "bridges\.0\.url" is missing/ },
  )
})

t.test('durations and sizes', async (t) => {
  const durations = {
    '500ms': 500,
    '1.5s': 1500,
    '2m': 120_000,
    '3h': 10_800_000,
    '7d': 604_800_000,
    '5 s': 5000,
  }
  for (const [text, ms] of Object.entries(durations)) t.equal(duration().parse(text), ms, text)
  for (const bad of ['10', 's', '-1s', '1w', '1e3s', '10S', '', 'Infinitys'])
    t.equal(duration().safeParse(bad).success, false, `"${bad}" is no duration`)
  const sizes = {
    '1B': 1,
    '64KB': 64_000,
    '1KiB': 1024,
    '1.5MB': 1_500_000,
    '2GiB': 2_147_483_648,
    '1 TB': 1e12,
  }
  for (const [text, bytes] of Object.entries(sizes)) t.equal(size().parse(text), bytes, text)
  for (const bad of ['64', 'KB', '1kb', '1 MiBs', '-1MB']) t.equal(size().safeParse(bad).success, false, bad)
  t.match(
    faultOf(() => load(t, 'wait: 10\n')),
    { message: /^conf\.yaml:1: "wait" .*duration.*10s/ },
    'a number without a unit says what to write',
  )
})

t.test('a wrong environment variable is named', async (t) => {
  t.match(
    faultOf(() => load(t, 'name: x\n', { SIGHTLINE_WIAT: '1s' })),
    { code: 'CONFIG_INVALID', message: /^environment variable SIGHTLINE_WIAT: "wiat" is no setting/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_HTTP__PORT: 'x' })),
    { message: /^environment variable SIGHTLINE_HTTP__PORT: "http\.port"/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_NAME__FIRST: 'x' })),
    { code: 'CONFIG_INVALID', message: /SIGHTLINE_NAME__FIRST/ },
  )
  t.match(
    faultOf(() => load(t, 'name: x\n', { SIGHTLINE_NAME__FIRST: 'x' })),
    { code: 'CONFIG_INVALID', message: /SIGHTLINE_NAME__FIRST: "name" has no keys below it/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_NAME: '@{: [' })),
    { code: 'CONFIG_SYNTAX', message: /SIGHTLINE_NAME: .*quotes/ },
  )
})

t.test('a file that cannot be read, or is no YAML, says so with its line', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'conf.yaml')
  t.match(
    faultOf(() => loadConfig(schema, { file })),
    { code: 'CONFIG_NOT_FOUND', message: /conf\.yaml does not exist/ },
  )
  mkdirSync(file)
  t.match(
    faultOf(() => loadConfig(schema, { file })),
    { code: 'CONFIG_NOT_FOUND', message: /is a folder/ },
  )
  t.match(
    faultOf(() => load(t, 'name: x\nhttp: {port: 1\nwait: 1s\n')),
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml:[23]: this is not YAML .*indented/ },
  )
  t.match(
    faultOf(() => load(t, 'name: x\nname: y\n')),
    { code: 'CONFIG_SYNTAX', message: /unique/ },
    'a key that stands twice',
  )
  for (const yaml of ['- a\n- b\n', 'just words\n', '42\n'])
    t.match(
      faultOf(() => load(t, yaml)),
      { code: 'CONFIG_SYNTAX', message: /^conf\.yaml:1: / },
    )
  t.match(
    faultOf(() => load(t, 'name: *nobody\n')),
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml: .*nobody/ },
    'an alias that leads nowhere',
  )
})

t.test('a password that is taken for a number is not repeated in the error', async (t) => {
  const secretive = z.strictObject({ password: z.string() })
  const env = { SIGHTLINE_PASSWORD: '12345' }
  t.match(
    faultOf(() => loadConfig(secretive, { env })),
    {
      message: /^environment variable SIGHTLINE_PASSWORD: "password" must be a string\. Put it in quotes\.$/,
    },
  )
})

t.test('secrets come from the configuration or from a file, not from both', async (t) => {
  const file = join(temporaryFolder(t), 'secret')
  writeFileSync(file, 'pass word \n')
  t.equal(readSecret('it', { passwordFile: file }), 'pass word ', 'the final newline is not part of it')
  t.equal(readSecret('it', { password: 'x' }), 'x')
  t.equal(readSecret('it', {}), undefined)
  t.throws(() => readSecret('it', { password: 'x', passwordFile: file }), { code: 'CONFIG_INVALID' })
  t.throws(() => readSecret('user "u"', { passwordFile: `${file}2` }), {
    code: 'CONFIG_NOT_FOUND',
    message: /user "u"/,
  })
})

t.test('an error stays short and can be read, whatever is in the file', async (t) => {
  t.match(
    faultOf(() => load(t, 'bridges: &a {b: *a}\n')),
    { message: /"bridges" must be an array, not something that contains itself\.$/ },
  )
  t.match(
    faultOf(() => load(t, 'wait: 99999999999999999999d\n')),
    { message: /"wait" must be a duration/ },
  )
  const many = faultOf(() => load(t, Array.from({ length: 5000 }, (_, n) => `k${n}: 1`).join('\n'))).message
  t.equal(many.split('\n').length, 21)
  t.match(many, /and 4980 more/)
  t.match(
    faultOf(() => load(t, `name: 5\n"\\e[2J${'x'.repeat(5000)}": 1\n`)),
    { message: /^[ -~\n]{1,600}$/ },
  )
  t.match(
    faultOf(() => load(t, `name: ${'x'.repeat(300_000)}`)),
    { code: 'CONFIG_SYNTAX', message: /more than any configuration/ },
  )
})

t.test('a variable reaches the entries that a list has, and the next', async (t) => {
  const yaml = 'bridges:\n  - url: a\n'
  t.match(load(t, yaml, { SIGHTLINE_BRIDGES__1: '{url: b}' }).bridges, [{ url: 'a' }, { url: 'b' }])
  for (const at of ['LENGTH', '4294967294', '-1', '2', 'MAP'])
    t.match(
      faultOf(() => load(t, yaml, { [`SIGHTLINE_BRIDGES__${at}`]: '9' })),
      { code: 'CONFIG_INVALID', message: /"bridges" is a list of 1/ },
      at,
    )
})

t.test('whatever is in file and environment: a configuration, or a sentence with a code', async (t) => {
  const folder = temporaryFolder(t)
  const kinds = new Set<string>()
  for (let seed = 0; seed < 60; seed += 1) {
    const { broken, kind } = judgeLoading(hostileConfig(seed), folder)
    if (broken !== undefined) t.fail(`seed ${seed}: ${broken}`)
    kinds.add(kind)
  }
  t.ok(kinds.size >= 3, [...kinds].join())
})
