import { callProgram, type Handlers } from '../lib/control.ts'
import { failure } from '../lib/errors.ts'
import { Store } from '../store/store.ts'
import { assertStore } from '../store/view.ts'

/**
 * Acts on a store: the program that holds it does it, and where none runs, this one does it with the same handler.
 * @returns what the handler yields. Errors: STORE_NOT_FOUND, STORE_LOCKED, those of `callProgram` and of the handler
 */
export async function* actOnStore(
  folder: string,
  command: string,
  args: unknown,
  handlersOf: (store: Store) => Handlers,
): AsyncGenerator<unknown> {
  assertStore(folder)
  const answer = await callProgram(folder, command, args)
  if (answer) {
    yield* answer
    return
  }
  await using store = await Store.open({ folder })
  const handler = handlersOf(store)[command]
  if (!handler)
    throw failure('USAGE', `The program that owns the store ${folder} does not support "${command}".`)
  yield* handler(args, new AbortController().signal)
}
