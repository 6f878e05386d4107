import { fileURLToPath } from 'node:url'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { PROTO_OPTIONS, PROTO_SERVICE } from '../wire/inference.ts'

/** The methods of the Open Inference Protocol's service, by name: of the file that says what its messages are. */
export function inferenceService(): ServiceDefinition {
  const file = fileURLToPath(new URL('../wire/inference.proto', import.meta.url))
  return loadSync(file, PROTO_OPTIONS)[PROTO_SERVICE] as unknown as ServiceDefinition
}
