import { isDeepStrictEqual } from 'node:util'
import { failure } from '../../../lib/errors.ts'
import type { Located } from '../../../models/locate.ts'
import type { Runtime, Signature, Tensors } from '../../../models/runtime.ts'
import type { Detection, Detector, Input, Picture } from '../detector.ts'
import type { Head } from '../head.ts'
import { type DetectorOptions, FaceDetector, partsOf } from '../open.ts'
import { fitted } from './fitted.ts'
import type { WorkerPool } from './pool.ts'
import type { Ask, Expected, InferenceServer } from './server.ts'

export interface LooksOptions extends Pick<DetectorOptions, 'head' | 'inputSize' | 'scoreMin' | 'scoreLow'> {
  /** As the servers call it, and what its catalogue entry says of it. */
  readonly model: Pick<Located, 'name' | 'label' | 'head' | 'scoreMin' | 'inputSize'>
  /** Looks under way at a time; further ones are late at once. */
  readonly looksMax: number
}

type Pool = Pick<WorkerPool<Ask, Tensors>, 'run' | 'states' | 'trouble'>

/** What the servers serve at the moment. */
interface Served {
  readonly signature: Signature
  readonly head: Head
  readonly detector: FaceDetector
  looker: Pick<Detector, 'detect'>
  /** Those that said so. */
  readonly servers: Set<InferenceServer>
}

/**
 * A face detector whose network runs on servers. What kind it is, is known once one of them has been ready; the others must
 * serve the same. Where none does any more, another takes its place.
 */
export class RemoteLooks implements Expected {
  readonly #options: LooksOptions
  #pool: Pool | undefined
  #served: Served | undefined
  #input: Input | undefined
  #underWay = 0

  constructor(options: LooksOptions) {
    this.#options = options
  }

  /** By which the servers are asked. */
  set pool(pool: Pool) {
    this.#pool = pool
  }

  /** What the first server has, or undefined where none has been ready. */
  get detector(): Pick<Detector, 'input' | 'scoreMin'> | undefined {
    return this.#served?.detector
  }

  /** What pictures are made for, from now on. */
  set input(input: Input) {
    this.#input = input
    if (this.#served) this.#served.looker = fitted(this.#served.detector, input)
  }

  accept(signature: Signature, server: InferenceServer): void {
    const served = this.#served
    if (served && isDeepStrictEqual(signature, served.signature)) {
      served.servers.add(server)
      return
    }
    const { model } = this.#options
    const input = this.#input
    const size = input && { width: input.width, height: input.height }
    const parts = this.#partsOf(signature, size)
    const others = [...(served?.servers ?? [])].filter((it) => it !== server && this.#isUp(it))
    if (others.length > 0)
      throw failure(
        'INFERENCE_WRONG',
        `The inference server ${server.address} serves another model under the name ${model.name} than ${others[0]?.address}: with other inputs or outputs. Serve the same on all.`,
      )
    const { size: _, ...rest } = parts
    const detector = new FaceDetector({ ...rest, runtime: this.#runtime(signature) })
    this.#served = {
      signature,
      head: parts.head,
      detector,
      looker: input ? fitted(detector, input) : detector,
      servers: new Set([server]),
    }
  }

  /** At the size of the device's pictures where the model takes it, at its own else. */
  #partsOf(signature: Signature, size: LooksOptions['inputSize']) {
    const { model, inputSize } = this.#options
    const wanted = size ?? inputSize
    try {
      return partsOf(signature, model, { ...this.#options, inputSize: wanted })
    } catch (error) {
      if (wanted === undefined) throw error
      return partsOf(
        signature,
        { ...model, inputSize: undefined },
        { ...this.#options, inputSize: undefined },
      )
    }
  }

  #isUp({ address }: InferenceServer): boolean {
    return this.#pool?.states.some((it) => it.address === address && it.isUp) ?? true
  }

  #runtime(signature: Signature): Runtime {
    return {
      ...signature,
      description: 'inference servers',
      concurrency: this.#options.looksMax,
      takesBytes: true, // servers that take floats get floats
      run: async (inputs, bytes) => await (this.#pool as Pool).run({ inputs, bytes }),
      async [Symbol.asyncDispose]() {},
    }
  }

  verify(outputs: Tensors, { inputs }: Ask): void {
    const head = this.#served?.head
    const shape = [...inputs.values()][0]?.shape ?? []
    const [height = 0, width = 0] = head?.format.layout === 'nchw' ? shape.slice(2) : shape.slice(1)
    head?.decode(outputs, { width, height }, 1)
  }

  /** Errors: those of WorkerPool.run. */
  async detect(picture: Picture): Promise<Detection[]> {
    const served = this.#served
    if (!served)
      throw failure('INFERENCE_UNAVAILABLE', this.#pool?.trouble ?? 'No inference server was ready yet.')
    if (this.#underWay >= this.#options.looksMax)
      throw failure('INFERENCE_LATE', 'All inference servers are busy, and as many frames wait already.')
    this.#underWay += 1
    try {
      const faces = await served.looker.detect(picture)
      if (faces.every(({ box, score }) => Number.isFinite(score) && box.every(Number.isFinite))) return faces
      throw failure('INFERENCE_WRONG', 'The inference servers find faces that are nowhere.')
    } finally {
      this.#underWay -= 1
    }
  }
}
