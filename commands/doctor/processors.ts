import type { DeviceConfig, ProcessorConfig } from '../../device/config.ts'
import { openProcessor } from '../../device/process/open.ts'
import { openLog } from '../../lib/log.ts'
import { type Finding, failed, ok, skip, timed } from './finding.ts'

/**
 * A classifier or a plugin, opened as the agent does.
 * @param isRunning the agent runs: a plugin may hold what only one can hold, and the agent's own health says how it is
 */
export async function checkProcessor(
  { detect }: Pick<DeviceConfig, 'detect'>,
  processor: ProcessorConfig,
  isRunning: boolean,
): Promise<Finding> {
  const isPlugin = processor.module !== undefined
  const what = `${isPlugin ? 'plugin' : 'classifier'} ${processor.name}`
  if (isPlugin && isRunning) return skip(what, 'the agent runs, and has it open')
  try {
    const opened = await timed(() => openProcessor(processor, detect, openLog('doctor', 'silent')))
    await using held = opened.value
    return ok(what, `opens in ${opened.ms} ms (${held.by})`)
  } catch (error) {
    return failed(what, error, 'Correct "process" in the configuration.')
  }
}
