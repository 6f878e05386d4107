import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { CONFINED, command, container, docker, isWell, logOf } from './engine.ts'

/** The images that run.ts has built. */

const BASE = 'node:24-bookworm-slim'
const IMAGES = {
  broker: {
    bytesMax: 120e6,
    without: ['node-av', '@seydx', 'onnxruntime-node', 'sharp', '@img', '@aws-sdk', '@tensorflow'],
  },
  subscriber: {
    bytesMax: 120e6,
    without: ['node-av', '@seydx', 'onnxruntime-node', 'sharp', '@img', '@tensorflow', 'aedes'],
  },
  console: {
    bytesMax: 120e6,
    without: [
      'node-av',
      '@seydx',
      'onnxruntime-node',
      'sharp',
      '@img',
      '@tensorflow',
      'aedes',
      'mqtt',
      'typescript',
    ],
  },
  device: { bytesMax: 350e6, without: ['@aws-sdk', '@smithy', 'aedes', 'lmdb', '@vladmandic'] },
  inference: {
    bytesMax: 150e6,
    without: ['node-av', '@seydx', 'sharp', '@img', '@aws-sdk', 'aedes', 'lmdb', 'mqtt', '@vladmandic'],
  },
} as const
const WELL_MS_MAX = 60_000

const sizeOf = async (image: string) => Number(await docker('image', 'inspect', '--format={{.Size}}', image))

for (const [name, { bytesMax, without }] of Object.entries(IMAGES)) {
  const image = `sightline-${name}:under-test`

  t.test(`${name}: at most ${bytesMax / 1e6} MB above its base, and only what it needs`, async (t) => {
    const above = (await sizeOf(image)) - (await sizeOf(BASE))
    t.ok(above <= bytesMax, `${(above / 1e6).toFixed(1)} MB`)
    const packages = await docker('run', '--rm', '--entrypoint=ls', image, '/opt/sightline/node_modules')
    for (const unwanted of without) t.notOk(packages.split('\n').includes(unwanted), unwanted)
  })

  t.test(`${name}: is nobody in particular, and says what it is`, async (t) => {
    const [{ Config, Os, Architecture }] = JSON.parse(await docker('image', 'inspect', image))
    t.match(`${Os}/${Architecture}`, /^linux\/(amd64|arm64)$/)
    t.equal(Config.User, '1000:1000')
    t.strictSame(Object.keys(Config.Volumes), ['/var/lib/sightline'])
    t.equal(Config.StopSignal, 'SIGTERM')
    t.match(
      Config.Healthcheck.Test.join(' '),
      `sightline healthcheck ${name} --config /etc/sightline/${name}.yaml`,
    )
    t.match(Config.Labels, {
      'org.opencontainers.image.title': /^Sightline /,
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': /^(\d|under-test$)/,
    })
    const version = await docker('run', '--rm', ...CONFINED, image, '--version')
    t.match(version, /^sightline \d+\.\d+\.\d+ \(Node 24\./)
  })

  t.test(`${name}: nothing in it can be changed by the user that it runs as`, async (t) => {
    const find = await docker(
      'run',
      '--rm',
      '--entrypoint=sh',
      image,
      '-c',
      'find /opt /etc/sightline -writable ! -type l',
    )
    t.equal(find, '')
  })

  t.test(`${name}: no layer holds a secret`, async (t) => {
    const history = await docker('history', '--no-trunc', '--format={{.CreatedBy}}', image)
    t.notMatch(history, /password=|secret=|token=|_auth|BEGIN [A-Z ]*PRIVATE KEY/i)
    const found = await docker(
      'run',
      '--rm',
      '--user=0',
      '--entrypoint=sh',
      image,
      '-c',
      'find / -xdev \\( -name "*.key" -o -name ".npmrc" -o -name ".git" -o -name "users.yaml" -o -name ".env" \\) -not -path "/usr/*" -not -path "/proc/*"',
    )
    t.equal(found, '')
  })

  t.test(`${name}: what belongs to another program is said in a sentence`, async (t) => {
    const other = name === 'device' ? 'broker' : 'device'
    const { status, stderr } = await command('docker', ['run', '--rm', ...CONFINED, image, other])
    t.equal(status, 69)
    t.match(stderr, new RegExp(`^NOT_INCLUDED: This is the image of the ${name} alone`))
  })

  t.test(`${name}: doctor looks only for what the image is to have`, async (t) => {
    const { stdout } = await command('docker', ['run', '--rm', ...CONFINED, image, 'doctor', '--json'])
    const findings = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
    t.ok(findings.length > 3)
    t.strictSame(
      findings.filter(({ status, what }) => status === 'FAIL' && what !== 'clock'),
      [],
    )
  })
}

t.test(
  'broker: read-only and without rights it runs; SIGTERM drains it, status 0; what it kept is there again',
  async (t) => {
    const folder = temporaryFolder(t)
    const file = join(folder, 'broker.yaml')
    writeFileSync(
      file,
      JSON.stringify({
        name: 'edge',
        queues: [{ clientId: 'reader', topics: ['sightline/v1/+/+/+/crop'] }],
        bridges: [{ url: 'mqtt://127.0.0.1:1', topics: [{ filter: 'sightline/v1/+/+/+/crop' }] }],
      }),
      { mode: 0o644 },
    )
    const volume = await docker('volume', 'create')
    t.after(async () => void (await docker('volume', 'rm', volume)))
    const start = () =>
      container(
        t,
        ...CONFINED,
        `--volume=${volume}:/var/lib/sightline`,
        `--volume=${file}:/etc/sightline/broker.yaml:ro`,
        'sightline-broker:under-test',
      )
    const first = await start()
    await until('the broker is well, though its bridge is away', () => isWell(first), WELL_MS_MAX)
    // A crop, at QoS 1: the client is the image's own.
    const publish = `
    import { connect } from 'node:net'
    import mqtt from '/opt/sightline/node_modules/mqtt-packet/mqtt.js'
    const socket = connect(1883, '127.0.0.1')
    const parser = mqtt.parser()
    socket.on('data', (data) => parser.parse(data))
    parser.on('packet', ({ cmd }) => {
      if (cmd === 'connack') socket.write(mqtt.generate({ cmd: 'publish', topic: 'sightline/v1/a/b/c/crop', payload: 'x', qos: 1, messageId: 7 }))
      if (cmd === 'puback') process.exit(0)
    })
    socket.write(mqtt.generate({ cmd: 'connect', clientId: 'test', protocolId: 'MQTT', protocolVersion: 4, clean: true }))
    setTimeout(() => process.exit(1), 5000)`
    await docker('exec', first, 'node', '--input-type=module', '-e', publish)
    await docker('stop', '--time=30', first)
    t.equal(await docker('inspect', '--format={{.State.ExitCode}}', first), '0')
    const farewell = ['draining', 'books', 'stopped']
    t.strictSame(
      // Between them the bridge may say once more that nobody is there.
      (await logOf(first)).map(({ msg = '' }) => msg).filter((msg) => farewell.includes(msg)),
      farewell,
    )
    const second = await start()
    await until('the broker is well again', () => isWell(second), WELL_MS_MAX)
    const ready = (await logOf(second)).find(({ msg }) => msg === 'broker ready')
    t.equal(ready?.waiting, 2, 'one for the reader, one for the bridge')
  },
)

t.test(
  'subscriber: read-only and without rights it runs, waits for its broker, and ends with status 0',
  async (t) => {
    const id = await container(t, ...CONFINED, 'sightline-subscriber:under-test')
    await until(
      'it says that it is ready',
      async () => (await logOf(id)).some(({ msg }) => msg === 'subscriber ready'),
      WELL_MS_MAX,
    )
    t.notOk(await isWell(id), 'without a broker it is not well')
    await docker('stop', '--time=30', id)
    t.equal(await docker('inspect', '--format={{.State.ExitCode}}', id), '0')
  },
)

t.test(
  'console: read-only and without rights it runs, with pages and a database, and ends with status 0',
  async (t) => {
    const id = await container(t, ...CONFINED, 'sightline-console:under-test')
    await until(
      'it says that it is ready',
      async () => (await logOf(id)).some(({ msg }) => msg === 'console ready'),
      WELL_MS_MAX,
    )
    const page = "fetch('http://127.0.0.1:8090/').then(async (it) => console.log(it.status, await it.text()))"
    t.match(await docker('exec', id, 'node', '-e', page), /^200 <!doctype html>[\s\S]*importmap/i)
    t.notOk(await isWell(id), 'without a broker it is not well')
    await docker('stop', '--time=30', id)
    t.equal(await docker('inspect', '--format={{.State.ExitCode}}', id), '0')
  },
)

t.test('device: the model is in the image; its faces reach the broker; SIGTERM drains it', async (t) => {
  const network = await docker('network', 'create', `sightline-test-${process.pid}`)
  t.after(async () => void (await docker('network', 'rm', network)))
  const folder = temporaryFolder(t)
  const file = join(folder, 'broker.yaml')
  const users = [{ name: 'laptop', password: 'of this test', role: 'device', site: 'home' }]
  writeFileSync(
    file,
    JSON.stringify({
      listeners: [{ host: '0.0.0.0', plaintext: true }],
      users,
      queues: [{ clientId: 'reader', topics: ['sightline/v1/+/+/+/crop'] }],
    }),
    { mode: 0o644 },
  )
  const broker = await container(
    t,
    ...CONFINED,
    `--network=${network}`,
    '--network-alias=broker',
    `--volume=${file}:/etc/sightline/broker.yaml:ro`,
    'sightline-broker:under-test',
  )
  const device = await container(
    t,
    ...CONFINED,
    `--network=${network}`,
    '--env=SIGHTLINE_BROKER__URL=mqtt://broker:1883',
    '--env=SIGHTLINE_BROKER__USERNAME=laptop',
    '--env=SIGHTLINE_BROKER__PASSWORD=of this test',
    'sightline-device:under-test',
  )
  const published = async () => {
    const metrics = await docker(
      'exec',
      device,
      'node',
      '-e',
      "fetch('http://127.0.0.1:9101/metrics').then((it) => it.text()).then(console.log)",
    ).catch(() => '')
    return Number(/^sightline_crops_published_total\{[^}]*\} (\d+)/m.exec(metrics)?.[1] ?? 0)
  }
  await until('faces are published', async () => (await published()) >= 10, WELL_MS_MAX)
  t.ok(await isWell(device))
  await docker('stop', '--time=30', device)
  t.equal(await docker('inspect', '--format={{.State.ExitCode}}', device), '0')
  const books = (await logOf(device)).find(({ msg }) => msg === 'books')
  t.equal(books?.made, Number(books?.published) + Number(books?.dropped), 'the books balance')
  t.notOk(await docker('diff', device), 'nothing was written outside of the volume')
  await docker('stop', '--time=30', broker)
  const kept = (await logOf(broker)).find(({ msg }) => msg === 'books') as {
    queues?: Record<string, { pending?: number }>
  }
  t.equal(
    JSON.stringify(kept?.queues).includes(`"pending":${books?.published}`),
    true,
    'the broker has every one of them',
  )
  t.ok(readFileSync(file))
})
