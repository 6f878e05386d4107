import type { FastifyRequest } from 'fastify'
import { failure } from '../../lib/errors.ts'

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * A page of another site can make a browser send a request, with our cookie; what says where it comes from it cannot
 * forge: Sec-Fetch-Site and Origin. Errors: CROSS_SITE
 */
export function refuseOtherSites({ method, headers }: FastifyRequest, publicUrl: string | undefined): void {
  if (SAFE_METHODS.has(method)) return
  const { origin, host, 'sec-fetch-site': site } = headers
  if (isOurs(site, origin, host, publicUrl)) return
  throw failure(
    'CROSS_SITE',
    site === undefined && origin === undefined
      ? 'This needs a header "Origin", which browsers send, or a token: "Authorization: Bearer TOKEN".'
      : 'This request was sent by a page of another site. If the page is of this console, set "publicUrl" in its configuration to the address that people open.',
  )
}

function isOurs(
  site: string | string[] | undefined,
  origin: string | undefined,
  host: string | undefined,
  publicUrl: string | undefined,
): boolean {
  // Old browsers do not send it, and none does over HTTP but to its own machine.
  if (site !== undefined && site !== 'same-origin') return false
  // A form of a page with "no-referrer" has the origin "null": then only the other header tells.
  if (site === 'same-origin' && (origin === undefined || origin === 'null')) return true
  const from = origin === undefined ? null : URL.parse(origin)
  if (!from) return false
  return from.host === host || (publicUrl !== undefined && from.origin === new URL(publicUrl).origin)
}
