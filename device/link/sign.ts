import { createHash, createPrivateKey, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { closeSync, fdatasync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { readNamedFile } from '../../lib/config.ts'
import { failure, systemCode } from '../../lib/errors.ts'
import { keepFile } from '../../lib/keep-file.ts'
import { type Log, throttled } from '../../lib/log.ts'
import { keyDigest, signerOf } from '../../lib/signatures/signer.ts'
import { type ClipMetadata, DIGEST_PATTERN, writeClip } from '../../wire/clip.ts'
import { type CropMetadata, writeCrop } from '../../wire/crop.ts'
import { NAME_PATTERN } from '../../wire/names.ts'
import { putSignature, SIGNATURE_VERSION, signedMessage } from '../../wire/signature.ts'
import { CHAIN_FILE_BYTES_MAX, CHAIN_SYNC_MS } from '../limits.ts'
import type { Seal } from './seal.ts'

export interface SigningConfig {
  /** Ed25519, PEM. */
  readonly keyFile: string
  /** Whose it is, signed by the authority that verifiers trust. */
  readonly certFile: string
  /** For what is remembered from one start to the next. */
  readonly folder: string
}

interface Whose {
  readonly site: string
  readonly device: string
}

const lineSchema = z.strictObject({
  camera: z.string().regex(NAME_PATTERN),
  kind: z.enum(['crop', 'clip']),
  /** SHA-256 of the last file, hex. */
  last: z.string().regex(DIGEST_PATTERN),
})
type Line = z.infer<typeof lineSchema>

const EXPIRES_SOON_MS = 30 * 86_400_000

/**
 * Signs each crop and each clip with the device's key, and names in it the camera's one before, so that none can be changed,
 * taken out or put elsewhere unnoticed (wire/signature.ts).
 *
 * Calls are in the order of the chain: whoever encodes several at a time seals one after the other.
 *
 * What was signed last stands in a file before the message leaves: a line is appended, and flushed within a second. So after a
 * crash the next one may name a file that never left, which verifiers call missing; after a power cut two may name the same
 * one before.
 */
export class SigningSeal implements Seal, Disposable {
  /** SHA-256 of the public key, hex. */
  readonly key: string
  readonly #privateKey: KeyObject
  readonly #file: string
  readonly #complain: (error: unknown) => void
  /** By camera and kind: the last file's digest. */
  readonly #last: Map<string, Line>
  #opened: number | undefined
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #syncing = false

  private constructor(key: string, privateKey: KeyObject, file: string, log: Log) {
    this.key = key
    this.#privateKey = privateKey
    this.#file = file
    this.#last = readLast(file, log)
    let fault: unknown
    const say = throttled((count) =>
      log.error(
        { file, count, error: String(fault) },
        'What was signed last cannot be saved: after a restart verifiers will find the chain broken. Check space and permissions of the folder (signing.folder).',
      ),
    )
    this.#complain = (error) => {
      fault = error
      say()
    }
  }

  /**
   * Reads the key and its certificate. An expired certificate is a line in the log and no error: what is signed verifies once
   * it is renewed. Errors: CONFIG_INVALID where they are not a pair, or another device's
   */
  static open(
    { keyFile, certFile, folder }: SigningConfig,
    whose: Whose,
    log: Log,
    nowMs = Date.now(),
  ): SigningSeal {
    const { certificate, privateKey } = readSigner({ keyFile, certFile }, whose)
    const untilMs = certificate.validToDate.getTime()
    if (untilMs - nowMs < EXPIRES_SOON_MS)
      log.warn(
        { certFile, validUntil: certificate.validToDate.toISOString() },
        `The certificate for signing ${untilMs <= nowMs ? 'has expired: what is signed now does not verify until it is renewed' : 'expires soon'}. Renew it where its authority is: sightline certs renew DIR signer.${whose.site}.${whose.device}.`,
      )
    const file = join(folder, `signed-${whose.site}-${whose.device}.jsonl`)
    const seal = new SigningSeal(keyDigest(certificate.publicKey), privateKey, file, log)
    seal.#rewrite()
    return seal
  }

  crop(jpeg: Uint8Array, metadata: CropMetadata): Buffer {
    const named = { ...metadata, ...this.#names(metadata.camera, 'crop') }
    return this.#sign(writeCrop(jpeg, named), { camera: metadata.camera, kind: 'crop' })
  }

  clip(init: Buffer, fragments: readonly Buffer[], metadata: ClipMetadata): Buffer {
    const named = { ...metadata, ...this.#names(metadata.camera, 'clip') }
    return this.#sign(writeClip(init, fragments, named), { camera: metadata.camera, kind: 'clip' })
  }

  #names(camera: string, kind: Line['kind']) {
    const previous = this.#last.get(`${kind} ${camera}`)?.last
    return { signer: this.key, ...(previous !== undefined && { previous }) }
  }

  #sign(file: Buffer, of: Omit<Line, 'last'>): Buffer {
    // Its bytes are read once where the signature comes last: a clip has many.
    const content = createHash('sha256').update(file)
    const soFar = content.copy()
    const signature = sign(null, signedMessage(content.digest()), this.#privateKey).toString('base64')
    const signed = putSignature(file, { v: SIGNATURE_VERSION, key: this.key, signature })
    const whole =
      of.kind === 'clip' ? soFar.update(signed.subarray(file.length)) : createHash('sha256').update(signed)
    this.#keep({ ...of, last: whole.digest('hex') })
    return signed
  }

  /** Never throws: what cannot be saved is signed all the same. */
  #keep(line: Line): void {
    this.#last.set(`${line.kind} ${line.camera}`, line)
    const text = textOf(line)
    const isFull = this.#opened === undefined || this.#bytes + text.length > CHAIN_FILE_BYTES_MAX
    if ((isFull && this.#rewrite()) || this.#opened === undefined) return
    try {
      writeSync(this.#opened, text)
      this.#bytes += text.length
      this.#timer ??= setTimeout(() => this.#sync(), CHAIN_SYNC_MS).unref()
    } catch (error) {
      this.#complain(error)
    }
  }

  /** Of each camera and kind the last alone, in place of what grew. @returns whether it is on the disk */
  #rewrite(): boolean {
    try {
      const text = [...this.#last.values()].map(textOf).join('')
      keepFile(text, this.#file, 0o600)
      this.#close()
      this.#opened = openSync(this.#file, 'a')
      this.#bytes = text.length
      return true
    } catch (error) {
      this.#complain(error)
      return false
    }
  }

  #sync(): void {
    this.#timer = undefined
    if (this.#opened === undefined || this.#syncing) return
    this.#syncing = true
    fdatasync(this.#opened, (error) => {
      this.#syncing = false
      // Where it was closed meanwhile, what replaced it is flushed.
      if (error && systemCode(error) !== 'EBADF') this.#complain(error)
    })
  }

  #close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#opened === undefined) return
    closeSync(this.#opened)
    this.#opened = undefined
  }

  [Symbol.dispose](): void {
    try {
      if (this.#opened !== undefined) fdatasyncSync(this.#opened)
      this.#close()
    } catch (error) {
      this.#complain(error)
    }
  }
}

const textOf = (line: Line) => `${JSON.stringify(line)}\n`

/** The last line of each camera and kind; one that a crash cut off is passed over. */
function readLast(file: string, log: Log): Map<string, Line> {
  const last = new Map<string, Line>()
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (systemCode(error) !== 'ENOENT')
      log.warn(
        { file, err: error },
        'What was signed last cannot be read: the chain begins anew, and verifiers will say so.',
      )
    return last
  }
  for (const line of text.split('\n')) {
    const read = lineOf(line)
    if (read) last.set(`${read.kind} ${read.camera}`, read)
  }
  return last
}

function lineOf(text: string): Line | undefined {
  try {
    return lineSchema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/**
 * A device's key and certificate for signing, which belong together and to this device. How long it is valid is not looked at.
 * Errors: CONFIG_INVALID, CONFIG_NOT_FOUND.
 */
export function readSigner({ keyFile, certFile }: Pick<SigningConfig, 'keyFile' | 'certFile'>, whose: Whose) {
  const certificate = readCertificate(certFile)
  const privateKey = readKey(keyFile)
  const signer = signerOf(certificate)
  if (!signer)
    throw failure(
      'CONFIG_INVALID',
      `${certFile}, named by signing.certFile, is no signer's certificate. Make one: sightline certs signer DIR ${whose.site}/${whose.device}.`,
    )
  if (signer.site !== whose.site || signer.device !== whose.device)
    throw failure(
      'CONFIG_INVALID',
      `${certFile}, named by signing.certFile, is for ${signer.site}/${signer.device}, and this device is ${whose.site}/${whose.device}. Use its own: sightline certs signer DIR ${whose.site}/${whose.device}.`,
    )
  if (!certificate.checkPrivateKey(privateKey))
    throw failure(
      'CONFIG_INVALID',
      `${keyFile}, named by signing.keyFile, does not belong to the certificate ${certFile}. Use the two files that "sightline certs signer" made together.`,
    )
  return { certificate, privateKey }
}

function readCertificate(certFile: string): X509Certificate {
  const pem = readNamedFile(certFile, 'signing.certFile')
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw failure(
      'CONFIG_INVALID',
      `${certFile}, named by signing.certFile, contains no certificate in PEM format.`,
      error,
    )
  }
}

function readKey(keyFile: string): KeyObject {
  const pem = readNamedFile(keyFile, 'signing.keyFile')
  let key: KeyObject | undefined
  try {
    key = createPrivateKey(pem)
  } catch {
    // said below: the cause might hold a part of the key
  }
  if (key?.asymmetricKeyType !== 'ed25519')
    throw failure(
      'CONFIG_INVALID',
      `${keyFile}, named by signing.keyFile, contains no Ed25519 key in PEM format without a passphrase.`,
    )
  return key
}
