import { deviceSchema } from '../../device/config.ts'
import type { DetectorOptions } from '../../device/detect/open.ts'
import { detectorOptions } from '../../device/detect/options.ts'
import { loadConfig } from '../../lib/config.ts'

/** What the command line says of the detector; the configuration says the rest. */
export interface Chosen {
  readonly config?: string
  readonly model?: string
  readonly input?: { readonly width: number; readonly height: number }
  readonly runtime?: string
  readonly provider?: string
  readonly scoreMin?: number
}

/** The device's detector, with what the command line says otherwise. Errors: those of loadConfig. */
export function chosenDetector({
  config,
  model,
  input,
  runtime,
  provider,
  scoreMin,
}: Chosen): DetectorOptions {
  const overrides = {
    'detect.model': model,
    'detect.inputSize': input,
    'detect.runtime': runtime,
    'detect.provider': provider,
    'detect.scoreMin': scoreMin,
  }
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined)
  const { detect } = loadConfig(deviceSchema, {
    file: config,
    env: process.env,
    overrides: Object.fromEntries(given),
  })
  return detectorOptions(detect)
}
