import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { users as command } from '../../commands/users/users.ts'
import { PasswordVerifier } from '../../lib/access/passwords.ts'
import { bodyOfUsersText, readUsers } from '../../lib/access/users.ts'
import { addUser, listUsers, newUser, removeUser, setPassword } from '../../lib/access/users-file.ts'
import { cheapHash } from '../kit/passwords.ts'
import { temporaryFolder } from '../kit/programs.ts'

const CLI = resolve(import.meta.dirname, '..', '..', 'cli.ts')

/** Without the launcher: half the time. */
function users(args: readonly string[], input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'users', ...args], {
    input,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

const WRITTEN = `# Ours.
topicPrefix: our/faces # not the default

users:
  # At the door.
  - name: door
    role: device
    site: home
    password: ${cheapHash('at the door')}
  - name: eye # Ann
    role: viewer

# The end.
`

t.test('from the command line: added, listed, changed, removed', async (t) => {
  const file = join(temporaryFolder(t), 'users.yaml')
  const added = users(['add', file, 'door', '--role', 'device', '--site', 'home', '--generate'])
  t.match(added, {
    status: 0,
    stderr: /door is added to .* and may publish sightline\/v1\/home\/door\/\+\/crop .*\/status /,
  })
  const password = added.stdout.trim()
  t.match(password, /^[0-9a-f]{32}$/, 'the password alone')
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.notMatch(readFileSync(file, 'utf8'), password)
  const right = async (text: string) =>
    new PasswordVerifier().verify('door', readUsers(file).users[0]?.password, Buffer.from(text))
  t.equal(await right(password), 'right')
  t.match(users(['passwd', file, 'door'], 'from a pipe\nand more\n'), { status: 0, stdout: '' })
  t.equal(await right('from a pipe'), 'right')
  t.match(
    users(['list', file]).stdout,
    /^door {2}device {2}password {2}publish sightline\/v1\/home\/door\/\+\/crop \S+\/clip \S+\/event \S+\/state \S+\/snapshot \S+\/live \S+\/original sightline\/v1\/home\/door\/status sightline\/v1\/home\/door\/reported sightline\/v1\/keepers\/device-4-home-door homeassistant\/device\/sightline_4_home_door\/config, subscribe sightline\/v1\/home\/door\/\+\/set\/\+ sightline\/v1\/home\/door\/desired$/m,
  )
  t.match(users(['remove', file, 'door']), { status: 0 })
})

t.test('people are confined, and given rights, from the command line', async (t) => {
  const file = join(temporaryFolder(t), 'users.yaml')
  const add = (...args: string[]) => command.run(['add', file, ...args, '--no-password'])
  await add('ann', '--role', 'viewer', '--sites', 'home,lab', '--rights', 'live')
  await add('bob', '--role', 'operator', '--cameras', 'home/pi/door, home/pi/yard', '--rights', 'none')
  t.match(readFileSync(file, 'utf8'), /^ {4}sites: \[home, lab\]\n {4}rights: \[live\]$/m)
  t.match(readUsers(file).users, [
    { name: 'ann', role: 'viewer', sites: ['home', 'lab'], rights: ['live'] },
    { name: 'bob', role: 'operator', cameras: ['home/pi/door', 'home/pi/yard'], rights: [] },
  ])
  const table = listUsers(file, false)
  t.match(table, /^ann +viewer +certificate +use the console \(live picture\) for home lab only$/m)
  t.match(table, /^bob .*, use the console for home\/pi\/door home\/pi\/yard only$/m)
})

t.test('what is wrong says so, and changes nothing', async (t) => {
  const file = join(temporaryFolder(t), 'users.yaml')
  writeFileSync(file, WRITTEN)
  for (const [args, code, message] of [
    [['add', file, 'x', '--role', 'device'], 'USAGE', /--role is "device", which also needs its "site"/],
    [['add', file, 'x', '--role', 'king'], 'USAGE', /--role must be one of device, bridge/],
    [['add', file, 'eye', '--role', 'viewer', '--generate'], 'USER_EXISTS', /"eye" already exists in /],
    [['passwd', file, 'eye', '--generate', '--no-password'], 'USAGE', /Give one of/],
    [['list', file, '--generate'], 'USAGE', /does not take --generate/],
    [['add', file, 'x'], 'USAGE', /^--role is missing: one of device, bridge/],
    [['add', file, 'x', '--site', 'home'], 'USAGE', /^--role is missing/],
    [
      ['constructor', file, 'x'],
      'USAGE',
      /^Usage \(more: sightline users --help\):\n {2}sightline users add FILE NAME --role/,
    ],
    [['add', file, 'x', '--role', 'viewer', '--sites', 'home,a b'], 'USAGE', /^--sites must be a name/],
    [['add', file, 'x', '--role', 'viewer', '--cameras', 'home/pi'], 'USAGE', /^--cameras must be a camera/],
    [
      ['add', file, 'x', '--role', 'viewer', '--rights', 'all'],
      'USAGE',
      /^--rights must be one of live, rec/,
    ],
    [
      ['add', file, 'x', '--role', 'bridge', '--sites', 'home'],
      'USAGE',
      /^--sites is only for the roles viewer/,
    ],
    [['add', file, 'x', '--role', 'admin', '--sites', 'home'], 'USAGE', /^--role is "admin", who sees every/],
    [['remove', file, 'nobody'], 'USER_UNKNOWN', /User "nobody" not found/],
  ] as const)
    await t.rejects(command.run([...args]), { code, message }, args.join(' '))
  const add = ['add', file, 'x', '--role', 'viewer']
  t.match(users(add), { status: 64, stderr: /The password is empty/, stdout: '' })
  t.match(users(add, 'short\n'), {
    status: 64,
    stderr: /too short: it needs at least 8 characters/,
    stdout: '',
  })
  t.equal(readFileSync(file, 'utf8'), WRITTEN)
  t.strictSame(readdirSync(join(file, '..')), ['users.yaml'])
})

t.test('a change keeps comments, order and what else is there', async (t) => {
  const file = join(temporaryFolder(t), 'users.yaml')
  writeFileSync(file, WRITTEN)
  await addUser(file, newUser(file, 'tool', { publish: ['a/#', '#'], subscribe: undefined }))
  await setPassword(file, 'eye', cheapHash('looking'))
  await removeUser(file, 'tool')
  await setPassword(file, 'eye', undefined)
  t.equal(bodyOfUsersText(readFileSync(file, 'utf8'), file), WRITTEN, 'there and back again')
  await addUser(file, newUser(file, 'tool', { publish: ['a/#', '#'] }))
  t.match(listUsers(file, false), /^tool +- +certificate +publish a\/# #$/m)
  const lines = listUsers(file, true)
  t.notMatch(lines, 'scrypt')
  t.match(JSON.parse(lines.split('\n')[0] ?? ''), {
    name: 'door',
    login: 'password',
    rights: {
      publish: [
        ...['crop', 'clip', 'event', 'state', 'snapshot', 'live', 'original'].map(
          (kind) => `our/faces/home/door/+/${kind}`,
        ),
        'our/faces/home/door/status',
        'our/faces/home/door/reported',
        'our/faces/keepers/device-4-home-door',
        'homeassistant/device/sightline_4_home_door/config',
      ],
    },
  })
  await removeUser(file, 'door')
  t.match(readFileSync(file, 'utf8'), /^ {2}- name: eye # Ann$/m)
  for (const name of ['eye', 'tool']) await removeUser(file, name)
  t.strictSame(readUsers(file).users, [], 'an empty list is a list')
})

t.test('what is written says where it ends; what is written by hand between stays', async (t) => {
  const file = join(temporaryFolder(t), 'users.yaml')
  const text = () => readFileSync(file, 'utf8')
  const isWhole = (body: RegExp) => {
    const [, end, between, last] =
      /^# Users of .* last line is: (\S.*)\n([\s\S]*)^(.*)\n$/m.exec(text()) ?? []
    t.equal(last, end)
    t.match(between, body)
    t.equal(parse(text()).users.length, readUsers(file).users.length, 'and any YAML reader takes it')
  }
  await addUser(file, newUser(file, 'a', { role: 'viewer' }))
  isWhole(/^users:\n {2}- name: a\n {4}role: viewer\n$/)
  writeFileSync(file, text().replace('users:\n', '# mine\nusers:\n  - name: b # by hand\n    role: admin\n'))
  t.strictSame(
    readUsers(file).users.map(({ name }) => name),
    ['b', 'a'],
  )
  await removeUser(file, 'a')
  isWhole(/^# mine\nusers:\n {2}- name: b # by hand\n {4}role: admin\n$/)
  const written = text()
  writeFileSync(file, `${written}  - name: late\n    role: viewer\n`)
  for (const change of [
    () => removeUser(file, 'b'),
    () => addUser(file, { name: 'c', role: 'viewer' }),
    () => setPassword(file, 'b', undefined),
  ])
    await t.rejects(change, { code: 'CONFIG_INVALID', message: /has text after that line/ })
  t.match(text(), 'late', 'and is not changed')

  const before = '# Users of Sightline, kept with: sightline users add|passwd|remove|list\n'
  for (const [earlier, now] of [
    [`${before}users: []\n`, /^users:\n {2}- name: c\n/],
    ['---\nusers: [{name: x, role: viewer}]\n...\n', /^---\nusers: /],
  ] as const) {
    writeFileSync(file, earlier)
    await addUser(file, newUser(file, 'c', { role: 'viewer' }))
    isWhole(now)
    t.notMatch(text(), /\n\.\.\.\n/)
  }
})

t.test('it stays readable for whom it was, through a link too, and is whole at any time', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'users.yaml')
  writeFileSync(file, WRITTEN)
  const link = join(folder, 'link')
  symlinkSync(file, link)
  for (const mode of [0o640, 0o400]) {
    chmodSync(file, mode)
    await setPassword(link, 'eye', cheapHash(String(mode)))
    t.equal(statSync(file).mode & 0o777, mode)
  }
  t.ok(lstatSync(link).isSymbolicLink())
  const names = Array.from({ length: 20 }, (_, n) => `n${n}`)
  await Promise.all(names.map((name) => addUser(file, newUser(file, name, { role: 'viewer' }))))
  t.equal(readUsers(file).users.length, 22, 'of many at once none is lost')
  t.strictSame(readdirSync(folder).sort(), ['link', 'users.yaml'])
})
