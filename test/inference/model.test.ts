import { writeFileSync } from 'node:fs'
import pino from 'pino'
import t from 'tap'
import { inferenceSchema, type ModelConfig } from '../../inference/config.ts'
import { openMeters } from '../../inference/meters.ts'
import { Model } from '../../inference/model.ts'
import { openModelThread } from '../../inference/model-thread.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { Thread } from '../../lib/thread.ts'
import type { WireTensor } from '../../wire/inference.ts'
import type { Test } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { ask, binaryRequest, floatsOf, identityModel, openServer, slowModel } from './kit.ts'

async function openModel(t: Test, file: string, payloadBytesMax = 1e6) {
  const [config] = inferenceSchema.parse({ models: [{ model: file }] }).models as [ModelConfig]
  const threads: Thread[] = []
  const model = await Model.open({
    options: { model: file, provider: 'cpu', threads: 1 },
    config,
    waitMsMax: 10_000,
    payloadBytesMax,
    valuesMax: 1e6,
    openThread: async (options) => {
      const thread = await openModelThread(options)
      threads.push(thread)
      return thread
    },
    meters: openMeters(openMetrics('inference'), () => []),
    log: pino({ level: 'silent' }),
  })
  t.after(() => model[Symbol.asyncDispose]())
  return { model, threads }
}

const tensor = (shape: readonly number[], ...values: number[]): WireTensor => ({
  name: 'input',
  datatype: 'FP32',
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
})
const never = () => new AbortController().signal

t.test('a thread that ends takes its requests along, and is opened again', async (t) => {
  const { model, threads } = await openModel(t, slowModel(t))
  const asked = Array.from({ length: 3 }, () => model.infer({ inputs: [tensor([1, 1], 0)] }, never()))
  const ends = Promise.allSettled(asked)
  await until('one runs', () => model.underWay === 3 && model.waiting === 2)
  await threads[0]?.kill(new Error('killed'))
  const kinds = (await ends).map((it) => (it.status === 'rejected' ? it.reason.kind : 'ok'))
  t.ok(
    kinds.every((it) => it === 'failed' || it === 'away'),
    kinds.join(),
  )
  t.equal(model.isReady, false)
  await t.rejects(model.infer({ inputs: [tensor([1, 1], 0)] }, never()), {
    message: /does not run at the moment/,
  })
  await until('it runs again', () => model.isReady)
  t.match(await model.infer({ inputs: [tensor([1, 1], 0)] }, never()), { model: 'slow' })
  t.equal(threads.length, 2)
})

t.test('a file that was changed meanwhile is not taken for the same model', async (t) => {
  const file = identityModel(t)
  const { model, threads } = await openModel(t, file)
  identityModel(t, { folder: file.replace(/\/[^/]+$/, ''), side: 5 })
  await threads[0]?.kill(new Error('killed'))
  await until('it was tried', () => threads.length > 1)
  t.equal(model.isReady, false)
})

t.test('bytes count as the floats that they become', async (t) => {
  const { model } = await openModel(t, identityModel(t), 1000)
  const bytes = (rows: number): WireTensor => ({
    name: 'input',
    datatype: 'UINT8',
    shape: [rows, 4],
    data: new Uint8Array(rows * 4),
    parameters: { scale: 1, offset: 0 },
  })
  await model.infer({ inputs: [bytes(62)] }, never())
  await t.rejects(model.infer({ inputs: [bytes(63)] }, never()), {
    message: /more than 1000 bytes as floats/,
  })
})

t.test('a size that the network cannot take is an error of that request alone', async (t) => {
  const { url } = await openServer(t)
  const infer = (side: number) =>
    ask(
      `${url}/v2/models/blazeface/infer`,
      binaryRequest('input', [1, side, side, 3], new Float32Array(side * side * 3)),
    )
  const [odd, good] = await Promise.all([infer(33), infer(64)])
  t.ok([200, 500].includes(odd.status), String(odd.status))
  if (odd.status === 500) t.match(odd.json.error, /failed on this input/)
  t.equal(good.status, 200)
  t.ok(floatsOf(good).size > 0)
  t.equal((await infer(64)).status, 200)
})

t.test('what is no model does not open', async (t) => {
  const file = identityModel(t)
  writeFileSync(file, 'no model')
  await t.rejects(openModel(t, file), { code: 'MODEL_UNUSABLE' })
})
