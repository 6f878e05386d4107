import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import { Readable } from 'node:stream'
import type { Fetch } from '../../lib/download.ts'
import { failure } from '../../lib/errors.ts'
import type { Networks } from './networks.ts'

/** Those who serve files send to where these lie: so many times. */
const REDIRECTS_MAX = 5

/**
 * Asks an address that somebody named from afar, and where that sends to: each is judged before it is called, and connected to is
 * what was judged, so that a name that answers otherwise the second time gains nothing. Only `GET`; nothing of who asks goes along.
 * Errors of what is returned: ADDRESS_NOT_ALLOWED, DOWNLOAD_FAILED (sent on too often); those of the connection.
 */
export const guardedFetch =
  (networks: Networks): Fetch =>
  async (address, { headers, signal }) => {
    let at = address
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
      const answer = await ask(at, networks, headers, signal)
      const to = answer.status >= 300 && answer.status < 400 ? answer.headers.get('location') : null
      if (to === null) return answer
      await answer.body?.cancel()
      at = URL.parse(to, at)?.href ?? ''
    }
    throw failure('DOWNLOAD_FAILED', `it sends on more than ${REDIRECTS_MAX} times`)
  }

async function ask(
  address: string,
  networks: Networks,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Response> {
  const url = judgeModelAddress(address, networks)
  const request = url.protocol === 'https:' ? requestHttps : requestHttp
  return await new Promise((resolve, reject) => {
    // No agent that is shared: a connection that is kept open was judged for another name.
    const asked = request(url, { headers, signal, agent: false, lookup: lookupOf(networks) }, (answer) => {
      const { statusCode = 0, statusMessage = '' } = answer
      const hasBody = statusCode >= 200 && ![204, 205, 304].includes(statusCode)
      if (!hasBody) answer.resume()
      const said = Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as const)
      try {
        resolve(
          new Response(hasBody ? (Readable.toWeb(answer) as ReadableStream<Uint8Array>) : null, {
            status: statusCode,
            statusText: statusMessage.replace(/[^\x20-\x7e]/g, '?'),
            headers: said.map(([name, value]) => [name, value]),
          }),
        )
      } catch (error) {
        asked.destroy()
        reject(error)
      }
    })
    asked.on('error', reject)
    asked.end()
  })
}

/** As it will be called: how it is written says nothing. Errors: ADDRESS_NOT_ALLOWED. */
export function judgeModelAddress(address: string, networks: Networks): URL {
  const url = URL.parse(address)
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw failure('ADDRESS_NOT_ALLOWED', 'Only http:// and https:// addresses are called.')
  networks.judge(url.href)
  return url
}

/** Only addresses that were judged come back, and no other is connected to. */
const lookupOf =
  (networks: Networks): LookupFunction =>
  (host, options, answer) => {
    networks.addressesOf(host).then(
      (found) => {
        if (options.all) answer(null, [...found])
        else answer(null, found[0]?.address ?? '', found[0]?.family)
      },
      (error: unknown) => answer(error as NodeJS.ErrnoException, '', 0),
    )
  }
