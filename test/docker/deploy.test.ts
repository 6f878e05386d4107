import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import t from 'tap'
import { pack } from 'tar-stream'
import { deploy } from '../../commands/deploy/deploy.ts'
import { cloudUsers, compose, type Facts } from '../../deploy/compose.ts'
import { hashOf, readContext } from '../../deploy/context.ts'
import { edgeName } from '../../deploy/edge-users.ts'
import { readJoin, writeJoin } from '../../deploy/join-file.ts'
import { readLooking, writeLooking } from '../../deploy/looking-file.ts'
import { PARTS } from '../../deploy/names.ts'
import { completeSecrets } from '../../deploy/secrets.ts'
import { checkTree, readConfigurations, type Settings } from '../../deploy/settings.ts'
import { newState, readState, writeState } from '../../deploy/state.ts'
import type { Volumes } from '../../deploy/volumes.ts'
import { usersOfText } from '../../lib/access/users.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { asFailure } from '../../lib/errors.ts'
import { rightsOf } from '../../wire/users.ts'
import { configFile, sightline } from '../cli/sightline.ts'
import { freePort } from '../kit/ports.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { SmallDisk } from '../kit/small-disk.ts'
import { FakeEngine, info } from './fake-engine.ts'

/** `sightline deploy` up to the first thing that it would make. What it makes: deploy.docker.ts, on a real engine. */

const ROOT = resolve(import.meta.dirname, '..', '..')
/** The command in this process, for what ends before it says anything: a start of the program takes a second. */
async function run(args: readonly string[]) {
  try {
    return { status: await deploy.run([...args]), code: undefined, sentence: '' }
  } catch (error) {
    const { exitStatus, code, message } = asFailure(error)
    return { status: exitStatus, code, sentence: message }
  }
}

const TAG = ['--tag', 'sightline-{program}:none']

t.test('no engine: a sentence says so, and what to do', async (t) => {
  const nowhere = join(temporaryFolder(t), 'docker.sock')
  const none = await sightline(t, ['deploy', 'demo', ...TAG, '--host', `unix://${nowhere}`])
  t.match(none, {
    status: 69,
    code: 'ENGINE_UNREACHABLE',
    sentence: /No Docker engine answers at .*docker\.sock.*systemctl/,
  })
  writeFileSync(nowhere, 'a file')
  const file = await sightline(t, ['deploy', 'status', '--host', `unix://${nowhere}`])
  t.match(file, { status: 69, code: 'ENGINE_UNREACHABLE' })
  const tcp = await sightline(t, ['deploy', 'demo', '--host', 'tcp://10.0.0.1:2375'])
  t.match(tcp, { status: 64, sentence: /Invalid Docker engine address/ })
  const password = await sightline(t, ['deploy', 'demo', '--host', 'ssh://me:secret@jetson'])
  t.match(password, { status: 64, sentence: /Do not put a password/ })
  t.notMatch(password.stderr, 'secret')
})

t.test('DOCKER_HOST says where the engine is, unless --host does', async (t) => {
  const named = await FakeEngine.open(t)
  const other = await FakeEngine.open(t)
  await sightline(t, ['deploy', 'status'], { DOCKER_HOST: named.host })
  t.ok(named.asked.length > 0)
  const asked = named.asked.length
  for (const host of [named.host, 'tcp://127.0.0.1:1', 'ssh://nobody@127.0.0.1:1'])
    t.match(await sightline(t, ['deploy', 'status', '--host', other.host], { DOCKER_HOST: host }), {
      code: 'DEPLOYMENT_NOT_FOUND',
    })
  t.equal(named.asked.length, asked)
})

t.test(
  'no rights on the socket: the sentence names the group',
  { skip: process.getuid?.() !== 0 && 'taking rights away from a program takes root' },
  async (t) => {
    const engine = await FakeEngine.open(t)
    chmodSync(engine.socket, 0o600)
    chmodSync(resolve(engine.socket, '..'), 0o755)
    const child = spawn(process.execPath, [join(ROOT, 'cli.ts'), 'deploy', 'status', '--host', engine.host], {
      uid: 65534,
      gid: 65534,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    })
    const said = await text(child.stderr)
    t.match(said, /^ENGINE_DENIED: The user \S+ may not use the Docker engine .*usermod -aG docker/m)
  },
)

t.test('what does not suit is said before anything is made', async (t) => {
  const cases = {
    'an old engine': {
      answers: { 'GET /version': { body: { Version: '18.06.1', ApiVersion: '1.38' } } },
      args: [],
      expected: { status: 69, code: 'ENGINE_UNSUITABLE', sentence: /too old: 18\.06\.1 .*19\.03/ },
    },
    'a 32-bit system': {
      answers: { 'GET /info': info({ Architecture: 'armv7l' }) },
      args: [],
      expected: { status: 69, code: 'ENGINE_UNSUITABLE', sentence: /armv7l.*64-bit/ },
    },
    'another system': {
      answers: { 'GET /info': info({ OSType: 'windows' }) },
      args: [],
      expected: { status: 69, code: 'ENGINE_UNSUITABLE', sentence: /windows/ },
    },
    'no NVIDIA runtime': {
      answers: {},
      args: ['--gpu'],
      expected: {
        status: 69,
        code: 'ENGINE_UNSUITABLE',
        sentence: /NVIDIA Container Toolkit.*leave --gpu out/,
      },
    },
    'no camera': {
      answers: {},
      args: ['--camera', '/dev/video77'],
      expected: { status: 66, code: 'SOURCE_NOT_FOUND', sentence: /Camera \/dev\/video77 not found/ },
    },
    'several at once': {
      answers: {},
      args: ['--gpu', '--camera', '/dev/video77'],
      expected: { code: 'ENGINE_UNSUITABLE', sentence: /NVIDIA[\s\S]*\/dev\/video77/ },
    },
    'a container of that name that is not ours': {
      answers: {
        'GET /containers/json': {
          body: [{ Id: '1', Names: ['/sightline-demo-device'], Labels: {}, Ports: [], ImageID: '' }],
        },
      },
      args: [],
      expected: {
        status: 73,
        code: 'DEPLOYMENT_CONFLICT',
        sentence: /container sightline-demo-device.*--name/,
      },
    },
    'a volume of that name that is not ours': {
      answers: { 'GET /volumes': { body: { Volumes: [{ Name: 'sightline-demo-state', Labels: null }] } } },
      args: [],
      expected: { status: 73, code: 'DEPLOYMENT_CONFLICT', sentence: /volume sightline-demo-state/ },
    },
    'another kind under that name': {
      answers: {
        'GET /volumes': {
          body: {
            Volumes: [
              {
                Name: 'sightline-demo-state',
                Labels: { 'org.sightline.deployment': 'demo', 'org.sightline.kind': 'cloud' },
              },
            ],
          },
        },
      },
      args: [],
      expected: { status: 73, code: 'DEPLOYMENT_CONFLICT', sentence: /another kind there: cloud/ },
    },
    'a port that another container has': {
      answers: {
        'GET /containers/json': {
          body: [{ Id: '1', Names: ['/web'], Labels: {}, Ports: [{ PublicPort: 8080 }], ImageID: '' }],
        },
      },
      args: [],
      expected: { status: 69, code: 'PORT_TAKEN', sentence: /8080 .*by the container web.*--gallery-port/ },
    },
    "the console's port": {
      answers: {
        'GET /containers/json': {
          body: [{ Id: '1', Names: ['/web'], Labels: {}, Ports: [{ PublicPort: 8444 }], ImageID: '' }],
        },
      },
      args: [],
      expected: { status: 69, code: 'PORT_TAKEN', sentence: /8444 .*by the container web.*--console-port/ },
    },
  } as const
  for (const [what, { answers, args, expected }] of Object.entries(cases))
    t.test(what, async (t) => {
      const engine = await FakeEngine.open(t, answers)
      const outcome = await run(['demo', ...TAG, '--host', engine.host, ...args])
      t.match(outcome, expected)
      t.strictSame(engine.changes, [])
    })
})

t.test('a port that a program has is said before anything is made', async (t) => {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const engine = await FakeEngine.open(t)
  const args = ['demo', ...TAG, '--host', engine.host, '--gallery-port']
  t.match(await run([...args, String(port)]), {
    code: 'PORT_TAKEN',
    sentence: new RegExp(`Port ${port} is in use`),
  })
  t.match(
    await sightline(t, ['deploy', ...args, String(await freePort())]),
    { code: 'IMAGE_NOT_FOUND' },
    'a free one is not',
  )
})

t.test('no room on the engine is said before anything is made', async (t) => {
  const disk = SmallDisk.open(4e6)
  if (typeof disk === 'string') return t.pass('full', { skip: disk })
  t.teardown(() => disk[Symbol.dispose]())
  const engine = await FakeEngine.open(t, { 'GET /info': info({ DockerRootDir: join(disk.path, 'docker') }) })
  const outcome = await run(['demo', ...TAG, '--host', engine.host])
  t.match(outcome, { status: 74, code: 'DISK_FULL', sentence: /has 0\.0 GB left, and this needs 1\.0 GB/ })
  t.strictSame(engine.changes, [])
})

t.test('an engine that goes away is said, with what it was asked for', async (t) => {
  const engine = await FakeEngine.open(t, { 'GET /info': (request) => void request.socket.destroy() })
  const outcome = await run(['demo', ...TAG, '--host', engine.host])
  t.match(outcome, {
    status: 69,
    code: 'ENGINE_UNREACHABLE',
    sentence: /disconnected while reading its version.*Run the same command again/,
  })
})

t.test('a wrong command or configuration is said before the engine is asked', async (t) => {
  const engine = await FakeEngine.open(t)

  const device = (config: object) => configFile(t, { site: 'home', device: 'door', ...config }, 'device.yaml')
  const join1 = join(temporaryFolder(t), 'a.join.yaml')
  const { cert } = (await completeSecrets('cloud', ['c'], undefined)).authority ?? { cert: '' }
  writeJoin(join1, { url: 'mqtts://c:8883', site: 'lab', username: 'edge-lab', password: 'x', ca: cert })
  const users = configFile(t, { users: [{ name: 'subscriber', role: 'viewer' }] }, 'users.yaml')
  for (const [expected, ...args] of [
    [/Missing: the cloud/, 'edge'],
    [
      /Join file nowhere\.yaml not found\. Create one at the cloud: sightline deploy invite SITE/,
      'edge',
      '--join',
      'nowhere.yaml',
    ],
    [/device\.yaml:1: "emit\.rateMax"/, 'demo', '--config', device({ emit: { rateMax: 'fast' } })],
    [/device\.yaml:1: unknown setting "detekt"/, 'demo', '--config', device({ detekt: {} })],
    [
      /Two configurations for the device/,
      'demo',
      '--config',
      device({ crop: {} }),
      '--config',
      device({ crop: {} }),
    ],
    [
      /configures the device, which "deploy cloud" does not have/,
      'cloud',
      '--address',
      'c',
      '--config',
      device({ crop: {} }),
    ],
    [/demo has two brokers/, 'demo', '--config', configFile(t, { store: {}, queues: [] }, 'broker.yaml')],
    [
      /The file \/none\.pem, named by broker\.caFile in .*device\.yaml, cannot be read here/,
      'demo',
      '--config',
      device({ broker: { caFile: '/none.pem' } }),
    ],
    [
      /remote\.desired\.signers in .*device\.yaml is a folder; deploy copies a file\. .*cat \/tmp\/\*\.pem > signers\.pem/,
      'demo',
      '--config',
      device({ remote: { desired: { signers: '/tmp' } } }),
    ],
    [
      /The file \/none\.pem, named by remote\.desired\.signers in/,
      'demo',
      '--config',
      device({ remote: { desired: { signers: '/none.pem' } } }),
    ],
    [
      /could belong to several programs. Name one, e.g. --config broker=/,
      'demo',
      '--config',
      configFile(t, { http: {} }),
    ],
    [
      /camera "c" reads \/srv\/photos, .*--mount/,
      'demo',
      '--config',
      device({ cameras: [{ name: 'c', source: '/srv/photos' }] }),
    ],
    [
      /Duplicate cameras/,
      'demo',
      '--camera',
      'testcard',
      '--config',
      device({ cameras: [{ name: 'c', source: 'testcard' }] }),
    ],
    [/topicPrefix/, 'demo', '--config', device({ topicPrefix: 'a/b' })],
    [/Missing: the name or address/, 'cloud'],
    [/Invalid host name or address/, 'cloud', '--address', 'a b'],
    [
      /bucket is in S3.*--s3-credentials/,
      'demo',
      '--config',
      configFile(t, { bucket: { type: 's3', bucket: 'faces' } }, 'subscriber.yaml'),
    ],
    [/does not take --join/, 'demo', '--join', 'x'],
    [/Invalid deployment name/, 'demo', '--name', '../x'],
    [/--mount photos: give the full path/, 'demo', '--mount', 'photos'],
    [/--wait needs a duration.*"soon"/, 'demo', '--wait', 'soon'],
    [/--gallery-port needs a whole number.*"0"/, 'demo', '--gallery-port', '0'],
    [/cannot both have the port 8444/, 'demo', '--gallery-port', '8444'],
    [
      /names the site "home", but the join file is for the site "lab"/,
      'edge',
      '--join',
      join1,
      '--config',
      device({}),
    ],
    [
      /Duplicate user "subscriber" in the broker's configuration or users file/,
      'cloud',
      '--address',
      'c',
      '--config',
      configFile(t, { usersFile: users, queues: [] }, 'broker.yaml'),
    ],
    [/Write: sightline deploy invite SITE/, 'invite'],
    [/Write: sightline deploy remove SITE/, 'remove'],
    [/Write: sightline deploy remove SITE/, 'remove', 'lab', '--shared'],
    [/unencrypted/, 'edge', '--cloud', 'mqtt://c:1883', '--user-file', 'x'],
    [/Give --join or --cloud/, 'edge', '--cloud', 'mqtts://c', '--join', join1],
    [/names one image.*\{program\}/, 'demo', '--tag', 'sightline:1'],
    [/--build-arg X: write NAME=VALUE/, 'demo', '--build-arg', 'X'],
    [/cannot be read as a "docker save" file/, 'demo', '--images', '/nowhere.tar'],
  ] as const) {
    const outcome = await run([...args, '--host', engine.host])
    t.match(outcome.sentence, expected, args.join(' '))
    t.not(outcome.status, 0)
  }
  t.strictSame(engine.asked, [])
})

t.test('images that cannot be used are said, and nothing is made', async (t) => {
  const image = (differences: object) => ({
    body: {
      Id: 'sha256:1',
      Architecture: 'amd64',
      Config: { Healthcheck: { Test: ['CMD', 'true'] } },
      ...differences,
    },
  })
  const path = 'GET /images/sightline-broker:none/json'
  const others = {
    'GET /images/sightline-subscriber:none/json': image({}),
    'GET /images/sightline-console:none/json': image({}),
    'GET /images/sightline-device:none/json': image({}),
  }
  for (const [answers, expected] of [
    [
      { [path]: image({ Architecture: 'arm64' }) },
      { code: 'IMAGE_UNUSABLE', sentence: /for arm64, and the engine runs on amd64/ },
    ],
    [{ [path]: image({ Config: {} }) }, { code: 'IMAGE_UNUSABLE', sentence: /no HEALTHCHECK/ }],
    [
      { 'POST /images/create': { status: 500, body: { message: 'Get "https://registry": no route' } } },
      { status: 66, code: 'IMAGE_NOT_FOUND', sentence: /not on the engine and cannot be pulled.*no route/ },
    ],
  ] as const) {
    const engine = await FakeEngine.open(t, { ...others, ...answers })
    t.match(await sightline(t, ['deploy', 'demo', ...TAG, '--host', engine.host]), expected)
    t.strictSame(
      engine.changes.filter((it) => it !== 'POST /images/create'),
      [],
    )
  }
})

t.test('a build that fails shows its last lines; one for want of room says that', async (t) => {
  const built = (...events: object[]) => ({
    'POST /build': (request: NodeJS.ReadableStream, response: { end(text: string): void }) => {
      request.resume()
      request.on('end', () => response.end(events.map((event) => `${JSON.stringify(event)}\r\n`).join('')))
    },
  })
  const engine = await FakeEngine.open(
    t,
    built(
      { stream: 'Step 1/2 : RUN npm ci\n' },
      { stream: ' ---> Running in 0123456789ab\n' },
      { stream: 'npm error E404\n' },
      { error: 'returned a non-zero code: 1' },
    ),
  )
  const failed = await sightline(t, ['deploy', 'demo', '--host', engine.host])
  t.match(failed, {
    status: 70,
    code: 'BUILD_FAILED',
    sentence: /sightline-broker.*could not be built: returned a non-zero code: 1[\s\S]*npm error E404/,
  })
  t.match(failed.stdout, 'Step 1/2', 'and progress is shown')
  const full = await FakeEngine.open(t, built({ error: 'write /var/lib/docker/x: no space left on device' }))
  t.match(await sightline(t, ['deploy', 'demo', '--host', full.host]), { status: 74, code: 'DISK_FULL' })
})

t.test('a file of images is looked into before it is sent', async (t) => {
  const save = async (tags: readonly string[], architecture: string) => {
    const tar = pack()
    const names = tags.map((_, at) => `${String(at).repeat(64).slice(0, 64)}.json`)
    for (const name of names) tar.entry({ name }, JSON.stringify({ architecture }))
    tar.entry({ name: 'layer.tar' }, Buffer.alloc(100_000))
    const manifest = tags.map((tag, at) => ({ Config: names[at], RepoTags: [tag], Layers: ['layer.tar'] }))
    tar.entry({ name: 'manifest.json' }, JSON.stringify(manifest))
    tar.finalize()
    const file = join(temporaryFolder(t), 'images.tar')
    writeFileSync(file, await buffer(tar))
    return file
  }
  const engine = await FakeEngine.open(t)
  const load = (file: string) => sightline(t, ['deploy', 'demo', '--host', engine.host, '--images', file])
  const all = [
    'sightline-broker:1',
    'registry/x/sightline-subscriber:1',
    'sightline-console:1',
    'sightline-device:1',
  ]
  t.match(await load(await save(all.slice(0, 3), 'amd64')), {
    status: 66,
    code: 'IMAGE_NOT_FOUND',
    sentence: /Image sightline-device not found in .*\. It holds: sightline-broker:1/,
  })
  t.match(await load(await save(all, 'arm64')), {
    status: 65,
    code: 'IMAGE_UNUSABLE',
    sentence: /is for arm64, and the engine runs on amd64/,
  })
  t.match(await load(configFile(t, 'no tarball'.repeat(200))), { code: 'IMAGE_UNUSABLE' })
  t.strictSame(engine.changes, [])
})

const settings = (kind: Settings['kind'], more: Partial<Settings> = {}): Settings => ({
  kind,
  gpu: false,
  mounts: [],
  addresses: kind === 'cloud' ? ['cloud.example.org'] : [],
  mqttPort: 8883,
  gallery: { address: '0.0.0.0', port: 8080 },
  configs: {},
  uplink:
    kind === 'edge'
      ? { url: 'mqtts://c:8883', username: 'edge', password: 'uplink-secret', ca: 'pem' }
      : undefined,
  ...more,
})
const facts: Facts = {
  architecture: 'arm64',
  machineName: 'jetson-7.lan',
  host: 'jetson',
  cameraGroups: { '/dev/video0': 44 },
}

const LOOKING = { addresses: ['https://gpu.example.org:8500'], token: 'looking-secret-token', ca: 'pem\n' }

t.test('an inference server is for edges that have its join file', async (t) => {
  const engine = await FakeEngine.open(t)
  t.match(await run(['inference', ...TAG, '--host', engine.host]), {
    sentence: /Missing: the name or address/,
  })
  const grpc = configFile(t, { grpc: { port: 8501 } }, 'inference.yaml')
  t.match(
    await run([
      'inference',
      ...TAG,
      '--address',
      'gpu',
      '--host',
      engine.host,
      '--config',
      `inference=${grpc}`,
    ]),
    { code: 'CONFIG_INVALID', sentence: /by REST alone/ },
  )
  const tokens = join(temporaryFolder(t), 'tokens')
  writeFileSync(tokens, '# of the others\nanother-token-of-others\n')
  const file = configFile(
    t,
    { models: [{ model: 'yunet-n' }], tokensFile: tokens, rest: { connectionsMax: 9 } },
    'own.yaml',
  )
  const configs = readConfigurations('inference', [file], [])
  const secrets = await completeSecrets('inference', ['gpu.example.org'], undefined)
  const { password: token = '' } = secrets.users.inference ?? {}
  const [server] = compose('x', settings('inference', { configs, inferencePort: 9000, gpu: true }), secrets, {
    ...facts,
    architecture: 'amd64',
  })
  t.ok(server)
  if (!server) return
  checkTree('inference', server.config)
  t.match(server.config, { models: [{ model: 'yunet-n' }], rest: { port: 8500, connectionsMax: 9 } })
  const { files, create, look } = server
  t.strictSame(files.tokens?.toString().split('\n'), [
    '# of the others',
    'another-token-of-others',
    token,
    '',
  ])
  t.strictSame(create.HostConfig?.PortBindings, { '8500/tcp': [{ HostIp: '0.0.0.0', HostPort: '9000' }] })
  t.match(create.HostConfig?.DeviceRequests, [{ Driver: 'nvidia' }])
  t.equal(look, 'inference https://jetson:9000/v2')

  // And an edge that has been given it: whatever else its configuration says of servers stays.
  const joinFile = join(temporaryFolder(t), 'inference.join.yaml')
  const ca = secrets.authority?.cert ?? ''
  writeLooking(joinFile, { addresses: ['https://gpu.example.org:9000'], token, ca })
  t.equal(statSync(joinFile).mode & 0o777, 0o600)
  const own = configFile(
    t,
    { detect: { servers: { addresses: ['http://127.0.0.1:1'], model: 'yunet-n', token: 'old-token' } } },
    'device.yaml',
  )
  const edge = settings('edge', {
    configs: readConfigurations('edge', [own], []),
    looking: readLooking([joinFile]),
  })
  const device = compose('x', edge, await completeSecrets('edge', [], undefined), facts).find(
    ({ part }) => part.program === 'device',
  )
  checkTree('device', device?.config)
  t.match(device?.config, {
    detect: {
      runtime: 'remote',
      servers: {
        addresses: ['https://gpu.example.org:9000'],
        model: 'yunet-n',
        token: undefined,
        tokenFile: '/etc/sightline/inference.token',
        caFile: '/etc/sightline/inference.ca.pem',
      },
    },
  })
  t.equal(device?.files['inference.token']?.toString(), token)
  t.equal(device?.files['inference.ca.pem']?.toString().trim(), ca.trim())

  // Two machines: both are asked, with one token.
  const second = join(temporaryFolder(t), 'second.yaml')
  writeLooking(second, { addresses: ['https://other.example.org:8500'], token, ca })
  t.strictSame(readLooking([joinFile, second]), {
    addresses: ['https://gpu.example.org:9000', 'https://other.example.org:8500'],
    token,
    ca,
  })
  const third = join(temporaryFolder(t), 'third.yaml')
  writeLooking(third, { addresses: ['https://third.example.org:8500'], token: 'a token of its own', ca })
  t.throws(() => readLooking([joinFile, third]), { code: 'USAGE', message: /have different tokens/ })
  writeFileSync(third, readFileSync(joinFile, 'utf8').slice(0, -400))
  t.throws(() => readLooking([third]), { code: 'CONFIG_INVALID', message: /no certificate in PEM/ })
  t.throws(() => readLooking(['/nowhere.yaml']), {
    code: 'CONFIG_NOT_FOUND',
    message: /deploy token/,
  })
})

t.test('containers are confined, and no secret is in what an engine shows of them', async (t) => {
  for (const kind of ['edge', 'cloud', 'demo', 'inference'] as const) {
    const secrets = await completeSecrets(kind, ['broker', 'cloud.example.org'], undefined)
    const more = { gpu: true, s3Credentials: 'aws-secret', looking: LOOKING }
    const composed = compose('x', settings(kind, more), secrets, facts)
    t.strictSame(
      composed.map(({ part }) => part),
      PARTS[kind],
    )
    for (const { part, create, config } of composed) {
      checkTree(part.program, config)
      t.match(create.HostConfig, {
        RestartPolicy: { Name: 'always' },
        ReadonlyRootfs: true,
        SecurityOpt: ['no-new-privileges'],
        CapDrop: ['ALL'],
        Memory: Number,
        PidsLimit: Number,
        LogConfig: { Config: { 'max-size': '10m' } },
      })
      t.not(create.HostConfig?.Privileged, true)
      const shown = JSON.stringify(create)
      for (const { password, hash } of Object.values(secrets.users)) {
        t.notMatch(shown, password)
        t.notOk(shown.includes(hash))
      }
      t.notMatch(shown, /uplink-secret|aws-secret|looking-secret|PRIVATE KEY/)
    }
    const device = composed.find(({ part }) => part.program === 'device')
    if (device)
      t.match(device.create.HostConfig, {
        Runtime: 'nvidia',
        GroupAdd: ['44'],
        Devices: [{ PathOnHost: '/dev/video0' }],
      })
    t.notMatch(composed.find(({ part }) => part.program === 'broker')?.create.HostConfig, { Devices: [] })
  }
})

const partOf = (composed: ReturnType<typeof compose>, name: string) => {
  const found = composed.find(({ part }) => part.name === name)
  if (!found) throw new Error(`no ${name}`)
  return found
}
const usersOf = ({ files }: ReturnType<typeof partOf>, name: string) =>
  usersOfText(String(files[name])).users.map((user) => ({ name: user.name, role: user.role }))

t.test(
  'a cloud and a demo have the console: its queue, its user, the bucket to read, people for it',
  async (t) => {
    for (const [kind, brokerName] of [
      ['cloud', 'broker'],
      ['demo', 'cloud-broker'],
    ] as const) {
      const secrets = await completeSecrets(kind, ['broker'], undefined)
      const composed = compose('x', settings(kind), secrets, facts)
      const it = partOf(composed, 'console')
      t.match(it.config, {
        broker: { url: `mqtts://${brokerName}:8883`, username: 'console' },
        database: { type: 'sqlite', path: '/var/lib/sightline/console.sqlite' },
        bucket: { type: 'folder', path: '/var/lib/sightline-bucket' },
        access: { usersFile: '/etc/sightline/people.yaml' },
        http: { port: 8444, tls: { certFile: '/etc/sightline/server.pem' } },
      })
      t.equal(String(it.files['broker.password']), secrets.users.console?.password)
      t.match(it.create.HostConfig?.Mounts, [
        { Source: 'sightline-x-console-data', Target: '/var/lib/sightline' },
        { Source: 'sightline-x-bucket', Target: '/var/lib/sightline-bucket', ReadOnly: true },
      ])
      t.strictSame(
        it.volumes.map(({ name }) => name),
        ['sightline-x-console-data'],
        'the bucket is not its to make',
      )
      t.strictSame(it.create.HostConfig?.PortBindings, {
        '8444/tcp': [{ HostIp: '0.0.0.0', HostPort: '8444' }],
      })
      t.equal(it.look, 'console   https://jetson:8444/')
      const people = [
        { name: 'admin', role: 'admin' },
        { name: 'viewer', role: 'viewer' },
      ]
      t.strictSame(usersOf(it, 'people.yaml'), people)
      const gallery = partOf(composed, 'subscriber')
      t.strictSame(usersOf(gallery, 'people.yaml'), people, 'and the same for the gallery')
      t.match(gallery.config, { announce: { enabled: true } })
      t.match(partOf(composed, brokerName).config, {
        queues: [
          { clientId: 'sightline-subscriber' },
          { clientId: 'sightline-subscriber-clips' },
          { clientId: 'sightline-console', topics: ['sightline/v1/stored/+'] },
        ],
      })
      t.ok(
        cloudUsers(settings(kind), secrets).some(
          ({ name, role }) => name === 'console' && role === 'console',
        ),
      )
    }
  },
)

t.test(
  "the console takes the bucket of the subscriber's configuration, and the queues of the broker's",
  async (t) => {
    const secrets = await completeSecrets('cloud', ['broker'], undefined)
    const bucket = { type: 's3', bucket: 'faces', region: 'eu-west-3' }
    const own = [{ clientId: 'archive', topics: ['sightline/v1/#'] }]
    const given = (tree: Record<string, unknown>) => ({ tree, files: {} })
    const composed = compose(
      'x',
      settings('cloud', {
        s3Credentials: 'aws-secret',
        configs: {
          subscriber: given({ bucket }),
          broker: given({ queues: own }),
          console: given({
            broker: { clientId: 'my-console' },
            database: { type: 'postgres', url: 'postgres://console@db/faces' },
          }),
        },
      }),
      secrets,
      facts,
    )
    for (const { part, config } of composed) checkTree(part.program, config)
    const it = partOf(composed, 'console')
    t.equal(it.config.publicUrl, it.look?.replace(/^console +|\/$/g, ''), 'links in notices lead to it')
    const publicUrl = 'https://faces.example.org'
    const proxied = settings('cloud', { configs: { console: given({ publicUrl }) } })
    t.equal(partOf(compose('x', proxied, secrets, facts), 'console').config.publicUrl, publicUrl)
    t.match(it.config, { bucket, database: { type: 'postgres', url: 'postgres://console@db/faces' } })
    t.equal(String(it.files['aws-credentials']), 'aws-secret')
    t.equal(it.create.HostConfig?.Mounts?.length, 1, 'there is no volume of a bucket to mount')
    t.strictSame(
      (partOf(composed, 'broker').config.queues as { clientId: string }[]).map(({ clientId }) => clientId),
      ['archive', 'my-console'],
    )
    const queues = [
      ...own,
      { clientId: 'sightline-console', topics: ['sightline/v1/stored/+'], bytesMax: '9GB' },
    ]
    const set = compose('x', settings('cloud', { configs: { broker: given({ queues }) } }), secrets, facts)
    t.strictSame(partOf(set, 'broker').config.queues, queues, 'one that is set already stays as it is')
  },
)

t.test(
  "who may look, by the gallery's users file, may sign in to the console, and so may the admin",
  async (t) => {
    const secrets = await completeSecrets('cloud', ['broker'], undefined)
    const file = Buffer.from(usersText([{ name: 'anna', role: 'viewer', sites: ['lab'] }])).toString('base64')
    const subscriber = {
      tree: { http: { usersFile: '/etc/sightline/http.usersFile.yaml' } },
      files: { 'http.usersFile.yaml': file },
    }
    const composed = compose('x', settings('cloud', { configs: { subscriber } }), secrets, facts)
    t.strictSame(usersOf(partOf(composed, 'console'), 'people.yaml'), [
      { name: 'anna', role: 'viewer' },
      { name: 'admin', role: 'admin' },
    ])
    t.strictSame(usersOf(partOf(composed, 'subscriber'), 'http.usersFile.yaml'), [
      { name: 'anna', role: 'viewer' },
    ])
    const console = {
      tree: { access: { usersFile: '/etc/sightline/access.usersFile.yaml' } },
      files: { 'access.usersFile.yaml': file },
    }
    const both = partOf(
      compose('x', settings('cloud', { configs: { subscriber, console } }), secrets, facts),
      'console',
    )
    t.notOk('people.yaml' in both.files)
    t.match(both.config.access, { usersFile: '/etc/sightline/access.usersFile.yaml' })
  },
)

t.test('what a version without the console remembers gains it', async (t) => {
  const { console: _, admin: __, ...users } = (await completeSecrets('cloud', ['broker'], undefined)).users
  const had = { ...(await completeSecrets('cloud', ['broker'], undefined)), users }
  const { console: opened, ...older } = settings('cloud', { gallery: { address: '127.0.0.1', port: 80 } })
  t.equal(opened, undefined)
  const secrets = await completeSecrets('cloud', ['broker'], had)
  t.match(secrets.users, { ...users, console: { password: String }, admin: { password: String } })
  const it = partOf(compose('x', older, secrets, facts), 'console')
  t.strictSame(
    it.create.HostConfig?.PortBindings,
    { '8444/tcp': [{ HostIp: '127.0.0.1', HostPort: '8444' }] },
    'open to whom the gallery is',
  )
})

t.test('an edge is called after its machine, where nobody says how', async (t) => {
  const secrets = await completeSecrets('edge', [], undefined)
  const [broker, device] = compose('x', settings('edge'), secrets, facts)
  t.match(device?.config, { site: 'home', device: 'jetson-7' })
  t.match(broker?.config, { name: 'edge-home-jetson-7', bridges: [{ name: 'cloud', url: 'mqtts://c:8883' }] })
  const tree = { site: 'lab', device: 'door', bridges: undefined }
  const named = compose('x', settings('edge', { configs: { device: { tree, files: {} } } }), secrets, facts)
  t.match(named[0]?.config, { name: 'edge-lab-door', users: [{ site: 'lab', device: 'door' }] })
})

t.test('edges that were invited have names of their own, and so have their bridges', async (t) => {
  const secrets = await completeSecrets('edge', [], undefined)
  const long = 'x'.repeat(62)
  // As conf/edge-broker.yaml has it: several may be given the same.
  const configs = { broker: { tree: { name: 'edge' }, files: {} } }
  const names = ['lab', 'lab-jetson', `${long}a`, `${long}b`].map((site) => {
    const uplink = { url: 'mqtts://c:8883', site, username: edgeName(site), password: 'p' }
    const [broker, device] = compose('x', settings('edge', { uplink, configs }), secrets, facts)
    checkTree('broker', broker?.config)
    t.match(device?.config, { site, device: 'jetson-7' }, 'the device is of the site that was invited')
    t.match(broker?.config.users, [{ role: 'device', site, device: 'jetson-7' }])
    return broker?.config.name
  })
  t.equal(new Set(names).size, names.length, names.join(' '))
})

t.test("a bridge of one's own keeps its settings, and leads to the cloud", async (t) => {
  const secrets = await completeSecrets('edge', [], undefined)
  const tree = {
    bridges: [
      { name: 'cloud', url: 'mqtts://old', bytesMax: '5GB', topics: [{ filter: 'a/#' }] },
      { name: 'other', url: 'mqtts://other', topics: [{ filter: 'b/#' }] },
    ],
  }
  const [broker] = compose(
    'x',
    settings('edge', { configs: { broker: { tree, files: {} } } }),
    secrets,
    facts,
  )
  t.match(broker?.config.bridges, [
    { name: 'cloud', url: 'mqtts://c:8883', bytesMax: '5GB', topics: [{ filter: 'a/#' }] },
    { name: 'other', url: 'mqtts://other' },
  ])
  checkTree('broker', broker?.config)
})

t.test('secrets stay; the certificate follows the names that it is to have', async (t) => {
  const first = await completeSecrets('cloud', ['a'], undefined)
  t.equal((await completeSecrets('cloud', ['a'], first)).server, first.server)
  const second = await completeSecrets('cloud', ['a', 'b'], first)
  t.not(second.server?.cert, first.server?.cert)
  t.strictSame(second.authority, first.authority, 'so edges that have it still trust it')
  t.strictSame(second.users, first.users)
})

t.test('a write that was interrupted leaves what was remembered before', async (t) => {
  const kept = new Map<string, Buffer>()
  const volumes = {
    exists: async () => kept.size > 0,
    ensure: async () => {},
    put: async (_name: string, files: Record<string, Buffer>) => {
      for (const [file, content] of Object.entries(files)) kept.set(file, content)
    },
    read: async () => Object.fromEntries(kept),
  } as unknown as Volumes
  const secrets = await completeSecrets('edge', [], undefined)
  const at = (port: number) => newState(settings('edge', { mqttPort: port }), secrets)
  t.equal(await readState(volumes, 'x'), undefined)
  for (const port of [1, 2, 3]) await writeState(volumes, 'x', at(port))
  t.equal((await readState(volumes, 'x'))?.settings.mqttPort, 3)
  const before = [...kept.values()].map(String)
  await writeState(volumes, 'x', at(3))
  t.strictSame([...kept.values()].map(String), before, 'the same is not written again')
  const newest = [...kept].find(([, content]) => content.includes('"mqttPort":3'))?.[0] ?? ''
  kept.set(newest, Buffer.from(String(kept.get(newest)).slice(0, 200)))
  t.equal((await readState(volumes, 'x'))?.settings.mqttPort, 2)
  await writeState(volumes, 'x', at(4))
  t.equal((await readState(volumes, 'x'))?.settings.mqttPort, 4)
})

t.test('a join file is for its owner alone, and is never overwritten by another', async (t) => {
  const file = join(temporaryFolder(t), 'lab.join.yaml')
  const { authority } = await completeSecrets('cloud', ['c'], undefined)
  const ca = authority?.cert ?? ''
  const uplink = { url: 'mqtts://c:8883', site: 'lab', username: 'edge-lab', password: 'p', ca }
  writeJoin(file, uplink)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.strictSame(readJoin(file), uplink)
  t.throws(() => writeJoin(file, uplink), { code: 'FILE_EXISTS' })
  writeFileSync(file, readFileSync(file, 'utf8').replace('mqtts://c:8883', 'mqtt://c:1883'))
  t.throws(() => readJoin(file), {
    code: 'CONFIG_INVALID',
    message: /"url" must be an address such as mqtts/,
  })
  const { site: _, ...common } = uplink
  writeFileSync(file, JSON.stringify({ version: 1, ...common }))
  t.strictSame(readJoin(file), common, 'one of an earlier version still joins')
})

t.test('a join file that is cut, wherever, is none', async (t) => {
  const file = join(temporaryFolder(t), 'lab.join.yaml')
  const { authority } = await completeSecrets('cloud', ['c'], undefined)
  writeJoin(file, {
    url: 'mqtts://c:8883',
    site: 'lab',
    username: 'edge-lab',
    password: 'f'.repeat(32),
    ca: authority?.cert ?? '',
  })
  const text = readFileSync(file, 'utf8')
  const taken = Array.from({ length: text.trimEnd().length }, (_, length) => length).filter((length) => {
    writeFileSync(file, text.slice(0, length))
    try {
      readJoin(file)
      return true
    } catch {
      return false
    }
  })
  t.strictSame(taken, [])
})

t.test("a build's context is what .dockerignore leaves, and its hash that of the contents", async (t) => {
  const root = temporaryFolder(t)
  const put = (name: string, content: string) => {
    mkdirSync(join(root, name, '..'), { recursive: true })
    writeFileSync(join(root, name), content)
  }
  put('.dockerignore', '# what is built\n*\n!package.json\n!lib\n!deep/down/file\n**/*.onnx\n')
  put('docker/Dockerfile', 'FROM x')
  for (const name of [
    'package.json',
    'lib/a.ts',
    'lib/model.onnx',
    'secret.key',
    'deep/other',
    'deep/down/file',
    'node_modules/x/y',
  ])
    put(name, name)
  const names = () => readContext(root, 'docker/Dockerfile').files.map(({ name }) => name)
  t.strictSame(names(), ['.dockerignore', 'deep/down/file', 'docker/Dockerfile', 'lib/a.ts', 'package.json'])
  const hash = () => hashOf(readContext(root, 'docker/Dockerfile'), ['broker'])
  const before = hash()
  utimesSync(join(root, 'lib/a.ts'), 1, 1)
  put('secret.key', 'another')
  t.equal(hash(), before)
  put('lib/a.ts', 'another')
  t.not(hash(), before)
  t.throws(() => readContext(root, 'Dockerfile'), { code: 'IMAGE_NOT_FOUND' })
})

t.test("an edge's bridge carries what a console needs up, and its own site's commands down", async (t) => {
  const secrets = await completeSecrets('edge', [], undefined)
  const [broker] = compose(
    'x',
    settings('edge', {
      uplink: { url: 'mqtts://c:8883', site: 'lab', username: 'edge-lab', password: 'x' },
    }),
    secrets,
    facts,
  )
  const [bridge] = (broker?.config.bridges ?? []) as { topics: { filter: string; direction?: string }[] }[]
  const rights = rightsOf({ name: 'edge-lab', role: 'bridge', site: 'lab' })
  const down = bridge?.topics.filter(({ direction }) => direction === 'down').map(({ filter }) => filter)
  t.strictSame(down, rights.subscribe, 'as much as its user may read')
  const up = bridge?.topics.filter(({ direction }) => direction !== 'down').map(({ filter }) => filter)
  t.strictSame(
    up?.toSorted(),
    rightsOf({ name: 'all', role: 'bridge' }).publish.toSorted(),
    'all that a bridge may',
  )
  checkTree('broker', broker?.config)
  const [cloud] = compose('y', settings('cloud'), await completeSecrets('cloud', ['a'], undefined), facts)
  t.match(cloud?.config.queues, [
    { clientId: 'sightline-subscriber', topics: ['sightline/v1/+/+/+/crop'] },
    { clientId: 'sightline-subscriber-clips', topics: ['sightline/v1/+/+/+/clip'] },
    { clientId: 'sightline-console', topics: ['sightline/v1/stored/+'] },
  ])
  checkTree('broker', cloud?.config)
})
