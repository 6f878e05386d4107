import assert from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import abstract from 'aedes-persistence/abstract.js'
import t from 'tap'
import { Custody, type Origin } from '../../broker/custody.ts'
import { type MqttPacket, Persistence } from '../../broker/persistence.ts'
import { Sessions, type Subscription } from '../../broker/sessions.ts'
import { NOWHERE } from '../../broker/via.ts'
import { Store } from '../../store/store.ts'
import { temporaryFolder } from '../kit/programs.ts'

const BOUNDS = {
  entriesMax: 1000,
  bytesMax: 1e6,
  ageMsMax: Number.POSITIVE_INFINITY,
  whenFull: 'reject',
} as const

async function openBroker(folder: string) {
  const store = await Store.open({ folder })
  const sessions = Sessions.open({ store, declared: [], bounds: BOUNDS, inFlightMax: 64 })
  const persistence = new Persistence({
    store,
    sessions,
    retained: { entriesMax: 1000, bytesMax: 1e6 },
    senderOf: (topic) => topic,
    userOf: () => undefined,
  })
  const custody = new Custody({
    store,
    sessions,
    persistence,
    uplinks: [],
    mustBeKept: () => false,
    isLatest: () => false,
    isLatestForSessions: () => false,
    topicBytesMax: 1000,
    notRetained: (fault) => t.fail(fault.message),
    notBridged: (fault) => t.fail(fault.message),
  })
  return { store, sessions, persistence, custody }
}

const from = (clientId: string): Origin => ({ clientId, handedOn: false, via: NOWHERE })

/** Does before each call what our broker has done before aedes makes it (server.ts: `#gate`, and what may be subscribed). */
async function openGated() {
  const folder = mkdtempSync(join(tmpdir(), 'sightline-persistence-'))
  const { store, persistence, custody } = await openBroker(folder)
  const gated = {
    async storeRetained(packet: MqttPacket) {
      await custody.accept(packet, from('publisher'))
      await persistence.storeRetained()
    },
    async addSubscriptions(client: { id: string }, subscriptions: readonly Subscription[]) {
      const allowed = subscriptions.map((subscription) => ({ ...subscription, allowed: true }))
      await persistence.addSubscriptions(client, allowed)
    },
    async incomingStorePacket(client: { id: string }, packet: MqttPacket) {
      await custody.accept(packet, from(client.id))
      // aedes looks whether it is a duplicate, and is to hear that it is none.
      await assert.rejects(persistence.incomingGetPacket(client, packet))
      await persistence.incomingStorePacket(client, packet)
    },
    async destroy() {
      await persistence.destroy()
      await store[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return new Proxy(persistence, {
    get(target, key) {
      if (key in gated) return Reflect.get(gated, key)
      const value = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/**
 * Of the suite, what cannot hold here. aedes' broker has the persistence keep what a session is to get, under its own mark
 * (brokerId, brokerCounter) and its own message ids, and reads it back with `outgoingStream`. Ours keeps neither: custody.ts
 * puts a message into the sessions' queues, and a session's pump (pump.ts) gives the message id when it sends it.
 */
const NO_MARK = 'a queue does not keep the mark of aedes, and its pump sends what waits, not outgoingStream'
const NO_ID = 'the pump gives the message ids; one that it did not give is of no message'
const NOT_HERE: Readonly<Record<string, string>> = {
  'add outgoing packet and stream it': NO_MARK,
  'add outgoing packet for multiple subs and stream to all': NO_MARK,
  'add outgoing packet as a string and stream': `${NO_MARK}; and a payload from the network is bytes, never a string`,
  'add outgoing packet and stream it twice': NO_MARK,
  'add outgoing packet as a string and pump': NO_ID,
  'add outgoing packet and update messageId': NO_ID,
  'add 2 outgoing packet and clear messageId': NO_ID,
  'add many outgoing packets and clear messageIds': NO_ID,
  'update to publish w/ same messageId': `${NO_ID}, and two in flight never share one`,
  'update to pubrel': NO_ID,
}
const left = new Set(Object.keys(NOT_HERE))

// The suite is written for node:test; these are the parts of its context that it uses.
function asNodeTest(name: string, body: (context: unknown) => Promise<void>): void {
  const reason = NOT_HERE[name]
  if (reason !== undefined) {
    left.delete(name)
    t.comment(`left out: ${name}: ${reason}`)
    return
  }
  t.test(`aedes-persistence/abstract: ${name}`, async (tap) => {
    let planned: number | undefined
    let asserted = 0
    const counting = new Proxy(assert, {
      get:
        (target, key) =>
        (...args: unknown[]) => {
          asserted += 1
          Reflect.apply(Reflect.get(target, key), target, args)
          tap.pass(String(args.at(-1)))
        },
    })
    await body({
      plan: (count: number) => {
        planned = count
      },
      assert: counting,
      diagnostic: () => {},
    })
    if (planned !== undefined) tap.equal(asserted, planned, 'as many assertions as planned')
    else tap.pass('no error')
  })
}

abstract({ test: asNodeTest, testAsync: true, persistence: openGated })

t.test('the suite has every test that is left out of it', (t) => {
  t.strictSame([...left], [])
  t.end()
})

t.test(
  'instead of those: what waits for a session, its ids and its releases, across a restart',
  async (t) => {
    const folder = temporaryFolder(t)
    const client = { id: 'reader' }
    const sent: object[] = []
    const farEnd = {
      publish: ({ payload }: { payload: Buffer }, messageId: number, dup: boolean) =>
        sent.push({ payload: payload.toString(), messageId, dup }) > 0,
      release: (messageId: number) => sent.push({ messageId }) > 0,
    }
    const publish = (payload: string): MqttPacket => ({
      cmd: 'publish',
      topic: 'hello',
      payload: Buffer.from(payload),
      qos: 2,
      brokerId: 'broker-42',
      brokerCounter: 42,
    })
    {
      const { store, sessions, persistence, custody } = await openBroker(folder)
      await using _ = store
      const allowed = { topic: 'hello', qos: 2, allowed: true } as const
      await persistence.addSubscriptions(client, [allowed])
      await persistence.addSubscriptions({ id: 'other' }, [{ ...allowed }])
      for (const payload of ['first', 'second', 'third'])
        await custody.accept(publish(payload), from('publisher'))
      await persistence.outgoingEnqueueCombi()
      t.strictSame(await Array.fromAsync(persistence.outgoingStream()), [], 'nothing comes by way of aedes')
      for (const { queue } of sessions) t.equal(queue.size, 3, 'once in each session')
      sessions.get(client.id)?.pump.attach(farEnd)
      t.match(sent, [
        { payload: 'first', messageId: 1 },
        { payload: 'second', messageId: 2 },
        { payload: 'third', messageId: 3 },
      ])
      for (const messageId of [1, 2, 3])
        await persistence.outgoingUpdate(client, { ...publish(''), messageId }) // as it is sent at QoS 2
      await persistence.outgoingUpdate(client, { ...publish(''), cmd: 'pubrel', messageId: 2 })
      await persistence.outgoingUpdate(client, { ...publish(''), cmd: 'pubrel', messageId: 1 })
      await persistence.outgoingClearMessageId(client, { ...publish(''), messageId: 1 })
      await t.resolves(persistence.outgoingUpdate(client, { ...publish(''), cmd: 'pubrel', messageId: 9 }))
      await t.rejects(persistence.outgoingUpdate(client, { ...publish(''), messageId: 9 }), /no such packet/)
    }
    sent.length = 0
    const { store, sessions, persistence } = await openBroker(folder)
    await using _ = store
    sessions.get(client.id)?.pump.attach(farEnd)
    t.strictSame(sent, [{ messageId: 2 }, { payload: 'third', messageId: 3, dup: true }])
    for (const messageId of [2, 3])
      await persistence.outgoingClearMessageId(client, { ...publish(''), messageId })
    t.equal(sessions.get(client.id)?.queue.size, 0)
    await store.committed()
    t.strictSame([...store.entries('flights')], [], 'their ids are forgotten with them')
    t.equal(sessions.get('other')?.queue.size, 3)
  },
)
