import { loadConfig } from '../lib/config.ts'
import { ready } from '../lib/launcher.ts'
import { openLog } from '../lib/log.ts'
import { openMetrics } from '../lib/metrics.ts'
import { aborted, type RunOptions, runFromCommandLine, runService } from '../lib/service.ts'
import { misspeltIn } from '../lib/variables.ts'
import { checkInferenceConfig, inferenceSchema } from './config.ts'
import { InferenceServer } from './server.ts'

/** Models of the catalogue for other machines, by the Open Inference Protocol. @returns the exit status */
export async function runInference(options: RunOptions): Promise<number> {
  // ONNX Runtime reports to Microsoft unless this is set by the time it is loaded. It must be this thread that sets it.
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  const config = loadConfig(inferenceSchema, {
    file: options.config,
    env: process.env,
    overrides: options.overrides,
  })
  checkInferenceConfig(config)
  const log = openLog('inference', config.log.level)
  for (const sentence of misspeltIn(inferenceSchema, process.env)) log.warn(sentence)
  return runService({ log, drainMsMax: config.drain.deadline }, async (signal) => {
    await using server = await InferenceServer.open(config, openMetrics('inference'), log)
    const { rest, grpc, http, service } = server
    log.info(
      {
        rest: rest.url,
        ...(grpc && { grpc: grpc.url }),
        http: http.url,
        models: [...service.models].map(({ name }) => name),
      },
      'inference ready',
    )
    ready()
    await aborted(signal)
    await server.drain()
  })
}

if (import.meta.main) process.exitCode = await runFromCommandLine(runInference)
