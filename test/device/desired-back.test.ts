import t, { type Test } from 'tap'
import { Cameras, type Works } from '../../device/cameras.ts'
import { type CameraConfig, deviceSchema } from '../../device/config.ts'
import { DesiredConfiguration } from '../../device/desired/desired.ts'
import type { Detectors } from '../../device/desired/detectors.ts'
import { Holding } from '../../device/desired/holding.ts'
import { Networks } from '../../device/desired/networks.ts'
import { StoredDesired } from '../../device/desired/stored.ts'
import type { Detector } from '../../device/detect/detector.ts'
import { Commanded } from '../../device/link/commanded.ts'
import { openMeters } from '../../device/meters.ts'
import { openSource } from '../../device/sources/open.ts'
import { loadConfig } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import { type Reported, reportedSchema } from '../../wire/desired.ts'
import { temporaryFolder } from '../kit/programs.ts'
import { until } from '../kit/wait.ts'
import { desired } from './desired-kit.ts'

/** A configuration that fails when it is half in force: what held before holds, of cameras, detector, disk and commands. */

const detector = (model: string, side: number, disposed: string[]) =>
  ({
    model,
    runtime: 'none',
    scoreMin: 0.5,
    input: { width: side, height: side, fit: 'letterbox' },
    detect: async () => [],
    async [Symbol.asyncDispose]() {
      disposed.push(model)
    },
  }) satisfies Detector

function device(t: Test, settings: { readonly fails: (camera: CameraConfig) => boolean }) {
  const log = openLog('test', 'silent')
  const folder = temporaryFolder(t)
  const local = loadConfig(deviceSchema, {
    overrides: {
      ...{ site: 'lab', device: 'bench1' },
      cameras: ['a', 'b', 'c'].map((name) => ({ name, source: 'testcard' })),
    },
  })
  const holding = Holding.ofFile(local)
  const commanded = new Commanded(folder, local, log)
  const calls: string[] = []
  const stored = new StoredDesired(folder, local)
  /** What was on disk when a camera began. */
  const keptThen: string[] = []
  const works: Works = {
    add: (camera) => {
      calls.push(`add ${camera.name}`)
      keptThen.push(stored.content?.toString() ?? '')
      if (settings.fails(camera)) throw failure('DISK_FULL', 'No room.')
    },
    remove: (name) => void calls.push(`remove ${name}`),
    change: ({ name, scoreMin }) => void calls.push(`change ${name} ${scoreMin}`),
  }
  const none = { add() {}, remove() {} }
  const cameras = new Cameras(
    {
      ...{ agent: works, others: [], recorder: none },
      wanted: () => holding.cameras([]),
      replaced: ({ name }) => commanded.forget(name, ['threshold']),
      log,
    },
    local.cameras,
  )
  const disposed: string[] = []
  const first = detector('first', 256, disposed)
  const detectors: Pick<Detectors, 'current' | 'another' | 'letGo'> = {
    current: first,
    another: async () => detector('other', 320, disposed),
    letGo: async (it: Detector) => await it[Symbol.asyncDispose](),
  }
  const used: string[] = []
  const answers: Reported[] = []
  const it = new DesiredConfiguration({
    ...{ local, holding, stored, cameras, log },
    detectors: detectors as Detectors,
    networks: new Networks([]),
    taken: new Set(['a', 'b', 'c']),
    agent: { useDetector: (it: Detector) => void used.push(it.model) },
    processing: { use: async () => {}, redrawnBy: () => '' },
    remote: {
      refresh() {},
      get commands() {
        return commanded.all
      },
      putBack: (commands) => commanded.putBack(commands),
    },
    open: openSource,
    publisher: { keep: (_topic, text) => void answers.push(reportedSchema.parse(JSON.parse(String(text)))) },
    changed() {},
    meters: openMeters(openMetrics('test')),
  })
  t.teardown(() => it[Symbol.asyncDispose]())
  const take = async (version: number, content: unknown) => {
    it.take(Buffer.from(JSON.stringify(desired(version, content))))
    await until('it is answered', () => {
      const { state, version: of } = answers.at(-1) ?? {}
      return of === version && (state === 'applied' || state === 'refused')
    })
    return answers.at(-1) as Reported
  }
  return { take, calls, keptThen, commanded, stored, holding, detectors, disposed, used }
}

t.test('a camera that cannot begin takes all back: settings, detector, disk, commands', async (t) => {
  const { take, calls, commanded, stored, holding, detectors, disposed, used } = device(t, {
    fails: ({ name, rotate }) => name === 'b' && rotate === 180,
  })
  await take(1, { cameras: { a: { scoreMin: 0.6 } } })
  const kept = stored.content?.toString()
  commanded.add('a', { threshold: 0.9 })
  commanded.add('c', { threshold: 0.8 })
  calls.length = 0
  const refused = await take(2, {
    detect: { scoreMin: 0.7 },
    cameras: { a: { scoreMin: 0.3 }, b: { rotate: 180 }, c: { scoreMin: 0.2 } },
  })
  t.match(refused, {
    state: 'refused',
    refused: { code: 'DISK_FULL' },
    applied: { version: 1 },
    effective: {
      detect: { model: 'first', scoreMin: 'auto' },
      cameras: { a: { scoreMin: 0.6 }, b: { rotate: 0 }, c: { scoreMin: 'auto' } },
    },
  })
  t.ok(calls.includes('add b'), 'it failed in the middle')
  t.strictSame(calls.slice(-3).sort(), ['add a', 'add b', 'add c'], 'and all work again')
  t.equal(detectors.current.model, 'first')
  t.strictSame([used, disposed], [['other', 'first'], ['other']])
  t.equal(stored.content?.toString(), kept, 'after a restart it is as before')
  t.equal(holding.applied?.desired.version, 1)
  t.strictSame([commanded.of('a'), commanded.of('c')], [{ threshold: 0.9 }, { threshold: 0.8 }])
  t.match(await take(3, { cameras: { a: { scoreMin: 0.5 } } }), { state: 'applied' })
  t.strictSame([commanded.of('a'), commanded.of('c')], [{}, { threshold: 0.8 }], 'a new value ends a command')
})

t.test('a detector with another input begins all cameras anew; one with the same, none', async (t) => {
  const { take, calls, keptThen, disposed, used } = device(t, { fails: () => false })
  t.match(await take(1, { detect: { scoreMin: 0.7 } }), { state: 'applied' })
  t.strictSame(calls, ['remove a', 'remove b', 'remove c', 'add a', 'add b', 'add c'])
  t.ok(
    keptThen.every((it) => JSON.parse(it).desired.version === 1),
    'on disk before anything is turned: a kill in the middle makes no mixture',
  )
  calls.length = 0
  t.match(await take(2, { detect: { scoreMin: 0.6 } }), { state: 'applied' })
  t.strictSame(calls, [])
  t.strictSame(
    [used, disposed],
    [
      ['other', 'other'],
      ['first', 'other'],
    ],
    'each is let go',
  )
})

t.test('emit and crop of a camera go on without its beginning anew', async (t) => {
  const { take, calls } = device(t, { fails: () => false })
  const settings = {
    emit: { mode: 'interval', interval: '2s', rateMax: 1 },
    crop: { margin: 0.4, quality: 60 },
  }
  const answer = await take(1, { cameras: { a: settings } })
  t.match(answer, { state: 'applied', effective: { cameras: { a: settings } } })
  t.strictSame(calls, ['change a undefined'])
})
