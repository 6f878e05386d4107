import { checkDeviceConfig, type DeviceConfig, deviceSchema } from '../../device/config.ts'
import type { Detector } from '../../device/detect/detector.ts'
import { type DetectorOptions, openDetector } from '../../device/detect/open.ts'
import { detectorOptions, isRemote } from '../../device/detect/options.ts'
import { openRemoteDetector, type RemoteConfig } from '../../device/detect/remote/open.ts'
import { openMeters } from '../../device/meters.ts'
import { loadConfig } from '../../lib/config.ts'
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
export function chosenDetect({
  config,
  model,
  input,
  runtime,
  provider,
  scoreMin,
}: Chosen): DeviceConfig['detect'] {
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
  if (runtime !== undefined && !isRemote(runtime)) return { ...detect, servers: undefined }
  if (isRemote(detect.runtime)) checkDeviceConfig(loaded)
  return detect
}

/** The detector that runs here. */
export const chosenDetector = (chosen: Chosen): DetectorOptions => detectorOptions(chosenDetect(chosen))

/**
 * The device's detector, here or at its servers. What takes over for servers that cannot be asked is told of on stderr.
 * @param scoreMin instead of the configured one
 */
export async function openChosen(detect: DeviceConfig['detect'], scoreMin?: number): Promise<Detector> {
  const wanted = scoreMin === undefined ? detect : { ...detect, scoreMin }
  if (!isRemote(wanted.runtime)) return await openDetector(detectorOptions(wanted))
  const detector = await openRemoteDetector(wanted as RemoteConfig, {
    log: openLog('detect', 'silent'),
    meters: openMeters(openMetrics('detect')),
  })
  const { on, why } = detector.whereabouts ?? {}
  if (on === 'local') process.stderr.write(`Faces are detected here: ${why}\n`)
  return detector
}
