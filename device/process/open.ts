import { failure } from '../../lib/errors.ts'
import type { DeviceConfig, ProcessorConfig } from '../config.ts'
import { openClassifierThread } from './classifier-thread.ts'
import type { Processor } from './processor.ts'

/** Errors: those of opening a model; PLUGIN_NOT_FOUND, PLUGIN_UNUSABLE. */
export async function openProcessor(
  config: ProcessorConfig,
  detect: DeviceConfig['detect'],
): Promise<Processor> {
  const { model } = config
  if (model !== undefined) return await openClassifierThread({ ...config, model }, detect)
  throw failure('NOT_INCLUDED', `The processor ${config.name} cannot be opened.`)
}
