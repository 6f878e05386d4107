import { failure, type SightlineError } from '../../../lib/errors.ts'
import type { SqliteFault } from './thread.ts'

/** Result codes (sqlite.org/rescode.html); the lower 8 bits of an extended one. */
const PERM = 3
const BUSY = 5
const LOCKED = 6
const READONLY = 8
const IOERR = 10
const CORRUPT = 11
const FULL = 13
const CANTOPEN = 14
const AUTH = 23
const NOTADB = 26

/** What SQLite said of a file, as an error of ours. */
export function sqliteFailure(file: string, error: unknown): SightlineError {
  const { message, errcode } = error as SqliteFault
  const cause = error instanceof Error ? error : new Error(message)
  switch (errcode === undefined ? undefined : errcode & 0xff) {
    case CORRUPT:
    case NOTADB:
      return failure(
        'DATABASE_DAMAGED',
        `The database ${file} is damaged (${message}). Start the console again: it moves the file aside and makes a new one.`,
        cause,
      )
    case FULL:
      return failure(
        'DISK_FULL',
        `The disk of ${file} is full. Free some space; indexing then resumes.`,
        cause,
      )
    case PERM:
    case READONLY:
    case CANTOPEN:
    case AUTH:
      return failure(
        'DATABASE_DENIED',
        `This user may not write the database ${file} (${message}). Change the owner of the file and its folder, or name another under "database.path".`,
        cause,
      )
    case BUSY:
    case LOCKED:
      return failure('DATABASE_BUSY', `Another program is writing ${file}. Try again.`, cause)
    case IOERR:
      return failure('DATABASE_UNREACHABLE', `The disk of ${file} failed: ${message}`, cause)
    default:
      return failure('DATABASE_REFUSED', `The database ${file}: ${message}`, cause)
  }
}
