import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openMeters } from '../../device/meters.ts'
import type { Processor } from '../../device/process/processor.ts'
import { Supervised } from '../../device/process/supervised.ts'
import { failure } from '../../lib/errors.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { until } from '../kit/wait.ts'
import { configOf, logged } from './plugged.ts'

/** One processor and whoever keeps it running; the processor is functions. */
async function open(t: Test, { timeout = '1s', opens = async () => {} } = {}) {
  const ends: ((why: Error) => void)[] = []
  const disposed: number[] = []
  let states = 0
  const { meters, log } = { meters: openMeters(openMetrics('test')), log: logged().log }
  const supervised = await Supervised.open({
    config: configOf({ module: 'any.ts', timeout }),
    async open() {
      const at = ends.length
      if (at > 0) await opens()
      const ended = Promise.withResolvers<Error | undefined>()
      ends.push(ended.resolve)
      return {
        ...{ name: 'mine', by: `mine@${at}`, ended: ended.promise },
        attributes: async () => [],
        async kill(why) {
          ended.resolve(why)
        },
        async [Symbol.asyncDispose]() {
          disposed.push(at)
          ended.resolve(undefined)
        },
      } satisfies Processor
    },
    ...{ meters, log, retryMsMin: 10 },
    onState: () => {
      states += 1
    },
  })
  t.teardown(() => supervised[Symbol.asyncDispose]())
  const up = async () => (await meters.processorUp.get()).values.map(({ value }) => value)
  const ask = (call: (it: Processor) => Promise<unknown>, max = 2) => supervised.ask('attributes', max, call)
  return { supervised, ask, ends, disposed, up, states: () => states }
}

t.test('answers in time leave nothing behind', async (t) => {
  const { ask, supervised } = await open(t, { timeout: '100ms' })
  for (let at = 0; at < 3; at += 1) t.equal(await ask(async () => at), at)
  await sleep(150)
  t.ok(supervised.hasRoom('attributes', 1))
  t.equal(await ask(async () => 'again'), 'again')
})

t.test('while an answer is late nobody else waits; once it has come, all is as before', async (t) => {
  const { ask, supervised } = await open(t, { timeout: '100ms' })
  const answer = Promise.withResolvers<void>()
  await t.rejects(
    ask(() => answer.promise),
    { code: 'PROCESSOR_LATE', message: /within 100 ms/ },
  )
  t.notOk(supervised.hasRoom('attributes', 2))
  await t.rejects(
    ask(async () => t.fail('it is asked')),
    { code: 'PROCESSOR_LATE', message: /is busy/ },
  )
  answer.resolve()
  await until('it has room', () => supervised.hasRoom('attributes', 1))
  t.equal(await ask(async () => 'again'), 'again')
})

t.test('so many at a time, and no more', async (t) => {
  const { ask } = await open(t, { timeout: '10s' })
  const answer = Promise.withResolvers<void>()
  const asked = [ask(() => answer.promise), ask(() => answer.promise)]
  await t.rejects(
    ask(async () => t.fail('it is asked')),
    { code: 'PROCESSOR_LATE', message: /2 wait/ },
  )
  answer.resolve()
  await Promise.all(asked)
  t.equal(await ask(async () => 'again'), 'again')
})

t.test('it ends: that is said, and once it is open again, that too', async (t) => {
  const opening = Promise.withResolvers<void>()
  const { supervised, ask, ends, up, states } = await open(t, { opens: () => opening.promise })
  ends[0]?.(failure('PROCESSOR_FAILED', 'gone'))
  await until('it is down', () => supervised.why !== undefined)
  t.same([supervised.why, await up(), states()], ['gone', [0], 1])
  await t.rejects(
    ask(async () => t.fail('it is asked')),
    { code: 'PROCESSOR_FAILED', message: /gone/ },
  )
  opening.resolve()
  await until('it is up', () => supervised.why === undefined)
  await ask(async () => 'it answers')
  t.same([supervised.by, await up(), states()], ['mine@1', [1], 2])
})

t.test('let go of while it is being opened again, it is not left open', async (t) => {
  const opening = Promise.withResolvers<void>()
  let isOpening = false
  const { supervised, ends, disposed } = await open(t, {
    opens: async () => {
      isOpening = true
      await opening.promise
    },
  })
  ends[0]?.(failure('PROCESSOR_FAILED', 'gone'))
  await until('it is being opened', () => isOpening)
  const closed = supervised[Symbol.asyncDispose]()
  opening.resolve()
  await closed
  t.ok(disposed.includes(1), disposed.join())
})
