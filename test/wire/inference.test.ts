import fc from 'fast-check'
import t from 'tap'
import {
  DATATYPES,
  decodeInferRequest,
  decodeInferResponse,
  encodeInferRequest,
  encodeInferResponse,
  errorSchema,
  fromInferRequestMessage,
  fromInferResponseMessage,
  InferenceFault,
  type InferRequest,
  inferRequestMessage,
  inferResponseMessage,
  isBinaryOutput,
  jsonBytesOf,
  modelMetadataSchema,
  serverMetadataSchema,
  sizeOf,
  TENSORS_MAX,
  valuesOf,
  type WireTensor,
} from '../../wire/inference.ts'

const text = (json: unknown) => Buffer.from(JSON.stringify(json))
const joined = ({ chunks }: { readonly chunks: readonly Uint8Array[] }) => Buffer.concat(chunks)
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)

/** The JSON of a body, and what follows it. */
function parts(encoded: ReturnType<typeof encodeInferRequest>) {
  const body = joined(encoded)
  const end = encoded.jsonBytes ?? body.length
  return {
    json: JSON.parse(body.subarray(0, end).toString()) as Record<string, unknown>,
    rest: body.subarray(end),
  }
}

const shape = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 })
const name = fc.string({ minLength: 1, maxLength: 20 })
const parameters = fc.dictionary(
  fc
    .string({ minLength: 1, maxLength: 10 })
    .filter((key) => !key.startsWith('binary_data') && key !== '__proto__'),
  fc.oneof(
    fc.string(),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((it) => !Object.is(it, -0)),
  ),
  { minKeys: 1, maxKeys: 3 },
)
const tensor = (datatypes = DATATYPES): fc.Arbitrary<WireTensor> =>
  fc
    .record({
      name,
      datatype: fc.constantFrom(...datatypes),
      shape,
      parameters: fc.option(parameters, { nil: undefined }),
    })
    .chain((it) => {
      const bytes = it.shape.reduce((a, b) => a * b, 1) * sizeOf(it.datatype)
      return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((data) => {
        const { parameters: all, ...rest } = it
        return { ...rest, ...(all && { parameters: all }), data }
      })
    })
const tensors = (datatypes = DATATYPES) =>
  fc.uniqueArray(tensor(datatypes), { minLength: 1, maxLength: 4, selector: (it) => it.name })

const alike = (a: readonly WireTensor[], b: readonly WireTensor[]) =>
  a.length === b.length &&
  a.every((it, at) => {
    const other = b[at] as WireTensor
    return (
      it.name === other.name &&
      it.datatype === other.datatype &&
      it.shape.join() === other.shape.join() &&
      Buffer.compare(it.data, other.data) === 0 &&
      JSON.stringify(Object.entries(it.parameters ?? {}).sort()) ===
        JSON.stringify(Object.entries(other.parameters ?? {}).sort())
    )
  })

t.test('whatever tensors are sent as bytes arrive as they were, both ways, by HTTP and gRPC', async () => {
  fc.assert(
    fc.property(
      tensors(),
      fc.option(fc.string({ minLength: 1, maxLength: 30 }), { nil: undefined }),
      (all, id) => {
        const request = encodeInferRequest({ id, inputs: all }, { binary: true })
        const asked = decodeInferRequest(joined(request), request.jsonBytes)
        const response = encodeInferResponse({ model: 'm', version: '1', id, outputs: all }, () => true)
        const answered = decodeInferResponse(joined(response), response.jsonBytes)
        const message = fromInferRequestMessage(inferRequestMessage({ model: 'm', id, inputs: all }))
        const reply = fromInferResponseMessage(inferResponseMessage({ model: 'm', id, outputs: all }))
        return (
          [asked.inputs, answered.outputs, message.inputs, reply.outputs].every((it) => alike(it, all)) &&
          [asked.id, answered.id, message.id, reply.id].every((it) => it === id) &&
          asked.binaryOutput === true
        )
      },
    ),
  )
})

t.test('whatever JSON can say arrives as it was in JSON', async () => {
  const whole = DATATYPES.filter((it) => /^U?INT(8|16|32)$/.test(it))
  fc.assert(
    fc.property(tensors(whole), (all) => {
      const request = encodeInferRequest({ inputs: all }, { binary: false })
      const response = encodeInferResponse({ model: 'm', outputs: all }, () => false)
      return (
        request.jsonBytes === undefined &&
        alike(decodeInferRequest(joined(request)).inputs, all) &&
        alike(decodeInferResponse(joined(response)).outputs, all)
      )
    }),
  )
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }).filter((it) => !Object.is(it, -0))),
      (values) => {
        const all: WireTensor[] = [
          { name: 'x', datatype: 'FP32', shape: [values.length], data: floats(...values) },
        ]
        return alike(
          decodeInferRequest(joined(encodeInferRequest({ inputs: all }, { binary: false }))).inputs,
          all,
        )
      },
    ),
  )
})

t.test('whatever bytes come, they are a message or a sentence', async () => {
  const good = encodeInferRequest(
    { id: '1', inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 2, 2], data: floats(1, 2, 3, 4) }] },
    { binary: true },
  )
  const body = joined(good)
  const isSaid = (decode: () => unknown) => {
    try {
      decode()
      return true
    } catch (error) {
      return error instanceof InferenceFault && /^[A-Z"].*\.$/s.test(error.message)
    }
  }
  fc.assert(
    fc.property(
      fc.nat({ max: body.length - 1 }),
      fc.nat({ max: 255 }),
      fc.option(fc.nat({ max: body.length + 8 }), { nil: undefined }),
      fc.nat({ max: body.length }),
      (at, byte, jsonBytes, end) => {
        const changed = Buffer.from(body)
        changed[at] = byte
        return [
          () => decodeInferRequest(changed, good.jsonBytes),
          () => decodeInferRequest(body, jsonBytes),
          () => decodeInferRequest(body.subarray(0, end), good.jsonBytes),
          () => decodeInferResponse(changed, jsonBytes),
        ].every(isSaid)
      },
    ),
    { numRuns: 500 },
  )
  fc.assert(
    fc.property(
      fc.json(),
      (json) =>
        isSaid(() => decodeInferRequest(Buffer.from(json))) &&
        isSaid(() => decodeInferResponse(Buffer.from(json))),
    ),
  )
})

/** What the protocol's own description (open_inference_rest.yaml) asks for, in short. */
const required = {
  server: ['name', 'version', 'extensions'],
  model: ['name', 'platform'],
  tensor: ['name', 'shape', 'datatype'],
  response: ['model_name', 'outputs'],
}
const has = (json: object, keys: readonly string[]) => keys.every((key) => Object.hasOwn(json, key))

t.test('what we write has what the description of the protocol requires', async (t) => {
  const x: WireTensor = { name: 'x', datatype: 'FP32', shape: [2], data: floats(1, 2.5) }
  const flag: WireTensor = { name: 'flag', datatype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) }
  const asked = parts(
    encodeInferRequest({ id: '42', inputs: [x, flag], outputs: [{ name: 'y' }] }, { binary: false }),
  )
  t.strictSame(asked.json, {
    id: '42',
    inputs: [
      { name: 'x', datatype: 'FP32', shape: [2], data: [1, 2.5] },
      { name: 'flag', datatype: 'BOOL', shape: [2], data: [true, false] },
    ],
    outputs: [{ name: 'y' }],
  })
  const answered = parts(encodeInferResponse({ model: 'm', outputs: [x] }, () => false))
  t.ok(has(answered.json, required.response))
  for (const output of answered.json.outputs as object[]) t.ok(has(output, [...required.tensor, 'data']))
  // With the extension, "binary_data_size" is in the place of "data".
  const binary = parts(encodeInferResponse({ model: 'm', outputs: [x] }, () => true))
  t.strictSame(binary.json.outputs, [
    { name: 'x', datatype: 'FP32', shape: [2], parameters: { binary_data_size: 8 } },
  ])
  t.equal(binary.rest.length, 8)
})

t.test('the examples of the protocol are read as they are meant', async (t) => {
  const request = decodeInferRequest(
    text({
      id: '42',
      inputs: [
        { name: 'input0', shape: [2, 2], datatype: 'UINT32', data: [1, 2, 3, 4] },
        { name: 'input1', shape: [3], datatype: 'BOOL', data: [true, false, true] },
      ],
      outputs: [{ name: 'output0' }],
    }),
  )
  t.strictSame([...valuesOf(request.inputs[0] as WireTensor)], [1, 2, 3, 4])
  t.strictSame([...valuesOf(request.inputs[1] as WireTensor)], [1, 0, 1])
  t.strictSame(request.outputs, [{ name: 'output0' }])
  t.equal(isBinaryOutput(request, 'output0'), false)
  const nested = decodeInferRequest(
    text({
      inputs: [
        {
          name: 'a',
          shape: [2, 2],
          datatype: 'INT8',
          data: [
            [1, -2],
            [3, -4],
          ],
        },
      ],
    }),
  )
  t.strictSame([...valuesOf(nested.inputs[0] as WireTensor)], [1, -2, 3, -4])
  const response = decodeInferResponse(
    text({
      model_name: 'mymodel',
      id: '42',
      outputs: [{ name: 'output0', shape: [3, 2], datatype: 'FP32', data: [1, 1.1, 2, 2.1, 3, 3.1] }],
    }),
  )
  t.equal(response.model, 'mymodel')
  t.equal(response.outputs[0]?.data.length, 24)
  // The binary extension's: one tensor as JSON, one as bytes behind it; outputs one by one.
  const head = text({
    inputs: [
      { name: 'input0', shape: [2, 2], datatype: 'UINT32', parameters: { binary_data_size: 16 } },
      { name: 'input1', shape: [3], datatype: 'BOOL', parameters: { binary_data_size: 3 } },
      { name: 'input2', shape: [1], datatype: 'FP64', data: [0.5] },
    ],
    outputs: [{ name: 'o0', parameters: { binary_data: true } }, { name: 'o1' }],
  })
  const mixed = decodeInferRequest(
    Buffer.concat([head, new Uint8Array(Uint32Array.of(7, 8, 9, 10).buffer), Uint8Array.of(1, 0, 1)]),
    head.length,
  )
  t.strictSame(
    mixed.inputs.map((it) => [...(valuesOf(it) as Uint8Array)]),
    [[7, 8, 9, 10], [1, 0, 1], [0.5]],
  )
  t.equal(isBinaryOutput(mixed, 'o0'), true)
  t.equal(isBinaryOutput(mixed, 'o1'), false)
  const all: InferRequest = decodeInferRequest(
    text({
      parameters: { binary_data_output: true },
      inputs: [{ name: 'a', shape: [0], datatype: 'FP32', data: [] }],
    }),
  )
  t.equal(isBinaryOutput(all, 'anything'), true)
  t.equal(all.parameters, undefined)
})

t.test('what other servers leave out, or write as null or as text, is understood', async (t) => {
  t.strictSame(
    serverMetadataSchema.parse({ name: 'triton', version: '2.40.0', extensions: null }).extensions,
    [],
  )
  t.match(
    modelMetadataSchema.parse({
      name: 'm',
      platform: null,
      inputs: [{ name: 'i', datatype: 'FP32', shape: ['-1', '3', 320, 320] }],
    }),
    { versions: [], platform: undefined, inputs: [{ shape: [-1, 3, 320, 320] }], outputs: [] },
  )
  t.match(
    decodeInferResponse(
      text({
        model_name: 'm',
        model_version: null,
        id: null,
        parameters: null,
        outputs: [{ name: 'o', shape: ['1'], datatype: 'FP32', parameters: null, data: [1] }],
      }),
    ),
    { model: 'm', version: undefined, id: undefined },
  )
  t.equal(errorSchema.parse({ error: 'no' }).error, 'no')
})

t.test('what is no request of the protocol is refused in a sentence', async (t) => {
  const input = { name: 'a', shape: [2], datatype: 'FP32', data: [1, 2] }
  const of = (change: object) => ({ inputs: [{ ...input, ...change }] })
  const bytes = (change: object, rest: Uint8Array, extra = 0) => {
    const head = text({ inputs: [{ name: 'a', shape: [2], datatype: 'FP32', ...change }] })
    return [Buffer.concat([head, rest]), head.length + extra] as const
  }
  const deep = `{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":${'['.repeat(100_000)}1${']'.repeat(100_000)}}]}`
  const cases: readonly (readonly [string, Uint8Array, number?])[] = [
    ['body is not JSON', Buffer.from('{"inputs":')],
    ['not JSON', Buffer.from([0xff, 0xfe])],
    ['inputs', text({})],
    ['expected object', text([])],
    ['inputs', text({ inputs: [] })],
    [
      'inputs',
      text({ inputs: Array.from({ length: TENSORS_MAX + 1 }, (_, at) => ({ ...input, name: `${at}` })) }),
    ],
    ['nested deeper', Buffer.from(deep)],
    ['there twice', text({ inputs: [input, input] })],
    ['there twice', text({ ...of({}), outputs: [{ name: 'o' }, { name: 'o' }] })],
    ['BYTES', text(of({ datatype: 'BYTES', data: ['x', 'y'] }))],
    ['unknown datatype "FP8"', text(of({ datatype: 'FP8' }))],
    ['unknown datatype "constructor"', text(of({ datatype: 'constructor' }))],
    ['has not the 3 values', text(of({ shape: [3] }))],
    ['has [1], which is no FP32', text(of({ data: [[1], [2]] }))],
    ['has not the 4 values', text(of({ shape: [2, 2], data: [[1, 2], [3]] }))],
    ['0 or more', text(of({ shape: [-2] }))],
    ['shape', text(of({ shape: [1.5] }))],
    ['shape', text(of({ shape: Array(9).fill(1) }))],
    ['more values than', text(of({ shape: [65_536, 65_536, 65_536] }))],
    ['has not the 1000000 values', text(of({ shape: [1, 1_000_000], data: [[1]] }))],
    ['has "x", which is no FP32', text(of({ data: [1, 'x'] }))],
    ['has null, which is no FP32', text(of({ data: [1, null] }))],
    ['no FP32', Buffer.from('{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[1e39]}]}')],
    ['no FP64', Buffer.from('{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","data":[1e999]}]}')],
    ['has 256, which is no UINT8', text(of({ datatype: 'UINT8', data: [1, 256] }))],
    ['has 1.5, which is no INT32', text(of({ datatype: 'INT32', data: [1, 1.5] }))],
    ['has 1, which is no BOOL', text(of({ datatype: 'BOOL', data: [true, 1] }))],
    [
      'no INT64',
      Buffer.from('{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","data":[9007199254740993]}]}'),
    ],
    ['FP16', text(of({ datatype: 'FP16' }))],
    ['no "data"', text(of({ data: undefined }))],
    ['not a list', text(of({ data: 'AAAA' }))],
    [
      'header inference-header-content-length is missing',
      text(of({ data: undefined, parameters: { binary_data_size: 8 } })),
    ],
    ['as well as', ...bytes({ data: [1, 2], parameters: { binary_data_size: 8 } }, new Uint8Array(8))],
    ['has 8 bytes', ...bytes({ parameters: { binary_data_size: 4 } }, new Uint8Array(4))],
    ['has 8 bytes', ...bytes({ parameters: { binary_data_size: '8' } }, new Uint8Array(8))],
    ['ends within', ...bytes({ parameters: { binary_data_size: 8 } }, new Uint8Array(7))],
    ['1 bytes more', ...bytes({ parameters: { binary_data_size: 8 } }, new Uint8Array(9))],
    ['but the body has', ...bytes({ parameters: { binary_data_size: 8 } }, new Uint8Array(0), 1)],
    ['without JSON', new Uint8Array(8), 0],
    ['must be true or false', text({ ...of({}), parameters: { binary_data_output: 1 } })],
    [
      'must be true or false',
      text({ ...of({}), outputs: [{ name: 'o', parameters: { binary_data: 'yes' } }] }),
    ],
  ]
  for (const [says, body, jsonBytes] of cases)
    t.throws(
      () => decodeInferRequest(body, jsonBytes),
      { name: 'InferenceFault', message: new RegExp(says.replace(/[[\]"]/g, '\\$&')) },
      says,
    )
  for (const header of ['', '-1', '1e3', '0x10', ' 5', ['5', '6'], '99999999999'])
    t.throws(() => jsonBytesOf(header), InferenceFault, String(header))
  t.equal(jsonBytesOf('117'), 117)
  t.equal(jsonBytesOf(undefined), undefined)
})

t.test('a message of a hundred bytes gets no memory for a million numbers', async (t) => {
  const body = text({ inputs: [{ name: 'a', shape: [1, 2 ** 26], datatype: 'FP64', data: [[1]] }] })
  const before = process.memoryUsage().arrayBuffers
  t.throws(() => decodeInferRequest(body), { message: /has not the 67108864 values/ })
  t.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20)
})

t.test('how deep JSON is nested is counted outside of its texts', async (t) => {
  const message = (id: string, data: string) =>
    Buffer.from(
      `{"id":${JSON.stringify(id)},"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":${data}}]}`,
    )
  for (const id of ['[['.repeat(20), `"${'['.repeat(40)}`, `\\"${'{'.repeat(40)}`, '\\'])
    t.equal(decodeInferRequest(message(id, '[1]')).id, id, id)
  const deep = `${'['.repeat(40)}1${']'.repeat(40)}`
  for (const id of ['', '"', '\\', '\\"', ']'.repeat(40)])
    t.throws(() => decodeInferRequest(message(id, deep)), { message: /nested deeper/ }, id)
})

t.test('numbers that JSON cannot say are not sent as others', async (t) => {
  const refuse = (datatype: WireTensor['datatype'], data: ArrayBufferLike) =>
    t.throws(
      () =>
        encodeInferResponse(
          { model: 'm', outputs: [{ name: 'o', datatype, shape: [1], data: new Uint8Array(data) }] },
          () => false,
        ),
      InferenceFault,
      datatype,
    )
  refuse('FP32', Float32Array.of(Number.NaN).buffer)
  refuse('FP64', Float64Array.of(Number.POSITIVE_INFINITY).buffer)
  refuse('INT64', BigInt64Array.of(2n ** 60n).buffer)
  refuse('FP16', Uint16Array.of(0x3c00).buffer)
})

t.test('by gRPC typed contents are as good as raw ones, and what does not fit is refused', async (t) => {
  const of = (change: object, raw?: Uint8Array[]) => ({
    model_name: 'm',
    model_version: '',
    id: '',
    inputs: [{ name: 'a', datatype: 'FP32', shape: ['2'], ...change }],
    outputs: [],
    raw_input_contents: raw ?? [],
  })
  const values = (change: object) => [
    ...(valuesOf(fromInferRequestMessage(of(change)).inputs[0] as WireTensor) as Iterable<number>),
  ]
  t.strictSame(values({ contents: { fp32_contents: [0.5, 2] } }), [0.5, 2])
  t.strictSame(values({ datatype: 'INT64', contents: { int64_contents: ['-9007199254740993', '1'] } }), [
    -9007199254740993n,
    1n,
  ])
  t.strictSame(values({ datatype: 'BOOL', contents: { bool_contents: [true, false] } }), [1, 0])
  t.strictSame(values({ datatype: 'UINT8', contents: { uint_contents: [1, 255] } }), [1, 255])
  const refused: readonly (readonly [RegExp, ReturnType<typeof of>])[] = [
    [/0 values/, of({})],
    [/1 values/, of({ contents: { fp32_contents: [1] } })],
    [/0 values in uint_contents/, of({ datatype: 'UINT8', contents: { fp32_contents: [1, 2] } })],
    [/no UINT8/, of({ datatype: 'UINT8', contents: { uint_contents: [1, 256] } })],
    [/raw contents/, of({ datatype: 'FP16', contents: { uint_contents: [1, 2] } })],
    [/as well as/, of({ contents: { fp32_contents: [1, 2] } }, [new Uint8Array(8)])],
    [/2 raw contents/, of({}, [new Uint8Array(8), new Uint8Array(8)])],
    [/7 bytes/, of({}, [new Uint8Array(7)])],
    [/0 or more/, of({ shape: ['-1'] }, [new Uint8Array(8)])],
    [/more values/, of({ shape: ['4294967296', '4294967296'] }, [new Uint8Array(8)])],
    [/no name/, of({ name: '' }, [new Uint8Array(8)])],
    [/BYTES/, of({ datatype: 'BYTES' }, [new Uint8Array(8)])],
    [/no inputs/, { ...of({}), inputs: [] }],
  ]
  for (const [says, message] of refused)
    t.throws(() => fromInferRequestMessage(message), { message: says }, String(says))
})

t.test('tensors are views of what came, and start where numbers may', async (t) => {
  const inputs: WireTensor[] = [{ name: 'i', datatype: 'FP64', shape: [1000], data: new Uint8Array(8000) }]
  for (const id of ['', 'a', 'ab', 'abc', 'abcd', 'abcde']) {
    const encoded = encodeInferRequest({ id, inputs }, { binary: true })
    const body = Buffer.from(Uint8Array.from(joined(encoded)).buffer)
    const [input] = decodeInferRequest(body, encoded.jsonBytes).inputs
    t.equal(input?.data.buffer, body.buffer)
    t.equal(valuesOf(input as WireTensor).buffer, body.buffer)
  }
})
