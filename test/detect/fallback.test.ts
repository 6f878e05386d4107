import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Detection, Detector, Picture } from '../../device/detect/detector.ts'
import { FallbackDetector } from '../../device/detect/remote/fallback.ts'
import { REMOTE_TRIED_LOOKS, REMOTE_TRIED_MS } from '../../device/limits.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { until } from '../kit/wait.ts'

/** Who looks, alone: the servers and the detector here are functions. */

const INPUT = { width: 4, height: 4, fit: 'letterbox' } as const
const picture = (): Picture => ({ data: new Uint8Array(48).fill(7), width: 4, height: 4 })
const face = (): Detection => ({ box: [1, 1, 2, 2], score: 0.9, landmarks: [] })
const unavailable = () => failure('INFERENCE_UNAVAILABLE', 'gone')

function open() {
  const pool = {
    isUp: true,
    trouble: undefined as string | undefined,
    async [Symbol.asyncDispose]() {},
  }
  const remote = { detect: async (_: Picture): Promise<Detection[]> => [face()] }
  const here = { looks: 0 }
  const local: Detector = {
    ...{ model: 'small', runtime: 'here', input: INPUT, scoreMin: 0.5 },
    async detect({ data }) {
      here.looks += 1
      structuredClone(data.buffer, { transfer: [data.buffer as ArrayBuffer] }) // as one in a thread may
      return [face()]
    },
    async [Symbol.asyncDispose]() {},
  }
  const detector = new FallbackDetector({
    ...{ model: 'large', runtime: 'servers', input: INPUT, scoreMin: 0.5, deadlineMs: 1000 },
    ...{ remote: { detect: (it) => remote.detect(it) }, pool, local, log: openLog('test', 'silent') },
    changed: () => {},
  })
  const down = (trouble: string) => {
    Object.assign(pool, { isUp: false, trouble })
    detector.poolChanged()
  }
  const up = () => {
    Object.assign(pool, { isUp: true, trouble: undefined })
    detector.poolChanged()
  }
  return { pool, remote, here, detector, down, up }
}

t.test(
  'a frame on which servers fail at once is looked at here, by name; one that is old is not',
  async (t) => {
    const { remote, here, detector } = open()
    remote.detect = async () => {
      throw unavailable()
    }
    t.match(await detector.detect(picture()), [{ model: 'small' }], 'who found it')
    remote.detect = async () => {
      await sleep(600)
      throw failure('INFERENCE_LATE', 'late')
    }
    await t.rejects(detector.detect(picture()), { code: 'INFERENCE_LATE' })
    remote.detect = async () => {
      throw new RangeError('does not fit')
    }
    await t.rejects(detector.detect(picture()), { name: 'RangeError' }, 'a mistake is not covered up')
    t.equal(here.looks, 1)
  },
)

t.test('another reason is said, and since when it looks here stays', async (t) => {
  const { detector, down } = open()
  down('one')
  const { sinceMs } = detector.whereabouts
  await sleep(5)
  down('two')
  t.strictSame(detector.whereabouts, { on: 'local', why: 'two', sinceMs })
})

t.test(
  'servers that are back are tried with frames of their own, for a while, before they are trusted',
  async (t) => {
    const { remote, detector, down, up } = open()
    down('gone')
    up()
    let tried = 0
    remote.detect = async ({ data }) => {
      await sleep(1)
      if (data[0] !== 7) throw new Error('the pixels are gone')
      tried += 1
      return [face()]
    }
    const startMs = performance.now()
    await until('they are trusted', async () => {
      await detector.detect(picture())
      return detector.whereabouts.on === 'remote'
    })
    t.ok(performance.now() - startMs >= REMOTE_TRIED_MS - 50)
    t.ok(tried >= REMOTE_TRIED_LOOKS)
  },
)

t.test(
  'servers that fail while they are tried are tried from the start; few looks say nothing',
  async (t) => {
    const { remote, detector, down, up } = open()
    down('gone')
    up()
    let tried = 0
    remote.detect = async () => {
      tried += 1
      if (tried === 3) throw unavailable()
      return [face()]
    }
    /** One frame, and the servers' answer to it. */
    const look = async () => {
      await detector.detect(picture())
      await sleep(1)
    }
    await look()
    await look()
    await sleep(REMOTE_TRIED_MS / 2)
    await look() // fails
    const failedMs = performance.now()
    await sleep(REMOTE_TRIED_MS / 2 + 20)
    for (let at = 0; at < REMOTE_TRIED_LOOKS; at += 1) await look()
    if (performance.now() - failedMs < REMOTE_TRIED_MS)
      t.equal(detector.whereabouts.on, 'local', 'not long enough since it failed')
    await until('they are trusted', async () => {
      await look()
      return detector.whereabouts.on === 'remote'
    })

    down('gone')
    up()
    await sleep(REMOTE_TRIED_MS + 20)
    for (let at = 1; at < REMOTE_TRIED_LOOKS; at += 1) await look()
    t.equal(detector.whereabouts.on, 'local', 'too few')
    const answer = Promise.withResolvers<Detection[]>()
    remote.detect = () => answer.promise
    await look()
    down('gone again')
    answer.resolve([face()])
    await sleep(1)
    t.match(
      detector.whereabouts,
      { on: 'local', why: 'gone again' },
      'an answer from before says nothing now',
    )
  },
)
