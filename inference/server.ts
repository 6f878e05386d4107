import { HttpServer } from '../lib/http/server.ts'
import type { Log } from '../lib/log.ts'
import type { Registry } from '../lib/metrics.ts'
import type { InferenceConfig, ModelConfig } from './config.ts'
import { GrpcListener } from './grpc.ts'
import { openMeters } from './meters.ts'
import { Model } from './model.ts'
import { RestListener } from './rest.ts'
import { InferenceService } from './service.ts'
import { Tokens } from './tokens.ts'

/** Models, and the listeners through which they are asked. */
export class InferenceServer implements AsyncDisposable {
  readonly service: InferenceService
  readonly rest: RestListener
  readonly grpc: GrpcListener | undefined
  readonly http: HttpServer
  readonly #opened: AsyncDisposableStack

  private constructor(
    parts: {
      readonly service: InferenceService
      readonly rest: RestListener
      readonly grpc: GrpcListener | undefined
      readonly http: HttpServer
    },
    opened: AsyncDisposableStack,
  ) {
    this.service = parts.service
    this.rest = parts.rest
    this.grpc = parts.grpc
    this.http = parts.http
    this.#opened = opened
  }

  /** Errors: those of the models, PORT_TAKEN, PORT_DENIED, CONFIG_INVALID, CONFIG_UNSAFE_LISTENER. */
  static async open(config: InferenceConfig, registry: Registry, log: Log): Promise<InferenceServer> {
    await using opened = new AsyncDisposableStack()
    const models: Model[] = []
    const meters = openMeters(registry, () => models)
    const tokens = Tokens.read(config, log)
    // One after the other: what is measured at a start must have the machine for itself.
    for (const model of config.models) {
      const it = opened.use(
        await Model.open({
          options: optionsOf(config, model),
          config: model,
          waitMsMax: config.waitMax,
          payloadBytesMax: config.payloadMax,
          valuesMax: config.valuesMax,
          meters,
          log,
        }),
      )
      models.push(it)
      const { name, version, description, batches, measured } = it.opened
      log.info(
        { model: name, version, runtime: description, batches, ...(measured && { measured }) },
        'model opened',
      )
    }
    const service = new InferenceService(models, config.waitingBytesMax)
    const http = opened.use(
      await HttpServer.open({ ...config.http, log, metrics: registry, health: () => healthOf(service) }),
    )
    const listener = { service, tokens, payloadBytesMax: config.payloadMax, meters, log }
    const grpc = config.grpc && opened.use(await GrpcListener.open({ ...listener, config: config.grpc }))
    const rest = opened.use(await RestListener.open({ ...listener, config: config.rest }))
    return new InferenceServer({ service, rest, grpc, http }, opened.move())
  }

  /** Takes nothing new, and answers what it has taken. */
  async drain(): Promise<void> {
    this.service.drain()
    await Promise.all([this.rest.drain(), this.grpc?.drain()])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened[Symbol.asyncDispose]()
  }
}

const optionsOf = (config: InferenceConfig, { model, runtime, provider, threads }: ModelConfig) => ({
  model,
  modelFolder: config.modelFolder,
  catalog: config.catalog,
  runtime,
  provider,
  threads,
})

function healthOf(service: InferenceService) {
  const models = [...service.models]
  return {
    ok: service.isReady,
    checks: {
      ...(service.isDraining && { server: 'ends' }),
      ...Object.fromEntries(
        models.map((it) => [
          `model ${it.name}`,
          it.isReady ? `ready; ${it.waiting} waiting` : 'its thread has ended, and is opened again',
        ]),
      ),
    },
  }
}
