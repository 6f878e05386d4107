import { createPrivateKey, createPublicKey, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { failure } from '../../lib/errors.ts'
import { signerOf } from '../../lib/signatures/signer.ts'
import { type Desired, signedText } from '../../wire/desired.ts'

/** Signs what devices are told, for those that take nothing else. Read at the start. */
export class DesiredSigner {
  readonly #key: KeyObject
  readonly #certificate: string

  private constructor(key: KeyObject, certificate: string) {
    this.#key = key
    this.#certificate = certificate
  }

  /** Errors: CERTIFICATE_NOT_FOUND, CERTIFICATE_UNUSABLE */
  static open({ keyFile, certFile }: { readonly keyFile: string; readonly certFile: string }): DesiredSigner {
    let key: KeyObject
    let certificate: X509Certificate
    const [keyText, certText] = [read(keyFile), read(certFile)]
    try {
      key = createPrivateKey(keyText)
      certificate = new X509Certificate(certText)
    } catch (error) {
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `"desired.signing": ${keyFile} is no private key, or ${certFile} no certificate (PEM). Make both: sightline certs signer FOLDER SITE/NAME.`,
        error,
      )
    }
    if (!signerOf(certificate))
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `"desired.signing": ${certFile} is no certificate of a signer. Make one: sightline certs signer FOLDER SITE/NAME.`,
      )
    if (!createPublicKey(key).equals(certificate.publicKey))
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `"desired.signing": ${keyFile} is not the key of ${certFile}. Give the two that were made together.`,
      )
    return new DesiredSigner(key, certificate.toString())
  }

  sign(desired: Pick<Desired, 'site' | 'device' | 'version' | 'digest'>): NonNullable<Desired['signature']> {
    const value = sign(null, Buffer.from(signedText(desired), 'utf8'), this.#key).toString('base64')
    return { value, certificate: this.#certificate }
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure(
      'CERTIFICATE_NOT_FOUND',
      `"desired.signing": ${file} cannot be read. Check the path, and that this user may read it.`,
      error,
    )
  }
}
