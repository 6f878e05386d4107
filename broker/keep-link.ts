import { asFailure, type SightlineError } from '../lib/errors.ts'
import { type Log, throttled } from '../lib/log.ts'
import { type LinkOptions, MqttLink } from '../lib/mqtt/link.ts'
import { keepConnected } from '../lib/reconnect.ts'

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
  // By the time of the line there may be a connection again: what it says is what happened.
  let warnedOf: SightlineError | undefined
  const warn = throttled((count) => log.warn({ bridge, code: warnedOf?.code, count }, warnedOf?.message))
  const connect = async () => {
    const link = await MqttLink.open(linkOptions, signal)
    onFault(undefined)
    const connectedMs = performance.now()
    const fault = await serve(link).catch((error: unknown) => asFailure(error))
    return { fault, wasGood: performance.now() - connectedMs > reconnectMsMax }
  }
  await keepConnected(
    { delayMsMin: reconnectMsMin, delayMsMax: reconnectMsMax },
    signal,
    connect,
    (fault) => {
      warnedOf = asFailure(fault)
      onFault(warnedOf)
      warn()
    },
  )
}
