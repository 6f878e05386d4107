/**
 * Every error a user can meet has a stable code, a sentence that says what to do, and the cause.
 * The exit status follows from the code (the numbers of sysexits.h, so that scripts and service managers
 * can tell "fix the configuration" from "try again later").
 */
const EXIT_STATUS_BY_CODE = {
  // how the program was called
  USAGE: 64,
  // configuration
  CONFIG_NOT_FOUND: 66,
  CONFIG_SYNTAX: 78,
  CONFIG_INVALID: 78,
  CONFIG_UNSAFE_LISTENER: 78,
  // users
  USERS_NOT_FOUND: 66,
  USER_UNKNOWN: 67,
  USER_EXISTS: 65,
  LAST_ADMIN: 73,
  // streams that come to a device
  STREAM_UNKNOWN: 67,
  STREAM_EXISTS: 65,
  // people, in the console
  NOT_SIGNED_IN: 77,
  PASSWORD_WRONG: 77,
  CROSS_SITE: 77,
  OPENID_UNREACHABLE: 69,
  OPENID_REFUSED: 77,
  NOT_FOUND: 66,
  REVISION_CHANGED: 75,
  SCENARIO_INVALID: 65,
  CAMERA_OFFLINE: 69,
  NOT_CONFIRMED: 75,
  FORGET_FAILED: 70,
  KEEP_FAILED: 70,
  RECORDING_CHANGES: 65,
  RECORDING_TOO_LONG: 65,
  RECORDING_UNREADABLE: 65,
  // rules
  EXPRESSION_INVALID: 65,
  // certificates
  CERTIFICATE_NOT_FOUND: 66,
  CERTIFICATE_UNUSABLE: 65,
  FILE_EXISTS: 73,
  // the console's pages
  PAGES_NOT_BUILT: 69,
  // inputs
  SOURCE_NOT_FOUND: 66,
  SOURCE_UNREADABLE: 65,
  SOURCE_UNAVAILABLE: 69,
  RECORD_FAILED: 74,
  MODEL_NOT_FOUND: 66,
  MODEL_UNUSABLE: 65,
  PROVIDER_UNAVAILABLE: 69,
  CHECKSUM_WRONG: 65,
  // inference elsewhere: nobody answers, in time, or something else than an answer
  INFERENCE_UNAVAILABLE: 69,
  INFERENCE_LATE: 75,
  INFERENCE_WRONG: 76,
  // plugins and classifiers
  PLUGIN_NOT_FOUND: 66,
  PLUGIN_UNUSABLE: 65,
  PROCESSOR_FAILED: 70,
  PROCESSOR_LATE: 75,
  DOWNLOAD_FAILED: 69,
  // what is written to
  FOLDER_UNWRITABLE: 73,
  DISK_FULL: 74,
  STORE_NOT_FOUND: 66,
  STORE_LOCKED: 75,
  STORE_NEWER: 78,
  STORE_CORRUPT: 74,
  STORE_DAMAGED: 74,
  STORE_IO: 74,
  QUEUE_FULL: 75,
  QUEUE_MISSING: 78,
  // network
  PORT_TAKEN: 69,
  PORT_DENIED: 77,
  BROKER_UNREACHABLE: 69,
  BROKER_REFUSED: 77,
  BROKER_PROTOCOL: 76,
  // bucket
  BUCKET_NOT_FOUND: 66,
  BUCKET_DENIED: 77,
  BUCKET_UNREACHABLE: 69,
  BUCKET_REFUSED: 70,
  CROP_NOT_FOUND: 66,
  QUEUE_NOT_FOUND: 66,
  MESSAGE_NOT_FOUND: 66,
  // the console's database
  DATABASE_NOT_FOUND: 66,
  DATABASE_DENIED: 77,
  DATABASE_UNREACHABLE: 69,
  DATABASE_TIMEOUT: 75,
  DATABASE_BUSY: 75,
  DATABASE_NEWER: 78,
  DATABASE_DAMAGED: 74,
  DATABASE_REFUSED: 70,
  // messages
  CROP_INVALID: 65,
  PAYLOAD_TOO_LARGE: 65,
  TOPIC_INVALID: 65,
  NAME_INVALID: 65,
  KEEP_INVALID: 65,
  NAME_TAKEN: 77,
  NOT_ALLOWED: 77,
  // what a device is told to be
  DESIRED_INVALID: 65,
  DESIRED_OLD: 65,
  DESIRED_AHEAD: 65,
  DESIRED_ENDED_AGENT: 70,
  DESIRED_UNSIGNED: 77,
  SETTING_UNKNOWN: 65,
  ADDRESS_NOT_ALLOWED: 77,
  TOO_MANY: 75,
  TOO_MANY_VIEWERS: 75,
  PARAMETER_INVALID: 65,
  RETAINED_FULL: 75,
  // containers
  ENGINE_UNREACHABLE: 69,
  ENGINE_DENIED: 77,
  ENGINE_UNSUITABLE: 69,
  ENGINE_REFUSED: 70,
  HOST_KEY_UNKNOWN: 77,
  IMAGE_NOT_FOUND: 66,
  IMAGE_UNUSABLE: 65,
  BUILD_FAILED: 70,
  DEPLOYMENT_NOT_FOUND: 66,
  DEPLOYMENT_CONFLICT: 73,
  DEPLOYMENT_UNHEALTHY: 70,
  ROLLED_BACK: 70,
  INTERRUPTED: 75,
  // running
  BOOKS_UNBALANCED: 70,
  DRAIN_TIMEOUT: 75,
  PROGRAM_GONE: 75,
  PROGRAM_HUNG: 75,
  RUNTIME_TOO_OLD: 69,
  NOT_INCLUDED: 69,
  UNEXPECTED: 70,
} as const

export type ErrorCode = keyof typeof EXIT_STATUS_BY_CODE

export class SightlineError extends Error {
  override readonly name = 'SightlineError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(printable(message), options)
    this.code = code
  }

  get exitStatus(): number {
    return EXIT_STATUS_BY_CODE[this.code]
  }
}

/**
 * Without what a terminal would take for an order, or a reader for another text than it is: control characters (line
 * ends stay) and marks that turn the direction of writing. For whatever holds names from outside.
 */
export function printable(text: string): string {
  return text.replace(
    /[^\P{Cc}\n]|[\u2028-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The same as `new SightlineError(...)`, short enough for the line that finds the fault. */
export function failure(code: ErrorCode, message: string, cause?: unknown): SightlineError {
  return new SightlineError(code, message, cause === undefined ? undefined : { cause })
}

/** Anything thrown, as an error of ours. What was not foreseen keeps its message and becomes the cause. */
export function asFailure(error: unknown): SightlineError {
  if (error instanceof SightlineError) return error
  const message = error instanceof Error ? error.message : String(error)
  return failure('UNEXPECTED', `Unexpected error: ${message}`, error)
}

/** An error that another process told of, by its code and its sentence. */
export function failureOf(code: string, message: string): SightlineError {
  return failure(Object.hasOwn(EXIT_STATUS_BY_CODE, code) ? (code as ErrorCode) : 'UNEXPECTED', message)
}

/** The code of a system error (`EADDRINUSE`, `ENOENT`, ...), where there is one. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
