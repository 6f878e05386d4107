import { execFile } from 'node:child_process'
import { realpath } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import NodeWebcam, { type Webcam } from 'node-webcam'
import { failure, printable, systemCode } from '../../lib/errors.ts'
import type { Size } from '../faces/crop.ts'
import type { Frame } from '../frame.ts'
import { STILL_BYTES_MAX, STILL_SKIPPED } from '../limits.ts'
import { readPicture } from '../picture.ts'
import { videoDevices } from './devices.ts'
import { frameOf } from './picture.ts'
import type { Source, SourceContext } from './source.ts'
import type { ViewSettings } from './view.ts'

export interface StillOptions {
  /** /dev/video0, a name under /dev/v4l, or TEST: fswebcam's own picture. */
  readonly device: string
  readonly name: string
  readonly size: Size
  readonly intervalMs: number
  /** How long taking one may take, ms. */
  readonly timeoutMs: number
  readonly view: ViewSettings
}

/** The only names that become a part of the command. */
const DEVICE = /^(\/dev\/video\d{1,4}|TEST)$/
/** JPEG quality of the still; the crops' own is another. */
const QUALITY = 95

/**
 * A webcam that is opened for a still every so often, and closed in between, through node-webcam and fswebcam.
 *
 * node-webcam makes the command; it would also run it, but through a shell, without a way to stop it, and read the
 * picture as text. So it is run here: without a shell, with a deadline after which it is killed, and the picture comes
 * through a pipe, so that no file with a face in it is left behind.
 */
export class Still implements Source {
  readonly name: string
  readonly live = true
  readonly lossless = false
  readonly #options: StillOptions
  readonly #webcam: Webcam
  readonly #context: SourceContext
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal

  private constructor(options: StillOptions, webcam: Webcam, context: SourceContext, signal: AbortSignal) {
    this.name = options.name
    this.#options = options
    this.#webcam = webcam
    this.#context = context
    this.#signal = AbortSignal.any([signal, this.#stop.signal])
  }

  /** Errors: SOURCE_UNAVAILABLE. */
  static async open(options: StillOptions, context: SourceContext, signal: AbortSignal): Promise<Still> {
    const { name, size } = options
    if (process.platform !== 'linux')
      throw failure('SOURCE_UNAVAILABLE', `${name}: stills need fswebcam, which runs on Linux only.`)
    const device = options.device === 'TEST' ? 'TEST' : await realpath(options.device).catch(() => '')
    if (!DEVICE.test(device))
      throw failure(
        'SOURCE_UNAVAILABLE',
        `No camera at ${name}. Check that it is plugged in and that the name is correct. ${videoDevices()}`,
      )
    const webcam = new NodeWebcam.FSWebcam({
      ...size,
      quality: QUALITY,
      output: 'jpeg',
      device,
      skip: device === 'TEST' ? 0 : STILL_SKIPPED,
    })
    return new Still(options, webcam, context, signal)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void> {
    const { intervalMs, view: settings } = this.#options
    for (let sequence = 0, dueMs = performance.now(); !this.#signal.aborted; sequence += 1) {
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {})
      if (this.#signal.aborted) return
      dueMs = Math.max(dueMs + intervalMs, performance.now())
      const when = { sequence, capturedAtMs: Date.now(), atMs: performance.now() }
      const photo = await this.#take()
      if (!photo) return
      yield await frameOf(photo, { settings, input: this.#context.input }, when)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
  }

  /** Undefined where it was told to stop. */
  async #take() {
    const { timeoutMs } = this.#options
    const [program = '', ...args] = this.#webcam.generateSh('-').trim().split(/\s+/)
    try {
      const { stdout, stderr } = await promisify(execFile)(program, args, {
        encoding: 'buffer',
        maxBuffer: STILL_BYTES_MAX,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        signal: this.#signal,
      })
      const said = words(stderr)
      // fswebcam ends with status 0 whatever happened, so only a picture is proof of one.
      if (stdout.length === 0) throw this.#failed(said, this.#webcam.runCaptureValidations(said))
      return await readPicture(stdout, this.name)
    } catch (error) {
      if (this.#signal.aborted) return undefined
      throw this.#explain(error)
    }
  }

  #explain(error: unknown): unknown {
    const { name } = this
    if (!(error instanceof Error) || error.name === 'SightlineError') return error
    if (systemCode(error) === 'ENOENT')
      return failure(
        'SOURCE_UNAVAILABLE',
        `${name}: stills need the program fswebcam, which is not installed. Install it (Debian: apt-get install fswebcam).`,
        error,
      )
    if ('killed' in error && error.killed === true)
      return failure(
        'SOURCE_UNAVAILABLE',
        `No picture from ${name} within ${this.#options.timeoutMs / 1000} s. Check the camera, or raise "timeout".`,
        error,
      )
    return this.#failed(error.message, error)
  }

  #failed(said: string, cause: unknown) {
    const missing = /no.*such.*(file|device)/i.test(said)
    const why = said === '' ? 'no message from fswebcam' : said
    return failure(
      'SOURCE_UNAVAILABLE',
      missing
        ? `No camera at ${this.name}. Check that it is plugged in and that the name is correct. ${videoDevices()}`
        : `No picture from ${this.name} (${why}). Check that no other program uses the camera.`,
      cause ?? undefined,
    )
  }
}

/** What a program said, on one short line and without colours. */
function words(stderr: Buffer): string {
  const text = stderr
    .toString('utf8')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
    .replace(/\u001b\[[0-9;]*m/g, '')
    .replace(/\s+/g, ' ')
    .trim()
  return printable(text).slice(0, 200)
}
