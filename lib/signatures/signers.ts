import { type KeyObject, X509Certificate } from 'node:crypto'
import { keyDigest, type Signer, signerOf } from './signer.ts'

/** Whom a verifier trusts: the signers' certificates that its authority signed. Pure: PEM in, keys out. */

/** Of what is given, certificates all together: a device has one, and one more for each renewal. */
export const CERTIFICATES_MAX = 10_000

export interface SignerCertificate {
  readonly signer: Signer
  readonly publicKey: KeyObject
  /** When it is valid, and its authority with it: milliseconds since 1970, both included. */
  readonly fromMs: number
  readonly untilMs: number
}

export interface SignersOptions {
  /** PEM, each with one certificate or more: who may say whose a key is. */
  readonly authorities: readonly string[]
  /** PEM, each with one certificate or more. Those that are no signers' are passed over. */
  readonly certificates: readonly string[]
}

export class Signers {
  /** By the key's digest. */
  readonly #trusted = new Map<string, SignerCertificate[]>()
  /** Keys of certificates that another authority signed, or none: as whose they pass themselves off. */
  readonly #foreign = new Map<string, Signer>()

  /** What is no PEM, or more than CERTIFICATES_MAX, is passed over. */
  constructor({ authorities, certificates }: SignersOptions) {
    const trusted = authorities.flatMap(certificatesIn).filter(({ ca }) => ca)
    for (const certificate of certificates.flatMap(certificatesIn).slice(0, CERTIFICATES_MAX)) {
      const signer = signerOf(certificate)
      if (!signer) continue
      const key = keyDigest(certificate.publicKey)
      const authority = trusted.find((it) => isSignedBy(certificate, it))
      if (!authority) {
        this.#foreign.set(key, signer)
        continue
      }
      const known = this.#trusted.get(key) ?? []
      known.push({
        signer,
        publicKey: certificate.publicKey,
        fromMs: Math.max(certificate.validFromDate.getTime(), authority.validFromDate.getTime()),
        untilMs: Math.min(certificate.validToDate.getTime(), authority.validToDate.getTime()),
      })
      this.#trusted.set(key, known)
    }
  }

  /** Keys that are trusted. */
  get size(): number {
    return this.#trusted.size
  }

  /** All certificates of a key, of several renewals. @param key its digest, as files name it */
  of(key: string): readonly SignerCertificate[] {
    return this.#trusted.get(key) ?? []
  }

  /** As whose a key passes itself off whose certificate was not signed by any of the authorities. */
  foreign(key: string): Signer | undefined {
    return this.#foreign.get(key)
  }
}

function isSignedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  try {
    return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
  } catch {
    return false // a key of a kind that signs nothing
  }
}

/** The certificates in a PEM text, in order; without those that cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.flatMap((block) => {
    try {
      return [new X509Certificate(block)]
    } catch {
      return []
    }
  })
}
