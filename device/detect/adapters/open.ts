import { encodeJpeg } from '../../faces/crop.ts'
import { ADAPTER_INPUT, ADAPTER_JPEG_QUALITY, ADAPTER_PROBE } from '../../limits.ts'
import type { Detection, Detector, Input, Picture } from '../detector.ts'
import type { Size } from '../head.ts'
import { type PoolOptions, WorkerPool } from '../remote/pool.ts'
import type { DetectionApi } from './api.ts'
import { codeproject } from './codeproject.ts'
import { compreface } from './compreface.ts'
import { ApiServer, type ApiServerOptions, type Sent } from './server.ts'

/** By the names of `detect.runtime`. */
export const APIS = { compreface, codeproject } as const satisfies Record<string, DetectionApi>
export type ApiName = keyof typeof APIS

export interface ApiDetectorOptions
  extends Omit<PoolOptions<Sent, Detection[]>, 'servers'>,
    Pick<ApiServerOptions, 'token' | 'credentials'> {
  readonly name: ApiName
  /** http or https. */
  readonly addresses: readonly string[]
  /** Pictures are sent at most this large, pixels. */
  readonly inputSize?: Size
  /** 0 to 1; the product's own where absent. */
  readonly scoreMin?: number
  /** A part of `scoreMin`: doubtful faces down to it are asked for too. Default 1. */
  readonly scoreLow?: number
}

/**
 * A detector that sends frames, as JPEG, to a product's servers, and takes the faces that they find.
 * `detect` fails as WorkerPool.run does. That no server can be asked now is no error.
 */
export class ApiDetector implements Detector {
  readonly model: ApiName
  readonly runtime: string
  readonly input: Input
  readonly scoreMin: number
  readonly pool: WorkerPool<Sent, Detection[]>
  readonly #servers: readonly ApiServer[]

  private constructor(
    { name, inputSize = ADAPTER_INPUT }: ApiDetectorOptions,
    scoreMin: number,
    servers: readonly ApiServer[],
    pool: WorkerPool<Sent, Detection[]>,
  ) {
    this.model = name
    this.runtime = `${APIS[name].product} at ${servers.map(({ address }) => address).join(', ')}`
    this.input = { ...inputSize, fit: 'letterbox' }
    this.scoreMin = scoreMin
    this.pool = pool
    this.#servers = servers
  }

  static async open(options: ApiDetectorOptions): Promise<ApiDetector> {
    const { name, addresses, inFlight, token, credentials, scoreLow = 1 } = options
    const api = APIS[name]
    const scoreMin = options.scoreMin ?? api.scoreMinDefault
    const probe = await sent({
      ...ADAPTER_PROBE,
      data: new Uint8Array(ADAPTER_PROBE.width * ADAPTER_PROBE.height * 3),
    })
    const servers = addresses.map(
      (url) =>
        new ApiServer({ api, url, token, credentials, inFlight, probe, scoreFloor: scoreMin * scoreLow }),
    )
    return new ApiDetector(options, scoreMin, servers, await WorkerPool.open({ ...options, servers }))
  }

  async detect(picture: Picture): Promise<Detection[]> {
    const { data, width, height } = picture
    if (width > this.input.width || height > this.input.height)
      throw new RangeError(
        `a picture of ${width}x${height} does not fit the detector's input of ${this.input.width}x${this.input.height}`,
      )
    if (!(width > 0 && height > 0 && data.length === width * height * 3))
      throw new RangeError(`${data.length} bytes are not an RGB picture of ${width}x${height}`)
    return await this.pool.run(await sent(picture))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool[Symbol.asyncDispose]()
    for (const server of this.#servers) server[Symbol.dispose]()
  }
}

/** A copy of the picture, too: it may be reused while servers are asked. */
async function sent({ data, width, height }: Picture): Promise<Sent> {
  const jpeg = await encodeJpeg(
    data,
    { width, height },
    { quality: ADAPTER_JPEG_QUALITY, sizeMax: Math.max(width, height) },
  )
  return { jpeg, width, height }
}
