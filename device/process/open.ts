import { failure } from '../../lib/errors.ts'
import type { Log } from '../../lib/log.ts'
import type { DeviceConfig, ProcessorConfig } from '../config.ts'
import { openPlugin } from './plugin-open.ts'
import type { Processor } from './processor.ts'

/** Errors: those of opening a model; PLUGIN_NOT_FOUND, PLUGIN_UNUSABLE. */
export async function openProcessor(
  config: ProcessorConfig,
  _detect: DeviceConfig['detect'],
  log: Log,
): Promise<Processor> {
  if (config.module !== undefined) return await openPlugin(config, log)
  throw failure('NOT_INCLUDED', `The processor ${config.name} cannot be opened.`)
}
