import type { FastifyRequest } from 'fastify'
import type { Access, Caller } from '../access/access.ts'
import type { Scope } from '../access/may.ts'
import type { Scope as RowScope } from '../database/scope.ts'

export interface Asked extends Caller {
  /** What of the database is seen. */
  readonly rows: RowScope
}

/** Who asks. Errors: NOT_SIGNED_IN */
export function asked(access: Access, request: FastifyRequest): Asked {
  const caller = access.caller(request)
  return { ...caller, rows: rowsOf(caller.person.scope) }
}

export const rowsOf = (scope: Scope): RowScope =>
  scope.all ? scope : { all: false, sites: [...scope.sites], cameras: [...scope.cameras] }
