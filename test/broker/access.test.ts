import t from 'tap'
import { Access } from '../../broker/access.ts'
import { type Account, accountOf } from '../../lib/access/users.ts'
import type { User } from '../../wire/users.ts'
import { cheapHash } from '../kit/passwords.ts'

const user = (user: User, secret?: string): Account => accountOf(user, secret)
const device = (name: string, secret?: string) => user({ name, role: 'device', site: 'home' }, secret)

const access = new Access({
  accounts: [
    user(
      {
        name: 'pi',
        publish: ['v1/home/pi/#'],
        subscribe: ['v1/home/pi/commands', 'v1/home/+/status', 'v1/home/pi/logs/#'],
      },
      cheapHash('secret'),
    ),
    user({ name: 'all', publish: ['#'], subscribe: ['#'] }, 'x'),
    device('camera'),
    user({ name: 'eye', role: 'viewer' }, 'looking'),
  ],
  anonymous: false,
})

let address = 0
function login(to: Access, username?: string, password?: string, certificateName?: string) {
  address += 1 // each from elsewhere: failures are counted by address
  const bytes = password === undefined ? undefined : Buffer.from(password)
  return to.authenticate({ username, password: bytes, certificateName, address: `10.0.0.${address}` })
}

t.test('only the right password of a known user opens', async (t) => {
  t.strictSame(await login(access, 'pi', 'secret'), { user: 'pi' })
  for (const [user, password] of [
    ['pi', 'Secret'],
    ['pi', ''],
    ['pi', undefined],
    ['nobody', 'secret'],
    ['nobody', '\0'],
    ['', ''],
    ['constructor', ''],
    ['camera', ''],
    ['camera', 'undefined'],
    ['eye', 'looking'],
    [undefined, undefined],
    [undefined, 'secret'],
  ] as const)
    t.strictSame(await login(access, user, password), { refused: 'denied' }, `${user} ${password}`)
  const open = new Access({ accounts: [], anonymous: true })
  t.strictSame(await login(open), { user: undefined })
  t.strictSame(await login(open, 'anybody', 'x'), { refused: 'denied' })
})

t.test('a verified certificate needs no password, and its name is the user', async (t) => {
  t.strictSame(await login(access, undefined, undefined, 'camera'), { user: 'camera' })
  t.strictSame(await login(access, 'camera', 'whatever', 'camera'), { user: 'camera' })
  for (const [user, password, certificate] of [
    ['pi', 'secret', 'camera'],
    [undefined, undefined, 'nobody'],
    ['pi', 'secret', 'nobody'],
    [undefined, undefined, ''],
    [undefined, undefined, 'eye'],
  ] as const)
    t.strictSame(
      await login(access, user, password, certificate),
      { refused: 'denied' },
      `${user} ${certificate}`,
    )
  const open = new Access({ accounts: [], anonymous: true })
  t.strictSame(await login(open, undefined, undefined, 'camera'), { refused: 'denied' })
})

t.test('a device publishes as itself alone, and reads nothing but its commands', async (t) => {
  const own = 'sightline/v1/home/camera'
  for (const topic of [
    `${own}/door/crop`,
    `${own}/door/event`,
    `${own}/door/state`,
    `${own}/door/snapshot`,
    `${own}/door/live`,
    `${own}/status`,
    'sightline/v1/keepers/device-4-home-camera',
    'homeassistant/device/sightline_4_home_camera/config',
  ])
    t.ok(access.mayPublish('camera', topic), topic)
  for (const topic of [
    `${own}/door/set/pause`,
    `${own}/door/set/x/y`,
    `${own}/set`,
    'sightline/v1/home/other/door/crop',
    'sightline/v1/home/camera2/door/crop',
    'sightline/v1/office/camera/door/crop',
    'sightline/v2/home/camera/door/crop',
    'sightline/v1/home/+/door/crop',
    'sightline/v1/keepers/device-4-home-camera2',
    'sightline/v1/keepers/broker-home-camera',
    'sightline/v1/stored/camera',
    'sightline/v1/forget/camera',
    'homeassistant/device/sightline_4_home_camera2/config',
    'homeassistant/status',
    'x',
  ])
    t.notOk(access.mayPublish('camera', topic), topic)
  for (const filter of [`${own}/+/set/+`, `${own}/door/set/pause`])
    t.ok(access.maySubscribe('camera', filter), filter)
  for (const filter of [
    '#',
    `${own}/#`,
    `${own}/status`,
    `${own}/door/live`,
    'sightline/v1/keepers/device-4-home-camera',
    'sightline/v1/stored/+',
    'sightline/v1/+/+/+/crop',
    'sightline/v1/home/other/+/set/+',
    'sightline/v1/home/+/+/set/+',
    `${own}/+/set/#`,
  ])
    t.notOk(access.maySubscribe('camera', filter), filter)
  const named = new Access({
    accounts: [accountOf({ name: 'x y', role: 'device', site: 'a', device: 'b' }, 's', 'their/own')],
    anonymous: false,
  })
  t.ok(named.mayPublish('x y', 'their/own/a/b/c/crop'))
  t.notOk(named.mayPublish('x y', 'sightline/v1/a/b/c/crop'))
})

t.test('an operator sees every device and may command it, and nothing else', async (t) => {
  const roles = new Access({ accounts: [user({ name: 'ha', role: 'operator' }, 's')], anonymous: false })
  for (const filter of [
    'sightline/v1/+/+/+/crop',
    'sightline/v1/home/pi/door/snapshot',
    'sightline/v1/home/pi/door/state',
    'sightline/v1/home/pi/door/live',
    'sightline/v1/home/pi/status',
    'homeassistant/+/+/config',
    'homeassistant/+/+/+/config',
    'homeassistant/status',
  ])
    t.ok(roles.maySubscribe('ha', filter), filter)
  for (const filter of [
    '#',
    'sightline/v1/#',
    'sightline/v1/+/+/+/set/+',
    'sightline/v1/stored/+',
    'sightline/v1/keepers/+',
    'zigbee2mqtt/#',
  ])
    t.notOk(roles.maySubscribe('ha', filter), filter)
  for (const topic of ['sightline/v1/home/pi/door/set/pause', 'homeassistant/status'])
    t.ok(roles.mayPublish('ha', topic), topic)
  for (const topic of [
    'sightline/v1/home/pi/door/crop',
    'sightline/v1/home/pi/door/state',
    'sightline/v1/home/pi/door/set/pause/x',
    'sightline/v1/home/pi/door/live',
    'sightline/v1/forget/s',
    'homeassistant/device/sightline_4_home_pi/config',
  ])
    t.notOk(roles.mayPublish('ha', topic), topic)
})

t.test('an operator of some sites or cameras has their topics and commands, and no others', async (t) => {
  const operator = (name: string, confined: object) => user({ name, role: 'operator', ...confined }, 's')
  const roles = new Access({
    accounts: [
      operator('home', { sites: ['home'] }),
      operator('door', { cameras: ['office/pi/door'] }),
      operator('both', { sites: ['home'], cameras: ['office/pi/door'] }),
      operator('none', { sites: [] }),
    ],
    anonymous: false,
  })
  const names = ['home', 'door', 'both', 'none']
  const reads = (filter: string) => names.filter((name) => roles.maySubscribe(name, filter))
  for (const what of ['crop', 'event', 'state', 'snapshot', 'live']) {
    t.strictSame(reads(`sightline/v1/home/+/+/${what}`), ['home', 'both'], what)
    t.strictSame(reads(`sightline/v1/office/pi/door/${what}`), ['door', 'both'], what)
    for (const where of ['+/+/+', 'office/+/+', 'office/pi/+', 'office/pi/yard', 'office/other/door'])
      t.strictSame(reads(`sightline/v1/${where}/${what}`), [], `${where} ${what}`)
  }
  t.strictSame(reads('sightline/v1/home/pi/status'), ['home', 'both'])
  t.strictSame(reads('sightline/v1/office/pi/status'), [], 'which names its other cameras')
  for (const filter of ['homeassistant/#', 'homeassistant/device/sightline_4_home_pi/config'])
    t.strictSame(reads(filter), [], filter)
  const may = (topic: string) => names.filter((name) => roles.mayPublish(name, topic))
  t.strictSame(may('sightline/v1/home/pi/yard/set/pause'), ['home', 'both'])
  t.strictSame(may('sightline/v1/office/pi/door/set/live'), ['door', 'both'])
  t.strictSame(may('sightline/v1/office/pi/yard/set/live'), [])
  t.strictSame(may('homeassistant/status'), [])
  t.strictSame(
    await login(roles, undefined, undefined, 'none'),
    { refused: 'denied' },
    'no site is not every site',
  )
})

t.test('an operator without the right to live pictures has no whole picture of a camera', async (t) => {
  const roles = new Access({
    accounts: [user({ name: 'op', role: 'operator', rights: ['export'] }, 's')],
    anonymous: false,
  })
  const camera = 'sightline/v1/home/pi/door'
  for (const what of ['live', 'snapshot']) {
    t.notOk(roles.maySubscribe('op', `${camera}/${what}`), what)
    t.notOk(roles.mayPublish('op', `${camera}/set/${what}`), `set/${what}`)
  }
  t.ok(roles.maySubscribe('op', `${camera}/crop`))
  for (const command of ['pause', 'resume', 'threshold', 'rate'])
    t.ok(roles.mayPublish('op', `${camera}/set/${command}`), command)
})

t.test('bridge, subscriber, console, people and admin have what they need', async (t) => {
  const accounts: readonly User[] = [
    { name: 'bridge', role: 'bridge' },
    { name: 'home', role: 'bridge', site: 'home' },
    { name: 'subscriber', role: 'subscriber' },
    { name: 'console', role: 'console' },
    { name: 'viewer', role: 'viewer' },
    { name: 'analyst', role: 'analyst' },
    { name: 'admin', role: 'admin' },
  ]
  const roles = new Access({ accounts: accounts.map((it) => user(it)), anonymous: false })
  const names = accounts.map(({ name }) => name)
  const may = (topic: string) => names.filter((name) => roles.mayPublish(name, topic))
  t.strictSame(may('sightline/v1/home/pi/door/crop'), ['bridge', 'home', 'admin'])
  t.strictSame(may('sightline/v1/office/pi/status'), ['bridge', 'admin'])
  t.strictSame(may('sightline/v1/home/pi/door/state'), ['bridge', 'home', 'admin'])
  t.strictSame(may('sightline/v1/home/pi/door/live'), ['bridge', 'home', 'admin'])
  t.strictSame(may('sightline/v1/office/pi/door/live'), ['bridge', 'admin'])
  t.strictSame(may('sightline/v1/home/pi/door/set/pause'), ['console', 'admin'])
  t.strictSame(may('sightline/v1/home/pi/door/event'), ['bridge', 'home', 'admin'])
  t.strictSame(may('sightline/v1/home/pi/door/other'), ['admin'])
  t.strictSame(may('sightline/v1/keepers/broker-a-0'), ['bridge', 'home', 'subscriber', 'console', 'admin'])
  t.strictSame(may('sightline/v1/stored/cloud'), ['subscriber', 'admin'])
  t.strictSame(may('sightline/v1/forget/cloud'), ['console', 'admin'])
  t.strictSame(may('$SYS/x'), [])
  const reads = (filter: string) => names.filter((name) => roles.maySubscribe(name, filter))
  t.strictSame(reads('sightline/v1/+/+/+/crop'), ['subscriber', 'admin'])
  t.strictSame(reads('sightline/v1/+/+/+/event'), ['subscriber', 'console', 'admin'])
  t.strictSame(reads('sightline/v1/home/+/status'), ['subscriber', 'console', 'admin'])
  for (const what of ['state', 'snapshot', 'live'])
    t.strictSame(reads(`sightline/v1/+/+/+/${what}`), ['console', 'admin'], what)
  t.strictSame(reads('sightline/v1/home/+/+/set/+'), ['bridge', 'home', 'admin'])
  t.strictSame(reads('sightline/v1/+/+/+/set/+'), ['bridge', 'admin'])
  t.strictSame(reads('sightline/v1/stored/+'), ['console', 'admin'])
  t.strictSame(reads('sightline/v1/keepers/+'), ['console', 'admin'])
  t.strictSame(reads('sightline/v1/forget/cloud'), ['subscriber', 'admin'])
  t.strictSame(reads('sightline/v1/#'), ['admin'])
  for (const person of ['viewer', 'analyst'])
    t.strictSame(await login(roles, undefined, undefined, person), { refused: 'denied' }, 'not over MQTT')
})

t.test(
  'only a console and an admin say what devices shall be; each device hears its own, and answers for itself',
  async (t) => {
    const accounts: readonly User[] = [
      { name: 'pi', role: 'device', site: 'home' },
      { name: 'other', role: 'device', site: 'home' },
      { name: 'bridge', role: 'bridge' },
      { name: 'home', role: 'bridge', site: 'home' },
      { name: 'subscriber', role: 'subscriber' },
      { name: 'console', role: 'console' },
      { name: 'viewer', role: 'viewer' },
      { name: 'analyst', role: 'analyst' },
      { name: 'operator', role: 'operator' },
      { name: 'confined', role: 'operator', sites: ['home'] },
      { name: 'door', role: 'operator', cameras: ['home/pi/door'] },
      { name: 'admin', role: 'admin' },
    ]
    const roles = new Access({ accounts: accounts.map((it) => user(it)), anonymous: false })
    const names = accounts.map(({ name }) => name)
    const may = (topic: string) => names.filter((name) => roles.mayPublish(name, topic))
    const reads = (filter: string) => names.filter((name) => roles.maySubscribe(name, filter))
    t.strictSame(may('sightline/v1/home/pi/desired'), ['console', 'admin'])
    t.strictSame(may('sightline/v1/home/pi/reported'), ['pi', 'bridge', 'home', 'admin'])
    t.strictSame(may('sightline/v1/office/pi/reported'), ['bridge', 'admin'])
    t.strictSame(
      reads('sightline/v1/home/pi/desired'),
      ['pi', 'bridge', 'home', 'admin'],
      'it holds passwords of cameras',
    )
    t.strictSame(reads('sightline/v1/home/+/desired'), ['bridge', 'home', 'admin'])
    t.strictSame(reads('sightline/v1/+/+/desired'), ['bridge', 'admin'])
    t.strictSame(reads('sightline/v1/home/pi/reported'), ['console', 'admin'], 'it holds pictures')
    t.strictSame(reads('sightline/v1/+/+/reported'), ['console', 'admin'])
    t.strictSame(may('sightline/v1/notices/visitors'), ['console', 'admin'])
    t.strictSame(reads('sightline/v1/notices/+'), ['operator', 'admin'], 'of all sites, as notices are')
  },
)

t.test('who was removed, has another password or less rights has to go; nobody else', async (t) => {
  const before = [
    device('same', 'a'),
    device('removed', 'a'),
    device('new-password', 'a'),
    user({ name: 'less', publish: ['a', 'b'] }, 'a'),
    user({ name: 'more', publish: ['a'] }, 'a'),
    user({ name: 'moved', role: 'device', site: 'home' }, 'a'),
  ]
  const changing = new Access({ accounts: before, anonymous: false })
  t.strictSame(await login(changing, 'removed', 'a'), { user: 'removed' })
  const gone = changing.replace([
    device('same', 'a'),
    device('new-password', 'b'),
    user({ name: 'less', publish: ['a'] }, 'a'),
    user({ name: 'more', publish: ['b', 'a'], subscribe: ['c'] }, 'a'),
    user({ name: 'moved', role: 'device', site: 'work' }, 'a'),
    device('added', 'a'),
  ])
  t.strictSame([...gone.keys()].sort(), ['less', 'moved', 'new-password', 'removed'])
  t.ok(gone.get('less')?.('b'), 'it had that right')
  t.notOk(gone.get('less')?.('c'))
  t.strictSame(await login(changing, 'removed', 'a'), { refused: 'denied' })
  t.strictSame(await login(changing, 'new-password', 'a'), { refused: 'denied' })
  t.strictSame(await login(changing, 'new-password', 'b'), { user: 'new-password' })
  t.strictSame(await login(changing, 'added', 'a'), { user: 'added' })
  t.notOk(changing.mayPublish('less', 'b'), 'from now on')
  t.ok(changing.mayPublish('more', 'b'))
})

t.test('a password that was right when it was asked and is not any more does not open', async (t) => {
  const changing = new Access({ accounts: [device('pi', cheapHash('old'))], anonymous: false })
  const underway = login(changing, 'pi', 'old')
  changing.replace([device('pi', cheapHash('new'))])
  t.strictSame(await underway, { refused: 'busy' })
  t.strictSame(await login(changing, 'pi', 'old'), { refused: 'denied' })
  t.strictSame(await login(changing, 'pi', 'new'), { user: 'pi' })
})

t.test('a user publishes where the filters say, and nowhere else', async (t) => {
  for (const topic of ['v1/home/pi', 'v1/home/pi/door/crop', 'v1/home/pi/a/b/c'])
    t.ok(access.mayPublish('pi', topic), topic)
  for (const topic of ['v1/home/pi2/door/crop', 'v1/home', 'v1', 'x', '', '$SYS/x'])
    t.notOk(access.mayPublish('pi', topic), topic)
  t.notOk(access.mayPublish('all', '$SYS/broker'))
  t.notOk(access.mayPublish('nobody', 'x'))
  t.notOk(access.mayPublish('pi', 'a/'.repeat(500)), 'and a deep one is no reason to throw')
  t.notOk(access.mayPublish(undefined, 'x'))
})

t.test('a filter is granted where it can match nothing beyond the user’s own', async (t) => {
  for (const filter of [
    'v1/home/pi/commands',
    'v1/home/+/status',
    'v1/home/pi/status',
    'v1/home/pi/logs/#',
    'v1/home/pi/logs',
    'v1/home/pi/logs/+/x',
    'v1/home/pi/logs/today/#',
  ])
    t.ok(access.maySubscribe('pi', filter), filter)
  for (const filter of [
    '#',
    '+/#',
    'v1/#',
    'v1/home/#',
    'v1/home/+/commands',
    'v1/+/pi/commands',
    'v1/home/pi/#',
    'v1/home/pi/+',
    'v1/home/+/#',
    'v1/home/pi/log/#',
    'v1/home/pi/logsx/#',
    '$SYS/#',
    '',
  ])
    t.notOk(access.maySubscribe('pi', filter), filter)
  for (const filter of ['#', '+/x', 'a/#', 'a']) t.ok(access.maySubscribe('all', filter), filter)
  t.notOk(access.maySubscribe('all', '$SYS/#'))
})

t.test('a user without a password comes in with a certificate alone', async (t) => {
  const accounts = [accountOf({ name: 'camera-1', publish: ['a/#'], subscribe: [] }, undefined)]
  const byCertificate = new Access({ accounts, anonymous: false })
  t.strictSame(await login(byCertificate, undefined, undefined, 'camera-1'), { user: 'camera-1' })
  t.strictSame(await login(byCertificate, undefined, undefined, 'camera-2'), { refused: 'denied' })
  for (const password of [undefined, '', '\0', 'undefined'])
    t.strictSame(await login(byCertificate, 'camera-1', password), { refused: 'denied' })
})
