import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { until } from '../kit/wait.ts'
import { openGrpc, openRest } from './oip-server.ts'
import { openRemote } from './remote-kit.ts'

/** Servers that are late, go away and come back. */

for (const [kind, start] of Object.entries({ REST: openRest, gRPC: openGrpc })) {
  t.test(`${kind}: too late, never, and again`, async (t) => {
    const server = await start(t)
    const { look, failed, detector } = await openRemote(t, [server], { deadline: '200ms' })
    await look()
    server.wrongs.answer = (it) => sleep(400, it)
    await t.rejects(look(), { code: 'INFERENCE_LATE', message: /200 ms/ })
    await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /did not answer within 200 ms/ })
    server.wrongs.answer = () => new Promise(() => {})
    await until('it is asked again', () => detector.whereabouts?.on === 'remote')
    await t.rejects(look(), { code: 'INFERENCE_LATE' })
    server.wrongs.answer = (it) => it
    await until('it is asked again', () => detector.whereabouts?.on === 'remote')
    t.equal((await look()).length, 1)
    t.same(await failed(), ['late 2'])
  })

  t.test(`${kind}: a server that restarts, and one that loses its model`, async (t) => {
    const server = await start(t)
    const { look, detector } = await openRemote(t, [server])
    await look()
    await server[Symbol.asyncDispose]()
    await t.rejects(look(), { code: 'INFERENCE_UNAVAILABLE', message: /127\.0\.0\.1/ })
    const again = await start(t, { port: server.port })
    await until('it is back', () => detector.whereabouts?.on === 'remote', 15_000)
    t.equal((await look()).length, 1)
    again.wrongs.hasModel = false
    await until('it is missed', () => detector.whereabouts?.on === 'none', 15_000)
    t.match(detector.whereabouts?.why, /has no model blazeface/)
    again.wrongs.hasModel = true
    await until('it is back', () => detector.whereabouts?.on === 'remote', 15_000)
  })
}

t.test('a detector here takes over, at once, and gives back', async (t) => {
  const server = await openRest(t)
  const { detector, look } = await openRemote(t, [server], { local: 'auto' })
  t.equal((await look()).length, 1)
  await server[Symbol.asyncDispose]()
  t.equal((await look()).length, 1, 'the very frame on which it failed')
  t.match(detector.whereabouts, { on: 'local', why: /No inference server can be asked/ })
  const again = await openRest(t, { port: server.port })
  again.wrongs.answer = () => new Promise(() => {}) // it says that it is ready, and hangs
  const startMs = performance.now()
  while (performance.now() - startMs < 3000) {
    t.equal((await look()).length, 1)
    await sleep(100)
  }
  t.ok(again.asked.length > 0, 'it was tried')
  t.equal(detector.whereabouts?.on, 'local', 'and no frame was lost by that')
  again.wrongs.answer = (it) => it
  await until(
    'it is given back',
    async () => {
      t.equal((await look()).length, 1)
      return detector.whereabouts?.on === 'remote'
    },
    20_000,
  )
})
