import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { Thread } from '../../lib/thread.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'

/** A thread that opens after `openMs`, and answers each call after as many ms as it was given, all of which it holds. */
function moduleOf(t: Test) {
  const file = join(temporaryFolder(t), 'thread.ts')
  writeFileSync(
    file,
    `import { serveThread } from ${JSON.stringify(new URL('../../lib/thread.ts', import.meta.url).href)}
const hold = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
await serveThread('held', async ({ openMs, ends }: { openMs: number; ends: Int32Array }) => {
  hold(openMs)
  return {
    opened: undefined,
    call: async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return { value: hold(ms as number) }
    },
    close: async () => void Atomics.add(ends, 0, 1),
  }
})
`,
  )
  return pathToFileURL(file).href
}

async function open(t: Test, openMs: number, openMsMax?: number) {
  const ends = new Int32Array(new SharedArrayBuffer(4))
  const opening = Thread.open({
    ...{ url: moduleOf(t), role: 'held', data: { openMs, ends }, openMsMax, isUncut: true },
  })
  return { opening, closed: () => Atomics.load(ends, 0) }
}

t.test(
  'one that is never cut off: killed, it fails what it was asked at once, and closes by itself',
  async (t) => {
    const { opening, closed } = await open(t, 0)
    const thread = await opening
    const answers = Promise.allSettled([thread.call(1000), thread.call(0)])
    await thread.kill(new Error('hangs'))
    t.match(await answers, [{ reason: { message: 'hangs' } }, { reason: { message: 'hangs' } }])
    t.match(await thread.ended, { message: 'hangs' })
    t.equal(closed(), 0, 'nobody waits for it')
    await t.rejects(thread.call(0), { message: 'hangs' })
    await untilClosed(closed)
  },
)

t.test('nor while it opens: one that is late closes once it is open', async (t) => {
  const { opening, closed } = await open(t, 1500, 50)
  await t.rejects(opening, { code: 'PROCESSOR_LATE' })
  t.equal(closed(), 0)
  await untilClosed(closed)
})

t.test('what it was asked before it is disposed of is answered', async (t) => {
  const { opening, closed } = await open(t, 0)
  const thread = await opening
  const answer = thread.call(100)
  await thread[Symbol.asyncDispose]()
  t.equal(await answer, 'timed-out')
  t.equal(closed(), 1)
  t.equal(await thread.ended, undefined, 'that is no fault')
})

t.test('a call that is late is not waited for, and the next is answered', async (t) => {
  const { opening } = await open(t, 0)
  await using thread = await opening
  await t.rejects(thread.call(200, { msMax: 20 }), { code: 'PROCESSOR_LATE', message: /within 20 ms/ })
  t.equal(await thread.call(1, { msMax: 5000 }), 'timed-out')
})

const untilClosed = (closed: () => number) => until('it has closed', () => closed() === 1)
