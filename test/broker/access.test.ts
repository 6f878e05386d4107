import t from 'tap'
import { Access } from '../../broker/access.ts'

const access = new Access({
  users: [
    {
      name: 'pi',
      password: 'secret',
      publish: ['v1/home/pi/#'],
      subscribe: ['v1/home/pi/commands', 'v1/home/+/status', 'v1/home/pi/logs/#'],
    },
    { name: 'all', password: 'x', publish: ['#'], subscribe: ['#'] },
  ],
  anonymous: false,
})

t.test('only the right password of a known user opens', async (t) => {
  t.ok(access.mayConnect('pi', Buffer.from('secret')))
  for (const [user, password] of [
    ['pi', 'Secret'],
    ['pi', ''],
    ['pi', undefined],
    ['nobody', 'secret'],
    ['nobody', '\0'],
    ['', ''],
    ['constructor', ''],
    [undefined, undefined],
    [undefined, 'secret'],
  ] as const)
    t.notOk(
      access.mayConnect(user, password === undefined ? undefined : Buffer.from(password)),
      `${user} ${password}`,
    )
  t.ok(new Access({ users: [], anonymous: true }).mayConnect(undefined, undefined))
  t.notOk(new Access({ users: [], anonymous: true }).mayConnect('anybody', Buffer.from('x')))
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
