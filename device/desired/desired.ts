import { isDeepStrictEqual } from 'node:util'
import { asFailure, failure, failureOf } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import { type Desired, type DesiredContent, isFarAhead, reportedTopic } from '../../wire/desired.ts'
import type { Agent } from '../agent.ts'
import type { Cameras } from '../cameras.ts'
import type { DeviceConfig } from '../config.ts'
import type { Detector } from '../detect/detector.ts'
import { isRemote } from '../detect/options.ts'
import { DESIRED_DUE_MS } from '../limits.ts'
import type { Publisher } from '../link/publish.ts'
import type { Remote } from '../link/remote.ts'
import type { Streams } from '../listen/streams.ts'
import type { Meters } from '../meters.ts'
import type { Processing } from '../process/processing.ts'
import type { openSource } from '../sources/open.ts'
import type { Detectors } from './detectors.ts'
import type { Holding } from './holding.ts'
import {
  fetchByAddress,
  fetchModel,
  type Loadable,
  loadable,
  removeOthers,
  tryModel,
  tryProcessor,
} from './models.ts'
import type { Networks } from './networks.ts'
import { type Effective, isToBeTried, overlay } from './overlay.ts'
import { checkDesired, readContent, readDesired } from './read.ts'
import { Refused } from './refused.ts'
import { type Told, writeReported } from './report.ts'
import type { DesiredSigners } from './signers.ts'
import type { StoredDesired } from './stored.ts'
import { type Step, stepsTo, takeSteps, undoSteps } from './streams.ts'
import { Tries } from './tries.ts'
import { tryCameras } from './try.ts'

export interface DesiredParts {
  readonly local: DeviceConfig
  readonly holding: Holding
  readonly stored: StoredDesired
  readonly networks: Networks
  readonly signers?: DesiredSigners
  readonly streams?: Pick<Streams, 'change' | 'cameras' | 'list'>
  /** Names of cameras that no stream may have. */
  readonly taken: Set<string>
  readonly cameras: Pick<Cameras, 'turn'>
  readonly agent: Pick<Agent, 'useDetector'>
  readonly remote: Pick<Remote, 'refresh' | 'commands' | 'putBack'>
  readonly detectors: Detectors
  readonly processing: Pick<Processing, 'use' | 'redrawnBy'>
  /** Checks where a source leads, and opens it. */
  readonly open: typeof openSource
  readonly publisher: Pick<Publisher, 'keep'>
  /** Called when cameras or the model are others. */
  readonly changed: () => void
  readonly meters: Pick<Meters, 'desiredApplied' | 'desiredRefused'>
  readonly log: Log
}

/** What is going to hold. */
interface Plan {
  readonly desired: Desired
  readonly content: DesiredContent
  readonly effective: Effective
  readonly steps: readonly Step[]
  /** Undefined: the one that looks now. */
  readonly detector: Detector | undefined
}

/**
 * What the console wants this device to be:
 *
 *     <device>/desired  -> read -> laid over the file -> tried -> kept on disk -> all cameras turned at once
 *                           |            |                |            |                    |
 *     <device>/reported <- refused, with the setting <----+------------+--- back to before <+
 *
 * One at a time; of those that come meanwhile, the newest is next, and one that is being tried makes way for it. Whatever
 * fails, what held before holds.
 */
export class DesiredConfiguration implements AsyncDisposable {
  readonly #parts: DesiredParts
  readonly #tries: Tries
  readonly #stop = new AbortController()
  #told: Told
  #next: Desired | undefined
  #trying: { readonly desired: Desired; readonly stop: AbortController } | undefined
  #working: Promise<void> | undefined
  /** Waits for the clock to be set. */
  #due: NodeJS.Timeout | undefined

  constructor(parts: DesiredParts) {
    this.#parts = parts
    this.#tries = new Tries(parts.local.remote.folder, parts.local)
    const { applied, refused, version } = parts.holding
    this.#told = {
      applied: this.#applied(),
      state: refused ? 'refused' : applied ? 'applied' : 'none',
      ...(version !== undefined && { version }),
      refused: refused ? faultOf(refused) : null,
    }
    if (refused) parts.meters.desiredRefused.inc({ reason: refused.code })
  }

  /** Says what holds, and makes the streams those that hold. Never rejects. */
  async start(): Promise<void> {
    const { holding, streams, log } = this.#parts
    this.#report()
    const wanted = holding.applied?.content.streams ?? {}
    if (!streams || (Object.keys(wanted).length === 0 && holding.owned.size === 0)) return
    if (!holding.applied) return // those of before stay as they are
    try {
      // After an end in the middle of a change.
      await takeSteps(streams, stepsTo(wanted, streams.list, holding.owned))
    } catch (error) {
      const { code, message } = asFailure(error)
      log.error({ code }, `The streams are not as the console said: ${message}`)
    }
  }

  /** Cameras have come or gone without it. */
  camerasChanged(): void {
    if (this.#trying === undefined) this.#report()
  }

  /** What is wrong, for people; undefined where nothing is. */
  get trouble(): string | undefined {
    const { state, version, refused } = this.#told
    return state === 'refused' ? `version ${version ?? '?'} refused: ${refused?.message}` : undefined
  }

  /** What the broker brought. Never throws. */
  take(payload: Buffer): void {
    const { holding, local, signers, log } = this.#parts
    clearTimeout(this.#due)
    if (payload.length === 0) {
      log.info('No configuration is kept for this device any more; what holds stays.')
      return
    }
    let desired: Desired | undefined
    try {
      desired = readDesired(payload, local)
      checkDesired(desired, { signers, atMs: Date.now() })
      const { version, digest } = desired
      // Who signs is believed.
      if (!signers && isFarAhead(version, Date.now()))
        throw new Refused(
          'DESIRED_AHEAD',
          `Version ${version} is more than a day ahead of this device's clock (${new Date().toISOString()}). Set the clocks of device and console.`,
        )
      for (const other of [this.#next, this.#trying?.desired, this.#floor]) {
        if (!other) continue
        if (version < other.version) {
          this.#passOver(desired, other.version)
          return
        }
        if (version === other.version && digest !== other.digest)
          throw new Refused('DESIRED_INVALID', `There is another configuration of the version ${version}.`)
      }
    } catch (error) {
      this.#refuse(error, desired)
      if (desired && error instanceof Refused && error.code === 'DESIRED_AHEAD')
        this.#takeOnceDue(payload, desired)
      return
    }
    const isSame = (other: Pick<Desired, 'version'> | undefined) => other?.version === desired.version
    if (isSame(this.#next) || isSame(this.#trying?.desired)) return
    if (isSame(holding.applied?.desired)) {
      if (this.#told.version !== desired.version) this.#told = { ...this.#told, opened: undefined }
      this.#tell({ state: 'applied', version: desired.version, refused: null })
      return
    }
    this.#next = desired
    this.#trying?.stop.abort()
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  /** The newest that was taken. One of the far future, of a time before the clock was set, keeps nothing out. */
  get #floor() {
    const { holding, signers } = this.#parts
    const { floor } = holding
    return floor && !signers && isFarAhead(floor.version, Date.now()) ? undefined : floor
  }

  /** An older one changes nothing of what holds and was said: that is said again. */
  #passOver({ version }: Desired, newer: number): void {
    const { meters, log } = this.#parts
    const code = 'DESIRED_OLD'
    meters.desiredRefused.inc({ reason: code })
    log.warn(
      { code, version },
      `The configuration from the console is passed over: version ${version} is older than ${newer}.`,
    )
    this.#report()
  }

  /** It may be the clock of the device that is wrong. */
  #takeOnceDue(payload: Buffer, desired: Desired): void {
    this.#due = setTimeout(() => {
      if (isFarAhead(desired.version, Date.now())) this.#takeOnceDue(payload, desired)
      else this.take(payload)
    }, DESIRED_DUE_MS).unref()
  }

  async #work(): Promise<void> {
    for (let desired = this.#next; desired && !this.#stop.signal.aborted; desired = this.#next) {
      this.#next = undefined
      const stop = new AbortController()
      this.#trying = { desired, stop }
      try {
        this.#tries.begin(desired)
        await this.#apply(desired, AbortSignal.any([stop.signal, this.#stop.signal]))
        this.#tries.end()
      } catch (error) {
        if (asFailure(error).code !== 'DESIRED_ENDED_AGENT') this.#tries.end()
        // A newer one has come, or the device stops.
        if (!stop.signal.aborted && !this.#stop.signal.aborted) {
          removeOthers(this.#parts.holding.effective.models, this.#parts.local, this.#parts.log)
          this.#refuse(error, desired)
        } else this.#parts.log.info({ version: desired.version }, 'a configuration is not tried any further')
      } finally {
        this.#trying = undefined
      }
    }
  }

  async #apply(desired: Desired, signal: AbortSignal): Promise<void> {
    const { holding, local, networks, streams, stored, meters, log } = this.#parts
    const { version } = desired
    this.#told = { ...this.#told, opened: undefined }
    const content = readContent(desired.content)
    const names = new Set(streams?.list.map(({ name }) => name))
    const effective = overlay(content, { local, networks, streams: names })
    const steps = stepsTo(content.streams ?? {}, streams?.list ?? [], holding.owned)
    refuseGone(content, effective, steps)
    this.#tell({ state: 'applying', version, refused: null })
    log.info({ version, by: desired.by }, 'a configuration from the console is tried')
    await this.#models(effective, signal)
    const detector = await this.#detector(effective, signal)
    const plan: Plan = { desired, content, effective, steps, detector }
    try {
      await this.#try(plan, signal)
      signal.throwIfAborted()
      const atMs = Date.now()
      const owned = Object.keys(content.streams ?? {})
      const { owned: ownedBefore } = holding
      const keptBefore = stored.content
      // Before anything is turned: after a kill in the middle, it is turned again, and whole.
      stored.keep(desired, atMs, [...ownedBefore, ...owned])
      try {
        await this.#turn(plan)
      } catch (error) {
        stored.putBack(keptBefore)
        throw error
      }
      holding.applied = { desired, content, atMs }
      holding.floor = desired
      holding.refused = undefined
      holding.owned = new Set(owned)
    } catch (error) {
      await detector?.[Symbol.asyncDispose]()
      throw error
    }
    this.#forgetOwned()
    removeOthers(holding.effective.models, local, log)
    meters.desiredApplied.inc()
    log.info({ version, by: desired.by }, 'a configuration from the console holds')
    this.#tell({ state: 'applied', version, refused: null })
  }

  /** Streams that are there no more are none that a configuration brought: where that cannot be kept, they are looked for again. */
  #forgetOwned(): void {
    const { holding, stored, log } = this.#parts
    const { applied, owned } = holding
    try {
      if (applied) stored.keep(applied.desired, applied.atMs, owned)
    } catch (error) {
      const { code, message } = asFailure(error)
      log.warn({ code }, message)
    }
  }

  /** Brings the models by address, and tries them; then the classifiers, whatever their model. Errors: Refused. */
  async #models({ models, process, processFromAfar }: Effective, signal: AbortSignal): Promise<void> {
    const { holding, local, networks } = this.#parts
    const { effective } = holding
    for (const [n, entry] of models.entries())
      try {
        await fetchByAddress(entry, { local, networks }, signal)
        if (!effective.models.some((it) => isDeepStrictEqual(it, entry)))
          await tryModel(entry, local.detect, signal)
      } catch (error) {
        signal.throwIfAborted()
        throw Refused.at(['models', n], asFailure(error))
      }
    for (const [n, name] of [...processFromAfar].entries())
      try {
        const config = process.find((it) => it.name === name)
        if (!config || effective.process.some((it) => isDeepStrictEqual(it, config))) continue
        if (!config.entry && config.model !== undefined) await fetchModel(config.model, local.detect, signal)
        await tryProcessor(config, local.detect, signal)
      } catch (error) {
        signal.throwIfAborted()
        throw Refused.at(['process', n, 'model'], asFailure(error))
      }
  }

  /** Another detector, where one is wanted. */
  async #detector({ detect }: Effective, signal: AbortSignal): Promise<Detector | undefined> {
    const { holding, local, detectors } = this.#parts
    if (isDeepStrictEqual(detect, holding.effective.detect)) return undefined
    try {
      // Servers have it, and where nobody here takes over, it is not needed here.
      const isHere = !isRemote(detect.runtime) || detect.servers?.local === 'auto'
      if (isHere && !detect.entry && detect.model !== local.detect.model)
        await fetchModel(detect.model, detect, signal)
      const detector = await detectors.another(detect)
      const { whereabouts } = detector
      if (!whereabouts || whereabouts.on === 'remote') return detector
      await detector[Symbol.asyncDispose]()
      throw failure('INFERENCE_UNAVAILABLE', whereabouts.why ?? 'No inference server can be asked.')
    } catch (error) {
      throw Refused.at(['detect', 'model'], asFailure(error))
    }
  }

  /** Opens the cameras that are new, or whose source is. Errors: those of their sources. */
  async #try({ effective, detector }: Plan, signal: AbortSignal): Promise<void> {
    const { holding, detectors, open, networks, processing, log } = this.#parts
    const before = new Map(holding.effective.cameras.map((camera) => [camera.name, camera]))
    const cameras = effective.cameras.filter(
      (camera) => effective.fromAfar.has(camera.name) && isToBeTried(before.get(camera.name), camera),
    )
    const options = {
      detector: detector ?? detectors.current,
      redraw: processing,
      open: async (...[camera, context, until]: Parameters<typeof openSource>) => {
        await networks.check(camera.source)
        return await open(camera, { ...context, isFromAfar: true }, until)
      },
      log,
    }
    const opened = await tryCameras(cameras, options, signal)
    signal.throwIfAborted()
    this.#told = { ...this.#told, ...(cameras.length > 0 && { opened }) }
    for (const [name, { error }] of Object.entries(opened))
      if (error) throw Refused.at(['cameras', name, 'source'], failureOf(error.code, error.message))
  }

  /** All at once; where that fails, back to how it was. */
  async #turn({ effective, steps, detector }: Plan): Promise<void> {
    const { holding, cameras, streams, detectors, processing, remote, log } = this.#parts
    const before = holding.effective
    const { commands } = remote
    const looked = detectors.current
    const isOther = detector !== undefined && !isDeepStrictEqual(detector.input, looked.input)
    const isOtherProcess = !isDeepStrictEqual(effective.process, before.process)
    let areTaken = false
    try {
      await cameras.turn(
        holding.cameras(streams?.cameras ?? [], effective),
        async () => {
          this.#hold(effective, detector)
          if (streams) await takeSteps(streams, steps)
          areTaken = true
          if (isOtherProcess) await processing.use(effective.process)
        },
        { all: isOther },
      )
    } catch (error) {
      await cameras.turn(
        holding.cameras(streams?.cameras ?? [], before),
        async () => {
          remote.putBack(commands)
          this.#hold(before, detector && looked)
          if (isOtherProcess) await processing.use(before.process)
          if (streams && areTaken) await undoSteps(streams, steps)
        },
        { all: isOther, isBack: true },
      )
      throw error
    } finally {
      this.#parts.changed()
    }
    if (detector)
      await detectors.letGo(looked).catch((error: unknown) => {
        const { code, message } = asFailure(error)
        log.warn({ code }, message)
      })
  }

  #hold(effective: Effective, detector: Detector | undefined): void {
    const { holding, taken, detectors, agent, remote } = this.#parts
    holding.effective = effective
    taken.clear()
    for (const { name } of effective.cameras) taken.add(name)
    if (!detector) return
    detectors.current = detector
    agent.useDetector(detector)
    remote.refresh()
  }

  #refuse(error: unknown, desired: Desired | undefined): void {
    const { meters, log } = this.#parts
    const refused = Refused.at([], asFailure(error))
    meters.desiredRefused.inc({ reason: refused.code })
    log.error(
      { code: refused.code, version: desired?.version, path: refused.path.join('.') },
      `The configuration from the console is refused: ${refused.message}`,
    )
    this.#tell({ state: 'refused', version: desired?.version, refused: faultOf(refused) })
  }

  #tell(told: Pick<Told, 'state' | 'version' | 'refused'>): void {
    this.#told = { ...this.#told, ...told, applied: this.#applied() }
    this.#report()
  }

  #applied(): Told['applied'] {
    const { applied } = this.#parts.holding
    return applied
      ? { version: applied.desired.version, digest: applied.desired.digest, atMs: applied.atMs }
      : null
  }

  #report(): void {
    const { local, holding, streams, detectors, publisher } = this.#parts
    const text = writeReported(this.#told, {
      ...{ local, model: detectors.current.model },
      effective: holding.effective,
      cameras: holding.cameras(streams?.cameras ?? []).values(),
      ...this.#loadable(),
      atMs: Date.now(),
    })
    publisher.keep(reportedTopic(local.topicPrefix, local), text)
  }

  #loadable(): Loadable {
    const { local, holding } = this.#parts
    try {
      return loadable(local.detect, holding.effective.models)
    } catch {
      return { models: [], classifiers: [] } // a catalogue that cannot be read is said where a model is looked for
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#due)
    await this.#working
  }
}

/** Settings of a stream that is there no more once this holds. */
function refuseGone(content: DesiredContent, { ofStreams }: Effective, steps: readonly Step[]): void {
  for (const name of ofStreams.keys())
    if (!Object.hasOwn(content.streams ?? {}, name) && steps.some((it) => it.stream === name))
      throw new Refused('CONFIG_INVALID', `The stream "${name}" is removed, and cannot be set.`, [
        'cameras',
        name,
      ])
}

const faultOf = ({ code, message, path }: Refused) => ({
  code,
  message: message.slice(0, 2000),
  path: path.slice(0, 20),
})
