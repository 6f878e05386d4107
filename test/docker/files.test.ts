import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, globSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { ENVIRONMENT } from '../../bin/runtime.js'
import { brokerSchema, checkBrokerConfig } from '../../broker/config.ts'
import { checkSubscriberConfig, subscriberSchema } from '../../cloud-subscriber/config.ts'
import { checkConsoleConfig, consoleSchema } from '../../console/config.ts'
import { readLooking } from '../../deploy/looking-file.ts'
import { checkDeviceConfig, deviceSchema } from '../../device/config.ts'
import { checkInferenceConfig, inferenceSchema } from '../../inference/config.ts'
import { Tokens } from '../../inference/tokens.ts'
import { readUsers } from '../../lib/access/users.ts'
import { removeUser } from '../../lib/access/users-file.ts'
import { loadConfig } from '../../lib/config.ts'
import { programPart } from '../../pack/image.ts'
import { PROGRAMS } from '../../pack/parts.ts'
import { temporaryFolder } from '../kit/programs.ts'

/** What can be said of the files in docker/ without an engine. `npm run test:docker` builds and runs them. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const DOCKER = join(ROOT, 'docker')
const read = (file: string) => readFileSync(join(DOCKER, file), 'utf8')
const dockerfiles = ['Dockerfile', 'jetson.Dockerfile', 'jetson-inference.Dockerfile']
const composeFiles = globSync('compose.*.yaml', { cwd: DOCKER })

/** Instructions, each on one line, comments left out. */
function instructions(file: string): string[] {
  return read(file)
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
}

t.test('programs in an image are started as everywhere', async (t) => {
  for (const file of dockerfiles) {
    const settings = instructions(file).filter((line) => line.startsWith('ENV NODE_ENV'))
    t.ok(settings.length > 0, file)
    for (const line of settings) {
      const env = Object.fromEntries(
        line
          .slice(4)
          .split(/\s+/)
          .map((pair) => pair.split('=')),
      )
      for (const [name, value] of Object.entries(ENVIRONMENT)) {
        if (name === 'NODE_COMPILE_CACHE') t.notOk(name in env, 'the root filesystem is read-only')
        else if (name === 'UV_THREADPOOL_SIZE') t.ok(Number(env[name]) >= 8, `${file}: ${name}`)
        else t.equal(env[name], value, `${file}: ${name}`)
      }
    }
    const entrypoints = instructions(file).filter((it) => it.startsWith('ENTRYPOINT'))
    t.ok(entrypoints.length > 0, file)
    for (const line of entrypoints)
      t.strictSame(JSON.parse(line.slice('ENTRYPOINT'.length)), ['node', '/opt/sightline/bin/sightline.js'])
    for (const [name, program] of Object.entries(PROGRAMS))
      t.ok(
        programPart(ROOT, program).files.has('bin/sightline.js'),
        `the launcher is in the image of the ${name}`,
      )
  }
})

t.test('Dockerfiles need no BuildKit, run as user 1000, and hold no secret', async (t) => {
  for (const file of dockerfiles) {
    const lines = instructions(file)
    for (const line of lines) {
      t.notMatch(
        line,
        /--mount|<<|--chmod|--link|\$BUILDPLATFORM|\$\{?TARGET(ARCH|PLATFORM)/,
        `${file}: ${line}`,
      )
      t.notMatch(line, /password|secret|token/i, `${file}: ${line}`)
    }
    const stages = lines.join('\n').split(/^FROM /m)
    const programs = stages.filter((it) => it.includes('ENTRYPOINT'))
    t.ok(programs.length > 0, file)
    for (const stage of programs) {
      for (const needed of [
        'USER 1000:1000',
        'VOLUME /var/lib/sightline',
        'HEALTHCHECK',
        'org.opencontainers.image.title',
      ])
        t.match(stage, needed, `${file}: ${stage.split('\n')[0]}`)
    }
  }
  const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n')
  t.equal(
    ignored.find((line) => line !== '' && !line.startsWith('#')),
    '*',
    '.dockerignore is a list of what may',
  )
  for (const line of ignored.filter((it) => it.startsWith('!')))
    t.notMatch(line, /secret|docker|data|^!\.|node_modules|\*/, line)
})

interface Service {
  readonly image: string
  readonly user?: string
  readonly read_only?: boolean
  readonly cap_drop?: string[]
  readonly security_opt?: string[]
  readonly restart?: string
  readonly privileged?: boolean
  readonly network_mode?: string
  readonly env_file?: string[]
  readonly environment?: Record<string, string>
  readonly ports?: string[]
  readonly build?: { readonly context: string; readonly dockerfile: string; readonly target?: string }
  readonly volumes?: (string | { type: string; source: string; target: string; read_only?: boolean })[]
}

function services(file: string): [string, Service][] {
  const { services } = parse(read(file), { merge: true }) as { services: Record<string, Service> }
  return Object.entries(services)
}

t.test('every container is confined, its image pinned, its settings there', async (t) => {
  const targets = new Set(
    instructions('Dockerfile').flatMap((line) => /^FROM \S+ AS (\S+)/.exec(line)?.[1] ?? []),
  )
  for (const file of composeFiles) {
    const isWhole = /^name: /m.test(read(file))
    for (const [name, service] of services(file)) {
      const said = `${file}: ${name}`
      t.notOk(
        service.privileged || service.network_mode,
        `${said} is not privileged, and has a network of its own`,
      )
      if (service.image)
        t.match(
          service.image,
          /:(v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?|\$\{SIGHTLINE_VERSION:-\d+\.\d+\.\d+\})$/,
          said,
        )
      if (service.build) {
        t.ok(existsSync(join(DOCKER, service.build.context, service.build.dockerfile)), said)
        if (service.build.target) t.ok(targets.has(service.build.target), said)
      }
      for (const [key, value] of Object.entries(service.environment ?? {}))
        t.notMatch(`${key}=${value}`, /password|secret|key_id/i, said)
      if (!isWhole) continue
      t.equal(service.read_only, true, said)
      t.strictSame(service.cap_drop, ['ALL'], said)
      t.strictSame(service.security_opt, ['no-new-privileges:true'], said)
      t.equal(service.restart, 'always', said)
      for (const volume of service.volumes ?? []) {
        if (typeof volume === 'string') continue
        // The console's administrators manage users, who look at the gallery too.
        const isItsOwn = name === 'console' && volume.target === '/run/people'
        t.equal(volume.read_only, !isItsOwn, `${said}: ${volume.target}`)
        t.ok(
          volume.source.startsWith('./secrets/') || existsSync(join(DOCKER, volume.source)),
          `${said}: ${volume.source}`,
        )
      }
      for (const port of service.ports ?? [])
        t.match(port, /:(8883|8443|8444|8500)$/, `${said}: TLS alone is published`)
    }
  }
})

const mayHandOver = [0, 1000].includes(process.getuid?.() ?? -1)
const noHandOver = !mayHandOver && 'the secrets belong to user 1000, whom only root can hand them to'

t.test(
  'with the secrets that secrets.sh makes every program has valid settings',
  { skip: noHandOver },
  async (t) => {
    const secrets = temporaryFolder(t)
    const env = {
      ...process.env,
      SIGHTLINE: `${process.execPath} ${join(ROOT, 'bin', 'sightline.js')}`,
      SIGHTLINE_SECRETS: secrets,
    }
    const run = (...args: string[]) => spawnSync(join(DOCKER, 'secrets.sh'), args, { env, encoding: 'utf8' })
    const demo = run('demo')
    t.equal(demo.status, 0, demo.stderr)
    const cloud = run('cloud', 'broker.example.org', '192.0.2.7')
    t.equal(cloud.status, 0, cloud.stderr)
    t.equal(run('invite', 'school').status, 0)
    const edge = run('edge', join(secrets, 'invitations', 'school.join.yaml'), 'door')
    t.equal(edge.status, 0, edge.stderr)
    const inference = run('inference', 'gpu.example.org', '192.0.2.9')
    t.equal(inference.status, 0, inference.stderr)

    const variables = (file: string) =>
      Object.fromEntries(
        readFileSync(join(secrets, file), 'utf8')
          .trim()
          .split('\n')
          .map((line) => line.split(/=(.*)/s)),
      )
    for (const base of ['', 'demo/']) {
      const broker = loadConfig(brokerSchema, {
        file: join(DOCKER, 'edge/broker.yaml'),
        env: variables(`${base}edge/broker.env`),
      })
      checkBrokerConfig(broker)
      t.match(broker.bridges[0]?.url, base ? 'mqtts://cloud-broker:8883' : 'mqtts://broker.example.org:8883')
      const device = loadConfig(deviceSchema, {
        file: join(DOCKER, 'edge/device.yaml'),
        env: variables(`${base}edge/device.env`),
      })
      checkDeviceConfig(device)
      t.equal(device.broker.username, device.device)
    }
    // Nobody sees that a file of variables was cut: what makes the login whole comes last, so that one is refused.
    for (const base of ['', 'demo/'])
      for (const file of ['edge/broker.env', 'edge/device.env'])
        t.match(Object.keys(variables(base + file)).at(-1), /USERNAME$/, base + file)
    checkBrokerConfig(loadConfig(brokerSchema, { file: join(DOCKER, 'cloud/broker.yaml') }))
    for (const file of ['cloud/subscriber.yaml', 'demo/subscriber.yaml'])
      checkSubscriberConfig(loadConfig(subscriberSchema, { file: join(DOCKER, file) }))
    for (const file of ['cloud/console.yaml', 'demo/console.yaml'])
      checkConsoleConfig(loadConfig(consoleSchema, { file: join(DOCKER, file) }))
    checkInferenceConfig(loadConfig(inferenceSchema, { file: join(DOCKER, 'inference/inference.yaml') }))

    // What each container is given is there, and nothing else: no key of the authority.
    for (const file of composeFiles)
      for (const [name, { volumes = [], env_file = [] }] of services(file)) {
        for (const path of env_file)
          t.ok(existsSync(join(secrets, path.replace('./secrets/', ''))), `${file}: ${path}`)
        for (const volume of volumes) {
          if (typeof volume === 'string' || !volume.source.startsWith('./secrets/')) continue
          const given = join(secrets, volume.source.replace('./secrets/', ''))
          t.notOk(
            globSync('**/ca.key', { cwd: given }).length,
            `${file}: ${name} has no key of the authority`,
          )
          const config = (volumes.find(
            (it) => typeof it !== 'string' && it.target.startsWith('/etc/sightline/'),
          ) ?? {}) as { source: string }
          for (const [, secret = ''] of read(config.source).matchAll(
            new RegExp(`${volume.target}/([\\w.-]+)`, 'g'),
          ))
            t.ok(existsSync(join(given, secret)), `${file}: ${name} has ${secret}`)
        }
      }

    // An edge whose frames that server looks at; said again, with another server, the last word counts.
    const joinFile = join(secrets, 'invitations', 'inference.join.yaml')
    const { token } = readLooking([joinFile])
    Tokens.read({ tokens: [], tokensFile: join(secrets, 'inference/server/tokens') }).check(
      `Bearer ${token}`,
      '192.0.2.1',
    )
    for (const files of [[joinFile], [joinFile, joinFile]]) {
      const servers = run('servers', ...files)
      t.equal(servers.status, 0, servers.stderr)
      const device = loadConfig(deviceSchema, {
        file: join(DOCKER, 'edge/device.yaml'),
        env: variables('edge/device.env'),
      })
      checkDeviceConfig(device)
      t.match(device, { device: 'door', detect: { runtime: 'remote' } })
      t.strictSame(
        device.detect.servers?.addresses,
        files.map(() => 'https://gpu.example.org:8500'),
      )
      for (const path of [device.detect.servers?.tokenFile, device.detect.servers?.caFile])
        t.ok(existsSync(join(secrets, 'edge/device', (path ?? '').replace('/run/secrets/', ''))), 'is there')
    }
    t.match(Object.keys(variables('edge/device.env')).at(-1), /USERNAME$/)
    t.match(run('servers', secrets), { status: 66, stderr: /Create one on the inference server/ })
    t.match(run('inference', 'other.example.org'), { status: 73, stderr: /^FILE_EXISTS/ })

    const address = join(secrets, 'authority', 'address')
    const whole = readFileSync(address, 'utf8')
    writeFileSync(address, whole.slice(0, -6))
    t.match(run('invite', 'yard'), { status: 78, stderr: /authority\/address is truncated/ })
    writeFileSync(address, whole)

    const again = run('cloud', 'broker.example.org')
    t.equal(again.status, 73)
    t.match(again.stderr, /^FILE_EXISTS: .* nothing is changed/)
    t.equal(run('edge', secrets, 'door').status, 66, 'no join file')
    t.equal(run('invite', '../x').status, 65)
    t.equal(run('invite', '2024').status, 0, 'a name that is a number stays a name')
    t.equal(run().status, 64)
    t.equal(
      new Set(['demo', ''].map((base) => readFileSync(join(secrets, base, 'edge/device/password'), 'utf8')))
        .size,
      2,
    )
  },
)

t.test(
  'a cloud that was made before there was the console gains what that needs, and keeps what it has',
  { skip: noHandOver },
  async (t) => {
    const secrets = temporaryFolder(t)
    const env = {
      ...process.env,
      SIGHTLINE: `${process.execPath} ${join(ROOT, 'bin', 'sightline.js')}`,
      SIGHTLINE_SECRETS: secrets,
    }
    const run = (...args: string[]) => spawnSync(join(DOCKER, 'secrets.sh'), args, { env, encoding: 'utf8' })
    const at = (file: string) => join(secrets, 'cloud', file)
    t.match(run('console'), { status: 66, stderr: /^CERTIFICATE_NOT_FOUND: .*secrets\.sh cloud HOST/ })
    t.equal(run('cloud', 'broker.example.org', '192.0.2.7').status, 0)
    t.match(run('console'), { status: 73, stderr: /^FILE_EXISTS/ })
    // As that version has left it.
    await removeUser(at('people/users.yaml'), 'admin')
    renameSync(at('people/users.yaml'), at('subscriber/users.yaml'))
    await removeUser(at('broker/users.yaml'), 'console')
    for (const name of ['people', 'console', 'console.env']) rmSync(at(name), { recursive: true })
    const before = readFileSync(at('broker/users.yaml'), 'utf8')

    const made = run('console')
    t.match(made, {
      status: 0,
      stdout: /Console: https:\/\/broker\.example\.org:8444\/ user admin, password [0-9a-f]{32}/,
    })
    t.match(readUsers(at('broker/users.yaml')).users, [
      { name: 'subscriber' },
      { name: 'console', role: 'console' },
    ])
    t.match(readUsers(at('people/users.yaml')).users, [{ name: 'viewer' }, { name: 'admin', role: 'admin' }])
    t.ok(
      readFileSync(at('broker/users.yaml'), 'utf8').includes(before.split('\n')[3] ?? '?'),
      'others keep theirs',
    )
    t.equal(readFileSync(at('console.env'), 'utf8'), readFileSync(at('subscriber.env'), 'utf8'))
    const { subjectAltName } = new X509Certificate(readFileSync(at('console/web.pem')))
    t.match(subjectAltName, /DNS:localhost.*DNS:broker\.example\.org.*IP Address:192\.0\.2\.7/)
    for (const name of ['console/password', 'console/web.key', 'people/users.yaml'])
      t.match(statSync(at(name)), { uid: 1000 }, name)
    t.match(run('console'), { status: 73 })

    // Interrupted after the broker knows its user, and before the files are in place.
    for (const name of ['people', 'console', 'console.env']) rmSync(at(name), { recursive: true })
    t.equal(run('console').status, 0)
    t.equal(readUsers(at('broker/users.yaml')).users.length, 2)
  },
)

const noSystemd =
  spawnSync('systemd-analyze', ['--version']).status !== 0 && 'there is no systemd-analyze here'

t.test('systemd takes the units', { skip: noSystemd }, async (t) => {
  const folder = join(ROOT, 'conf', 'systemd')
  const units = globSync('*.service', { cwd: folder }).map((unit) => join(folder, unit))
  t.equal(units.length, 5)
  const { stderr } = spawnSync('systemd-analyze', ['verify', ...units], { encoding: 'utf8' })
  const complaints = stderr
    .split('\n')
    .filter((line) => line !== '' && !/is not executable: No such file/.test(line))
  t.strictSame(complaints, [])
})
