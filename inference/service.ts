import { packageVersion } from '../lib/version.ts'
import { BINARY_EXTENSION, BYTES_EXTENSION, type ServerMetadata } from '../wire/inference.ts'
import { RETRY_AFTER_S } from './limits.ts'
import type { Model } from './model.ts'
import { Refusal } from './refusal.ts'

/** What is asked of the server, over whichever protocol. */
export class InferenceService {
  readonly #models: ReadonlyMap<string, Model>
  readonly #bytesMax: number
  #bytes = 0
  #isDraining = false

  /** @param bytesMax of all requests that are under way */
  constructor(models: readonly Model[], bytesMax: number) {
    this.#models = new Map(models.map((model) => [model.name, model]))
    this.#bytesMax = bytesMax
  }

  get models(): Iterable<Model> {
    return this.#models.values()
  }

  get metadata(): ServerMetadata {
    return { name: 'sightline', version: packageVersion(), extensions: [BINARY_EXTENSION, BYTES_EXTENSION] }
  }

  get isReady(): boolean {
    return !this.#isDraining && [...this.#models.values()].every(({ isReady }) => isReady)
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  /** From now on nothing is taken; what is under way goes on. */
  drain(): void {
    this.#isDraining = true
  }

  get underWay(): number {
    return [...this.#models.values()].reduce((sum, { underWay }) => sum + underWay, 0)
  }

  /** @param version any, where absent. Errors: Refusal. */
  model(name: string, version?: string): Model {
    const model = this.#models.get(name)
    if (!model)
      throw new Refusal(
        'unknown',
        `There is no model ${JSON.stringify(name.slice(0, 100))} here. There are: ${[...this.#models.keys()].join(', ')}.`,
      )
    if (version !== undefined && version !== model.opened.version)
      throw new Refusal(
        'unknown',
        `The model ${name} is here in the version ${model.opened.version}, not ${JSON.stringify(version.slice(0, 100))}.`,
      )
    return model
  }

  /** Before a request is read. Errors: Refusal. */
  refuseWhileDraining(): void {
    if (this.#isDraining)
      throw new Refusal('away', 'The server ends. Ask another, or come again.', RETRY_AFTER_S)
  }

  /** Room for so many bytes, until it is disposed of. Errors: Refusal (busy). */
  hold(bytes: number): Disposable {
    if (this.#bytes + bytes > this.#bytesMax)
      throw new Refusal(
        'busy',
        'Requests that are under way take all the room there is. Come again.',
        RETRY_AFTER_S,
      )
    this.#bytes += bytes
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.#bytes -= bytes
        isHeld = false
      },
    }
  }
}
