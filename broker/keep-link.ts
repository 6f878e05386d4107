import { Backoff } from '../lib/backoff.ts'
import { asFailure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { type LinkOptions, MqttLink } from '../lib/mqtt/link.ts'

export interface KeepLinkOptions {
  readonly bridge: string
  readonly link: LinkOptions
  readonly reconnectMsMin: number
  readonly reconnectMsMax: number
  readonly log: Log
  /** What is wrong now; undefined where it is connected. */
  readonly onFault: (fault: SightlineError | undefined) => void
}

/**
 * One connection after the other to another broker, until the signal is aborted: one that ends, however it ends, is
 * followed by the next after a jittered wait.
 * @param serve uses a connection until it ends, and closes it. @returns why it ended, which it may also throw
 */
export async function keepLink(
  { bridge, link: linkOptions, reconnectMsMin, reconnectMsMax, log, onFault }: KeepLinkOptions,
  signal: AbortSignal,
  serve: (link: MqttLink) => Promise<SightlineError | undefined>,
): Promise<void> {
  const backoff = new Backoff({ delayMsMin: reconnectMsMin, delayMsMax: reconnectMsMax })
  // By the time of the line there may be a connection again: what it says is what happened.
  let warnedOf: SightlineError | undefined
  const warn = throttled((count) => log.warn({ bridge, code: warnedOf?.code, count }, warnedOf?.message))
  while (!signal.aborted) {
    try {
      const link = await MqttLink.open(linkOptions, signal)
      onFault(undefined)
      const connectedMs = performance.now()
      const fault = await serve(link)
      if (performance.now() - connectedMs > reconnectMsMax) backoff.reset()
      if (fault) throw fault
    } catch (error) {
      if (signal.aborted) return
      warnedOf = asFailure(error)
      onFault(warnedOf)
      warn()
    }
    await backoff.wait(signal).catch(() => {})
  }
}
