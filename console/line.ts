import { asFailure, failure } from '../lib/errors.ts'
import { type CameraState, cameraStateSchema } from '../wire/camera-state.ts'
import { type CommandName, readCommand } from '../wire/commands.ts'
import type { Forgotten, Selection } from '../wire/forget.ts'
import { newId } from '../wire/id.ts'
import { type Announcement, forgetTopic } from '../wire/stored.ts'
import { type CameraAddress, commandTopic } from '../wire/topics.ts'
import type { Fleet, Line } from './context.ts'

/** What the console asks of devices and subscribers, and how it knows that it was done. */

const CONFIRM_MS_MAX = 10_000
/** Below the time that a request may be silent: who asked for it hears what became of it. It is done all the same, later. */
const FORGET_MS_MAX = 20_000

export interface LineOptions {
  readonly topicPrefix: string
  readonly fleet: Fleet
  /** Names of the subscribers that are known. */
  readonly subscribers: () => readonly string[]
  readonly publish: (topic: string, payload: Buffer) => Promise<void>
  readonly isConnected: () => boolean
}

type Forgot = Extract<Announcement, { is: 'forgot' }>

export class LineOut implements Line {
  readonly #options: LineOptions
  /** Who waits for a camera's state. */
  readonly #states = new Set<(state: CameraState) => void>()
  /** By request. */
  readonly #forgets = new Map<string, (answer: Forgot) => void>()
  readonly #snapshots = new Set<(camera: CameraAddress) => void>()

  constructor(options: LineOptions) {
    this.#options = options
  }

  get connected(): boolean {
    return this.#options.isConnected()
  }

  /** A camera's state has come. */
  takeState(payload: Buffer): void {
    if (this.#states.size === 0) return
    let json: unknown
    try {
      json = JSON.parse(payload.toString())
    } catch {
      return // the fleet has passed it over too
    }
    const state = cameraStateSchema.safeParse(json).data
    if (state) for (const onState of this.#states) onState(state)
  }

  takeSnapshot(camera: CameraAddress): void {
    for (const onSnapshot of this.#snapshots) onSnapshot(camera)
  }

  takeForgot(answer: Forgot): void {
    this.#forgets.get(answer.request)?.(answer)
  }

  async command(
    camera: CameraAddress,
    name: CommandName,
    value: string,
    signal: AbortSignal,
  ): Promise<CameraState> {
    const { fleet, publish, topicPrefix } = this.#options
    const path = `${camera.site}/${camera.device}/${camera.camera}`
    const seen = fleet.camera(camera)
    if (!seen?.state)
      throw failure(
        'CAMERA_OFFLINE',
        `The camera ${path} has not reported yet. Check that its agent runs, with "remote" enabled.`,
      )
    if (seen.is === 'offline')
      throw failure('CAMERA_OFFLINE', `The device of ${path} is offline. Try again when it is back.`)
    const command = readCommand(name, Buffer.from(value))
    if (command.is === 'wrong') throw failure('PARAMETER_INVALID', `${name} takes ${command.takes}.`)
    const isDone = (state: CameraState) =>
      command.is === 'pause'
        ? state.paused === command.paused
        : command.is === 'threshold'
          ? state.threshold === command.threshold
          : command.is === 'rate'
            ? state.rate === command.rate
            : true
    const done = Promise.withResolvers<CameraState>()
    const isOurs = (it: CameraAddress) =>
      it.site === camera.site && it.device === camera.device && it.camera === camera.camera
    const onState = (state: CameraState) => {
      if (command.is !== 'snapshot' && isOurs(state) && isDone(state)) done.resolve(state)
    }
    const onSnapshot = (it: CameraAddress) => {
      if (command.is === 'snapshot' && isOurs(it))
        done.resolve(fleet.camera(camera)?.state ?? (seen.state as CameraState))
    }
    this.#states.add(onState)
    this.#snapshots.add(onSnapshot)
    try {
      await publish(commandTopic(topicPrefix, camera, name), Buffer.from(value))
      const state = fleet.camera(camera)?.state
      // It is so already: the agent has nothing to answer.
      if (command.is !== 'snapshot' && state && isDone(state)) return state
      return await inTime(done.promise, CONFIRM_MS_MAX, signal, () =>
        failure(
          'NOT_CONFIRMED',
          `${path} has not confirmed the command within ${CONFIRM_MS_MAX / 1000} s. It may still do so: check its state.`,
        ),
      )
    } finally {
      this.#states.delete(onState)
      this.#snapshots.delete(onSnapshot)
    }
  }

  async forget(selection: Selection, by: string, signal: AbortSignal): Promise<readonly Forgotten[]> {
    const { publish, topicPrefix, subscribers } = this.#options
    const names = subscribers()
    if (names.length === 0)
      throw failure(
        'NOT_CONFIRMED',
        'No subscriber has reported that could delete it. Check that one runs, with "announce" enabled.',
      )
    const answers: Forgot[] = []
    const missing: string[] = []
    await Promise.all(
      names.map(async (subscriber) => {
        const request = newId()
        const answered = Promise.withResolvers<Forgot>()
        this.#forgets.set(request, answered.resolve)
        try {
          const payload = JSON.stringify({ v: 1, request, selection, by })
          await publish(forgetTopic(topicPrefix, subscriber), Buffer.from(payload))
          const late = () => failure('NOT_CONFIRMED', subscriber)
          answers.push(await inTime(answered.promise, FORGET_MS_MAX, signal, late))
        } catch (error) {
          if (asFailure(error).code !== 'NOT_CONFIRMED') throw error
          missing.push(subscriber)
        } finally {
          this.#forgets.delete(request)
        }
      }),
    )
    if (missing.length > 0)
      throw failure(
        'NOT_CONFIRMED',
        `No answer yet from ${missing.map((name) => `"${name}"`).join(', ')}, which deletes as soon as it can. Look again later${answers.length > 0 ? '; the others have deleted it' : ''}.`,
      )
    const failed = answers.find(({ error }) => error)
    if (failed?.error) throw failure('FORGET_FAILED', failed.error.message)
    return answers.flatMap(({ places }) => places)
  }
}

async function inTime<T>(
  promise: Promise<T>,
  msMax: number,
  signal: AbortSignal,
  late: () => Error,
): Promise<T> {
  const over = Promise.withResolvers<never>()
  const timer = setTimeout(() => over.reject(late()), msMax)
  const onAbort = () => over.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, over.promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
