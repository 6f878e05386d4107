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

/** The device's settings, with what the command line says otherwise. Errors: those of loadConfig and checkDeviceConfig. */
export function chosenConfig({ config, model, input, runtime, provider, scoreMin }: Chosen): DeviceConfig {
  const overrides = {
    'detect.model': model,
    'detect.inputSize': input,
    'detect.runtime': runtime,
    'detect.provider': provider,
    'detect.scoreMin': scoreMin,
  }
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined)
  const loaded = loadConfig(deviceSchema, {
    file: config,
    env: process.env,
    overrides: Object.fromEntries(given),
  })
  const { detect } = loaded
  // Who names a runtime that is here means it, whatever servers the file has.
  if (runtime !== undefined && !isRemote(runtime))
    return { ...loaded, detect: { ...detect, servers: undefined } }
  if (isRemote(detect.runtime)) checkDeviceConfig(loaded)
  return loaded
}

/** What they say of the detector. */
export const chosenDetect = (chosen: Chosen): DeviceConfig['detect'] => chosenConfig(chosen).detect

/** The detector that runs here. */
export const chosenDetector = (chosen: Chosen): DetectorOptions => detectorOptions(chosenDetect(chosen))

/**
 * The device's detector; where it looks elsewhere, it is those servers, and nobody takes over.
 * @param scoreMin instead of the configured one
 * Errors: those of openDetector and openRemoteDetector; INFERENCE_UNAVAILABLE where no server can be asked.
 */
export async function openChosen(detect: DeviceConfig['detect'], scoreMin?: number): Promise<Detector> {
  const wanted = scoreMin === undefined ? detect : { ...detect, scoreMin }
  if (!isRemote(wanted.runtime)) return await openDetector(detectorOptions(wanted))
  const { servers } = wanted as RemoteConfig
  const detector = await openRemoteDetector(
    { ...(wanted as RemoteConfig), servers: { ...servers, local: 'none' } },
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
