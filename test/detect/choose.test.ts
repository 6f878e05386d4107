import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openDetector } from '../../device/detect/open.ts'
import { candidates, choose, fastest, threadCounts } from '../../models/choose.ts'
import { convertBlazeface } from '../../models/convert.ts'
import { listProviders } from '../../models/onnx.ts'

t.test('what is tried: every provider, and on the CPU 1, 2, 4 threads up to all cores', async (t) => {
  t.same(threadCounts(1), [1])
  t.same(threadCounts(2), [1, 2])
  t.same(threadCounts(6), [1, 2, 4, 6])
  t.same(candidates({ provider: 'cpu', threads: 'auto' }, 4), [
    { provider: 'cpu', threads: 1 },
    { provider: 'cpu', threads: 2 },
    { provider: 'cpu', threads: 4 },
  ])
  const all = candidates({ provider: 'auto', threads: 3 }, 4)
  t.same(
    all.map((it) => it.provider),
    ['cpu', 'cuda', 'tensorrt', 'coreml', 'directml'],
  )
  t.ok(all.every((it) => it.threads === 3))
})

t.test('the fastest is taken; a thread more must be worth 15 %', async (t) => {
  const cpu = (threads: number, ms: number) => ({ provider: 'cpu', threads, ms })
  t.match(fastest([cpu(1, 10), cpu(2, 9)]), { threads: 1 })
  t.match(fastest([cpu(1, 10), cpu(2, 8)]), { threads: 2 })
  t.match(fastest([cpu(1, 10), cpu(2, 6), cpu(4, 5.5)]), { threads: 2 })
  t.match(fastest([cpu(1, 10), cpu(2, 9), cpu(4, 6)]), { threads: 4 })
  t.match(fastest([cpu(1, 10), { provider: 'cuda', threads: 1, ms: 9.9 }]), { provider: 'cuda' })
  t.match(fastest([cpu(1, 10), { provider: 'cuda', threads: 1, fault: 'no' }]), { provider: 'cpu' })
  t.equal(fastest([{ provider: 'cuda', threads: 1, fault: 'no' }]), undefined)
})

t.test('what was measured is remembered, for this model at this size', async (t) => {
  const modelFolder = t.testdir()
  const open = async (inputSize?: { width: number; height: number }) => {
    await using detector = await openDetector({ modelFolder, provider: 'auto', threads: 'auto', inputSize })
    return detector
  }
  const first = await open()
  if (first.measured === undefined)
    return t.pass('remembering', { skip: 'this machine has one core and one provider' })
  t.equal(first.measured.remembered, false)
  t.ok(first.measured.timings.some(({ provider, ms }) => provider === 'cpu' && ms !== undefined && ms > 0))
  t.ok(
    first.measured.timings.every(({ ms, fault }) => (ms === undefined) !== (fault === undefined)),
    'each row has a time, or says why not',
  )
  const second = await open()
  t.equal(second.measured?.remembered, true)
  t.same(second.measured?.timings, first.measured.timings)
  t.equal(second.runtime, first.runtime)
  t.equal(
    (await open({ width: 64, height: 64 })).measured?.remembered,
    false,
    'another size is another question',
  )
  t.equal((await open()).measured?.remembered, true, 'and takes nothing away')

  const file = join(modelFolder, 'providers.json')
  writeFileSync(file, readFileSync(file, 'utf8').slice(0, 100))
  t.equal((await open()).measured?.remembered, false, 'a damaged memory is none')
  t.equal((await open()).measured?.remembered, true, 'and is made anew')
})

t.test('with nothing to choose nothing is measured', async (t) => {
  await using detector = await openDetector({ provider: 'cpu', threads: 1 })
  t.equal(detector.measured, undefined)
  t.match(detector.runtime, /CPU, 1 thread$/)
})

t.test('measuring is bounded: what there was no time for says so', async (t) => {
  const subject = { bytes: await convertBlazeface(), name: 'blazeface', shape: [1, 64, 64, 3] }
  const { measured } = await choose({ provider: 'cpu', threads: 'auto' }, subject, undefined, 1)
  if (measured === undefined) return t.pass('measuring', { skip: 'this machine has one core' })
  const [first, ...more] = measured.timings
  t.ok(first?.ms, 'the first is measured')
  t.match(more.at(-1)?.fault, /not tried/)
})

t.test('a provider that is named and does not load is an error that says what does', async (t) => {
  const missing = (await listProviders()).filter((it) => it.missing !== undefined)
  t.ok(missing.length > 0, 'no machine has them all')
  for (const { provider } of missing)
    await t.rejects(openDetector({ provider }), {
      code: 'PROVIDER_UNAVAILABLE',
      message: new RegExp(`${provider} does not load for blazeface: .*Available here: cpu`),
    })
  await t.rejects(openDetector({ provider: 'cuda', runtime: 'tfjs' }), {
    code: 'PROVIDER_UNAVAILABLE',
    message: /TensorFlow\.js/,
  })
})
