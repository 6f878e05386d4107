import { InferenceFault } from '../wire/inference.ts'

/** Why a request gets no tensors, as the client is told: by HTTP and by gRPC. */
const KINDS = {
  /** It is not as the protocol, or the model, wants it. */
  wrong: { http: 400, grpc: 3 },
  tooLarge: { http: 413, grpc: 3 },
  unknown: { http: 404, grpc: 5 },
  stranger: { http: 401, grpc: 16 },
  tooManyFailures: { http: 429, grpc: 8 },
  /** More waits than may: come again. */
  busy: { http: 503, grpc: 8 },
  /** The model, or the server, does not run at the moment: come again, or ask another. */
  away: { http: 503, grpc: 14 },
  failed: { http: 500, grpc: 13 },
  /** Nobody waits for the answer any longer. */
  gone: { http: 499, grpc: 1 },
} as const
export type RefusalKind = keyof typeof KINDS

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly kind: RefusalKind
  /** When to come again, s. */
  readonly retryAfterS: number | undefined

  constructor(kind: RefusalKind, message: string, retryAfterS?: number) {
    super(message)
    this.kind = kind
    this.retryAfterS = retryAfterS
  }

  get httpStatus(): number {
    return KINDS[this.kind].http
  }

  get grpcStatus(): number {
    return KINDS[this.kind].grpc
  }
}

/** Anything thrown while a request is answered. What was not foreseen says nothing of itself to the client. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  if (error instanceof InferenceFault)
    return new Refusal(error.kind === 'tooLarge' ? 'tooLarge' : 'wrong', error.message)
  return new Refusal('failed', 'Unexpected error. See the server’s log.')
}

export const isForeseen = (error: unknown): boolean =>
  error instanceof Refusal || error instanceof InferenceFault
