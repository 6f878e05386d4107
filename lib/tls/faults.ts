import { systemCode } from '../errors.ts'

/** What a client's failed TLS handshake means, for people. */

export interface TlsFault {
  /** Goes on after the server's address: "broker.local presents a certificate that ...". */
  readonly sentence: string
  /** False where waiting may cure it. */
  readonly lasting: boolean
}

const UNKNOWN_AUTHORITY =
  'presents a certificate from an unknown authority. Name the certificate of that authority under "caFile"'
const WANTS_CERTIFICATE =
  'requires a client certificate. Name one under "certFile" and "keyFile", signed by an authority that it trusts'
const REFUSES_OURS =
  'rejects the certificate under "certFile". Check that it is for clients, valid, and signed by an authority that the server trusts'
const NO_TLS = 'does not use TLS on this port. Use its TLS port, or an address without TLS (mqtt://, http://)'

const LASTING: Readonly<Record<string, string>> = {
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  CERT_UNTRUSTED: UNKNOWN_AUTHORITY,
  CERT_SIGNATURE_FAILURE:
    'presents a certificate of another authority than the one under "caFile", with the same name',
  INVALID_PURPOSE: 'presents a certificate that is not for servers. Make it with "sightline certs server"',
  CERT_HAS_EXPIRED: "presents an expired certificate. Renew it there, and check this machine's clock",
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ALERT_PROTOCOL_VERSION: 'and this program have no TLS version in common (1.2 or later)',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'and this program have no TLS version in common (1.2 or later)',
  // RFC 8446, 6: what the server says of our certificate.
  ALERT_CERTIFICATE_REQUIRED: WANTS_CERTIFICATE,
  ALERT_UNKNOWN_CA: REFUSES_OURS,
  ALERT_BAD_CERTIFICATE: REFUSES_OURS,
  ALERT_UNSUPPORTED_CERTIFICATE: REFUSES_OURS,
  ALERT_CERTIFICATE_UNKNOWN: REFUSES_OURS,
  ALERT_CERTIFICATE_EXPIRED: 'says that the certificate under "certFile" has expired. Renew it',
  ALERT_CERTIFICATE_REVOKED: 'says that the certificate under "certFile" is revoked. Make a new one',
}

/**
 * The code of an error of node:tls. What the far end said (an alert) is `ALERT_...`, without the version of the
 * protocol that introduced it, which OpenSSL puts in front of it and words differently from release to release.
 */
export function tlsCode(error: unknown): string {
  return (systemCode(error) ?? '').replace(/^ERR_SSL_[A-Z0-9/]+_ALERT_/, 'ALERT_')
}

/**
 * @param error of a socket of node:tls
 * @returns undefined where it has nothing to do with TLS
 */
export function tlsFault(error: unknown): TlsFault | undefined {
  const code = tlsCode(error)
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return {
      sentence: `presents a certificate for other names: ${namesIn(error)}. Connect to one of them, or add this name to the certificate`,
      lasting: true,
    }
  if (code === 'CERT_NOT_YET_VALID')
    return {
      sentence: "presents a certificate that is not valid yet. Check this machine's clock",
      lasting: false,
    }
  // TLS 1.2 says no more than this of a missing certificate, and of everything else that the two cannot agree on.
  if (code === 'ALERT_HANDSHAKE_FAILURE')
    return { sentence: `ended the TLS handshake. Perhaps it ${WANTS_CERTIFICATE}`, lasting: true }
  const sentence = LASTING[code]
  return sentence === undefined ? undefined : { sentence, lasting: true }
}

/** A server that ends the connection after the handshake and before its first word. With TLS 1.3 it judges our certificate only then. */
export const CLOSED_AFTER_HANDSHAKE =
  'ended the connection right after the TLS handshake. Perhaps it requires a client certificate ("certFile", "keyFile"), or does not trust the one presented'

function namesIn(error: unknown): string {
  const { cert } = error as { cert?: { subjectaltname?: string } }
  return (cert?.subjectaltname ?? 'none').replaceAll(/DNS:|IP Address:/g, '').replace(/\p{Cc}/gu, '\ufffd')
}
