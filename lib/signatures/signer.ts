import { createHash, type KeyObject, type X509Certificate } from 'node:crypto'
import { isName } from '../../wire/names.ts'

/**
 * Whose a signer's certificate is. It names the device as a URI, `urn:sightline:signer:SITE/DEVICE`, and is for the signing of
 * documents (RFC 9336) and nothing else: a client's certificate signs no file, and a signer's opens no connection. Pure.
 */

export interface Signer {
  readonly site: string
  readonly device: string
}

/** id-kp-documentSigning (RFC 9336, 3.1). */
export const SIGNER_PURPOSE = '1.3.6.1.5.5.7.3.36'
const URN = 'urn:sightline:signer:'

/** As its certificate names it. */
export const namesSigner = ({ site, device }: Signer) => `${URN}${site}/${device}`

/** @returns undefined where it is no signer's certificate */
export function signerOf(certificate: X509Certificate): Signer | undefined {
  // Node's `keyUsage` is the extended one.
  if (certificate.keyUsage?.length !== 1 || certificate.keyUsage[0] !== SIGNER_PURPOSE) return undefined
  if (certificate.ca || certificate.publicKey.asymmetricKeyType !== 'ed25519') return undefined
  const [, site, device] = /^URI:urn:sightline:signer:([^/,"]+)\/([^/,"]+)$/.exec(
    certificate.subjectAltName ?? '',
  ) ?? [undefined, undefined, undefined]
  return isName(site) && isName(device) ? { site, device } : undefined
}

/** What files call a key: SHA-256 of the public key (DER, SPKI), hex. */
export const keyDigest = (publicKey: KeyObject) =>
  createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
