import { basename } from 'node:path'
import { packageVersion } from '../../lib/version.ts'
import {
  type CameraSettingsFromAfar,
  DESIRED_VERSION,
  REPORTED_BYTES_MAX,
  type Reported,
} from '../../wire/desired.ts'
import type { CameraConfig, DeviceConfig } from '../config.ts'
import { kindOf, nameOf } from '../sources/address.ts'
import type { Effective } from './overlay.ts'

/** What a device answers to its configuration: what holds, in the words of conf/device.yaml, and nothing that is secret. Pure. */

export type Told = Pick<Reported, 'applied' | 'state' | 'version' | 'refused' | 'opened'>

export interface ReportParts {
  readonly local: DeviceConfig
  readonly model: string
  readonly effective: Effective
  readonly cameras: Iterable<CameraConfig>
  readonly models: readonly string[]
  readonly classifiers: readonly string[]
  readonly atMs: number
}

/** As JSON, within REPORTED_BYTES_MAX: pictures go first, then polygons, then all settings. */
export function writeReported(told: Told, parts: ReportParts): string {
  const whole = reportedOf(told, parts)
  const { opened, ...rest } = whole
  const slim = {
    ...rest,
    ...(opened && {
      opened: Object.fromEntries(Object.entries(opened).map(([name, { picture, ...one }]) => [name, one])),
    }),
  }
  const plain = (cameras: Reported['effective']['cameras']): Reported => ({
    ...slim,
    effective: { ...rest.effective, cameras, shortened: true },
  })
  const named = Object.entries(rest.effective.cameras)
  const forms = [
    () => whole,
    () => slim,
    () => plain(Object.fromEntries(named.map(([name, { masks, zones, ...one }]) => [name, one]))),
    () => plain(Object.fromEntries(named.map(([name, { from, source }]) => [name, { from, source }]))),
  ]
  for (const form of forms) {
    const text = JSON.stringify(form())
    if (Buffer.byteLength(text) <= REPORTED_BYTES_MAX) return text
  }
  return JSON.stringify({ ...plain({}), opened: undefined })
}

function reportedOf(told: Told, parts: ReportParts): Reported {
  const { local, model, effective, cameras, models, classifiers, atMs } = parts
  const { detect, sizeMin, fromAfar, process, processFromAfar } = effective
  const { desired } = local.remote
  return {
    v: DESIRED_VERSION,
    site: local.site,
    device: local.device,
    atMs,
    program: packageVersion().slice(0, 64),
    understands: DESIRED_VERSION,
    ...told,
    allows: {
      cameras: desired.cameras,
      streams: local.listen.remote && local.listen.streamsFile !== undefined,
      networks: desired.networks,
      signed: desired.signers !== undefined,
      models: desired.models,
    },
    effective: {
      detect: {
        model: model.slice(0, 200),
        scoreMin: detect.scoreMin,
        sizeMin: sizeMin ?? local.detect.sizeMin,
      },
      process: process.map(({ name, model, scoreMin }) => ({
        name,
        from: processFromAfar.has(name) ? ('desired' as const) : ('file' as const),
        ...(model === undefined
          ? { kind: 'plugin' as const }
          : {
              kind: 'classifier' as const,
              model: basename(model).slice(0, 200), // of a file, not where it lies
              ...(scoreMin !== undefined && { scoreMin }),
            }),
      })),
      cameras: Object.fromEntries(
        [...cameras].map((camera) => [
          camera.name,
          {
            from:
              kindOf(camera.source) === 'pushed'
                ? ('stream' as const)
                : fromAfar.has(camera.name)
                  ? ('desired' as const)
                  : ('file' as const),
            source: sourceOf(camera).slice(0, 2000),
            ...(kindOf(camera.source) === 'stream' && { rtspTransport: camera.rtspTransport }),
            ...settingsOf(camera, local),
          },
        ]),
      ),
    },
    models: [...models],
    classifiers: [...classifiers],
  }
}

/** Where it is from, without a user; what lies on this device, by its kind alone. */
function sourceOf({ source }: CameraConfig): string {
  const kind = kindOf(source)
  if (kind === 'stream') return nameOf(source)
  return kind === 'path' ? 'file' : kind
}

/** What could be set of it. */
function settingsOf(camera: CameraConfig, { emit, crop, detect }: DeviceConfig): CameraSettingsFromAfar {
  const { motion, record } = camera
  const emitted = { ...emit, ...camera.emit }
  return {
    paused: camera.paused,
    scoreMin: camera.scoreMin ?? 'auto',
    sizeMin: camera.sizeMin ?? detect.sizeMin,
    rateMax: camera.rateMax,
    timeout: durationOf(camera.timeout),
    rotate: camera.rotate,
    mirror: camera.mirror,
    aspect: camera.aspect,
    region: camera.region ?? null,
    masks: camera.masks,
    zones: camera.zones,
    motion: { ...motion, checkEvery: durationOf(motion.checkEvery) },
    record: {
      mode: record.mode,
      before: durationOf(record.before),
      after: durationOf(record.after),
      chunk: durationOf(record.chunk),
      audio: record.audio,
      encode: record.encode,
      bitrateMax: record.bitrateMax,
      quality: record.quality,
    },
    ...(camera.process && { process: [...camera.process] }),
    view: { effect: camera.view.effect, watch: camera.view.watch },
    emit: {
      mode: emitted.mode,
      first: emitted.first,
      bestAfter: durationOf(emitted.bestAfter),
      interval: durationOf(emitted.interval),
      rateMax: emitted.rateMax,
    },
    crop: { ...crop, ...camera.crop },
  }
}

/** As in configuration files: `500ms`, `5s`. */
const durationOf = (ms: number) => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`)
