import { asFailure } from '../../lib/errors.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { CAMERA_STATE_VERSION, type CameraState, WHY_CHARACTERS_MAX } from '../../wire/camera-state.ts'
import {
  COMMAND_NAMES,
  type Command,
  type CommandName,
  type Effect,
  isCommandName,
  type RecordMode,
  readCommand,
} from '../../wire/commands.ts'
import type { CropMetadata } from '../../wire/crop.ts'
import { LIVE_VERSION, type LiveMetadata, writeLive } from '../../wire/live.ts'
import { isName } from '../../wire/names.ts'
import type { StreamChange } from '../../wire/stream.ts'
import { parseCommandTopic, snapshotTopic, stateTopic } from '../../wire/topics.ts'
import type { CameraConfig, DeviceConfig } from '../config.ts'
import type { Detector } from '../detect/detector.ts'
import { encodeJpeg } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import {
  SCORE_LOW,
  SNAPSHOT_MS_MIN,
  SNAPSHOT_SIDES,
  SNAPSHOT_WAIT_MS_MAX,
  STATE_MS_MIN,
  STREAM_CHANGES_MAX,
} from '../limits.ts'
import type { Streams } from '../listen/streams.ts'
import type { Meters } from '../meters.ts'
import type { Processing } from '../process/processing.ts'
import type { Recorder } from '../record/recorder.ts'
import { type CameraSettings, configuredSettings, type SettingsSource } from '../settings.ts'
import type { Effects } from '../view/effects.ts'
import type { Live } from '../view/live.ts'
import { NO_REDRAW, type Redraw } from '../view/redraw.ts'
import type { SeenFace, Watcher } from '../view/watcher.ts'
import { type Commanded, WISHES, type Wish } from './commanded.ts'
import type { CommandMessage, Publisher } from './publish.ts'

export interface RemoteParts {
  readonly config: DeviceConfig
  /** Those that it begins with. */
  readonly cameras: readonly CameraConfig[]
  /** By what is looked: its threshold. */
  readonly detector: () => Pick<Detector, 'scoreMin' | 'whereabouts'>
  readonly commanded: Commanded
  readonly publisher: Pick<Publisher, 'keep' | 'send'>
  readonly live: Pick<Live, 'look'>
  /** What of a snapshot must not be seen. */
  readonly effects: Pick<Effects, 'apply' | 'of' | 'areas'>
  /** Who changes it after that; nobody where absent. */
  readonly redraw?: Redraw
  /** How a camera's classifiers and plugins are; none where absent. */
  readonly processing?: Pick<Processing, 'states'>
  readonly recorder: Pick<Recorder, 'state'>
  /** What comes to this device, and may be changed from afar. */
  readonly streams?: Pick<Streams, 'gone' | 'state' | 'change'>
  readonly meters: Pick<Meters, 'commandsTaken' | 'commandsIgnored'>
  readonly log: Log
}

/** What is known of a camera. */
interface Camera {
  readonly name: string
  config: CameraConfig
  /** Without what was commanded. */
  configured: CameraSettings
  settings: CameraSettings
  /** As the agent says it: `up`, `ended`, `down: why`. */
  state: string
  crops: number
  lastCrop: CameraState['lastCrop']
  present: CameraState['present']
  view: CameraState['view']
  snapshot: 'none' | 'wanted' | 'making'
  snapshotAtMs: number
  snapshotTimer: NodeJS.Timeout | undefined
  saidAtMs: number
  timer: NodeJS.Timeout | undefined
  readonly followers: Set<(settings: CameraSettings) => void>
}

/** A command to a stream that comes to this device, or is to. */
interface StreamCommand {
  readonly stream: string
  readonly change: StreamChange
}

type Judged =
  | StreamCommand
  | { readonly camera: Camera; readonly name: CommandName; readonly command: Command }
  | { readonly reason: Ignored; readonly fields: object; readonly sentence: string }

/** Why a command was not followed. */
type Ignored =
  | 'unknown camera'
  | 'unknown command'
  | 'payload'
  /** Kept by the broker: it would come again at each connection, and undo what was said since. */
  | 'retained'
  /** A snapshot of a camera that is paused, a second after the last one, of one that gives no frame, that cannot be sent. */
  | 'paused'
  | 'too often'
  | 'no frame'
  | 'not sent'
  /** A change of a stream that may not be, or could not be made. */
  | 'stream'

/**
 * Commands to cameras, and the answer:
 *
 *     <camera>/set/<what>  ->  take  ->  settings, of which the agent is told
 *                                |
 *     <camera>/state       <-----+----  whatever else changes: up and down, crops
 *
 * A command that is not understood changes nothing, and the log says what is. The state says what holds, at most once a
 * second, the newest last.
 */
export class Remote implements SettingsSource, Watcher, AsyncDisposable {
  readonly #parts: RemoteParts
  readonly #cameras = new Map<string, Camera>()
  readonly #making = new Set<Promise<void>>()
  readonly #complain: () => void
  /** Changes of streams that are being made. */
  #changes = 0
  #complaint: readonly [fields: object, message: string] = [{}, '']
  #disposed = false

  constructor(parts: RemoteParts) {
    this.#parts = parts
    this.#complain = throttled((count) => {
      const [fields, message] = this.#complaint
      parts.log.warn({ ...fields, count }, message)
    })
    for (const camera of parts.cameras) this.add(camera)
    for (const name of parts.streams?.gone ?? []) this.#clear(name)
  }

  /** A camera that is there from now on. */
  add(configured: CameraConfig): void {
    const { commanded, log } = this.#parts
    const { name } = configured
    if (this.#cameras.has(name)) return
    const settings = this.#configured(configured)
    const camera: Camera = {
      name,
      config: configured,
      configured: settings,
      settings,
      state: 'opening',
      crops: 0,
      lastCrop: null,
      present: undefined,
      view: undefined,
      snapshot: 'none',
      snapshotAtMs: -Infinity,
      snapshotTimer: undefined,
      saidAtMs: -Infinity,
      timer: undefined,
      followers: new Set(),
    }
    this.#cameras.set(name, camera)
    const wish = commanded.of(name)
    if (this.#set(camera, wish))
      log.warn({ camera: name, ...wish, file: commanded.file }, 'earlier commands still apply')
    this.#tell(camera)
  }

  #configured(camera: CameraConfig): CameraSettings {
    const { config, detector } = this.#parts
    const settings = configuredSettings(config, detector().scoreMin, camera)
    return { ...settings, scoreMin: this.#heldScore(settings.scoreMin) }
  }

  /** Below the floor the detector gives nothing: the state says what holds. */
  #heldScore(score: number): number {
    return Math.max(score, this.#parts.detector().scoreMin * SCORE_LOW)
  }

  /** Commands are temporary: of what a new configuration says otherwise than the one before, none holds any more. */
  forget(before: CameraConfig, after: CameraConfig): void {
    const [had, has] = [this.#configured(before), this.#configured(after)]
    this.#parts.commanded.forget(
      after.name,
      WISHES.filter((key) => had[key] !== has[key]),
    )
  }

  /** Which commands hold, to be put back where a new configuration cannot hold after all. */
  get commands(): ReadonlyMap<string, Wish> {
    return this.#parts.commanded.all
  }

  putBack(commands: ReadonlyMap<string, Wish>): void {
    this.#parts.commanded.putBack(commands)
  }

  /** What is configured of a camera has changed. */
  change(configured: CameraConfig): void {
    const camera = this.#cameras.get(configured.name)
    if (!camera) return
    camera.config = configured
    camera.configured = this.#configured(configured)
    this.#set(camera, this.#parts.commanded.of(camera.name), camera.configured)
    if (camera.settings.paused && camera.snapshot === 'wanted') this.#noSnapshot(camera)
    this.#tell(camera)
  }

  /** Another detector looks. */
  refresh(): void {
    for (const { config } of this.#cameras.values()) this.change(config)
  }

  /** One that is there no more: its last state says that it has ended, and then the broker keeps none. */
  remove(name: string): void {
    const camera = this.#cameras.get(name)
    if (!camera) return
    this.#noSnapshot(camera)
    camera.state = 'ended'
    this.#say(camera)
    this.#cameras.delete(name)
    this.#clear(name)
  }

  /** Whoever comes later is not told of a camera that is no more. */
  #clear(name: string): void {
    const { config, publisher } = this.#parts
    publisher.keep(stateTopic(config.topicPrefix, { ...config, camera: name }), '')
  }

  /** Something of its stream has changed. */
  streamChanged(name: string): void {
    const camera = this.#cameras.get(name)
    if (camera) this.#tell(camera)
  }

  settings(name: string): CameraSettings {
    return this.#camera(name).settings
  }

  follow(name: string, changed: (settings: CameraSettings) => void): () => void {
    const { followers } = this.#camera(name)
    followers.add(changed)
    return () => followers.delete(changed)
  }

  /** What the broker brought. Never throws. */
  take(message: CommandMessage): void {
    const { meters, log } = this.#parts
    const judged = this.#judge(message)
    if ('reason' in judged) {
      this.#ignore(judged.reason, judged.fields, judged.sentence)
      return
    }
    if ('stream' in judged) {
      this.#changeStream(judged)
      return
    }
    const { camera, name, command } = judged
    meters.commandsTaken.inc({ camera: camera.name, command: name })
    if (command.is === 'live' || command.is === 'original') {
      // Asked for again every few seconds: said once.
      const isNew = this.#parts.live.look(camera.name, command.forS, command.is)
      const told = { camera: camera.name, seconds: command.forS }
      const what = command.is === 'live' ? 'live pictures' : 'live pictures without the effect'
      if (isNew || command.forS === 0) log.info(told, `${what} asked for`)
      else log.debug(told, `${what} still asked for`)
      return
    }
    log.info({ camera: camera.name, command: name, payload: sample(message.payload) }, 'command accepted')
    this.#follow(camera, command)
  }

  #judge({ topic, payload, retained }: CommandMessage): Judged {
    const { config } = this.#parts
    const found = parseCommandTopic(config.topicPrefix, config, topic)
    if (found?.command === 'stream') return this.#judgeStream(found.camera, payload, retained)
    const camera = found && this.#cameras.get(found.camera)
    if (!found || !camera)
      return {
        reason: 'unknown camera',
        fields: { topic },
        sentence: `Ignored a command for an unknown camera. This device has: ${[...this.#cameras.keys()].join(', ')}.`,
      }
    const name = found.command
    if (!isCommandName(name))
      return {
        reason: 'unknown command',
        fields: { topic },
        sentence: `Ignored an unknown command. Known commands: ${COMMAND_NAMES.join(', ')}.`,
      }
    const fields = { camera: camera.name, command: name, payload: sample(payload) }
    if (retained)
      return {
        reason: 'retained',
        fields,
        sentence:
          'Ignored a retained command: it would come again at each connection. Publish commands without the retain flag, and clear this one with an empty retained message.',
      }
    const command = readCommand(name, payload)
    if (command.is === 'wrong')
      return {
        reason: 'payload',
        fields,
        sentence: `Ignored an invalid command: ${name} accepts ${command.takes}. The earlier value stays.`,
      }
    if (command.is === 'snapshot' && camera.settings.paused)
      return {
        reason: 'paused',
        fields,
        sentence: 'Snapshot not taken: the camera is paused. Resume it first.',
      }
    if (
      command.is === 'snapshot' &&
      (camera.snapshot !== 'none' || performance.now() - camera.snapshotAtMs < SNAPSHOT_MS_MIN)
    )
      return {
        reason: 'too often',
        fields,
        sentence: `Snapshot not taken: another is in progress, or was less than ${SNAPSHOT_MS_MIN} ms ago. Wait and try again.`,
      }
    return { camera, name, command }
  }

  /** What is sent is not repeated: it holds a key's hash. */
  #judgeStream(camera: string, payload: Buffer, retained: boolean): Judged {
    const { config, streams } = this.#parts
    const no = (reason: Ignored, sentence: string) => ({
      reason,
      fields: { camera: camera.slice(0, 63), command: 'stream' },
      sentence,
    })
    if (!streams || !config.listen.remote)
      return no(
        'stream',
        `Ignored a change of a stream: ${streams ? '"listen.remote" is off' : 'no streams come to this device ("listen.streamsFile")'}.`,
      )
    if (retained)
      return no('retained', 'Ignored a retained command. Publish commands without the retain flag.')
    if (!isName(camera)) return no('unknown camera', 'Ignored a change of a stream whose name is no name.')
    const command = readCommand('stream', payload)
    if (command.is !== 'stream')
      return no('payload', 'Ignored an invalid command: stream accepts JSON that says what to do.')
    return { stream: camera, change: command.change }
  }

  #changeStream({ stream: camera, change }: StreamCommand): void {
    const { streams, meters, log } = this.#parts
    if (this.#changes >= STREAM_CHANGES_MAX) {
      this.#ignore(
        'too often',
        { camera, command: 'stream' },
        'Ignored a change of a stream: too many at once.',
      )
      return
    }
    this.#changes += 1
    void streams
      ?.change(camera, change)
      .then(
        () => {
          meters.commandsTaken.inc({ camera, command: 'stream' })
          log.info({ camera, command: 'stream', do: change.do }, 'command accepted')
        },
        (error: unknown) => {
          const { code, message } = asFailure(error)
          this.#ignore(
            'stream',
            { camera, command: 'stream', do: change.do, code },
            `Ignored a change of a stream: ${message}`,
          )
        },
      )
      .finally(() => {
        this.#changes -= 1
        this.streamChanged(camera)
      })
  }

  #follow(camera: Camera, command: Exclude<Command, { is: 'live' | 'original' }>): void {
    switch (command.is) {
      case 'pause':
        this.#wish(camera, { paused: command.paused })
        if (command.paused && camera.snapshot === 'wanted') this.#noSnapshot(camera)
        break
      case 'threshold':
        this.#wish(camera, { threshold: command.threshold })
        break
      case 'rate':
        this.#wish(camera, { rate: command.rate })
        break
      case 'effect':
        this.#wish(camera, { effect: command.effect })
        break
      case 'record':
        this.#wish(camera, { record: command.mode })
        break
      case 'snapshot':
        camera.snapshot = 'wanted'
        camera.snapshotAtMs = performance.now()
        camera.snapshotTimer = setTimeout(() => this.#giveUp(camera), SNAPSHOT_WAIT_MS_MAX).unref()
        break
    }
    this.#tell(camera)
  }

  #wish(camera: Camera, wish: Wish): void {
    this.#parts.commanded.add(camera.name, wish)
    this.#set(camera, wish)
  }

  /** @param base what the wish is laid over @returns whether that is anything new */
  #set(camera: Camera, wish: Wish, base = camera.settings): boolean {
    const { threshold } = wish
    const score =
      threshold === undefined
        ? {}
        : {
            scoreMin: threshold === 'auto' ? this.#parts.detector().scoreMin : this.#heldScore(threshold),
          }
    const next: CameraSettings = { ...base, ...wish, ...score }
    const keys = Object.keys(next) as (keyof CameraSettings)[]
    if (keys.every((key) => camera.settings[key] === next[key])) return false
    camera.settings = next
    for (const changed of camera.followers) changed(next)
    return true
  }

  /** What the agent says of its cameras. */
  states(states: ReadonlyMap<string, string>): void {
    for (const camera of this.#cameras.values()) {
      const state = states.get(camera.name) ?? camera.state
      if (state === camera.state) continue
      camera.state = state
      this.#tell(camera)
    }
  }

  cropMade({ camera: name, id, capturedAtMs }: CropMetadata): void {
    const camera = this.#camera(name)
    camera.crops += 1
    camera.lastCrop = { id, capturedAtMs }
    this.#tell(camera)
  }

  /** Other faces are here than before; undefined: nobody looks any more. */
  presentChanged(name: string, present: CameraState['present']): void {
    const camera = this.#cameras.get(name)
    if (!camera) return
    camera.present = present
    this.#tell(camera)
  }

  /** Its scene is seen no longer, or again; undefined: nobody looks any more. */
  viewChanged(name: string, view: CameraState['view']): void {
    const camera = this.#cameras.get(name)
    if (!camera) return
    camera.view = view
    this.#tell(camera)
  }

  /** Faces are looked for elsewhere than before. */
  whereaboutsChanged(): void {
    for (const camera of this.#cameras.values()) this.#tell(camera)
  }

  /** A chunk was made, or the camera records or no longer does. One that was just removed hands over its last chunk. */
  recordChanged(name: string): void {
    const camera = this.#cameras.get(name)
    if (camera) this.#tell(camera)
  }

  /** A classifier or a plugin works no longer, or again, or there are others. */
  processChanged(): void {
    for (const camera of this.#cameras.values()) this.#tell(camera)
  }

  wants(name: string): boolean {
    return this.#camera(name).snapshot === 'wanted'
  }

  #giveUp(camera: Camera): void {
    this.#noSnapshot(camera)
    this.#ignore(
      'no frame',
      { camera: camera.name },
      `Snapshot not taken: no frame for ${SNAPSHOT_WAIT_MS_MAX / 1000} s.`,
    )
  }

  #noSnapshot(camera: Camera): void {
    clearTimeout(camera.snapshotTimer)
    camera.snapshot = 'none'
  }

  async see(name: string, frame: Frame, faces: readonly SeenFace[]): Promise<void> {
    const camera = this.#camera(name)
    const { effects, redraw = NO_REDRAW } = this.#parts
    clearTimeout(camera.snapshotTimer)
    camera.snapshot = 'making'
    const { width, height, capturedAtMs } = frame
    // Before the next frame says where its own faces are.
    const pixels = frame.cut(0, 0, width, height).then((rgb) => ({
      effect: effects.apply(name, rgb, { width, height }),
      areas: effects.areas(name, { width, height }),
      by: redraw.redrawnBy(name),
      rgb,
    }))
    const redrawn = pixels.then(async (it) =>
      it.by === '' ? it : { ...it, rgb: await redraw.redraw(name, it.rgb, frame, faces, it.areas) },
    )
    const made = this.#makeSnapshot(camera, redrawn, { width, height }, capturedAtMs)
    this.#making.add(made)
    void made.then(() => this.#making.delete(made))
    await pixels.catch(() => {}) // said by who makes the snapshot
  }

  async #makeSnapshot(
    camera: Camera,
    pixels: Promise<{ readonly rgb: Uint8Array; readonly effect: Effect; readonly by: string }>,
    size: { width: number; height: number },
    capturedAtMs: number,
  ): Promise<void> {
    const { config, publisher, log, effects, redraw = NO_REDRAW } = this.#parts
    try {
      const { rgb, effect, by } = await pixels
      const metadata: LiveMetadata = {
        v: LIVE_VERSION,
        capturedAtMs: Math.round(capturedAtMs),
        frame: [size.width, size.height],
        faces: 0,
        paused: false,
        ...(effect !== 'none' && { effect }),
      }
      for (const sizeMax of SNAPSHOT_SIDES) {
        const jpeg = await encodeJpeg(rgb, size, { quality: config.crop.quality, sizeMax })
        const payload = writeLive(jpeg, metadata)
        if (payload.length > config.broker.payloadMax) continue
        // It shows what nobody is to see any more.
        if (
          camera.settings.paused ||
          effects.of(camera.name) !== effect ||
          redraw.redrawnBy(camera.name) !== by
        )
          return this.#ignore(
            'not sent',
            { camera: camera.name },
            'Snapshot dropped: the camera was paused or its effect changed meanwhile. Ask for it again.',
          )
        publisher.send({
          topic: snapshotTopic(config.topicPrefix, { ...config, camera: camera.name }),
          payload,
          done: (unsaid) => {
            if (unsaid)
              this.#ignore(
                'not sent',
                { camera: camera.name },
                `Snapshot lost (${unsaid}). Ask for it again.`,
              )
          },
        })
        return
      }
      this.#ignore(
        'not sent',
        { camera: camera.name },
        `Snapshot not sent: even the smallest is larger than broker.payloadMax (${config.broker.payloadMax} bytes). Raise it.`,
      )
    } catch (error) {
      const { code, message } = asFailure(error)
      log.error({ camera: camera.name, code }, `Snapshot failed: ${message}`)
    } finally {
      camera.snapshot = 'none'
    }
  }

  #ignore(reason: Ignored, fields: object, message: string): void {
    this.#parts.meters.commandsIgnored.inc({ reason })
    this.#complaint = [{ ...fields, reason }, message]
    this.#complain()
  }

  /** Now, or when a second has gone by since the last time. */
  #tell(camera: Camera): void {
    if (camera.timer || this.#disposed) return
    const waitMs = Math.max(0, camera.saidAtMs + STATE_MS_MIN - performance.now())
    camera.timer = setTimeout(() => this.#say(camera), waitMs).unref()
  }

  #say(camera: Camera): void {
    const { config, publisher, commanded } = this.#parts
    commanded.keep() // first: what is said to hold, holds
    clearTimeout(camera.timer)
    camera.timer = undefined
    camera.saidAtMs = performance.now()
    publisher.keep(
      stateTopic(config.topicPrefix, { ...config, camera: camera.name }),
      JSON.stringify(this.#stateOf(camera)),
    )
  }

  #stateOf({ name, settings, state, crops, lastCrop, present, view }: Camera): CameraState {
    const { site, device } = this.#parts.config
    const { record: mode, paused, threshold, scoreMin, rate, effect } = settings
    const stream = this.#parts.streams?.state(name)
    const process = this.#parts.processing?.states(name)
    const detect = this.#parts.detector().whereabouts
    const [, why] = /^down: (.*)$/s.exec(state) ?? []
    return {
      v: CAMERA_STATE_VERSION,
      site,
      device,
      camera: name,
      state: why === undefined ? (state as CameraState['state']) : 'down',
      why: why?.slice(0, WHY_CHARACTERS_MAX) ?? null,
      paused,
      threshold,
      scoreMin,
      rate,
      effect,
      crops,
      lastCrop,
      ...(present && { present }),
      ...(view && { view }),
      ...this.#recordOf(name, mode),
      ...(process && { process }),
      ...(detect && { detect: { ...detect, why: detect.why?.slice(0, WHY_CHARACTERS_MAX) ?? null } }),
      ...(stream && { stream }),
    }
  }

  #recordOf(name: string, mode: RecordMode): Pick<CameraState, 'record'> {
    const state = this.#parts.recorder.state(name)
    return state ? { record: { mode, ...state, why: state.why?.slice(0, WHY_CHARACTERS_MAX) ?? null } } : {}
  }

  #camera(name: string): Camera {
    const camera = this.#cameras.get(name)
    if (!camera) throw new TypeError(`unknown camera ${name}`)
    return camera
  }

  /** Says what has not been said yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#making)
    this.#disposed = true
    for (const camera of this.#cameras.values()) {
      this.#noSnapshot(camera)
      if (camera.timer) this.#say(camera)
    }
  }
}

/** The beginning of a payload, for the log. */
function sample(payload: Buffer): string {
  return payload.subarray(0, 40).toString('utf8')
}
