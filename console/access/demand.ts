import { failure } from '../../lib/errors.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import { isInScope, may, type Person, type Right } from './may.ts'

/**
 * Refuses. What somebody may not see does not exist for him: a camera out of his scope gets the answer of one that there is
 * not. Errors: NOT_ALLOWED, NOT_FOUND
 */
export function demand(person: Person, right: Right, camera?: CameraAddress): void {
  if (!may(person, right))
    throw failure('NOT_ALLOWED', `This needs the right "${right}", which ${person.name} does not have here.`)
  if (camera !== undefined && !isInScope(person.scope, camera)) throw notFound()
}

export const notFound = () => failure('NOT_FOUND', 'There is nothing here, or nothing that you may see.')
