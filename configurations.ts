import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { z } from 'zod'
import { brokerSchema, checkBrokerConfig } from './broker/config.ts'
import { checkSubscriberConfig, subscriberSchema } from './cloud-subscriber/config.ts'
import { checkConsoleConfig, consoleSchema } from './console/config.ts'
import { checkDeviceConfig, deviceSchema } from './device/config.ts'
import { checkInferenceConfig, inferenceSchema } from './inference/config.ts'
import { loadConfig } from './lib/config.ts'
import { failure } from './lib/errors.ts'
import { misspeltIn, settingsIn } from './lib/variables.ts'

export const PROGRAMS: Readonly<Record<string, { schema: z.ZodObject; check?: (config: never) => void }>> = {
  device: { schema: deviceSchema, check: checkDeviceConfig },
  broker: { schema: brokerSchema, check: checkBrokerConfig },
  subscriber: { schema: subscriberSchema, check: checkSubscriberConfig },
  console: { schema: consoleSchema, check: checkConsoleConfig },
  inference: { schema: inferenceSchema, check: checkInferenceConfig },
}

export interface Checked {
  /** That the file is fine, and what else counts. */
  readonly sentences: readonly string[]
  /** What is probably not as it was meant. */
  readonly warnings: readonly string[]
}

/**
 * With the environment that the program would have.
 * Errors: those of loadConfig, CONFIG_UNSAFE_LISTENER, USAGE.
 */
export async function checkConfigFile(
  file: string,
  program: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Checked> {
  if (program !== undefined && !Object.hasOwn(PROGRAMS, program)) {
    throw failure(
      'USAGE',
      `Unknown program "${program}". Use --for with one of: ${Object.keys(PROGRAMS).join(', ')}.`,
    )
  }
  const name = program ?? programOf(file)
  const { schema, check } = PROGRAMS[name] as (typeof PROGRAMS)[string]
  const config = loadConfig(schema, { file, env })
  check?.(config as never)
  const variables = settingsIn(schema, env).map((it) => `${it.path.join('.')} (${it.name})`)
  return {
    sentences: [
      `${file} is a valid configuration of the ${name}.`,
      ...(variables.length === 0 ? [] : [`From the environment: ${variables.join(', ')}.`]),
    ],
    warnings: misspeltIn(schema, env),
  }
}

/** The program whose keys the file uses most. Errors: USAGE. */
export function programOf(file: string): string {
  let tree: unknown
  try {
    tree = parse(readFileSync(file, 'utf8'), { merge: true }) ?? {}
  } catch {
    tree = undefined
  }
  if (typeof tree !== 'object' || Array.isArray(tree)) return 'device' // loadConfig says what is wrong, and where
  const keys = Object.keys(tree as object)
  const hits = Object.entries(PROGRAMS).map(([name, { schema }]) => ({
    name,
    count: keys.filter((key) => key in schema.shape).length,
  }))
  hits.sort((a, b) => b.count - a.count)
  const [best] = hits
  const candidates = hits.filter(({ count }) => count === best?.count).map(({ name }) => name)
  // With keys of its own a file is the console's; those that both have were the subscriber's before there was a console.
  if (candidates.length === 2 && candidates.includes('subscriber') && candidates.includes('console'))
    return 'subscriber'
  if (candidates.length > 1) {
    throw failure(
      'USAGE',
      `${file} could belong to several programs. Choose one: ${Object.keys(PROGRAMS)
        .map((it) => `--for ${it}`)
        .join(', ')}.`,
    )
  }
  return best?.name ?? 'device'
}
