import 'reflect-metadata' // @peculiar/x509 resolves its algorithms with tsyringe, which wants it first
import { createPrivateKey, KeyObject, X509Certificate as Reader, randomBytes, webcrypto } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { domainToASCII } from 'node:url'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { failure, systemCode } from '../errors.ts'
import { keepFile } from '../keep-file.ts'
import { namesSigner, SIGNER_PURPOSE, type Signer, signerOf } from '../signatures/signer.ts'

/**
 * A certificate authority in a folder, for a home or a classroom: `ca.pem` and `ca.key`, and beside them a pair of
 * files for each server, each client and each device that signs. ECDSA on P-256, signers' keys Ed25519, extensions as RFC 5280
 * wants them.
 */

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const SIGNER_ALGORITHM = { name: 'Ed25519' } as const
const DAY_MS = 86_400_000
/** Devices whose clock is a little behind accept a new certificate at once. */
const BACKDATED_MS = DAY_MS
/** Positive, and short enough for every reader: RFC 5280, 4.1.2.2 allows 20. */
const SERIAL_BYTES = 16
/** Of a common name (RFC 5280, appendix A.1: ub-common-name). */
const NAME_LENGTH_MAX = 64
/** Of the file of a signer's: two names of 63. */
const RENEWED_LENGTH_MAX = 140
const AUTHORITY = 'ca'

export interface Validity {
  readonly days: number
  /** When it begins, ms since 1970. A test makes expired certificates with it. */
  readonly nowMs?: number
}

export interface CertificateFacts {
  readonly file: string
  readonly kind: 'authority' | 'server' | 'client' | 'signer' | 'other'
  /** The common name, then the names and addresses it is for. */
  readonly names: readonly string[]
  readonly validUntilMs: number
}

/**
 * Makes the authority. @returns the paths written
 * Errors: FILE_EXISTS, FOLDER_UNWRITABLE, USAGE
 */
export async function makeAuthority(
  folder: string,
  name: string,
  { days, nowMs = Date.now() }: Validity,
): Promise<{ cert: string; key: string }> {
  if (name.length === 0 || name.length > NAME_LENGTH_MAX || /\p{Cc}/u.test(name))
    throw failure(
      'USAGE',
      `An authority's name must have 1 to ${NAME_LENGTH_MAX} characters, e.g. --name "Home".`,
    )
  refuseExisting(folder, AUTHORITY)
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: commonName(name),
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + days * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true), // it signs no other authorities
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return write(folder, AUTHORITY, certificate, keys.privateKey)
}

/**
 * Makes the pair of a server, for these names and addresses. @returns the paths written
 * Errors: USAGE, FILE_EXISTS, FOLDER_UNWRITABLE, CERTIFICATE_NOT_FOUND, CERTIFICATE_UNUSABLE
 */
export async function makeServerCertificate(
  folder: string,
  name: string,
  hosts: readonly string[],
  validity: Validity,
): Promise<{ cert: string; key: string }> {
  if (hosts.length === 0)
    throw failure(
      'USAGE',
      'Give the names and addresses that clients use to reach the server: --host broker.local --host 192.168.1.5. They refuse any other.',
    )
  return make(folder, name, validity, [
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension(hosts.map(alternativeName)),
  ])
}

/**
 * Makes the pair of a client; the certificate's common name is its user name at the broker. @returns the paths written
 * Errors: as makeServerCertificate
 */
export async function makeClientCertificate(
  folder: string,
  name: string,
  validity: Validity,
): Promise<{ cert: string; key: string }> {
  return make(folder, name, validity, [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])])
}

/**
 * Makes the pair of a device that signs what it sends: `signer.SITE.DEVICE.pem` and `.key`. Where there is one and a new key is
 * wanted, the old certificate stays beside it, so that what was signed before still verifies; the old key is deleted.
 * @returns the paths written
 * Errors: as makeServerCertificate
 */
export async function makeSignerCertificate(
  folder: string,
  signer: Signer,
  { newKey = false, ...validity }: Validity & { readonly newKey?: boolean },
): Promise<{ cert: string; key: string }> {
  const name = signerFile(signer)
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)]
  const authority = await openAuthority(folder)
  const isNew = !existsSync(cert) && !existsSync(key)
  if (!isNew && !newKey) refuseExisting(folder, name)
  const keys = (await webcrypto.subtle.generateKey(SIGNER_ALGORITHM, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const certificate = await sign(authority, commonName(signer.device), keys.publicKey, validity, [
    new ExtendedKeyUsageExtension([SIGNER_PURPOSE]),
    new SubjectAlternativeNameExtension([{ type: 'url', value: namesSigner(signer) }]),
  ])
  if (!isNew) {
    if (existsSync(cert)) keepOld(folder, name, { away: true })
    rmSync(key, { force: true })
  }
  return write(folder, name, certificate, keys.privateKey)
}

/** Names have no dots: it tells where the one ends and the other begins. */
export const signerFile = ({ site, device }: Signer) => `signer.${site}.${device}`

/** An old certificate gets a name of its own, which no other has: by its serial number. */
function keepOld(folder: string, name: string, { away }: { readonly away: boolean }): string {
  const file = join(folder, `${name}.pem`)
  const old = parse(read(file), file)
  const kept = join(folder, `${name}.${day(old.notBefore.getTime())}.${old.serialNumber.slice(0, 8)}.pem`)
  try {
    if (away) renameSync(file, kept)
    else keepFile(readFileSync(file), kept)
  } catch (error) {
    throw unwritable(folder, error)
  }
  return kept
}

/**
 * Replaces a certificate by one that is valid for longer, for the same key, names and use: whoever reads the pair at
 * any moment reads one that fits. A signer's old one stays beside it, and the new one begins no later than that ended: each
 * file verifies by the one that was valid at its capture. @returns the path written
 * Errors: USAGE, CERTIFICATE_NOT_FOUND, CERTIFICATE_UNUSABLE, FOLDER_UNWRITABLE
 */
export async function renewCertificate(folder: string, name: string, validity: Validity): Promise<string> {
  checkName(name, RENEWED_LENGTH_MAX)
  const file = join(folder, `${name}.pem`)
  const authority = await openAuthority(folder)
  const pem = read(file)
  const old = parse(pem, file)
  const isSigner = signerOf(new Reader(pem)) !== undefined
  const kept = [ExtendedKeyUsageExtension, SubjectAlternativeNameExtension].flatMap(
    (type) => old.getExtension<Extension>(type as never) ?? [],
  )
  const certificate = await sign(
    authority,
    old.subjectName,
    old.publicKey,
    validity,
    kept,
    isSigner ? old.notAfter.getTime() : undefined,
  )
  if (isSigner) keepOld(folder, name, { away: false })
  keepFile(certificate.toString('pem'), file)
  return file
}

/** What the certificates of a folder say, the authority first. Errors: CERTIFICATE_NOT_FOUND */
export function listCertificates(folder: string): CertificateFacts[] {
  let files: string[]
  try {
    files = readdirSync(folder).filter((file) => file.endsWith('.pem'))
  } catch (error) {
    throw failure('CERTIFICATE_NOT_FOUND', `Cannot read the folder ${folder}.`, error)
  }
  const facts = files.flatMap((file): CertificateFacts[] => {
    try {
      return [factsOf(file, new Reader(read(join(folder, file))))]
    } catch {
      return [] // a key, or something else in PEM
    }
  })
  const rank = ({ kind }: CertificateFacts) => (kind === 'authority' ? 0 : 1)
  return facts.sort((a, b) => rank(a) - rank(b) || a.file.localeCompare(b.file))
}

function factsOf(file: string, certificate: Reader): CertificateFacts {
  // Node's `keyUsage` is the extended one.
  const uses: readonly string[] = certificate.keyUsage ?? []
  const signer = signerOf(certificate)
  const kind = certificate.ca
    ? 'authority'
    : uses.includes(ExtendedKeyUsage.serverAuth)
      ? 'server'
      : uses.includes(ExtendedKeyUsage.clientAuth)
        ? 'client'
        : signer
          ? 'signer'
          : 'other'
  if (signer && kind === 'signer')
    return {
      file,
      kind,
      names: [`${signer.site}/${signer.device}`],
      validUntilMs: certificate.validToDate.getTime(),
    }
  const name = /^CN=(.*)$/m.exec(certificate.subject)?.[1]
  const hosts =
    certificate.subjectAltName?.split(', ').map((it) => it.replace(/^(DNS|IP Address):/, '')) ?? []
  return {
    file,
    kind,
    names: [...new Set([...(name === undefined ? [] : [name]), ...hosts])],
    validUntilMs: certificate.validToDate.getTime(),
  }
}

interface Authority {
  readonly certificate: X509Certificate
  readonly key: webcrypto.CryptoKey
}

async function openAuthority(folder: string): Promise<Authority> {
  const file = join(folder, `${AUTHORITY}.pem`)
  const certificate = parse(read(file), file)
  try {
    const private_ = createPrivateKey(read(join(folder, `${AUTHORITY}.key`)))
    if (!new Reader(certificate.toString('pem')).checkPrivateKey(private_))
      throw new Error('the key does not match')
    return { certificate, key: private_.toCryptoKey(ALGORITHM, false, ['sign']) }
  } catch (error) {
    if (systemCode(error) === undefined || systemCode(error)?.startsWith('ERR_'))
      throw failure(
        'CERTIFICATE_UNUSABLE',
        `${join(folder, `${AUTHORITY}.key`)} is not the key of ${file}, or not a P-256 key. Use the two files that "sightline certs ca" made together.`,
        error,
      )
    throw error
  }
}

async function make(
  folder: string,
  name: string,
  validity: Validity,
  extensions: readonly Extension[],
): Promise<{ cert: string; key: string }> {
  checkName(name)
  const authority = await openAuthority(folder)
  refuseExisting(folder, name)
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const certificate = await sign(authority, commonName(name), keys.publicKey, validity, extensions)
  return write(folder, name, certificate, keys.privateKey)
}

async function sign(
  { certificate, key }: Authority,
  subject: Name,
  publicKey: webcrypto.CryptoKey | X509Certificate['publicKey'],
  { days, nowMs = Date.now() }: Validity,
  extensions: readonly Extension[],
  /** It begins no later than that. */
  fromMs = Number.POSITIVE_INFINITY,
): Promise<X509Certificate> {
  const end = nowMs + days * DAY_MS
  if (end > certificate.notAfter.getTime())
    throw failure(
      'CERTIFICATE_UNUSABLE',
      `The authority is valid until ${day(certificate.notAfter.getTime())}, and a certificate of ${days} days would outlive it. Use fewer --days, or make a new authority in another folder.`,
    )
  return X509CertificateGenerator.create({
    serialNumber: serial(),
    subject,
    issuer: certificate.subjectName,
    notBefore: new Date(Math.min(nowMs - BACKDATED_MS, fromMs)),
    notAfter: new Date(end),
    signingAlgorithm: ALGORITHM,
    publicKey,
    signingKey: key,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      ...extensions,
      await SubjectKeyIdentifierExtension.create(publicKey),
      await AuthorityKeyIdentifierExtension.create(certificate.publicKey),
    ],
  })
}

/** 2027-12-24 */
export const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)

const commonName = (name: string) => new Name([{ CN: [{ utf8String: name }] }])

function serial(): string {
  const bytes = randomBytes(SERIAL_BYTES)
  bytes[0] = (Number(bytes[0]) & 0x7f) | 0x40 // positive, and never shorter
  return bytes.toString('hex')
}

function alternativeName(host: string): JsonGeneralNames[number] {
  if (isIP(host) !== 0) return { type: 'ip', value: host }
  const bare = host.replace(/^\*\./, '')
  const name = /^[\p{L}\p{N}._-]+$/u.test(bare) ? domainToASCII(bare) : ''
  if (name.length === 0 || name.length > 253 || !/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
    throw failure('USAGE', `Invalid host name or IP address "${host}". Use e.g. --host broker.local.`)
  return { type: 'dns', value: host.startsWith('*.') ? `*.${name}` : name }
}

/** A name is a file's name here and a user's name at the broker. */
function checkName(name: string, lengthMax = NAME_LENGTH_MAX): void {
  if (name === AUTHORITY || name.length > lengthMax || !/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name))
    throw failure(
      'USAGE',
      `Invalid certificate name "${name}". Use letters, digits, dash, underscore and dot, ${lengthMax} at most, and not "${AUTHORITY}".`,
    )
}

function refuseExisting(folder: string, name: string): void {
  for (const file of [join(folder, `${name}.pem`), join(folder, `${name}.key`)])
    if (existsSync(file))
      throw failure(
        'FILE_EXISTS',
        `${file} already exists and is not overwritten. ${name === AUTHORITY ? 'Everything it has signed would stop working. Use another folder.' : `To make it valid for longer: sightline certs renew ${folder} ${name}. For a new key ${name.startsWith('signer.') ? 'add --new-key.' : `remove ${name}.pem and ${name}.key first.`}`}`,
      )
}

async function write(
  folder: string,
  name: string,
  certificate: X509Certificate,
  privateKey: webcrypto.CryptoKey,
): Promise<{ cert: string; key: string }> {
  const cert = join(folder, `${name}.pem`)
  const key = join(folder, `${name}.key`)
  const pem = KeyObject.from(privateKey).export({ type: 'pkcs8', format: 'pem' })
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeFileSync(key, pem, { flag: 'wx', mode: 0o600 })
    writeFileSync(cert, `${certificate.toString('pem')}\n`, { flag: 'wx', mode: 0o644 })
  } catch (error) {
    throw unwritable(folder, error)
  }
  return { cert, key }
}

const unwritable = (folder: string, error: unknown) =>
  failure('FOLDER_UNWRITABLE', `Cannot write to ${folder}. Use a folder that you own.`, error)

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw failure(
      'CERTIFICATE_NOT_FOUND',
      `${file} cannot be read. ${/[\\/]?ca\.(pem|key)$/.test(file) ? 'Make the authority first: sightline certs ca DIR.' : 'See what is there: sightline certs list DIR.'}`,
      error,
    )
  }
}

function parse(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw failure('CERTIFICATE_UNUSABLE', `${file} contains no certificate in PEM format.`, error)
  }
}
