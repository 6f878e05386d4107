import { failure } from '../../lib/errors.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { Caller } from './access.ts'
import { isInScope, may, type Person, type Right } from './may.ts'

/**
 * Refuses. What somebody may not see does not exist for him: a camera out of his scope gets the answer of one that there is
 * not. Errors: NOT_ALLOWED, NOT_FOUND
 */
export function demand(person: Person, right: Right, camera?: CameraAddress): void {
  if (!may(person, right))
    throw failure('NOT_ALLOWED', `This needs the right "${right}", which ${person.name} does not have.`)
  if (camera !== undefined && !isInScope(person.scope, camera)) throw notFound()
}

/** What decides who may what is a person's to do: a token that could would be worth more than it says. Errors: NOT_ALLOWED */
export function demandPresence({ by }: Caller): void {
  if (by === 'token') throw failure('NOT_ALLOWED', 'Sign in to do this: a token cannot.')
}

export const notFound = () => failure('NOT_FOUND', 'There is nothing here, or nothing that you may see.')
