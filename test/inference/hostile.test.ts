import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkMessage } from '../../inference/message-bounds.ts'
import { openOnnx } from '../../models/onnx.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { ask, binaryRequest, identityModel, openServer } from './kit.ts'

t.test('what is too much is refused before it costs: values, inputs, chunks', async (t) => {
  const { url } = await openServer(t, { models: [{ model: identityModel(t) }], valuesMax: 40 })
  const infer = (request: object) => ask(`${url}/v2/models/same/infer`, request)
  const rows = (count: number) => binaryRequest('input', [count, 4], new Float32Array(count * 4))
  t.equal((await infer(rows(10))).status, 200)
  const large = await infer(rows(11))
  t.equal(large.status, 413)
  t.match(large.json, { error: /44 values; the limit is 40/ })
  const input = { name: 'input', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }
  const many = await infer({ body: JSON.stringify({ inputs: Array(100_000).fill(input) }) })
  t.equal(many.status, 400)
  t.match(many.json, { error: /more than 1000 objects/ })
  t.equal((await infer({ body: JSON.stringify({ inputs: [input] }) })).status, 200)
})

t.test('a message of a million empty tensors is refused unread', async (t) => {
  const empty = Buffer.from([0x2a, 0])
  t.throws(() => checkMessage(Buffer.concat(Array(1000).fill(empty))), /more than 64 inputs/)
  t.throws(() => checkMessage(Buffer.from([0x0b, 0x0b, 0x0b])), /none of the protocol/)
  t.doesNotThrow(() => checkMessage(Buffer.from([0x0a, 1, 0x61, 0x2a, 0, 0x3a, 2, 1, 2])))
})

t.test(
  'tokens that change in their file hold without a restart; a file that is wrong changes nothing',
  async (t) => {
    const file = join(temporaryFolder(t), 'tokens')
    const put = (text: string) => {
      writeFileSync(`${file}.new`, text)
      renameSync(`${file}.new`, file)
    }
    put('the-first-token-of-all\n')
    const { url, lines } = await openServer(t, { models: [{ model: identityModel(t) }], tokensFile: file })
    const status = async (token: string) =>
      (await ask(`${url}/v2`, { headers: { authorization: `Bearer ${token}` } })).status
    t.equal(await status('the-first-token-of-all'), 200)
    put('the-second-token-of-all\n')
    await until('the file was read again', async () => (await status('the-first-token-of-all')) === 401)
    t.equal(await status('the-second-token-of-all'), 200)
    put('# nobody\n')
    await until('it was said', async () => {
      await status('the-second-token-of-all')
      return lines.some(({ msg }) => /has no token.*stay in use/.test(msg))
    })
    t.equal(await status('the-second-token-of-all'), 200)
    t.equal(await status('nobody-knows-this-token'), 401)
  },
)

t.test('a model does not read files beside it', async (t) => {
  // ModelProto: y = Identity(w), where w is 4 bytes of package.json, which lies in the working directory.
  const part = (field: number, ...parts: (Buffer | string)[]) => {
    const bytes = Buffer.concat(parts.map((it) => Buffer.from(it as string)))
    return Buffer.concat([Buffer.from([field * 8 + 2, bytes.length]), bytes])
  }
  const number = (field: number, value: number) => Buffer.from([field * 8, value])
  const shape = part(1, number(1, 2), part(2, part(1, number(1, 4))))
  const weights = Buffer.concat([
    number(1, 4),
    number(2, 2),
    part(8, 'w'),
    part(13, part(1, 'location'), part(2, 'package.json')),
    part(13, part(1, 'length'), part(2, '4')),
    number(14, 1),
  ])
  const node = [part(1, 'w'), part(2, 'y'), part(4, 'Identity')]
  const graph = [part(1, ...node), part(2, 'g'), part(5, weights), part(12, part(1, 'y'), part(2, shape))]
  const model = Buffer.concat([number(1, 8), part(7, ...graph), part(8, part(1), number(2, 13))])
  await t.rejects(openOnnx(model, 'a.onnx', 1), {
    code: 'MODEL_UNUSABLE',
    message: /weights in files of its own/,
  })
})
