import { checkDeviceConfig, type DeviceConfig, deviceSchema } from '../../device/config.ts'
import type { Detector } from '../../device/detect/detector.ts'
import { type DetectorOptions, openDetector } from '../../device/detect/open.ts'
import { detectorOptions, isRemote } from '../../device/detect/options.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
import { failure } from '../../lib/errors.ts'
import { openLog } from '../../lib/log.ts'
import { openMetrics } from '../../lib/metrics.ts'

/** What the command line says of the detector; the configuration says the rest. */
export interface Chosen {
  readonly config?: string
  readonly model?: string
  readonly input?: { readonly width: number; readonly height: number }
  readonly runtime?: string
  readonly provider?: string
  readonly scoreMin?: number
}

/** The detector that runs here, with what the command line says otherwise. Errors: those of loadConfig; USAGE. */
export function chosenDetector(chosen: Chosen): DetectorOptions {
  if (chosen.runtime !== undefined && isRemote(chosen.runtime))
    throw failure(
      'USAGE',
      `--runtime ${chosen.runtime} is for files: "eval" and "bench" are about models that run here.`,
    )
  return detectorOptions(chosenConfig(chosen).detect)
}

/**
 * The same, opened, also where it looks elsewhere: then it is those servers, and nobody takes over.
 * Errors: those of loadConfig, openDetector and openRemoteDetector; INFERENCE_UNAVAILABLE where no server can be asked.
 */
export async function openChosen(chosen: Chosen): Promise<Detector> {
  const config = chosenConfig(chosen)
  checkDeviceConfig(config)
  const { detect } = config
  if (!isRemote(detect.runtime)) return await openDetector(detectorOptions(detect))
  const servers = { ...(detect as RemoteConfig).servers, local: 'none' }
  const detector = await openRemoteDetector(
    { ...(detect as RemoteConfig), servers },
    {
      log: openLog('detect', 'silent'),
      meters: openMeters(openMetrics('detect')),
    },
  )
  const { whereabouts } = detector
  if (whereabouts?.on === 'remote') return detector
  await detector[Symbol.asyncDispose]()
  throw failure('INFERENCE_UNAVAILABLE', whereabouts?.why ?? 'No inference server can be asked.')
}

function chosenConfig({ config, model, input, runtime, provider, scoreMin }: Chosen): DeviceConfig {
  const overrides = {
    'detect.model': model,
    'detect.inputSize': input,
    'detect.runtime': runtime,
    'detect.provider': provider,
    'detect.scoreMin': scoreMin,
  }
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined)
  return loadConfig(deviceSchema, {
    file: config,
    env: process.env,
    overrides: Object.fromEntries(given),
  })
}
