import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { Program, temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { type Answer, ask, binaryRequest, floatsOf, identityModel, openServer, slowModel } from './kit.ts'

const slow = (value: number) => binaryRequest('input', [1, 1], Float32Array.of(value))
const outcomes = async ({ registry }: { registry: { metrics(): Promise<string> } }) =>
  Object.fromEntries(
    [
      ...(await registry.metrics()).matchAll(
        /inference_requests_total\{model="slow",outcome="(\w+)"[^}]*\} (\d+)/g,
      ),
    ].map(([, outcome, count]) => [outcome, Number(count)]),
  )

t.test('a flood is refused with 503 and a time to come again, and what was taken is answered', async (t) => {
  const opened = await openServer(t, {
    models: [{ model: slowModel(t), provider: 'cpu', threads: 1, waitingMax: 4 }],
  })
  const answers = await Promise.all(
    Array.from({ length: 30 }, () => ask(`${opened.url}/v2/models/slow/infer`, slow(0))),
  )
  const ok = answers.filter(({ status }) => status === 200)
  const refused = answers.filter(({ status }) => status === 503)
  t.ok(ok.length >= 4, `${ok.length} answered`)
  t.ok(refused.length >= 10, `${refused.length} refused`)
  t.equal(ok.length + refused.length, 30)
  for (const { headers, json } of refused) {
    t.ok(Number(headers['retry-after']) >= 1)
    t.match(json.error, /wait already/)
  }
  t.match(await outcomes(opened), { ok: ok.length, busy: refused.length })
})

t.test('a request whose client has gone is not run', async (t) => {
  const opened = await openServer(t, { models: [{ model: slowModel(t), provider: 'cpu', threads: 1 }] })
  const infer = `${opened.url}/v2/models/slow/infer`
  const first = ask(infer, slow(0))
  const model = opened.server.service.model('slow')
  await until('one runs', () => model.underWay === 1 && model.waiting === 0)
  const leaving = new AbortController()
  const left = Array.from({ length: 5 }, () =>
    ask(infer, { ...slow(0), signal: leaving.signal }).catch(() => 'left'),
  )
  await until('five wait', () => model.waiting === 5)
  leaving.abort()
  t.strictSame(await Promise.all(left), Array(5).fill('left'))
  await until('nobody waits', () => model.waiting === 0)
  t.equal((await first).status, 200)
  t.match(await outcomes(opened), { ok: 1, gone: 5 })
  const runs = /inference_run_seconds_count\{[^}]*\} (\d+)/.exec(await opened.registry.metrics())?.[1]
  t.equal(runs, '1')
})

t.test('a request that waits too long is refused, not kept for ever', async (t) => {
  const { url } = await openServer(t, {
    models: [{ model: slowModel(t), provider: 'cpu', threads: 1 }],
    waitMax: '10ms',
  })
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => ask(`${url}/v2/models/slow/infer`, slow(0))),
  )
  t.ok(answers.some(({ status }) => status === 200))
  const late = answers.find(({ status }) => status === 503)
  t.match(late?.json.error, /waited 10 ms/)
})

t.test('bodies that are under way have a limit together', async (t) => {
  const { url } = await openServer(t, {
    models: [{ model: slowModel(t), provider: 'cpu', threads: 1 }],
    payloadMax: '1MB',
    waitingBytesMax: '1MB',
  })
  const half = connect(Number(new URL(url).port), '127.0.0.1')
  t.after(() => void half.destroy())
  half.write('POST /v2/models/slow/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n{')
  const body = `{"inputs":[${' '.repeat(600_000)}]}`
  let answer = await ask(`${url}/v2/models/slow/infer`, { body })
  await until('there is no room', async () => {
    answer = await ask(`${url}/v2/models/slow/infer`, { body })
    return answer.status === 503
  })
  t.match(answer.json.error, /all the room/)
  half.destroy()
  await until('there is room again', async () => {
    answer = await ask(`${url}/v2/models/slow/infer`, { body })
    return answer.status === 400
  })
  t.equal((await ask(`${url}/v2/models/slow/infer`, slow(0))).status, 200)
})

t.test('SIGTERM under load: whatever was taken is answered whole, ready says no, and it ends', async (t) => {
  const folder = temporaryFolder(t)
  const model = identityModel(t, { folder, side: 1000 })
  const program = await Program.start(t, 'inference', {
    models: [{ model, provider: 'cpu', threads: 1 }],
    modelFolder: folder,
    rest: { port: 0 },
    http: { port: 0 },
  })
  const url = String(program.log.find(({ msg }) => msg === 'inference ready')?.rest)
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  t.after(() => agent.destroy())
  const answers: (Answer | { status: string })[] = []
  let ending = false
  const clients = Array.from({ length: 8 }, async (_, client) => {
    for (let round = 0; ; round += 1) {
      const values = new Float32Array(1000).fill(client * 1000 + round)
      const answer = await ask(`${url}/v2/models/same/infer`, {
        ...binaryRequest('input', [1, 1000], values),
        agent,
      }).catch((error: NodeJS.ErrnoException) => ({ status: String(error.code) }))
      answers.push(answer)
      if (answer.status === 200) {
        const output = floatsOf(answer as Answer).get('output')
        t.ok(
          output?.length === 1000 && output.every((it) => it === client * 1000 + round),
          'its own, and whole',
        )
      } else return
    }
  })
  await until('answers come', () => answers.length > 100)
  ending = true
  const status = await program.stop()
  await Promise.all(clients)
  t.equal(status, 0)
  const ends = answers.filter((it) => it.status !== 200).map((it) => it.status)
  // Told to go elsewhere, or nobody there any more; never cut off in the middle.
  for (const end of ends) t.ok(end === 503 || end === 'ECONNREFUSED', String(end))
  t.ok(ending)
})

t.test('a model whose file is not the one of the catalogue does not start', async (t) => {
  const folder = temporaryFolder(t)
  const file = identityModel(t, { folder, name: 'mine' })
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
  writeFileSync(
    join(folder, 'catalog.yaml'),
    `models:\n  - { name: mine, file: mine.onnx, sha256: "${sha256}" }\n`,
  )
  const config = {
    models: [{ model: 'mine', provider: 'cpu', threads: 1 }],
    modelFolder: folder,
    rest: { port: 0 },
    http: { port: 0 },
  }
  const { url } = await openServer(t, config, folder)
  t.match((await ask(`${url}/v2/models/mine`)).json, { versions: [sha256.slice(0, 12)] })
  writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.of(0)]))
  const { status, last } = await Program.run(t, 'inference', config)
  t.match({ status, code: last?.code }, { status: 65, code: 'CHECKSUM_WRONG' })
})
