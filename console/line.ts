import { asFailure, failure } from '../lib/errors.ts'
import { type CameraState, cameraStateSchema } from '../wire/camera-state.ts'
import { type Command, type CommandName, readCommand } from '../wire/commands.ts'
import type { Forgotten, Selection } from '../wire/forget.ts'
import { newId } from '../wire/id.ts'
import { KEEP_VERSION, type KeepMessage, keepTopic } from '../wire/keep.ts'
import { type Announcement, forgetTopic } from '../wire/stored.ts'
import type { StreamChange, StreamState } from '../wire/stream.ts'
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

type Kept = Extract<Announcement, { is: 'kept' }>
type Forgot = Extract<Announcement, { is: 'forgot' }>

export class LineOut implements Line {
  readonly #options: LineOptions
  /** Who waits for a camera's state. */
  readonly #states = new Set<(state: CameraState) => void>()
  /** And for a state that is taken away. */
  readonly #gone = new Set<(camera: CameraAddress) => void>()
  /** By request. */
  readonly #keeps = new Map<string, (answer: Kept) => void>()
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

  /** The device has no such camera any more. */
  takeGone(camera: CameraAddress): void {
    for (const onGone of this.#gone) onGone(camera)
  }

  takeSnapshot(camera: CameraAddress): void {
    for (const onSnapshot of this.#snapshots) onSnapshot(camera)
  }

  takeKept(answer: Kept): void {
    if (answer.request !== undefined) this.#keeps.get(answer.request)?.(answer)
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
    const isDone = (state: CameraState) => isCarriedOut(command, state)
    const done = Promise.withResolvers<CameraState>()
    const isOurs = (it: CameraAddress) => isSame(it, camera)
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

  async stream(
    camera: CameraAddress,
    change: StreamChange,
    signal: AbortSignal,
  ): Promise<CameraState | undefined> {
    const { fleet, publish, topicPrefix } = this.#options
    const path = `${camera.site}/${camera.device}/${camera.camera}`
    const device = fleet.devices.find((it) => it.site === camera.site && it.device === camera.device)
    if (!device?.isOnline)
      throw failure('CAMERA_OFFLINE', `The device of ${path} is offline. Try again when it is back.`)
    const done = Promise.withResolvers<CameraState | undefined>()
    const onState = (state: CameraState) => {
      if (!isSame(state, camera)) return
      // Of a new key nothing is seen: the device answers each change with the state.
      if (change.do === 'remove' ? !state.stream : isChanged(change, state.stream)) done.resolve(state)
    }
    const onGone = (it: CameraAddress) => {
      if (change.do === 'remove' && isSame(it, camera)) done.resolve(undefined)
    }
    this.#states.add(onState)
    this.#gone.add(onGone)
    try {
      await publish(commandTopic(topicPrefix, camera, 'stream'), Buffer.from(JSON.stringify(change)))
      return await inTime(done.promise, CONFIRM_MS_MAX, signal, () =>
        failure(
          'NOT_CONFIRMED',
          `The device of ${path} has not confirmed the change within ${CONFIRM_MS_MAX / 1000} s. Check that it has "listen", and look at the stream again.`,
        ),
      )
    } finally {
      this.#states.delete(onState)
      this.#gone.delete(onGone)
    }
  }

  async keep(
    subscriber: string,
    wanted: Omit<KeepMessage, 'v' | 'request' | 'atMs'>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { publish, topicPrefix } = this.#options
    const request = newId()
    const answered = Promise.withResolvers<Kept>()
    this.#keeps.set(request, answered.resolve)
    try {
      const message: KeepMessage = { v: KEEP_VERSION, request, atMs: Date.now(), ...wanted }
      await publish(keepTopic(topicPrefix, subscriber), Buffer.from(JSON.stringify(message)))
      const late = () => failure('NOT_CONFIRMED', subscriber)
      const { error } = await inTime(answered.promise, CONFIRM_MS_MAX, signal, late)
      if (error) throw failure('KEEP_FAILED', error.message)
      return true
    } catch (error) {
      if (asFailure(error).code !== 'NOT_CONFIRMED') throw error
      return false
    } finally {
      this.#keeps.delete(request)
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

const isSame = (a: CameraAddress, b: CameraAddress) =>
  a.site === b.site && a.device === b.device && a.camera === b.camera

/** Whether a camera's state shows that a command was carried out. */
function isCarriedOut(command: Command, state: CameraState): boolean {
  switch (command.is) {
    case 'pause':
      return state.paused === command.paused
    case 'threshold':
      return state.threshold === command.threshold
    case 'rate':
      return state.rate === command.rate
    case 'record':
      return state.record?.mode === command.mode
    case 'effect':
      return state.effect === command.effect
    default:
      return true
  }
}

function isChanged(change: StreamChange, stream: StreamState | undefined): boolean {
  if (!stream) return false
  switch (change.do) {
    case 'activate':
      return stream.active
    case 'deactivate':
      return !stream.active
    case 'settings':
      return stream.takeOver === change.takeOver
    default:
      return true
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
