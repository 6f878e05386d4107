import { verify, type X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { failure } from '../../lib/errors.ts'
import { keyDigest, signerOf } from '../../lib/signatures/signer.ts'
import { certificatesIn, Signers } from '../../lib/signatures/signers.ts'
import { type Desired, signedText } from '../../wire/desired.ts'
import { CLOCK_YEAR_MIN } from '../limits.ts'
import { Refused } from './refused.ts'

const FILES_MAX = 1000
const FILE_BYTES_MAX = 1_000_000

/**
 * Who may sign what this device shall be: those whose certificates are given together with their authority's. Where the
 * authority's alone is given, whoever has a signer's certificate of it.
 */
export class DesiredSigners {
  readonly #authorities: readonly string[]
  readonly #certificates: readonly string[]

  private constructor(authorities: readonly string[], certificates: readonly string[]) {
    this.#authorities = authorities
    this.#certificates = certificates
  }

  /** @param path a folder with PEM files, or one file. Errors: CERTIFICATE_NOT_FOUND, CERTIFICATE_UNUSABLE */
  static open(path: string): DesiredSigners {
    const found = certificatesAt(path)
    const authorities = found.filter(({ ca }) => ca)
    const certificates = found.filter((it) => signerOf(it) !== undefined)
    if (authorities.length === 0)
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `"remote.desired.signers": ${path} has no authority's certificate. Put the ca.pem of "sightline certs" there, and the certificates of those who may sign.`,
      )
    const pem = (list: readonly X509Certificate[]) => list.map((it) => it.toString())
    const signers = new DesiredSigners(pem(authorities), pem(certificates))
    if (certificates.length > 0 && signers.#signers(signers.#certificates).size === 0)
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `"remote.desired.signers": none of the certificates in ${path} was signed by an authority that is there.`,
      )
    return signers
  }

  #signers(certificates: readonly string[]): Signers {
    return new Signers({ authorities: this.#authorities, certificates })
  }

  /**
   * Errors: DESIRED_UNSIGNED.
   * @param atMs when the certificate has to be valid; undefined, or a clock that was never set: at any time
   */
  check(desired: Desired, atMs: number | undefined): void {
    const { signature } = desired
    if (!signature)
      throw new Refused('DESIRED_UNSIGNED', 'The configuration is not signed, and this device asks for that.')
    const [certificate] = certificatesIn(signature.certificate)
    if (!certificate)
      throw new Refused('DESIRED_UNSIGNED', 'The certificate of who signed the configuration cannot be read.')
    const given = this.#certificates.length > 0 ? this.#certificates : [certificate.toString()]
    const trusted = this.#signers(given).of(keyDigest(certificate.publicKey))
    const [first] = trusted
    if (!first)
      throw new Refused(
        'DESIRED_UNSIGNED',
        'The configuration was signed by somebody whom this device does not know. See "remote.desired.signers" in its file.',
      )
    const { signer } = first
    if (
      atMs !== undefined &&
      new Date(atMs).getUTCFullYear() >= CLOCK_YEAR_MIN &&
      !trusted.some(({ fromMs, untilMs }) => fromMs <= atMs && atMs <= untilMs)
    )
      throw new Refused(
        'DESIRED_UNSIGNED',
        `The certificate of ${signer.site}/${signer.device}, who signed the configuration, is not valid now.`,
      )
    const text = Buffer.from(signedText(desired), 'utf8')
    if (!verify(null, text, first.publicKey, Buffer.from(signature.value, 'base64')))
      throw new Refused(
        'DESIRED_UNSIGNED',
        `The configuration is not as ${signer.site}/${signer.device} signed it.`,
      )
  }
}

function certificatesAt(path: string): X509Certificate[] {
  try {
    const files = statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((file) => file.endsWith('.pem'))
          .slice(0, FILES_MAX)
          .map((file) => join(path, file))
      : [path]
    return files
      .filter((file) => statSync(file).size <= FILE_BYTES_MAX)
      .flatMap((file) => certificatesIn(readFileSync(file, 'utf8')))
  } catch (error) {
    throw failure(
      'CERTIFICATE_NOT_FOUND',
      `"remote.desired.signers": ${path} cannot be read. Check the path, and that this user may read it.`,
      error,
    )
  }
}
