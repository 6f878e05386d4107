import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { duration, loadConfig, port, readSecret, size } from '../../lib/config.ts'
import { COMPOSE_VARIABLES, misspeltIn } from '../../lib/variables.ts'
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
    { code: 'CONFIG_INVALID', message: /^conf\.yaml:3: unknown setting "http\.prot"/ },
  )
  t.match(
    faultOf(() => load(t, '\n\nnmae: x\n')),
    { message: /^conf\.yaml:3: unknown setting "nmae"/ },
  )
  t.match(
    faultOf(() => load(t, 'bridges:\n  - url: a\n  - url: b\n    retyr: 1s\n')),
    { message: /^conf\.yaml:4: unknown setting "bridges\.1\.retyr"/ },
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
    faultOf(() => load(t, undefined, { SIGHTLINE_HTTP__PORT: 'x' })),
    { message: /^environment variable SIGHTLINE_HTTP__PORT: "http\.port" must be a number, not "x"/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_HTTP__PORT: '' })),
    { message: /^environment variable SIGHTLINE_HTTP__PORT: "http\.port" must be a number, not ""/ },
    'an empty one',
  )
  t.match(
    faultOf(() => load(t, 'http: 5\n', { SIGHTLINE_HTTP__PORT: '1' })),
    { code: 'CONFIG_INVALID', message: /SIGHTLINE_HTTP__PORT: "http" has no keys below it/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_BRIDGES: '@{: [' })),
    { code: 'CONFIG_SYNTAX', message: /SIGHTLINE_BRIDGES: invalid YAML for "bridges"/ },
  )
  t.match(
    faultOf(() => load(t, undefined, { SIGHTLINE_NAME: 'x'.repeat(20_000) })),
    { code: 'CONFIG_SYNTAX', message: /SIGHTLINE_NAME: too long \(20000 characters/ },
  )
  t.match(
    faultOf(() => load(t, 'bridges:\n  - retry: 1s\n', {})),
    { message: /"bridges\.0\.url" is missing\..* SIGHTLINE_BRIDGES__0__URL / },
    'what is missing could come from there',
  )
})

/** What people put into passwords, names and paths. */
const TEXTS = [
  ...['s3cret #1', '1234567', '0123', '007', '1e3', '0x1F', '.5', 'null', '~', 'true', 'yes', 'no', ''],
  ...[
    ' leading',
    'trailing ',
    'a: b',
    '- a',
    '[a',
    '{a: b}',
    '*a',
    '&a',
    '!a',
    '"quoted"',
    "'quoted'",
    "it's",
  ],
  ...[
    'two\nlines',
    'tab\t',
    '\\n',
    '%a',
    '@a',
    '`a`',
    '|',
    '>',
    '#',
    '2001-01-01',
    '---',
    'é',
    '$HOME',
    '$x',
  ],
]

t.test('where a string is wanted the text of a variable is taken as it is', async (t) => {
  const several = z.strictObject({
    password: z.string().optional(),
    user: z.strictObject({ name: z.string().refine(() => true) }).optional(),
    kind: z
      .discriminatedUnion('type', [
        z.strictObject({ type: z.literal('a').optional().default('a'), path: z.string() }),
        z.strictObject({ type: z.literal('b'), path: z.string(), count: z.number() }),
      ])
      .optional(),
    topics: z.array(z.string()).prefault(['default']),
  })
  for (const text of TEXTS) {
    const env = {
      SIGHTLINE_PASSWORD: text,
      SIGHTLINE_USER__NAME: text,
      SIGHTLINE_KIND__PATH: text,
      SIGHTLINE_TOPICS__0: text,
    }
    t.strictSame(
      loadConfig(several, { env }),
      { password: text, user: { name: text }, kind: { type: 'a', path: text }, topics: [text] },
      JSON.stringify(text),
    )
  }
})

t.test('other settings are read from a variable as they are from a file', async (t) => {
  const several = z.strictObject({
    count: z.number().optional(),
    on: z.boolean().optional(),
    mode: z.enum(['every', 'best']).optional(),
    rate: z.union([z.number(), z.literal('unlimited')]).optional(),
    wait: duration().optional(),
    bytes: size().optional(),
    list: z.array(z.strictObject({ name: z.string() })).optional(),
    tuple: z.tuple([z.number(), z.number()]).optional(),
    either: z.union([z.literal(4), z.literal(5)]).optional(),
    section: z.strictObject({ on: z.boolean().default(true) }).optional(),
  })
  const read = (name: string, text: string) =>
    loadConfig(several, { env: { [`SIGHTLINE_${name}`]: text } }) as Record<string, unknown>
  for (const [name, text, value] of [
    ['COUNT', '1e3', 1000],
    ['COUNT', ' 5\r', 5],
    ['ON', 'false', false],
    ['MODE', 'best\r', 'best'],
    ['RATE', '2.5', 2.5],
    ['RATE', 'unlimited', 'unlimited'],
    ['WAIT', '10s', 10_000],
    ['BYTES', '64KB ', 64_000],
    ['LIST', '[{name: a}]', [{ name: 'a' }]],
    ['LIST', '[{"name": "7"}]', [{ name: '7' }]],
    ['TUPLE', '[1, 2]', [1, 2]],
    ['EITHER', '5', 5],
    ['SECTION', '{on: false}', { on: false }],
    ['SECTION', '~', { on: true }],
  ] as const)
    t.strictSame(read(name, text)[name.toLowerCase()], value, `${name}=${text}`)
  for (const [name, text, says] of [
    ['COUNT', 'many', /"count" must be a number, not "many"/],
    ['ON', 'yes', /"on" must be true or false, not "yes"/],
    ['MODE', 'never', /"mode" must be "every" or "best", not "never"/],
    ['RATE', 'fast', /"rate" must be a number or "unlimited", not "fast"/],
    ['WAIT', '10', /"wait" must be a duration such as .*, not "10"/],
    ['LIST', 'a', /"list" must be an array, not "a"/],
    ['SECTION', '', /"section" must be an object, not ""/],
  ] as const)
    t.match(
      faultOf(() => read(name, text)),
      {
        code: 'CONFIG_INVALID',
        message: new RegExp(`^environment variable SIGHTLINE_${name}: ${says.source}`),
      },
    )
})

t.test(
  'a section comes before what is in it, and entries in their order, however the environment is sorted',
  async (t) => {
    const env = {
      SIGHTLINE_BRIDGES__10__URL: 'k',
      SIGHTLINE_BRIDGES__9__URL: 'j2',
      SIGHTLINE_STORE__FOLDER: 'there',
      SIGHTLINE_STORE: '{folder: here, bytesMax: 2MB}',
      SIGHTLINE_BRIDGES: JSON.stringify([...'abcdefghij'].map((url) => ({ url }))),
    }
    const config = load(t, undefined, env)
    t.strictSame(config.store, { folder: 'there', bytesMax: 2_000_000 })
    t.strictSame(config.bridges.map(({ url }) => url).slice(-2), ['j2', 'k'])
  },
)

t.test('a variable reaches into a list that the file leaves out: it begins as its default', async (t) => {
  const list = z.strictObject({
    listeners: z
      .array(z.strictObject({ port: port().default(1), host: z.string().default('h') }))
      .prefault([{}]),
    bridges: z.array(z.strictObject({ url: z.string() })).default([]),
  })
  const env = { SIGHTLINE_LISTENERS__0__PORT: '5', SIGHTLINE_BRIDGES__0__URL: 'u' }
  t.strictSame(loadConfig(list, { env }), { listeners: [{ port: 5, host: 'h' }], bridges: [{ url: 'u' }] })
  t.strictSame(loadConfig(list, {}).listeners, [{ port: 1, host: 'h' }], 'the default itself is as it was')
})

t.test('variables that nobody meant for us are left alone', async (t) => {
  const env = {
    SIGHTLINE_VERSION: '0.1.0',
    SIGHTLINE_PORT: 'tcp://10.0.0.1:80',
    SIGHTLINE_PORT_80_TCP: 'tcp://10.0.0.1:80',
    SIGHTLINE_PORT_80_TCP_ADDR: '10.0.0.1',
    SIGHTLINE_SERVICE_HOST: '10.0.0.1',
    SIGHTLINE_SERVICE_PORT: '80',
    SIGHTLINE_HTTP_PORT: 'tcp://10.0.0.1:80',
    SIGHTLINE_HTTP_PORT_9102_TCP_PROTO: 'tcp',
    SIGHTLINE_HTTP_SERVICE_HOST: '10.0.0.1',
    SIGHTLINE_HTTP_SERVICE_PORT_WEB: '80',
    SIGHTLINE_NAME: '/other/sightline',
    SIGHTLINE_CAMERA: '/dev/video0',
    SIGHTLINE_ELSEWHERE__SETTING: 'x',
    SIGHTLINE_: '',
  }
  t.strictSame(load(t, undefined, env), load(t, undefined))
  t.strictSame(misspeltIn(schema, env), [])
})

t.test('a setting that is probably misspelt is said, with the one that was probably meant', async (t) => {
  for (const [name, meant] of [
    ['SIGHTLINE_WIAT', 'SIGHTLINE_WAIT'],
    ['SIGHTLINE_HTTP_PORT', 'SIGHTLINE_HTTP__PORT'],
    ['SIGHTLINE_HTTP__PROT', 'SIGHTLINE_HTTP__PORT'],
    ['SIGHTLINE_STORE__BYTESMAX', 'SIGHTLINE_STORE__BYTES_MAX'],
    ['SIGHTLINE_STORES__FOLDER', 'SIGHTLINE_STORE__FOLDER'],
    ['SIGHTLINE_BRIDGES__3__ULR', 'SIGHTLINE_BRIDGES__3__URL'],
    ['SIGHTLINE_BRIDGES__URL__3', undefined],
    ['SIGHTLINE_STORE__COLOUR', undefined],
    ['SIGHTLINE_NAME__FIRST', undefined],
  ] as const) {
    t.strictSame(load(t, undefined, { [name]: '9' }), load(t, undefined), `${name} does not stop the start`)
    const [sentence, ...more] = misspeltIn(schema, { [name]: '9' })
    t.match(
      sentence,
      meant ? `Unknown setting in environment variable ${name}; it is ignored. Did you mean ${meant}?` : name,
    )
    t.strictSame(more, [])
  }
})

t.test('the variables of the Compose files and of secrets.sh are known', async (t) => {
  const folder = resolve(import.meta.dirname, '..', '..', 'docker')
  const text = readdirSync(folder)
    .filter((file) => /^compose\.|\.sh$/.test(file))
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .join()
  const used = new Set([...text.matchAll(/\$\{(SIGHTLINE_\w+)/g)].map(([, name]) => name as string))
  t.strictSame([...used].sort(), [...COMPOSE_VARIABLES].sort())
})

t.test('a section in which each line is a comment is one that is left out', async (t) => {
  t.strictSame(load(t, 'http:\nstore:\n  # folder: x\nname: a\n'), load(t, 'name: a\n'))
  const secured = z.strictObject({ tls: z.strictObject({ certFile: z.string() }).optional() })
  const file = join(temporaryFolder(t), 'conf.yaml')
  writeFileSync(file, 'tls:\n')
  t.match(
    faultOf(() => loadConfig(secured, { file })),
    { message: /"tls\.certFile" is missing/ },
    'but for what it must have',
  )
})

t.test('merge keys', async (t) => {
  const yaml = 'bridges:\n  - &a {url: u, retry: 5s}\n  - <<: *a\n    url: v\n'
  t.strictSame(load(t, yaml).bridges, [
    { url: 'u', retry: 5000 },
    { url: 'v', retry: 5000 },
  ])
  t.match(
    faultOf(() => load(t, 'bridges:\n  - &a {url: u, prot: 1}\n  - <<: *a\n')),
    { code: 'CONFIG_INVALID', message: /unknown setting "bridges\.1\.prot"/ },
  )
  t.match(
    faultOf(() => load(t, 'http: {<<: 5}\n')),
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml: / },
    'of what is no section',
  )
})

t.test('two documents in a file', async (t) => {
  t.match(
    faultOf(() => load(t, 'name: a\n---\nname: b\n')),
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml:2: a second YAML document starts here/ },
  )
  t.match(load(t, '---\nname: a\n...\n'), { name: 'a' }, 'marks around one are none')
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
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml:[23]: invalid YAML .*indentation/ },
  )
  t.match(
    faultOf(() => load(t, 'name: x\nname: y\n')),
    { code: 'CONFIG_SYNTAX', message: /^conf\.yaml:2: duplicate key "name"\. / },
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
  const file = join(temporaryFolder(t), 'conf.yaml')
  writeFileSync(file, 'password: 12345\n')
  t.match(
    faultOf(() => loadConfig(secretive, { file })),
    { message: /^conf\.yaml:1: "password" must be a string\. Put it in quotes\.$/ },
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
    { message: /"bridges" must be an array, not a circular value\.$/ },
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
    { code: 'CONFIG_SYNTAX', message: /too long for a configuration \(3\d{5} characters/ },
  )
})

t.test('a variable reaches the entries that a list has, and the next', async (t) => {
  const yaml = 'bridges:\n  - url: a\n'
  t.match(load(t, yaml, { SIGHTLINE_BRIDGES__1: '{url: b}' }).bridges, [{ url: 'a' }, { url: 'b' }])
  for (const at of ['4294967294', '2'])
    t.match(
      faultOf(() => load(t, yaml, { [`SIGHTLINE_BRIDGES__${at}`]: '9' })),
      { code: 'CONFIG_INVALID', message: /invalid index "\d+" in the list "bridges": use 0 to 1\./ },
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

t.test('sections nested as keys, thousands deep, are an error at once, closed or not', async (t) => {
  const folder = temporaryFolder(t)
  const schema = z.strictObject({ list: z.array(z.string()).default([]) })
  for (const text of ['{'.repeat(900), `${'{'.repeat(900)}${'}'.repeat(900)}`, `${'{? '.repeat(900)}a`]) {
    const file = join(folder, 'deep.yaml')
    writeFileSync(file, `list: ${text}\n`)
    const startMs = performance.now()
    t.throws(() => loadConfig(schema, { env: { SIGHTLINE_LIST: text } }), { code: /^CONFIG_/ })
    t.throws(() => loadConfig(schema, { file }), { code: /^CONFIG_/ })
    t.ok(performance.now() - startMs < 5000)
  }
})
