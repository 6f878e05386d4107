import type { DetectConfig } from '../config.ts'
import { type DetectorOptions, REMOTE_RUNTIMES, type RemoteRuntimeName } from './open.ts'

export const isRemote = (runtime: string): runtime is RemoteRuntimeName =>
  (REMOTE_RUNTIMES as readonly string[]).includes(runtime)

/** The detector that runs here, as a configuration asks for it. */
export function detectorOptions(detect: DetectConfig): DetectorOptions {
  const { model, entry, modelFolder, catalog, head, runtime, provider, threads, scoreMin, inputSize } = detect
  return {
    model,
    entry,
    modelFolder,
    catalog,
    head,
    runtime: isRemote(runtime) ? 'auto' : runtime,
    provider,
    threads,
    scoreMin: scoreMin === 'auto' ? undefined : scoreMin,
    inputSize,
  }
}
