import type { Log } from '../../lib/log.ts'
import type { DeviceConfig, ProcessorConfig } from '../config.ts'
import { openClassifierThread } from './classifier-thread.ts'
import { openPlugin } from './plugin-open.ts'
import type { Processor } from './processor.ts'

/** Errors: those of opening a model; PLUGIN_NOT_FOUND, PLUGIN_UNUSABLE. */
export async function openProcessor(
  config: ProcessorConfig,
  detect: DeviceConfig['detect'],
  log: Log,
): Promise<Processor> {
  if (config.module !== undefined) return await openPlugin(config, log)
  return await openClassifierThread({ ...config, model: config.model as string }, detect)
}
