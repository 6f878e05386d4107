import { isLoopback } from '../http/server.ts'
import type { Log } from '../log.ts'

/** At the start of a client: a password that everyone on the way can read. */
export function warnOfOpenPassword(
  log: Log,
  { url, password }: { readonly url: string; readonly password: string | undefined },
): void {
  if (password === undefined || !URL.canParse(url)) return
  const { protocol, hostname } = new URL(url)
  if ((protocol !== 'mqtt:' && protocol !== 'ws:') || isLoopback(hostname.replace(/^\[|\]$/g, ''))) return
  log.warn(
    { url: `${protocol}//${hostname}` },
    `the password and every crop cross the network to ${hostname} unencrypted: use ${protocol === 'mqtt:' ? 'mqtts' : 'wss'}://`,
  )
}
