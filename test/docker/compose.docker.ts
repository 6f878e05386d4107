import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { get } from 'node:https'
import { join, resolve } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { command, docker, isWell, logOf } from './engine.ts'

/** The Compose files, by Compose; the demo's containers run, on a project name of the test's own. */

const DOCKER = resolve(import.meta.dirname, '..', '..', 'docker')
const PROJECT = `sightline-test-${process.pid}`
const WELL_MS_MAX = 120_000

const COMPOSE = [['docker', 'compose'], ['docker-compose']].find(
  ([program = '', ...args]) => spawnSync(program, [...args, 'version']).status === 0,
)
/** Compose 1 does not know the key, which names the project. */
const knowsNames = COMPOSE?.[0] === 'docker'
const noCompose = COMPOSE === undefined && 'there is neither "docker compose" nor "docker-compose" here'

/** A file as it is, but for the images of this test, its secrets and its port. */
function rewritten(file: string, secrets: string): string {
  const { name, ...rest } = parse(
    readFileSync(join(DOCKER, file), 'utf8')
      .replaceAll('./secrets/', `${secrets}/`)
      .replaceAll('127.0.0.1:$' + '{SIGHTLINE_GALLERY_PORT:-8443}:8443', '127.0.0.1::8443')
      .replaceAll('127.0.0.1:$' + '{SIGHTLINE_CONSOLE_PORT:-8444}:8444', '127.0.0.1::8444'),
    { merge: true },
  ) as Record<string, unknown>
  return stringify(knowsNames ? { name, ...rest } : rest)
}

function compose(input: string, ...args: string[]) {
  const [program = '', ...first] = COMPOSE ?? []
  return command(program, [...first, '--project-directory', DOCKER, '-p', PROJECT, '-f', '-', ...args], {
    input,
    // Compose 1 takes relative paths from here.
    cwd: DOCKER,
    env: { SIGHTLINE_VERSION: 'under-test' },
  })
}

function makeSecrets(folder: string, ...args: string[]): void {
  const made = spawnSync(join(DOCKER, 'secrets.sh'), args, {
    encoding: 'utf8',
    env: { ...process.env, SIGHTLINE_SECRETS: folder, SIGHTLINE_IMAGE: 'sightline-broker:under-test' },
  })
  if (made.status !== 0) throw new Error(made.stderr)
}

t.test('"config" takes every file', { skip: noCompose }, async (t) => {
  const secrets = temporaryFolder(t)
  makeSecrets(secrets, 'cloud', 'localhost')
  makeSecrets(secrets, 'invite', 'home')
  makeSecrets(secrets, 'edge', join(secrets, 'invitations', 'home.join.yaml'), 'door')
  makeSecrets(secrets, 'demo')
  for (const file of globSync('compose.{edge,cloud,demo}.yaml', { cwd: DOCKER })) {
    const { status, stderr } = await compose(rewritten(file, secrets), 'config', '--quiet')
    t.equal(status, 0, `${file}: ${stderr}`)
    t.equal(stderr, '', file)
  }
})

t.test(
  'without secrets nothing starts, and Compose says which file is missing',
  { skip: noCompose },
  async (t) => {
    const nothing = temporaryFolder(t)
    const { status, stderr } = await compose(rewritten('compose.edge.yaml', nothing), 'up', '--detach')
    t.not(status, 0)
    t.match(stderr, /edge\/(broker|device)\.env/)
    t.equal(
      await docker('ps', '--all', '--quiet', `--filter=label=com.docker.compose.project=${PROJECT}`),
      '',
    )
  },
)

t.test(
  'the demo: faces reach the bucket; a broker that is killed loses none of them',
  { skip: noCompose },
  async (t) => {
    const secrets = temporaryFolder(t)
    makeSecrets(secrets, 'demo')
    const file = rewritten('compose.demo.yaml', secrets)
    t.teardown(async () => {
      await compose(file, 'down', '--volumes', '--timeout', '30')
    })
    const up = await compose(file, 'up', '--detach')
    t.equal(up.status, 0, up.stderr)
    const id = async (service: string) => (await compose(file, 'ps', '--quiet', service)).stdout.trim()
    const [device, edge, cloud, subscriber, console] = [
      await id('device'),
      await id('edge-broker'),
      await id('cloud-broker'),
      await id('subscriber'),
      await id('console'),
    ] as [string, string, string, string, string]
    const stored = async () =>
      Number(
        await docker(
          'exec',
          subscriber,
          'sh',
          '-c',
          'find /var/lib/sightline-bucket -name "*.jpg" -not -path "*/.*" 2>/dev/null | wc -l',
        ),
      )
    await until('faces are in the bucket', async () => (await stored()) >= 10, WELL_MS_MAX)
    for (const [name, container] of Object.entries({ device, edge, cloud, subscriber, console }))
      await until(`${name} is well`, () => isWell(container), WELL_MS_MAX)

    await docker('kill', cloud)
    const before = await stored()
    const away = async () => (await logOf(edge)).length
    t.ok(await away())
    await new Promise((done) => setTimeout(done, 5000))
    t.ok(await isWell(edge), 'the edge broker is well while the cloud is away')
    t.ok((await stored()) - before < 200, 'the cloud is away')
    await docker('start', cloud)
    await until('what waited arrives', async () => (await stored()) > before + 20, WELL_MS_MAX)

    // The gallery: nobody without a password, over TLS with the authority of the secrets.
    const [port = ''] = (await docker('port', subscriber, '8443'))
      .split('\n')
      .map((it) => it.replace(/.*:/, ''))
    const status = await new Promise<number | undefined>((done, failed) => {
      get(
        {
          host: 'localhost',
          port: Number(port),
          path: '/gallery/',
          ca: readFileSync(join(secrets, 'demo', 'cloud', 'subscriber', 'ca.pem')),
          agent: false,
        },
        (answer) => {
          answer.resume()
          done(answer.statusCode)
        },
      ).on('error', failed)
    })
    t.equal(status, 401)

    await docker('stop', '--time=30', device)
    const books = (await logOf(device)).find(({ msg }) => msg === 'books') as
      | { published?: number }
      | undefined
    t.ok(Number(books?.published) > 0)
    await until(
      'every crop that was published is in the bucket',
      async () => (await stored()) >= Number(books?.published),
      WELL_MS_MAX,
    )
    t.equal(await stored(), Number(books?.published))
    const down = await compose(file, 'stop', '--timeout', '30')
    t.equal(down.status, 0, down.stderr)
    for (const container of [edge, cloud, subscriber, console, device])
      t.equal(await docker('inspect', '--format={{.State.ExitCode}}', container), '0')
  },
)
