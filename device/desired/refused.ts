import { type ErrorCode, SightlineError } from '../../lib/errors.ts'

export type Path = readonly (string | number)[]

/** Why a configuration is not taken, and over which of its settings. */
export class Refused extends SightlineError {
  readonly path: Path

  constructor(code: ErrorCode, message: string, path: Path = [], cause?: unknown) {
    super(code, message, { cause })
    this.path = path
  }

  /** What failed over a setting. */
  static at(path: Path, error: SightlineError): Refused {
    return error instanceof Refused ? error : new Refused(error.code, error.message, path, error)
  }
}

/** For people. */
export const said = (path: Path) => path.map(String).join('.')
