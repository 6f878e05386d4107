import type { Signature } from './head.ts'

/** A network that can be run: bytes of numbers in, bytes of numbers out. */
export interface Runtime extends Signature, AsyncDisposable {
  /** For people: "ONNX Runtime 1.30.0, CPU, 2 threads". */
  readonly description: string
  /** One input tensor, float32; the outputs by name. The input may be reused once this has resolved. */
  run(input: Float32Array, shape: readonly number[]): Promise<ReadonlyMap<string, Float32Array>>
}
