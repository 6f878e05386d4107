import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import type { Test } from 'tap'
import { deviceSchema, type ProcessorConfig, processorSchema } from '../../device/config.ts'
import { openMeters } from '../../device/meters.ts'
import { openPlugin, type PluginLimits } from '../../device/process/plugin-open.ts'
import { Processing } from '../../device/process/processing.ts'
import { loadConfig } from '../../lib/config.ts'
import type { Counter } from '../../lib/metrics.ts'
import { openMetrics } from '../../lib/metrics.ts'
import type { PluginEvent } from '../../wire/event.ts'
import { temporaryFolder } from '../kit/programs.ts'

/** Plugins as the agent has them: real modules, in real threads. */

export interface Line {
  readonly level: number
  readonly msg: string
  readonly code?: string
  readonly processor?: string
}

/** Writes a module, and says where. */
export function moduleOf(t: Test, source: string, name = 'plugin.ts'): string {
  const file = join(temporaryFolder(t), name)
  writeFileSync(file, source)
  return file
}

/** A plugin of this body: what stands after `open(context) {`. */
export const opening = (body: string) => `export default { version: '1', open(context) { ${body} } }\n`

export interface Plugged {
  readonly limits?: PluginLimits
  readonly camera?: { readonly process?: string[] }
  readonly retryMsMin?: number
}

export const configOf = (settings: Record<string, unknown>): ProcessorConfig =>
  processorSchema.parse({ name: 'mine', ...settings })

export function logged() {
  const lines: Line[] = []
  return { lines, log: pino({ level: 'debug' }, { write: (line) => void lines.push(JSON.parse(line)) }) }
}

export async function plug(
  t: Test,
  processors: readonly Record<string, unknown>[],
  { limits, camera = {}, retryMsMin = 50 }: Plugged = {},
) {
  const { lines, log } = logged()
  const meters = openMeters(openMetrics('test'))
  const events: Omit<PluginEvent, 'site' | 'device'>[] = []
  const processing = await Processing.open({
    processors: processors.map(configOf),
    camera: () => camera,
    open: (config) => openPlugin(config, log, limits),
    onEvent: (event) => events.push(event),
    meters,
    log,
    retryMsMin,
  })
  t.teardown(() => processing[Symbol.asyncDispose]())
  return { processing, meters, events, lines }
}

/** A counter's values, by reason or by processor. */
export async function counted<L extends string>(meter: Counter<L>): Promise<Record<string, number>> {
  const { values } = await meter.get()
  return Object.fromEntries(
    values.map(({ labels, value }) => {
      const { reason, processor } = labels as { reason?: string; processor?: string }
      return [reason ?? processor ?? '', value]
    }),
  )
}

export const deviceOf = (settings: Record<string, unknown>) =>
  loadConfig(deviceSchema, {
    overrides: { cameras: [{ name: 'door', source: 'script.mp4' }], ...settings },
  })
