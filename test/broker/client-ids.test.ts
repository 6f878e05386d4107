import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ClientIds } from '../../broker/client-ids.ts'
import { Store } from '../../store/store.ts'
import { brokerConfig, Program, temporaryFolder } from '../kit/programs.ts'
import { RawClient } from '../kit/raw-client.ts'
import { until } from '../kit/wait.ts'

const as = (username: string, clean = false) => ({ username, password: Buffer.from('x'), clean })

const USERS = [
  { name: 'dev1', role: 'device', site: 'home', password: 'x' },
  { name: 'dev2', role: 'device', site: 'home', password: 'x' },
  { name: 'homeassistant', role: 'operator', password: 'x' },
  { name: 'edge', role: 'bridge', site: 'home', password: 'x' },
  { name: 'edge2', role: 'bridge', site: 'work', password: 'x' },
  { name: 'sub', role: 'subscriber', password: 'x' },
]
const CROP = 'sightline/v1/home/dev1/door/crop'
const puback = ({ cmd }: { cmd?: string }) => cmd === 'puback'

t.test('a session is nobody’s to erase or take over but its user’s, clean session or not', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { users: USERS }))
  const { port } = broker
  const reader = await RawClient.open(t, port, 'homeassistant', as('homeassistant'))
  t.equal(await reader.subscribe('sightline/v1/+/+/+/crop', 1), 1)
  await reader.cut()
  const device = await RawClient.open(t, port, 'any', as('dev1', true))
  for (let n = 1; n <= 10; n += 1) device.publish(CROP, `face ${n}`, { messageId: n })
  await until('all are acknowledged', () => device.received.filter(puback).length === 10)
  // While it is away, and after a restart of the broker.
  for (const restart of [false, true]) {
    if (restart) await broker.restart()
    for (const [user, clean] of [
      ['dev2', true],
      ['dev2', false],
      ['sub', true],
      ['sub', false],
    ] as const) {
      const thief = await RawClient.open(t, port, 'homeassistant', as(user, clean))
      t.equal(thief.returnCode, 2, `${user}, clean session ${clean}`)
      await thief.ended()
    }
  }
  t.equal((await broker.books('session/homeassistant')).pending, 10)
  const again = await RawClient.open(t, port, 'homeassistant', as('homeassistant'))
  t.equal(again.sessionPresent, true)
  await again.publishesReached(10)
  // And while it is there.
  t.equal((await RawClient.open(t, port, 'homeassistant', as('dev2', true))).returnCode, 2)
  await sleep(100)
  t.equal(again.closed, false)
  await broker.line(
    ({ code, msg }) => code === 'NAME_TAKEN' && /belongs to user "homeassistant"/.test(msg ?? ''),
  )
})

t.test('whoever connects again and again under another’s client id keeps nobody offline', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { users: USERS }))
  const { port } = broker
  // The agent's own default, and a bridge's under an id of its own.
  for (const [id, owner, thief] of [
    ['sightline-device-home-dev1', 'dev1', 'dev2'],
    ['my-bridge', 'edge', 'edge2'],
  ] as const) {
    const own = await RawClient.open(t, port, id, as(owner, true))
    t.equal(own.returnCode, 0)
    for (let n = 0; n < 20; n += 1)
      t.equal((await RawClient.open(t, port, id, as(thief, true))).returnCode, 2)
    t.equal(own.closed, false)
    await own.cut()
    t.equal(
      (await RawClient.open(t, port, id, as(thief, true))).returnCode,
      2,
      'nor while its client is away',
    )
    await broker.kill()
    await broker.start()
    t.equal((await RawClient.open(t, port, id, as(thief, true))).returnCode, 2, 'nor after a restart')
    t.equal((await RawClient.open(t, port, id, as(owner, true))).returnCode, 0)
  }
})

t.test('nobody is first under the id of a device that has not come yet', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { users: USERS }))
  for (const user of ['dev2', 'edge2', 'homeassistant', 'sub'])
    t.equal(
      (await RawClient.open(t, broker.port, 'sightline-device-home-dev1', as(user, true))).returnCode,
      2,
      user,
    )
  t.equal((await RawClient.open(t, broker.port, 'sightline-device-home-dev1', as('dev1'))).returnCode, 0)
})

t.test('an id is free again when its user is removed, its session only for who may read it', async (t) => {
  const broker = await Program.start(t, 'broker', brokerConfig(t, { users: USERS }))
  const { port } = broker
  const reader = await RawClient.open(t, port, 'reader', as('homeassistant'))
  await reader.subscribe('sightline/v1/+/+/+/crop', 1)
  await reader.disconnect()
  await broker.stop()
  broker.config.users = USERS.filter(({ name }) => name !== 'homeassistant')
  await broker.start()
  for (const clean of [true, false])
    t.equal(
      (await RawClient.open(t, port, 'reader', as('dev2', clean))).returnCode,
      5,
      `clean session ${clean}`,
    )
  const heir = await RawClient.open(t, port, 'reader', as('sub'))
  t.strictSame([heir.returnCode, heir.sessionPresent], [0, true])
  t.equal((await RawClient.open(t, port, 'reader', as('dev2', true))).returnCode, 2)
})

t.test('one user leaves room for the sessions and subscriptions of others', async (t) => {
  const broker = await Program.start(
    t,
    'broker',
    brokerConfig(t, { users: USERS, sessions: { countMax: 40 } }),
  )
  const { port } = broker
  const codes: (number | undefined)[] = []
  for (let n = 0; n < 45; n += 1) {
    const client = await RawClient.open(t, port, `many-${n}`, as('dev1'))
    codes.push(client.returnCode)
    if (client.returnCode === 0) await client.subscribe('sightline/v1/home/dev1/+/set/+', 1)
    await client.cut()
  }
  const made = codes.filter((code) => code === 0).length
  t.ok(made >= 30 && made <= 38, `${made} of 40`)
  t.ok(codes.slice(made).every((code) => code === 3))
  t.equal((await RawClient.open(t, port, 'other', as('dev2'))).returnCode, 0)
  t.equal((await RawClient.open(t, port, 'many-0', as('dev1'))).returnCode, 0, 'a session that there is')
})

t.test('a user keeps its last hundred ids, for a week; a session’s id stays', async (t) => {
  const folder = temporaryFolder(t)
  const week = 7 * 24 * 3600 * 1000
  let nowMs = 1e12
  const sessions = new Set(['session'])
  const users = new Set(['a', 'b'])
  const options = {
    hasSession: (id: string) => sessions.has(id),
    isUser: (name: string) => users.has(name),
    nowMs: () => nowMs,
  }
  let store = await Store.open({ folder })
  let ids = ClientIds.open({ ...options, store })
  t.after(() => ids[Symbol.dispose]())
  ids.take('session', 'a')()
  const leave = ids.take('live', 'a')
  ids.take('taken', 'b')()
  // Their names sort the other way round.
  for (let n = 149; n >= 0; n -= 1) {
    nowMs += 1
    ids.take(`idle-${n}`, 'a')()
  }
  const look = () =>
    ['session', 'live', 'taken', 'idle-149', 'idle-100', 'idle-99', 'idle-0'].map((id) => ids.holderOf(id))
  const expected = ['a', 'a', 'b', undefined, undefined, 'a', 'a']
  t.strictSame(look(), expected)
  nowMs += 3600_000
  ids.saveConnected()
  await store[Symbol.asyncDispose]()
  ids[Symbol.dispose]()
  store = await Store.open({ folder })
  ids = ClientIds.open({ ...options, store })
  t.strictSame(look(), expected.with(5, undefined), 'over a restart: who was connected is one of the hundred')
  ids.take('another', 'a')()
  t.strictSame(
    ['idle-98', 'idle-97', 'idle-0'].map((id) => ids.holderOf(id)),
    [undefined, 'a', 'a'],
    'the one used first goes',
  )
  nowMs += week + 3600_000
  t.strictSame(look(), ['a', undefined, undefined, undefined, undefined, undefined, undefined])
  leave()
  users.delete('a')
  t.equal(ids.holderOf('session'), undefined)
  await store[Symbol.asyncDispose]()
})

t.test(
  'who is connected keeps its id, and the week runs from the end; what is over is forgotten',
  async (t) => {
    const folder = temporaryFolder(t)
    const [hour, day] = [3600 * 1000, 24 * 3600 * 1000]
    let nowMs = 1e12
    const users = new Set(['a', 'b'])
    const options = { hasSession: () => false, isUser: (name: string) => users.has(name), nowMs: () => nowMs }
    const open = async () => {
      const store = await Store.open({ folder })
      const ids = ClientIds.open({ ...options, store })
      const close = () => {
        ids[Symbol.dispose]()
        return store[Symbol.asyncDispose]()
      }
      t.after(close)
      return { store, ids, close }
    }
    const { store, ids, close } = await open()
    ids.take('long', 'a')()
    const leave = ids.take('long', 'a')
    for (let n = 0; n < 150; n += 1) ids.take(`idle-${n}`, 'a')()
    t.equal(ids.holderOf('long'), 'a', 'as if it had not been away')
    nowMs += 8 * day
    t.strictSame([ids.holderOf('long'), ids.holderOf('idle-149')], ['a', undefined])
    leave()
    await store.committed()
    t.strictSame(
      [...store.entries('clientIds')].map(({ key }) => key),
      ['long'],
      'those of a week ago are forgotten',
    )
    nowMs += 6 * day
    ids.take('killed', 'a')
    for (let hours = 0; hours < 8 * 24; hours += 1) {
      nowMs += hour
      if (hours < 20) t.equal(ids.holderOf('long'), 'a', 'it left six days ago')
      ids.saveConnected()
    }
    await close()
    const later = await open()
    t.strictSame(
      [later.ids.holderOf('long'), later.ids.holderOf('killed')],
      [undefined, 'a'],
      'who was there until the end was there lately',
    )
    nowMs += 7 * day
    t.equal(later.ids.holderOf('killed'), undefined)
    // Taken by another when its user is removed, before the old connection has ended.
    const old = later.ids.take('passed on', 'a')
    users.delete('a')
    later.ids.take('passed on', 'b')
    old()
    t.equal(later.ids.holderOf('passed on'), 'b')
  },
)
