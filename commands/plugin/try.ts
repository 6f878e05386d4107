import { parse } from 'node:path'
import { z } from 'zod'
import { type CameraConfig, checkDeviceConfig, deviceSchema, processorSchema } from '../../device/config.ts'
import { detectorOptions } from '../../device/detect/options.ts'
import { openDetectorThread } from '../../device/detect/thread.ts'
import { cropRegion, toFrame } from '../../device/faces/crop.ts'
import type { Frame } from '../../device/frame.ts'
import { openMeters } from '../../device/meters.ts'
import { openPlugin } from '../../device/process/plugin-open.ts'
import { pixelsOf } from '../../device/process/processing.ts'
import type { Processor, SaidOfFrame } from '../../device/process/processor.ts'
import { type Ability, Supervised } from '../../device/process/supervised.ts'
import { sharp } from '../../device/sharp.ts'
import { openSource } from '../../device/sources/open.ts'
import { Effects } from '../../device/view/effects.ts'
import type { SeenFace } from '../../device/view/watcher.ts'
import { loadConfig } from '../../lib/config.ts'
import { asFailure, failure, printable } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { Attribute } from '../../wire/attributes.ts'
import { CROP_VERSION, type CropMetadata } from '../../wire/crop.ts'
import { idMinter } from '../../wire/id.ts'
import { isName } from '../../wire/names.ts'
import { maxOf } from '../command.ts'

export interface TryArguments {
  readonly module: string
  readonly photo?: string
  readonly camera?: string
  readonly frames?: string
  readonly settings?: string
  readonly timeout?: string
  readonly out?: string
  readonly config?: string
}

const CAMERA = 'camera'
const FRAMES_DEFAULT = 5
/** Of so many frames for each that is wanted none had a face: it is shown no more. */
const FRAMES_FACTOR = 20
const CALLS = { attributes: 'crop', see: 'frame', picture: 'picture' } as const

/** `sightline plugin test`. @returns the exit status: that of the first call that failed */
export async function tryPlugin(args: TryArguments): Promise<number> {
  process.env.ORT_DISABLE_TELEMETRY ??= '1' // as in device/main.ts
  if (args.photo !== undefined && args.camera !== undefined)
    throw failure('USAGE', 'Give --photo or --camera, not both. See sightline plugin --help.')
  const framesMax = args.photo === undefined ? maxOf(args.frames, FRAMES_DEFAULT) : 1
  const source = args.photo ?? args.camera ?? 'testcard'
  const config = loadConfig(deviceSchema, {
    file: args.config,
    env: process.env,
    overrides: { cameras: [{ name: CAMERA, source, pace: 'asfast' }] },
  })
  checkDeviceConfig(config)
  const [camera] = config.cameras as [CameraConfig]
  const processor = processorOf(args)
  const log = openLog('plugin', 'info')
  const signal = new AbortController().signal
  await using plugin = await Supervised.open({
    config: processor,
    open: (it) => openPlugin(it, log),
    meters: openMeters(openMetrics('plugin')),
    log,
    onState() {},
  })
  const trial = new Trial(plugin)
  await using detector = await openDetectorThread(detectorOptions(config.detect))
  const events = { skipped: () => {}, damaged: () => {} }
  await using opened = await openSource(camera, { input: detector.input, events, log }, signal)
  let [shown, withFaces] = [0, 0]
  const mint = idMinter()
  for await (const frame of opened) {
    using _frame = frame
    const found = await detector.detect(frame.scaled)
    const faces = found.map(({ box, score }): SeenFace => {
      const sure = score >= detector.scoreMin
      return { box: toFrame(box, frame.scaled, frame), score, sure, track: sure ? mint() : undefined }
    })
    shown += 1
    if (faces.some(({ sure }) => sure)) withFaces += 1
    await trial.show(frame, faces, { id: mint, margin: config.crop.margin, model: detector.model })
    if (withFaces >= framesMax || shown >= framesMax * FRAMES_FACTOR) break
  }
  if (args.out !== undefined) await trial.write(args.out)
  trial.sum(shown, withFaces)
  return trial.status
}

function processorOf({ module, settings, timeout }: TryArguments) {
  let json: unknown
  try {
    json = settings === undefined ? undefined : JSON.parse(settings)
  } catch (error) {
    throw failure('USAGE', `--settings needs JSON, e.g. '{"threshold": 110}', not ${settings}.`, error)
  }
  const { data, error } = processorSchema.safeParse({
    ...{ name: isName(parse(module).name) ? parse(module).name : 'plugin', module, settings: json },
    ...(timeout !== undefined && { timeout }),
  })
  if (data) return data
  throw failure('USAGE', `The plugin cannot be tried: ${z.prettifyError(error).replaceAll('\n', ' ')}`)
}

interface Made {
  readonly id: () => string
  readonly margin: number
  readonly model: string
}

/** Shows frames to a plugin, and says what comes of it. */
class Trial {
  readonly #plugin: Supervised
  readonly #effects = new Effects(() => 'none')
  readonly #tookMs: Record<Ability, number[]> = { attributes: [], see: [], picture: [] }
  #picture: { readonly rgb: Uint8Array; readonly width: number; readonly height: number } | undefined
  #failed = 0
  status = 0

  constructor(plugin: Supervised) {
    this.#plugin = plugin
    const does = (Object.keys(CALLS) as Ability[]).filter((it) => plugin.can(it)).map((it) => CALLS[it])
    say(`${plugin.by}: ${does.join(', ')}`)
  }

  async show(frame: Frame, faces: readonly SeenFace[], made: Made): Promise<void> {
    const { width, height } = frame
    const name = `frame ${frame.sequence}`
    this.#effects.looked(CAMERA, frame, faces, [])
    const pixels = await pixelsOf(CAMERA, frame, faces, this.#plugin.frames)
    await this.#ask('see', name, async (it) => it.see?.(pixels), saidOf)
    if (this.#plugin.can('picture')) {
      const rgb = new Uint8Array(await frame.cut(0, 0, width, height))
      const areas = this.#effects.areas(CAMERA, { width, height })
      const given = { camera: CAMERA, rgb, width, height, faces, areas }
      const drawn = await this.#ask(
        'picture',
        name,
        async (it) => it.picture?.(given),
        () => `${width}x${height}`,
      )
      if (drawn) this.#picture = { rgb: drawn, width, height }
    }
    for (const [at, face] of faces.entries()) {
      const region = face.sure ? cropRegion(face.box, made.margin, frame) : undefined
      if (!region || !this.#plugin.can('attributes')) continue
      const rgb = await frame.cut(region.left, region.top, region.width, region.height)
      const metadata: CropMetadata = {
        ...{ v: CROP_VERSION, id: made.id(), site: 'site', device: 'device', camera: CAMERA },
        ...{ capturedAtMs: Math.round(frame.capturedAtMs), clockSane: true, box: [...face.box] },
        ...{ region: [region.left, region.top, region.width, region.height], score: Math.min(1, face.score) },
        ...{ track: face.track, model: made.model, frame: [width, height] },
      }
      const crop = { camera: CAMERA, rgb, width: region.width, height: region.height, metadata }
      await this.#ask('attributes', `${name}, face ${at}`, async (it) => it.attributes?.(crop), attributesOf)
    }
  }

  /** Writes the last picture for viewers. Errors: FOLDER_UNWRITABLE. */
  async write(file: string): Promise<void> {
    if (!this.#picture) return say(`no picture for ${file}: the plugin gave none`)
    const { rgb, width, height } = this.#picture
    await sharp(rgb, { raw: { width, height, channels: 3 } })
      .toFile(file)
      .catch((error: unknown) => {
        throw failure('FOLDER_UNWRITABLE', `Cannot write ${file}: ${error}.`, error)
      })
    say(`${file}: the last picture for viewers`)
  }

  sum(shown: number, withFaces: number): void {
    say(`${shown} ${shown === 1 ? 'frame' : 'frames'}, ${withFaces} with faces`)
    if (withFaces === 0) say('No face was found: crop() was not called.')
    for (const [what, call] of Object.entries(CALLS)) {
      const sorted = this.#tookMs[what as Ability].sort((a, b) => a - b)
      const median = sorted[Math.floor(sorted.length / 2)]
      if (median === undefined) continue
      say(`${call}: ${sorted.length} calls, median ${tenths(median)}, slowest ${tenths(sorted.at(-1) ?? 0)}`)
    }
    say(this.#failed === 0 ? 'all answers can be taken' : `${this.#failed} calls failed`)
  }

  async #ask<T>(
    what: Ability,
    name: string,
    ask: (plugin: Processor) => Promise<T | undefined>,
    read: (said: T) => string,
  ): Promise<T | undefined> {
    if (!this.#plugin.can(what)) return undefined
    const startMs = performance.now()
    try {
      const said = await this.#plugin.ask(what, 1, ask)
      const ms = performance.now() - startMs
      this.#tookMs[what].push(ms)
      say(`${name}: ${CALLS[what]} ${tenths(ms)}: ${said === undefined ? 'nothing' : read(said)}`)
      return said
    } catch (error) {
      const fault = asFailure(error)
      this.#failed += 1
      this.status ||= fault.exitStatus
      say(`${name}: ${CALLS[what]} ${tenths(performance.now() - startMs)}: ${fault.code}: ${fault.message}`)
      return undefined
    }
  }
}

const say = (line: string) => void process.stdout.write(`${printable(line)}\n`)
const tenths = (ms: number) => `${ms.toFixed(1)} ms`

const attributesOf = (said: readonly Attribute[]) =>
  said.length === 0
    ? 'nothing'
    : said.map(({ name, label, score }) => `${name}=${label} (${score.toFixed(2)})`).join(', ')

function saidOf({ events, attributes }: SaidOfFrame): string {
  const parts = [
    ...events.map(({ name, label, score, data }) => `event ${JSON.stringify({ name, label, score, data })}`),
    ...(attributes.length > 0 ? [attributesOf(attributes.map(({ attribute }) => attribute))] : []),
  ]
  return parts.length === 0 ? 'nothing' : parts.join(', ')
}
