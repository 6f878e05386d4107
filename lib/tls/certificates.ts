import { createPrivateKey, X509Certificate } from 'node:crypto'
import { statSync } from 'node:fs'
import type { SecureContextOptions, Server } from 'node:tls'
import { readNamedFile } from '../config.ts'
import { asFailure, failure } from '../errors.ts'
import type { Log } from '../log.ts'

/**
 * Certificates and keys out of the files that a configuration names: read, held against each other, and read again
 * when they change, so that a renewal needs no restart.
 */

/** Older versions are broken (RFC 8996). */
export const TLS_MIN_VERSION = 'TLSv1.2'
/** A client that has not shown itself by then is let go, ms. */
export const TLS_HANDSHAKE_MS_MAX = 10_000
const EXPIRES_SOON_MS = 30 * 86_400_000
const CHANGE_INTERVAL_MS = 60_000
const WARN_INTERVAL_MS = 86_400_000

/** Paths of PEM files. */
export interface ServerFiles {
  readonly certFile: string
  readonly keyFile: string
  /** Clients then need a certificate that this authority signed. */
  readonly clientCaFile?: string
}

export interface ClientFiles {
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}

/** What node:tls takes, PEM. */
export interface ClientCredentials {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

interface Identity {
  readonly cert: string
  readonly key: string
  readonly validUntilMs: number
}

/**
 * What a listener shows its clients, and whom it trusts.
 * @param where the key that names the files, such as `listeners.0.tls`
 * Errors: CONFIG_INVALID where a file cannot be read or is something else, the key is another certificate's, or the
 * certificate has expired
 */
export function readServerFiles(
  { certFile, keyFile, clientCaFile }: ServerFiles,
  where: string,
  nowMs = Date.now(),
): { readonly context: SecureContextOptions; readonly validUntilMs: number } {
  const { cert, key, validUntilMs } = readIdentity(certFile, keyFile, where)
  if (validUntilMs <= nowMs)
    throw failure(
      'CONFIG_INVALID',
      `The certificate ${certFile}, named by ${where}.certFile, expired on ${day(validUntilMs)}: every client would refuse it. Renew it, e.g. with "sightline certs renew".`,
    )
  const ca = clientCaFile === undefined ? undefined : readAuthority(clientCaFile, `${where}.clientCaFile`)
  return { context: { cert, key, ca, minVersion: TLS_MIN_VERSION }, validUntilMs }
}

/**
 * What a client shows a server, and whom it trusts: as the files have it, to be asked for at each connection. They are
 * read now, and again once they have changed; a pair that does not fit is then an error in the log, and the old one
 * stays. An expired certificate is a line in the log and no error: a broker whose bridge cannot connect goes on taking
 * crops, and keeps them.
 * Errors: CONFIG_INVALID, as readServerFiles
 */
export function followClientFiles(
  { caFile, certFile, keyFile }: ClientFiles,
  where: string,
  log: Log,
  intervalMs = CHANGE_INTERVAL_MS,
): () => ClientCredentials {
  const files = { caFile, certFile, keyFile }
  const read = () => readClientFiles(files, where)
  let latest = read()
  const look = follow(files, latest, {
    log,
    read,
    take: (renewed) => {
      latest = renewed
    },
  })
  look()
  if (Object.values(files).some((file) => file !== undefined)) setInterval(look, intervalMs).unref()
  return () => {
    look()
    return latest.credentials
  }
}

interface ClientIdentity {
  readonly credentials: ClientCredentials
  /** Infinity where it shows no certificate. */
  readonly validUntilMs: number
}

function readClientFiles({ caFile, certFile, keyFile }: ClientFiles, where: string): ClientIdentity {
  const ca = caFile === undefined ? undefined : readAuthority(caFile, `${where}.caFile`)
  if (certFile === undefined && keyFile === undefined)
    return { credentials: { ca }, validUntilMs: Number.POSITIVE_INFINITY }
  if (certFile === undefined || keyFile === undefined)
    throw failure(
      'CONFIG_INVALID',
      `${where} names ${certFile === undefined ? '"keyFile" and no "certFile"' : '"certFile" and no "keyFile"'}. A certificate needs its key: name both, or neither.`,
    )
  const { cert, key, validUntilMs } = readIdentity(certFile, keyFile, where)
  return { credentials: { ca, cert, key }, validUntilMs }
}

/** Of the certificates that this process shows: the file, and until when the one last read from it is valid, ms. */
const validUntil = new Map<string, number>()

export function certificatesRead(): ReadonlyMap<string, number> {
  return validUntil
}

function readIdentity(certFile: string, keyFile: string, where: string): Identity {
  const cert = readNamedFile(certFile, `${where}.certFile`).toString()
  const key = readNamedFile(keyFile, `${where}.keyFile`).toString()
  const certificate = parse(cert, certFile, `${where}.certFile`)
  let fits: boolean
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key))
  } catch (error) {
    throw failure(
      'CONFIG_INVALID',
      key.includes('ENCRYPTED')
        ? `The key ${keyFile}, named by ${where}.keyFile, is locked with a passphrase. Store it without one, readable by this user only.`
        : `The file ${keyFile}, named by ${where}.keyFile, contains no private key in PEM format.`,
      error,
    )
  }
  if (!fits)
    throw failure(
      'CONFIG_INVALID',
      `The key ${keyFile} does not belong to the certificate ${certFile} (${where}). Name the two files that were made together.`,
    )
  const validUntilMs = certificate.validToDate.getTime()
  validUntil.set(certFile, validUntilMs)
  return { cert, key, validUntilMs }
}

function readAuthority(file: string, key: string): string {
  const pem = readNamedFile(file, key).toString()
  parse(pem, file, key)
  return pem
}

function parse(pem: string, file: string, key: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    throw failure(
      'CONFIG_INVALID',
      `The file ${file}, named by ${key}, contains no certificate in PEM format.`,
      error,
    )
  }
}

/** A line in the log about a certificate that is not, or not much longer, valid. */
function warnOfExpiry(certFile: string | undefined, validUntilMs: number, log: Log): void {
  const leftMs = validUntilMs - Date.now()
  if (leftMs <= 0)
    log.error({ certFile }, `the certificate expired on ${day(validUntilMs)} and is refused: renew it`)
  else if (leftMs < EXPIRES_SOON_MS)
    log.warn({ certFile }, `the certificate expires on ${day(validUntilMs)}: renew it`)
}

/**
 * Reads a listening server's files again when they have changed. Connections that there are stay as they are; a pair
 * that does not fit is an error in the log, and the old one stays. Warns each day of a certificate that expires within
 * 30. Ends with the server.
 */
export function keepRenewed(
  server: Server,
  files: ServerFiles,
  options: {
    readonly where: string
    readonly log: Log
    /** Of the files read at the start. */
    readonly validUntilMs: number
    /** To be given to the server besides the files. */
    readonly context?: SecureContextOptions
    readonly intervalMs?: number
  },
): void {
  const { where, log, context, validUntilMs, intervalMs = CHANGE_INTERVAL_MS } = options
  const look = follow(
    files,
    { validUntilMs },
    {
      log,
      read: () => readServerFiles(files, where),
      take: (renewed) => server.setSecureContext({ ...context, ...renewed.context }),
    },
  )
  look()
  const timer = setInterval(look, intervalMs).unref()
  server.once('close', () => clearInterval(timer))
}

/**
 * @returns what looks after the files: whether they have changed since the last look, and whether it is time to warn
 * of a certificate that expires
 */
function follow<Read extends { readonly validUntilMs: number }>(
  files: ServerFiles | ClientFiles,
  { validUntilMs }: { readonly validUntilMs: number },
  { log, read, take }: { readonly log: Log; read(): Read; take(renewed: Read): void },
): () => void {
  const { certFile } = files
  let warnedMs = 0
  let seen = stateOf(files)
  return () => {
    const state = stateOf(files) // before they are read: what changes meanwhile is seen the next time
    if (state !== seen) {
      seen = state
      try {
        const renewed = read()
        take(renewed)
        validUntilMs = renewed.validUntilMs
        warnedMs = 0
        const until = Number.isFinite(validUntilMs) ? { certFile, validUntil: day(validUntilMs) } : files
        log.info(until, 'loaded a renewed certificate')
      } catch (error) {
        const { code, message } = asFailure(error)
        log.error({ code }, `${message} The old certificate stays in use.`)
      }
    }
    if (Date.now() - warnedMs < WARN_INTERVAL_MS) return
    warnedMs = Date.now()
    warnOfExpiry(certFile, validUntilMs, log)
  }
}

/** Different once one of the files was written or replaced. */
function stateOf({ certFile, keyFile, ...authorities }: ServerFiles | ClientFiles): string {
  return [certFile, keyFile, ...Object.values(authorities)]
    .map((file) => {
      try {
        const { mtimeMs, size, ino } = statSync(file ?? '')
        return `${mtimeMs} ${size} ${ino}`
      } catch {
        return '-' // reading it says what is wrong
      }
    })
    .join(', ')
}

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10)
