import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent } from '../device/agent.ts'
import { deviceSchema } from '../device/config.ts'
import { Detectors } from '../device/desired/detectors.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { SCORE_LOW } from '../device/limits.ts'
import { type Meters, openMeters } from '../device/meters.ts'
import { loadConfig } from '../lib/config.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics, total } from '../lib/metrics.ts'
import { sharedData } from '../test/kit/data.ts'
import { Looks, type Moment } from '../test/kit/looks.ts'
import { picturesOf, playing } from '../test/kit/played.ts'
import { Program, type Test, temporaryFolder } from '../test/kit/programs.ts'
import { until } from '../test/kit/wait.ts'
import type { Trial, TrialOptions, Verdict } from './trial.ts'

/**
 * Four cameras of one agent are looked at by three inference servers. One is killed and one hangs, over and over, and now and then
 * all are away. The promise: no frame stands still for longer than the deadline, nobody is said to be gone for want of a server,
 * what is found is what the same model finds here, and each frame was looked at or is counted as one that was not.
 */

const FULL = { rounds: 25, together: 3 }
const SHORT = { rounds: 2, together: 1 }
const WORKERS = 3
const CAMERAS = 4
const DEADLINE_MS = 500
/** What a look may take beyond it: finding out, and looking here instead. */
const BEYOND_MS = 400
/** Faces that the servers find, in the frames that they looked at, differ from what is found here by at most this part. */
const FACES_PART_MAX = 0.02
/** Somebody in so many frames in a row is there. */
const THERE_FRAMES = 4
const CALM_MS_MAX = 1200
const AWAY_MS_MAX = 2500
const TOGETHER_MS = 1500
/** Frames a second of each camera, and how many there are; then they go back. */
const PER_SECOND = 8
const FRAMES = 40
/** A street with faces at all times, 25 frames a second. */
const CLIP = 'video/facenet-pytorch-video.mp4'
const EVERY = 2

async function areKilledAndHung({ short, random }: TrialOptions): Promise<Verdict> {
  const { rounds, together } = short ? SHORT : FULL
  await using stack = new AsyncDisposableStack()
  const own: Test = { after: (handler) => void stack.defer(handler) }
  const modelFolder = temporaryFolder(own)
  const workers = await startWorkers(own, modelFolder)
  const config = loadConfig(deviceSchema, {
    overrides: {
      cameras: Array.from({ length: CAMERAS }, (_, n) => ({ name: `camera${n + 1}`, source: 'played.mp4' })),
      detect: {
        ...{ runtime: 'remote', modelFolder, threads: 1, provider: 'cpu' },
        servers: { addresses: workers.map(addressOf), deadline: `${DEADLINE_MS}ms` },
      },
    },
  })
  const meters = openMeters(openMetrics('chaos'))
  const log = openLog('chaos', 'silent')
  const detectors = stack.use(await Detectors.open(config.detect, { log, meters }))
  const looks = new Looks()
  const detector = looks.watch(detectors.current)
  const pictures = await picturesOf(sharedData(CLIP) ?? 'testcard', detector.input, {
    ...{ count: FRAMES, every: EVERY },
  })
  const states: string[] = []
  let given = 0
  const agent = new Agent({
    config,
    detector,
    meters,
    log,
    publisher: { offer() {}, room: async () => {}, say() {} },
    open: async (_camera, context, signal) =>
      playing(
        pictures,
        {
          perSecond: PER_SECOND,
          given: (frames) => {
            given += frames
          },
        },
        context,
        signal,
      ),
    watchers: [looks.watcher],
    onPresent: looks.present,
    onState: (now) => void states.push(...[...now.values()].filter((it) => it.startsWith('down'))),
  })
  const ending = new AbortController()
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
  const running = agent.run(ending.signal)
  running.catch(() => {})
  const where = () => detector.whereabouts?.on
  const seen = { kills: 0, hangs: 0, here: 0 }
  await until('the servers look', () => looks.looks.length > 20, 20_000)
  for (let round = 0; round < rounds; round += 1) {
    const [killed, hung] = twoOf(workers, random)
    await sleep(random() * CALM_MS_MAX)
    hung.signal('SIGSTOP')
    seen.hangs += 1
    await sleep(random() * CALM_MS_MAX)
    await killed.kill()
    seen.kills += 1
    await sleep(random() * AWAY_MS_MAX)
    hung.signal('SIGCONT')
    await killed.start()
  }
  for (let round = 0; round < together; round += 1) {
    for (const worker of workers) worker.signal('SIGSTOP')
    await until('it looks here', () => where() === 'local', 10_000)
    seen.here += 1
    await sleep(TOGETHER_MS)
    for (const worker of workers) worker.signal('SIGCONT')
    await until('the servers look again', () => where() === 'remote', 60_000)
  }
  ending.abort()
  await running
  delay.disable()

  await using here = await openDetectorThread({
    ...{ modelFolder, threads: 1, provider: 'cpu' as const, scoreLow: SCORE_LOW },
  })
  const truth = await looks.truth(here)
  const faults = [...new Set(states)].map((state) => `a camera was ${state}`)
  const slowestMs = Math.max(...looks.looks.map(({ tookMs }) => tookMs))
  const allowedMs = DEADLINE_MS + BEYOND_MS + delay.max / 1e6
  if (slowestMs > allowedMs)
    faults.push(
      `a frame stood still for ${slowestMs.toFixed(0)} ms; ${allowedMs.toFixed(0)} ms are allowed here`,
    )
  for (const [camera, moments] of looks.moments) {
    const gone = goneAlthoughThere(moments, truth)
    if (gone > 0) faults.push(`${gone} times nobody was said to be at ${camera}, with faces in each frame`)
  }
  const found = foundIn(looks, truth)
  if (Math.abs(found.faces - found.truth) > FACES_PART_MAX * found.truth)
    faults.push(`${found.faces} faces were found in frames that have ${found.truth}`)
  if (found.blank > 0) faults.push(`no face was found in ${found.blank} frames that have some`)
  faults.push(...(await unbalanced(looks, meters, given)))
  return {
    faults: faults.slice(0, 20),
    said: [
      `${seen.kills} kills, ${seen.hangs} hung, ${seen.here} times all at once`,
      `${found.looked} frames looked at, ${found.missed} not`,
      `${found.faces} faces of ${found.truth}`,
      `the slowest look ${slowestMs.toFixed(0)} ms`,
    ].join(', '),
  }
}

async function startWorkers(own: Test, modelFolder: string): Promise<Program[]> {
  const start = () =>
    Program.start(own, 'inference', {
      models: [{ model: 'blazeface', provider: 'cpu', threads: 1 }],
      modelFolder,
      rest: { port: 0 },
      http: { port: 0 },
    })
  const first = await start() // it makes the model
  return [first, ...(await Promise.all(Array.from({ length: WORKERS - 1 }, start)))]
}

const addressOf = (worker: Program) => {
  const { port } = worker.config.rest as { port: number }
  return `http://127.0.0.1:${port}`
}

function twoOf(workers: readonly Program[], random: () => number): readonly [Program, Program] {
  const left = [...workers]
  const take = () => left.splice(Math.floor(random() * left.length), 1)[0] as Program
  return [take(), take()]
}

/** How often nobody was said to be there, or nobody knew, although somebody was in the frames before. */
function goneAlthoughThere(moments: readonly Moment[], truth: ReadonlyMap<string, number>): number {
  let there = 0
  let wasThere = false
  let gone = 0
  // At its end nobody looks any more.
  const last = moments.findLastIndex(({ is }) => is === 'frame')
  for (const moment of moments.slice(0, last)) {
    if (moment.is === 'frame') there = (truth.get(moment.picture) ?? 0) > 0 ? there + 1 : 0
    else {
      if (wasThere && !moment.faces && there >= THERE_FRAMES) gone += 1
      wasThere = (moment.faces ?? 0) > 0
    }
  }
  return gone
}

function foundIn({ looks }: Looks, truth: ReadonlyMap<string, number>) {
  const looked = looks.filter(({ faces }) => faces !== undefined)
  return {
    looked: looked.length,
    missed: looks.length - looked.length,
    // A failure that was taken for an answer looks like this.
    blank: looked.filter(({ picture, faces }) => faces === 0 && (truth.get(picture) ?? 0) > 0).length,
    faces: looked.reduce((sum, { faces = 0 }) => sum + faces, 0),
    truth: looked.reduce((sum, { picture }) => sum + (truth.get(picture) ?? 0), 0),
  }
}

/** Each frame was looked at, or is counted for the reason why not; and each question to a server was answered, or failed. */
async function unbalanced(looks: Looks, meters: Meters, given: number): Promise<string[]> {
  const faults: string[] = []
  const equal = (what: string, a: number, b: number) => {
    if (a !== b) faults.push(`${what}: ${a} and ${b}`)
  }
  const { looked, missed } = foundIn(looks, new Map())
  const frames = [...looks.moments.values()].flat().filter((it) => it.is === 'frame')
  const reasons = new Map<string, number>()
  for (const { labels, value } of (await meters.framesSkipped.get()).values)
    reasons.set(String(labels.reason), (reasons.get(String(labels.reason)) ?? 0) + value)
  const skipped = ['late', 'unavailable', 'wrong'].reduce((sum, it) => sum + (reasons.get(it) ?? 0), 0)
  equal('frames looked at, and counted', looked, await total(meters.framesCaptured))
  equal('frames not looked at, and counted', missed, skipped)
  equal(
    'frames that viewers got, and those looked at',
    frames.filter((it) => it.looked).length,
    await total(meters.framesCaptured),
  )
  equal('frames that viewers got, and those not looked at', frames.filter((it) => !it.looked).length, skipped)
  // Each camera may have had one more, which nobody took any more.
  const counted = looked + missed + (reasons.get('detector busy') ?? 0)
  if (counted > given || counted < given - CAMERAS)
    faults.push(`${given} frames were given; ${counted} were looked at or are counted as not`)
  const asked = await total(meters.inferenceAsked)
  const answered = (await meters.inferenceSeconds.get()).values
    .filter(({ metricName }) => metricName?.endsWith('_count'))
    .reduce((sum, { value }) => sum + value, 0)
  equal('servers were asked, and answered or failed', asked, answered + (await total(meters.inferenceFailed)))
  equal('tracks', await total(meters.tracksStarted), await total(meters.tracksEnded))
  return faults
}

export const WORKERS_TRIAL: Trial = {
  name: 'workers-killed',
  what: 'one of three inference servers is killed and one hangs, over and over, while four cameras look',
  alone: true,
  run: areKilledAndHung,
}
