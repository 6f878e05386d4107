import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { deviceSchema } from '../device/config.ts'
import { detectorOptions } from '../device/detect/options.ts'
import { openDetectorThread } from '../device/detect/thread.ts'
import { kindOf, nameOf } from '../device/sources/address.ts'
import { checkSource } from '../device/sources/check.ts'
import { duration, loadConfig } from '../lib/config.ts'
import { failure } from '../lib/errors.ts'
import { listenFailure } from '../lib/http/server.ts'
import { openLog } from '../lib/log.ts'
import { audit } from './books.ts'
import { openGuest } from './guest.ts'
import { Link } from './link.ts'
import { Program } from './program.ts'
import { Meter, type Readings, readCamera, since, withLastWords } from './readings.ts'
import { type Moment, render, renderLine, type Scene } from './view.ts'

/**
 * The whole line on this machine: five real programs, each from its own file in conf/, with ports and folders of
 * this run's own; the link between edge and cloud goes through a plug.
 *
 *   agent -> edge broker -> plug -> cloud broker -> subscriber -> bucket
 *                                                            └──> console
 */

export interface DemoOptions {
  readonly source?: string
  readonly model?: string
  readonly pace?: string
  readonly loop?: boolean
  readonly for?: string
  readonly data?: string
  /** Of the gallery; `GALLERY_PORT`, or any that is free, where absent. */
  readonly port?: number
  /** Cameras of other machines may come, too. */
  readonly lan?: boolean
}

export const GALLERY_PORT = 8080
const CONSOLE_PORT = 8090
const RTMP_PORT = 1935
const WHIP_PORT = 8889
/** So that its link fits 80 columns. */
const TOKEN_BYTES = 16
const HOST = '127.0.0.1'
const EVERYWHERE = '0.0.0.0'
const TICK_MS = 500
const READY_MS_MAX = 60_000
const DRAIN_MS_MAX = 120_000
/** Rates and latencies are over the readings of so many ticks. */
const RATE_TICKS = 10
const HISTORY_SECONDS = 30
/** A terminal's Ctrl-C comes twice: from the terminal, and from the launcher that passes its own on. */
const SAME_WISH_MS_MAX = 500

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

const CONF = fileURLToPath(new URL('../conf/', import.meta.url))

/** @returns 0 where the books balance */
export async function runDemo(options: DemoOptions): Promise<number> {
  const forMs = options.for === undefined ? undefined : parseFor(options.for)
  const ports = await findPorts(options.port, options.lan ? EVERYWHERE : HOST)
  const camera = await checkedCamera(options)
  const data = makeFolder(options.data)
  try {
    return await run(options, { data, forMs, ports, camera })
  } finally {
    if (options.data === undefined) rmSync(data, { recursive: true, force: true })
  }
}

function makeFolder(wanted: string | undefined): string {
  try {
    if (wanted === undefined) return mkdtempSync(join(tmpdir(), 'sightline-demo-'))
    mkdirSync(wanted, { recursive: true })
    return resolve(wanted)
  } catch (error) {
    throw failure(
      'FOLDER_UNWRITABLE',
      `Cannot create the folder ${wanted ?? `of this run in ${tmpdir()}`}. Choose a writable one with --data DIR.`,
      error,
    )
  }
}

function parseFor(text: string): number {
  const result = duration().safeParse(text)
  if (!result.success) throw failure('USAGE', `--for ${result.error.issues[0]?.message}.`)
  return result.data
}

/** Everything that can be wrong with how it was called has been looked at by then. */
interface Run {
  readonly data: string
  readonly forMs: number | undefined
  readonly ports: Ports
  readonly camera: Camera
}

async function run(options: DemoOptions, { data, forMs, ports, camera }: Run): Promise<number> {
  const { stdin, stdout, env } = process
  // A terminal that is dumb has no place to go back to.
  const live = stdout.isTTY === true && stdin.isTTY === true && env.TERM !== 'dumb' && forMs === undefined
  const say = (text: string) => process.stdout.write(`${text}\n`)
  using wishes = new Wishes()
  const { stop, hurry } = wishes
  const { edgePort, cloudPort, devicePort, edgeHttpPort, cloudHttpPort, galleryPort, consolePort } = ports
  // A source of the user's own is looked at alone, and ends.
  const guest =
    options.source === undefined || options.lan
      ? await openGuest({ data, ...ports, lan: options.lan ?? false })
      : undefined
  const token = randomBytes(TOKEN_BYTES).toString('base64url')

  await using link = await Link.open(cloudPort)
  await using programs = new AsyncDisposableStack()
  const start = (name: string, command: string, config: string, env: Record<string, string>) =>
    programs.use(
      Program.start({
        name,
        args: [command, '--config', join(CONF, config)],
        env,
        logFile: join(data, `${name}.log`),
      }),
    )
  const console = start('console', 'console', 'console.yaml', {
    SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${cloudPort}`,
    SIGHTLINE_INBOX__FOLDER: join(data, 'console'),
    SIGHTLINE_DATABASE__PATH: join(data, 'console', 'console.sqlite'),
    SIGHTLINE_BUCKET__PATH: join(data, 'bucket'),
    SIGHTLINE_HTTP__PORT: String(consolePort),
    // Pictures in notices have addresses, and a receiver that somebody writes here may be called: whoever may add a channel
    // has this machine's shell anyway.
    SIGHTLINE_PUBLIC_URL: `http://${HOST}:${consolePort}`,
    SIGHTLINE_NOTICES__ALLOW: JSON.stringify(['localhost', '127.0.0.0/8', '::1']),
    ...(guest && { SIGHTLINE_PUBLISH: JSON.stringify([{ name: 'This demo', url: guest.whip }]) }),
    CONSOLE_RUN_TOKEN: token,
  })
  const subscriber = start('subscriber', 'subscriber', 'subscriber.yaml', {
    SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${cloudPort}`,
    SIGHTLINE_INBOX__FOLDER: join(data, 'subscriber'),
    SIGHTLINE_BUCKET__PATH: join(data, 'bucket'),
    SIGHTLINE_ANNOUNCE__ENABLED: 'true',
    SIGHTLINE_HTTP__PORT: String(galleryPort),
  })
  const cloud = start('cloud-broker', 'broker', 'cloud-broker.yaml', {
    SIGHTLINE_LISTENERS__0__PORT: String(cloudPort),
    SIGHTLINE_STORE__FOLDER: join(data, 'cloud-broker'),
    SIGHTLINE_HTTP__PORT: String(cloudHttpPort),
  })
  const edge = start('edge-broker', 'broker', 'edge-broker.yaml', {
    SIGHTLINE_LISTENERS__0__PORT: String(edgePort),
    SIGHTLINE_STORE__FOLDER: join(data, 'edge-broker'),
    SIGHTLINE_BRIDGES__0__URL: `mqtt://127.0.0.1:${link.port}`,
    // A plug that is back in is seen at once: this demo is for watching.
    SIGHTLINE_BRIDGES__0__RECONNECT_MAX: '1s',
    SIGHTLINE_HTTP__PORT: String(edgeHttpPort),
  })
  const keepers = [subscriber, cloud, edge, console]
  const url = (port: number) => `http://127.0.0.1:${port}`
  const meter = new Meter({
    device: url(devicePort),
    edge: url(edgeHttpPort),
    cloud: url(cloudHttpPort),
    subscriber: url(galleryPort),
  })
  say('Starting edge broker, cloud broker, subscriber and console ...')
  await Promise.all([
    subscriber.ready(url(galleryPort), READY_MS_MAX),
    cloud.ready(url(cloudHttpPort), READY_MS_MAX),
    edge.ready(url(edgeHttpPort), READY_MS_MAX),
    console.ready(url(consolePort), READY_MS_MAX),
  ])
  const first = await meter.read()
  const objectsBefore = await countObjects(join(data, 'bucket'))
  const before = objectsBefore + first.edge.pending + first.cloud.pending + first.inbox.pending
  const mode = options.source === undefined ? 'every' : 'best'
  say('Starting the capture agent ...')
  const device = start('device', 'device', 'device.yaml', {
    SIGHTLINE_BROKER__URL: `mqtt://127.0.0.1:${edgePort}`,
    SIGHTLINE_HTTP__PORT: String(devicePort),
    SIGHTLINE_REMOTE__FOLDER: join(data, 'device'),
    SIGHTLINE_OUTBOX__FOLDER: join(data, 'outbox'),
    ...guest?.env,
    // This demo is for watching: the drawn faces flow, and whoever sits before a camera is seen soon.
    SIGHTLINE_EMIT__MODE: mode,
    SIGHTLINE_EMIT__BEST_AFTER: '5s',
    SIGHTLINE_CAMERAS: JSON.stringify([{ ...camera, record: { mode: 'always' } }]),
    ...(options.model === undefined ? {} : { SIGHTLINE_DETECT__MODEL: options.model }),
  })

  const scene: Scene = {
    source: options.source === undefined ? undefined : nameOf(options.source),
    model: options.model ?? 'BlazeFace',
    console: `${url(consolePort)}/signin?token=${token}`,
    gallery: `${url(galleryPort)}/`,
    guest,
    portTaken: ports.taken,
    data,
    keepsData: options.data !== undefined,
    before,
  }
  if (before > 0)
    say(
      `${data} holds ${before} crops of earlier runs; the gallery shows them too. The counts below are of this run.`,
    )
  if (!live) {
    const taken = ports.taken === undefined ? '' : ` (port ${ports.taken} is in use; --port chooses another)`
    say(`Console: ${scene.console}`)
    say(`Gallery: ${scene.gallery}${taken}`)
    if (guest) {
      say(`OBS: Server ${guest.server}, Stream Key ${guest.key}`)
      say(`Browser as camera: ${guest.page}`)
    }
    say(`Data: ${data}${scene.keepsData ? '' : ' (removed at the end; --data DIR keeps it)'}`)
  }
  const startedMs = Date.now()
  const readings: Readings[] = []
  const edgeHistory: number[] = []
  let cameraDown: string | undefined
  let latest = first
  const moment = async (note?: string): Promise<Moment> => {
    latest = withLastWords(await meter.read(), device.books, device.outbox)
    const now = since(first, latest)
    // Not at the end, when every camera is closed.
    if (note === undefined && !device.exited)
      cameraDown = /^down: (.*)$/s.exec((await readCamera(url(devicePort))) ?? '')?.[1]
    readings.push(now)
    if (readings.length > RATE_TICKS + 1) readings.shift()
    return {
      scene,
      elapsedMs: Date.now() - startedMs,
      now,
      before: readings.length > 1 ? readings[0] : undefined,
      plugged: link.plugged,
      sourceEnded: device.exited,
      cameraDown,
      edgeHistory,
      note,
    }
  }
  using screen = live ? new Screen() : undefined
  const draw = (present: Moment) => screen?.draw(render(present, stdout.columns || 80, stdout.rows || 24))
  using _keys = live
    ? new Keys(
        () => (link.plugged ? link.unplug() : link.plug()),
        () => wishes.end(),
      )
    : undefined
  let seconds = -1
  while (!stop.aborted) {
    const ended = device.exited
    const present = await moment()
    const second = Math.floor(present.elapsedMs / 1000)
    if (second !== seconds) {
      seconds = second
      edgeHistory.push(present.now.edge.pending)
      if (edgeHistory.length > HISTORY_SECONDS) edgeHistory.shift()
      if (!live) say(renderLine(present))
    }
    draw(present)
    const broken = keepers.find(({ exited }) => exited)
    if (broken) throw broken.failure()
    if (ended && device.exitCode !== 0) throw device.failure()
    if (ended && !live) {
      say('The source has ended. The gallery closes as soon as the last crops have arrived.')
      break
    }
    if (forMs !== undefined && present.elapsedMs >= forMs) break
    const rest = TICK_MS - ((Date.now() - startedMs) % TICK_MS)
    await sleep(rest, undefined, { signal: stop }).catch(() => {})
  }
  // The end: the camera stops, the link is there, everything drains.
  link.plug()
  const deviceStopped = device.stop()
  const until = Date.now() + DRAIN_MS_MAX
  for (;;) {
    const ended = device.exited
    const present = await moment('Waiting for the last crops to arrive ...')
    draw(present)
    const { edge, cloud, inbox, clips } = present.now
    const waiting = edge.pending + cloud.pending + inbox.pending
    if (ended && waiting + clips.edge.pending + clips.cloud.pending + clips.inbox.pending === 0) break
    if (hurry.aborted || Date.now() > until) break
    await sleep(TICK_MS / 2, undefined, { signal: hurry }).catch(() => {})
  }
  await deviceStopped
  screen?.[Symbol.dispose]()
  const path = join(data, 'bucket')
  const gained = (await countObjects(path)) - objectsBefore
  const { lines, faults } = audit(first, latest, { path, before: objectsBefore, gained }, mode)
  say('\nThe books:')
  for (const line of lines) say(`  ${line}`)
  if (faults.length > 0)
    throw failure(
      'BOOKS_UNBALANCED',
      `The books do not balance: ${faults.join('; ')}. ${
        options.data === undefined
          ? "Run again with --data DIR to keep the programs' logs."
          : `The programs' logs are in ${data}.`
      }`,
    )
  if (latest.captured === 0 && cameraDown !== undefined)
    throw failure('SOURCE_UNAVAILABLE', `No picture from the camera: ${cameraDown}`)
  say('They balance: every crop that was published is in the bucket.')
  say(
    options.data === undefined
      ? 'The gallery is closed, and the data of this run is removed; --data DIR keeps it.'
      : `The gallery is closed. sightline demo --data ${options.data} opens it again.`,
  )
  return 0
}

interface Camera {
  readonly name: string
  readonly source: string
  readonly pace: string
  readonly loop: boolean
}

/**
 * What the agent is to look at, and with which model: both are tried here, so that a wrong one is said before anything
 * starts. Errors: CONFIG_INVALID, those of a source, and those of a model.
 */
async function checkedCamera({ source, model, pace, loop }: DemoOptions): Promise<Camera> {
  const camera: Camera = {
    name: source === undefined ? 'testcard' : 'demo',
    source: source === undefined ? 'testcard' : absolute(source),
    pace: pace ?? 'realtime',
    loop: loop ?? false,
  }
  const { cameras, detect } = loadConfig(deviceSchema, {
    file: join(CONF, 'device.yaml'),
    overrides: { cameras: [camera], ...(model !== undefined && { 'detect.model': model }) },
  })
  for (const it of cameras) await checkSource(it, openLog('demo', 'silent'), new AbortController().signal)
  if (model === undefined) return camera
  process.env.ORT_DISABLE_TELEMETRY ??= '1' // as in device/main.ts
  await using _opens = await openDetectorThread(detectorOptions(detect))
  return camera
}

/** A path stays the same for a program that is started elsewhere. */
const absolute = (source: string) =>
  kindOf(source) === 'path' && !/^[a-z][a-z0-9+.-]*:\/\//i.test(source) ? resolve(source) : source

async function countObjects(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  return names.filter((name) => name.endsWith('.jpg') && !name.startsWith('.')).length
}

interface Ports {
  readonly edgePort: number
  readonly cloudPort: number
  readonly devicePort: number
  readonly edgeHttpPort: number
  readonly cloudHttpPort: number
  readonly galleryPort: number
  readonly consolePort: number
  readonly rtmpPort: number
  readonly whipPort: number
  /** The gallery's usual one, where something else has it. */
  readonly taken: number | undefined
}

/** @param wanted for the gallery. @param guestHost where a guest's ports listen. Errors: PORT_TAKEN, PORT_DENIED, for a port that was asked for. */
async function findPorts(wanted: number | undefined, guestHost: string): Promise<Ports> {
  using open = new DisposableStack()
  const take = async (port: number, host = HOST) => {
    const server = await listen(port, host)
    open.defer(() => server.close())
    const address = server.address()
    return typeof address === 'object' && address ? address.port : 0
  }
  let taken: number | undefined
  const galleryPort = await take(wanted ?? GALLERY_PORT).catch((error: unknown) => {
    if (wanted !== undefined) throw listenFailure(error, HOST, wanted, '--port')
    taken = GALLERY_PORT
    return take(0)
  })
  return {
    edgePort: await take(0),
    cloudPort: await take(0),
    devicePort: await take(0),
    edgeHttpPort: await take(0),
    cloudHttpPort: await take(0),
    galleryPort,
    consolePort: await take(CONSOLE_PORT).catch(() => take(0)),
    rtmpPort: await take(RTMP_PORT, guestHost).catch(() => take(0, guestHost)),
    whipPort: await take(WHIP_PORT, guestHost).catch(() => take(0, guestHost)),
    taken,
  }
}

function listen(port: number, host: string) {
  return new Promise<ReturnType<typeof createServer>>((done, failed) => {
    const server = createServer()
    server.once('error', failed)
    server.listen(port, host, () => done(server))
  })
}

/** Redraws in place, on the terminal's second screen, so that the first one stays as it was. */
class Screen implements Disposable {
  #open = true

  constructor() {
    process.stdout.write('\u001b[?1049h\u001b[?25l')
  }

  draw(lines: readonly string[]): void {
    if (!this.#open) return
    const shown = lines.map((line) => `${line}\u001b[K`)
    process.stdout.write(`\u001b[H${shown.join('\n')}\u001b[J`)
  }

  [Symbol.dispose](): void {
    if (!this.#open) return
    this.#open = false
    process.stdout.write('\u001b[?25h\u001b[?1049l')
  }
}

/** What the person at the keyboard or a service manager wants: first that it ends, then that it ends at once. */
class Wishes implements Disposable {
  readonly #stop = new AbortController()
  readonly #hurry = new AbortController()
  readonly #onSignal = () => this.end()
  #endedAtMs = 0

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#onSignal)
    process.stdout.on('error', this.#onSignal) // whoever read it has gone
  }

  get stop(): AbortSignal {
    return this.#stop.signal
  }

  get hurry(): AbortSignal {
    return this.#hurry.signal
  }

  end(): void {
    const nowMs = performance.now()
    if (!this.stop.aborted) this.#endedAtMs = nowMs
    else if (nowMs - this.#endedAtMs > SAME_WISH_MS_MAX) this.#hurry.abort()
    this.#stop.abort()
  }

  [Symbol.dispose](): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal)
    process.stdout.off('error', this.#onSignal)
  }
}

class Keys implements Disposable {
  readonly #onData: (data: Buffer) => void

  constructor(unplug: () => void, quit: () => void) {
    this.#onData = (data) => {
      for (const key of data.toString()) {
        if (key === 'u') unplug()
        else if (key === 'q' || key === '\u0003') quit()
      }
    }
    process.stdin.setRawMode(true)
    process.stdin.on('data', this.#onData)
    process.stdin.resume()
  }

  [Symbol.dispose](): void {
    process.stdin.off('data', this.#onData)
    process.stdin.setRawMode(false)
    process.stdin.pause()
  }
}
