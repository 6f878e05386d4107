import type { Registry } from 'prom-client'
import type { Log } from '../../lib/log.ts'
import { counter } from '../../lib/metrics.ts'
import type { DeviceConfig } from '../config.ts'
import { Streams } from './streams.ts'

export interface ListenersOptions {
  readonly config: Pick<DeviceConfig, 'listen'>
  /** Names of cameras that no stream may have; may change. */
  readonly taken: ReadonlySet<string>
  readonly registry: Registry
  readonly log: Log
}

/** What listens for cameras that come to this device, and the streams that it lets in. */
export class Listeners implements AsyncDisposable {
  readonly streams: Streams
  readonly #options: ListenersOptions
  readonly #open = new AsyncDisposableStack()
  readonly #refused: (protocol: string) => (why: string) => void

  constructor(options: ListenersOptions, streams: Streams) {
    this.#options = options
    this.streams = streams
    const refused = counter(options.registry, 'publishers_refused_total', 'Publishers not let in', [
      'protocol',
      'reason',
    ])
    this.#refused = (protocol) => (reason) => refused.inc({ protocol, reason })
  }

  /** From now on publishers may come. Errors: PORT_TAKEN, PORT_DENIED, CONFIG_INVALID (a certificate). */
  async listen(): Promise<void> {
    const { config, log } = this.#options
    const { rtmp, whip, http } = config.listen
    const parts = { doorkeeper: this.streams, log }
    if (rtmp) {
      const { RtmpServer } = await import('./rtmp/server.ts')
      const server = await RtmpServer.open({ ...rtmp, ...parts, refused: this.#refused('rtmp') })
      this.#open.use(server)
      log.info({ url: server.url }, 'takes streams by RTMP')
    }
    if (whip) {
      const { Whip } = await import('./whip.ts')
      const metrics = this.#options.registry
      const server = await Whip.open({ ...whip, ...parts, metrics, refused: this.#refused('whip') })
      this.#open.use(server)
      log.info({ url: `${server.url}/whip`, page: server.url }, 'takes streams by WHIP')
    }
    if (http) {
      const { PictureServer } = await import('./pictures.ts')
      const server = await PictureServer.open({ ...http, ...parts, refused: this.#refused('http') })
      this.#open.use(server)
      log.info({ url: server.url }, 'takes pictures by HTTP')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#open[Symbol.asyncDispose]()
    await this.streams[Symbol.asyncDispose]()
  }
}

/** Undefined where nothing comes to this device. Errors: those of readStreams. */
export async function openListeners(options: ListenersOptions): Promise<Listeners | undefined> {
  const { listen } = options.config
  if (listen.streamsFile === undefined) return undefined
  const streams = await Streams.open({
    file: listen.streamsFile,
    taken: options.taken,
    graceMs: listen.grace,
    log: options.log,
  })
  return new Listeners(options, streams)
}
