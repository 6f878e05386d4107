import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { failure } from '../errors.ts'
import { Signers } from './signers.ts'

/** Files in a folder of certificates that are looked at. */
const FILES_MAX = 10_000
const FILE_BYTES_MAX = 1_000_000
const AUTHORITY = 'ca.pem'

/**
 * The signers whose certificates lie in a folder, as `sightline certs` keeps them: `ca.pem`, and beside it each `*.pem`. Keys
 * are not needed, and not read.
 * Errors: CERTIFICATE_NOT_FOUND where there is no authority; CERTIFICATE_UNUSABLE where it has signed none of them
 */
export function readSigners(folder: string): Signers {
  const authority = read(join(folder, AUTHORITY))
  if (authority === undefined)
    throw failure(
      'CERTIFICATE_NOT_FOUND',
      `${join(folder, AUTHORITY)} cannot be read. Name the folder of "sightline certs", or one with copies of its ca.pem and signer.*.pem (no keys).`,
    )
  const files = readdirSync(folder)
    .filter((file) => file.endsWith('.pem') && file !== AUTHORITY)
    .slice(0, FILES_MAX)
  const certificates = files.flatMap((file) => read(join(folder, file)) ?? [])
  const signers = new Signers({ authorities: [authority], certificates })
  if (signers.size === 0)
    throw failure(
      'CERTIFICATE_UNUSABLE',
      `${folder} has no signer's certificate that its ca.pem has signed. Make one: sightline certs signer ${folder} SITE/DEVICE.`,
    )
  return signers
}

function read(file: string): string | undefined {
  try {
    return statSync(file).size <= FILE_BYTES_MAX ? readFileSync(file, 'utf8') : undefined
  } catch {
    return undefined
  }
}
