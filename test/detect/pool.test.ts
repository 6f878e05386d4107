import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type AskedServer, ServerBusy, ServerDenied, WorkerPool } from '../../device/detect/remote/pool.ts'
import { SERVER_BUSY_MS_MAX, SERVER_REST_MS_MIN } from '../../device/limits.ts'
import { openMeters } from '../../device/meters.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { until } from '../kit/wait.ts'

/** The pool alone: servers are functions. */

interface Scripted extends AskedServer<number, string> {
  asked: number
  underWay: number
  most: number
  isReady: boolean
  readyAsked: number
  answer: (input: number, signal: AbortSignal) => Promise<string>
}

function scripted(address: string, answer: Scripted['answer'] = async (input) => `${address} ${input}`) {
  const server: Scripted = {
    address,
    asked: 0,
    underWay: 0,
    most: 0,
    isReady: true,
    readyAsked: 0,
    answer,
    async ready() {
      server.readyAsked += 1
      if (!server.isReady) throw failure('INFERENCE_UNAVAILABLE', `${address} is not ready.`)
    },
    async ask(input, signal) {
      server.asked += 1
      server.underWay += 1
      server.most = Math.max(server.most, server.underWay)
      try {
        return await server.answer(input, signal)
      } finally {
        server.underWay -= 1
      }
    },
  }
  return server
}

const hang: Scripted['answer'] = (_input, signal) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
  })
const slow =
  (ms: number): Scripted['answer'] =>
  async (input) => {
    await sleep(ms)
    return String(input)
  }

async function open(t: Test, servers: Scripted[], settings: { inFlight?: number; deadlineMs?: number } = {}) {
  const meters = openMeters(openMetrics('test'))
  const pool = await WorkerPool.open({
    servers,
    inFlight: 2,
    deadlineMs: 1000,
    log: openLog('test', 'silent'),
    meters,
    ...settings,
  })
  t.teardown(() => pool[Symbol.asyncDispose]())
  const failed = async () =>
    Object.fromEntries(
      (await meters.inferenceFailed.get()).values.map(({ labels, value }) => [
        `${labels.server} ${labels.reason}`,
        value,
      ]),
    )
  return { pool, failed }
}

t.test('the least busy is asked, so many at a time, and of equals the faster', async (t) => {
  const [fast, slower] = [scripted('fast', slow(5)), scripted('slower', slow(60))]
  const { pool } = await open(t, [slower, fast])
  await Promise.all([pool.run(1), pool.run(2)])
  t.same([fast.asked, slower.asked], [1, 1], 'one each')
  await Promise.all(Array.from({ length: 8 }, (_, i) => pool.run(i)))
  t.same([fast.most, slower.most], [2, 2])
  const before = slower.asked
  for (let i = 0; i < 5; i += 1) await pool.run(i)
  t.equal(slower.asked, before, 'one after the other: the faster')
})

t.test('as many as there are places wait; further ones are late at once', async (t) => {
  const server = scripted('one', slow(100))
  const { pool } = await open(t, [server])
  const over: number[] = []
  const looks = Array.from({ length: 5 }, (_, i) =>
    pool.run(i).finally(() => {
      over.push(i)
    }),
  )
  await t.rejects(looks[4] as Promise<string>, { code: 'INFERENCE_LATE' })
  t.same(over, [4], 'before any other is over')
  t.same(await Promise.all(looks.slice(0, 4)), ['0', '1', '2', '3'])
})

t.test('a server that hangs holds nobody up for long, and is left alone for longer each time', async (t) => {
  const [bad, good] = [scripted('bad', hang), scripted('good')]
  const { pool, failed } = await open(t, [bad, good], { deadlineMs: 400 })
  t.equal(await pool.run(1), 'good 1', 'the idle one is asked beside it')
  t.ok(pool.states[0]?.isUp, 'before the deadline: it may still answer')
  await until('it is taken out', () => pool.states[0]?.isUp === false)
  t.match(pool.states[0], { why: /bad did not answer within 400 ms/ })
  for (let i = 0; i < 20; i += 1) t.equal(await pool.run(i), `good ${i}`)
  t.same(await failed(), { 'bad late': 1 })
  // It says that it is ready: it comes back, on trial, and is not preferred.
  await until('it is back', () => pool.states[0]?.isUp === true)
  const asked = bad.asked
  const looks = await Promise.all(Array.from({ length: 4 }, (_, i) => pool.run(i)))
  t.same(looks, ['good 0', 'good 1', 'good 2', 'good 3'])
  t.ok(bad.asked <= asked + 1, 'one at a time')
})

t.test('one server that hangs costs one deadline each time', async (t) => {
  const bad = scripted('bad', hang)
  const { pool, failed } = await open(t, [bad], { deadlineMs: 100 })
  const startMs = performance.now()
  await t.rejects(pool.run(1), { code: 'INFERENCE_LATE', message: /bad.*100 ms/ })
  t.ok(performance.now() - startMs < 300)
  await t.rejects(pool.run(2), { code: 'INFERENCE_UNAVAILABLE' })
  t.same(await failed(), { 'bad late': 1 })
  await until('it is back', () => pool.isUp)
  await t.rejects(pool.run(3), { code: 'INFERENCE_LATE' })
  const againMs = performance.now()
  await until('it is back', () => pool.isUp)
  t.ok(performance.now() - againMs >= 400, 'longer')
})

t.test('what fails at once is tried elsewhere; a wrong answer is none', async (t) => {
  const refuses = scripted('refuses', async () => {
    throw new Error('connection refused')
  })
  const lies = scripted('lies', async () => {
    throw failure('INFERENCE_WRONG', 'It lies.')
  })
  const { pool, failed } = await open(t, [refuses, lies, scripted('good')])
  t.equal(await pool.run(7), 'good 7')
  t.same(await failed(), { 'refuses unavailable': 1, 'lies wrong': 1 })
  t.same(
    pool.states.map(({ isUp }) => isUp),
    [false, false, true],
  )
})

t.test('one that is busy is up, and asked again after a while', async (t) => {
  let isBusy = true
  const server = scripted('one', async () => {
    if (isBusy) throw new ServerBusy('busy', 100)
    return 'answer'
  })
  const { pool } = await open(t, [server])
  await t.rejects(pool.run(1), { code: 'INFERENCE_LATE' })
  isBusy = false
  t.ok(pool.isUp)
  const startMs = performance.now()
  t.equal(await pool.run(2), 'answer')
  t.ok(performance.now() - startMs >= 50, 'after it had its rest')
})

t.test('one that says it is busy for an hour is asked again soon', (t) => {
  t.equal(new ServerBusy('busy', 3_600_000).retryAfterMs, SERVER_BUSY_MS_MAX)
  t.equal(new ServerBusy('busy', -5).retryAfterMs, 0)
  t.end()
})

t.test('a look that waited in vain takes no place when one is free at last', async (t) => {
  let isBusy = true
  const server = scripted('one', async () => {
    if (isBusy) throw new ServerBusy('busy', 300)
    return 'answer'
  })
  const { pool } = await open(t, [server], { inFlight: 1, deadlineMs: 100 })
  await t.rejects(pool.run(1), { code: 'INFERENCE_LATE', message: /one is busy/ })
  await t.rejects(pool.run(2), { code: 'INFERENCE_LATE', message: /All inference servers were busy/ })
  isBusy = false
  await sleep(300)
  t.equal(await pool.run(3), 'answer')
})

t.test('one that is late because others took the time stays', async (t) => {
  const [bad, good] = [scripted('bad', hang), scripted('good')]
  good.answer = async (input, signal) => (input === 1 ? slow(300)(1, signal) : hang(input, signal))
  bad.answer = async () => {
    await sleep(650)
    throw new Error('gone')
  }
  const { pool } = await open(t, [good, bad], { deadlineMs: 900 })
  const first = pool.run(1)
  await t.rejects(pool.run(2), { code: 'INFERENCE_LATE', message: /good did not answer/ })
  t.equal(await first, '1')
  t.match(pool.states, [{ isUp: true }, { isUp: false, why: /gone/ }])
})

t.test(
  'one that fails and comes back is left alone no longer than at first, as long as it answers',
  async (t) => {
    const server = scripted('one')
    const { pool } = await open(t, [server])
    for (let at = 0; at < 4; at += 1) {
      server.answer = async () => {
        throw new Error('gone')
      }
      await t.rejects(pool.run(1), { code: 'INFERENCE_UNAVAILABLE' })
      const startMs = performance.now()
      await until('it is back', () => pool.isUp)
      t.ok(performance.now() - startMs < 1500, `${at}`)
      server.answer = async () => 'answer'
      t.equal(await pool.run(2), 'answer')
    }
  },
)

t.test('one that is not ready is asked now and then, not all the time', async (t) => {
  const server = scripted('one')
  server.isReady = false
  await open(t, [server])
  await until('again', () => server.readyAsked > 1)
  await sleep(300)
  t.ok(server.readyAsked <= 4, `${server.readyAsked}`)
})

t.test(
  'where none can be asked, that is said at once, to those who wait too; and they come back',
  async (t) => {
    const server = scripted('one', slow(50))
    server.isReady = false
    const { pool } = await open(t, [server])
    t.equal(pool.trouble, 'No inference server can be asked. one is not ready.', 'each is named once')
    await t.rejects(pool.run(1), { code: 'INFERENCE_UNAVAILABLE', message: /one is not ready/ })
    server.isReady = true
    await until('it is up', () => pool.isUp)
    t.equal(await pool.run(1), '1')
    server.answer = async () => {
      await sleep(30)
      throw new Error('gone')
    }
    const startMs = performance.now()
    const looks = await Promise.allSettled([1, 2, 3, 4].map((it) => pool.run(it)))
    t.ok(looks.every((it) => it.status === 'rejected' && it.reason.code === 'INFERENCE_UNAVAILABLE'))
    t.ok(performance.now() - startMs < 500)
  },
)

t.test('one that refuses the token is asked rarely, and it is said why', async (t) => {
  const server = scripted('one', async () => {
    throw new ServerDenied('one refuses the token.')
  })
  const { pool } = await open(t, [server])
  const before = server.readyAsked
  await t.rejects(pool.run(1), { code: 'INFERENCE_UNAVAILABLE', message: /refuses the token/ })
  await sleep(SERVER_REST_MS_MIN * 3)
  t.equal(server.readyAsked, before, 'ten wrong ones in a minute, and a server refuses right ones too')
  t.match(pool.trouble, /refuses the token/)
})

t.test('what is under way fails when it is closed', async (t) => {
  const { pool } = await open(t, [scripted('one', hang)])
  const looks = [1, 2, 3].map((it) => pool.run(it))
  const settled = Promise.allSettled(looks)
  await pool[Symbol.asyncDispose]()
  t.ok((await settled).every(({ status }) => status === 'rejected'))
  await t.rejects(pool.run(4), { code: 'INFERENCE_UNAVAILABLE' })
})
