import { Agent } from 'node:http'
import fc from 'fast-check'
import t from 'tap'
import { Batcher, type Job } from '../../inference/batcher.ts'
import { splitRows } from '../../inference/model.ts'
import { Refusal } from '../../inference/refusal.ts'
import { sharedData } from '../kit/data.ts'
import { until } from '../kit/wait.ts'
import { ask, binaryRequest, floatsOf, identityModel, mixingModel, openServer } from './kit.ts'

const OPTIONS = {
  batchMax: 8,
  bytesMax: 1000,
  delayMsMax: 0,
  waitingMax: 1000,
  waitMsMax: 60_000,
  retryAfterS: () => 1,
}
const jobOf = (key: string, rows: number): Job & { why?: Refusal } => {
  const job: Job & { why?: Refusal } = {
    key,
    rows,
    bytes: rows * 100,
    reject: (why) => {
      job.why = why
    },
  }
  return job
}

t.test(
  'whatever waits is handed out once, the oldest first, only with its like, and never too many rows',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c'), rows: fc.integer({ min: 1, max: 10 }) }), {
          minLength: 1,
          maxLength: 30,
        }),
        fc.integer({ min: 1, max: 16 }),
        async (given, batchMax) => {
          using batcher = new Batcher({ ...OPTIONS, batchMax })
          const jobs = given.map(({ key, rows }) => jobOf(key, rows))
          for (const job of jobs) batcher.add(job)
          const seen: Job[] = []
          while (seen.length < jobs.length) {
            const batch = (await batcher.take({})) ?? []
            const rows = batch.reduce((sum, job) => sum + job.rows, 0)
            if (batch[0] !== jobs.find((job) => !seen.includes(job))) return false
            if (batch.some((job) => job.key !== batch[0]?.key || seen.includes(job))) return false
            if ((rows > batchMax || rows * 100 > OPTIONS.bytesMax) && batch.length > 1) return false
            seen.push(...batch)
          }
          return batcher.waiting === 0 && jobs.every(({ why }) => why === undefined)
        },
      ),
    )
  },
)

t.test(
  'more than may wait are refused with a time to come again; what waits too long is refused too',
  async (t) => {
    using batcher = new Batcher({ ...OPTIONS, waitingMax: 2, waitMsMax: 20, retryAfterS: () => 7 })
    const jobs = [jobOf('a', 1), jobOf('a', 1)]
    for (const job of jobs) batcher.add(job)
    t.throws(
      () => batcher.add(jobOf('a', 1)),
      new Refusal('busy', '2 requests wait already. Come again later.', 7),
    )
    await until('both are late', () => jobs.every(({ why }) => why?.kind === 'busy'))
    t.equal(batcher.waiting, 0)
    const taker = {}
    const taken = batcher.take(taker)
    batcher.sendAway(taker)
    t.equal(await taken, undefined)
    const last = jobOf('a', 1)
    batcher.add(last)
    batcher.refuse(() => new Refusal('away', 'It ends.'))
    t.equal(last.why?.kind, 'away')
  },
)

t.test('a delay gathers what comes within it, and a full batch does not wait', async (t) => {
  using batcher = new Batcher({ ...OPTIONS, batchMax: 3, delayMsMax: 10_000 })
  const first = batcher.take({})
  const jobs = Array.from({ length: 4 }, () => jobOf('a', 1))
  for (const job of jobs) batcher.add(job)
  t.strictSame(await first, jobs.slice(0, 3))
  t.equal(batcher.waiting, 1)
})

t.test('rows go to whom they belong; outputs of other rows go to nobody', async (t) => {
  const data = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
  const output = { name: 'o', datatype: 'FP32', shape: [3, 2], data } as const
  const [one, two] = splitRows([output], [1, 2])
  t.match(one, [{ shape: [1, 2], data: data.subarray(0, 8) }])
  t.match(two, [{ shape: [2, 2], data: data.subarray(8) }])
  t.throws(() => splitRows([output], [1, 1]), /3 rows of 2/)
  t.throws(() => splitRows([{ ...output, shape: [] }], [1, 1]), /no rows of 2/)
})

t.test('under load of many shapes each request gets its own answer, and several run together', async (t) => {
  const { url, registry } = await openServer(t, {
    models: [{ model: identityModel(t), delayMax: '2ms', waitingMax: 1000, instances: 2 }],
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 32 })
  t.after(() => agent.destroy())
  let number = 0
  const one = async (rows: number) => {
    number += 1
    const mine = number
    const values = Float32Array.from({ length: rows * 4 }, (_, at) => mine * 100 + at)
    const answer = await ask(`${url}/v2/models/same/infer`, {
      ...binaryRequest('input', [rows, 4], values, { id: `n${mine}` }),
      agent,
    })
    t.equal(answer.json.id, `n${mine}`)
    return JSON.stringify([...(floatsOf(answer).get('output') ?? [])]) === JSON.stringify([...values])
  }
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 40 }),
      async (list) => (await Promise.all(list.map(one))).every(Boolean),
    ),
    { numRuns: 20 },
  )
  const text = await registry.metrics()
  const count = (name: string) => Number(new RegExp(`${name}\\{[^}]*\\} (\\d+)`).exec(text)?.[1])
  t.ok(count('sightline_inference_batch_rows_count') < number, 'there were batches')
})

t.test(
  'a model that says it takes batches, and mixes its rows, is given one request at a time',
  async (t) => {
    const { url, server } = await openServer(t, { models: [{ model: mixingModel(t), delayMax: '20ms' }] })
    t.equal(server.service.model('mixing').opened.batches, false)
    const answers = await Promise.all(
      [1, 10, 100].map((value) =>
        ask(`${url}/v2/models/mixing/infer`, binaryRequest('input', [1, 4], new Float32Array(4).fill(value))),
      ),
    )
    // Each and its own mean.
    t.strictSame(
      answers.map((it) => floatsOf(it).get('output')?.[0]),
      [2, 20, 200],
    )
  },
)

t.test('liveness, which comes with Sightline, takes batches, and answers each as alone', async (t) => {
  const { url, server } = await openServer(t, { models: [{ model: 'liveness', delayMax: '20ms' }] })
  t.equal(server.service.model('liveness').opened.batches, true)
  const request = (seed: number) =>
    ask(
      `${url}/v2/models/liveness/infer`,
      binaryRequest(
        'input',
        [1, 32, 32, 3],
        Float32Array.from({ length: 3072 }, (_, at) => ((at * seed) % 97) / 97),
      ),
    )
  const alone = []
  for (const seed of [1, 2, 3]) alone.push(floatsOf(await request(seed)))
  const together = (await Promise.all([1, 2, 3].map(request))).map(floatsOf)
  for (const [at, outputs] of alone.entries())
    for (const [name, values] of outputs)
      t.ok(
        values.every((it, index) => Math.abs(it - (together[at]?.get(name)?.[index] ?? Number.NaN)) < 1e-4),
        name,
      )
})

t.test(
  'yunet-n takes batches too',
  { skip: sharedData('models') === undefined && 'no models' },
  async (t) => {
    const { server } = await openServer(t, { models: [{ model: 'yunet-n' }] }, sharedData('models'))
    t.equal(server.service.model('yunet-n').opened.batches, true)
  },
)
