import type { Log } from '../../lib/log.ts'
import { isName } from '../../wire/names.ts'
import type { Protocol, StreamChange, StreamState } from '../../wire/stream.ts'
import { type CameraConfig, pushedCamera } from '../config.ts'
import { PUBLISHER_SILENT_MS, STREAMS_SAMPLE_MS } from '../limits.ts'
import { changeStream } from './change.ts'
import type { Admission, Doorkeeper, Publication, Refusal } from './publication.ts'
import { Seen } from './seen.ts'
import { hashOfKey, type Stream, StreamsFile } from './streams-file.ts'

/** Of a key that comes from outside: longer ones are none. */
const KEY_CHARACTERS_MAX = 100

export interface StreamsOptions {
  readonly file: string
  /** Names of the cameras that the configuration has. */
  readonly taken: ReadonlySet<string>
  /** For how long a camera waits for its publisher to come back before it says so, ms. */
  readonly graceMs: number
  readonly log: Log
  readonly lookMs?: number
}

/** What is seen of a publisher's video once it is open. */
export interface SeenMedia {
  readonly codec: string | null
  readonly audio: string | null
  readonly frame: readonly [width: number, height: number] | null
}

/** A stream, and who publishes it. */
interface Entry {
  stream: Stream
  camera: CameraConfig
  live: Live | undefined
  /** Let in, and has brought no picture yet. */
  waiting: Waiting | undefined
  /** Handed over by `next`, or not yet. */
  isTaken: boolean
  wanted: ((publication: Publication) => void) | undefined
}

interface Waiting {
  readonly end: (why: string) => void
}

interface Live {
  readonly publication: Publication
  /** Of one publisher, whatever it publishes in turn. */
  readonly admission: Admission
  readonly sinceMs: number
  bitsPerSecond: number
  bytes: number
  /** By a clock that nobody sets. */
  heardAtMs: number
  media: SeenMedia
}

export interface CamerasChange {
  readonly added: readonly CameraConfig[]
  readonly removed: readonly string[]
}

const UNKNOWN: SeenMedia = { codec: null, audio: null, frame: null }

/**
 * The streams that come to this device: whom their keys let in, who publishes now, and for whom their cameras wait.
 *
 *     listener --admit(key)--> Admission --publish--> live --next(camera)--> sources/pushed.ts
 *     streams file changes ----> cameras come and go; who may no longer publish is ended at once
 */
export class Streams implements Doorkeeper, AsyncDisposable {
  readonly #file: StreamsFile
  readonly #seen: Seen
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  readonly #options: StreamsOptions
  #changing: Promise<void> = Promise.resolve()
  #entries = new Map<string, Entry>()
  #byHash = new Map<string, Entry>()
  /** Called after cameras have come or gone, or their settings changed (gone, and come again). */
  onCameras: ((change: CamerasChange) => void) | undefined
  /** Called when the state of a stream has changed. */
  onState: ((camera: string) => void) | undefined

  readonly graceMs: number
  /** Cameras that an earlier run had, and that were removed while no agent ran. */
  readonly gone: readonly string[]

  private constructor(file: StreamsFile, seen: Seen, options: StreamsOptions) {
    const { log, graceMs } = options
    this.#options = options
    this.graceMs = graceMs
    this.#file = file
    this.#seen = seen
    this.#log = log
    this.#take(file.streams)
    const gone = seen.cameras.filter((name) => !this.#entries.has(name))
    for (const name of gone) seen.forget(name)
    this.gone = gone.filter((name) => isName(name) && !options.taken.has(name))
    file.onChange = (streams) => {
      const change = this.#take(streams)
      this.onCameras?.(change)
    }
    this.#timer = setInterval(() => this.#sample(), STREAMS_SAMPLE_MS).unref()
  }

  /** Errors: those of readStreams. */
  static async open(options: StreamsOptions): Promise<Streams> {
    return new Streams(await StreamsFile.open(options), Seen.open(options.file, options.log), options)
  }

  get cameras(): readonly CameraConfig[] {
    return [...this.#entries.values()].map(({ camera }) => camera)
  }

  /** As they stand in the file. */
  get list(): readonly Stream[] {
    return this.#file.streams
  }

  has(camera: string): boolean {
    return this.#entries.has(camera)
  }

  /** What was just changed in the file then applies. */
  async look(): Promise<void> {
    await this.#file.look() // it may have looked before the change
    await this.#file.look()
  }

  /** Changes the file, one after the other, and follows it. Errors: those of changeStream. */
  change(camera: string, change: StreamChange): Promise<void> {
    const done = this.#changing.then(async () => {
      await changeStream(this.#options, camera, change)
      await this.look()
    })
    this.#changing = done.catch(() => {}) // said to who asked
    return done
  }

  admit(key: string, by: Protocol, from: string): Admission | { readonly refusal: Refusal } {
    // Found by the hash: how long that takes says nothing of the key.
    const entry = this.#byHash.get(hashOfKey(key.slice(0, KEY_CHARACTERS_MAX)))
    if (!entry || key.length > KEY_CHARACTERS_MAX) return { refusal: { is: 'unknown key' } }
    const { name: camera } = entry.stream
    if (!entry.stream.active) {
      this.#log.warn({ camera, by, from }, 'refused a publisher: its stream is deactivated')
      return { refusal: { is: 'inactive' } }
    }
    if (this.#isBusy(entry)) {
      this.#log.warn({ camera, by, from }, 'refused a second publisher with the same key')
      return { refusal: { is: 'busy' } }
    }
    const { stream: admitted } = entry
    const admission: Admission = {
      camera,
      wait: (end) => this.#wait(admitted, end),
      publish: (publication) => this.#publish(admitted, admission, publication),
    }
    return admission
  }

  /** The newest waits: whoever has lost its line comes again, and need not wait for itself. */
  #wait({ name, keyHash }: Stream, end: (why: string) => void): () => void {
    const entry = this.#entries.get(name)
    if (!entry?.stream.active || entry.stream.keyHash !== keyHash) {
      end('The stream key is no longer valid.')
      return () => {}
    }
    const waiting: Waiting = { end }
    const before = entry.waiting
    entry.waiting = waiting
    before?.end('Another publisher with the same stream key has come.')
    return () => {
      if (entry.waiting === waiting) entry.waiting = undefined
    }
  }

  #isBusy({ stream, live }: Entry): boolean {
    return live !== undefined && !stream.takeOver && !isSilent(live)
  }

  #publish(admitted: Stream, admission: Admission, publication: Publication): void {
    const entry = this.#entries.get(admitted.name)
    if (!entry?.stream.active || entry.stream.keyHash !== admitted.keyHash) {
      publication.end('The stream key is no longer valid.')
      return
    }
    const { live } = entry
    const isSame = live?.admission === admission
    // Another may have come between admission and this.
    if (!isSame && this.#isBusy(entry)) {
      publication.end('Somebody else publishes with this stream key.')
      return
    }
    const { camera, by, from, bytes } = publication
    const now = performance.now()
    entry.live = {
      publication,
      admission,
      sinceMs: isSame ? live.sinceMs : publication.sinceMs,
      bitsPerSecond: isSame ? live.bitsPerSecond : 0,
      bytes,
      heardAtMs: now,
      media: UNKNOWN,
    }
    entry.isTaken = false
    if (!isSame) {
      live?.publication.end('Another publisher with the same stream key has taken over.')
      this.#log.info({ camera, by, from, ...(live && { tookOver: true }) }, 'publisher connected')
      this.#seen.used(camera, publication.sinceMs, from)
    } else live.publication.end('It goes on with other settings.')
    void publication.ended.then(() => this.#left(publication))
    if (entry.wanted) {
      entry.isTaken = true
      entry.wanted(publication)
      entry.wanted = undefined
    }
    this.#changed(camera)
  }

  #left(publication: Publication): void {
    const { camera, from, by, bytes } = publication
    const entry = this.#entries.get(camera)
    if (entry?.live?.publication !== publication) return
    entry.live = undefined
    this.#log.info({ camera, by, from, bytes }, 'publisher gone')
    this.#changed(camera)
  }

  /**
   * The camera's next publication that has not been given out; undefined where the signal was aborted. One at a time asks
   * for a camera.
   */
  async next(camera: string, signal: AbortSignal): Promise<Publication | undefined> {
    const entry = this.#entries.get(camera)
    if (!entry || signal.aborted) return undefined
    if (entry.live && !entry.isTaken) {
      entry.isTaken = true
      return entry.live.publication
    }
    return await new Promise((resolve) => {
      const stop = () => {
        if (entry.wanted === take) entry.wanted = undefined
        resolve(undefined)
      }
      const take = (publication: Publication) => {
        signal.removeEventListener('abort', stop)
        resolve(publication)
      }
      entry.wanted = take
      signal.addEventListener('abort', stop, { once: true })
    })
  }

  /** What was found in a publication's video. */
  opened(publication: Publication, media: SeenMedia): void {
    const live = this.#entries.get(publication.camera)?.live
    if (live?.publication !== publication) return
    live.media = media
    this.#changed(publication.camera)
  }

  /** Undefined: there is no such stream. */
  state(camera: string): StreamState | undefined {
    const entry = this.#entries.get(camera)
    if (!entry) return undefined
    const { stream, live } = entry
    return {
      owner: stream.owner ?? null,
      active: stream.active,
      takeOver: stream.takeOver,
      ...this.#seen.of(camera),
      live: live
        ? {
            sinceMs: live.sinceMs,
            by: live.publication.by,
            bitsPerSecond: live.bitsPerSecond,
            codec: live.media.codec,
            audio: live.media.audio,
            frame: live.media.frame && [...live.media.frame],
          }
        : null,
    }
  }

  #take(streams: readonly Stream[]): CamerasChange {
    const before = this.#entries
    const added: CameraConfig[] = []
    const removed: string[] = []
    this.#entries = new Map()
    for (const stream of streams) {
      const had = before.get(stream.name)
      const { name, keyHash, owner, active, takeOver, created, ...settings } = stream
      const camera = pushedCamera(name, settings)
      const isSame = had && JSON.stringify(had.camera) === JSON.stringify(camera)
      const entry: Entry = isSame
        ? had
        : { stream, camera, live: undefined, waiting: undefined, isTaken: false, wanted: undefined }
      if (had && !isSame) {
        removed.push(name)
        this.#end(had, 'The settings of this camera have changed. Connect again.')
      }
      if (!isSame) added.push(camera)
      if (isSame && keyHash !== had.stream.keyHash)
        this.#end(had, 'The stream key has been replaced by another.')
      else if (isSame && !active) this.#end(had, 'The stream has been deactivated.')
      const isNews = had && JSON.stringify(had.stream) !== JSON.stringify(stream)
      entry.stream = stream
      this.#entries.set(name, entry)
      this.#seen.know(name)
      if (isNews) this.onState?.(name)
    }
    for (const [name, entry] of before) {
      if (this.#entries.has(name)) continue
      removed.push(name)
      this.#seen.forget(name)
      this.#end(entry, 'The stream has been removed.')
    }
    this.#byHash = new Map([...this.#entries.values()].map((entry) => [entry.stream.keyHash, entry]))
    return { added, removed }
  }

  #end(entry: Entry, why: string): void {
    const { live, waiting } = entry
    entry.waiting = undefined
    waiting?.end(why)
    if (!live) return
    const { camera, by, from } = live.publication
    entry.live = undefined
    this.#seen.live(camera, null)
    this.#log.info({ camera, by, from, why }, 'publisher sent away')
    live.publication.end(why)
  }

  #changed(camera: string): void {
    this.#seen.live(camera, this.state(camera)?.live ?? null)
    this.onState?.(camera)
  }

  #sample(): void {
    for (const [camera, { live }] of this.#entries) {
      if (!live) continue
      const { bytes } = live.publication
      const bitsPerSecond = ((bytes - live.bytes) * 8 * 1000) / STREAMS_SAMPLE_MS
      if (bytes !== live.bytes) live.heardAtMs = performance.now()
      live.bytes = bytes
      // Smoothed over some seconds: key frames come in bursts.
      const smooth = live.bitsPerSecond === 0 ? bitsPerSecond : live.bitsPerSecond * 0.8 + bitsPerSecond * 0.2
      live.bitsPerSecond = Math.round(smooth)
      this.#changed(camera)
    }
    this.#seen.keep()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    this.#file[Symbol.dispose]()
    for (const entry of this.#entries.values()) {
      this.#end(entry, 'The device is stopping.')
    }
    this.#seen.keep(true)
  }
}

function isSilent({ heardAtMs }: Live): boolean {
  return performance.now() - heardAtMs > PUBLISHER_SILENT_MS
}
