import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { nobody, run, type Scripted, walk } from '../device/scripted.ts'
import { until } from '../kit/wait.ts'
import { counted, moduleOf, opening, plug } from './plugged.ts'

/** Ten people one after the other: ten crops. */
const PEOPLE = 10
const script: Scripted[] = Array.from({ length: PEOPLE }, (_, i) => [
  ...walk(10, i * 5000),
  ...nobody(30, i * 5000 + 1000),
]).flat()

/** Whatever the plugin does, all crops go out. @returns what was counted and said, and the crops */
async function line(t: Test, body: string, settings: Record<string, unknown> = {}, more = {}) {
  const plugged = await plug(t, [{ module: moduleOf(t, opening(body)), timeout: '10s', ...settings }], more)
  const { crops } = await run(script, {}, plugged)
  t.equal(crops.length, PEOPLE, 'all crops go out')
  return { ...plugged, crops, said: crops.map(({ attributes }) => attributes?.map(({ label }) => label)) }
}

t.test('one that always throws: crops without it, each counted, said with file and line', async (t) => {
  const { meters, said, lines } = await line(t, 'return { crop() {\n throw new Error("no idea") } }')
  t.strictSame(await counted(meters.cropsUnprocessed), { PROCESSOR_FAILED: PEOPLE })
  t.ok(said.every((it) => it === undefined))
  const [first] = lines
  t.match(first, { code: 'PROCESSOR_FAILED', processor: 'mine' })
  t.match(first?.msg, /crop\(\) failed: no idea \(.*plugin\.ts:2\)/)
  t.ok(lines.length < PEOPLE, 'not a line for each')
})

t.test('one that throws after a while, and works again after that', async (t) => {
  const { meters, said } = await line(
    t,
    `let n = 0
    return { async crop() { n += 1; if (n > 3 && n < 6) throw null; return [{ name: 'n', label: String(n), score: 1 }] } }`,
  )
  t.strictSame(await counted(meters.cropsUnprocessed), { PROCESSOR_FAILED: 2 })
  t.strictSame(said.slice(2, 7), [['3'], undefined, undefined, ['6'], ['7']])
})

t.test('one that blocks for ever is ended, and started again with growing waits', async (t) => {
  const { meters, lines, processing } = await line(
    t,
    'return { crop({ metadata }) { for (;;); } }',
    { timeout: '300ms' },
    { retryMsMin: 20 },
  )
  t.match(await counted(meters.cropsUnprocessed), { PROCESSOR_LATE: Number })
  await until('is ended', () => lines.some(({ msg }) => msg.includes('It hangs')))
  await until('is started again', () => lines.some(({ msg }) => msg === 'started again'))
  t.match(processing.states('door'), [{ state: 'down', why: /It hangs/ }], 'and has yet to answer')
  t.notOk(lines.some(({ msg }) => msg === 'works again'))
  t.ok((await counted(meters.processorsEnded)).mine)
})

for (const [what, body, why] of [
  ['exits', 'process.exit(3)', /ended by itself/],
  [
    'has a rejection that nobody handles',
    'void Promise.reject(new Error("lost"))',
    /threw outside of any call: lost \(.*plugin\.ts:1\)/,
  ],
  ['throws from a timer', 'setTimeout(() => { throw new Error("late fault") })', /late fault/],
  [
    'leaks its heap',
    'const all = []; for (;;) all.push({ n: all.length, text: String(all.length) })',
    /used more memory than 48 MB/,
  ],
  [
    'leaks buffers',
    'setInterval(() => keep.push(new Uint8Array(2e7).fill(1)), 5); return new Promise(() => {})',
    /MB in buffers; at most 100 MB/,
  ],
] as const)
  t.test(`one that ${what} is ended, counted, said and started again`, async (t) => {
    const { processing, meters, lines } = await plug(
      t,
      [{ module: moduleOf(t, opening(`const keep = []; return { crop() { ${body} } }`)), timeout: '30s' }],
      { limits: { heapMbMax: 48, outsideBytesMax: 100 * 1024 * 1024 }, retryMsMin: 200 },
    )
    const first = run(script, {}, { processing, meters })
    await until('is down', () => !processing.isWell)
    t.ok(
      lines.some(({ msg }) => why.test(msg)),
      'is said',
    )
    const down = processing.states('door')?.[0]
    t.match(down, { state: 'down', why })
    t.notOk(processing.isWell)
    await until('is started again', () => lines.some(({ msg }) => msg === 'started again'))
    t.notOk(processing.isWell, 'it has not shown yet that it works')
    const { crops } = await first
    t.equal(crops.length, PEOPLE, 'all crops go out')
    t.ok(((await counted(meters.processorsEnded)).mine ?? 0) >= 1)
  })

t.test('one that answers something else each time, and never what is asked for', async (t) => {
  const { meters } = await line(
    t,
    `let n = 0
    const many = Array.from({ length: 1e6 }, () => ({ name: 'a', label: 'b', score: 1 }))
    const answers = [many, 1, 'x', {}, [1], [{}], [{ name: 'a' }], [() => 1], [{ name: 'a', label: 'b', score: NaN }], new Date()]
    return { crop: () => answers[n++] }`,
  )
  t.strictSame(await counted(meters.cropsUnprocessed), { PROCESSOR_FAILED: PEOPLE })
})

t.test('markup in a label goes on as text: whoever shows it escapes it', async (t) => {
  const { said } = await line(t, 'return { crop: () => [{ name: "a", label: "<b>x</b>", score: 1 }] }')
  t.strictSame(said[0], ['<b>x</b>'])
})

t.test('one that is slow for one crop holds up nobody else: crops wait once at most', async (t) => {
  const startMs = performance.now()
  const { meters } = await line(t, 'return { crop: () => new Promise(() => {}) }', { timeout: '1s' })
  const { PROCESSOR_LATE = 0, PROCESSOR_FAILED = 0 } = await counted(meters.cropsUnprocessed)
  t.equal(PROCESSOR_LATE + PROCESSOR_FAILED, PEOPLE)
  t.ok(performance.now() - startMs < (PEOPLE * 1000) / 2, 'not a second for each')
})

t.test('while it hangs it can be let go of at once', async (t) => {
  const { processing } = await plug(t, [
    { module: moduleOf(t, opening('return { crop() { for (;;); } }')), timeout: '100ms' },
  ])
  await run(walk(10), {}, { processing })
  const startMs = performance.now()
  await processing[Symbol.asyncDispose]()
  t.ok(performance.now() - startMs < 4000, 'sooner than one that closes by itself is waited for (5 s)')
})

t.test('it gets neither the environment nor the configuration of the agent', async (t) => {
  process.env.SIGHTLINE_BROKER__PASSWORD = 'secret'
  t.teardown(() => delete process.env.SIGHTLINE_BROKER__PASSWORD)
  const { crops } = await line(
    t,
    'return { crop: () => [{ name: "env", label: String(process.env.SIGHTLINE_BROKER__PASSWORD), score: 1 }, { name: "keys", label: Object.keys(context).join(), score: 1 }] }',
  )
  t.match(crops[0]?.attributes, [{ label: 'undefined' }, { label: 'name,settings,folder,log' }])
})

t.test('what it prints and logs is in the log, a line a second', async (t) => {
  const { lines } = await line(
    t,
    "return { crop() { for (let n = 0; n < 1000; n += 1) { context.log.info('said ' + n, { n }); console.log('printed', n) } } }",
  )
  await sleep(10)
  t.ok(lines.some(({ msg }) => msg.startsWith('said ')))
  t.ok(lines.some(({ msg }) => msg.includes('printed')))
  t.ok(lines.length < 20, `${lines.length}`)
})
