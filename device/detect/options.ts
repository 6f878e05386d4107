import type { DeviceConfig } from '../config.ts'
import type { DetectorOptions } from './open.ts'

/** The detector that a configuration asks for */
export function detectorOptions(detect: DeviceConfig['detect']): DetectorOptions {
  const { model, modelFolder, catalog, head, runtime, provider, threads, scoreMin, inputSize } = detect
  return {
    model,
    modelFolder,
    catalog,
    head,
    runtime,
    provider,
    threads,
    scoreMin: scoreMin === 'auto' ? undefined : scoreMin,
    inputSize,
  }
}
