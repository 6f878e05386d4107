import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Kysely } from 'kysely'
import type { Log } from '../../lib/log.ts'
import type { CameraAddress } from '../../wire/topics.ts'
import type { ConsoleConfig } from '../config.ts'
import type { AccessTables } from '../database/access-tables.ts'
import type { Person, Right } from './may.ts'

export interface AccessOptions {
  readonly config: ConsoleConfig
  readonly kysely: Kysely<AccessTables>
  readonly log: Log
  /** Whoever has it is the administrator "demo" for this run. */
  readonly runToken?: string
}

/** Somebody who asks, and by what he has shown who he is. */
export interface Caller {
  readonly person: Person
  readonly by: 'session' | 'token' | 'run'
  /** Of the session or the token; no secret. */
  readonly id: string
  readonly address: string
}

/** What an audit entry says beside who and when. */
export interface Deed {
  /** Such as `recording.view`, `camera.command`, `export`, `forget`. */
  readonly what: string
  readonly target?: string
  readonly detail?: Readonly<Record<string, unknown>>
}

/** Ends when what it was opened with does not hold any more. */
export interface Hold extends Disposable {
  readonly signal: AbortSignal
}

/** The shape that routes ask; `Access.open` in this file makes it. */
export interface AccessShape {
  /** From then on each route of the app needs a caller, but those with `config: { isOpen: true }`. Before the routes. */
  guard(app: FastifyInstance): Promise<void>
  /** Errors: NOT_SIGNED_IN */
  caller(request: FastifyRequest): Caller
  /** For a stream: until the session or token ends, or the right (to that camera) is gone. */
  hold(caller: Caller, right: Right, camera?: CameraAddress): Hold
  /** Throws where it could not be written: then what it tells of must not happen. */
  record(caller: Caller, deed: Deed): Promise<void>
}
