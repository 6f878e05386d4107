import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import sharp from 'sharp'
import t, { type Test as Tap } from 'tap'
import { writeClip } from '../device/clip.ts'
import { makeCrop, tinyJpeg } from '../kit/crops.ts'
import { freePort } from '../kit/ports.ts'
import { brokerConfig, Program, subscriberConfig, type Test, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { makeS3Bucket, s3Endpoint, skipWithoutS3 } from '../kit/s3.ts'
import { until } from '../kit/wait.ts'
import { configFile, type Outcome, Sightline, sightline } from './sightline.ts'

/**
 * Bad input, as a user meets it: a stable code, an exit status, and a sentence that names what is wrong and what to
 * do about it. Every test starts the real program from the command line.
 */

// Each test waits for programs of its own most of the time.
t.jobs = 3
const side = { buffered: true } as const

/** A device that finds nothing to send, so that no broker is needed to see it end. */
const device = (settings: Record<string, unknown> = {}) => ({ http: { port: 0 }, ...settings })
const camera = (source: string) => device({ cameras: [{ name: 'door', source, pace: 'asfast' }] })

/** A port that something else listens at. */
async function takenPort(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** Where no folder can be made, whoever runs the tests. */
function belowFile(t: Test): string {
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, '')
  return join(file, 'folder')
}

interface Expected {
  readonly code: string
  readonly status: number
  /** What the sentence names, and what it tells to do. */
  readonly says: readonly (string | RegExp)[]
}

function check(t: Tap, outcome: Outcome, { code, status, says }: Expected): void {
  t.match({ code: outcome.code, status: outcome.status }, { code, status }, outcome.stderr)
  for (const words of says) t.match(outcome.sentence, words)
  t.notMatch(outcome.stderr, /\n {4}at /, 'no stack trace')
}

t.test('configuration', side, async (t) => {
  for (const program of ['device', 'broker', 'subscriber']) {
    const file = configFile(t, '# ours\nhttp:\n  port: 0\n  prot: 1\n')
    check(t, await sightline(t, [program, '--config', file]), {
      code: 'CONFIG_INVALID',
      status: 78,
      says: [`${file}:4: unknown setting "http.prot".`, 'Check the spelling'],
    })
  }
  check(t, await sightline(t, ['broker', '--config', '/nowhere/broker.yaml']), {
    code: 'CONFIG_NOT_FOUND',
    status: 66,
    says: ['/nowhere/broker.yaml does not exist', '--config'],
  })
  const broken = configFile(t, 'name: a\nlisteners: [1\nusers: []\n')
  check(t, await sightline(t, ['broker', '--config', broken]), {
    code: 'CONFIG_SYNTAX',
    status: 78,
    says: [broken, /:[23]: /],
  })
  check(t, await sightline(t, ['subscriber'], { SIGHTLINE_HTTP__PORT: 'eighty' }), {
    code: 'CONFIG_INVALID',
    status: 78,
    says: ['environment variable SIGHTLINE_HTTP__PORT: "http.port" must be a number, not "eighty".'],
  })
})

t.test('variables of others do not stop a start, and a misspelt one is said', side, async (t) => {
  const env = {
    SIGHTLINE_BROKER_PORT: 'tcp://10.0.0.1:1883',
    SIGHTLINE_BROKER_SERVICE_HOST: '10.0.0.1',
    SIGHTLINE_VERSION: '0.1.0',
    SIGHTLINE_HTTP_PORT: '9102',
  }
  for (const [program, config, ready] of [
    ['broker', brokerConfig(t), 'broker ready'],
    ['subscriber', subscriberConfig(t, 'mqtt://127.0.0.1:1'), 'subscriber ready'],
    ['device', device(), 'detector opened'],
  ] as const) {
    const started = Sightline.start(t, [program, '--config', configFile(t, config)], env)
    await started.line(({ msg }) => msg === ready)
    const said = started.log.filter(({ msg }) => /environment variable/.test(msg ?? ''))
    t.match(said, [
      {
        level: 40,
        msg: /Unknown setting in .*SIGHTLINE_HTTP_PORT; it is ignored. Did you mean SIGHTLINE_HTTP__PORT\?/,
      },
    ])
    t.equal(said.length, 1, program)
    started.kill('SIGTERM')
    await started.end()
  }
})

t.test('an address that other machines reach, without saying who may come', side, async (t) => {
  const open = configFile(t, { ...brokerConfig(t), listeners: [{ host: '0.0.0.0', port: 0 }] })
  check(t, await sightline(t, ['broker', '--config', open]), {
    code: 'CONFIG_UNSAFE_LISTENER',
    status: 78,
    says: ['"listeners" opens 0.0.0.0:0', 'Add users, or listen on 127.0.0.1.'],
  })
  const http = { http: { host: '0.0.0.0', port: 0 } }
  for (const [program, config] of [
    ['device', device(http)],
    ['broker', brokerConfig(t, http)],
    ['subscriber', subscriberConfig(t, 'mqtt://127.0.0.1:1', http)],
  ] as const)
    check(t, await sightline(t, [program, '--config', configFile(t, config)]), {
      code: 'CONFIG_UNSAFE_LISTENER',
      status: 78,
      says: ['"http.host" 0.0.0.0', 'reverse proxy'],
    })
})

t.test('config check', side, async (t) => {
  const bad = configFile(t, 'listeners:\n  - port: 99999\nusers: []\n')
  check(t, await sightline(t, ['config', 'check', bad]), {
    code: 'CONFIG_INVALID',
    status: 78,
    says: [`${bad}:2: "listeners.0.port"`, '65535'],
  })
  const open = configFile(t, 'listeners:\n  - host: 0.0.0.0\n')
  check(t, await sightline(t, ['config', 'check', open]), {
    code: 'CONFIG_UNSAFE_LISTENER',
    status: 78,
    says: ['Add users'],
  })
  const compose = join(import.meta.dirname, '..', '..', 'docker', 'edge', 'broker.yaml')
  check(t, await sightline(t, ['config', 'check', compose]), {
    code: 'CONFIG_INVALID',
    status: 78,
    says: [
      '"bridges.0.url" is missing.',
      'environment variable SIGHTLINE_BRIDGES__0__URL (in Compose: its env_file)',
    ],
  })
  const env = { SIGHTLINE_BRIDGES__0__URL: 'mqtts://cloud:8883', SIGHTLINE_STORE_FOLDER: 'x' }
  t.match(
    await sightline(t, ['config', 'check', compose], env),
    {
      status: 0,
      stdout:
        /valid configuration of the broker\.\nFrom the environment: bridges\.0\.url \(SIGHTLINE_BRIDGES__0__URL\)\.\n$/,
      stderr: /Did you mean SIGHTLINE_STORE__FOLDER\?/,
    },
    'what the environment brings is named',
  )
  const whose = configFile(t, 'http:\n  port: 1\n')
  check(t, await sightline(t, ['config', 'check', whose]), {
    code: 'USAGE',
    status: 64,
    says: [whose, '--for device, --for broker, --for subscriber, --for console'],
  })
  t.match(await sightline(t, ['config', 'check', whose, '--for', 'broker']), {
    status: 0,
    stdout: 'of the broker',
  })
  check(t, await sightline(t, ['config', 'check', whose, '--for', 'toaster']), {
    code: 'USAGE',
    status: 64,
    says: ['"toaster"', 'device, broker, subscriber'],
  })
})

t.test('usage', side, async (t) => {
  const cases: readonly (readonly [string[], (string | RegExp)[]])[] = [
    [
      ['frobnicate'],
      ['Unknown command "frobnicate".', /demo, device, .*broker, subscriber, console, inference, config/],
    ],
    [['constructor'], ['Unknown command "constructor".']],
    [['broker', '--colour'], [/--colour.*\. See sightline broker --help\.$/]],
    [['device', '--config'], [/--config.*argument missing\. See sightline device --help\.$/]],
    [
      ['demo', 'left', 'over'],
      ["'left'", 'See sightline demo --help.'],
    ],
    [['demo', '--for', '5'], ['--for must be a duration such as 10s, 5m or 7d, not "5".']],
    [
      ['forget', '--day', 'yesterday', '--config', 'x'],
      ['Invalid date "yesterday". Write --day 2026-11-20.'],
    ],
    [['forget', '--id', 'nine', '--config', 'x'], ['Invalid crop id "nine". Write --id ID.']],
    [['forget', '--camera', 'home/door', '--config', 'x'], ['Write --camera SITE/DEVICE/CAMERA.']],
    [['forget', '--config', 'x'], ['Give one of these: --device SITE/DEVICE, ']],
    [
      ['secrets', 'cloud'],
      [/^Usage \(more: sightline secrets --help\):\n {2}sightline secrets cloud DIR HOST/],
    ],
    [['config', 'chekc', 'x'], ['Write: sightline config check FILE.']],
  ]
  for (const [args, says] of cases) check(t, await sightline(t, args), { code: 'USAGE', status: 64, says })
  const nothing = await sightline(t, [])
  t.equal(nothing.status, 64)
  t.match(nothing.stdout, 'Usage: sightline <command>')
})

t.test('a source that is missing, empty, no picture, or cut off', side, async (t) => {
  const folder = temporaryFolder(t)
  const file = (name: string, content: string | Buffer) => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const run = async (source: string) => sightline(t, ['device', '--config', configFile(t, camera(source))])
  const missing = join(folder, 'missing.mp4')
  check(t, await run(missing), {
    code: 'SOURCE_NOT_FOUND',
    status: 66,
    says: [`${missing} does not exist.`, 'Give the path'],
  })
  const text = file('notes.mp4', 'These are notes, and no video.\n'.repeat(100))
  check(t, await run(text), {
    code: 'SOURCE_UNREADABLE',
    status: 65,
    says: [text, /Check that it plays elsewhere/],
  })
  const photo = file('photo.jpg', Buffer.concat([tinyJpeg.subarray(0, 100), Buffer.alloc(300, 7)]))
  check(t, await run(photo), { code: 'SOURCE_UNREADABLE', status: 65, says: [photo, 'JPEG, PNG'] })
  const clip = join(folder, 'clip.mkv')
  await writeClip({ file: clip, frames: 50, width: 320, height: 180 })
  const whole = readFileSync(clip)
  const cut = file('cut.mkv', whole.subarray(0, Math.floor(whole.length / 2)))
  check(t, await run(cut), {
    code: 'SOURCE_UNREADABLE',
    status: 65,
    says: [`${cut} is cut off`, 'get the whole file again'],
  })
})

t.test('a model that is missing, or no model', side, async (t) => {
  const run = async (model: string) =>
    sightline(t, ['device', '--config', configFile(t, device({ detect: { model } }))])
  check(t, await run('/nowhere/yunet.onnx'), {
    code: 'MODEL_NOT_FOUND',
    status: 66,
    says: ['/nowhere/yunet.onnx does not exist', 'path of an ONNX file, or "blazeface"'],
  })
  const none = join(temporaryFolder(t), 'none.onnx')
  writeFileSync(none, await sharp(tinyJpeg).png().toBuffer())
  check(t, await run(none), {
    code: 'MODEL_UNUSABLE',
    status: 65,
    says: [none, 'Give the path of an ONNX file'],
  })
})

t.test('a folder that cannot be written to', side, async (t) => {
  const folder = belowFile(t)
  const expected = { code: 'FOLDER_UNWRITABLE', status: 73, says: [folder] }
  const broker = configFile(t, { ...brokerConfig(t), store: { folder } })
  check(t, await sightline(t, ['broker', '--config', broker]), expected)
  const inbox = configFile(t, subscriberConfig(t, 'mqtt://127.0.0.1:1', { inbox: { folder } }))
  check(t, await sightline(t, ['subscriber', '--config', inbox]), expected)
  const bucket = { type: 'folder', path: folder }
  const subscriber = configFile(t, subscriberConfig(t, 'mqtt://127.0.0.1:1', { bucket }))
  check(t, await sightline(t, ['subscriber', '--config', subscriber]), expected)
  check(t, await sightline(t, ['demo', '--data', folder]), { ...expected, says: [folder, '--data DIR'] })
})

t.test('a port that another program has', side, async (t) => {
  const port = await takenPort(t)
  const taken = (key: string) => ({
    code: 'PORT_TAKEN',
    status: 69,
    says: [`127.0.0.1:${port} is in use by another program.`, `choose another port under "${key}"`],
  })
  const listener = configFile(t, { ...brokerConfig(t), listeners: [{ port }] })
  check(t, await sightline(t, ['broker', '--config', listener]), taken('listeners'))
  const http = { http: { port } }
  const broker = configFile(t, { ...brokerConfig(t), ...http })
  check(t, await sightline(t, ['broker', '--config', broker]), taken('http'))
  const subscriber = configFile(t, subscriberConfig(t, 'mqtt://127.0.0.1:1', http))
  check(t, await sightline(t, ['subscriber', '--config', subscriber]), taken('http'))
  check(t, await sightline(t, ['device', '--config', configFile(t, device(http))]), taken('http'))
})

t.test('a folder that another program works in', side, async (t) => {
  const data = temporaryFolder(t)
  const first = await Program.start(
    t,
    'broker',
    brokerConfig(t, { store: { folder: join(data, 'edge-broker') } }),
  )
  const second = configFile(t, brokerConfig(t, { store: { folder: join(data, 'edge-broker') } }))
  const locked = {
    code: 'STORE_LOCKED',
    status: 75,
    says: [`${data}/edge-broker is in use by process ${first.pid}.`, 'Stop that program first'],
  }
  check(t, await sightline(t, ['broker', '--config', second]), locked)
  check(t, await sightline(t, ['demo', '--data', data]), locked)
})

t.test('a broker that does not know the user', side, async (t) => {
  const users = [{ name: 'pi', password: 'right', publish: ['#'], subscribe: ['#'] }]
  const { port } = await Program.start(t, 'broker', brokerConfig(t, { users }))
  const url = `mqtt://127.0.0.1:${port}`
  const broker = { url, username: 'pi', password: 'hunter3' }
  const expected = { code: 'BROKER_REFUSED', status: 77, says: [`127.0.0.1:${port}`, /user|password/] }
  const subscriber = configFile(t, subscriberConfig(t, url, { broker }))
  check(t, await sightline(t, ['subscriber', '--config', subscriber]), expected)
  const agent = await sightline(t, ['device', '--config', configFile(t, device({ broker }))])
  check(t, agent, expected)
  t.notMatch(agent.stderr, 'hunter3', 'the password is in no line of the log')
})

t.test('a broker that is away: the program stays, says so, and keeps trying', side, async (t) => {
  const url = `mqtt://127.0.0.1:${await freePort()}`
  const health = async (address: unknown) => {
    const answer = await fetch(`${address}/healthz`)
    return { status: answer.status, ...((await answer.json()) as { checks: Record<string, string> }) }
  }
  const away = ({ code }: { code?: string }) => code === 'BROKER_UNREACHABLE'

  const subscriber = Sightline.start(t, ['subscriber', '--config', configFile(t, subscriberConfig(t, url))])
  const { http } = await subscriber.line(({ msg }) => msg === 'subscriber ready')
  t.match((await subscriber.line(away)).msg, /127\.0\.0\.1:\d+: connection refused/)
  t.match(await health(http), {
    status: 503,
    checks: { broker: /^disconnected \(Cannot connect to .*: connection refused/ },
  })
  await subscriber.until(() => subscriber.log.filter(away).length > 1)
  subscriber.kill('SIGTERM')
  t.equal((await subscriber.end()).status, 0)

  const config = device({ broker: { url }, drain: { deadline: '2s' } })
  const agent = Sightline.start(t, ['device', '--config', configFile(t, config)])
  const served = await agent.line(({ url }) => url !== undefined)
  t.match(
    (await agent.line(away)).msg,
    /127\.0\.0\.1:\d+ cannot be reached: connection refused\. Trying again/,
  )
  t.match(await health(served.url), { status: 503, checks: { broker: 'connection refused' } })
  const pending = async () =>
    /crops_pending\{[^}]*\} (\d+)/.exec(await (await fetch(`${served.url}/metrics`)).text())
  await until('some crops wait', async () => Number((await pending())?.[1]) > 0)
  agent.kill('SIGTERM')
  const { status, code, sentence } = await agent.end()
  t.match({ status, code }, { status: 75, code: 'DRAIN_TIMEOUT' })
  t.match(
    sentence,
    /^[1-9]\d* crops were lost: .*127\.0\.0\.1.* in time \(connection refused\)\.$/,
    'what is lost is said',
  )
  const books = agent.log.find(({ msg }) => msg === 'books')
  t.equal(Number(books?.made), Number(books?.published) + Number(books?.dropped), 'and counted')
})

t.test('messages that are no crop go to quarantine, whole, and block nobody', side, async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, {
      queues: [{ clientId: 'sightline-subscriber', topics: ['sightline/v1/+/+/+/crop'] }],
      limits: { packetMax: '200KB' },
    }),
  )
  const config = subscriberConfig(t, broker.url, { payloadMax: '100KB' })
  const subscriber = Sightline.start(t, ['subscriber', '--config', configFile(t, config)])
  const { http } = await subscriber.line(({ msg }) => msg === 'subscriber ready')
  const publisher = await RawClient.open(t, broker.port, 'camera', { clean: true })
  const crop = makeCrop()
  const foreign = await sharp(tinyJpeg)
    .withExif({ IFD2: { UserComment: 'a holiday' } })
    .jpeg()
    .toBuffer()
  const future = makeCrop({ v: 2 as 1 })
  const large = Buffer.concat([crop.payload, Buffer.alloc(120_000)])
  for (const [at, payload] of [Buffer.from('hello'), foreign, future.payload, large, tinyJpeg].entries())
    publisher.publish(crop.topic, payload, { messageId: at + 1 })
  publisher.publish(crop.topic, crop.payload, { messageId: 100 })
  const counted = async () => {
    const text = await (await fetch(`${http}/metrics`)).text()
    const reasons = [...text.matchAll(/^sightline_subscriber_quarantined_total\{.*reason="([^"]*)".*\} 1$/gm)]
    return {
      reasons: reasons.map(([, reason]) => reason),
      stored: /subscriber_stored_total\{[^}]*\} 1/.test(text),
    }
  }
  await until('the crop behind them is stored', async () => (await counted()).stored)
  t.strictSame((await counted()).reasons.sort(), [
    'foreign metadata',
    'metadata of a newer version',
    'no metadata',
    'not a JPEG',
    'too large',
  ])
  // What its queue holds comes before its subscription is confirmed.
  await until('it has subscribed', async () => (await fetch(`${http}/healthz`)).ok)
  t.match(await (await fetch(`${http}/healthz`)).json(), { ok: true, checks: { quarantine: '5 messages' } })
  const lines = subscriber.log.filter(({ code }) => code === 'CROP_INVALID')
  t.equal(lines.length, 5)
  for (const line of lines) t.match(line, { topic: crop.topic, reason: String, detail: String })

  publisher.publish(crop.topic, Buffer.alloc(300_000), { messageId: 101 })
  await publisher.ended()
  const refused = await broker.line(({ code }) => code === 'PAYLOAD_TOO_LARGE')
  t.match(refused, { clientId: 'camera', bytesMax: 200_000, msg: /^refused a packet over the limit/ })
  const next = await RawClient.open(t, broker.port, 'camera', { clean: true })
  next.publish(crop.topic, makeCrop().payload)
  t.ok(await next.next(({ cmd }) => cmd === 'puback'), 'who keeps to the limit is served')
})

t.test('a bucket that is not there, or closed to us', { ...side, skip: skipWithoutS3 }, async (t) => {
  const run = async (bucket: string, env: Readonly<Record<string, string>> = {}) => {
    const s3 = { type: 's3', bucket, endpoint: s3Endpoint, region: 'us-east-1' }
    const config = subscriberConfig(t, 'mqtt://127.0.0.1:1', { bucket: s3 })
    return sightline(t, ['subscriber', '--config', configFile(t, config)], env)
  }
  check(t, await run('sightline-test-nowhere'), {
    code: 'BUCKET_NOT_FOUND',
    status: 66,
    says: ['Bucket "sightline-test-nowhere" not found', 'Create it there, or correct "bucket.bucket"'],
  })
  const denied = await run(await makeS3Bucket(), { AWS_SECRET_ACCESS_KEY: 'not-the-secret' })
  check(t, denied, {
    code: 'BUCKET_DENIED',
    status: 77,
    says: ['denies access', 'Check the AWS credentials'],
  })
  t.notMatch(denied.stderr, 'not-the-secret')
})
