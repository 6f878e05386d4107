import { Backoff, type BackoffOptions } from './backoff.ts'

export interface ConnectionEnd {
  /** Why it ended; undefined where it was to end. */
  readonly fault: Error | undefined
  /** It was of use: the next wait is the shortest again. */
  readonly wasGood: boolean
}

/**
 * One connection after the other until the signal is aborted: one that ends, however it ends, is followed by the next after
 * a jittered wait.
 * @param connect connects, uses the connection until it ends, and closes it. What it throws is a fault, and was no good
 * @param ended is told of each fault, and may throw it to give up
 */
export async function keepConnected(
  options: BackoffOptions,
  signal: AbortSignal,
  connect: (signal: AbortSignal) => Promise<ConnectionEnd>,
  ended: (fault: Error) => void,
): Promise<void> {
  const backoff = new Backoff(options)
  while (!signal.aborted) {
    const end = await connect(signal).catch((error: unknown): ConnectionEnd => {
      return { fault: error instanceof Error ? error : new Error(String(error)), wasGood: false }
    })
    if (end.wasGood) backoff.reset()
    if (signal.aborted) return
    if (end.fault) ended(end.fault)
    await backoff.wait(signal).catch(() => {})
  }
}
