import { type BrokerConfig, brokerSchema, checkBrokerConfig } from '../../broker/config.ts'
import {
  checkSubscriberConfig,
  type SubscriberConfig,
  subscriberSchema,
} from '../../cloud-subscriber/config.ts'
import { programOf } from '../../configurations.ts'
import { type ConsoleConfig, checkConsoleConfig, consoleSchema } from '../../console/config.ts'
import { checkDeviceConfig, type DeviceConfig, deviceSchema } from '../../device/config.ts'
import { checkInferenceConfig, type InferenceConfig, inferenceSchema } from '../../inference/config.ts'
import { loadConfig } from '../../lib/config.ts'

/** A configuration file and whose it is. */
export type Configuration = { readonly file: string } & (
  | { readonly program: 'device'; readonly config: DeviceConfig }
  | { readonly program: 'broker'; readonly config: BrokerConfig }
  | { readonly program: 'subscriber'; readonly config: SubscriberConfig }
  | { readonly program: 'console'; readonly config: ConsoleConfig }
  | { readonly program: 'inference'; readonly config: InferenceConfig }
)

/** Errors: those of loadConfig, CONFIG_UNSAFE_LISTENER, USAGE. */
export function loadConfiguration(file: string, env: NodeJS.ProcessEnv | undefined): Configuration {
  switch (programOf(file)) {
    case 'broker': {
      const config = loadConfig(brokerSchema, { file, env })
      checkBrokerConfig(config)
      return { file, program: 'broker', config }
    }
    case 'subscriber': {
      const config = loadConfig(subscriberSchema, { file, env })
      checkSubscriberConfig(config)
      return { file, program: 'subscriber', config }
    }
    case 'console': {
      const config = loadConfig(consoleSchema, { file, env })
      checkConsoleConfig(config)
      return { file, program: 'console', config }
    }
    case 'inference': {
      const config = loadConfig(inferenceSchema, { file, env })
      checkInferenceConfig(config)
      return { file, program: 'inference', config }
    }
    default: {
      const config = loadConfig(deviceSchema, { file, env })
      checkDeviceConfig(config)
      return { file, program: 'device', config }
    }
  }
}

/** As its metrics name it. */
export function nameOf({ program, config }: Configuration): string {
  return program === 'device' || program === 'inference' ? program : config.name
}
