import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { deploy } from '../../commands/deploy/deploy.ts'
import { cloudUsers } from '../../deploy/compose.ts'
import { edgeName } from '../../deploy/edge-users.ts'
import { sayEdges, writeUsers } from '../../deploy/edges.ts'
import { Engine } from '../../deploy/engine.ts'
import { readJoin, type Uplink } from '../../deploy/join-file.ts'
import { usersVolume } from '../../deploy/names.ts'
import { completeSecrets, type Secrets } from '../../deploy/secrets.ts'
import type { Settings } from '../../deploy/settings.ts'
import { newState, readState, writeState } from '../../deploy/state.ts'
import { Volumes } from '../../deploy/volumes.ts'
import { readUsers } from '../../lib/access/users.ts'
import { usersText } from '../../lib/access/users-file.ts'
import { asFailure } from '../../lib/errors.ts'
import { brokerConfig, Program, type Test, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'
import { FakeEngine, withVolumes } from './fake-engine.ts'

/** Edges that are invited to a cloud and taken back, with both ways of installing, at a broker that runs. */

const ROOT = resolve(import.meta.dirname, '..', '..')
const SETTINGS: Settings = {
  kind: 'cloud',
  gpu: false,
  mounts: [],
  addresses: ['cloud.example.org'],
  mqttPort: 8883,
  gallery: { address: '0.0.0.0', port: 8080 },
  configs: {},
}

interface Ended {
  readonly status: number | null
  readonly said: string
}

/** A cloud as a way of installing has made it. */
interface Installed {
  readonly usersFile: string
  readonly invite: (site: string) => Promise<Ended>
  readonly joinFile: (site: string) => string
  readonly remove: (site: string) => Promise<Ended>
}

/** In this process: a start of the program takes a second. */
async function command(...args: string[]): Promise<Ended> {
  try {
    return { status: await deploy.run(args), said: '' }
  } catch (error) {
    const { exitStatus, code, message } = asFailure(error)
    return { status: exitStatus, said: `${code}: ${message}` }
  }
}

/** @param had what an earlier version remembered */
async function byDeploy(t: Test, had?: Secrets, follows = true, settings = SETTINGS) {
  const folder = temporaryFolder(t)
  const engine = await FakeEngine.open(
    t,
    withVolumes(folder, {
      Id: '1',
      Names: ['/sightline-cloud-broker'],
      Labels: {
        'org.sightline.deployment': 'cloud',
        'org.sightline.kind': 'cloud',
        'org.sightline.role': 'broker',
      },
      ImageID: 'image',
      Ports: [],
      Mounts: follows ? [{ Name: usersVolume('cloud') }] : [],
    }),
  )
  const opened = await Engine.open({ kind: 'unix', path: engine.socket }, {} as never)
  t.after(() => opened[Symbol.dispose]())
  const volumes = new Volumes(opened, { name: 'cloud', kind: 'cloud' }, 'image')
  const secrets = await completeSecrets('cloud', ['broker', 'cloud.example.org'], had)
  await writeState(volumes, 'cloud', newState(settings, secrets))
  await writeUsers(volumes, 'cloud', cloudUsers(settings, secrets))
  const joinFile = (site: string) => join(folder, `${site}.join.yaml`)
  const where = ['--name', 'cloud', '--host', engine.host]
  return {
    volumes,
    usersFile: join(folder, usersVolume('cloud'), 'users.yaml'),
    joinFile,
    run: (...args: string[]) => command(...args, ...where),
    invite: (site: string) => command('invite', site, ...where, '--out', joinFile(site)),
    remove: (site: string) => command('remove', site, ...where),
  }
}

function byScript(t: Test): Installed {
  const folder = temporaryFolder(t)
  const run = async (...args: string[]): Promise<Ended> => {
    const { status, stderr } = spawnSync(join(ROOT, 'docker', 'secrets.sh'), args, {
      encoding: 'utf8',
      env: {
        ...process.env,
        SIGHTLINE: `${process.execPath} ${join(ROOT, 'bin', 'sightline.js')}`,
        SIGHTLINE_SECRETS: folder,
      },
    })
    return { status, said: stderr }
  }
  const made = spawnSync(process.execPath, [
    join(ROOT, 'bin', 'sightline.js'),
    ...['secrets', 'cloud', folder, 'cloud.example.org'],
  ])
  if (made.status !== 0) throw new Error(String(made.stderr))
  return {
    usersFile: join(folder, 'cloud/broker/users.yaml'),
    joinFile: (site) => join(folder, 'invitations', `${site}.join.yaml`),
    invite: (site) => run('invite', site),
    remove: (site) => run('remove', site),
  }
}

const mayHandOver = [0, 1000].includes(process.getuid?.() ?? -1)
const noHandOver = !mayHandOver && 'the secrets belong to user 1000, whom only root can hand them to'
const WAYS: readonly (readonly [string, (t: Test) => Installed | Promise<Installed>, string | false])[] = [
  ['deploy', byDeploy, false],
  ['secrets.sh', byScript, noHandOver],
]

/** What a cloud's users file says, without what is random. */
const usersIn = (file: string) => readUsers(file).users.map(({ password: _, ...user }) => user)

t.test('both ways make the same users', { skip: noHandOver }, async (t) => {
  const other = byScript(t) // first: it keeps this process waiting, and the engine would close what is idle
  const one = await byDeploy(t)
  for (const { invite } of [one, other])
    for (const site of ['lab', 'x'.repeat(63)]) t.match(await invite(site), { status: 0 })
  t.strictSame(usersIn(one.usersFile), usersIn(other.usersFile))
  t.match(usersIn(one.usersFile), [
    { name: 'subscriber', role: 'subscriber' },
    { name: 'console', role: 'console' },
    { name: 'edge-lab', role: 'bridge', site: 'lab' },
    { role: 'bridge', site: 'x'.repeat(63) },
  ])
  const [a, b] = [readJoin(one.joinFile('lab')), readJoin(other.joinFile('lab'))]
  t.strictSame({ ...a, password: '', ca: '' }, { ...b, password: '', ca: '' }, 'and the same join file')
  t.equal(a.url, 'mqtts://cloud.example.org:8883')
})

for (const [way, install, skip] of WAYS)
  t.test(`${way}: an edge may publish its own site alone, and is taken back alone`, { skip }, async (t) => {
    const cloud = await install(t)
    for (const site of ['lab', 'yard']) t.match(await cloud.invite(site), { status: 0, said: '' })
    const [lab, yard] = ['lab', 'yard'].map((site) => readJoin(cloud.joinFile(site))) as [Uplink, Uplink]
    t.not(lab.username, yard.username)
    t.not(lab.password, yard.password)
    t.equal(statSync(cloud.joinFile('lab')).mode & 0o777, 0o600)
    for (const { password } of [lab, yard]) t.notMatch(readFileSync(cloud.usersFile, 'utf8'), password)

    const broker = await Program.start(
      t,
      'broker',
      brokerConfig(t, {
        usersFile: cloud.usersFile,
        queues: [{ clientId: 'sightline-subscriber', topics: ['sightline/v1/+/+/+/crop'] }],
      }),
    )
    const bridge = ({ username, password, site = '' }: Uplink) =>
      RawClient.open(t, broker.port, `sightline-bridge-${edgeName(site)}-cloud`, {
        clean: true,
        username,
        password: Buffer.from(password),
      })
    const publishes = async (client: RawClient, site: string) => {
      const before = client.received.length
      client.publish(`sightline/v1/${site}/door/hall/crop`, 'crop')
      const answered = () => client.closed || client.received.length > before
      await until('the broker takes or refuses it', answered)
      return !client.closed
    }
    const ofLab = await bridge(lab)
    const ofYard = await bridge(yard)
    t.ok(await publishes(ofLab, 'lab'))
    t.ok(await publishes(ofYard, 'yard'))
    t.notOk(await publishes(await bridge({ ...lab, site: 'other' }), 'yard'), "the other's site is refused")
    t.equal((await bridge({ ...yard, site: 'third', password: lab.password })).returnCode, 4)

    const before = readFileSync(cloud.usersFile, 'utf8')
    const again = await cloud.invite('lab')
    t.match(
      again,
      { said: /^USER_EXISTS: The site "lab" already has an edge.* remove .*\blab\n?$/ },
      again.said,
    )
    t.equal(readFileSync(cloud.usersFile, 'utf8'), before, 'a second edge of that site changes nothing')
    t.match(await cloud.remove('kitchen'), { said: /^USER_UNKNOWN: .*There are: lab, yard\./ })

    t.match(await cloud.remove('lab'), { status: 0, said: '' })
    await until('its connection ends', () => ofLab.closed)
    t.equal((await bridge({ ...lab, site: 'again' })).returnCode, 4)
    t.ok(await publishes(ofYard, 'yard'), 'the other stays connected, and is taken')
    t.notOk(existsSync(cloud.joinFile('lab')) && way === 'secrets.sh')

    // Half a copy over the file that is followed, as scp leaves it where the line breaks.
    const whole = readFileSync(cloud.usersFile, 'utf8')
    const said = broker.log.length
    writeFileSync(cloud.usersFile, whole.slice(0, whole.indexOf('  - name: edge-yard')))
    await broker.line(({ code }) => code === 'CONFIG_INVALID', undefined, said)
    t.ok(await publishes(ofYard, 'yard'), 'a users file that is cut sends nobody away')
    writeFileSync(cloud.usersFile, whole)

    t.match(await cloud.invite('porch'), { status: 0, said: '' })
    const porch = readJoin(cloud.joinFile('porch'))
    await broker.line(({ users }) => users === 4, undefined, said)
    t.ok(await publishes(await bridge(porch), 'porch'), 'one that comes later is known')
  })

t.test('a cloud whose edges share one user keeps it, until it is taken back', async (t) => {
  const first = await completeSecrets('demo', ['a'], undefined) // has the user "edge", as clouds had it
  const { edges: _, ...had } = first
  const cloud = await byDeploy(t, had)
  t.match(await cloud.invite('lab'), { status: 0 })
  t.match(usersIn(cloud.usersFile), [
    { name: 'subscriber' },
    { name: 'console' },
    { name: 'edge', role: 'bridge' },
    { name: 'edge-lab', site: 'lab' },
  ])
  t.equal(readUsers(cloud.usersFile).users[2]?.password, first.users.edge?.hash)
  const state = async () => (await readState(cloud.volumes, 'cloud'))?.secrets as Secrets
  t.match(sayEdges(await state(), '').join('\n'), /share one user.*invite SITE.*--join.*remove --shared/)
  t.match(await cloud.run('remove', '--shared'), { status: 0 })
  t.strictSame(
    usersIn(cloud.usersFile).map(({ name }) => name),
    ['subscriber', 'console', 'edge-lab'],
  )
  t.notMatch(sayEdges(await state(), '').join('\n'), 'share one user')
  t.match(await cloud.run('remove', '--shared'), { said: /^USER_UNKNOWN: .*each has its own/ })

  const earlier = await byDeploy(t, had, false)
  const file = readFileSync(earlier.usersFile, 'utf8')
  t.match(await earlier.invite('lab'), { said: /^DEPLOYMENT_CONFLICT: .*sightline deploy upgrade/ })
  t.notOk(existsSync(earlier.joinFile('lab')))
  t.equal(readFileSync(earlier.usersFile, 'utf8'), file)
})

t.test('an invitation that cannot be written leaves no user behind', async (t) => {
  const cloud = await byDeploy(t)
  const before = readFileSync(cloud.usersFile, 'utf8')
  mkdirSync(cloud.joinFile('lab'))
  t.match(await cloud.invite('lab'), { said: /^FILE_EXISTS/ })
  t.match(await cloud.invite('../lab'), { said: /^NAME_INVALID/ })
  const users = [{ name: 'edge-yard', role: 'admin' }]
  const other = await byDeploy(t, undefined, true, {
    ...SETTINGS,
    configs: { broker: { tree: { users }, files: {} } },
  })
  t.match(await other.invite('yard'), {
    said: /^USER_EXISTS: User "edge-yard" already exists and is not an edge/,
  })
  t.equal(readFileSync(cloud.usersFile, 'utf8'), before)
  const cut = before.slice(0, before.indexOf('  - name:'))
  writeFileSync(cloud.usersFile, cut)
  t.match(await cloud.invite('yard'), { status: 0 }, 'and a users file that an interrupted run has cut')
  t.strictSame(
    usersIn(cloud.usersFile).map(({ name }) => name),
    ['subscriber', 'console', 'edge-yard'],
    'is made whole',
  )
})

t.test("a users file of the cloud's own configuration goes along with the edges", async (t) => {
  const own = usersText([{ name: 'home-assistant', role: 'operator' }])
  const cloud = await byDeploy(t, undefined, true, {
    ...SETTINGS,
    configs: {
      broker: {
        tree: { usersFile: '/etc/sightline/usersFile.yaml' },
        files: { 'usersFile.yaml': Buffer.from(own).toString('base64') },
      },
    },
  })
  t.match(await cloud.invite('lab'), { status: 0 })
  t.strictSame(
    usersIn(cloud.usersFile).map(({ name }) => name),
    ['home-assistant', 'subscriber', 'console', 'edge-lab'],
  )
})
